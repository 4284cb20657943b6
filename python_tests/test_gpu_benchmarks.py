"""The programs of `make gpu-check`, tried on the CPU at tiny sizes: statistics, refusals, tables, and stages that fail."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

import softdiff_ext as sd
from softdiff_ext import reference

from .benchmark_modules import load
from .helpers import randn

CPU = torch.device("cpu")


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return load("gpu", monkeypatch)


def test_rows_and_tables(gpu: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    cases = list(gpu.measure(CPU, (8,), 256, budget=60.0, rounds=3))
    rows = [row for case in cases for row in case]
    assert [row["status"] for row in rows if row["status"] != "ok"] == []
    kernels = [row for row in rows if row["mode"] == "kernel"]
    wanted = {(o.name, str(d).removeprefix("torch.")) for o in gpu.OPERATIONS for d in gpu.DTYPES}
    assert {(row["operator"], row["dtype"]) for row in kernels} == wanted
    for row in kernels:
        assert 0.0 < row["us_low"] <= row["us_median"] <= row["us_high"]
        assert row["share"] == 1.0 if row["candidate"] == "copy" else row["share"] > 0.0
    report = load("gpu_report", monkeypatch)
    stages = [{"stage": "build", "status": "passed", "seconds": 3.0, "detail": "sm_90"}]
    text = report.report({"machine": report.machine(CPU), "rows": rows, "stages": stages, "unet": []})
    assert "| side | goal | copy | dct_blur | diffuse |" in text
    assert "torch matmul | FFT" in text
    assert "| build | passed | 3 | sm_90 |" in text
    assert "## A step of a network\n\nNot measured in this run." in text
    path = tmp_path / "rows.json"
    gpu.write(path, rows)
    assert json.loads(path.read_text()) == rows
    assert [p.name for p in tmp_path.iterdir()] == ["rows.json"]


def test_a_share_is_of_the_copy_s_bandwidth(gpu: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    timing = gpu.Timing
    times = {"softdiff_ext": timing(30.0, 29.0, 31.0, 5), "copy": timing(10.0, 9.0, 11.0, 5)}
    monkeypatch.setattr(gpu, "kernel_times", lambda *args: times)
    (step,) = [o for o in gpu.OPERATIONS if o.name == "step"]
    ours, copy, eager = gpu.rows_of_case(step, 8, torch.float32, CPU, 192 * 4, 3)
    assert ours["shape"] == [4, 3, 8, 8]
    assert ours["share"] == pytest.approx(0.5)  # reads two images and writes one: 3 in the time in which a copy moves 6
    assert ours["gigabytes_per_second"] == pytest.approx(3 * 768 * 4 / 30e-6 * 1e-9)
    assert copy["share"] == 1.0
    assert eager["mode"] == "eager, large"


def test_wrong_answers_and_failures_have_no_time(gpu: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    right = sd.dct_blur
    monkeypatch.setattr(sd, "dct_blur", lambda x, tau: right(x, tau * 1.001))
    (blur,) = [o for o in gpu.OPERATIONS if o.name == "dct_blur"]
    (row,) = gpu.rows_of_case(blur, 8, torch.float32, CPU, 192, 3)
    assert row["status"].startswith("refused: relative error")

    def broken(x: Tensor, tau: Tensor) -> Tensor:
        raise RuntimeError("no such kernel")

    monkeypatch.setattr(sd, "dct_blur", broken)
    monkeypatch.setattr(gpu, "overhead_rows", lambda *args: [])
    rows = [row for case in gpu.measure(CPU, (8,), 192, budget=60.0, rounds=3) for row in case]
    failed = [row for row in rows if row["status"] != "ok"]
    assert {row["operator"] for row in failed} == {"dct_blur"}
    assert failed[0]["status"] == "failed: RuntimeError: no such kernel"
    assert {row["operator"] for row in rows} >= {"diffuse", "step"}  # the others are there
    table = load("gpu_report", monkeypatch).share_table(rows, "float32")
    assert "failed: RuntimeError: no such kernel" in table


def test_the_budget_ends_the_run(gpu: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "overhead_rows", lambda *args: [])
    assert list(gpu.measure(CPU, (8,), 192, budget=0.0)) == [[]]


@pytest.mark.parametrize("shape", [(2, 3, 8, 8), (2, 1, 7, 12)], ids=str)
def test_peers_compute_the_same(shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    x, gain = randn(shape, 0, torch.float32), randn(shape, 1, torch.float32).abs()
    want = reference.spectral_filter(x.double(), gain.double())
    for name, make in load("gpu_peers", monkeypatch).PEERS.items():
        if name != "torch.compile":
            error = (make(shape, torch.float32, gain)(x).double() - want).norm() / want.norm()
            assert float(error) < 1e-6, name


def test_unet_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    unet = load("gpu_unet", monkeypatch)
    rows = unet.measure(CPU, side=8, batch=2, width=8, repeats=2)
    assert [row["step"] for row in rows] == ["training step", "sampling step"]
    for row in rows:
        assert row["milliseconds"] > 0.0
        assert 0.0 < row["share_of_operators"] < 1.0
    table = load("gpu_report", monkeypatch).unet_table(rows)
    assert table.splitlines()[2].startswith("| training step | 2x3x8x8 | 0.0 M |")


def test_sanitized_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    module = load("gpu_sanitize", monkeypatch)
    assert module.run(CPU) == 11 * len(module.SHAPES) * len(module.DTYPES)


def stage_results(check: ModuleType, *runs: Any, minutes: float = 1.0) -> list[dict[str, Any]]:
    return check.run_stages(tuple(check.Stage(f"stage {i}", 0.2, run) for i, run in enumerate(runs)), minutes)


def test_a_stage_that_fails_leaves_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    check = load("gpu_check", monkeypatch)

    def breaks(seconds: float) -> tuple[bool, str]:
        raise OSError("disk full")

    def late(seconds: float) -> tuple[bool, str]:
        time.sleep(seconds)
        return False, "killed"

    results = stage_results(check, breaks, late, lambda seconds: (False, "2 failed"), lambda seconds: (True, "fine"))
    assert [result["status"] for result in results] == ["failed", "out of time", "failed", "passed"]
    assert [result["detail"] for result in results] == ["OSError: disk full", "killed", "2 failed", "fine"]
    (none,) = stage_results(check, lambda seconds: (True, "fine"), minutes=0.0)
    assert none["status"] == "failed"
    assert none["detail"] == "not run: no time left"


def test_stages_fit_into_nine_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    check = load("gpu_check", monkeypatch)
    assert sum(stage.limit for stage in check.STAGES) + check.WRITING <= 9 * 60


def test_a_command_out_of_time_is_ended(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    check = load("gpu_check", monkeypatch)
    monkeypatch.setattr(check, "WORK", tmp_path)
    begun = time.monotonic()
    assert check.call(["sh", "-c", "echo begun; sleep 30"], "log", 1.0) == (124, "begun")
    assert time.monotonic() - begun < 10.0
    assert check.call(["sh", "-c", "echo a; exit 3"], "log", 5.0) == (3, "a")


BEGUN, FAILED = "Processing\n  error: subprocess-exited-with-error\n", "\nERROR: Failed building wheel\n"
LOGS = {
    "a\nCMake Error at lists:9 (m):\n  no CUDA compiler\n\nCall Stack": "CMake Error at lists:9 (m): no CUDA compiler",
    "x.cu(3): error: no such type\n1 error detected": "x.cu(3): error: no such type",
    "no CMake here": FAILED.strip(),
}


@pytest.mark.parametrize("log", LOGS)
def test_a_build_that_fails_says_why(log: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert load("gpu_check", monkeypatch).why_not_built(BEGUN + log + FAILED) == LOGS[log]


@pytest.mark.parametrize("name", ["gpu.py", "gpu_unet.py"])
def test_the_programs_of_the_stages_start(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """In processes of their own, as the stages run them: they find their neighbours and the package."""
    check = load("gpu_check", monkeypatch)
    monkeypatch.setattr(check, "WORK", tmp_path)
    options = ["--out", str(tmp_path), "--device", "cpu"]
    options += (
        ["--sides", "8", "--numbers", "192", "--rounds", "1"]
        if name == "gpu.py"
        else ["--side", "8", "--batch", "2", "--width", "8"]
    )
    code, text = check.call(check.program(name, *options), "log", 120.0)
    assert code == 0, text


KERNEL = '"{}","9","python3.12","void run_phases<{}, float>>(Params, long)","{}","{}","{}"'
COUNTED = [
    (0, "SquareLevel<32", "gpu__time_duration.sum", "us", "19.5"),
    (0, "SquareLevel<32", "smsp__inst_executed.sum", "inst", "10,223,616"),
    (1, "HalvesIn<256", "smsp__inst_executed.sum", "inst", "4,915,200"),
    (1, "HalvesIn<256", "dram__bytes.sum", "byte", "25,500,000"),
    (2, "HalvesOut<256", "smsp__inst_executed.sum", "inst", "983,040"),
    (3, "SquareCombine<64", "smsp__inst_executed.sum", "inst", "983,040"),
]
PROFILED = """==WARNING== Note: Running with unmodified GPU clocks.
==PROF== Connected to process 9 (/usr/bin/python3.12)
CALL dct_blur 32
CALL diffuse 256
CALL step 64
==PROF== Disconnected from process 9
"ID","Process ID","Process Name","Kernel Name","Metric Name","Metric Unit","Metric Value"
""" + "\n".join(KERNEL.format(*line) for line in COUNTED)


def test_what_ncu_counts_is_the_kernels_of_a_call(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = load("gpu_profile", monkeypatch).read_log(PROFILED)
    assert [(row["operator"], row["side"], row["kernel"]) for row in rows] == [
        ("dct_blur", 32, "SquareLevel<32>"), ("diffuse", 256, "HalvesIn<256>"), ("diffuse", 256, "HalvesOut<256>"),
        ("step", 64, "SquareCombine<64>"),
    ]  # fmt: skip
    assert [row["instructions_a_pixel"] for row in rows] == [52.0, 25.0, 5.0, 5.0]
    assert rows[0]["nanoseconds"] == 19500.0
    assert rows[1]["bytes"] == 25.5e6
    with pytest.raises(ValueError, match="1 kernels more than 2 calls"):
        load("gpu_profile", monkeypatch).read_log(PROFILED.replace("CALL step 64\n", ""))


COLLECTED = """
==================================== ERRORS ====================================
_______________ ERROR collecting python_tests/test_training.py ________________
ImportError while importing test module 'python_tests/test_training.py'.
E   ImportError: softdiff_ext.training needs diffusers, not installed here: pip install "softdiff-ext[train]"
_________________ ERROR collecting python_tests/test_sizes.py _________________
python_tests/test_sizes.py:9: in <module>
E   ModuleNotFoundError: No module named 'scipy.fft'
__________________ ERROR collecting python_tests/test_dct.py __________________
E   ImportError: cannot import name 'dct' from 'softdiff_ext'
ERROR python_tests/test_training.py
"""


def test_files_that_need_a_missing_package_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """And no others: what cannot be imported for another reason fails."""
    missing = load("gpu_check", monkeypatch).missing_packages(COLLECTED)
    assert missing == {"test_training.py": "diffusers", "test_sizes.py": "scipy"}


@pytest.mark.skipif(torch.cuda.is_available(), reason="would build the package: make gpu-check does")
def test_without_a_gpu_it_says_so(tmp_path: Path) -> None:
    program = Path(__file__).resolve().parents[1] / "benchmarks" / "gpu_check.py"
    command = [sys.executable, str(program), "--only", "build", "--out", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "| build | failed |" in done.stdout
    assert "torch finds no CUDA device" in done.stdout
    assert json.loads((tmp_path / "gpu.json").read_text())["stages"][0]["status"] == "failed"

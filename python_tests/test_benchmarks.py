"""The benchmark runs, says what it measured, and refuses wrong answers, whoever gives them."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import softdiff_ext as sd

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
SHAPE = (4, 2, 16, 16)
TEXT, NUMBER = str, (int, float)
ROW = {"group": TEXT, "operator": TEXT, "shape": list, "dtype": TEXT, "threads": int, "operands": TEXT, "candidate": TEXT}
TIMES = ("ns_per_pixel_median", "ns_per_pixel_low", "ns_per_pixel_high")


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Imports a module of benchmarks/ as its programs do, and forgets it afterwards."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    for path in BENCHMARKS.glob("*.py"):
        monkeypatch.delitem(sys.modules, path.stem, raising=False)
    before = set(sys.modules)
    yield importlib.import_module
    for name in set(sys.modules) - before:
        if Path(getattr(sys.modules[name], "__file__", None) or "").parent == BENCHMARKS:
            del sys.modules[name]


@pytest.mark.slow
def test_quick_run_writes_rows_with_machine_versions_and_commit(tmp_path: Path) -> None:
    command = [sys.executable, str(BENCHMARKS / "bench.py"), "--quick", "--out", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    content = json.loads((tmp_path / "bench.json").read_text())
    assert content["schema"] == 1
    wanted = {"cpu", "cores", "caches", "isa", "compiler", "python", "torch", "commit", "time", "peers", "quick"}
    assert wanted <= set(content["machine"])
    for name, version in content["machine"]["peers"].items():  # a missing peer is named, in the file and on the screen
        assert not version.startswith("missing") or f"peer {name} is missing" in done.stdout
    rows = content["rows"]
    for row in rows:
        assert all(isinstance(row[key], kind) for key, kind in ROW.items())
        assert row["status"] == "ok", row
        assert all(isinstance(row[key], NUMBER) and row[key] > 0 for key in TIMES)
        assert row["ns_per_pixel_low"] <= row["ns_per_pixel_median"] <= row["ns_per_pixel_high"]
    operators = {row["operator"] for row in rows if row["candidate"] == "softdiff_ext"}
    assert {"dct_blur", "dct", "idct", "diffuse", "posterior_sample", "momentum_step", "spectral_filter"} <= operators
    assert {"soft_score_loss", "normal", "step Cold", "dct 3-D", "IHDM batch"} <= operators
    assert {"copy_", "clone", "torch matmul"} <= {row["candidate"] for row in rows if row["operator"] == "dct_blur"}
    assert {row["operands"] for row in rows if row["operator"] == "dct_blur"} == {"warm", "cold"}
    assert "dct_blur" in (tmp_path / "bench.md").read_text()
    assert (tmp_path / "speed.png").read_bytes().startswith(b"\x89PNG")


def statuses(load: Any, case: Any) -> dict[str, str]:
    rows = load("measure").run(case, threads=1, cold=False, budget=0.0)
    refused = [row for row in rows if row["status"] != "ok"]
    assert not any(key in row for row in refused for key in TIMES), "a wrong answer has no time"
    return {row["candidate"]: row["status"] for row in rows}


def test_wrong_operator_is_refused_and_the_others_are_timed(load: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    right = sd.dct_blur
    monkeypatch.setattr(sd, "dct_blur", lambda x, tau: right(x, tau * 1.0001))
    found = statuses(load, load("cases").blur(SHAPE, 1, leave_out=("torch.compile",)))
    assert found["softdiff_ext"].startswith("refused: relative error")
    assert found["torch matmul"] == "ok"


def test_wrong_peer_is_refused(load: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    peer = load("torch_peers").Matmul
    right = peer.dct
    monkeypatch.setattr(peer, "dct", lambda self, x: right(self, x).mul_(1.0001))
    found = statuses(load, load("cases").blur(SHAPE, 1, leave_out=("torch.compile",)))
    assert found["torch matmul"].startswith("refused")
    assert found["softdiff_ext"] == "ok"


def test_a_wrong_last_sample_is_seen(load: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    right = sd.dct_blur

    def wrong(x: Tensor, tau: Tensor) -> Tensor:
        out = right(x, tau)
        out[-1, 0, 0, 0] += 1.0
        return out

    monkeypatch.setattr(sd, "dct_blur", wrong)
    found = statuses(load, load("cases").blur((700, 1, 28, 28), 1, leave_out=("torch.compile", "torch-dct")))
    assert found["softdiff_ext"].startswith("refused")


@pytest.mark.parametrize("name", ["diffuse", "posterior_sample", "momentum_step", "normal"])
def test_noise_of_a_wrong_size_is_refused(name: str, load: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    cases = load("cases")
    shape = (64, 1, 32, 32)  # enough numbers to see a std that is 2 % too large
    case = {
        "diffuse": lambda: cases.corrupt(shape, 1),
        "normal": lambda: cases.normal(1 << 18, 1),
    }.get(name, lambda: cases.reverse_step(name, shape, 1))()
    assert set(statuses(load, case).values()) == {"ok"}
    right = case.calls["softdiff_ext"]

    def louder(operand: Any, generator: torch.Generator | None) -> Tensor:
        if name == "normal":
            return right(operand, generator) * 1.02
        zero = right(operand.zeros(), torch.Generator().manual_seed(0))
        return right(operand, generator) + 0.02 * zero

    case.calls["softdiff_ext"] = louder
    assert "times the wanted variance" in statuses(load, case)["softdiff_ext"]


def _verdict(load: Any, requirement: str, shape: list[int], times: dict[str, float], **key: Any) -> str:
    """The text about one requirement where a case's candidates take these times."""
    common = {"group": "blur", "operator": "dct_blur", "shape": shape, "dtype": "float32", "threads": 1, "operands": "warm"}
    common |= {"status": "ok", "error": 2e-7, "images": 2, "noise": False, **key}
    rows = [{**common, "candidate": name, "ns_per_pixel_median": time} for name, time in {"copy_": 0.1, **times}.items()]
    (verdict,) = [v.text for v in load("targets").evaluate(rows) if v.requirement == requirement]
    return str(verdict)


def test_targets_are_told_reached_or_missed_by_how_much(load: Any) -> None:
    def verdict(ours: float) -> str:
        times = {"softdiff_ext": ours, "ducc0": 4.0, "torch matmul": 7.0}
        return _verdict(load, "x best peer", [128, 3, 64, 64], times)

    assert verdict(0.4) == "goal reached"  # must 7, goal 10 at this shape
    assert verdict(0.5) == "must reached, goal missed: 20% short"
    assert verdict(0.8) == "must missed: 29% short"


def test_a_peer_that_a_copy_would_not_beat_as_often_is_told_so(load: Any) -> None:
    def verdict(copy: float, ours: float = 0.5) -> str:
        times = {"softdiff_ext": ours, "torch matmul": 2.5, "copy_": copy}
        return _verdict(load, "x best peer", [128, 3, 32, 32], times)

    assert verdict(0.2) == "must missed: 44% short"  # must 9: 2.5 / 9 is 0.28
    assert verdict(0.3125) == "must missed: 44% short; out of reach: with a copy it would be 8.00"
    assert verdict(0.3125, ours=0.3) == "must missed: 7% short"  # faster than the copy: its time says nothing


STEP = {"group": "sampler", "operator": "posterior_sample", "images": 3, "noise": True}


def test_a_twin_that_the_parts_alone_would_not_beat_as_often_is_told_so(load: Any) -> None:
    def verdict(twin: float) -> str:
        times = {"softdiff_ext": 2.5, "dct_blur": 1.0, "normal": 0.5, "torch twin": twin}
        return _verdict(load, "x torch twin", [8, 3, 32, 32], times, **STEP)

    assert verdict(20.0) == "must reached"
    assert verdict(18.0) == "must missed: 10% short"  # the parts take 2.0
    assert verdict(10.0) == "must missed: 50% short; out of reach: with the parts alone it would be 5.00"


def test_a_step_whose_parts_alone_take_more_than_the_target_is_told_so(load: Any) -> None:
    def verdict(step: float, noise: float) -> str:
        return _verdict(load, "x dct_blur", [8, 3, 32, 32], {"softdiff_ext": step, "dct_blur": 1.0, "normal": noise}, **STEP)

    assert verdict(1.7, 0.1) == "must reached"  # must 1.75
    assert verdict(1.9, 0.1) == "must missed: 9% over"  # the parts take 1.6: it could be reached
    assert verdict(2.5, 1.0) == "must missed: 43% over; out of reach: the parts alone take 2.50, this is 0% over them"


def test_16_bit_images_are_held_against_float32_ones_of_the_same_rounds(load: Any) -> None:
    times = {"softdiff_ext": 1.2, "ours in float32": 1.0, "ducc0": 9.0}
    assert _verdict(load, "float16, x float32", [8, 3, 32, 32], times, dtype="float16", error=1e-4) == "must missed: 14% over"


def test_forward_and_backward_are_held_against_blurs_of_two_images(load: Any) -> None:
    def verdict(both: float, two: float, autograd: float = 0.0) -> str:
        times = {"softdiff_ext": both, "dct_blur": 1.0, "dct_blur of two": two, "torch matmul": 9.0}
        times |= {"neg of two": 0.4, "neg, forward + backward": 0.4 + autograd}
        key = {"group": "backward", "operator": "dct_blur, forward + backward", "images": 4}
        return _verdict(load, "x dct_blur", [8, 3, 32, 32], times, **key)

    assert verdict(2.1, 2.0) == "must reached"
    assert verdict(2.42, 2.0) == "must missed: 10% over"
    reason = "out of reach: two blurs and autograd's own work take 2.30, this is 5% over them"
    assert verdict(2.42, 2.3) == f"must missed: 10% over; {reason}"
    assert verdict(2.42, 2.0, autograd=0.3) == f"must missed: 10% over; {reason}"
    assert verdict(2.42, 2.0, autograd=-0.3) == "must missed: 10% over"  # the spread of a median


def test_readme_table_is_written_between_its_marks(load: Any, tmp_path: Path) -> None:
    report = load("report")
    path = tmp_path / "README.md"
    path.write_text(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n")
    report.update_readme(report.Result({}, []), path)
    text = path.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "old" not in text
    assert "| 128x3x32x32 |" in text
    path.write_text("no marks")
    with pytest.raises(ValueError, match="must hold the lines"):
        report.update_readme(report.Result({}, []), path)

"""The package as installed: what it says of itself, and that it works from any folder, without a GPU and without the extras."""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
from pathlib import Path

import torch

import softdiff_ext as sd

IMPORTED_BY_EXTRAS = (
    "accelerate",
    "diffusers",
    "matplotlib",
    "PIL",
    "yaml",
    "rich",
    "safetensors",
    "tensorboard",
    "psutil",
    "scipy",
)


def run(code: str, cwd: Path) -> str:
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    environment.pop("PYTHONPATH", None)
    done = subprocess.run([sys.executable, "-c", code], cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_works_from_another_folder_without_a_device(tmp_path: Path) -> None:
    blur = "list(sd.dct_blur(torch.rand(2, 3, 28, 30), 4.0).shape)"
    code = f"import softdiff_ext as sd, torch; print({blur}, torch.cuda.is_available())"
    assert run(code, tmp_path) == "[2, 3, 28, 30] False"


def test_the_import_loads_torch_and_numpy_only(tmp_path: Path) -> None:
    code = f"import sys, softdiff_ext; print([m for m in {IMPORTED_BY_EXTRAS!r} if m in sys.modules])"
    assert run(code, tmp_path) == "[]"


def test_versions_agree() -> None:
    assert importlib.metadata.version("softdiff-ext") == sd.__version__
    assert sd.build_info()["version"] == sd.__version__


def test_requirements_at_run_time_are_torch_and_numpy() -> None:
    wanted = [line for line in importlib.metadata.requires("softdiff-ext") or [] if "extra ==" not in line]
    assert sorted(line.split(">")[0].strip() for line in wanted) == ["numpy", "torch"]


def test_build_info() -> None:
    info = sd.build_info()
    native = {"version", "compiler", "isa", "isas_available", "openmp", "openmp_max_threads"}
    cuda = {"cuda_compiled", "cuda_toolkit", "cuda_architectures", "cuda_devices"}
    assert set(info) == native | cuda | {"python", "torch", "torch_threads", "torch_cuda"}
    assert info["torch"] == torch.__version__
    assert info["torch_threads"] == torch.get_num_threads()
    assert info["isa"] in info["isas_available"]
    assert info["isas_available"] == ["neon"] or "portable" in info["isas_available"]
    assert set(info["isas_available"]) <= {"avx512", "avx2", "portable", "neon"}
    assert bool(info["cuda_toolkit"]) == bool(info["cuda_architectures"]) == info["cuda_compiled"]
    assert info["torch_cuda"] == torch.cuda.is_available()


def test_the_info_command_prints_it(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "softdiff_ext", "info"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    for key in sd.build_info():
        assert key in done.stdout

"""The CPU kernels on aarch64: cross compiled with every warning an error, vectorised for NEON, and right under an emulator."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

COMPILER = "aarch64-linux-gnu-g++"
EMULATOR = "qemu-aarch64-static"
SCRIPT = Path(__file__).parent / "native" / "cross_check.sh"


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(shutil.which(COMPILER) is None, reason=f"not run: no {COMPILER} (Debian package g++-aarch64-linux-gnu)")
def test_the_kernels_on_aarch64(tmp_path: Path) -> None:
    done = subprocess.run([SCRIPT, tmp_path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    if shutil.which(EMULATOR) is None:
        pytest.skip(f"compiled for NEON, not run: no {EMULATOR} (Debian package qemu-user-static)")
    assert "instruction set: neon" in done.stdout
    assert "all checks passed" in done.stdout


def test_without_the_compiler_the_script_says_what_is_missing(tmp_path: Path) -> None:
    environment = {**os.environ, "CXX": "no-such-g++"}
    done = subprocess.run([SCRIPT, tmp_path], capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 2
    assert "no no-such-g++" in done.stderr

"""The scripts of docs/examples run, draw their picture, and learn something in few steps."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "docs" / "examples"

PIXEL_ENTROPY = 2.97
"""Bits that a pixel of the training scans costs if only its histogram is known: a model of digits must do better."""


def run(name: str, *arguments: object) -> str:
    """What the example prints."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "error::FutureWarning"}
    command = [sys.executable, str(EXAMPLES / name), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def numbers(text: str, pattern: str) -> list[float]:
    return [float(found) for found in re.findall(pattern + r" (\d+\.\d+)", text)]


@pytest.mark.slow
def test_vdm(tmp_path: Path) -> None:
    text = run("vdm.py", tmp_path, 220)
    (total,) = numbers(text, "held out: total")
    assert total < PIXEL_ENTROPY - 0.2
    coarse, fine = numbers(text, "100 of them:")
    assert coarse > fine + 0.3  # more steps, a tighter bound
    assert (tmp_path / "vdm.png").stat().st_size > 5000


@pytest.mark.slow
def test_blurring(tmp_path: Path) -> None:
    text = run("blurring.py", tmp_path, 140)
    totals = numbers(text, "bits per pixel: total")
    assert len(totals) == 2
    assert max(totals) < PIXEL_ENTROPY - 0.1
    assert (tmp_path / "blurring.png").stat().st_size > 5000

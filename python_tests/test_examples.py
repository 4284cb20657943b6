"""The scripts of docs/examples run, draw their picture, and learn something in few steps."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "docs" / "examples"

PIXEL_ENTROPY = 2.97
"""Bits that a pixel of the training scans costs if only its histogram is known: a model of digits must do better."""


def run(name: str, *arguments: object, folder: Path = EXAMPLES) -> str:
    """What the script prints."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "error::FutureWarning"}
    command = [sys.executable, str(folder / name), *map(str, arguments)]
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


@pytest.mark.slow
def test_ihdm(tmp_path: Path) -> None:
    text = run("ihdm.py", tmp_path, 150)
    errors = numbers(text, "squared error a pixel")
    assert errors[-1] < 0.25 * errors[0]
    (scans,) = numbers(text, "std of the scans")
    assert all(0.7 * scans < std < 1.3 * scans for std in numbers(text, r"std of samples, [^:]*:"))
    assert (tmp_path / "ihdm.png").stat().st_size > 5000


@pytest.mark.slow
def test_cold(tmp_path: Path) -> None:
    text = run("cold.py", tmp_path, 150)
    blurred, at_once, first, second = numbers(text, r"RMS to the scans, (?:blurred|at once|algorithm)[^:]*:")
    assert max(at_once, first, second) < 0.75 * blurred
    assert (tmp_path / "cold.png").stat().st_size > 5000


@pytest.mark.slow
def test_soft(tmp_path: Path) -> None:
    text = run("soft.py", tmp_path, 20)
    (path,) = numbers(text, "shortest W2 path: longest hop")
    (spaced,) = numbers(text, "log-spaced: longest hop")
    assert path < 0.5 * spaced
    assert (tmp_path / "soft_schedule.png").stat().st_size > 5000
    assert (tmp_path / "soft_samples.png").stat().st_size > 5000


@pytest.mark.slow
def test_editing(tmp_path: Path) -> None:
    text = run("editing.py", tmp_path, 110)
    gains = [float(after) - float(before) for before, after in re.findall(r"PSNR (\S+) dB -> (\S+) dB", text)]
    assert len(gains) == 3
    assert min(gains) > 1.0  # dB, on scans that no training has seen
    assert (tmp_path / "editing.png").stat().st_size > 5000


@pytest.mark.slow
def test_antialiased_downsampling(tmp_path: Path) -> None:
    text = run("antialiased_downsampling.py", tmp_path, 250)
    plain, blurred = numbers(text, "same class one pixel further")
    assert blurred > plain + 15.0  # per cent
    plain, blurred = numbers(text, "contrast of the false rings")
    assert blurred < 0.1 * plain
    assert (tmp_path / "antialiased_downsampling.png").stat().st_size > 5000


def test_spectral_loss(tmp_path: Path) -> None:
    text = run("spectral_loss.py", tmp_path)
    plain, spectral = numbers(text, "within half a pixel")
    assert plain < 80.0 < 95.0 < spectral  # per cent of the shifts
    plain, spectral = numbers(text, "mean error")
    assert spectral < 0.1 < 2.0 < plain  # pixels
    assert (tmp_path / "spectral_loss.png").stat().st_size > 5000


def test_learnable_blur(tmp_path: Path) -> None:
    text = run("learnable_blur.py", tmp_path)
    (largest,) = numbers(text, "largest error")
    assert largest < 0.05  # pixels; the blurs are 0.5 to 3.8
    (true,), (found,) = numbers(text, "true blur"), numbers(text, "found")
    assert abs(found - true) < 0.02
    blurred, alike, sharpened = numbers(text, "RMS to the sharp images")
    assert sharpened < 0.5 * min(blurred, alike)
    assert (tmp_path / "learnable_blur.png").stat().st_size > 5000


def test_frequency_weighted_denoiser(tmp_path: Path) -> None:
    text = run("frequency_weighted_denoiser.py", tmp_path)
    assert numbers(text, "mean difference")[0] < 0.005
    noisy, blurred, learned, wiener = numbers(text, "PSNR")
    assert noisy + 8.0 < blurred < learned - 0.7  # dB
    assert abs(learned - wiener) < 0.05
    assert (tmp_path / "frequency_weighted_denoiser.png").stat().st_size > 5000


SCHEDULERS = {
    "shipped": None,
    "ddpm": 'diffusers.DDPMScheduler(num_train_timesteps=1000, prediction_type="v_prediction")',
    "vdm": "softdiff.VDMScheduler()",
    "ihdm": "softdiff.IHDMScheduler(num_train_timesteps=20, sigma_blur_max=6.0).fit(images)",
    "soft": "softdiff.SoftDiffusionScheduler(sigma_blur_max=6.0).fit(images)",
    "cold": "softdiff.ColdDiffusionScheduler(num_train_timesteps=20, sigma_blur_max=8.0).fit(images)",
}
"""What stands on the right of `noise_scheduler =` in the training script; None is what is there."""
CLASSES = {
    "shipped": "BlurringDiffusionScheduler",
    "ddpm": "DDPMScheduler",
    "vdm": "VDMScheduler",
    "ihdm": "IHDMScheduler",
    "soft": "SoftDiffusionScheduler",
    "cold": "ColdDiffusionScheduler",
}


def test_one_line_of_the_training_script_changes_the_diffusion(tmp_path: Path) -> None:
    text = (EXAMPLES / "train_unconditional.py").read_text()
    few = ["--max-steps", "3", "--sample-steps", "3", "--sample-count", "2", "--channels", "8", "16"]
    driver = "import runpy, sys\n"  # one process: to import diffusers takes longer than all six runs
    for name, line in SCHEDULERS.items():
        changed, count = re.subn(r"(?m)^( *noise_scheduler = ).*$", rf"\g<1>{line}", text)
        assert count == 1
        assert len(set(changed.splitlines()) ^ set(text.splitlines())) == 2
        (tmp_path / f"{name}.py").write_text(text if line is None else changed)
        arguments = [f"{name}.py", *few, "--output", str(tmp_path / name)]
        driver += f"sys.argv = {arguments}\nrunpy.run_path({str(tmp_path / f'{name}.py')!r}, run_name='__main__')\n"
    (tmp_path / "all.py").write_text(driver)
    losses = numbers(run("all.py", folder=tmp_path), "step 3: loss")
    assert len(losses) == len(SCHEDULERS)
    assert all(0.0 < loss < 3.0 for loss in losses)
    for name, kind in CLASSES.items():
        index = json.loads((tmp_path / name / "model_index.json").read_text())
        assert index["scheduler"][1] == kind
        with Image.open(tmp_path / name / "samples.png") as sheet:
            assert sheet.size == (4 * (2 * 9 + 1), 4 * (9 + 1))


@pytest.mark.slow
def test_the_matrix_of_families_and_rules(tmp_path: Path) -> None:
    """The command of docs/methods.md at a size that only shows that it runs: every cell is a number or a reason."""
    few = ("--steps", 3, "--sampler-steps", 3, "--few", 2, "--samples", 20, "--scans", 20, "--jobs", 1)
    text = run("families.py", *few, "--runs", tmp_path / "runs", "--out", tmp_path, folder=ROOT / "benchmarks")
    result = json.loads((tmp_path / "families.json").read_text())
    for name, family in result["families"].items():
        assert len(family["rules"]) + len(family["refused"]) == 8
        assert all(row["frechet_distance"] > 0 for row in family["rules"].values())
        assert (family["bits_per_dimension"] is None) == (name in ("soft", "cold"))
    assert set(result["families"]) >= {"vdm", "ihdm", "blurring", "soft", "cold"}
    assert "refused (1)" in text
    assert (tmp_path / "families.md").read_text() in text + "\n"


def test_the_matrix_in_the_docs_is_the_one_that_was_measured(tmp_path: Path) -> None:
    results, docs = ROOT / "benchmarks" / "results", ROOT / "docs"
    shutil.copy(results / "families.json", tmp_path)
    shutil.copy(docs / "methods.md", tmp_path)
    run("families_table.py", tmp_path, tmp_path, folder=ROOT / "benchmarks")
    assert (tmp_path / "families.md").read_text() == (results / "families.md").read_text()
    assert (tmp_path / "methods.md").read_text() == (docs / "methods.md").read_text()


def test_the_temperature_plot(tmp_path: Path) -> None:
    text = run("temperature.py", "--out", tmp_path / "temperature.png", folder=ROOT / "benchmarks")
    assert "omega = 1.250 sigma: law 0.781; 100 steps 0.736" in text
    assert (tmp_path / "temperature.png").stat().st_size > 5000

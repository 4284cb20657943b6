"""`softdiff export`: a run as a pipeline folder that draws what `softdiff sample` draws."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import DDPMPipeline
from safetensors import SafetensorError

from softdiff_ext.cli import main
from softdiff_ext.integrations.diffusers import SoftdiffPipeline
from softdiff_ext.training.randomness import generator

NETWORK = ["--network.channels", "8", "8", "--network.blocks", "1", "--network.attention"]
SMALL = [*NETWORK, "--batch-size", "8", "--sample-count", "2", "--sample-steps", "2", "--steps", "3"]
RUNS = {
    "vdm": ["--vdm.prediction", "v"],
    "vdm-ddpm": ["--vdm.schedule", "ddpm"],
    "vdm-learned": ["--vdm.schedule", "learned-monotone", "--vdm.weighting", "elbo", "--vdm.values", "17"],
    "blurring": ["--blurring.sigma-blur-max", "3"],
    "ihdm": ["--ihdm.levels", "10", "--ihdm.sigma-blur", "0.5", "4"],
    "soft": ["--soft.sigma-blur", "0.05", "4"],
    "cold": ["--cold.levels", "10", "--cold.sigma-blur", "0.5", "8"],
}


@pytest.fixture(scope="module", params=RUNS)
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("export") / request.param
    assert main(["train", str(folder), "--process", request.param.partition("-")[0], *RUNS[request.param], *SMALL]) == 0
    return folder


def test_the_pipeline_draws_what_sample_draws(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, out = tmp_path / "new" / "pipeline", tmp_path / "sampled"
    capsys.readouterr()
    assert main(["export", str(run), str(folder)]) == 0
    assert capsys.readouterr().out == f"{folder}\n"
    assert sorted(path.name for path in folder.iterdir()) == ["model_index.json", "pipeline.py", "scheduler", "unet"]
    assert [path.name for path in folder.parent.iterdir()] == ["pipeline"]

    assert main(["sample", str(run), "--count", "3", "--steps", "5", "--seed", "4", "--out", str(out)]) == 0
    sampled = torch.from_numpy(np.load(out.with_suffix(".npy"), allow_pickle=False))
    pipeline = SoftdiffPipeline.from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    draws = generator(torch.device("cpu"), 4, "sample")
    images = pipeline(3, draws, 5, output_type="pt").images
    assert torch.equal(images, (sampled / 2 + 0.5).clamp(0, 1))
    if "vdm" in run.name or run.name == "blurring":
        noisy = DDPMPipeline.from_pretrained(folder)
        noisy.set_progress_bar_config(disable=True)
        assert noisy(2, num_inference_steps=3, output_type="np").images.shape == (2, 8, 8, 1)


def test_export_refuses_and_leaves_nothing_behind(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run, folder = tmp_path / "run", tmp_path / "pipeline"
    assert main(["train", str(run), "--process", "blurring", *SMALL]) == 0

    def refused(*arguments: object) -> str:
        capsys.readouterr()
        assert main(["export", *map(str, arguments)]) == 2
        return capsys.readouterr().err

    folder.mkdir()
    (folder / "mine.txt").write_text("mine")
    assert f"export: {folder} exists: choose another folder" in refused(run, folder)
    assert [path.name for path in folder.iterdir()] == ["mine.txt"]
    assert "nowhere does not exist" in refused(tmp_path / "nowhere", tmp_path / "other")

    def full(*arguments: object, **options: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("softdiff_ext.integrations.diffusers.write_state", full)
    wanted = f"softdiff: export: {tmp_path / 'other'} cannot be written: "
    assert refused(run, tmp_path / "other") == f"{wanted}No space left on device\n"
    monkeypatch.undo()

    def full_of_tensors(*arguments: object, **options: object) -> None:
        raise SafetensorError("Error while serializing: No space left on device (os error 28)")

    monkeypatch.setattr("safetensors.torch.save_file", full_of_tensors)
    assert refused(run, tmp_path / "other").startswith(f"{wanted}Error while serializing: No space left")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pipeline", "run"]

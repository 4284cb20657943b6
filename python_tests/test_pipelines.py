"""Pipelines: images of a network and a scheduler, saved, loaded, and the same as those of the process."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDPMPipeline, DDPMScheduler, DiffusionPipeline, UNet2DModel
from PIL import Image
from torch import Tensor

from softdiff_ext.integrations.diffusers import ProcessScheduler, SoftdiffPipeline

from .schedulers import FAMILIES, SHAPE, build, generator, refuse_network, unfitted


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.socket.connect", refuse_network)


def network(side: int | tuple[int, int] | None, channels: int) -> UNet2DModel:
    torch.manual_seed(0)
    return UNet2DModel(
        sample_size=side,
        in_channels=channels,
        out_channels=channels,
        block_out_channels=(8, 8),
        norm_num_groups=4,
        layers_per_block=1,
        down_block_types=("DownBlock2D",) * 2,
        up_block_types=("UpBlock2D",) * 2,
    )


@pytest.fixture(scope="module")
def unet() -> UNet2DModel:
    return network(SHAPE[2:], SHAPE[1])


def pipeline_of(unet: UNet2DModel, scheduler: Any) -> SoftdiffPipeline:
    pipeline = SoftdiffPipeline(unet=unet.eval(), scheduler=scheduler)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def drawn(pipeline: Any, count: int, source: Any, steps: int = 4, **options: Any) -> Tensor:
    images: Tensor = pipeline(count, source, steps, output_type="pt", **options).images
    return images


@pytest.mark.parametrize("family", FAMILIES)
def test_images_are_those_of_the_process(family: str, unet: UNet2DModel) -> None:
    scheduler = build(family, timestep_type="continuous")
    got = drawn(pipeline_of(unet, scheduler), 3, generator(1))
    assert got.shape == SHAPE
    assert bool(((got >= 0.0) & (got <= 1.0)).all())
    if family in ("ihdm", "soft"):  # these networks give clean images, and those of the process residuals
        return

    want = scheduler.process.sample(unet, SHAPE, scheduler.process.level_times(4), generator=generator(1))
    assert torch.equal(got, (want / 2 + 0.5).clamp(0, 1))


@pytest.mark.parametrize("family", FAMILIES)
def test_an_image_depends_on_its_generator_and_number_alone(family: str, unet: UNet2DModel) -> None:
    pipeline = pipeline_of(unet, build(family, rule="markov"))
    whole = drawn(pipeline, 3, generator(1))
    assert torch.equal(whole, drawn(pipeline, 3, generator(1)))
    assert not torch.equal(whole, drawn(pipeline, 3, generator(2)))
    each = drawn(pipeline, 2, [generator(1), generator(2)])
    for got, want in (
        (drawn(pipeline, 2, generator(1), first=1), whole[1:]),
        (each[:1], drawn(pipeline, 1, generator(1))),
        (each[1:], drawn(pipeline, 1, generator(2))),
    ):
        # a convolution of another batch rounds differently, and "epsilon" divides that by a_1 = 1 / 148
        torch.testing.assert_close(got, want, atol=1e-3, rtol=0)


@pytest.mark.parametrize("family", FAMILIES)
def test_saved_and_loaded_it_draws_the_same_bits(family: str, unet: UNet2DModel, tmp_path: Path) -> None:
    pipeline = pipeline_of(unet, build(family))
    pipeline.save_pretrained(tmp_path)
    index = json.loads((tmp_path / "model_index.json").read_text())
    assert index["scheduler"] == ["softdiff_ext.integrations.diffusers", type(pipeline.scheduler).__name__]
    loaded = SoftdiffPipeline.from_pretrained(tmp_path)
    loaded.set_progress_bar_config(disable=True)
    for name, tensor in pipeline.scheduler.process.state_dict().items():
        assert torch.equal(loaded.scheduler.process.state_dict()[name], tensor)
    assert torch.equal(drawn(loaded, 3, generator(1)), drawn(pipeline, 3, generator(1)))


def test_diffusers_finds_a_saved_pipeline_by_the_file_beside_it(
    unet: UNet2DModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a network, and without an import of this package in the program that loads it."""
    monkeypatch.setattr("diffusers.utils.dynamic_modules_utils.HF_MODULES_CACHE", str(tmp_path / "cache"))
    monkeypatch.syspath_prepend(tmp_path / "cache")
    pipeline = pipeline_of(unet, build("soft"))
    pipeline.save_pretrained(tmp_path / "pipeline")
    loaded = DiffusionPipeline.from_pretrained(tmp_path / "pipeline", custom_pipeline="pipeline", trust_remote_code=True)
    assert type(loaded) is SoftdiffPipeline
    loaded.set_progress_bar_config(disable=True)
    assert torch.equal(drawn(loaded, 3, generator(1)), drawn(pipeline, 3, generator(1)))


@pytest.mark.parametrize("family", ["vdm", "ddpm", "blurring", "blocks"])
def test_diffusers_own_pipeline_serves_the_families_that_start_from_noise(
    family: str, unet: UNet2DModel, tmp_path: Path
) -> None:
    scheduler = build(family)
    pipeline = DDPMPipeline(unet=unet, scheduler=scheduler)
    pipeline.save_pretrained(tmp_path)
    loaded = [DDPMPipeline.from_pretrained(tmp_path), DiffusionPipeline.from_pretrained(tmp_path)]
    for one in (pipeline, *loaded):
        assert isinstance(one.scheduler, type(scheduler))
        one.set_progress_bar_config(disable=True)
        images = one(2, generator(3), 5, output_type="pt").images
        z = torch.randn((2, *SHAPE[1:]), generator=(source := generator(3)))
        scheduler.set_timesteps(5)
        with torch.no_grad():
            for timestep in scheduler.timesteps:
                z = scheduler.step(unet(z, timestep).sample, timestep, z, generator=source).prev_sample
        assert torch.equal(images, (z / 2 + 0.5).clamp(0, 1))


def test_a_scheduler_of_diffusers_fits_in_too(unet: UNet2DModel) -> None:
    ours, theirs = pipeline_of(unet, DDPMScheduler()), DDPMPipeline(unet=unet, scheduler=DDPMScheduler())
    theirs.set_progress_bar_config(disable=True)
    assert torch.equal(drawn(ours, 2, generator(1)), theirs(2, generator(1), 4, output_type="pt").images)


def test_outputs_and_a_start_of_one_s_own(unet: UNet2DModel) -> None:
    pipeline = pipeline_of(unet, build("cold"))
    tensors = drawn(pipeline, 3, generator(1))
    arrays = pipeline(3, generator(1), 4, output_type="np").images
    assert np.array_equal(arrays, tensors.permute(0, 2, 3, 1).numpy())
    (pair,) = pipeline(3, generator(1), 4, output_type="pt", return_dict=False)
    assert torch.equal(pair, tensors)
    start = pipeline.scheduler.prior(SHAPE, generator(1))
    assert torch.equal(drawn(pipeline, 3, None, start=start), tensors)  # this family draws nothing else
    assert len(pipeline.scheduler.timesteps) == 4
    pipeline(1, output_type="np")
    assert len(pipeline.scheduler.timesteps) == 12  # all levels where no number of steps is given


def test_grey_and_colour_images_for_pil() -> None:
    for channels, mode in ((1, "L"), (3, "RGB")):
        (image,) = pipeline_of(network(8, channels), build("vdm"))(1, generator(), 2).images
        assert isinstance(image, Image.Image)
        assert (image.mode, image.size) == (mode, (8, 8))


def test_bad_arguments_are_refused_before_anything_is_drawn(unet: UNet2DModel) -> None:
    pipeline = pipeline_of(unet, build("soft"))
    for arguments, message in (
        ({"batch_size": 0}, "batch_size: must be an int >= 1, got 0"),
        ({"batch_size": 2, "generator": [generator()]}, "one for each of 2 images, got 1"),
        ({"output_type": "jpeg"}, "output_type: must be one of pil, np, pt, got 'jpeg'"),
        ({"num_inference_steps": 61}, "num_inference_steps: must be from 1 to num_train_timesteps = 60, got 61"),
        ({"start": torch.zeros(1, 1, 8, 8)}, r"start: must have shape \[1, 2, 8, 6\], got \[1, 1, 8, 8\]"),
        ({"first": -1}, "first: must be an int >= 0, got -1"),
    ):
        with pytest.raises(ValueError, match=message):
            pipeline(**arguments)
    with pytest.raises(RuntimeError, match=r"SoftDiffusion: call fit\(images\) first"):
        pipeline_of(unet, unfitted("soft"))(1)


def test_bad_parts_are_refused(unet: UNet2DModel) -> None:
    scheduler = build("vdm")
    with pytest.raises(TypeError, match="scheduler must have set_timesteps and step, got VariationalDiffusion"):
        SoftdiffPipeline(unet=unet, scheduler=scheduler.process)
    with pytest.raises(TypeError, match="unet must have config and dtype, got Conv2d"):
        SoftdiffPipeline(unet=torch.nn.Conv2d(1, 1, 1), scheduler=scheduler)
    with pytest.raises(ValueError, match=r"unet must have config\.sample_size, the size of the images, got None"):
        SoftdiffPipeline(unet=network(None, 1), scheduler=scheduler)


def test_a_pipeline_of_a_newer_version_is_refused(unet: UNet2DModel, tmp_path: Path) -> None:
    pipeline_of(unet, build("ihdm")).save_pretrained(tmp_path)
    path = tmp_path / "model_index.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format_version": 2}))
    with pytest.raises(ValueError, match="SoftdiffPipeline: was saved in format 2, this softdiff_ext reads format 1"):
        SoftdiffPipeline.from_pretrained(tmp_path)


def test_half_precision(unet: UNet2DModel, tmp_path: Path) -> None:
    pipeline_of(unet, build("blurring")).save_pretrained(tmp_path)
    half = SoftdiffPipeline.from_pretrained(tmp_path, dtype=torch.bfloat16)
    half.set_progress_bar_config(disable=True)
    assert isinstance(half.scheduler, ProcessScheduler)
    got = drawn(half, 3, generator(1))
    assert got.dtype == torch.bfloat16
    assert (got.float() - drawn(pipeline_of(unet, build("blurring")), 3, generator(1))).abs().mean() < 0.02

"""The schedulers as diffusers' pipelines and training scripts use them, for every family and every rule it takes."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler
from diffusers.training_utils import compute_snr
from diffusers.utils.torch_utils import randn_tensor
from torch import Tensor

from softdiff_ext.integrations.diffusers import (
    IHDMScheduler,
    ProcessScheduler,
    SchedulerStep,
    SoftDiffusionScheduler,
    VDMScheduler,
)
from softdiff_ext.sampling import reverse

from .schedulers import (
    CASES,
    FAMILIES,
    SHAPE,
    build,
    generator,
    images,
    network,
    noise_of,
    run,
)

# ---- the run is that of the process


def reference(scheduler: ProcessScheduler, model: Callable[[Tensor, Tensor], Tensor], start: Tensor) -> Tensor:
    """The process's own loop from `start`, with the noise that the scheduler draws from generator(2)."""
    process, noise = scheduler.process, noise_of(generator(2))

    def predict(z: Tensor, t: float) -> Tensor:
        return model(z, torch.full((len(z),), t))

    def advance(index: int, z: Tensor, x_hat: Tensor, s: float, t: float) -> Tensor:
        fresh = noise(index, z) if scheduler.rule.adds_noise else None
        return process.advance(z, x_hat, s, t, scheduler.rule, fresh, prediction="x")

    if isinstance(scheduler, (IHDMScheduler, SoftDiffusionScheduler)) and scheduler.config.prediction_type == "sample":
        # networks of these processes give residuals, so a network that gives clean images is no model for `sample`
        return reverse(predict, advance, lambda z, x_hat, t: x_hat, start, scheduler.times)
    return process.sample(model, SHAPE, scheduler.times, scheduler.rule, start=start, noise=noise)


@pytest.mark.parametrize("timestep_type", ["discrete", "continuous"])
@pytest.mark.parametrize(("family", "rule"), CASES)
def test_a_run_is_that_of_the_process_to_the_last_bit(family: str, rule: dict[str, Any], timestep_type: str) -> None:
    scheduler = build(family, timestep_type=timestep_type, **rule)
    scheduler.set_timesteps(5)
    start, discrete, count = scheduler.prior(SHAPE, generator(1)), timestep_type == "discrete", len(scheduler)

    def model(z: Tensor, t: Tensor) -> Tensor:
        return network(z, torch.round(t * count) - 1 if discrete else 1000.0 * t)

    assert torch.equal(run(scheduler, start, generator(2)), reference(scheduler, model, start))


@pytest.mark.parametrize(("rule", "peer"), [("default", DDPMScheduler), ("ddim", DDIMScheduler)])
@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction", "sample"])
def test_ddpm_s_table_gives_the_numbers_of_diffusers_own_schedulers(rule: str, peer: Any, prediction_type: str) -> None:
    theirs = peer(timestep_spacing="trailing", clip_sample=False, prediction_type=prediction_type)
    ours = VDMScheduler(schedule="ddpm", rule=rule, prediction_type=prediction_type)
    torch.testing.assert_close(
        ours.alphas_cumprod, theirs.alphas_cumprod, atol=1e-6, rtol=2e-4
    )  # theirs is a product in float32
    z, noise, timesteps = images(3), randn_tensor(SHAPE, generator(3)), torch.tensor([0, 400, 999])
    torch.testing.assert_close(ours.add_noise(z, noise, timesteps), theirs.add_noise(z, noise, timesteps), atol=1e-4, rtol=0)
    torch.testing.assert_close(
        ours.get_velocity(z, noise, timesteps), theirs.get_velocity(z, noise, timesteps), atol=1e-4, rtol=0
    )
    ours.set_timesteps(20)
    theirs.set_timesteps(20)
    assert torch.equal(ours.timesteps, theirs.timesteps)
    mine = other = torch.randn(SHAPE, generator=generator(4))
    sources = generator(5), generator(5)
    for timestep in ours.timesteps:
        mine = ours.step(network(mine, timestep), timestep, mine, generator=sources[0]).prev_sample
        other = theirs.step(network(other, timestep), timestep, other, generator=sources[1]).prev_sample
    # float32 on their side; with "epsilon" the errors of 20 divisions by a_t, 1/160 at first, go through the run
    assert (mine - other).norm() < 1e-4 * other.norm()


# ---- timesteps


@pytest.mark.parametrize("family", FAMILIES)
def test_timesteps_fall_from_the_noisiest_trained_time(family: str) -> None:
    scheduler = build(family)
    assert scheduler.timesteps.tolist() == list(range(len(scheduler) - 1, -1, -1))
    assert scheduler.num_inference_steps is None
    for steps in (1, 2, np.int64(5), 12):
        scheduler.set_timesteps(steps, device="cpu")
        assert scheduler.timesteps.dtype == torch.int64
        assert len(scheduler.timesteps) == scheduler.num_inference_steps == steps
        assert scheduler.timesteps[0] == len(scheduler) - 1
        assert bool((scheduler.timesteps.diff() < 0).all())
        assert scheduler.times[-1] == 0.0
        assert scheduler.timesteps.tolist() == [round(t * len(scheduler)) - 1 for t in scheduler.times[:-1]]
    scheduler.set_timesteps(len(scheduler))
    assert scheduler.timesteps.tolist() == list(range(len(scheduler) - 1, -1, -1))


def test_continuous_timesteps_are_thousandths_of_any_time() -> None:
    scheduler = VDMScheduler(timestep_type="continuous")
    scheduler.set_timesteps(3)
    assert scheduler.timesteps.tolist() == [1000.0, pytest.approx(2000 / 3), pytest.approx(1000 / 3)]
    levels = build("ihdm", timestep_type="continuous")
    levels.set_timesteps(5)  # of 12 levels: the network knows no time between them
    assert all(abs(t * 12 - round(t * 12)) < 1e-9 for t in levels.times)


def diffusers_retrieve_timesteps() -> Callable[..., tuple[Tensor, int]]:
    """The function that diffusers' pipelines share; their modules cannot be imported without transformers."""
    path = Path(diffusers.__file__).parent / "pipelines" / "stable_diffusion" / "pipeline_stable_diffusion.py"
    (function,) = [node for node in ast.parse(path.read_text()).body if getattr(node, "name", "") == "retrieve_timesteps"]
    names: dict[str, Any] = {"inspect": inspect, "torch": torch}
    exec(compile(ast.Module([function], []), path, "exec"), names)
    return names["retrieve_timesteps"]


def test_timesteps_of_one_s_own_and_retrieve_timesteps() -> None:
    retrieve_timesteps = diffusers_retrieve_timesteps()
    scheduler = VDMScheduler()
    timesteps, count = retrieve_timesteps(scheduler, 4, "cpu")
    assert (timesteps.tolist(), count) == ([999, 749, 499, 249], 4)
    for given in ([900, 30, 2], torch.tensor([900, 30, 2])):
        timesteps, count = retrieve_timesteps(scheduler, timesteps=given)
        assert (timesteps.tolist(), count) == ([900, 30, 2], 3)
    assert scheduler.times == [0.901, 0.031, 0.003, 0.0]
    smooth = VDMScheduler(timestep_type="continuous")
    smooth.set_timesteps(timesteps=[900.5, 10.25])
    assert smooth.times == [0.9005, 0.01025, 0.0]


def test_a_step_from_another_timestep_ends_at_the_next_of_the_run() -> None:
    scheduler = VDMScheduler(rule="ddim")
    scheduler.set_timesteps(4)
    z = torch.randn(SHAPE, generator=generator())
    got = scheduler.step(z, 500, z).prev_sample
    assert torch.equal(got, scheduler.process.advance(z, z, 0.5, 0.501, scheduler.rule))
    assert torch.equal(*scheduler.step(z, 1, z, return_dict=False))  # the last: to the clean estimate


# ---- steps


@pytest.mark.parametrize(("family", "rule"), CASES)
def test_steps_keep_shape_and_dtype_and_give_a_tuple_too(family: str, rule: dict[str, Any]) -> None:
    scheduler = build(family, **rule)
    scheduler.set_timesteps(4)
    for dtype in (torch.float32, torch.float16):
        z = images(3).to(dtype)
        assert scheduler.scale_model_input(z, scheduler.timesteps[0]) is z
        for timestep in (scheduler.timesteps[0], int(scheduler.timesteps[1]), scheduler.timesteps[-1:]):
            step = scheduler.step(0.1 * z, timestep, z, generator=generator())
            assert isinstance(step, SchedulerStep)
            assert step.prev_sample.shape == step.pred_original_sample.shape == SHAPE
            assert step.prev_sample.dtype == dtype
            pair = scheduler.step(0.1 * z, timestep, z, generator=generator(), return_dict=False)
            assert isinstance(pair, tuple)
            assert torch.equal(pair[0], step.prev_sample)
            assert torch.equal(pair[1], step["pred_original_sample"])


@pytest.mark.parametrize("family", FAMILIES)
def test_noise_comes_from_one_generator_a_list_or_the_caller(family: str) -> None:
    scheduler = build(family, rule="naive")
    scheduler.set_timesteps(4)
    timestep, z = scheduler.timesteps[0], images(3)

    def step(**source: Any) -> Tensor:
        return scheduler.step(0.1 * z, timestep, z, **source).prev_sample

    assert torch.equal(step(generator=generator(1)), step(generator=generator(1)))
    noisy = not family.startswith("cold")  # its levels have no noise
    assert torch.equal(step(generator=generator(1)), step(generator=generator(2))) == (not noisy)
    each = step(generator=[generator(1), generator(2), generator(3)])
    for index in range(3):
        alone = scheduler.step(0.1 * z[index, None], timestep, z[index, None], generator=generator(index + 1)).prev_sample
        assert torch.equal(each[index, None], alone)
    own = torch.randn(SHAPE, generator=generator(9))
    assert torch.equal(step(variance_noise=own), step(generator=generator(9)))


@pytest.mark.parametrize("family", FAMILIES)
def test_priors_of_a_list_of_generators_are_those_of_each(family: str) -> None:
    scheduler = build(family)
    both = scheduler.prior((2, *SHAPE[1:]), [generator(1), generator(2)])
    assert torch.equal(both[:1], scheduler.prior((1, *SHAPE[1:]), generator(1)))
    assert torch.equal(both[1:], scheduler.prior((1, *SHAPE[1:]), generator(2)))
    assert torch.equal(
        scheduler.prior((2, *SHAPE[1:]), generator(1))[1:], scheduler.prior((1, *SHAPE[1:]), generator(1), first=1)
    )


# ---- corruption


@pytest.mark.parametrize("timestep_type", ["discrete", "continuous"])
@pytest.mark.parametrize("family", FAMILIES)
def test_add_noise_is_the_corruption_of_the_process(family: str, timestep_type: str) -> None:
    scheduler = build(family, timestep_type=timestep_type)
    clean, noise = images(3), randn_tensor(SHAPE, generator(1))
    t = torch.tensor([1, len(scheduler) // 2, len(scheduler)], dtype=torch.float64) / len(scheduler)
    timesteps = torch.round(t * len(scheduler)).long() - 1 if timestep_type == "discrete" else 1000.0 * t
    got = scheduler.add_noise(clean, noise, timesteps)
    assert torch.equal(got, scheduler.process.corrupt(clean, t, noise))
    for index in range(3):
        alone = scheduler.add_noise(clean[index, None], noise[index, None], timesteps[index])
        torch.testing.assert_close(got[index, None], alone, atol=1e-6, rtol=0)
    # a small one leaves the image, a large one does not
    assert (got[0] - clean[0]).norm() < (got[2] - clean[2]).norm()
    torch.testing.assert_close(
        scheduler.add_noise(clean, noise, timesteps[:1]), scheduler.add_noise(clean, noise, timesteps[0])
    )


def test_corruption_in_numbers() -> None:
    """Against formulas written out here."""
    clean, noise = images(3), randn_tensor(SHAPE, generator(1))
    vdm = VDMScheduler(logsnr_min=-4.0, logsnr_max=4.0)
    a = vdm.alphas_cumprod[-1].sqrt()
    assert float(vdm.alphas_cumprod[-1]) == pytest.approx(1 / (1 + 2.718281828**4), rel=1e-5)
    torch.testing.assert_close(vdm.add_noise(clean, noise, torch.tensor(999)), a * clean + (1 - a**2).sqrt() * noise)
    torch.testing.assert_close(vdm.get_velocity(clean, noise, torch.tensor([999] * 3)), a * noise - (1 - a**2).sqrt() * clean)
    ihdm = build("ihdm")
    assert torch.equal(ihdm.alphas_cumprod, torch.ones(12))
    blurred = ihdm.add_noise(clean, torch.zeros_like(noise), torch.tensor(11))
    torch.testing.assert_close(blurred.mean(dim=(2, 3)), clean.mean(dim=(2, 3)))  # a blur keeps the mean
    assert blurred.std() < 0.5 * clean.std()
    torch.testing.assert_close(ihdm.add_noise(clean, noise, torch.tensor(11)) - blurred, 0.02 * noise, atol=1e-6, rtol=0)


@pytest.mark.parametrize("family", ["vdm", "ddpm", "blurring", "blocks"])
def test_the_snr_of_training_scripts(family: str) -> None:
    scheduler = build(family)
    timesteps = torch.tensor([0, 10, 30, 59])
    level = scheduler.process.level((timesteps + 1.0) / 60.0)
    want = torch.exp(2.0 * level.log_a) / level.sigma**2
    torch.testing.assert_close(compute_snr(scheduler, timesteps).double(), want, rtol=2e-2, atol=0)  # 1 - a^2 in float32


@pytest.mark.parametrize("family", FAMILIES)
def test_image_to_image_begins_in_the_middle(family: str) -> None:
    scheduler = build(family, rule="naive")
    scheduler.set_timesteps(6)
    scheduler.set_begin_index(2)
    assert scheduler.begin_index == 2
    clean, noise = images(3), randn_tensor(SHAPE, generator(1))
    z = scheduler.add_noise(clean, noise, scheduler.timesteps[2].repeat(3))
    got = run(scheduler, z, generator(2), since=2)
    whole = build(family, rule="naive")
    whole.set_timesteps(timesteps=scheduler.timesteps[2:])
    assert torch.equal(got, run(whole, z, generator(2)))
    with pytest.raises(ValueError, match=rf"begins at timestep {scheduler.timesteps[2]} \(begin_index 2\)"):
        scheduler.step(z, scheduler.timesteps[1], z)
    with pytest.raises(ValueError, match="begin_index: must be from 0 to 5, got 6"):
        scheduler.set_begin_index(6)
    scheduler.set_timesteps(6)
    assert scheduler.begin_index is None

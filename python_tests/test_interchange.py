"""Any rule drives any family: which are refused and why, step schedules, and images independent of batches and threads."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import softdiff_ext as sd
from softdiff_ext import reference
from softdiff_ext.processes import (
    BlurringDiffusion,
    ColdDiffusion,
    ImageDraws,
    InverseHeatDissipation,
    Process,
    SoftDiffusion,
    VariationalDiffusion,
)
from softdiff_ext.rules import Rule
from softdiff_ext.sampling import times

SIZE = 8
RULES = (
    sd.Markov(),
    sd.DDIM(),
    sd.DDIM(eta=0.5),
    sd.Momentum(),
    sd.Momentum(exact=True),
    sd.Naive(),
    sd.Naive(std=0.1),
    sd.Cold(),
)
EVERYWHERE = RULES[:6]
ALLOWED: dict[str, tuple[Rule, ...]] = {
    "vdm": EVERYWHERE,
    "ihdm": RULES,
    "blurring": EVERYWHERE,
    "soft": EVERYWHERE,
    "soft, constant noise": RULES,
    "cold": (*EVERYWHERE, sd.Cold(), sd.Naive(std=0.0)),
    "cold, images": (*EVERYWHERE, sd.Cold(), sd.Naive(std=0.0)),
}


def make(name: str, size: int = SIZE, sigma_blur: float = 2.0) -> Process:
    makers: dict[str, Callable[[], Process]] = {
        "vdm": VariationalDiffusion,
        "ihdm": lambda: InverseHeatDissipation(20, (0.2, sigma_blur), 0.1, 0.125),
        "blurring": lambda: BlurringDiffusion(sigma_blur_max=sigma_blur),
        "soft": lambda: SoftDiffusion(sigma_blur=(0.01, sigma_blur)),
        "soft, constant noise": lambda: SoftDiffusion(sigma_blur=(0.01, sigma_blur), sigma=(0.1, 0.1)),
        "cold": lambda: ColdDiffusion(20, (0.2, sigma_blur)),
        "cold, images": lambda: ColdDiffusion(20, (0.2, sigma_blur), prior="images"),
    }
    process = makers[name]()
    process.fit(torch.rand(12, 1, size, size, generator=torch.Generator().manual_seed(0)) * 2 - 1)
    return process


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def net(z: Tensor, t: Tensor) -> Tensor:
    """No network of a library: its own rounding may depend on the batch, and is not what is tested."""
    return 0.1 * torch.tanh(z) * (1 - t[:, None, None, None])


@pytest.mark.parametrize("name", ALLOWED)
@pytest.mark.parametrize("rule", RULES, ids=str)
def test_every_rule_runs_or_says_why_not(name: str, rule: Rule) -> None:
    process, shape = make(name), (2, 1, SIZE, SIZE)
    if rule in ALLOWED[name]:
        for steps in (1, 5, 33):
            assert bool(process.sample(net, shape, steps, rule, seeded(0)).isfinite().all())
        return
    wanted = "adds noise, but the levels of .* have none" if name.startswith("cold") else "needs a constant sigma"
    with pytest.raises(ValueError, match=wanted):
        process.sample(lambda z, t: pytest.fail("the network ran"), shape, 10, rule)


def test_momentum_is_refused_where_noise_grows_on_the_way() -> None:
    class Odd(VariationalDiffusion):
        def level(self, t: float | Tensor) -> sd.Level:
            level = super().level(t)
            return sd.Level(level.log_a, level.tau, 1.0 - torch.as_tensor(level.sigma), level.floor)

    with pytest.raises(ValueError, match=r"Momentum\(exact=False\) takes noise away, but sigma of Odd grows on the way down"):
        Odd().sample(net, (1, 1, SIZE, SIZE), 5, sd.Momentum())


@pytest.mark.parametrize("name", ALLOWED)
def test_an_image_is_the_same_in_any_batch_and_on_any_number_of_threads(name: str) -> None:
    process, steps = make(name), 6
    rules = [rule for rule in ALLOWED[name] if rule in (sd.Markov(), sd.DDIM(eta=0.5), process.default_rule)]
    for rule in rules:
        whole = process.sample(net, (13, 1, SIZE, SIZE), steps, rule, seeded(4))
        parts, threads = [], torch.get_num_threads()
        try:
            torch.set_num_threads(1 if threads > 1 else 2)
            for first, count in ((0, 4), (4, 1), (5, 8)):
                parts.append(process.sample(net, (count, 1, SIZE, SIZE), steps, rule, seeded(4), first=first))
        finally:
            torch.set_num_threads(threads)
        # equal bits here; a wider vector may round the last images of an odd batch otherwise, hence not torch.equal
        torch.testing.assert_close(torch.cat(parts), whole, rtol=0, atol=2e-6)
        assert not torch.allclose(whole, process.sample(net, whole.shape, steps, rule, seeded(5)), atol=1e-3)


def test_draws_of_different_images_and_steps_are_independent() -> None:
    draws = ImageDraws(seeded(0))
    first, second = draws.normal((500, 1, 16, 16), 0), draws.normal((500, 1, 16, 16), 1)
    assert float((first * second).mean().abs()) < 4 / 128000**0.5
    assert float((first[1:] * first[:-1]).mean().abs()) < 4 / 128000**0.5
    assert float(first.mean().abs()) < 4 / 128000**0.5
    assert float(first.var()) == pytest.approx(1.0, abs=4 * (2 / 128000) ** 0.5)
    counts = torch.bincount(draws.choices(7, 7000), minlength=7)
    assert float(((counts - 1000).abs() / (1000 * 6 / 7) ** 0.5).max()) < 4
    assert torch.equal(ImageDraws(seeded(0), first=3).normal((2, 4)), ImageDraws(seeded(0)).normal((5, 4))[3:])
    with pytest.raises(ValueError, match="first: must be an int >= 0, got -1"):
        ImageDraws(None, first=-1)


def test_step_schedules() -> None:
    assert sd.uniform_times(4) == [1.0, 0.75, 0.5, 0.25, 0.0]
    assert sd.quadratic_times(4) == [1.0, 0.5625, 0.25, 0.0625, 0.0]
    assert sd.uniform_times(2, start=0.5) == [0.5, 0.25, 0.0]
    assert times([0.5, 0.1, 0.0], start=0.5) == [0.5, 0.1, 0.0]
    with pytest.raises(ValueError, match=r"must fall strictly from 0.5 to 0, got \[1.0, 0.0\]"):
        times([1.0, 0.0], start=0.5)
    with pytest.raises(ValueError, match=r"start: must be in \(0, 1\], got 0"):
        sd.uniform_times(4, start=0.0)
    with pytest.raises(TypeError, match="steps: must be an int, got float"):
        sd.quadratic_times(2.0)  # type: ignore[arg-type]


def test_a_start_of_another_shape_is_refused() -> None:
    with pytest.raises(ValueError, match=r"start: must have the shape asked for, \[2, 1, 8, 8\], got \[1, 1, 8, 8\]"):
        make("vdm").sample(net, (2, 1, SIZE, SIZE), 5, start=torch.zeros(1, 1, SIZE, SIZE))


def test_momentum_is_cold_where_the_noise_is_constant() -> None:
    for name in ("ihdm", "soft, constant noise", "cold"):
        process, shape = make(name), (3, 1, SIZE, SIZE)
        cold, *others = (process.sample(net, shape, 7, rule, seeded(0)) for rule in (sd.Cold(), sd.Momentum(), sd.DDIM()))
        for other in others:
            torch.testing.assert_close(other, cold, rtol=0, atol=1e-6)


def test_without_blur_the_steps_are_those_of_ve_and_vp() -> None:
    """C = I: Markov with constant signal is the VE ancestral step, Momentum(exact) too; with a^2 + sigma^2 = 1 it is DDPM's."""
    z, x, noise = (torch.randn(2, 1, 8, 8, dtype=torch.float64, generator=seeded(i)) for i in range(3))
    s, t = sd.Level(sigma=0.3), sd.Level(sigma=0.8)
    mean = x + (0.3 / 0.8) ** 2 * (z - x)
    std = 0.3 * (0.8**2 - 0.3**2) ** 0.5 / 0.8  # score_sde's ancestral predictor
    plain = mean + std * noise
    torch.testing.assert_close(sd.step(z, x, s, t, sd.Momentum(exact=True), noise=noise), plain)
    torch.testing.assert_close(sd.step(z, x, s, t, sd.Markov(), noise=noise), plain)
    published = mean + (0.8**2 - 0.3**2) ** 0.5 * noise  # its reverse-diffusion predictor
    torch.testing.assert_close(sd.step(z, x, s, t, sd.Momentum(), noise=noise), published)
    abar_s, abar_t = 0.9, 0.7
    beta = 1 - abar_t / abar_s
    mean = beta * abar_s**0.5 / (1 - abar_t) * x + (1 - abar_s) * (1 - beta) ** 0.5 / (1 - abar_t) * z  # DDPM's equation 7
    std = (beta * (1 - abar_s) / (1 - abar_t)) ** 0.5
    s, t = (sd.Level(0.5 * torch.tensor(abar).double().log(), 0.0, (1 - abar) ** 0.5) for abar in (abar_s, abar_t))
    torch.testing.assert_close(sd.step(z, x, s, t, sd.Markov(), noise=noise), mean + std * noise)


@pytest.mark.parametrize(("size", "sigma_blur", "steps"), [(32, 24.0, 1000), (32, 128.0, 5), (128, 64.0, 5), (256, 128.0, 40)])
@pytest.mark.parametrize("name", [name for name in ALLOWED if name != "vdm"])
def test_large_images_and_blurs_stay_finite(name: str, size: int, sigma_blur: float, steps: int) -> None:
    """A network that gives one image whatever it sees: the sampler ends near it, whatever was lost on the way."""
    process = make(name, size, sigma_blur)
    x = reference.dct_blur(torch.rand(1, 1, size, size, generator=seeded(1)) - 0.5, 2.0)

    def knows(z: Tensor, t: Tensor) -> Tensor:
        level = process.level(t.double())
        if name == "ihdm":
            return sd.dct_blur(x, process.level((t.double() - 1 / 20).clamp(min=0)).tau) - z
        if name == "blurring":
            clean = sd.diffuse(x, sd.Level(level.log_a, level.tau, 0.0, level.floor), noise=torch.zeros_like(x))
            return (z - clean) / torch.as_tensor(level.sigma).float()[:, None, None, None]
        return x - z if name.startswith("soft") else x

    for rule in (process.default_rule, sd.Markov()):
        got = process.sample(knows, x.shape, steps, rule, seeded(0))
        assert bool(got.isfinite().all())
        # a few steps of a network that only knows the next level lose detail; the others end in the image itself
        assert float((got - x).abs().max()) < (0.5 if name == "ihdm" else 2e-2)

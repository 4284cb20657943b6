"""Variational diffusion and Blurring Diffusion as processes: targets, the bound as a loss, blocks, and what reduces to what."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import pytest
import torch
from torch import Tensor, nn

import softdiff_ext as sd
from softdiff_ext import likelihood, reference
from softdiff_ext.learned_schedules import LearnedLinear, LearnedMonotone
from softdiff_ext.processes.blocks import join_blocks, split_blocks
from softdiff_ext.processes.draws import stratified_times
from softdiff_ext.rules import Rule
from softdiff_ext.schedules import Cosine, LinearBeta, LinearGamma

RULES = [sd.Markov(), sd.Momentum(), sd.Momentum(exact=True), sd.DDIM(), sd.DDIM(eta=0.5), sd.Naive()]
PREDICTIONS = ("eps", "v", "x")


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def on_grid(n: int, size: int = 8, channels: int = 1) -> Tensor:
    return likelihood.grid(256)[torch.randint(256, (n, channels, size, size), generator=seeded(0))].float()


def some(z: Tensor, t: Tensor) -> Tensor:
    return 0.4 * z + 0.1 * t[:, None, None, None]


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("weighting", ["mse", "elbo"])
@pytest.mark.parametrize("steps", [None, 20])
@pytest.mark.parametrize("block", [None, 4])
def test_without_blur_blurring_diffusion_is_cosine_diffusion(
    prediction: str, weighting: str, steps: int | None, block: int | None
) -> None:
    """To the last bit, from the same generator: levels, loss, bound and samples by every rule."""
    options = {"prediction": prediction, "weighting": weighting, "steps": steps}
    plain = sd.VariationalDiffusion(Cosine(-10.0, 10.0), **options)  # type: ignore[arg-type]
    blurring = sd.BlurringDiffusion(0.0, block=block, **options)  # type: ignore[arg-type]
    x = on_grid(5)
    assert torch.equal(plain.loss(some, x, seeded(1))[0], blurring.loss(some, x, seeded(1))[0])
    assert torch.equal(plain.elbo(some, x, seeded(1)), blurring.elbo(some, x, seeded(1)))
    for rule in RULES:
        images = [process.sample(some, (3, 1, 8, 8), 6, rule, seeded(2)) for process in (plain, blurring)]
        assert torch.equal(*images)


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize(
    "make",
    [lambda p: sd.VariationalDiffusion(None, p, "elbo"), lambda p: sd.BlurringDiffusion(2.0, prediction=p, weighting="elbo")],
)
def test_the_bound_as_a_loss_is_the_diffusion_term(make: Callable[[str], sd.VariationalDiffusion], prediction: str) -> None:
    """The loss is the mean of the term that bits_per_dimension adds up, and gives its gradient to the network."""
    process, x, draws = make(prediction), on_grid(40), seeded(1)
    loss, logged = process.loss(some, x, seeded(1))
    t = stratified_times(40, draws, x.device)
    terms = process._diffusion_bits(some, x, torch.randn(x.shape, generator=draws), t)
    assert loss.dtype == torch.float32
    assert logged == {"diffusion_bits": pytest.approx(float(loss))}
    assert float(loss) == pytest.approx(float(terms.mean()), rel=1e-6)
    kernel = torch.randn(1, 1, 3, 3, dtype=torch.float64, generator=seeded(5)).requires_grad_()
    small = x[:3].double()
    assert torch.autograd.gradcheck(
        lambda w: process.loss(lambda z, t: nn.functional.conv2d(z, w, padding=1), small, seeded(7))[0], (kernel,)
    )


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize(
    "process_of",
    [
        lambda p: sd.VariationalDiffusion(LinearGamma(), p),
        lambda p: sd.BlurringDiffusion(2.0, prediction=p),
        lambda p: sd.BlurringDiffusion(2.0, prediction=p, block=4),
    ],
)
def test_all_predictions_of_one_estimate_have_one_bound(
    process_of: Callable[[str], sd.VariationalDiffusion], prediction: str
) -> None:
    """A network that says the same clean image as x, as eps or as v costs the same bits, for steps and in continuous time."""
    x = on_grid(4).double()
    estimate = 0.9 * x + 0.02

    def model_of(process: sd.VariationalDiffusion) -> Callable[[Tensor, Tensor], Tensor]:
        def model(z: Tensor, t: Tensor) -> Tensor:
            level = process.level(t)
            sigma, a = (torch.as_tensor(v).view(-1, 1, 1, 1) for v in (level.sigma, torch.as_tensor(level.log_a).exp()))
            eps = (z - process._corrupt(estimate, level, torch.zeros_like(z))) / sigma
            return {"eps": eps, "x": estimate, "v": a * eps - sigma * estimate}[process.prediction]

        return model

    for steps in (None, 7):
        bits = []
        for process in (process_of(prediction), process_of("x")):
            bits.append(process.bits_per_dimension(model_of(process), x, seeded(1), steps=steps, evaluations=9).diffusion)
        torch.testing.assert_close(*bits, rtol=1e-8, atol=0)


def test_a_table_is_trained_and_sampled_at_its_entries() -> None:
    seen = []

    def spy(z: Tensor, t: Tensor) -> Tensor:
        seen.append(t)
        return 0.5 * z

    process = sd.VariationalDiffusion(LinearBeta(40))
    for seed in range(20):
        process.loss(spy, on_grid(8), seeded(seed))
    times = torch.cat(seen).double() * 40
    torch.testing.assert_close(times, times.round(), rtol=0, atol=1e-4)
    assert (float(times.min().round()), float(times.max().round())) == (1.0, 40.0)
    assert bool(process.sample(some, (2, 1, 8, 8), 40, generator=seeded(0)).isfinite().all())


def test_a_learned_schedule_tells_the_network_how_far_gamma_has_come() -> None:
    schedule = LearnedMonotone(features=8, generator=seeded(3))
    with torch.no_grad():
        schedule.outer.mul_(100.0)
    process = sd.VariationalDiffusion(schedule, weighting="elbo")
    seen = []

    def spy(z: Tensor, t: Tensor) -> Tensor:
        seen.append(t.detach())
        return 0.5 * z

    process.sample(spy, (2, 1, 8, 8), 4, generator=seeded(0))
    wanted = schedule.time(torch.tensor([1.0, 0.75, 0.5, 0.25], dtype=torch.float64)).detach()
    torch.testing.assert_close(torch.stack(seen)[:, 0].double(), wanted, rtol=0, atol=1e-6)
    assert float((wanted - torch.tensor([1.0, 0.75, 0.5, 0.25])).abs().max()) > 0.01
    with torch.no_grad():
        torch.testing.assert_close(
            process.level(0.25).sigma, torch.sigmoid(schedule.start + schedule.width * wanted[-1]).sqrt(), rtol=1e-12, atol=0
        )


# Blocks.


def test_blocks_are_tiles_row_by_row_for_each_channel() -> None:
    x = torch.arange(2 * 3 * 4 * 6, dtype=torch.float32).view(2, 3, 4, 6)
    blocks = split_blocks(x, 2)
    assert blocks.shape == (2, 18, 2, 2)
    tiles = [x[:, c, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2] for c, i, j in product(range(3), range(2), range(3))]
    assert torch.equal(blocks, torch.stack(tiles, dim=1))
    assert torch.equal(join_blocks(blocks, x), x)
    with pytest.raises(ValueError, match="block: the sides of the images must be multiples of 4, got 4x6"):
        split_blocks(x, 4)


def blockwise(prediction: str = "eps") -> tuple[sd.BlurringDiffusion, sd.BlurringDiffusion]:
    """The process with blocks, and the one that takes each block for an image."""
    return sd.BlurringDiffusion(3.0, prediction=prediction, block=4), sd.BlurringDiffusion(3.0, prediction=prediction)


@pytest.mark.parametrize("t", [0.0, 0.2, 0.6, 1.0])
def test_blocks_are_corrupted_by_a_dense_matrix_each(t: float) -> None:
    process, _ = blockwise()
    x = torch.randn(2, 3, 8, 12, dtype=torch.float64, generator=seeded(0))
    eps = torch.randn(x.shape, dtype=torch.float64, generator=seeded(1))
    level = process.level(torch.full((2,), t, dtype=torch.float64))
    got = process._corrupt(x, level, eps)
    gain = reference.alpha(process.level(t), reference.eigenvalues((4, 4))).reshape(-1)
    basis = torch.kron(reference.dct_matrix(4), reference.dct_matrix(4))
    dense = basis.T @ torch.diag(gain) @ basis
    for i, j in product(range(2), range(3)):
        window = (slice(None), slice(None), slice(4 * i, 4 * i + 4), slice(4 * j, 4 * j + 4))
        wanted = (x[window].reshape(2, 3, 16) @ dense.T).view(2, 3, 4, 4) + float(process.level(t).sigma) * eps[window]
        torch.testing.assert_close(got[window], wanted, rtol=0, atol=1e-13)


@pytest.mark.parametrize("rule", RULES, ids=str)
@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_a_sampler_with_blocks_is_the_sampler_of_its_blocks(rule: Rule, prediction: str) -> None:
    """Every rule: the network sees whole images, the steps see blocks."""
    process, each = blockwise(prediction)
    shape, like = (2, 3, 8, 12), torch.empty(2, 3, 8, 12)
    shapes: list[torch.Size] = []

    def whole(z: Tensor, t: Tensor) -> Tensor:
        shapes.append(z.shape)
        return 0.3 * z - 0.1

    start = torch.randn(shape, generator=seeded(0))
    fresh = [torch.randn(shape, generator=seeded(i)) for i in range(1, 6)]
    seen: list[Tensor] = []
    got = process.sample(
        whole,
        shape,
        5,
        rule,
        start=start,
        noise=lambda index, z: fresh[index],
        callback=lambda index, z, x_hat: seen.extend([z, x_hat]),
    )
    wanted = each.sample(
        lambda z, t: 0.3 * z - 0.1,
        (2, 18, 4, 4),
        5,
        rule,
        start=split_blocks(start, 4),
        noise=lambda index, z: split_blocks(fresh[index], 4),
    )
    assert torch.equal(got, join_blocks(wanted, like))
    assert set(shapes) == {torch.Size(shape)}
    assert {item.shape for item in seen} == {torch.Size(shape)}


def test_bits_of_blocks_are_those_of_the_blocks() -> None:
    process, each = blockwise("v")
    x, model = on_grid(3, 8, 2), lambda z, t: 0.3 * z - 0.1
    noise = torch.randn(x.shape, generator=seeded(1))
    t = torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64)
    for steps in (None, 10):
        got = process._diffusion_bits(model, x, noise, t, steps)
        wanted = each._diffusion_bits(model, split_blocks(x, 4), split_blocks(noise, 4), t, steps)
        torch.testing.assert_close(got, wanted, rtol=1e-6, atol=0)
    torch.testing.assert_close(process._prior_bits(x), each._prior_bits(split_blocks(x, 4)), rtol=1e-12, atol=0)
    with pytest.raises(ValueError, match="block: the sides of the images must be multiples of 4, got 10x10"):
        process.loss(model, torch.zeros(1, 1, 10, 10), seeded(0))


# Extremes, and what is refused.


@pytest.mark.parametrize("steps", [5, 1000])
@pytest.mark.parametrize(("size", "sigma_blur_max"), [(32, 20.0), (64, 128.0), (256, 128.0)])
def test_a_network_that_knows_the_image_samples_it(size: int, sigma_blur_max: float, steps: int) -> None:
    if steps * size * size > 5_000_000:
        steps = 60  # a megapixel-step costs 10 ms: 60 steps at this size
    x = 0.9 * torch.rand(1, 1, size, size, generator=seeded(0))

    def near(index: int, z: Tensor, x_hat: Tensor) -> None:
        assert float(z.abs().max()) < 10.0  # never far from N(0, I) or the image; NaN fails too

    for process in (
        sd.BlurringDiffusion(sigma_blur_max, prediction="x"),
        sd.BlurringDiffusion(sigma_blur_max, 0.0, prediction="x", block=4),
        sd.VariationalDiffusion(LinearBeta(), "x"),
        sd.VariationalDiffusion(LinearGamma(), "x"),
    ):
        got = process.sample(lambda z, t: x, x.shape, steps, generator=seeded(1), callback=near)
        assert torch.equal(got, x)


@pytest.mark.parametrize("weighting", ["mse", "elbo"])
@pytest.mark.parametrize("size", [32, 256])
def test_losses_are_finite_at_extreme_blur(size: int, weighting: str) -> None:
    x = on_grid(2, size)
    for prediction, steps in product(PREDICTIONS, (None, 5, 1000)):
        process = sd.BlurringDiffusion(128.0, prediction=prediction, weighting=weighting, steps=steps)
        weight = torch.tensor(0.5, requires_grad=True)
        loss, _ = process.loss(lambda z, t: weight * z, x, seeded(0))  # noqa: B023
        (gradient,) = torch.autograd.grad(loss, weight)
        assert bool(loss.isfinite())
        assert bool(gradient.isfinite())


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda: sd.VariationalDiffusion("cosine"), TypeError, "schedule must be None or a NoiseSchedule, got str"),
        (lambda: sd.VariationalDiffusion(prediction="mean"), ValueError, "prediction must be one of .* got 'mean'"),
        (
            lambda: sd.VariationalDiffusion(weighting="snr"),
            ValueError,
            r"weighting must be one of \('mse', 'elbo'\), got 'snr'",
        ),
        (lambda: sd.VariationalDiffusion(LearnedLinear()), ValueError, "a learned schedule is trained by the bound"),
        (lambda: sd.VariationalDiffusion(LinearBeta(), weighting="elbo"), ValueError, "has no noise at t = 0"),
        (lambda: sd.VariationalDiffusion(steps=0), ValueError, "steps must be None or an int >= 1, got 0"),
        (lambda: sd.VariationalDiffusion(steps=2.5), ValueError, "steps must be None or an int >= 1, got 2.5"),
        (lambda: sd.VariationalDiffusion(values=1), ValueError, "values must be at least 2, got 1"),
        (lambda: sd.VariationalDiffusion(values=[0.0, 0.0]), ValueError, "values must be an int or an increasing list"),
        (lambda: sd.BlurringDiffusion(block=1), ValueError, "BlurringDiffusion: block must be None or an int >= 2, got 1"),
        (lambda: sd.BlurringDiffusion(weighting="snr"), ValueError, "BlurringDiffusion: weighting must be one of"),
        (lambda: sd.BlurringDiffusion("20"), TypeError, "BlurringDiffusion: sigma_blur_max must be a number, got str"),
        (
            lambda: sd.BlurringDiffusion(block=3).sample(lambda z, t: pytest.fail("the network ran"), (1, 1, 8, 9), 3),
            ValueError,
            "block: the sides of the images must be multiples of 3, got 8x9",
        ),
        (lambda: LinearBeta(10.5), TypeError, "LinearBeta: steps must be an int, got float"),
        (lambda: sd.SoftDiffusion(sigma=0.1), TypeError, "SoftDiffusion: sigma must be two numbers .*, got float"),
        (lambda: sd.SpectralBlur((1.0, 2.0, 3.0)), ValueError, "SpectralBlur: sigma_blur must be two numbers .*, got 3"),
        (lambda: sd.VariationalDiffusion().prior(5), TypeError, r"shape: must be \[B, C, H, W\], got int"),
        (
            lambda: sd.VariationalDiffusion().loss(lambda z, t: z, torch.zeros(1, 1, 8, 8, dtype=torch.uint8)),
            TypeError,
            "VariationalDiffusion.loss: x must be float64, .*, got torch.uint8",
        ),
    ],
)
def test_bad_options_are_refused(make: Callable[[], object], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        make()

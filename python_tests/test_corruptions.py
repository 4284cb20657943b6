"""Linear corruptions: adjoints, projections, the marginal, loss and step of any of them, and Soft Diffusion on top."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import softdiff_ext as sd
from softdiff_ext.linear import check_linear_rule
from softdiff_ext.processes import SoftDiffusion
from softdiff_ext.rules import Rule
from softdiff_ext.sampling import times

from .helpers import randn

CHANNELS, SIZE = 3, 8


def col(strength: Tensor) -> Tensor:
    return strength.reshape(-1, 1, 1, 1)


FADE = sd.LinearMap(lambda x, s: (1 - col(s)) * x, lambda y, s: (1 - col(s)) * y)
SHEAR = sd.LinearMap(lambda x, s: x + col(s) * x.roll(1, -1), lambda y, s: y + col(s) * y.roll(-1, -1), (0.0, 0.9))
IDENTITY = sd.LinearMap(lambda x, s: x, lambda y, s: y)
BLUR = sd.SpectralBlur((0.01, 2.0))
GENERIC_BLUR = sd.LinearMap(BLUR.apply, BLUR.adjoint, BLUR.sigma_blur)
THRESHOLDS = torch.linspace(0.0, 1.5, SIZE * SIZE, dtype=torch.float64).view(SIZE, SIZE)
CORRUPTIONS: dict[str, sd.Corruption] = {
    "blur": BLUR,
    "centre mask": sd.NestedMask(),
    "random mask": sd.NestedMask("random", seed=4),
    "own mask": sd.NestedMask(THRESHOLDS),
    "block average": sd.BlockAverage((2, 4, 8)),
    "grey": sd.Grayscale(),
    "fade": FADE,
    "shear": SHEAR,
}
every = pytest.mark.parametrize("name", CORRUPTIONS)
SYMMETRIC = ("blur", "centre mask", "random mask", "own mask", "block average")


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def strengths(name: str, fractions: list[float]) -> Tensor:
    first, *_, last = CORRUPTIONS[name].candidates(256)
    return first + (last - first) * torch.tensor(fractions, dtype=torch.float64)


def dense(corruption: sd.Corruption, strength: float, channels: int = CHANNELS, size: int = SIZE) -> Tensor:
    """C_s as a matrix, by what it does to each unit image."""
    n = channels * size * size
    unit = torch.eye(n, dtype=torch.float64).view(n, channels, size, size)
    return corruption.apply(unit, torch.full((n,), strength, dtype=torch.float64)).reshape(n, n).T


def pinv(matrix: Tensor) -> Tensor:
    return torch.linalg.pinv(matrix, rtol=1e-9)


@every
@given(fractions=st.lists(st.floats(0, 1), min_size=1, max_size=4), seed=st.integers(0, 99), scale=st.floats(-3, 3))
def test_corruptions_are_linear_and_their_adjoint_is_one(name: str, fractions: list[float], seed: int, scale: float) -> None:
    corruption, s, shape = CORRUPTIONS[name], strengths(name, fractions), (len(fractions), CHANNELS, SIZE, SIZE)
    x, y = randn(shape, seed), randn(shape, seed + 1000)
    together = corruption.apply(x + scale * y, s)
    torch.testing.assert_close(together, corruption.apply(x, s) + scale * corruption.apply(y, s), rtol=0, atol=1e-12)
    left, right = (corruption.apply(x, s) * y).sum((1, 2, 3)), (x * corruption.adjoint(y, s)).sum((1, 2, 3))
    # float64 sums of 192 products of numbers up to 4: 1e-16 * 192 * 16
    torch.testing.assert_close(left, right, rtol=0, atol=1e-12)
    one = torch.cat([corruption.apply(x[i : i + 1], s[i : i + 1]) for i in range(len(fractions))])
    torch.testing.assert_close(one, corruption.apply(x, s), rtol=0, atol=1e-12)


@every
def test_the_least_strength_is_nearly_the_identity(name: str) -> None:
    corruption = CORRUPTIONS[name]
    left = dense(corruption, float(corruption.candidates(256)[0])) - torch.eye(CHANNELS * SIZE * SIZE, dtype=torch.float64)
    assert float(left.abs().max()) < 2e-3  # blur of 0.01 pixels: lam sigma^2 / 2 = 2 pi^2 1e-4 / 2


@pytest.mark.parametrize("name", SYMMETRIC)
def test_maps_between_levels_are_gradients_of_convex_functions(name: str) -> None:
    """C_t C_s^+ symmetric and positive: what makes the coupled distance the Wasserstein distance."""
    i, j = (dense(CORRUPTIONS[name], float(s)) for s in strengths(name, [0.2, 0.7]))
    between = j @ pinv(i)
    torch.testing.assert_close(between, between.T, rtol=0, atol=1e-6)
    assert float(torch.linalg.eigvalsh(between).min()) > -1e-6


@pytest.mark.parametrize("name", SYMMETRIC)
def test_gains_of_a_diagonal_corruption_multiply(name: str) -> None:
    """Functions of C_s: the product of two filters is the filter of the products, and C_s that of its gains."""
    corruption = CORRUPTIONS[name]
    assert isinstance(corruption, sd.corruptions.Diagonal)
    s, t = strengths(name, [0.3, 0.6])
    x = randn((2, CHANNELS, SIZE, SIZE), 0)
    a, b = (corruption.gains(strength, x.shape, x.device) for strength in (s, t))
    assert float(torch.cat([a.flatten(), b.flatten()]).min()) >= 0
    assert float(torch.cat([a.flatten(), b.flatten()]).max()) <= 1
    torch.testing.assert_close(corruption.filter(corruption.filter(x, a), b), corruption.filter(x, a * b), rtol=0, atol=1e-12)
    torch.testing.assert_close(corruption.filter(x, torch.ones_like(a)), x, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ["centre mask", "random mask", "own mask"])
@given(s=st.floats(0, 1), t=st.floats(0, 1))
def test_masks_are_nested_projections(name: str, s: float, t: float) -> None:
    mask, x = CORRUPTIONS[name], randn((1, CHANNELS, SIZE, SIZE), 1)
    assert isinstance(mask, sd.NestedMask)
    torch.testing.assert_close(mask.apply(mask.apply(x, s), t), mask.apply(x, max(s, t)), rtol=0, atol=0)
    torch.testing.assert_close(mask.apply(x, s), x * mask.kept(s, (SIZE, SIZE)), rtol=0, atol=0)


def test_masks_end_where_they_should() -> None:
    for mask in (sd.NestedMask(), sd.NestedMask("random")):
        counts = [int(mask.kept(k / 64, (SIZE, SIZE)).sum()) for k in range(65)]
        assert counts == list(range(64, -1, -1))  # pixel after pixel
    left = sd.NestedMask().kept(0.25, (SIZE, SIZE))  # 16 of 64 pixels: the square of 4 x 4 in the middle
    assert not bool(left[2:6, 2:6].any())
    assert int(left.sum()) == 48
    assert torch.equal(sd.NestedMask(THRESHOLDS).kept(1.0, (SIZE, SIZE)), THRESHOLDS >= 1.0)
    orders = [sd.NestedMask("random", seed=seed).thresholds((5, 7)) for seed in (0, 0, 1)]
    assert torch.equal(orders[0], orders[1])
    assert not torch.equal(orders[0], orders[2])


def test_block_averages_are_block_means_at_their_levels() -> None:
    average, x = sd.BlockAverage((2, 4, 8)), randn((2, CHANNELS, 16, 24), 2)
    for level, side in enumerate((2, 4, 8), start=1):
        blocks = x.unfold(2, side, side).unfold(3, side, side).mean(dim=(-2, -1))
        wanted = blocks.repeat_interleave(side, 2).repeat_interleave(side, 3)
        torch.testing.assert_close(average.apply(x, level / 3), wanted, rtol=0, atol=1e-12)
        torch.testing.assert_close(average.apply(wanted, level / 3), wanted, rtol=0, atol=1e-12)  # a projection
    half = (average.apply(x, 1 / 3) + average.apply(x, 2 / 3)) / 2
    torch.testing.assert_close(average.apply(x, 0.5), half, rtol=0, atol=1e-12)


def test_grey_is_the_luminance() -> None:
    x = randn((2, 3, SIZE, SIZE), 3)
    luminance = 0.299 * x[:, 0] + 0.587 * x[:, 1] + 0.114 * x[:, 2]
    grey = sd.Grayscale().apply(x, 1.0)
    torch.testing.assert_close(grey, luminance[:, None].expand_as(x), rtol=0, atol=1e-12)
    torch.testing.assert_close(sd.Grayscale().apply(grey, 1.0), grey, rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@every
def test_smaller_types_keep_theirs_and_its_accuracy(name: str, dtype: torch.dtype) -> None:
    x, s = randn((2, CHANNELS, SIZE, SIZE), 4, dtype), strengths(name, [0.3, 0.8])
    level = sd.LinearLevel(CORRUPTIONS[name], s, 0.1)
    got, wanted = level.apply(x), level.apply(x.double())
    assert got.dtype == dtype
    # a mask only copies; the others add a few numbers up to 4, each rounded once more for maps that work in the type itself
    torch.testing.assert_close(got.double(), wanted, rtol=0, atol=20 * torch.finfo(dtype).eps)
    noise = randn(x.shape, 5, dtype)
    corrupted = sd.linear_diffuse(x, level, noise)
    assert corrupted.dtype == dtype
    torch.testing.assert_close(corrupted.double(), wanted + 0.1 * noise.double(), rtol=0, atol=24 * torch.finfo(dtype).eps)


@every
def test_the_gradient_of_the_loss_is_the_adjoint(name: str) -> None:
    """|C (h - x)|^2 has the gradient 2 C^T C (h - x) in h, by the corruption's own adjoint, and can be differentiated again."""
    corruption, s = CORRUPTIONS[name], strengths(name, [0.2, 0.9])
    h, x = (randn((2, CHANNELS, SIZE, SIZE), seed).requires_grad_(seed == 6) for seed in (6, 7))
    level = sd.LinearLevel(corruption, s)
    (grad,) = torch.autograd.grad(sd.linear_score_loss(h, x, level).sum(), h, create_graph=True)
    with torch.no_grad():
        wanted = torch.stack(
            [
                2 * (m.T @ m @ (h[i] - x[i]).flatten()).view_as(x[i])
                for i, m in enumerate(dense(corruption, float(one)) for one in s)
            ]
        )
    torch.testing.assert_close(grad, wanted, rtol=0, atol=1e-11)
    direction = randn(h.shape, 8)
    (second,) = torch.autograd.grad((grad * direction).sum(), h)
    with torch.no_grad():
        applied = 2 * corruption.adjoint(corruption.apply(direction, s), s)
    torch.testing.assert_close(second, applied, rtol=0, atol=1e-11)


def test_the_backward_pass_needs_no_autograd_of_the_users_functions() -> None:
    """numpy inside: autograd could not follow it, so the adjoint is what backward runs."""
    by_numpy = sd.LinearMap(
        lambda x, s: torch.from_numpy(np.roll(x.detach().numpy(), 1, axis=-1) * (1 - s.numpy()[:, None, None, None])),
        lambda y, s: torch.from_numpy(np.roll(y.detach().numpy(), -1, axis=-1) * (1 - s.numpy()[:, None, None, None])),
    )
    h = randn((2, 1, 4, 4), 0).requires_grad_()
    assert torch.autograd.gradcheck(lambda h: sd.linear_score_loss(h, torch.zeros_like(h), sd.LinearLevel(by_numpy, 0.25)), h)


def test_floored_loss_sees_what_the_mask_hides() -> None:
    h, x = randn((2, 1, SIZE, SIZE), 0), randn((2, 1, SIZE, SIZE), 1)
    level = sd.LinearLevel(sd.NestedMask(), 1.0)
    assert float(sd.linear_score_loss(h, x, level).max()) == 0.0
    floored = sd.linear_score_loss(h, x, level, weight_floor=0.1)
    torch.testing.assert_close(floored, 0.01 * ((h - x) ** 2).sum((1, 2, 3)))


RULES = [sd.Markov(), sd.Momentum(), sd.Momentum(exact=True), sd.DDIM(), sd.DDIM(eta=0.5), sd.Naive(), sd.Naive(std=0.03)]


@pytest.mark.parametrize("rule", [*RULES, sd.Cold()], ids=str)
@pytest.mark.parametrize("kind", ["float", "batch"])
def test_the_blur_by_its_general_form_is_the_kernels_step(rule: Rule, kind: str) -> None:
    x_t, x_hat, noise = (randn((2, CHANNELS, SIZE, SIZE), seed) for seed in (0, 1, 2))
    blurs = [torch.tensor(blur, dtype=torch.float64) for blur in ([0.3, 0.5], [0.9, 1.7])]
    s_blur, t_blur = (blur[0] if kind == "float" else blur for blur in blurs)
    s, t = sd.LinearLevel(BLUR, s_blur, 0.04), sd.LinearLevel(BLUR, t_blur, 0.09)
    got = sd.linear_step(x_t, x_hat, s, t, rule, noise)
    native = [sd.Level(tau=level.strength**2 / 2, sigma=level.sigma) for level in (s, t)]
    torch.testing.assert_close(got, sd.step(x_t, x_hat, *native, rule, noise=noise), rtol=0, atol=1e-12)
    diffused = sd.linear_diffuse(x_hat, t, noise)
    torch.testing.assert_close(diffused, sd.diffuse(x_hat, native[1], noise), rtol=0, atol=1e-12)
    loss = sd.linear_score_loss(x_hat, x_t, t)
    torch.testing.assert_close(loss, sd.soft_score_loss(x_hat, x_t, native[1]), rtol=1e-12, atol=0)


@pytest.mark.parametrize("rule", [rule for rule in [*RULES, sd.Cold()] if rule != sd.Markov()], ids=str)
def test_without_a_corruption_the_step_is_variance_exploding_diffusion(rule: Rule) -> None:
    x_t, x_hat, noise = (randn((2, 1, SIZE, SIZE), seed) for seed in (0, 1, 2))
    s, t = sd.LinearLevel(IDENTITY, 0.1, 0.3), sd.LinearLevel(IDENTITY, 0.2, 0.8)
    wanted = sd.step(x_t, x_hat, sd.Level(sigma=0.3), sd.Level(sigma=0.8), rule, noise=noise)
    torch.testing.assert_close(sd.linear_step(x_t, x_hat, s, t, rule, noise), wanted, rtol=0, atol=1e-12)


@every
def test_momentum_with_constant_noise_is_cold(name: str) -> None:
    x_t, x_hat, noise = (randn((2, CHANNELS, SIZE, SIZE), seed) for seed in (0, 1, 2))
    s, t = (sd.LinearLevel(CORRUPTIONS[name], strength, 0.1) for strength in strengths(name, [0.3, 0.6]))
    cold = sd.linear_step(x_t, x_hat, s, t, sd.Cold(), noise)
    for exact in (False, True):
        torch.testing.assert_close(sd.linear_step(x_t, x_hat, s, t, sd.Momentum(exact), noise), cold, rtol=0, atol=1e-12)
    torch.testing.assert_close(cold, x_t - t.apply(x_hat) + s.apply(x_hat), rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", SYMMETRIC)
def test_markov_is_the_posterior_by_dense_conditioning(name: str) -> None:
    """x_s | x_t, x_0 of the chain x_s = C_s x_0 + noise, x_t = C_t C_s^+ x_s + noise, conditioned as joint Gaussian vectors."""
    corruption, n = CORRUPTIONS[name], SIZE * SIZE
    a, b = strengths(name, [0.25, 0.5]).tolist()
    sigma_s, sigma_t = 0.2, 0.5
    c_s, c_t, one = dense(corruption, a, 1), dense(corruption, b, 1), torch.eye(n, dtype=torch.float64)
    between = c_t @ pinv(c_s)
    fresh = sigma_t**2 * one - sigma_s**2 * between @ between.T
    assert float(torch.linalg.eigvalsh(fresh).min()) > 0
    weight = sigma_s**2 * between.T @ torch.linalg.inv(sigma_s**2 * between @ between.T + fresh)
    covariance = sigma_s**2 * one - weight @ between * sigma_s**2
    x_t, x_0 = randn((1, 1, SIZE, SIZE), 0), randn((1, 1, SIZE, SIZE), 1)
    mean = c_s @ x_0.flatten() + weight @ (x_t.flatten() - between @ c_s @ x_0.flatten())
    s, t, zero = sd.LinearLevel(corruption, a, sigma_s), sd.LinearLevel(corruption, b, sigma_t), torch.zeros_like(x_t)
    got = sd.linear_step(x_t, x_0, s, t, sd.Markov(), zero)
    torch.testing.assert_close(got.flatten(), mean, rtol=0, atol=1e-9)
    unit = one.view(n, 1, SIZE, SIZE)
    root = sd.linear_step(torch.zeros_like(unit), torch.zeros_like(unit), s, t, sd.Markov(), unit).view(n, n).T
    torch.testing.assert_close(root @ root.T, covariance, rtol=0, atol=1e-9)


EXACT = [rule for rule in RULES if rule not in (sd.Momentum(), sd.Naive(std=0.03))]


@pytest.mark.parametrize(
    ("name", "rule"),
    [(name, rule) for name in CORRUPTIONS for rule in EXACT if name in SYMMETRIC or rule != sd.Markov()],  # refused there
)
def test_a_step_with_the_true_image_keeps_the_marginal(name: str, rule: Rule) -> None:
    """From x_t = C_t x + sigma_t n to x_s: mean C_s x and covariance sigma_s^2, exactly, by unit vectors for both noises."""
    corruption = CORRUPTIONS[name]
    a, b = strengths(name, [0.25, 0.5]).tolist()
    s, t = sd.LinearLevel(corruption, a, 0.04), sd.LinearLevel(corruption, b, 0.09)
    n = CHANNELS * SIZE * SIZE
    unit = torch.eye(n, dtype=torch.float64).view(n, CHANNELS, SIZE, SIZE)
    zero, x = torch.zeros_like(unit), randn((1, CHANNELS, SIZE, SIZE), 0)
    mean = sd.linear_step(t.apply(x), x, s, t, rule, torch.zeros_like(x))
    torch.testing.assert_close(mean, s.apply(x), rtol=0, atol=1e-12)
    old = sd.linear_step(0.09 * unit, zero, s, t, rule, zero).view(n, n).T
    new = sd.linear_step(zero, zero, s, t, rule, unit).view(n, n).T
    torch.testing.assert_close(old @ old.T + new @ new.T, 0.04**2 * torch.eye(n, dtype=torch.float64), rtol=0, atol=1e-12)


# Gaussian data under a mask: the best network is linear, so whole samplers are, and their covariance is known exactly.
ORACLE_SIZE, STD = 4, 0.25
POSITION = torch.arange(ORACLE_SIZE, dtype=torch.float64)
ALONG = torch.exp(-((POSITION[:, None] - POSITION[None, :]).abs()) / 2.0)
COVARIANCE = STD**2 * torch.kron(ALONG, ALONG)
ORACLES: dict[str, Callable[[], SoftDiffusion]] = {
    "mask": lambda: SoftDiffusion(corruption=sd.NestedMask("random", seed=1), sigma=(0.01, 0.3)),
    "mask, constant noise": lambda: SoftDiffusion(corruption=sd.NestedMask(), sigma=(0.1, 0.1)),
    "block average": lambda: SoftDiffusion(corruption=sd.BlockAverage((2, 4))),
    "shear": lambda: SoftDiffusion(corruption=SHEAR),
}


def fitted(name: str) -> SoftDiffusion:
    process, n = ORACLES[name](), ORACLE_SIZE**2
    root = torch.linalg.cholesky(COVARIANCE)
    training = (torch.randn(600, n, dtype=torch.float64, generator=generator(1)) @ root.T).clamp(-1, 1)
    process.fit(training.view(600, 1, ORACLE_SIZE, ORACLE_SIZE))
    return process


def best(process: SoftDiffusion, t: float) -> Tensor:
    """G of E[x_0 | x_t] = G x_t by conditioning dense Gaussian vectors."""
    level = process.linear_level(t)
    c = dense(level.corruption, float(level.strength), 1, ORACLE_SIZE)
    noise = float(level.sigma) ** 2 * torch.eye(len(c), dtype=torch.float64)
    return COVARIANCE @ c.T @ torch.linalg.inv(c @ COVARIANCE @ c.T + noise)


def table(process: SoftDiffusion, rule: Rule, s: float, t: float) -> tuple[Tensor, Tensor]:
    """kappa and omega as matrices, from the table of the rules."""
    level_s, level_t = process.linear_level(s), process.linear_level(t)
    sigma_s, sigma_t = float(level_s.sigma), float(level_t.sigma)
    one, r = torch.eye(ORACLE_SIZE**2, dtype=torch.float64), sigma_s / sigma_t
    match rule:
        case sd.Markov():
            c_s, c_t = (dense(level.corruption, float(level.strength), 1, ORACLE_SIZE) for level in (level_s, level_t))
            ratio = c_t @ pinv(c_s)
            values, vectors = torch.linalg.eigh(one - r**2 * ratio @ ratio.T)
            return r**2 * ratio, sigma_s * vectors @ torch.diag(values.clamp_min(0).sqrt()) @ vectors.T
        case sd.Momentum(exact=exact):
            omega2 = sigma_s**2 * (1 - r**2) if exact else sigma_t**2 - sigma_s**2
            return r**2 * one, math.sqrt(max(omega2, 0.0)) * one
        case sd.DDIM(eta=eta):
            return math.sqrt(1 - eta**2) * r * one, eta * sigma_s * one
        case sd.Naive(std=std):
            return 0 * one, (sigma_s if std is None else std) * one
    return one, 0 * one  # Cold


def propagate(process: SoftDiffusion, rule: Rule, steps: int, covariance: Tensor) -> Tensor:
    """Covariance of the sampler's output from that of its start."""
    for t, s in pairwise(times(steps)):
        g = best(process, t)
        if s == 0.0:  # the last step returns the clean estimate
            return g @ covariance @ g.T
        c_s, c_t = (
            dense(level.corruption, float(level.strength), 1, ORACLE_SIZE)
            for level in (process.linear_level(s), process.linear_level(t))
        )
        kappa, omega = table(process, rule, s, t)
        gain = c_s @ g + kappa @ (torch.eye(len(g), dtype=torch.float64) - c_t @ g)
        covariance = gain @ covariance @ gain.T + omega @ omega.T
    raise AssertionError("no last step")


CASES = [
    pytest.param(name, rule, id=f"{name}-{rule}")
    for name in ORACLES
    for rule in [*RULES[:-1], sd.Naive(std=0.1), sd.Cold()]
    if (name == "mask, constant noise" or rule not in (sd.Cold(), sd.Naive(std=0.1)))
    and (name != "shear" or rule != sd.Markov())
]


@pytest.mark.parametrize(("name", "rule"), CASES)
def test_sampler_has_the_exact_covariance_on_gaussian_data(name: str, rule: Rule) -> None:
    """Draws through process.sample against the dense recursion, every pair of pixels."""
    process, count, steps, n = fitted(name), 4000, 8, ORACLE_SIZE**2

    def network(z: Tensor, t: Tensor) -> Tensor:
        flat = z.flatten(1).double()
        return (flat @ best(process, float(t[0])).T - flat).view_as(z).to(z.dtype)

    start = torch.randn(count, n, dtype=torch.float64, generator=generator(2)).view(count, 1, ORACLE_SIZE, ORACLE_SIZE)
    moment = torch.eye(n, dtype=torch.float64)
    samples = process.sample(network, start.shape, steps, rule, generator(3), start=start).flatten(1)
    wanted = propagate(process, rule, steps, moment)
    # whitened, the second moment of `count` draws is the identity to 1 / sqrt(count); 6 of those for the largest of 256
    values, vectors = torch.linalg.eigh(wanted)
    kept = values > 1e-4 * values.max()  # the mask leaves G without full rank; the rest is rounding
    white = samples @ vectors[:, kept] / values[kept].sqrt()
    error = white.T @ white / count - torch.eye(int(kept.sum()), dtype=torch.float64)
    assert float(error.abs().max()) < 6 * math.sqrt(2 / count)


@pytest.mark.parametrize("name", ["mask", "block average"])
@pytest.mark.parametrize("rule", [sd.Markov(), sd.Momentum(exact=True), sd.DDIM()], ids=str)
def test_more_steps_come_closer_to_gaussian_data(name: str, rule: Rule) -> None:
    process = fitted(name)
    last = process.linear_level(1.0)
    c = dense(last.corruption, float(last.strength), 1, ORACLE_SIZE)
    start = c @ COVARIANCE @ c.T + float(last.sigma) ** 2 * torch.eye(len(c), dtype=torch.float64)
    few, many = (float(torch.trace(propagate(process, rule, steps, start)) / torch.trace(COVARIANCE)) for steps in (10, 200))
    assert abs(many - 1) < abs(few - 1)


def images(count: int = 30, channels: int = 1) -> Tensor:
    return torch.rand(count, channels, SIZE, SIZE, generator=generator(0)) * 2 - 1


def soft(corruption: sd.Corruption, **options: object) -> SoftDiffusion:
    process = SoftDiffusion(corruption=corruption, **options)  # type: ignore[arg-type]
    process.fit(images())
    return process


@pytest.mark.parametrize("rule", [rule for rule in RULES[:-1] if rule != sd.Markov()], ids=str)
def test_the_process_by_the_general_path_is_the_native_one(rule: Rule) -> None:
    general, native = soft(GENERIC_BLUR), SoftDiffusion(sigma_blur=BLUR.sigma_blur)
    native.fit(images())
    general.nodes = native.nodes  # its own candidates are spaced evenly, not by factors
    start = native.prior((3, 1, SIZE, SIZE), generator(1))
    net = lambda z, t: 0.3 * z.roll(1, -1)  # noqa: E731
    a, b = (process.sample(net, start.shape, 9, rule, generator(2), start=start) for process in (general, native))
    torch.testing.assert_close(a, b, rtol=0, atol=1e-5)  # float32 over 9 steps
    (loss_a, _), (loss_b, _) = (process.loss(net, images(), generator(3)) for process in (general, native))
    torch.testing.assert_close(loss_a, loss_b, rtol=1e-5, atol=0)
    given_as_a_corruption = SoftDiffusion(corruption=BLUR)
    given_as_a_corruption.fit(images())
    c = given_as_a_corruption.sample(net, start.shape, 9, rule, generator(2), start=start)
    assert torch.equal(c, b)  # the very same kernels


@every
def test_a_network_that_knows_the_image_samples_it(name: str) -> None:
    channels = 3 if name == "grey" else 1
    process = SoftDiffusion(corruption=CORRUPTIONS[name])
    process.fit(images(channels=channels))
    x = images(1, channels)
    for rule in (sd.Momentum(), sd.Momentum(exact=True), sd.DDIM(), sd.Naive()):
        got = process.sample(lambda z, t: x - z, x.shape, 6, rule, generator(0))
        torch.testing.assert_close(got, x, rtol=0, atol=1e-6)
    loss, logged = process.loss(lambda z, t: x.expand_as(z) - z, x.expand(8, -1, -1, -1), generator(0))
    assert float(loss) < 1e-10
    assert set(logged) == {"weighted_mse", "corrupted_mse"}
    assert float(process.loss(lambda z, t: 0 * z, x.expand(8, -1, -1, -1), generator(0))[0]) > 1e-3


def test_levels_of_a_general_corruption_grow() -> None:
    process = soft(sd.NestedMask())
    level = process.linear_level(torch.linspace(0, 1, 101, dtype=torch.float64))
    assert bool((torch.as_tensor(level.strength).diff() >= 0).all())
    assert [float(process.linear_level(t).strength) for t in (0.0, 1.0)] == [0.0, 1.0]
    assert [float(process.linear_level(t).sigma) for t in (0.0, 0.25, 1.0)] == pytest.approx([0.01, 0.1, 0.1])


def test_priors_are_corrupted_training_images() -> None:
    quiet = {"sigma": (1e-7, 1e-6)}  # so little noise that the image shows
    average = soft(sd.BlockAverage((2, 4)), **quiet)
    drawn = average.prior((200, 1, SIZE, SIZE), generator(0))
    distance = torch.cdist(drawn.double().flatten(1), sd.BlockAverage((2, 4)).apply(images().double(), 1.0).flatten(1))
    assert float(distance.min(dim=1).values.max()) < 1e-4
    assert distance.argmin(dim=1).unique().numel() == 30  # each is left out of 200 draws with probability 0.1 %
    mask = soft(sd.NestedMask())
    assert mask.starts.shape == (1, 1, SIZE, SIZE)  # nothing is left of any image: one start serves
    noise = mask.prior((500, 1, SIZE, SIZE), generator(0))
    assert float(noise.std()) == pytest.approx(0.1, rel=0.02)
    assert abs(float(noise.mean())) < 3 * 0.1 / math.sqrt(500 * SIZE * SIZE)


def test_the_fit_travels_in_the_state_dict() -> None:
    fitted_one, loaded = soft(sd.BlockAverage((2, 4))), SoftDiffusion(corruption=sd.BlockAverage((2, 4)))
    loaded.load_state_dict(fitted_one.state_dict())
    assert torch.equal(fitted_one.prior((5, 1, SIZE, SIZE), generator(0)), loaded.prior((5, 1, SIZE, SIZE), generator(0)))
    with pytest.raises(ValueError, match=r"SoftDiffusion was fitted on images \[1, 8, 8\], got \[3, 8, 8\]"):
        loaded.prior((1, 3, SIZE, SIZE))


def test_the_gradient_of_the_masked_loss_reaches_the_network() -> None:
    process, x = soft(sd.NestedMask()), images(3).double()
    kernel = torch.randn(1, 1, 3, 3, dtype=torch.float64, generator=generator(5)).requires_grad_()

    def loss(weight: Tensor) -> Tensor:
        return process.loss(lambda z, t: torch.nn.functional.conv2d(z, weight, padding=1), x, generator(7))[0]

    assert torch.autograd.gradcheck(loss, (kernel,))


def test_looking_on_or_keeping_still_draws_nothing() -> None:
    process = soft(sd.NestedMask())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        before = torch.random.get_rng_state()
        process.advance(images(2), images(2), 0.4, 0.6, sd.DDIM())
        assert torch.equal(torch.random.get_rng_state(), before)
        process.advance(images(2), images(2), 0.4, 0.6, sd.Naive())
        assert not torch.equal(torch.random.get_rng_state(), before)


MASK = sd.NestedMask()
LEVELS = [sd.LinearLevel(MASK, 0.2, 0.1), sd.LinearLevel(MASK, 0.6, 0.2)]


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda: SoftDiffusion(corruption=object()), TypeError, "corruption must have apply, adjoint and candidates"),
        (lambda: sd.SpectralBlur((2.0, 1.0)), ValueError, "SpectralBlur: sigma_blur must be finite with 0 < first < last"),
        (lambda: sd.NestedMask("spiral"), ValueError, 'order must be "centre", "random" or a tensor, got \'spiral\''),
        (lambda: sd.NestedMask(-THRESHOLDS), ValueError, r"thresholds >= 0 of shape \[H, W\]"),
        (lambda: sd.NestedMask(THRESHOLDS).apply(randn((1, 1, 4, 4), 0), 0.5), ValueError, r"images \[8, 8\], got \[4, 4\]"),
        (lambda: sd.NestedMask().apply(images(2), 1.5), ValueError, r"NestedMask: strength must be in \[0, 1\], got 1.5"),
        (lambda: sd.BlockAverage((3, 4)), ValueError, r"each a multiple of the last, got \(3, 4\)"),
        (lambda: sd.BlockAverage(()), ValueError, r"blocks must grow from 2 or more"),
        (lambda: sd.BlockAverage((3,)).apply(images(2), 0.5), ValueError, "must be multiples of 3, got 8x8"),
        (lambda: sd.Grayscale((0.5, 0.4)), ValueError, r"weights must sum to 1, got \(0.5, 0.4\)"),
        (lambda: sd.Grayscale().apply(images(2), 0.5), ValueError, "images must have 3 channels, got 1"),
        (lambda: sd.LinearMap(FADE.apply, FADE.adjoint, (1.0, 0.0)), ValueError, "strengths must be finite with first < last"),
        (
            lambda: sd.LinearLevel(sd.LinearMap(lambda x, s: x[..., ::2], FADE.adjoint), 0.5).apply(images(2)),
            ValueError,
            r"LinearMap.apply: must keep the shape of its images = \[2, 1, 8, 8\], got \[2, 1, 8, 4\]",
        ),
        (lambda: soft(sd.NestedMask()).level(0.5), ValueError, "level: NestedMask is not diagonal in the DCT basis"),
        (
            lambda: check_linear_rule(sd.Markov(), FADE),
            ValueError,
            "rule: Markov needs the eigenvectors of the corruption.*LinearMap is known by what it does to images only",
        ),
        (
            lambda: soft(FADE).sample(lambda z, t: pytest.fail("the network ran"), (1, 1, SIZE, SIZE), 5, sd.Markov()),
            ValueError,
            "rule: Markov needs the eigenvectors",
        ),
        (
            lambda: soft(FADE).sample(lambda z, t: pytest.fail("the network ran"), (1, 1, SIZE, SIZE), 5, sd.Cold()),
            ValueError,
            "rule: Cold keeps all the noise",
        ),
        (
            lambda: sd.linear_step(images(2), images(2), LEVELS[1], LEVELS[0], sd.DDIM()),
            ValueError,
            "linear_step: s must not be stronger than t, but strength is 0.6 and 0.2",
        ),
        (
            lambda: sd.linear_step(images(2), images(2), replace(LEVELS[0], corruption=FADE), LEVELS[1], sd.DDIM()),
            ValueError,
            "s and t must have the same corruption",
        ),
        (lambda: sd.linear_step(images(2), images(2), sd.Level(), LEVELS[0], sd.DDIM()), TypeError, "s must be a LinearLevel"),
        (lambda: sd.linear_step(images(2), images(3), *LEVELS, sd.DDIM()), ValueError, "x_hat must have the shape of x_t"),
    ],
)
def test_what_is_refused(make: Callable[[], object], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        make()

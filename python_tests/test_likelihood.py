"""Bounds on the likelihood: decoders, priors and weights against dense Gaussians, and what bits per dimension must obey."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import softdiff_ext as sd
from softdiff_ext import likelihood, reference
from softdiff_ext.learned_schedules import LearnedMonotone
from softdiff_ext.schedules import Cosine, LinearBeta, LinearGamma, NoiseSchedule

LN2 = math.log(2.0)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def on_grid(n: int, size: int, values: int = 256, seed: int = 0, channels: int = 1) -> Tensor:
    index = torch.randint(values, (n, channels, size, size), generator=seeded(seed))
    return likelihood.grid(values)[index]


# Decoders.


@given(st.floats(-14.0, 2.0), st.integers(2, 40), st.integers(0, 99))
def test_the_softmax_decoder_sums_to_one(gamma_0: float, values: int, seed: int) -> None:
    """Over all values that a pixel could have had, for the same z_0 / a_0."""
    grid = likelihood.grid(values)
    ratio = 2.4 * torch.rand((), dtype=torch.float64, generator=seeded(seed)) - 1.2  # what z_0 / a_0 is
    noise = (ratio - grid) * math.exp(-gamma_0 / 2)  # the eps that makes it so from each value
    nats = [
        likelihood.grid_nats(v.view(1, 1, 1, 1), torch.tensor(gamma_0, dtype=torch.float64), n.view(1, 1, 1, 1), grid)
        for v, n in zip(grid, noise, strict=True)
    ]
    assert float(torch.exp(-torch.cat(nats)).sum()) == pytest.approx(1.0, rel=1e-9)


@given(st.floats(-1.3, 1.3), st.floats(1e-4, 3.0), st.integers(2, 256))
def test_the_discretised_normal_decoder_sums_to_one(mean: float, std: float, values: int) -> None:
    grid = likelihood.grid(values)
    x = grid.view(-1, 1, 1, 1)
    nats = likelihood.discretised_normal_nats(x, torch.full_like(x, mean), std, grid)
    assert bool((nats >= 0).all())
    assert bool(nats.isfinite().all())
    assert float(torch.exp(-nats).sum()) == pytest.approx(1.0, rel=1e-12)


def test_the_discretised_normal_is_a_difference_of_distribution_functions() -> None:
    grid = torch.linspace(-1, 1, 5, dtype=torch.float64)
    x = torch.tensor([-1.0, 0.5, 1.0], dtype=torch.float64).view(3, 1, 1, 1)
    got = likelihood.discretised_normal_nats(x, torch.full_like(x, 0.2), 0.3, grid)
    cdf = torch.distributions.Normal(0.2, 0.3).cdf
    edges = [torch.tensor(edge, dtype=torch.float64) for edge in (-0.75, 0.25, 0.75)]
    wanted = [cdf(edges[0]), cdf(edges[2]) - cdf(edges[1]), 1 - cdf(edges[2])]
    torch.testing.assert_close(torch.exp(-got), torch.stack(wanted), rtol=1e-6, atol=0)


def test_far_tails_of_the_decoder_are_exact() -> None:
    """100 stds away the mass is e^-5005: its log is that of the nearer edge's Mills ratio."""
    grid = likelihood.grid(256)
    x = grid[-1:].view(1, 1, 1, 1)
    got = float(likelihood.discretised_normal_nats(x, torch.full_like(x, float(grid[-2] + 1 / 256) - 1.0), 0.01, grid))
    assert got == pytest.approx(0.5 * 100**2 + math.log(100 * math.sqrt(2 * math.pi)), rel=1e-6)


def test_the_published_constants() -> None:
    """8-bit images at VDM's ends: 0.011 bits for the reconstruction, 0.0012 bits for a prior of images with E x^2 = 1/4."""
    process = sd.VariationalDiffusion(LinearGamma())
    eps = torch.linspace(-8, 8, 4001, dtype=torch.float64)
    density = torch.distributions.Normal(0.0, 1.0).log_prob(eps).exp() * 16 / 4000
    pixel = likelihood.grid(256)[100].expand(len(eps), 1, 1, 1)
    gamma_0 = process.schedule.gamma(torch.zeros((), dtype=torch.float64))
    nats = likelihood.grid_nats(pixel, gamma_0, eps.view(-1, 1, 1, 1), process.values)
    assert float((density * nats).sum()) / LN2 == pytest.approx(0.0105, abs=1e-4)
    half = torch.full((1, 1, 8, 8), 0.5, dtype=torch.float64)
    u, lam = half, torch.zeros(1, 1, dtype=torch.float64)
    prior = likelihood.to_bits(likelihood.prior_nats(u, process.level(1.0), lam), half)
    assert float(prior) == pytest.approx(0.0012, abs=5e-5)


def test_pixels_off_the_grid_are_refused() -> None:
    process = sd.VariationalDiffusion()
    x = on_grid(2, 8)
    x[1, 0, 3, 3] = 0.001
    with pytest.raises(ValueError, match=r"x: pixels must be among the 256 values from -0.996094 to 0.996094 .* got 0.001"):
        process.elbo(lambda z, t: z, x)
    x[1, 0, 3, 3] = math.nan
    with pytest.raises(ValueError, match="x: pixels must be among the 256 values"):
        process.elbo(lambda z, t: z, x)
    assert process.elbo(lambda z, t: z, on_grid(2, 8).float()).shape == (2,)
    for bad, error, text in (
        (torch.zeros(2, 8, 8), ValueError, r"x: must have shape \[B, C, H, W\], got \[2, 8, 8\]"),
        (torch.zeros(2, 1, 8, 8, dtype=torch.uint8), TypeError, "x: must be a floating tensor, got torch.uint8"),
    ):
        with pytest.raises(error, match=text):
            process.elbo(lambda z, t: z, bad)
    for name in ("steps", "evaluations"):
        with pytest.raises(ValueError, match=f"{name}: must be None or an int >= 1, got 0"):
            process.bits_per_dimension(lambda z, t: z, on_grid(1, 8), **{name: 0})
    with pytest.raises(ValueError, match="steps: must be None or an int >= 2, got 1"):
        sd.VariationalDiffusion(LinearBeta()).bits_per_dimension(lambda z, t: z, on_grid(1, 8), steps=1)


# Weights of the steps.

LEVELS = [(0.3, 0.5), (0.899, 0.9), (0.0, 0.001), (0.0, 1.0)]


def blurring(prediction: str, floor: float = 1e-3, sigma_blur_max: float = 1.5, **options: object) -> sd.BlurringDiffusion:
    return sd.BlurringDiffusion(sigma_blur_max, floor, -6.0, 6.0, prediction, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("prediction", ["eps", "x", "v"])
@pytest.mark.parametrize(("s", "t"), LEVELS)
@pytest.mark.parametrize("block", [None, 2])
def test_a_step_costs_the_kl_of_dense_gaussians(prediction: str, s: float, t: float, block: int | None) -> None:
    """The KL of q(z_s | z_t, x) from q(z_s | z_t, x_hat), with dense covariances of 16 pixels and plain conditioning."""
    process = blurring(prediction, block=block)
    side = 4 if block is None else block
    small = torch.kron(reference.dct_matrix(side), reference.dct_matrix(side))
    lam = reference.eigenvalues((side, side)).reshape(-1)
    if block is None:
        basis, lam_all = small.T, lam  # columns are the basis images
    else:
        tiles = torch.arange(16, dtype=torch.float64).view(1, 1, 4, 4)
        order = tiles.view(2, 2, 2, 2).permute(0, 2, 1, 3).reshape(-1).long()
        basis = torch.zeros(16, 16, dtype=torch.float64)
        basis[order] = torch.block_diag(*[small.T] * 4)
        lam_all = lam.repeat(4)

    def dense(level: sd.Level) -> tuple[Tensor, float]:
        gain = (1 - process.floor) * torch.exp(-lam_all * float(level.tau)) + process.floor
        return basis @ torch.diag(math.exp(float(level.log_a)) * gain) @ basis.T, float(level.sigma)

    (a_s, sigma_s), (a_t, sigma_t) = dense(process.level(s)), dense(process.level(t))
    x, x_hat = (torch.randn(16, dtype=torch.float64, generator=seeded(seed)) for seed in (1, 2))
    eye, step = torch.eye(16, dtype=torch.float64), a_t @ torch.linalg.inv(a_s)
    noise = sigma_t**2 * eye - sigma_s**2 * step @ step.T
    gain = sigma_s**2 * step.T @ torch.linalg.inv(step @ step.T * sigma_s**2 + noise)
    covariance = sigma_s**2 * eye - gain @ step * sigma_s**2
    shift = (a_s - gain @ a_t) @ (x - x_hat)  # z_t is the same, so its part of the two means is
    wanted = 0.5 * shift @ torch.linalg.solve(covariance, shift)

    first, second = process.level(s), process.level(t)
    image, estimate = x.view(1, 1, 4, 4), x_hat.view(1, 1, 4, 4)
    z = process._corrupt(image, process.level(torch.tensor([t], dtype=torch.float64)), torch.randn_like(image))
    output = answer(process, z, estimate, t)
    target = answer(process, z, image, t)
    error, lam_map = process._coefficients(target - output)
    gap = process.schedule.gamma(torch.tensor([s, t], dtype=torch.float64)).diff()
    weight = likelihood.step_weight(
        first, second, likelihood.gamma_step(first, second, gap, lam_map), process.prediction, lam_map
    )
    got = likelihood.weighted_nats(error, weight)
    assert float(got) == pytest.approx(float(wanted), rel=1e-6)  # the dense side inverts matrices of condition 1e6


def answer(process: sd.VariationalDiffusion, z: Tensor, x_hat: Tensor, t: float) -> Tensor:
    """The network's output that means the clean image x_hat."""
    level = process.level(torch.full((len(z),), t, dtype=torch.float64))
    sigma, a = (torch.as_tensor(value).view(-1, 1, 1, 1) for value in (level.sigma, torch.as_tensor(level.log_a).exp()))
    eps = (z.double() - process._corrupt(x_hat.double().expand(z.shape), level, torch.zeros_like(z).double())) / sigma
    return {"eps": eps, "x": x_hat.expand(z.shape), "v": a * eps - sigma * x_hat}[process.prediction].to(z.dtype)


@pytest.mark.parametrize(("prediction", "floor"), [("eps", 1e-3), ("x", 1e-3), ("v", 1e-3), ("x", 0.0), ("v", 0.0)])
def test_the_continuous_weight_is_the_limit_of_the_steps(prediction: str, floor: float) -> None:
    process, lam = blurring(prediction, floor, 8.0), reference.eigenvalues((8, 8))
    width = 1e-6
    for t in (0.02, 0.3, 0.77, 0.99):
        now, s = torch.tensor([t], dtype=torch.float64), torch.tensor([t - width], dtype=torch.float64)
        level, cleaner = process.level(now), process.level(s)
        rate = likelihood.gamma_rate(level, process.schedule.slope(now), process._tau_slope(now), lam)
        got = likelihood.rate_weight(level, rate, prediction, lam)
        gap = process.schedule.gamma(now) - process.schedule.gamma(s)
        steps = likelihood.step_weight(cleaner, level, likelihood.gamma_step(cleaner, level, gap, lam), prediction, lam)
        # one-sided difference: width times the curvature, at most the square of the rate 3e5 of the fastest frequency
        torch.testing.assert_close(steps / width, got, rtol=2e-2, atol=1e-12 * float(got.max()))
        slow = (lam < 1.0).expand_as(got)
        torch.testing.assert_close((steps / width)[slow], got[slow], rtol=3e-4, atol=0)


@pytest.mark.parametrize("size", [32, 256])
@pytest.mark.parametrize("sigma_blur_max", [0.0, 20.0, 128.0])
@pytest.mark.parametrize("steps", [1, 5, 1000, None])
@pytest.mark.parametrize("prediction", ["eps", "x", "v"])
def test_weights_are_finite_at_every_step(prediction: str, steps: int | None, sigma_blur_max: float, size: int) -> None:
    for floor in (1e-3, 0.0):
        if prediction == "eps" and floor == 0.0:
            continue  # refused: a noise estimate is divided by the floor
        process = sd.BlurringDiffusion(sigma_blur_max, floor, prediction=prediction)
        lam = process._coefficients(torch.zeros(1, 1, size, size))[1]
        t = torch.cat([torch.linspace(0, 1, 21), torch.tensor([1e-3, 0.999])]).double()
        t = t if steps is None else ((t * steps).round().clamp(min=1) / steps).unique()
        instant = process.schedule.at(t)
        weight = process._weight(instant, process.level(t), t, steps, lam)
        assert bool(weight.isfinite().all())
        assert bool((weight >= 0).all())
        assert float(weight.amax()) < 3e38  # what float32 holds


# Whole bounds.

SCHEDULES: dict[str, Callable[[], NoiseSchedule]] = {
    "cosine": lambda: Cosine(-6.0, 8.0),
    "linear": lambda: LinearGamma(-8.0, 6.0),
    "network": lambda: LearnedMonotone(-8.0, 6.0, features=12, generator=seeded(1)),
}
POWER = 0.3


def known_error(process: sd.VariationalDiffusion, x: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
    """A network whose squared error is exactly that of the best one for N(0, POWER) pixels: nothing random is left."""

    def model(z: Tensor, time: Tensor) -> Tensor:
        gamma = -process.schedule.logsnr(model.t)  # type: ignore[attr-defined]
        mmse = POWER / (1.0 + POWER * torch.exp(-gamma))
        return x + mmse.sqrt()[:, None, None, None]

    return model


def deterministic(
    name: str, steps: int | None, evaluations: int | None = None
) -> tuple[sd.VariationalDiffusion, likelihood.BitsPerDimension]:
    """Bits of one image under `known_error`."""
    learned = name == "network"
    process = sd.VariationalDiffusion(SCHEDULES[name](), "x", "elbo" if learned else "mse")
    x = on_grid(1, 4)
    model = known_error(process, x)
    spied = process._diffusion_bits

    def note(model_: object, x_: Tensor, eps: Tensor, t: Tensor, steps_: int | None = None) -> Tensor:
        model.t = t  # type: ignore[attr-defined]
        return spied(model_, x_, eps, t, steps_)  # type: ignore[arg-type]

    process._diffusion_bits = note  # type: ignore[assignment, method-assign]
    return process, process.bits_per_dimension(model, x, seeded(0), steps, evaluations)


def closed_form() -> float:
    """Integral of the diffusion term of `known_error` from gamma = -8 to 6, bits: 1/2 log2 of the ratio of 1 + POWER SNR."""
    return 0.5 * math.log2((1 + POWER * math.exp(8.0)) / (1 + POWER * math.exp(-6.0)))


@pytest.mark.parametrize("name", SCHEDULES)
def test_the_continuous_bound_depends_on_the_ends_of_the_schedule_only(name: str) -> None:
    process, terms = deterministic(name, None, 4000)
    # 4000 evenly spread times of a function that is smooth but not periodic: half an interval of its value at 0, the larger end
    edge = 0.5 * float(process.schedule.slope(torch.zeros((), dtype=torch.float64)).detach()) / LN2 / 4000
    assert float(terms.diffusion) == pytest.approx(closed_form(), abs=0.5 * edge + 1e-4)


@pytest.mark.parametrize("name", SCHEDULES)
def test_more_steps_lower_the_bound_towards_the_continuous_one(name: str) -> None:
    bits = [float(deterministic(name, steps)[1].diffusion) for steps in (10, 100, 1000)]
    assert bits[0] > bits[1] > bits[2] > closed_form()
    gaps = [value - closed_form() for value in bits]
    assert gaps[2] < 0.03 * closed_form()
    # the first-order error of a Riemann sum; 100 steps of the cosine are coarse at its steep ends
    assert gaps[1] / gaps[2] == pytest.approx(10, rel=0.3 if name == "cosine" else 0.05)


@pytest.mark.parametrize("steps", [None, 50])
def test_evenly_spread_times_estimate_the_same_bound(steps: int | None) -> None:
    """Few evaluations for each of many images have the mean of all of them."""
    process = blurring("eps", steps=steps)
    x = on_grid(200, 4)
    model = lambda z, t: 0.8 * z  # noqa: E731
    every = process.bits_per_dimension(model, x, seeded(0), evaluations=None if steps else 50).diffusion
    few = process.bits_per_dimension(model, x, seeded(1), evaluations=4).diffusion
    error = math.hypot(float(every.std()), float(few.std())) / math.sqrt(len(x))
    assert abs(float(few.mean() - every.mean())) < 4 * error
    assert error < 0.1 * float(every.mean())
    assert float(few.std()) > 2 * float(every.std())


# Gaussian data and the best network: the bound must be the entropy of the data.

SIZE = 4
LAM = reference.eigenvalues((SIZE, SIZE))
SPECTRUM = 0.2 / (0.3 + LAM) ** 1.5


def entropy_gap(process: sd.BlurringDiffusion, steps: int | None, evaluations: int | None) -> tuple[float, float]:
    """Mean bound less entropy in nats, and its standard error.

    The decoder is replaced by the exact p(x | z_0), a Gaussian with the entropy 1/2 ln(2 pi e P / (1 + P SNR_0)).
    """
    x = reference.idct(torch.randn(3000, 1, SIZE, SIZE, dtype=torch.float64, generator=seeded(4)) * SPECTRUM.sqrt())

    def best(z: Tensor, t: Tensor) -> Tensor:
        level = process.level(t.double())
        alpha, sigma = reference.alpha(level, LAM), reference.column(level.sigma, LAM.device)
        u = reference.dct(z)
        u_hat = SPECTRUM * alpha / (alpha**2 * SPECTRUM + sigma**2) * u
        a = torch.exp(reference.column(level.log_a, LAM.device))
        eps_hat = (u - alpha * u_hat) / sigma
        return reference.idct({"eps": eps_hat, "x": u_hat, "v": a * eps_hat - sigma * u_hat}[process.prediction])

    process._check_bound = lambda *args: None  # type: ignore[method-assign, assignment] # these pixels are on no grid
    terms = process.bits_per_dimension(best, x, seeded(5), steps, evaluations)
    snr_0 = (reference.alpha(process.level(0.0), LAM) / float(process.level(0.0).sigma)) ** 2
    decoder = 0.5 * torch.log(2 * math.pi * math.e * SPECTRUM / (1 + SPECTRUM * snr_0)).sum()
    entropy = 0.5 * torch.log(2 * math.pi * math.e * SPECTRUM).sum()
    nats = (terms.prior + terms.diffusion) * SIZE**2 * LN2
    return float(nats.mean() + decoder - entropy), float(nats.std()) / math.sqrt(len(x))


@pytest.mark.parametrize("prediction", ["eps", "x", "v"])
@pytest.mark.parametrize("sigma_blur_max", [0.0, 1.5])
def test_the_bound_approaches_the_entropy_of_gaussian_data(prediction: str, sigma_blur_max: float) -> None:
    gap, error = entropy_gap(blurring(prediction, sigma_blur_max=sigma_blur_max), None, 60)
    # the prior's own gap at logsnr = -6 is below 1e-3 nats
    assert abs(gap) < 4 * error + 1e-3
    assert error < 0.15  # of about 40 nats of diffusion


def test_with_steps_the_bound_on_gaussian_data_falls_towards_the_entropy() -> None:
    gaps = [entropy_gap(blurring("x"), steps, None) for steps in (4, 16, 64)]
    for (coarse, first), (fine, second) in pairwise(gaps):
        assert coarse > fine + 4 * math.hypot(first, second)
    assert gaps[-1][0] > 4 * gaps[-1][1]


def test_ddpms_bound_is_its_published_sum() -> None:
    """KLs of steps 2 ... T by the formulas of the betas, the discretised normal at step 1; the same draws."""
    steps = 6
    schedule = LinearBeta(steps, 0.01, 0.3)
    process = sd.VariationalDiffusion(schedule)
    x, model = on_grid(3, 4), lambda z, t: 0.5 * z + 0.1 * t[:, None, None, None]
    terms = process.bits_per_dimension(model, x, seeded(0))
    beta = torch.linspace(0.01, 0.3, steps, dtype=torch.float64)
    abar = torch.cumprod(1 - beta, dim=0)
    draws, size = seeded(0), x[0].numel()
    eps = torch.randn(x.shape, dtype=torch.float64, generator=draws)
    z = abar[0].sqrt() * x + (1 - abar[0]).sqrt() * eps
    x_hat = (z - (1 - abar[0]).sqrt() * model(z, torch.full((3,), 1 / steps).double())) / abar[0].sqrt()
    std = float((beta[1] * (1 - abar[0]) / (1 - abar[1])).sqrt())
    decoder = likelihood.discretised_normal_nats(x, x_hat, std, likelihood.grid(256))
    torch.rand((), dtype=torch.float64, generator=draws)  # where the times would start if they were drawn
    kl = torch.zeros(3, dtype=torch.float64)
    for i in range(1, steps):
        eps = torch.randn(x.shape, dtype=torch.float64, generator=draws)
        z = abar[i].sqrt() * x + (1 - abar[i]).sqrt() * eps
        x_hat = (z - (1 - abar[i]).sqrt() * model(z, torch.full((3,), (i + 1) / steps).double())) / abar[i].sqrt()
        variance = beta[i] * (1 - abar[i - 1]) / (1 - abar[i])
        mean = beta[i] * abar[i - 1].sqrt() / (1 - abar[i]) * (x - x_hat)
        kl += (mean**2 / (2 * variance)).sum(dim=(1, 2, 3))
    prior = 0.5 * (abar[-1] * x**2 - abar[-1] - torch.log1p(-abar[-1])).sum(dim=(1, 2, 3))
    for got, wanted in ((terms.reconstruction, decoder), (terms.diffusion, kl), (terms.prior, prior)):
        torch.testing.assert_close(got, wanted / (size * LN2), rtol=1e-9, atol=0)
    assert terms.means()["total"] == pytest.approx(float((decoder + kl + prior).mean()) / (size * LN2))
    torch.testing.assert_close(process.elbo(model, x, seeded(0)), terms.total, rtol=0, atol=0)


def test_bits_of_noise_are_its_entropy_under_the_best_network() -> None:
    """Pixels that are +1 or -1 at random take one bit; the best network is tanh(e^-gamma ...), and no bound is below it."""
    process = sd.VariationalDiffusion(LinearGamma(-8.0, 6.0), "x", values=[-1.0, 1.0])
    x = torch.where(torch.rand(2000, 1, 2, 2, generator=seeded(0)) < 0.5, -1.0, 1.0).double()

    def best(z: Tensor, t: Tensor) -> Tensor:
        gamma = process.schedule.gamma(t.double())[:, None, None, None]
        return torch.tanh(z * torch.sigmoid(-gamma).sqrt() / torch.sigmoid(gamma))

    bits = process.bits_per_dimension(best, x, seeded(1), evaluations=40)
    error = float(bits.total.std()) / math.sqrt(len(x))
    assert float(bits.reconstruction.max()) < 1e-12
    assert float(bits.total.mean()) == pytest.approx(1.0, abs=4 * error + 2e-3)  # + the prior's term at gamma = 6

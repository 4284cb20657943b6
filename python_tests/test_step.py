"""diffuse, posterior and step: the formulas over every family, rule, prediction and dtype, and at the ends of every range."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import logsigmoid

import softdiff_ext as sd
from softdiff_ext import reference
from softdiff_ext.rules import PREDICTIONS, Rule

from .helpers import DTYPES, Image, Levels, assert_matches, images, levels, randn
from .operators import RULES

WITH_LEVELS = images().flatmap(lambda spec: st.tuples(st.just(spec), levels(spec.shape[0])))


def lam_of(x: torch.Tensor) -> torch.Tensor:
    return reference.eigenvalues((x.shape[-2], x.shape[-1]), device=x.device)


def norm_of_terms(*terms: tuple[torch.Tensor, torch.Tensor]) -> float:
    """Sum of the norms of gain . V^T image: the size that rounding is relative to where the terms cancel."""
    return sum((gain * reference.dct(image.double())).norm().item() for gain, image in terms)


@given(drawn=WITH_LEVELS)
def test_diffuse_equals_the_reference(device: torch.device, drawn: tuple[Image, Levels]) -> None:
    spec, pair = drawn
    x, noise = spec.make(device), spec.make(device, offset=1)
    for level in pair.make(device):
        got = sd.diffuse(x, level, noise=noise)
        assert got.dtype == x.dtype
        assert got.is_contiguous()
        want = reference.diffuse(x.double(), level, noise.double())
        sigma = reference.column(level.sigma, device)
        scale = x.double().norm().item() + (sigma * noise.double()).norm().item()
        assert_matches(got, want, scale=scale)


@given(drawn=WITH_LEVELS)
def test_posterior_equals_the_reference(device: torch.device, drawn: tuple[Image, Levels]) -> None:
    spec, pair = drawn
    z, x_hat = spec.make(device), spec.make(device, offset=1)
    s, t = pair.make(device)
    mean, variance = sd.posterior(z, x_hat, s, t)
    want_mean, want_variance = reference.posterior(z.double(), x_hat.double(), s, t)
    p, q, _ = reference.step_coefficients(s, t, sd.Markov(), "x", lam_of(z))
    assert mean.dtype == z.dtype
    assert_matches(mean, want_mean, scale=norm_of_terms((p, x_hat), (q, z)))
    assert variance.shape == (spec.shape[0], 1, *spec.shape[2:])
    assert variance.dtype == reference.accumulation_dtype(z.dtype)
    # The oracle subtracts from 1, so it is off by a few float64 roundings of sigma_s^2; the kernel, by expm1, is not.
    sigma_squared = (reference.column(s.sigma, device) ** 2).expand_as(want_variance)
    assert_matches(variance, want_variance, doubt=1e-15 * sigma_squared.norm().item())


@st.composite
def step_cases(draw: st.DrawFn, noisy: bool = False, floored: bool = False) -> tuple[Image, Levels, Rule]:
    """Images, levels and a rule; momentum is defined for sigma_s <= sigma_t."""
    spec, rule = draw(images()), draw(st.sampled_from(list(RULES.values())))
    pair = draw(levels(spec.shape[0], noisy, floored))
    assume(not isinstance(rule, sd.Momentum) or all(s[2] <= t[2] for s, t in pair.rows))
    return spec, pair, rule


def doubt_of_omega(s: sd.Level, rule: Rule, w: Tensor, noise: Tensor) -> float:
    """How far off the oracle's noise may be: sigma sqrt(1 - ratio^2 r^2) loses its digits where the product is nearly 1."""
    if not isinstance(rule, sd.Markov):
        return 0.0
    rounding, sigma = 2.0**-51, reference.column(s.sigma, w.device)
    share = torch.where(sigma > 0, w / torch.where(sigma > 0, sigma, 1.0), 1.0)
    return norm_of_terms((sigma * rounding / (share + math.sqrt(rounding)), noise))


@pytest.mark.parametrize("prediction", PREDICTIONS)
@given(data=st.data())
def test_step_equals_the_reference(device: torch.device, prediction: str, data: st.DataObject) -> None:
    # eps divides by alpha_t, v by a alpha_t + sigma_t^2
    spec, pair, rule = data.draw(step_cases(noisy=prediction == "v", floored=prediction == "eps"))
    z, output, noise = (spec.make(device, offset=i) for i in range(3))
    s, t = pair.make(device)
    p, q, w = reference.step_coefficients(s, t, rule, prediction, lam_of(z))
    want = reference.step(z.double(), output.double(), s, t, rule, prediction, noise.double())
    assume(spec.dtype != torch.float16 or not bool((want.abs() > 3e4).any()))  # what float16 cannot hold
    got = sd.step(z, output, s, t, rule, prediction, noise=noise)
    assert got.dtype == z.dtype
    assert got.is_contiguous()
    # eps and v divide by gains exp(-y), which carry the error y 2^-24 of float32's y; sigma^2 = 1e-6 stops it at y = 14.
    divides = prediction in ("eps", "v")
    scale, doubt = norm_of_terms((p, output), (q, z), (w, noise)), doubt_of_omega(s, rule, w, noise)
    assert_matches(got, want, scale=scale, arithmetic=4.0 if divides else 1.0, doubt=doubt)


@pytest.mark.parametrize("rule", [sd.Markov(), sd.DDIM(0.5)], ids=["markov", "ddim"])
@pytest.mark.parametrize("shape", [(2, 1, 8, 8), (1, 2, 32, 32), (1, 1, 20, 12), (1, 1, 256, 256)], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_v_where_the_blur_is_as_small_as_the_noise(
    device: torch.device, dtype: torch.dtype, shape: tuple[int, ...], rule: Rule
) -> None:
    """The velocity divides by a_t alpha_t + sigma_t^2, here 1e-6: alpha_t as 1 - (1 - alpha_t) would be 3 per cent wrong."""
    s, t = sd.Level(0.0, 0.0, 1e-3), sd.Level(0.0, 8.0, 1e-3)
    z, output, noise = (randn(shape, i, dtype).to(device) for i in range(3))
    want = reference.step(z.double(), output.double(), s, t, rule, "v", noise.double())
    error = (sd.step(z, output, s, t, rule, "v", noise=noise).double() - want).norm() / want.norm()
    assert float(error) <= (2e-6 if dtype == torch.float32 else 2e-14)  # exp(-y) carries the rounding of y <= 60


# ---- the formulas against others that were not derived from them ----

DIFFERENT = [
    pytest.param(sd.Level(-0.05, 0.3, 0.3, 0.0), sd.Level(-0.7, 2.0, 0.8, 0.0), id="blurring"),
    pytest.param(sd.Level(-0.05, 0.3, 0.3, 1e-3), sd.Level(-0.7, 50.0, 0.8, 1e-3), id="blurring with floor"),
    pytest.param(sd.Level(0.0, 0.3, 0.02, 0.0), sd.Level(0.0, 2.0, 0.05, 0.0), id="soft"),
    pytest.param(sd.Level(0.0, 0.3, 0.01, 0.0), sd.Level(0.0, 2.0, 0.01, 0.0), id="heat dissipation"),
    pytest.param(sd.Level(-0.05, 0.0, 0.3, 0.0), sd.Level(-0.7, 0.0, 0.8, 0.0), id="vdm"),
]


@pytest.mark.parametrize(("s", "t"), DIFFERENT)
def test_posterior_is_dense_gaussian_conditioning(s: sd.Level, t: sd.Level) -> None:
    height, width = 3, 4
    basis = torch.kron(reference.dct_matrix(height), reference.dct_matrix(width)).T  # V: columns are cosine images
    lam = reference.eigenvalues((height, width))
    alpha_s, alpha_t = (reference.alpha(level, lam).flatten() for level in (s, t))
    signal_s = basis @ torch.diag(alpha_s) @ basis.T
    transition = basis @ torch.diag(alpha_t / alpha_s) @ basis.T  # z_t = transition z_s + noise of covariance `fresh`
    prior = float(s.sigma) ** 2 * torch.eye(height * width, dtype=torch.float64)
    joint = float(t.sigma) ** 2 * torch.eye(height * width, dtype=torch.float64)  # covariance of z_t given x, whole
    gain = prior @ transition.T @ torch.linalg.inv(joint)
    x, z = randn((1, 1, height, width), 0), randn((1, 1, height, width), 1)
    want = signal_s @ x.flatten() + gain @ (z.flatten() - transition @ signal_s @ x.flatten())
    covariance = basis.T @ (prior - gain @ transition @ prior) @ basis

    mean, variance = sd.posterior(z, x, s, t)
    torch.testing.assert_close(mean.flatten(), want, rtol=1e-12, atol=1e-13)
    torch.testing.assert_close(torch.diag(variance.flatten()), covariance, rtol=1e-10, atol=1e-15)


def coefficients(s: sd.Level, t: sd.Level, rule: Rule, size: tuple[int, int] = (6, 5)) -> tuple[torch.Tensor, ...]:
    """(p, q, w) read off the operator itself: its answer to all frequencies at once, one argument at a time."""
    ones, nothing = sd.idct(torch.ones((1, 1, *size), dtype=torch.float64)), torch.zeros((1, 1, *size), dtype=torch.float64)
    return tuple(
        sd.dct(sd.step(z, m, s, t, rule, noise=n))[0, 0]
        for m, z, n in ((ones, nothing, nothing), (nothing, ones, nothing), (nothing, nothing, ones))
    )


EXACT = [sd.Markov(), sd.Momentum(exact=True), sd.DDIM(), sd.DDIM(eta=0.3), sd.DDIM(eta=1.0), sd.Naive()]


@pytest.mark.parametrize("rule", EXACT, ids=repr)
@pytest.mark.parametrize(("s", "t"), DIFFERENT)
def test_exact_rules_keep_the_marginals(s: sd.Level, t: sd.Level, rule: Rule) -> None:
    p, kappa, omega = coefficients(s, t, rule)
    lam = reference.eigenvalues((6, 5))
    clean = (reference.alpha(s, lam) - kappa * reference.alpha(t, lam))[0, 0]
    torch.testing.assert_close(p, clean, rtol=0, atol=1e-13)
    variance = kappa**2 * float(t.sigma) ** 2 + omega**2
    torch.testing.assert_close(variance, torch.full_like(variance, float(s.sigma) ** 2), rtol=1e-12, atol=0)


@pytest.mark.parametrize(("s", "t"), DIFFERENT)
def test_momentum_as_published_adds_the_known_excess(s: sd.Level, t: sd.Level) -> None:
    _, kappa, omega = coefficients(s, t, sd.Momentum())
    var_s, var_t = float(s.sigma) ** 2, float(t.sigma) ** 2
    excess = kappa**2 * var_t + omega**2 - var_s
    torch.testing.assert_close(excess, torch.full_like(excess, (var_t - var_s) ** 2 / var_t), rtol=1e-10, atol=1e-16)


def test_markov_is_ddpm() -> None:
    beta = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)
    bar = torch.cumprod(1 - beta, 0)
    x, z, n = (randn((1, 1, 4, 5), i) for i in range(3))
    for k in (1, 2, 500, 999):
        s, t = (sd.Level(log_a=0.5 * bar[i].log(), sigma=(1 - bar[i]).sqrt()) for i in (k - 1, k))
        mean = (beta[k] * bar[k - 1].sqrt() * x + (1 - bar[k - 1]) * (1 - beta[k]).sqrt() * z) / (1 - bar[k])
        std = (beta[k] * (1 - bar[k - 1]) / (1 - bar[k])).sqrt()
        torch.testing.assert_close(sd.posterior_sample(z, x, s, t, noise=n), mean + std * n, rtol=1e-9, atol=1e-12)
        ddim = bar[k - 1].sqrt() * x + (1 - bar[k - 1]).sqrt() / (1 - bar[k]).sqrt() * (z - bar[k].sqrt() * x)
        torch.testing.assert_close(sd.step(z, x, s, t, sd.DDIM(), noise=n), ddim, rtol=1e-9, atol=1e-12)


def test_markov_of_a_noise_prediction_is_vdm() -> None:
    z, eps, n = (randn((1, 1, 4, 5), i) for i in range(3))
    for gammas in ((-13.3, -13.2), (-3.0, -2.0), (4.9, 5.0)):
        gamma_s, gamma_t = torch.tensor(gammas, dtype=torch.float64)
        s, t = (sd.Level(0.5 * logsigmoid(-gamma), 0.0, gamma.sigmoid().sqrt()) for gamma in (gamma_s, gamma_t))
        c = -torch.expm1(gamma_s - gamma_t)
        want = (s.log_a - t.log_a).exp() * (z - c * t.sigma * eps) + s.sigma * c.sqrt() * n
        torch.testing.assert_close(sd.step(z, eps, s, t, sd.Markov(), "eps", noise=n), want, rtol=1e-9, atol=1e-12)


def test_markov_is_the_published_blurring_diffusion_step() -> None:
    s, t = sd.Level(-0.05, 0.3, 0.3, 1e-3), sd.Level(-0.7, 5.0, 0.8, 1e-3)
    z, eps, n = (randn((2, 1, 6, 5), i) for i in range(3))
    lam = reference.eigenvalues((6, 5))
    alpha_s, alpha_t = reference.alpha(s, lam), reference.alpha(t, lam)
    ts = alpha_t / alpha_s
    fresh = float(t.sigma) ** 2 - ts**2 * float(s.sigma) ** 2
    variance = 1 / (1 / float(s.sigma) ** 2 + ts**2 / fresh)
    u, u_eps, u_n = reference.dct(z), reference.dct(eps), reference.dct(n)
    want = (
        ts * variance / fresh * u + variance / (ts * float(s.sigma) ** 2) * (u - float(t.sigma) * u_eps) + variance.sqrt() * u_n
    )
    got = sd.step(z, eps, s, t, sd.Markov(), "eps", noise=n)
    torch.testing.assert_close(got, reference.idct(want), rtol=1e-10, atol=1e-11)


def test_cold_is_algorithm_2() -> None:
    z, x_hat = randn((2, 3, 8, 9), 0), randn((2, 3, 8, 9), 1)
    got = sd.step(z, x_hat, sd.Level(tau=1.0), sd.Level(tau=3.0), sd.Cold())
    torch.testing.assert_close(got, z - sd.dct_blur(x_hat, 3.0) + sd.dct_blur(x_hat, 1.0), rtol=1e-12, atol=1e-13)


def test_naive_of_a_mean_is_heat_dissipation() -> None:
    z, mean, n = (randn((2, 3, 8, 9), i) for i in range(3))
    s, t = sd.Level(tau=1.0, sigma=0.01), sd.Level(tau=3.0, sigma=0.01)
    got = sd.step(z, mean, s, t, sd.Naive(std=0.0125), "mean", noise=n)
    torch.testing.assert_close(got, mean + 0.0125 * n, rtol=1e-12, atol=1e-13)


@given(drawn=step_cases(noisy=True, floored=True))
def test_all_predictions_of_one_estimate_give_one_step(device: torch.device, drawn: tuple[Image, Levels, Rule]) -> None:
    spec, pair, rule = drawn
    assume(spec.shape[0] > 0)
    z, x_hat, n = (spec.make(device, offset=i).double() for i in range(3))
    s, t = pair.make(device)
    lam = lam_of(z)
    alpha_s, alpha_t = reference.alpha(s, lam), reference.alpha(t, lam)
    a_t, sigma_t = reference.column(t.log_a, device).exp(), reference.column(t.sigma, device)
    assume(bool((sigma_t >= 1e-2).all()))  # eps is a difference divided by sigma_t: below this its own rounding shows
    eps = (z - reference.spectral_filter(x_hat, alpha_t)) / sigma_t
    outputs = {"x": x_hat, "eps": eps, "v": a_t * eps - sigma_t * x_hat, "mean": reference.spectral_filter(x_hat, alpha_s)}
    steps = [sd.step(z, output, s, t, rule, name, noise=n) for name, output in outputs.items()]
    # Going back from eps or v divides by alpha_t >= 1e-3 a_t and multiplies what the first step kept of it.
    size = steps[0].abs().max().item() + (z.abs().max() / alpha_t.min()).item()
    for other in steps[1:]:
        assert (other - steps[0]).abs().max().item() <= 1e-11 * size


def test_posterior_sample_and_momentum_step_are_steps(device: torch.device) -> None:
    z, x_hat, n = (randn((3, 2, 8, 7), i).to(device) for i in range(3))
    s, t = sd.Level(-0.1, 0.3, 0.2, 1e-3), sd.Level(-0.4, 2.0, 0.6, 1e-3)
    assert torch.equal(sd.posterior_sample(z, x_hat, s, t, noise=n), sd.step(z, x_hat, s, t, sd.Markov(), noise=n))
    for exact in (False, True):
        want = sd.step(z, x_hat, s, t, sd.Momentum(exact), noise=n)
        assert torch.equal(sd.momentum_step(z, x_hat, s, t, noise=n, exact=exact), want)
    mean, variance = sd.posterior(z, x_hat, s, t)
    assert_matches(sd.posterior_sample(z, x_hat, s, t, noise=n), mean + sd.spectral_filter(n, variance.sqrt()))


@given(drawn=images().flatmap(lambda spec: st.tuples(st.just(spec), levels(spec.shape[0]))))
def test_soft_score_loss_is_the_blurred_error(device: torch.device, drawn: tuple[Image, Levels]) -> None:
    spec, pair = drawn
    x_hat, x = spec.make(device), spec.make(device, offset=1)
    level = pair.make(device)[1]
    got = sd.soft_score_loss(x_hat, x, level)
    assert got.shape == (spec.shape[0],)
    assert got.dtype == reference.accumulation_dtype(x.dtype)
    error = x_hat.double() - x.double()
    want = (reference.spectral_filter(error, reference.alpha(level, lam_of(x))) ** 2).sum((1, 2, 3))
    # A sum of squares keeps relative accuracy; the blurred error itself is small beside the error it was made of.
    arithmetic = 1e-13 if x.dtype == torch.float64 else 2e-6
    slack = arithmetic * want + arithmetic**2 * (error**2).sum((1, 2, 3))
    assert bool(((got.double() - want).abs() <= slack).all())


# ---- the ends of the ranges ----


@pytest.mark.parametrize("dtype", DTYPES)
def test_no_time_passes(device: torch.device, dtype: torch.dtype) -> None:
    z, x_hat, n = (randn((2, 3, 8, 9), i, dtype).to(device) for i in range(3))
    for level in (sd.Level(-0.4, 2.0, 0.6, 1e-3), sd.Level(0.0, 288.0, 0.01), sd.Level(0.0, 1e6, 0.0), sd.Level()):
        for rule in (sd.Markov(), sd.Momentum(), sd.Momentum(exact=True), sd.DDIM(), sd.Cold()):
            assert_matches(sd.step(z, x_hat, level, level, rule, noise=n), z)


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_last_step_returns_the_estimate(device: torch.device, dtype: torch.dtype) -> None:
    z, x_hat, n = (randn((2, 3, 8, 9), i, dtype).to(device) for i in range(3))
    for t in (sd.Level(-0.4, 2.0, 0.6, 1e-3), sd.Level(0.0, 288.0, 0.1), sd.Level(0.0, 1e6, 1.0)):
        for rule in (sd.Markov(), sd.Momentum(exact=True), sd.DDIM(), sd.DDIM(eta=0.5), sd.Naive()):
            assert_matches(sd.step(z, x_hat, sd.Level(), t, rule, noise=n), x_hat)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("tau", [0.0, 1.0, 288.0, 1e6])
def test_without_any_noise_the_posterior_moves_what_the_estimate_reveals(
    device: torch.device, dtype: torch.dtype, tau: float
) -> None:
    z, x_hat, n = (randn((2, 3, 8, 9), i, dtype).to(device) for i in range(3))
    s, t = sd.Level(tau=tau / 2), sd.Level(tau=tau)
    got = sd.posterior_sample(z, x_hat, s, t, noise=n)
    # sigma = 0: r is defined as 1, as for equal sigmas; then kappa = alpha_ts, and no fresh noise comes in at zero frequency.
    want = reference.step(z.double(), x_hat.double(), s, t, sd.Markov(), "x", n.double())
    assert_matches(got, want, scale=z.double().norm().item() + x_hat.double().norm().item())
    assert_matches(sd.dct(got.double())[..., 0, 0], sd.dct(z.double())[..., 0, 0], dtype=dtype, scale=z.double().norm().item())


@pytest.mark.parametrize("side", [32, 128])
@pytest.mark.parametrize("sigma_blur", [23.0, 128.0])
def test_strong_blur_stays_within_its_terms(device: torch.device, side: int, sigma_blur: float) -> None:
    """alpha_t / alpha_s formed as a quotient is 0/0 here on most frequencies; formed well, all coefficients are in [0, 1]."""
    z, x_hat = (randn((1, 1, side, side), i, torch.float32).to(device) for i in range(2))
    t = sd.Level(0.0, sigma_blur**2 / 2, 0.1)
    for share in (0.0, 0.5, 0.999999, 1.0):
        s = sd.Level(0.0, share * sigma_blur**2 / 2, 0.1 * share)
        mean, variance = sd.posterior(z, x_hat, s, t)
        p, q, w = reference.step_coefficients(s, t, sd.Markov(), "x", lam_of(z))
        assert_matches(mean, reference.posterior(z.double(), x_hat.double(), s, t)[0], scale=norm_of_terms((p, x_hat), (q, z)))
        assert_matches(variance, (w**2), dtype=torch.float32)
        assert bool((variance <= 0.01 * share**2 * (1 + 1e-6)).all())


def test_levels_may_mix_floats_and_tensors(device: torch.device) -> None:
    x, n = randn((3, 1, 8, 8), 0).to(device), randn((3, 1, 8, 8), 1).to(device)
    tau = torch.tensor([0.5, 1.0, 4.0], dtype=torch.float64, device=device)
    sigma = torch.tensor(0.3, dtype=torch.float32, device=device)
    got = sd.diffuse(x, sd.Level(-0.1, tau, sigma), noise=n)
    for b in range(3):
        one = sd.Level(-0.1, tau[b].item(), sigma.item())
        assert_matches(got[b : b + 1], sd.diffuse(x[b : b + 1], one, noise=n[b : b + 1]))

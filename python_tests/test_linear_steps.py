"""The loss and the step of any linear corruption: gradients, rules, posteriors and marginals."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import softdiff_ext as sd
from softdiff_ext.rules import Rule

from .helpers import randn
from .linear_corruptions import (
    BLUR,
    CHANNELS,
    CORRUPTIONS,
    IDENTITY,
    RULES,
    SIZE,
    SYMMETRIC,
    dense,
    every,
    pinv,
    strengths,
)


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

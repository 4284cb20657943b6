"""Samplers of Inverse Heat Dissipation and Cold Diffusion on Gaussian data: exact variances for every rule and number of steps.

The network is linear per frequency, so the sampler is too, and the second moment of each frequency follows a recursion. kappa,
omega and the sharpening of steps that skip levels are written out here once more, so that the test does not lean on the code.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor

import softdiff_ext as sd
from softdiff_ext import reference
from softdiff_ext.processes import ColdDiffusion, InverseHeatDissipation
from softdiff_ext.rules import Rule

SIZE, LEVELS, BLUR, SIGMA, DELTA = 8, 24, (0.2, 2.0), 0.05, 0.0625
LAM = reference.eigenvalues((SIZE, SIZE))
SHAPE = 1.0 / (1.0 + LAM) ** 2
POWER = SHAPE * 0.16**2 / SHAPE.mean()  # pixel std 0.16: images of this law stay within [-1, 1]
TRAINING = reference.idct(
    torch.randn(500, 1, SIZE, SIZE, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) * POWER.sqrt()
)
FITTED = (reference.dct(TRAINING) ** 2).mean(dim=(0, 1))
RULES = (sd.Markov(), sd.DDIM(), sd.DDIM(eta=0.5), sd.Momentum(), sd.Momentum(exact=True), sd.Naive(), sd.Cold())
CASES = [("ihdm", rule) for rule in (*RULES, sd.Naive(std=DELTA))] + [("cold", rule) for rule in (*RULES, sd.Naive(std=0.0))]
STEPS = (5, LEVELS, 2 * LEVELS, 31)  # skipping levels, one by one, between the levels, and on none of them


def make(name: str) -> InverseHeatDissipation | ColdDiffusion:
    process = (
        InverseHeatDissipation(LEVELS, BLUR, SIGMA, DELTA) if name == "ihdm" else ColdDiffusion(LEVELS, BLUR, prior="images")
    )
    process.fit(TRAINING)
    return process


def tau(t: float) -> float:
    """Heat time at t = k / K: log-spaced from level 1 to K, sigma_blur linear from 0 below."""
    k = max(t, 0.0) * LEVELS
    sigma_blur = k * BLUR[0] if k < 1 else BLUR[0] * (BLUR[1] / BLUR[0]) ** ((k - 1) / (LEVELS - 1))
    return sigma_blur**2 / 2


def blur(t: float) -> Tensor:
    return torch.exp(-LAM * tau(t))


def gain(t: float) -> Tensor:
    """g of the network's estimate u_hat = g u_t: the posterior mean under noise of std SIGMA, which serves the cold one too."""
    return POWER * blur(t) / (blur(t) ** 2 * POWER + SIGMA**2)


def network(name: str) -> Callable[[Tensor, Tensor], Tensor]:
    def answer(z: Tensor, t: Tensor) -> Tensor:
        time, u = float(t[0]), reference.dct(z.double())
        u_hat = gain(time) * u
        return reference.idct(blur(time - 1 / LEVELS) * u_hat - u if name == "ihdm" else u_hat).to(z.dtype)

    return answer


def estimate_at(name: str, s: float, t: float) -> Tensor:
    """What a step takes for C_s u_hat, per unit of u_t."""
    if name == "cold":
        return blur(s) * gain(t)
    p = max(t - 1 / LEVELS, 0.0)  # the network gave the mean of this time
    answer = blur(p) * gain(t)
    if tau(s) >= tau(p) * (1 - 1e-9):
        return torch.exp(-LAM * (tau(s) - tau(p))) * answer
    return blur(s) * blur(p) * FITTED / (blur(p) ** 2 * FITTED + SIGMA**2) * answer


def recursion(name: str, rule: Rule, steps: int, v: Tensor) -> Tensor:
    sigma, ones = (SIGMA if name == "ihdm" else 0.0), torch.ones_like(LAM)
    for t, s in pairwise((steps - i) / steps for i in range(steps + 1)):
        if s == 0.0:  # the last step returns the clean estimate
            return estimate_at(name, 0.0, t) ** 2 * v
        ratio = torch.exp(-LAM * (tau(t) - tau(s)))  # sigma_s / sigma_t is 1
        match rule:
            case sd.Markov():
                kappa, omega = ratio, sigma * torch.sqrt(1 - ratio**2)
            case sd.DDIM(eta=eta):
                kappa, omega = np.sqrt(1 - eta**2) * ones, eta * sigma * ones
            case sd.Naive(std=std):
                kappa, omega = 0 * ones, (sigma if std is None else std) * ones
            case _:  # Momentum, both kinds, and Cold: the same where the noise is constant
                kappa, omega = ones, 0 * ones
        v = ((1 - kappa * ratio) * estimate_at(name, s, t) + kappa) ** 2 * v if name == "ihdm" else (
            (blur(s) - kappa * blur(t)) * gain(t) + kappa
        ) ** 2 * v  # fmt: skip
        v = v + omega**2
    raise AssertionError("no last step")


def start(name: str) -> Tensor:
    return blur(1.0) ** 2 * FITTED + (DELTA**2 if name == "ihdm" else 0.0)


@pytest.mark.parametrize(("name", "rule"), CASES, ids=str)
@pytest.mark.parametrize("steps", STEPS)
def test_the_chain_is_the_recursion(name: str, rule: Rule, steps: int) -> None:
    """Unit coefficients through every step without noise give the gains, unit noise the omegas: the exact variance."""
    process, net = make(name), network(name)
    unit, v = reference.idct(torch.ones_like(LAM)[None, None]), start(name)
    for t, s in pairwise(sd.uniform_times(steps)):
        time = torch.tensor([t], dtype=torch.float64)
        answer = process.output(net, unit, time)
        if s == 0.0:
            kept, fresh = process.estimate(unit, answer, t), torch.zeros_like(unit)
        else:
            kept = process.advance(unit, answer, s, t, rule, torch.zeros_like(unit))
            fresh = process.advance(0 * unit, 0 * unit, s, t, rule, unit)
        v = sd.dct(kept)[0, 0] ** 2 * v + sd.dct(fresh)[0, 0] ** 2
    # float64 throughout; variances span 1e-12 ... 1
    torch.testing.assert_close(v, recursion(name, rule, steps, start(name)), rtol=1e-7, atol=1e-14)


@pytest.mark.parametrize(("name", "rule"), CASES, ids=str)
def test_the_sampler_has_the_recursions_variance(name: str, rule: Rule) -> None:
    """Real draws through process.sample: every frequency within sampling error of the exact second moment."""
    process, count, steps = make(name), 4000, 12
    generator = torch.Generator().manual_seed(2)
    samples = process.sample(network(name), (count, 1, SIZE, SIZE), steps, rule, generator)
    exact = recursion(name, rule, steps, start(name))
    heard = exact > 1e-9 * exact.max()  # below that float32 images have no digits
    ratio = ((reference.dct(samples.double()) ** 2).mean(dim=(0, 1)) / exact)[heard]
    # a second moment of `count` normal numbers has the relative std sqrt(2 / count) = 2.2 %; 4.5 of them for the largest of 64.
    # Starts are drawn from 500 training images, whose own second moment `start` has, but whose fourth moments vary: sqrt(3).
    assert float((ratio - 1).abs().max()) < 4.5 * (3 / count) ** 0.5


def test_few_steps_lose_detail_but_do_not_blow_up() -> None:
    """A network that gives the mean of the next level only cannot tell of detail far below it: the price of skipping levels."""
    shares = {
        steps: float(recursion("ihdm", sd.Markov(), steps, start("ihdm")).sum() / POWER.sum()) for steps in (2, 5, LEVELS)
    }
    assert 0.3 < shares[2] < shares[5] < shares[LEVELS] < 1.0

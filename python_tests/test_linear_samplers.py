"""Gaussian data under linear corruptions: whole samplers against the covariance that is known exactly."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from torch import Tensor

import softdiff_ext as sd
from softdiff_ext.processes import SoftDiffusion
from softdiff_ext.rules import Rule
from softdiff_ext.sampling import times

from .linear_corruptions import (
    RULES,
    SHEAR,
    dense,
    generator,
    pinv,
)

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

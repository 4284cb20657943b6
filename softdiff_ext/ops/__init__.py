"""TEMPORARY: the reference operators under the public names, until the native ones land in this folder."""

from __future__ import annotations

import torch
from torch import Tensor

from softdiff_ext import reference
from softdiff_ext.levels import Level
from softdiff_ext.reference import dct, dct_blur, eigenvalues, idct, posterior, soft_score_loss, spectral_filter
from softdiff_ext.rules import Markov, Momentum, Rule

__all__ = ["dct", "dct_blur", "diffuse", "eigenvalues", "idct", "momentum_step", "normal", "posterior", "posterior_sample", "soft_score_loss", "spectral_filter", "step"]


def normal(shape, seed, *, dtype=torch.float32, device="cpu"):
    return reference.normal(shape, int(seed), dtype=dtype)


def _noise(x: Tensor, noise, generator):
    return torch.randn(x.shape, dtype=x.dtype, generator=generator) if noise is None else noise


def diffuse(x, level: Level, noise=None, generator=None):
    return reference.diffuse(x, level, _noise(x, noise, generator))


def step(z_t, output, s, t, rule: Rule, prediction="x", noise=None, generator=None):
    return reference.step(z_t, output, s, t, rule, prediction, _noise(z_t, noise, generator))


def posterior_sample(z_t, x_hat, s, t, noise=None, generator=None):
    return step(z_t, x_hat, s, t, Markov(), "x", noise, generator)


def momentum_step(x_t, x_hat, s, t, noise=None, generator=None, exact=False):
    return step(x_t, x_hat, s, t, Momentum(exact), "x", noise, generator)

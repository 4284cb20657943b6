"""Operators and processes for generative models that blur."""

from softdiff_ext.levels import Level
from softdiff_ext.ops import (
    dct,
    dct_blur,
    diffuse,
    eigenvalues,
    idct,
    momentum_step,
    normal,
    posterior,
    posterior_sample,
    soft_score_loss,
    spectral_filter,
    step,
)
from softdiff_ext.rules import DDIM, Cold, Markov, Momentum, Naive

__all__ = [
    "DDIM",
    "Cold",
    "Level",
    "Markov",
    "Momentum",
    "Naive",
    "dct",
    "dct_blur",
    "diffuse",
    "eigenvalues",
    "idct",
    "momentum_step",
    "normal",
    "posterior",
    "posterior_sample",
    "soft_score_loss",
    "spectral_filter",
    "step",
]

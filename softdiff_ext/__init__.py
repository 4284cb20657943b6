"""softdiff_ext: operators and processes for generative models that blur.

The operators (`dct_blur`, `diffuse`, `step`, ...) are differentiable functions on images [B, C, H, W]; the processes
(`BlurringDiffusion`, `SoftDiffusion`) put them together into forward marginals, losses and samplers. docs/architecture.md tells
how it all follows from one equation.
"""

from softdiff_ext.build_info import build_info
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
from softdiff_ext.processes import BlurringDiffusion, SoftDiffusion
from softdiff_ext.rules import DDIM, Cold, Markov, Momentum, Naive

__version__: str = build_info()["version"]

__all__ = [
    "DDIM",
    "BlurringDiffusion",
    "Cold",
    "Level",
    "Markov",
    "Momentum",
    "Naive",
    "SoftDiffusion",
    "build_info",
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

"""softdiff_ext: operators and processes for generative models that blur.

The operators (`dct_blur`, `diffuse`, `step`, ...) are differentiable functions on images [B, C, H, W]; the processes
(`VariationalDiffusion`, `InverseHeatDissipation`, `BlurringDiffusion`, `SoftDiffusion`, `ColdDiffusion`) put them together into
forward marginals, losses, bounds and samplers; `restore`, `inpaint` and `interpolate` take a trained one to images.
docs/architecture.md tells how it all follows from one equation, docs/methods.md has a section for each family.
"""

from softdiff_ext.build_info import build_info
from softdiff_ext.corruptions import BlockAverage, Corruption, Grayscale, LinearMap, NestedMask, SpectralBlur
from softdiff_ext.editing import inpaint, interpolate, restore
from softdiff_ext.learned_schedules import LearnedLinear, LearnedMonotone
from softdiff_ext.levels import Level
from softdiff_ext.likelihood import BitsPerDimension
from softdiff_ext.linear import LinearLevel, linear_diffuse, linear_score_loss, linear_step
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
from softdiff_ext.processes import (
    BlurringDiffusion,
    ColdDiffusion,
    ImageDraws,
    InverseHeatDissipation,
    SoftDiffusion,
    VariationalDiffusion,
)
from softdiff_ext.rules import DDIM, Cold, Markov, Momentum, Naive
from softdiff_ext.sampling import quadratic_times, uniform_times
from softdiff_ext.schedules import Cosine, LinearBeta, LinearGamma

__version__: str = build_info()["version"]

__all__ = [
    "DDIM",
    "BitsPerDimension",
    "BlockAverage",
    "BlurringDiffusion",
    "Cold",
    "ColdDiffusion",
    "Corruption",
    "Cosine",
    "Grayscale",
    "ImageDraws",
    "InverseHeatDissipation",
    "LearnedLinear",
    "LearnedMonotone",
    "Level",
    "LinearBeta",
    "LinearGamma",
    "LinearLevel",
    "LinearMap",
    "Markov",
    "Momentum",
    "Naive",
    "NestedMask",
    "SoftDiffusion",
    "SpectralBlur",
    "VariationalDiffusion",
    "build_info",
    "dct",
    "dct_blur",
    "diffuse",
    "eigenvalues",
    "idct",
    "inpaint",
    "interpolate",
    "linear_diffuse",
    "linear_score_loss",
    "linear_step",
    "momentum_step",
    "normal",
    "posterior",
    "posterior_sample",
    "quadratic_times",
    "restore",
    "soft_score_loss",
    "spectral_filter",
    "step",
    "uniform_times",
]

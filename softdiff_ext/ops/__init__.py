"""The operators: each a thin, checked Python function over one native kernel, differentiable, compilable, vmappable."""

from softdiff_ext.ops.blur import dct_blur
from softdiff_ext.ops.filter import spectral_filter
from softdiff_ext.ops.loss import soft_score_loss
from softdiff_ext.ops.marginal import diffuse
from softdiff_ext.ops.noise import normal
from softdiff_ext.ops.reverse import momentum_step, posterior, posterior_sample, step
from softdiff_ext.ops.transform import dct, eigenvalues, idct

__all__ = [
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

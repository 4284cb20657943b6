"""The heat-equation blur."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.compiler import is_dynamo_compiling

from softdiff_ext.levels import Level
from softdiff_ext.ops import native
from softdiff_ext.ops.checks import check_images, check_per_sample
from softdiff_ext.ops.filter import filter_sum
from softdiff_ext.ops.level import alpha_maps, level_filter
from softdiff_ext.ops.library import traced


def dct_blur(x: Tensor, tau: float | Tensor, floor: float | Tensor = 0.0) -> Tensor:
    r"""Blur images by the heat equation: V ((1 - floor) exp(-lam tau) + floor) V^T x.

    Args:
        x: images, [B, C, H, W], floating, any strides.
        tau: heat time sigma_blur^2/2 in pixel^2, >= 0; a float, or a tensor, 0-d or [B].
        floor: smallest gain, in [0, 1); keeps high frequencies invertible (Blurring Diffusion uses 1e-3). Float, 0-d or [B].
    Returns:
        Blurred images, shape and dtype of x, contiguous. The mean of each image is kept.
    Raises:
        TypeError: x is not a floating tensor, or tau or floor neither a float nor a floating tensor.
        ValueError: x is not [B, C, H, W]; tau is negative, not finite, or neither 0-d nor [B]; floor is outside [0, 1).
    Note:
        Differentiable to any order in x, tau and floor; for x the backward pass runs the same kernel and saves nothing of x.
    Source:
        Rissanen et al. 2022, Generative Modelling with Inverse Heat Dissipation, section 3; floor: Hoogeboom and Salimans 2022,
        Blurring Diffusion Models, appendix A.

    Examples:
        >>> import torch, softdiff_ext as sd
        >>> x = torch.zeros(1, 1, 9, 9)
        >>> x[..., 4, 4] = 1.0
        >>> blurred = sd.dct_blur(x, tau=1.5**2 / 2)  # a Gaussian of std 1.5 pixels
        >>> [round(float(value), 3) for value in blurred[0, 0, 4, 4:]]
        [0.071, 0.057, 0.029, 0.01, 0.002]
        >>> round(float(blurred.sum()), 4)
        1.0
        >>> tau = torch.tensor([0.5, 2.0], requires_grad=True)  # one for each sample, and to be learned
        >>> sd.dct_blur(x.expand(2, 1, 9, 9), tau).square().sum().backward()
        >>> bool((tau.grad < 0).all())  # more blur, less contrast
        True
    """
    if not is_dynamo_compiling():
        quick = level_filter.quick("dct_blur: ", x, None, None, (0.0, tau, 0.0, floor), 1)
        if quick is not None:
            return quick
    check_images("dct_blur", "x", x)
    for name, value in (("tau", tau), ("floor", floor)):
        if isinstance(value, Tensor):
            check_per_sample("dct_blur", name, value, x)
    level = _level(tau, floor)
    if torch.is_grad_enabled() and level.requires_grad:
        if not traced((x, *level.tensors)):
            native.check_level_values("dct_blur: ", level, x)
        return filter_sum((x, alpha_maps(level, x)))
    return level_filter("dct_blur: ", x, None, None, native.pack(level, x.device, traced((x, *level.tensors))), 1)


def _level(tau: float | Tensor, floor: float | Tensor) -> Level:
    try:
        return Level(tau=tau, floor=floor)
    except (TypeError, ValueError) as error:
        raise type(error)(str(error).replace("Level:", "dct_blur:", 1)) from None

"""The forward marginal of every process."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.compiler import is_dynamo_compiling

from softdiff_ext import reference
from softdiff_ext.levels import Level
from softdiff_ext.ops import native
from softdiff_ext.ops.checks import check_generator, check_images, check_level, check_same
from softdiff_ext.ops.filter import filter_sum
from softdiff_ext.ops.level import alpha_maps, level_filter
from softdiff_ext.ops.library import traced
from softdiff_ext.ops.noise import draw_seed, noise_like, seed_source


def diffuse(x: Tensor, level: Level, noise: Tensor | None = None, generator: torch.Generator | None = None) -> Tensor:
    """Corrupt clean images to a level: z_t = V diag(alpha_t) V^T x + sigma_t n, n ~ N(0, I).

    Args:
        x: clean images, [B, C, H, W], floating, any strides.
        level: the corruption level, one for the batch or one for each sample.
        noise: n, in pixel space, shape and dtype of x; None draws it inside the kernel.
        generator: where the seed of drawn noise comes from; None is torch's default generator.
    Returns:
        z_t, shape and dtype of x, contiguous.
    Raises:
        TypeError: x or noise is not a floating tensor of the same dtype, or level not a Level.
        ValueError: shapes or devices differ, both noise and generator are given, or a value of level is out of range.
    Note:
        Differentiable to any order in x, noise and the fields of level.
    Source:
        Hoogeboom and Salimans 2022, Blurring Diffusion Models, equation 13; Daras et al. 2023, Soft Diffusion, equation 1.

    Examples:
        >>> import torch, softdiff_ext as sd
        >>> x = torch.zeros(4, 3, 32, 32)
        >>> t = sd.Level(log_a=-0.2, tau=2.0, sigma=0.5, floor=1e-3)
        >>> z_t = sd.diffuse(x, t, generator=torch.Generator().manual_seed(0))
        >>> round(float(z_t.std()), 1)  # all of it is noise here
        0.5
        >>> levels = sd.Level(sigma=torch.tensor([0.0, 0.1, 0.2, 0.3]))  # one for each sample
        >>> sd.diffuse(x, levels).std(dim=(1, 2, 3)).argsort().tolist()
        [0, 1, 2, 3]
    """
    if x is not None and isinstance(level, Level) and not is_dynamo_compiling():
        quick = level_filter.quick("diffuse: level.", x, noise, seed_source(noise, generator), level.fields, 1)
        if quick is not None:
            return quick
    check_images("diffuse", "x", x)
    check_level("diffuse", "level", level, x)
    check_generator("diffuse", noise, generator)
    if noise is not None:
        check_same("diffuse", "x", x, "noise", noise)
    tracing = traced((x, noise, *level.tensors))
    if noise is None and level.tensors and not tracing:
        native.check_level_values("diffuse: level.", level, x)  # a refused call draws nothing
    seed = draw_seed(generator, tracing, x) if noise is None else None
    if torch.is_grad_enabled() and level.requires_grad:
        if not tracing:
            native.check_level_values("diffuse: level.", level, x)
        drawn = noise if seed is None else noise_like(x, seed)
        assert drawn is not None
        return filter_sum((x, alpha_maps(level, x)), (drawn, reference.column(level.sigma, x.device)))
    return level_filter("diffuse: level.", x, noise, seed, native.pack(level, x.device, tracing), 1)

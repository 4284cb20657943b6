"""The registered operator behind dct_blur and diffuse: V (alpha^power . V^T x) + sigma noise for a level.

Its arguments: prefix of error messages, x, noise, a seed for noise to draw instead, level, power 1 or 2.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from softdiff_ext import _C, reference
from softdiff_ext.levels import Level
from softdiff_ext.ops import native
from softdiff_ext.ops.library import Operator, fold_batch, unfold_batch
from softdiff_ext.ops.native import Packed
from softdiff_ext.ops.noise import same_noise


def _forward(
    prefix: str, x: Tensor | None, noise: Tensor | None, seed: int | Tensor | None, level: Packed, power: int
) -> Tensor:
    like = x if x is not None else noise
    assert like is not None
    seed = native.seed_for(like, seed)
    if native.native(like):
        return native.level_filter(prefix, x, noise, seed, level, power)
    fields = native.unpack(level)
    if seed is not None:
        noise = native.normal(tuple(like.shape), seed, like.dtype, like.device)
    lam = native.lam_of(like)
    sigma = reference.column(fields.sigma, like.device)
    return reference.combine([(x, reference.alpha(fields, lam) ** power), (noise, sigma)])


def _fake(prefix: str, x: Tensor | None, noise: Tensor | None, seed: Tensor | None, level: Tensor, power: int) -> Tensor:
    like = x if x is not None else noise
    assert like is not None
    return torch.empty_like(like, memory_format=torch.contiguous_format)


def _setup(ctx: Any, inputs: Any, output: Tensor) -> None:
    prefix, _, _, _, level, power = inputs
    if isinstance(level, Tensor):
        ctx.save_for_backward(level)
        level = None
    ctx.constants = prefix, level, power


def _backward(ctx: Any, grad: Tensor) -> Any:
    prefix, level, power = ctx.constants
    if level is None:
        (level,) = ctx.saved_tensors
    _, needs_x, needs_noise, *_ = ctx.needs_input_grad
    grad_x = level_filter(prefix, grad, None, None, level, power) if needs_x else None
    grad_noise = level_filter(prefix, None, grad, None, level, power) if needs_noise else None
    return None, grad_x, grad_noise, None, None, None


def _vmap(info: Any, in_dims: tuple[int | None, ...], *args: Any) -> Any:
    folded, batch = fold_batch(info, in_dims, args, ".iisl.")
    if folded[3] is not None and info.randomness == "same":
        folded[2], folded[3] = same_noise(info, folded[1], folded[3]), None
    return unfold_batch(info, level_filter(*folded), batch)


level_filter = Operator(
    "level_filter(str prefix, Tensor? x, Tensor? noise, Tensor? seed, Tensor level, int power) -> Tensor",
    _C.level_filter,
    _forward,
    _fake,
    _setup,
    _backward,
    _vmap,
)


def alpha_maps(level: Level, x: Tensor) -> Tensor:
    """alpha per frequency in torch, [1 or B, 1, H, W] float64: how gradients reach the fields of a level."""
    return reference.alpha(level, native.lam_of(x))

"""The soft score matching loss by Parseval: a forward transform and a weighted norm, no inverse."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.compiler import is_dynamo_compiling

from softdiff_ext import _C, reference
from softdiff_ext.levels import Level
from softdiff_ext.ops import native
from softdiff_ext.ops.checks import check_images, check_level, check_same
from softdiff_ext.ops.level import alpha_maps, level_filter
from softdiff_ext.ops.library import Operator, fold_batch, traced, unfold_batch
from softdiff_ext.ops.native import Packed
from softdiff_ext.ops.transform import dct
from softdiff_ext.reference import accumulation_dtype


def soft_score_loss(x_hat: Tensor, x: Tensor, level: Level) -> Tensor:
    """Squared error as the corruption sees it: || C_t (x_hat - x) ||^2 = sum_f alpha_t^2 (u_hat - u)^2 for each sample.

    Args:
        x_hat: estimate of the clean images, [B, C, H, W], floating, any strides.
        x: clean images, shape and dtype of x_hat.
        level: the level whose blur and scale weigh the error; its sigma plays no part.
    Returns:
        [B], float32 for 16-bit inputs, else in the dtype of x; a sum over channels and pixels, not a mean.
    Raises:
        TypeError: x_hat or x is not a floating tensor of the same dtype, or level not a Level.
        ValueError: shapes or devices differ, or a value of level is out of range.
    Note:
        Differentiable to any order in x_hat, x and the fields of level.
    Source:
        Daras et al. 2023, Soft Diffusion: Score Matching for General Corruptions, section 3.1.

    Examples:
        >>> import torch, softdiff_ext as sd
        >>> x = torch.ones(2, 1, 4, 4)
        >>> sd.soft_score_loss(x, torch.zeros_like(x), sd.Level(tau=3.0))  # a blur keeps a constant error
        tensor([16., 16.])
        >>> fine = torch.tensor([1.0, -1.0]).repeat(2, 1, 4, 2)  # it hides one that changes sign at every pixel
        >>> bool((sd.soft_score_loss(x + fine, x, sd.Level(tau=3.0)) < 1.0).all())
        True
    """
    if isinstance(level, Level) and not is_dynamo_compiling():
        quick = _energy.quick(x_hat, x, level.fields)
        if quick is not None:
            return quick
    check_images("soft_score_loss", "x_hat", x_hat)
    check_same("soft_score_loss", "x_hat", x_hat, "x", x)
    check_level("soft_score_loss", "level", level, x_hat)
    tracing = traced((x_hat, x, *level.tensors))
    if torch.is_grad_enabled() and level.requires_grad:
        if not tracing:
            native.check_level_values("soft_score_loss: level.", level, x)
        wide = accumulation_dtype(x.dtype)
        weighted = alpha_maps(level, x).to(wide) * dct(x_hat.to(wide) - x.to(wide))
        return weighted.square().sum(dim=(1, 2, 3))
    return _energy(x_hat, x, native.pack(level, x.device, tracing))


def _forward(a: Tensor, b: Tensor, level: Packed) -> Tensor:
    if native.native(a):
        return native.energy(a, b, level)
    return reference.soft_score_loss(a, b, native.unpack(level))


def _setup(ctx: Any, inputs: Any, output: Tensor) -> None:
    a, b, level = inputs
    ctx.numbers, saved = (None, level) if isinstance(level, Tensor) else (level, None)
    ctx.save_for_backward(a, b, saved)


def _backward(ctx: Any, grad: Tensor) -> Any:
    a, b, saved = ctx.saved_tensors
    level = saved if ctx.numbers is None else ctx.numbers
    wide = accumulation_dtype(a.dtype)
    difference = (a.to(wide) - b.to(wide)) * (2.0 * grad)[:, None, None, None]
    grad_a = level_filter("soft_score_loss: level.", difference, None, None, level, 2).to(a.dtype)
    return grad_a if ctx.needs_input_grad[0] else None, -grad_a if ctx.needs_input_grad[1] else None, None


def _vmap(info: Any, in_dims: tuple[int | None, ...], *args: Any) -> Any:
    folded, batch = fold_batch(info, in_dims, args, "iil")
    return unfold_batch(info, _energy(*folded), batch)


_energy = Operator(
    "energy(Tensor a, Tensor b, Tensor level) -> Tensor",
    _C.energy,
    _forward,
    lambda a, b, level: a.new_empty(a.shape[0], dtype=accumulation_dtype(a.dtype)),
    _setup,
    _backward,
    _vmap,
)

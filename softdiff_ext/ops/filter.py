"""Filters given by explicit gains per frequency. They also carry the gradients with respect to the fields of a Level."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.compiler import is_dynamo_compiling

from softdiff_ext import _C, reference
from softdiff_ext.ops import native
from softdiff_ext.ops.checks import check_floating, check_images
from softdiff_ext.ops.library import Operator, fold_batch, unfold_batch
from softdiff_ext.reference import accumulation_dtype


def spectral_filter(x: Tensor, gain: Tensor) -> Tensor:
    """Multiply each frequency by a gain: V (gain . V^T x), V^T the orthonormal DCT-II of the last two dimensions.

    Args:
        x: images, [B, C, H, W], floating, any strides.
        gain: floating, broadcasts to [B, C, H, W]; frequency (0, 0), the mean, first.
    Returns:
        Filtered images, shape and dtype of x, contiguous.
    Raises:
        TypeError: x or gain is not a floating tensor.
        ValueError: x is not [B, C, H, W], gain does not broadcast to it or is on another device.
    Note:
        Differentiable to any order in x and gain. The gradient with respect to x is the same filter and saves nothing of x.

    Examples:
        >>> import torch, softdiff_ext as sd
        >>> gain = torch.zeros(8, 8)
        >>> gain[0, 0] = 1.0  # keeps the mean alone
        >>> x = torch.arange(64.0).view(1, 1, 8, 8)
        >>> float(sd.spectral_filter(x, gain).std()) < 1e-4
        True
        >>> gain = torch.nn.Parameter(torch.ones(8, 8))  # a filter to learn
        >>> sd.spectral_filter(x, gain).square().sum().backward()
        >>> gain.grad.shape
        torch.Size([8, 8])
    """
    if not is_dynamo_compiling():
        quick = _filter_sum.quick(x, gain, None, None, None, None)
        if quick is not None:
            return quick
    check_images("spectral_filter", "x", x)
    check_floating("spectral_filter", "gain", gain)
    if gain.ndim > 4 or any(g not in (1, n) for g, n in zip(reversed(gain.shape), reversed(x.shape), strict=False)):
        raise ValueError(f"spectral_filter: gain must broadcast to the shape of x = {list(x.shape)}, got {list(gain.shape)}")
    if gain.device != x.device:
        raise ValueError(f"spectral_filter: gain must be on the device of x = {x.device}, got {gain.device}")
    full = gain.reshape((1,) * (4 - gain.ndim) + tuple(gain.shape))
    return filter_sum((x, full))


def filter_sum(*terms: tuple[Tensor | None, Tensor]) -> Tensor:
    """V sum_i (gain_i . V^T image_i) over up to three (image, gain) pairs; pairs without an image are left out.

    Gains are [B or 1, C or 1, H or 1, W or 1] and are taken to the accumulation dtype of the images.
    """
    present = [(image, gain.to(accumulation_dtype(image.dtype))) for image, gain in terms if image is not None]
    flat: list[Tensor | None] = [x for term in present for x in term]
    return _filter_sum(*flat, *[None] * (6 - len(flat)))


def _forward(
    image0: Tensor, gain0: Tensor, image1: Tensor | None, gain1: Tensor | None, image2: Tensor | None, gain2: Tensor | None
) -> Tensor:
    images, gains = [image0, image1, image2], [gain0, gain1, gain2]
    if native.native(image0):
        return native.filter_sum(images, gains)
    return reference.combine([(image, gain) for image, gain in zip(images, gains, strict=True) if gain is not None])


def _setup(ctx: Any, inputs: Any, output: Tensor) -> None:
    # An image is needed for its gain's gradient only, and a gain for its image's. Absent terms are the last.
    count, needs = 2 * (1 + (inputs[2] is not None) + (inputs[4] is not None)), ctx.needs_input_grad
    ctx.save_for_backward(*[inputs[i] if needs[i ^ 1] else None for i in range(count)])
    ctx.gain_shapes = [gain.shape for gain in inputs[1:count:2]]


def _backward(ctx: Any, grad: Tensor) -> Any:
    saved, needs = ctx.saved_tensors, ctx.needs_input_grad
    grads: list[Tensor | None] = [None] * 6
    for i, shape in enumerate(ctx.gain_shapes):
        image, gain = saved[2 * i : 2 * i + 2]
        if needs[2 * i]:
            grads[2 * i] = _filter_sum(grad, gain, None, None, None, None)
        if needs[2 * i + 1]:
            grads[2 * i + 1] = _gain_gradient(image, grad, shape)
    return tuple(grads)


def _gain_gradient(image: Tensor, grad: Tensor, shape: torch.Size) -> Tensor:
    """(V^T image)(V^T grad), summed to the shape of the gain."""
    b, c, h, w = (1,) * (4 - len(shape)) + tuple(shape)
    if (h, w) == (1, 1):  # one number for all frequencies: V is orthogonal
        wide = accumulation_dtype(image.dtype)
        return (image.to(wide) * grad.to(wide)).sum_to_size(shape)
    return _correlation(image, grad, b < image.shape[0], c < image.shape[1]).sum_to_size(shape)


def _vmap(info: Any, in_dims: tuple[int | None, ...], *args: Any) -> Any:
    folded, batch = fold_batch(info, in_dims, args, "iiiiii")
    return unfold_batch(info, _filter_sum(*folded), batch)


_filter_sum = Operator(
    "filter_sum(Tensor image0, Tensor gain0, Tensor? image1, Tensor? gain1, Tensor? image2, Tensor? gain2) -> Tensor",
    _C.filter_sum,
    _forward,
    lambda image0, *rest: torch.empty_like(image0, memory_format=torch.contiguous_format),
    _setup,
    _backward,
    _vmap,
)


def _forward_correlation(x: Tensor, y: Tensor, sum_batch: bool, sum_channels: bool) -> Tensor:
    if native.native(x):
        return native.correlation(x, y, sum_batch, sum_channels)
    wide = accumulation_dtype(x.dtype)
    products = reference.dct(x.to(wide)) * reference.dct(y.to(wide))
    return products.sum_to_size(_correlation_shape(x, sum_batch, sum_channels))


def _correlation_shape(x: Tensor, sum_batch: bool, sum_channels: bool) -> tuple[int, ...]:
    return 1 if sum_batch else x.shape[0], 1 if sum_channels else x.shape[1], x.shape[2], x.shape[3]


def _setup_correlation(ctx: Any, inputs: Any, output: Tensor) -> None:
    x, y, _, _ = inputs
    ctx.save_for_backward(*(other if need else None for other, need in zip((y, x), ctx.needs_input_grad, strict=False)))


def _backward_correlation(ctx: Any, grad: Tensor) -> Any:
    # Linear in each image: its gradient is the other one, filtered by the upstream gradient.
    return *(None if other is None else filter_sum((other, grad)) for other in ctx.saved_tensors), None, None


def _vmap_correlation(info: Any, in_dims: tuple[int | None, ...], *args: Any) -> Any:
    (x, y, sum_batch, sum_channels), batch = fold_batch(info, in_dims, args, "ii..")
    result, dim = unfold_batch(info, _correlation(x, y, False, sum_channels), batch)
    return result.sum(1, keepdim=True) if sum_batch else result, dim


_correlation = Operator(
    "correlation(Tensor x, Tensor y, bool sum_batch, bool sum_channels) -> Tensor",
    _C.correlation,
    _forward_correlation,
    lambda x, y, *sums: x.new_empty(_correlation_shape(x, *sums), dtype=accumulation_dtype(x.dtype)),
    _setup_correlation,
    _backward_correlation,
    _vmap_correlation,
)

"""Filters given by explicit gains per frequency. They also carry the gradients with respect to the fields of a Level."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from softdiff_ext import reference
from softdiff_ext.ops import native
from softdiff_ext.ops.checks import check_floating, check_images
from softdiff_ext.ops.library import Operator, fold_batch, unfold_batch
from softdiff_ext.ops.transform import dct
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
    """
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
        return native.filter_sum(images, gains, image0)
    return reference.combine([(image, gain) for image, gain in zip(images, gains, strict=True) if gain is not None])


def _setup(ctx: Any, inputs: Any, output: Tensor) -> None:
    # An image is needed for its gain's gradient only.
    needs = ctx.needs_input_grad
    images = [inputs[2 * i] if needs[2 * i + 1] else None for i in range(3)]
    gains = [inputs[2 * i + 1] if needs[2 * i] else None for i in range(3)]
    ctx.gain_shapes = [None if inputs[2 * i + 1] is None else inputs[2 * i + 1].shape for i in range(3)]
    ctx.save_for_backward(*images, *gains)


def _backward(ctx: Any, grad: Tensor) -> Any:
    saved = ctx.saved_tensors
    images, gains, needs = saved[:3], saved[3:], ctx.needs_input_grad
    spectrum = None
    grads: list[Tensor | None] = []
    for i in range(3):
        grads.append(filter_sum((grad, gains[i])) if needs[2 * i] else None)
        if needs[2 * i + 1]:
            wide = accumulation_dtype(grad.dtype)
            spectrum = dct(grad.to(wide)) if spectrum is None else spectrum
            grads.append((dct(images[i].to(wide)) * spectrum).sum_to_size(ctx.gain_shapes[i]))
        else:
            grads.append(None)
    return tuple(grads)


def _vmap(info: Any, in_dims: tuple[int | None, ...], *args: Any) -> Any:
    folded, batch = fold_batch(info, in_dims, args, "iiiiii")
    return unfold_batch(info, _filter_sum(*folded), batch)


_filter_sum = Operator(
    "filter_sum(Tensor image0, Tensor gain0, Tensor? image1, Tensor? gain1, Tensor? image2, Tensor? gain2) -> Tensor",
    _forward,
    lambda image0, *rest: torch.empty_like(image0, memory_format=torch.contiguous_format),
    _setup,
    _backward,
    _vmap,
)

"""Gradients of gains: products of two spectra summed to the shape of the gain, in one pass over both images."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

import softdiff_ext as sd
from softdiff_ext import reference
from softdiff_ext.ops.filter import filter_sum
from softdiff_ext.reference import accumulation_dtype

from .helpers import ARITHMETIC, DTYPES, UNIT_ROUNDOFF, randn

GAIN_SHAPES = [
    (3, 2, 13, 16), (3, 1, 13, 16), (1, 2, 13, 16), (1, 1, 13, 16), (13, 16), (16,), (13, 1),
    (3, 1, 1, 16), (3, 2, 1, 1), (3, 1, 1, 1), (),
]  # fmt: skip


def gain_gradient(x: Tensor, upstream: Tensor, shape: tuple[int, ...]) -> Tensor:
    gain = torch.ones(shape, dtype=accumulation_dtype(x.dtype), requires_grad=True)
    return torch.autograd.grad(sd.spectral_filter(x, gain), gain, upstream)[0]


def expected(x: Tensor, upstream: Tensor, shape: tuple[int, ...]) -> Tensor:
    return (reference.dct(x.double()) * reference.dct(upstream.double())).sum_to_size(shape)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", GAIN_SHAPES, ids=str)
def test_equals_the_product_of_spectra(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    x, upstream = randn((3, 2, 13, 16), 0, dtype), randn((3, 2, 13, 16), 1, dtype)
    got, want = gain_gradient(x, upstream, shape), expected(x, upstream, shape)
    assert got.shape == want.shape
    assert got.dtype == accumulation_dtype(dtype)
    # Terms of both signs are added: errors are relative to what they are made of, |u||g|, not to the sum.
    scale = x.double().norm() * upstream.double().norm()
    assert (got - want).norm() <= 2 * ARITHMETIC[dtype] * scale


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (5, 3), (16, 16), (31, 33), (64, 12), (109, 40)], ids=str)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_sizes_and_strides(size: tuple[int, int], dtype: torch.dtype) -> None:
    x = randn((40, 3, *size), 0, dtype).contiguous(memory_format=torch.channels_last)
    upstream = randn((40, 3, size[1], size[0]), 1, dtype).mT
    scale = x.double().norm() * upstream.double().norm()
    for shape in ((40, 1, *size), (1, 3, *size), size):
        assert (gain_gradient(x, upstream, shape) - expected(x, upstream, shape)).norm() <= 2 * ARITHMETIC[dtype] * scale


@pytest.mark.parametrize("shape", [(24, 24), (3, 24, 24), (40, 1, 24, 24)], ids=str)
def test_the_thread_count_changes_no_bit(shape: tuple[int, ...]) -> None:
    x, upstream = randn((40, 3, 24, 24), 0, torch.float32), randn((40, 3, 24, 24), 1, torch.float32)
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3, 8):
            torch.set_num_threads(threads)
            found.append(gain_gradient(x, upstream, shape))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(found[0], other) for other in found[1:])


@pytest.mark.parametrize("batch", [0, 2])
def test_empty_batches_have_the_gradient_zero(batch: int) -> None:
    for channels in (0, 3):
        if batch and channels:
            continue
        x = torch.zeros(batch, channels, 4, 5, dtype=torch.float64)
        assert torch.equal(gain_gradient(x, x, (4, 5)), torch.zeros(4, 5, dtype=torch.float64))


@pytest.mark.parametrize("shape", [(2, 2, 3, 4), (2, 1, 3, 4), (1, 2, 3, 4), (3, 4), (4,), (3, 1), (2, 1, 1, 1), ()], ids=str)
def test_derivatives_of_every_gain(shape: tuple[int, ...]) -> None:
    x = randn((2, 2, 3, 4), 0).requires_grad_()
    gain = randn(shape, 1).requires_grad_()
    assert gradcheck(sd.spectral_filter, (x, gain))
    assert gradgradcheck(sd.spectral_filter, (x, gain))


def test_third_derivatives() -> None:
    """The gradient of the correlation in an image is a filter again, whose gain has a gradient by correlation."""
    x, gain, upstream = randn((2, 2, 3, 4), 0), randn((2, 1, 3, 4), 1), randn((2, 2, 3, 4), 2)
    leaves = tuple(value.requires_grad_() for value in (x, gain, upstream))

    def first(x: Tensor, gain: Tensor, upstream: Tensor) -> Tensor:
        return torch.autograd.grad(sd.spectral_filter(x, gain).square(), gain, upstream, create_graph=True)[0]

    assert gradgradcheck(first, leaves)


def test_three_terms_have_gradients_of_their_own() -> None:
    images = [randn((2, 2, 3, 4), i).requires_grad_() for i in range(3)]
    gains = [randn(shape, 3 + i).requires_grad_() for i, shape in enumerate([(2, 1, 3, 4), (2, 1, 1, 1), (1, 1, 3, 4)])]
    assert gradcheck(lambda *leaves: filter_sum(*zip(leaves[:3], leaves[3:], strict=True)), (*images, *gains))


def test_half_precision_is_not_rounded_twice() -> None:
    """Products of 16-bit images are formed and added in float32, from images as they are."""
    x, upstream = randn((8, 3, 16, 16), 0, torch.bfloat16), randn((8, 3, 16, 16), 1, torch.bfloat16)
    got, want = gain_gradient(x, upstream, (16, 16)), expected(x, upstream, (16, 16))
    assert (got - want).norm() / want.norm() < UNIT_ROUNDOFF[torch.bfloat16] / 100

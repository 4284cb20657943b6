"""Blurs that filter columns and rows one after the other: rows of one to two vectors, as a product with a matrix, and large
planes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import softdiff_ext as sd
from softdiff_ext import reference

from .helpers import DTYPES, assert_matches, randn

WIDTHS = range(9, 34)  # beside those of one to two vectors of 16 float32 or 8 float64 lanes, one more on either side
# Fewer rows than a product takes; seven or eight at once, whole or with some over; columns that split.
HEIGHTS = (7, 8, 9, 15, 14, 28, 40, 31, 66)
LARGE = [(1, 2, 256, 256), (2, 1, 199, 178), (1, 1, 2100, 20), (1, 2, 520, 100), (1, 1, 40, 1000)]
# Two panels of columns at a time to rows of a product; butterflies that build on butterflies, along either axis.
LARGE += [(1, 1, 512, 32), (1, 1, 256, 16), (1, 1, 512, 288)]


def _taus(batch: int) -> Tensor:
    return torch.linspace(9.0, 0.0, batch, dtype=torch.float64)  # the first with most blur, the last with none


def _layouts(shape: tuple[int, ...], seed: int, dtype: torch.dtype) -> list[Tensor]:
    """Without gaps, rows of a wider tensor, columns."""
    batch, channels, height, width = shape
    wide = randn((batch, channels, height, width + 5), seed, dtype)
    return [
        randn(shape, seed + 1, dtype),
        wide[..., 3 : width + 3],
        randn((batch, channels, width, height), seed + 2, dtype).mT,
    ]


def _check(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    tau, noise = _taus(shape[0]), randn(shape, 7, dtype)
    floor = torch.where(torch.arange(shape[0]) % 2 == 0, 1e-2, 0.0).double()
    level = sd.Level(-0.3, tau, 0.5, floor)
    for x in _layouts(shape, 1, dtype):
        assert_matches(sd.dct_blur(x, tau), reference.dct_blur(x.double(), tau))
        assert_matches(sd.dct_blur(x, 3.0), reference.dct_blur(x.double(), 3.0))
        for each in (level, sd.Level(-0.3, 3.0, 0.5, 1e-2)):
            assert_matches(sd.diffuse(x, each, noise=noise), reference.diffuse(x.double(), each, noise.double()))


@pytest.mark.parametrize("dtype", DTYPES)
def test_rows_of_any_length_and_number(isa: str, dtype: torch.dtype) -> None:
    for width in WIDTHS:
        for height in HEIGHTS[width % 3 :: 3]:
            _check((3, 1 + width % 3, height, width), dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", LARGE, ids=str)
def test_large_planes(isa: str, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    _check(shape, dtype)


@pytest.mark.parametrize("shape", [(5, 3, 28, 28), (5, 2, 32, 32), (1, 2, 300, 200)], ids=str)
def test_noise_drawn_is_that_of_a_seed(isa: str, shape: tuple[int, ...]) -> None:
    """Added as the rows are written, beside the image of a floor."""
    x, level = randn(shape, 1, torch.float32), sd.Level(-0.3, _taus(shape[0]), 0.5, 1e-2)
    noise = sd.normal(shape, int(torch.randint(2**63 - 1, (), generator=torch.Generator().manual_seed(5))))
    drawn = sd.diffuse(x, level, generator=torch.Generator().manual_seed(5))
    assert_matches(drawn, reference.diffuse(x.double(), level, noise.double()))


@pytest.mark.parametrize("shape", [(41, 3, 28, 28), (80, 1, 17, 23), (40, 1, 32, 32), (9, 1, 180, 190)], ids=str)
def test_the_same_bits_for_any_thread_count_and_batch(isa: str, shape: tuple[int, ...]) -> None:
    x, tau = randn(shape, 3, torch.float32), _taus(shape[0])
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = sd.dct_blur(x, tau)
        torch.set_num_threads(2)
        assert torch.equal(sd.dct_blur(x, tau), one)
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(sd.dct_blur(x[4:5], tau[4:5]), one[4:5])


@pytest.mark.parametrize("bad", [float("inf"), float("nan")])
@pytest.mark.parametrize("shape", [(3, 2, 28, 28), (3, 2, 30, 19), (3, 2, 200, 200)], ids=str)
def test_a_plane_that_is_not_finite_leaves_the_others_alone(isa: str, shape: tuple[int, ...], bad: float) -> None:
    x = randn(shape, 1, torch.float32)
    want = sd.dct_blur(x, 2.0)
    x[1, 1, 5, 6] = bad
    got = sd.dct_blur(x, 2.0)
    assert not got[1, 1].isfinite().any()
    assert torch.equal(got[[0, 2]], want[[0, 2]])
    assert torch.equal(got[1, 0], want[1, 0])

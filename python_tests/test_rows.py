"""One-dimensional transforms of many rows: every way the kernels have of doing them, chosen by the length of a row."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import softdiff_ext as sd
from softdiff_ext import reference

from .helpers import DTYPES, assert_matches, randn

WIDTHS = range(1, 71)  # beyond four vectors of the widest instruction set, where rows are turned
HEIGHTS = (1, 2, 7, 33, 64)  # fewer rows than are worked on at once, whole groups of them, and some more


def _layouts(height: int, width: int, dtype: torch.dtype) -> list[Tensor]:
    """Rows without gaps, rows of a wider tensor, every second number of a row, columns."""
    wide = randn((height, 2 * width + 3), width, dtype)
    whole, columns = randn((height, width), 1, dtype), randn((width, height), 2, dtype).T
    return [whole, wide[:, 2 : width + 2], wide[:, : 2 * width : 2], columns]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("op", ["dct", "idct"])
def test_rows_of_any_length_number_and_layout(isa: str, op: str, dtype: torch.dtype) -> None:
    for width in WIDTHS:
        for height in HEIGHTS[width % 2 :: 2]:
            for x in _layouts(height, width, dtype):
                assert_matches(getattr(sd, op)(x, 1), getattr(reference, op)(x.double(), 1))


@pytest.mark.parametrize("op", ["dct", "idct"])
def test_the_same_bits_for_any_thread_count(isa: str, op: str) -> None:
    """A row's last vector reaches into the next row, which may be another thread's."""
    transform = getattr(sd, op)
    threads = torch.get_num_threads()
    try:
        for width in WIDTHS:
            x = randn((40_000 // width, width), width, torch.float32)
            torch.set_num_threads(1)
            one = transform(x, 1)
            torch.set_num_threads(2)
            for _ in range(3):
                assert torch.equal(transform(x, 1), one), width
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("bad", [float("inf"), float("nan")])
def test_a_row_that_is_not_finite_leaves_the_others_alone(isa: str, bad: float) -> None:
    for width in WIDTHS:
        x = randn((40, width), width, torch.float32)
        want = sd.dct(x, 1)
        x[17, width // 2] = bad
        got = sd.dct(x, 1)
        rest = [row for row in range(40) if row != 17]
        assert not got[17].isfinite().all()
        assert torch.equal(got[rest], want[rest]), width

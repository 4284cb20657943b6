"""The kernels of every instruction set this machine can run, not only of the one that is chosen: all equal the reference."""

from __future__ import annotations

import pytest
import torch

import softdiff_ext as sd
from softdiff_ext import _C, reference

from .helpers import DTYPES, LAYOUTS, SIDES, Image, assert_matches
from .operators import CORE, Operator, names, results


def test_the_choice_is_told(isa: str) -> None:
    assert sd.build_info()["isa"] == isa


@pytest.mark.parametrize("dtype", DTYPES)
def test_transforms_and_blur(isa: str, dtype: torch.dtype) -> None:
    for index, side in enumerate((*SIDES, 128, 218, 251, 256)):
        spec = Image((2, 3, side, SIDES[-1 - index % len(SIDES)]), dtype, LAYOUTS[index % len(LAYOUTS)], side)
        x = spec.make(torch.device("cpu"))
        wide = x.double()
        assert_matches(sd.dct(x), reference.dct(wide))
        assert_matches(sd.idct(x), reference.idct(wide))
        assert_matches(sd.dct_blur(x, 2.0, 1e-3), reference.dct_blur(wide, 2.0, 1e-3), scale=wide.norm().item())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(3, 2, 13, 16), (7, 3, 6, 3)], ids=str)  # wider and narrower than every vector
@pytest.mark.parametrize("op", CORE, ids=names(CORE))
def test_operators(isa: str, op: Operator, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    values = op.make(shape, dtype)
    for got, want in zip(results(op.call(*values)), results(op.oracle(*[value.double() for value in values])), strict=True):
        assert_matches(got, want, arithmetic=4.0)  # relative to the result here, where terms may cancel to a quarter


@pytest.mark.parametrize("dtype", DTYPES)
def test_noise(isa: str, dtype: torch.dtype) -> None:
    got = sd.normal((5000,), 3, dtype=dtype)
    assert_matches(
        got, reference.normal((5000,), 3, dtype=torch.float64), dtype=dtype if dtype != torch.float64 else torch.float32
    )


def test_unknown_instruction_set() -> None:
    with pytest.raises(ValueError, match=r"isa must be one of those available here .* got mmx"):
        _C.select_isa("mmx")

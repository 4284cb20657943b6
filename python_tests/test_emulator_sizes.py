"""The CUDA kernel of every size that has none of its own, run by the emulator: the numbers of the CPU's operators, and nobody
races, reads what was not written or leaves the memory given. What a launch asks for is looked at without running it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import softdiff_ext as sd

from .emulated import Emulator, load, on_the_device
from .helpers import ARITHMETIC, DTYPES, UNIT_ROUNDOFF, Image

SIDES = (1, 2, 3, 4, 5, 7, 9, 12, 16, 17, 18, 20, 22, 24, 26, 30, 33, 34, 36, 40, 45, 48, 52, 56, 63, 64, 67, 80)
"""Lines of every way to be transformed: codelets of each length, dense leaves, 1 .. 8 slots; 64 for rectangles."""
MAX_SHARED = 99 * 1024
S, T = sd.Level(-0.1, 0.4, 0.3, 0.05), sd.Level(-0.4, 1.5, 0.8, 0.05)


@dataclass(frozen=True)
class Case:
    image: Image
    seed: int

    @property
    def x(self) -> Tensor:
        return self.image.make(torch.device("cpu"))

    @property
    def y(self) -> Tensor:
        return self.image.make(torch.device("cpu"), 1)

    @property
    def generator(self) -> torch.Generator:
        return torch.Generator().manual_seed(self.seed)

    @property
    def gain(self) -> Tensor:
        b, _, h, w = self.image.shape
        dtype = torch.float64 if self.image.dtype == torch.float64 else torch.float32
        return torch.rand((b, 1, h, w), generator=torch.Generator().manual_seed(self.seed), dtype=dtype)


OPERATIONS: dict[str, Callable[[Case], Tensor]] = {
    "dct": lambda case: sd.dct(case.x),
    "idct": lambda case: sd.idct(case.x),
    "rows": lambda case: sd.dct(case.x, 1),
    "inverse rows": lambda case: sd.idct(case.x, 1),
    "blur": lambda case: sd.dct_blur(case.x, torch.linspace(0.0, 2.0, case.image.shape[0], dtype=torch.float64), floor=0.1),
    "diffuse": lambda case: sd.diffuse(case.x, T, generator=case.generator),  # noise in pixels
    "markov": lambda case: sd.step(case.x, case.y, S, T, sd.Markov(), generator=case.generator),  # noise on coefficients
    "ddim": lambda case: sd.step(case.x, case.y, S, T, sd.DDIM(0.5), "eps", generator=case.generator),
    "momentum": lambda case: sd.momentum_step(case.x, case.y, S, T, noise=case.y),  # three images, one transformed
    "given noise": lambda case: sd.posterior_sample(case.x, case.y, S, T, noise=case.x),  # three images transformed
    "filter": lambda case: sd.spectral_filter(case.x, case.gain),
    "loss": lambda case: sd.soft_score_loss(case.x, case.y, T),
}


def assert_as_on_the_cpu(case: Case, name: str) -> None:
    """One operation on both; the order of the threads is the case's own."""
    want = OPERATIONS[name](case).double()
    with pytest.MonkeyPatch.context() as patch, on_the_device(patch) as emulator:
        emulator.begin(case.seed)
        got = OPERATIONS[name](case)
        emulator.assert_clean()
        assert emulator.report()["launches"] > 0
    # Both sides have the error of the arithmetic, and round their result once.
    dtype = torch.float32 if name == "loss" and case.image.dtype != torch.float64 else case.image.dtype
    bound = 2 * (ARITHMETIC[case.image.dtype] + UNIT_ROUNDOFF[dtype])
    assert (got.double() - want).norm() <= bound * want.norm() + 1e-30, f"{name} of {case.image}"


def image(height: int, width: int, dtype: torch.dtype = torch.float32, layout: str = "contiguous") -> Image:
    return Image((2, 2, height, width), dtype, layout, 3)


@settings(max_examples=150)
@given(
    sides=st.tuples(st.sampled_from(SIDES), st.sampled_from(SIDES)),
    dtype=st.sampled_from(DTYPES),
    layout=st.sampled_from(("contiguous", "channels_last", "transposed", "sliced", "expanded")),
    name=st.sampled_from(list(OPERATIONS)),
    seed=st.integers(0, 999),
)
def test_planes(sides: tuple[int, int], dtype: torch.dtype, layout: str, name: str, seed: int) -> None:
    assert_as_on_the_cpu(Case(image(*sides, dtype, layout), seed), name)


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("sides", [(20, 36), (17, 12)])
def test_operations(sides: tuple[int, int], name: str) -> None:
    assert_as_on_the_cpu(Case(image(*sides), 1), name)


# Sides whose planes go through scratch memory in panels, the last of them not full: radix 8 and leaves of 28; dense leaves;
# radix 16 and leaves of 32, with two levels of butterflies.
@pytest.mark.parametrize("name", ["dct", "idct", "blur", "diffuse", "markov", "filter", "loss"])
@pytest.mark.parametrize("sides", [(224, 180), (109, 250), (512, 67)])
def test_panels(sides: tuple[int, int], name: str) -> None:
    assert_as_on_the_cpu(Case(Image((1, 2, *sides), torch.float32, "contiguous", 5), 2), name)


@pytest.mark.parametrize(
    ("size", "dtype"), [(1024, torch.float32), (2304, torch.float64), (2053, torch.float32), (16384, torch.float32)]
)
@pytest.mark.parametrize("name", ["rows", "inverse rows"])
def test_long_lines(size: int, dtype: torch.dtype, name: str) -> None:
    assert_as_on_the_cpu(Case(Image((1, 1, 2, size), dtype, "contiguous", 5), 2), name)


def test_tiles_in_global_memory() -> None:
    """A line of doubles that no shared memory holds."""
    case = Case(Image((1, 1, 2, 12800), torch.float64, "contiguous", 5), 2)
    assert load().tile_plan("rows", 1, 1, 2, 12800, wide=True)["passes"][0]["in_global_memory"]
    assert_as_on_the_cpu(case, "rows")


@pytest.mark.parametrize("shape", [(0, 3, 20, 30), (3, 0, 20, 30)])
def test_an_empty_batch_launches_nothing(emulator: Emulator, shape: tuple[int, ...]) -> None:
    emulator.begin()
    assert sd.dct_blur(torch.zeros(shape), 1.0).shape == shape
    assert sd.dct(torch.zeros(shape)).shape == shape
    assert emulator.report()["launches"] == 0


# ---- launches as numbers ----------------------------------------------------------------------------------------------------


def assert_sound(plan: dict[str, Any], height: int, width: int) -> None:
    assert plan["chunk"] <= max(plan["planes"], 1)
    assert plan["scratch_bytes"] <= 256 * 2**20 or plan["chunk"] == 1
    for one in plan["passes"]:
        assert one["threads"] % 32 == 0
        assert 64 <= one["threads"] <= 256
        assert one["shared_bytes"] <= MAX_SHARED
        assert one["steps"] <= 64
        lines, of = {"whole": (1, 1), "columns": (one["columns"], width), "rows": (one["rows"], height)}[one["tiling"]]
        assert (one["panels"] - 1) * lines < of <= one["panels"] * lines
        whole = {"whole": (height, width), "columns": (height, one["columns"]), "rows": (one["rows"], width)}[one["tiling"]]
        assert (one["rows"], one["columns"]) == whole
        assert 1 <= one["most_blocks"] <= 2**30
        if one["in_global_memory"]:
            assert one["shared_bytes"] == 0
            assert one["most_blocks"] * one["block_bytes"] <= 256 * 2**20 or one["most_blocks"] == 1


@given(
    operation=st.sampled_from(("combine", "dct", "idct", "rows", "energy")),
    batch=st.sampled_from((1, 7, 4096, 2**31)),
    height=st.one_of(st.integers(1, 300), st.sampled_from((512, 1021, 1024, 4096, 16384, 65536))),
    width=st.one_of(st.integers(1, 300), st.sampled_from((512, 1021, 1024, 4096, 16384, 65536))),
    wide=st.booleans(),
    images=st.integers(1, 3),
    noise=st.booleans(),
)
def test_launches(operation: str, batch: int, height: int, width: int, wide: bool, images: int, noise: bool) -> None:
    plan = load().tile_plan(operation, batch, 3, height, width, wide, images, noise and images < 3)
    assert_sound(plan, height, width)


def tilings(height: int, width: int, **of: Any) -> list[str]:
    return [one["tiling"] for one in load().tile_plan("combine", 64, 3, height, width, **of)["passes"]]


def test_which_sizes_are_one_pass() -> None:
    assert tilings(96, 96) == tilings(144, 144) == tilings(109, 109) == ["whole"]
    assert tilings(31, 257) == tilings(80, 80, images=3) == ["whole"]
    assert tilings(160, 160) == tilings(112, 112, wide=True) == ["columns", "rows", "columns"]
    assert tilings(256, 256, images=2, noise=True) == ["columns", "columns", "rows", "columns"]


@pytest.mark.parametrize("megabytes", [1, 8, 256])
def test_what_lies_between_the_passes_is_bounded(megabytes: int) -> None:
    for side in (256, 512):
        plan = load().tile_plan("combine", 4096, 3, side, side, scratch_bytes=megabytes * 2**20)
        assert plan["chunk"] == megabytes * 2**20 // (4 * side * side)
        assert plan["scratch_bytes"] == megabytes * 2**20
        assert [(one["panels"], one["threads"]) for one in plan["passes"]] == [(side // 32, 256)] * 3
        # three blocks or more on an SM that has 228 KB
        assert all(one["shared_bytes"] <= 72 * 1024 for one in plan["passes"])

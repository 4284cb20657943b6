"""Each barrier of each launch is left out in turn: the emulator must see the race that follows.

A barrier that nobody misses is named with its reason: all others have to be missed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import softdiff_ext as sd

from .emulated import Emulator, load

S, T = sd.Level(-0.1, 0.5, 0.2, 1e-2), sd.Level(-0.4, 1.0, 0.6, 1e-2)


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


CALLS: dict[str, Callable[[Tensor], Tensor]] = {
    "blur": lambda x: sd.dct_blur(x, 1.5),
    "diffuse": lambda x: sd.diffuse(x, T, generator=generator()),  # noise on pixels
    "diffuse, noise given": lambda x: sd.diffuse(x, T, noise=x.flip(0)),
    "filter": lambda x: sd.spectral_filter(x, torch.ones(x.shape[2:], dtype=sd.dct(x[:0]).dtype if x.itemsize > 2 else None)),
    "markov": lambda x: sd.posterior_sample(x, x.flip(0), S, T, generator=generator()),  # noise on coefficients
    "markov, noise given": lambda x: sd.posterior_sample(x, x.flip(0), S, T, noise=x),  # three images transformed
    "momentum": lambda x: sd.momentum_step(x, x.flip(0), S, T, generator=generator()),
    "dct": sd.dct,
    "idct": sd.idct,
    "rows": lambda x: sd.dct(x, 1),
    "inverse rows": lambda x: sd.idct(x, 1),
    "loss": lambda x: sd.soft_score_loss(x, x.flip(0), T),
    "no transform": lambda x: sd.diffuse(x, sd.Level(sigma=0.5), generator=generator()),
}


def image(shape: tuple[int, ...], dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(shape, generator=generator()).to(dtype)


def not_missed(emulator: Emulator, call: Callable[[Tensor], Tensor], x: Tensor) -> list[tuple[int, int]]:
    """(launch, barrier) of those whose loss goes unseen; all there are must be enough for a clean run."""
    emulator.begin(1)
    call(x)
    emulator.assert_clean()
    launches: list[Any] = emulator.report()["log"]
    barriers = [(launch, barrier) for launch in range(len(launches)) for barrier in range(launches[launch][4])]
    assert barriers
    unseen = []
    for launch, barrier in barriers:
        emulator.begin(1, barrier, dropped_launch=launch)
        call(x)
        if emulator.report()["races"] == 0:
            unseen.append((launch, barrier))
    return unseen


SQUARE_CALLS = (
    "blur",
    "diffuse",
    "diffuse, noise given",
    "filter",
    "markov",
    "momentum",
    "dct",
    "idct",
    "no transform",
)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", SQUARE_CALLS)
def test_squares_of_28(name: str, dtype: torch.dtype, emulator: Emulator) -> None:
    assert not_missed(emulator, CALLS[name], image((3, 2, 28, 28), dtype)) == []


@pytest.mark.parametrize("side", [8, 16, 32, 64, 128])
@pytest.mark.parametrize("name", ["blur", "diffuse", "filter", "markov", "dct", "idct"])
def test_squares(name: str, side: int, emulator: Emulator) -> None:
    found = not_missed(emulator, CALLS[name], image((2, 1, side, side)))
    assert found == SPARE_SQUARES.get((name, side), [])


SPARE_SQUARES = {
    # a thread that adds drawn noise happens to add it to its own column
    ("diffuse", 8): [(0, 2)],
    ("diffuse", 16): [(0, 2)],
}


@pytest.mark.parametrize(
    ("name", "side", "launches"),
    [
        ("markov", 128, ["columns in", "columns in", "rows", "columns out"]),
        ("markov, noise given", 128, ["columns in"] * 3 + ["rows", "columns out"]),
        ("blur", 256, ["columns in", "rows", "columns out"]),
        ("diffuse", 256, ["columns in", "rows", "columns out"]),
        ("markov", 256, ["columns in", "columns in", "rows", "columns out"]),
        ("filter", 256, ["columns in", "rows", "columns out"]),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)
def test_halves(name: str, side: int, launches: list[str], dtype: torch.dtype, emulator: Emulator) -> None:
    """Planes that are transformed by halves of their lines."""
    x = image((1, 1, side, side), dtype)
    assert not_missed(emulator, CALLS[name], x) == []
    emulator.begin(1)
    CALLS[name](x)
    assert [launch[0] for launch in emulator.report()["log"]] == [f"halves, {kernel}" for kernel in launches]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.float64], ids=str)
@pytest.mark.parametrize("name", CALLS)
def test_tiles_of_whole_planes(name: str, dtype: torch.dtype, emulator: Emulator) -> None:
    found = not_missed(emulator, CALLS[name], image((2, 1, 36, 20), dtype))
    assert found == SPARE_WHOLE.get(name, [])


@pytest.mark.parametrize("name", [*SQUARE_CALLS, "loss"])
def test_squares_of_doubles_are_tiles(name: str, emulator: Emulator) -> None:
    found = not_missed(emulator, CALLS[name], image((3, 2, 28, 28), torch.float64))
    assert found == SPARE_WHOLE.get(name, [])


@pytest.mark.parametrize("side", [8, 16, 28, 32, 64, 128])
def test_energies_of_squares_are_tiles(side: int, emulator: Emulator) -> None:
    assert not_missed(emulator, CALLS["loss"], image((2, 1, side, side))) == SPARE_WHOLE["loss"]


# A program begins with the gains, and noise on coefficients, which are read by the mixing only, many barriers later.
GAINS, GAINS_AND_NOISE = [(0, 0)], [(0, 0), (0, 1)]
SPARE_WHOLE = {
    "blur": GAINS,
    "diffuse": GAINS,
    "diffuse, noise given": GAINS,
    "filter": GAINS,
    "markov": GAINS_AND_NOISE,
    "markov, noise given": GAINS,
    "momentum": GAINS,
    "loss": GAINS,
}


@pytest.mark.parametrize("sides", [(170, 180), (109, 250)], ids=str)
@pytest.mark.parametrize("name", ["blur", "diffuse", "markov", "dct", "idct", "loss"])
def test_tiles_of_panels(name: str, sides: tuple[int, int], emulator: Emulator) -> None:
    found = not_missed(emulator, CALLS[name], image((1, 1, *sides)))
    assert found == SPARE_PANELS.get(name, [])


# The same of the pass along the rows, and of the last one along the columns where that adds something to pixels.
SPARE_PANELS = {
    "blur": [(1, 0)],
    "diffuse": [(1, 0), (2, 0)],
    "markov": [(2, 0), (2, 1)],
    "loss": [(1, 0)],
}


@pytest.mark.parametrize("name", ["rows", "inverse rows"])
def test_tiles_in_global_memory(name: str, emulator: Emulator) -> None:
    assert load().tile_plan("rows", 1, 1, 1, 12800, wide=True)["passes"][0]["in_global_memory"]
    assert not_missed(emulator, CALLS[name], image((1, 1, 1, 12800), torch.float64)) == []

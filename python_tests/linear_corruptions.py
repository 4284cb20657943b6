"""Linear corruptions of every kind, their dense matrices, and processes with them, for the tests."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import softdiff_ext as sd
from softdiff_ext.processes import SoftDiffusion

CHANNELS, SIZE = 3, 8


def col(strength: Tensor) -> Tensor:
    return strength.reshape(-1, 1, 1, 1)


FADE = sd.LinearMap(lambda x, s: (1 - col(s)) * x, lambda y, s: (1 - col(s)) * y)
SHEAR = sd.LinearMap(lambda x, s: x + col(s) * x.roll(1, -1), lambda y, s: y + col(s) * y.roll(-1, -1), (0.0, 0.9))
IDENTITY = sd.LinearMap(lambda x, s: x, lambda y, s: y)
BLUR = sd.SpectralBlur((0.01, 2.0))
GENERIC_BLUR = sd.LinearMap(BLUR.apply, BLUR.adjoint, BLUR.sigma_blur)
THRESHOLDS = torch.linspace(0.0, 1.5, SIZE * SIZE, dtype=torch.float64).view(SIZE, SIZE)
CORRUPTIONS: dict[str, sd.Corruption] = {
    "blur": BLUR,
    "centre mask": sd.NestedMask(),
    "random mask": sd.NestedMask("random", seed=4),
    "own mask": sd.NestedMask(THRESHOLDS),
    "block average": sd.BlockAverage((2, 4, 8)),
    "grey": sd.Grayscale(),
    "fade": FADE,
    "shear": SHEAR,
}
every = pytest.mark.parametrize("name", CORRUPTIONS)
SYMMETRIC = ("blur", "centre mask", "random mask", "own mask", "block average")


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def strengths(name: str, fractions: list[float]) -> Tensor:
    first, *_, last = CORRUPTIONS[name].candidates(256)
    return first + (last - first) * torch.tensor(fractions, dtype=torch.float64)


def dense(corruption: sd.Corruption, strength: float, channels: int = CHANNELS, size: int = SIZE) -> Tensor:
    """C_s as a matrix, by what it does to each unit image."""
    n = channels * size * size
    unit = torch.eye(n, dtype=torch.float64).view(n, channels, size, size)
    return corruption.apply(unit, torch.full((n,), strength, dtype=torch.float64)).reshape(n, n).T


def pinv(matrix: Tensor) -> Tensor:
    return torch.linalg.pinv(matrix, rtol=1e-9)


RULES = [sd.Markov(), sd.Momentum(), sd.Momentum(exact=True), sd.DDIM(), sd.DDIM(eta=0.5), sd.Naive(), sd.Naive(std=0.03)]


def images(count: int = 30, channels: int = 1) -> Tensor:
    return torch.rand(count, channels, SIZE, SIZE, generator=generator(0)) * 2 - 1


def soft(corruption: sd.Corruption, **options: object) -> SoftDiffusion:
    process = SoftDiffusion(corruption=corruption, **options)  # type: ignore[arg-type]
    process.fit(images())
    return process

"""Lengths without a codelet: primes, odd composites, their even multiples (with DCT-IV leaves), and lengths above 1024."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.fft
import torch
from hypothesis import given
from hypothesis import strategies as st

import softdiff_ext as sd
from softdiff_ext import reference

from .helpers import randn

# One length or more for every way in which odd.hpp computes: dense halves (17 .. 59), straight-line products (21 .. 45),
# coprime and other products (49 .. 945), and Rader: real convolutions (127), padded (719), nested (839), complex (89, 1009).
ODD = [17, 21, 25, 27, 33, 35, 37, 45, 47, 49, 59, 63, 81, 89, 97, 105, 107, 109, 121, 125, 127, 131, 167, 179, 191, 211, 225]
ODD += [243, 251, 257, 267, 331, 343, 347, 405, 467, 497, 509, 521, 625, 719, 729, 751, 839, 889, 945, 997, 1009, 1019, 1021]
LENGTHS = sorted({*ODD, *(m * n for m in (2, 4, 8, 16, 32) for n in ODD if m * n <= 1024)})

# float32: the longest chains of stages keep 2.6e-7 at one length. float64: 2^-53 times the same factor is 5e-16, plus the
# rounding of the tables themselves.
BOUNDS = {torch.float32: 3.5e-7, torch.float64: 2e-15}


def _error(got: torch.Tensor, want: np.ndarray) -> float:
    return float(np.linalg.norm(got.double().numpy() - want) / np.linalg.norm(want))


def _check_length(size: int, dtype: torch.dtype) -> None:
    x = randn((3, size), size, dtype)
    exact = x.double().numpy()
    assert _error(sd.dct(x, 1), scipy.fft.dct(exact, norm="ortho")) <= BOUNDS[dtype]
    assert _error(sd.idct(x, 1), scipy.fft.idct(exact, norm="ortho")) <= BOUNDS[dtype]


@pytest.mark.parametrize("dtype", BOUNDS)
@pytest.mark.parametrize("size", LENGTHS)
def test_length(size: int, dtype: torch.dtype) -> None:
    _check_length(size, dtype)


@pytest.mark.parametrize("dtype", BOUNDS)
@pytest.mark.parametrize("size", [1031, 2048, 2050, 2304, 4096, 4099, 4100, 6000, 8192, 10007, 16384, 30030])
def test_length_above_1024(size: int, dtype: torch.dtype) -> None:
    _check_length(size, dtype)


@given(size=st.integers(1, 700), dtype=st.sampled_from(list(BOUNDS)))
def test_any_length(size: int, dtype: torch.dtype) -> None:
    _check_length(size, dtype)


@given(height=st.sampled_from([n for n in LENGTHS if n < 300]), width=st.sampled_from([n for n in LENGTHS if n < 300]))
def test_planes_of_such_sides(height: int, width: int) -> None:
    for dtype, bound in BOUNDS.items():
        x = randn((2, 1, height, width), height + width, dtype)
        u = sd.dct(x)
        assert _error(u, scipy.fft.dctn(x.double().numpy(), axes=(2, 3), norm="ortho")) <= bound
        assert _error(sd.idct(u), x.double().numpy()) <= math.sqrt(2) * bound  # two transforms, each with its own rounding
        assert _error(sd.dct_blur(x, 3.0), reference.dct_blur(x.double(), 3.0).numpy()) <= bound


@pytest.mark.parametrize("size", [479, 509, 839, 887, 983, 997, 1019])
def test_blur_of_squares_with_the_longest_chains_of_stages(size: int) -> None:
    x = randn((1, 1, size, size), size, torch.float32)
    gain = np.exp(-2.0 * sd.eigenvalues((size, size)).numpy())
    u = scipy.fft.dctn(x.double().numpy(), axes=(2, 3), norm="ortho")
    assert _error(sd.dct_blur(x, 2.0), scipy.fft.idctn(gain * u, axes=(2, 3), norm="ortho")) <= BOUNDS[torch.float32]


def test_each_impulse_of_a_prime_length() -> None:
    """A wrong sign or index of one table entry is one wrong matrix entry, which norms of random vectors might drown."""
    for size in (37, 89, 109, 127, 178, 347):
        impulses = torch.eye(size, dtype=torch.float64)
        matrix = scipy.fft.dct(np.eye(size), norm="ortho")
        assert np.abs(sd.dct(impulses, 1).numpy() - matrix).max() <= 1e-14
        assert np.abs(sd.idct(impulses, 1).numpy() - matrix.T).max() <= 1e-14


def test_two_hundred_random_planes_to_1024() -> None:
    """The bound that docs/performance.md promises, 3.5e-7 for float32, at sizes drawn evenly in their logarithm."""
    rng = np.random.default_rng(20)
    sides = np.exp(rng.uniform(0.0, math.log(1024.99), (200, 2))).astype(int)
    sides[:3] = [(1024, 1024), (1023, 1024), (1024, 1)]
    worst = {"dct": 0.0, "idct": 0.0, "blur": 0.0}
    for height, width in sides:
        x = randn((1, 2 if height * width < 10000 else 1, height, width), int(height + width), torch.float32)
        exact = x.double().numpy()
        worst["dct"] = max(worst["dct"], _error(sd.dct(x), scipy.fft.dctn(exact, axes=(2, 3), norm="ortho")))
        worst["idct"] = max(worst["idct"], _error(sd.idct(x), scipy.fft.idctn(exact, axes=(2, 3), norm="ortho")))
        lam = reference.eigenvalues((int(height), int(width))).numpy()
        u = scipy.fft.dctn(exact, axes=(2, 3), norm="ortho") * np.exp(-0.8 * lam)
        worst["blur"] = max(worst["blur"], _error(sd.dct_blur(x, 0.8), scipy.fft.idctn(u, axes=(2, 3), norm="ortho")))
    assert max(worst.values()) <= BOUNDS[torch.float32], worst

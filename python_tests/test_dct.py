"""dct and idct: orthonormal, inverse to each other, and equal to the dense matrices and to scipy for any size and layout."""

from __future__ import annotations

import random

import numpy as np
import pytest
import scipy.fft
import torch
from hypothesis import given
from hypothesis import strategies as st

import softdiff_ext as sd
from softdiff_ext import _C, reference

from .helpers import DTYPES, SIDES, Image, assert_matches, images, randn

NDIM = st.sampled_from([1, 2, 3])


@given(spec=images(), ndim=NDIM)
def test_equals_the_dense_matrices(device: torch.device, spec: Image, ndim: int) -> None:
    x = spec.make(device)
    for op in ("dct", "idct"):
        got = getattr(sd, op)(x, ndim)
        assert got.dtype == x.dtype
        assert got.device == x.device
        assert got.is_contiguous()
        assert_matches(got, getattr(reference, op)(x.double(), ndim))


@given(spec=images(), ndim=NDIM)
def test_inverse_and_orthonormal(device: torch.device, spec: Image, ndim: int) -> None:
    x = spec.make(device)
    u = sd.dct(x, ndim)
    # Two results are stored on the way, hence twice the rounding of one: compare at half the distance.
    assert_matches(sd.idct(u, ndim) / 2 + x / 2, x, scale=2 * x.double().norm().item())
    y = spec.make(device, offset=1)
    inner = (u.double() * sd.dct(y, ndim).double()).sum().item()
    scale = x.double().norm().item() * y.double().norm().item()
    slack = {torch.float64: 1e-13, torch.float32: 2e-6, torch.float16: 2.0**-9, torch.bfloat16: 2.0**-6}[x.dtype]
    assert abs(inner - (x.double() * y.double()).sum().item()) <= slack * scale


@pytest.mark.parametrize("ndim", [1, 2, 3])
@pytest.mark.parametrize("size", [(5, 3, 8, 8), (1, 2, 7, 33), (2, 16, 28, 1)])
def test_equals_scipy(device: torch.device, size: tuple[int, ...], ndim: int) -> None:
    x = randn(size, 1)
    axes = tuple(range(-ndim, 0))
    assert_matches(sd.dct(x.to(device), ndim).cpu(), torch.from_numpy(scipy.fft.dctn(x.numpy(), axes=axes, norm="ortho")))
    assert_matches(sd.idct(x.to(device), ndim).cpu(), torch.from_numpy(scipy.fft.idctn(x.numpy(), axes=axes, norm="ortho")))


def _sizes() -> list[int]:
    """Every small length once, then lengths up to 512 drawn by chance, primes and powers of two among them."""
    drawn = random.Random(7).sample(range(66, 512), 36)
    return sorted({*range(1, 34), 49, 61, 64, 127, 128, 178, 218, 251, 256, 509, 512, *drawn})


def _relative(got: torch.Tensor, want: np.ndarray) -> float:
    return float(np.linalg.norm(got.double().numpy() - want) / np.linalg.norm(want))


@pytest.mark.parametrize("size", [*_sizes(), 720, 997, 1024])
def test_accuracy_at_length(size: int) -> None:
    other = random.Random(size).choice([1, 3, 8, 17, 32])
    # float64: each of the ~2 log2(n) stages, or a short dense sum, rounds to 2^-53 = 1.1e-16; 2e-15 holds with room.
    for dtype, bound in ((torch.float32, 3.5e-7), (torch.float64, 2e-15)):
        x = randn((2, 1, size, other), size, dtype)
        exact = x.double().numpy()
        for y, turn in ((x, (2, 3)), (x.mT, (3, 2))):
            assert _relative(sd.dct(y).permute(0, 1, *turn), scipy.fft.dctn(exact, axes=(2, 3), norm="ortho")) <= bound
            assert _relative(sd.idct(y).permute(0, 1, *turn), scipy.fft.idctn(exact, axes=(2, 3), norm="ortho")) <= bound


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(0, 3, 8, 8), (2, 0, 8, 8), (0, 0, 1, 1)])
def test_empty(device: torch.device, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    for ndim in (1, 2):
        out = sd.dct(torch.empty(shape, dtype=dtype, device=device), ndim)
        assert out.shape == shape
        assert out.dtype == dtype


@pytest.mark.parametrize("shape", [(6,), (4, 6), (2, 4, 6), (2, 3, 4, 6), (2, 2, 3, 4, 6)])
def test_any_leading_dimensions(device: torch.device, shape: tuple[int, ...]) -> None:
    x = randn(shape, 3).to(device)
    for ndim in range(1, min(3, len(shape)) + 1):
        assert_matches(sd.dct(x, ndim), reference.dct(x, ndim))
        assert_matches(sd.idct(x, ndim), reference.idct(x, ndim))


def test_a_constant_image_is_its_zero_frequency(device: torch.device) -> None:
    for side in SIDES:
        u = sd.dct(torch.full((1, 1, side, 5), 2.0, dtype=torch.float64, device=device)).flatten()
        assert abs(u[0].item() - 2.0 * (side * 5) ** 0.5) < 1e-12
        assert u[1:].abs().max().item() < 1e-12


def test_the_input_is_left_alone(device: torch.device) -> None:
    x = randn((2, 3, 9, 8), 0).to(device)
    kept = x.clone()
    sd.dct(x)
    sd.idct(x)
    assert torch.equal(x, kept)


def test_the_same_bits_again_and_for_any_thread_count() -> None:
    x = randn((7, 3, 33, 40), 0, torch.float32)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = sd.dct(x)
        torch.set_num_threads(2)
        assert torch.equal(sd.dct(x), one)
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("size", [(1, 1), (4, 6), (7, 3)])
def test_eigenvalues_are_those_of_the_formula(size: tuple[int, int]) -> None:
    lam = sd.eigenvalues(size)
    assert lam.dtype == torch.float64
    assert lam.shape == size
    for m in range(size[0]):
        for n in range(size[1]):
            want = (np.pi * m / size[0]) ** 2 + (np.pi * n / size[1]) ** 2
            assert abs(lam[m, n].item() - want) <= 1e-15 * want


def test_the_depth_is_transformed_in_place_where_a_tensor_is_contiguous_only() -> None:
    x = randn((2, 5, 8), 4)
    want = sd.dct(x.movedim(-2, -1), 1).movedim(-1, -2)
    result = _C.transform(None, x, -2, False)
    assert result is x
    torch.testing.assert_close(x, want)
    with pytest.raises(TypeError, match="contiguous"):
        _C.transform(None, x[..., ::2], -2, False)

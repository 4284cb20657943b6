"""dct_blur and spectral_filter: the semigroup, conserved means, self-adjointness, extremes and every way a gain broadcasts."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import softdiff_ext as sd
from softdiff_ext import reference

from .helpers import DTYPES, TAUS, UNIT_ROUNDOFF, Image, assert_matches, images, randn

FLOORS = st.sampled_from([0.0, 1e-3, 0.3])


@given(spec=images(), tau=TAUS, floor=FLOORS, kind=st.sampled_from(["float", "0-d", "batch", "batch float32"]))
def test_equals_the_reference(device: torch.device, spec: Image, tau: float, floor: float, kind: str) -> None:
    x = spec.make(device)
    heat: float | torch.Tensor = tau
    if kind == "0-d":
        heat = torch.tensor(tau, dtype=torch.float64, device=device)
    elif kind != "float":
        heat = tau / (1.0 + torch.arange(spec.shape[0], device=device))
        heat = heat.to(torch.float32 if kind.endswith("float32") else torch.float64)
    got = sd.dct_blur(x, heat, floor)
    assert got.dtype == x.dtype
    assert got.is_contiguous()
    # The image's own norm is the scale: a strong blur leaves a small result of large terms.
    assert_matches(got, reference.dct_blur(x.double(), heat, floor), scale=x.double().norm().item())


@given(spec=images(), first=TAUS, second=TAUS)
def test_semigroup(device: torch.device, spec: Image, first: float, second: float) -> None:
    x = spec.make(device).double()
    assert_matches(sd.dct_blur(sd.dct_blur(x, first), second), sd.dct_blur(x, first + second), scale=2 * x.norm().item())


@given(spec=images(min_batch=1), tau=TAUS, floor=FLOORS)
def test_mean_is_conserved(device: torch.device, spec: Image, tau: float, floor: float) -> None:
    x = spec.make(device)
    blurred = sd.dct_blur(x, tau, floor)
    error = (blurred.double().mean((2, 3)) - x.double().mean((2, 3))).abs().max().item()
    # Each pixel is stored with the unit roundoff of its size; float32 arithmetic adds a few of its own.
    size = max(x.abs().max().item(), blurred.abs().max().item())
    assert error <= size * (UNIT_ROUNDOFF[x.dtype] + (1e-14 if x.dtype == torch.float64 else 1e-6))


@given(spec=images(min_batch=1), tau=TAUS, floor=FLOORS)
def test_self_adjoint(device: torch.device, spec: Image, tau: float, floor: float) -> None:
    x, y = spec.make(device).double(), spec.make(device, offset=1).double()
    left = (sd.dct_blur(x, tau, floor) * y).sum().item()
    right = (x * sd.dct_blur(y, tau, floor)).sum().item()
    assert abs(left - right) <= 1e-13 * x.norm().item() * y.norm().item()


@pytest.mark.parametrize("dtype", DTYPES)
def test_no_blur_gives_the_image_back(device: torch.device, dtype: torch.dtype) -> None:
    x = randn((2, 3, 28, 30), 0, dtype).to(device)
    assert_matches(sd.dct_blur(x, 0.0), x)


@pytest.mark.parametrize("dtype", DTYPES)
def test_endless_blur_leaves_the_mean(device: torch.device, dtype: torch.dtype) -> None:
    x = randn((2, 3, 28, 30), 0, dtype).to(device)
    mean = x.double().mean((2, 3), keepdim=True).expand_as(x)
    assert_matches(sd.dct_blur(x, 1e6), mean, scale=x.double().norm().item())
    # With a floor the rest of the image stays at that share.
    assert_matches(sd.dct_blur(x, 1e6, 0.25), mean + 0.25 * (x.double() - mean), scale=x.double().norm().item())


def test_blur_is_linear_and_each_plane_is_alone(device: torch.device) -> None:
    x = randn((3, 2, 13, 8), 0).to(device)
    tau = torch.tensor([0.0, 0.7, 40.0], dtype=torch.float64, device=device)
    whole = sd.dct_blur(x, tau)
    for b, c in itertools.product(range(3), range(2)):
        alone = sd.dct_blur(x[b : b + 1, c : c + 1], tau[b].item())
        assert_matches(whole[b : b + 1, c : c + 1], alone)
    assert_matches(sd.dct_blur(-2.0 * x, tau), -2.0 * whole)


def test_blur_is_the_gaussian_of_its_standard_deviation(device: torch.device) -> None:
    # Far from the edges exp(-lam sigma^2 / 2) is a sampled Gaussian; for sigma >= 2 the two differ by less than 1e-8.
    sigma, side = 2.0, 65
    x = torch.zeros((1, 1, side, side), dtype=torch.float64, device=device)
    x[..., side // 2, side // 2] = 1.0
    offsets = torch.arange(side, device=device) - side // 2
    line = torch.exp(-(offsets.double() ** 2) / (2 * sigma**2)) / (sigma * (2 * torch.pi) ** 0.5)
    assert (sd.dct_blur(x, sigma**2 / 2)[0, 0] - line[:, None] * line[None, :]).abs().max().item() < 1e-8


PATTERNS = list(itertools.product([False, True], repeat=4))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "pattern", PATTERNS, ids=["".join("BCHW"[i] if keep else "1" for i, keep in enumerate(p)) for p in PATTERNS]
)
def test_gain_broadcasts(device: torch.device, pattern: tuple[bool, ...], dtype: torch.dtype) -> None:
    shape = (2, 3, 7, 8)
    x = randn(shape, 0, dtype).to(device)
    gain = randn(tuple(n if keep else 1 for n, keep in zip(shape, pattern, strict=True)), 1, dtype).to(device)
    want = reference.spectral_filter(x.double(), gain.double())
    assert_matches(sd.spectral_filter(x, gain), want)


@pytest.mark.parametrize("ndim", [0, 1, 2, 3])
def test_gain_may_leave_leading_dimensions_out(device: torch.device, ndim: int) -> None:
    x = randn((2, 3, 7, 8), 0).to(device)
    gain = randn((3, 7, 8)[3 - ndim :], 1).to(device)
    assert_matches(sd.spectral_filter(x, gain), reference.spectral_filter(x, gain))


@pytest.mark.parametrize("layout", ["mT", "channels_last", "expanded", "every other column"])
def test_gain_of_any_layout(device: torch.device, layout: str) -> None:
    x = randn((2, 3, 8, 8), 0, torch.float32).to(device)
    gain = randn((2, 3, 8, 16), 1, torch.float32).to(device)
    gain = {
        "mT": gain[..., :8].mT,
        "channels_last": gain[..., :8].contiguous(memory_format=torch.channels_last),
        "expanded": gain[:1, :1, :1, :8].expand(2, 3, 8, 8),
        "every other column": gain[..., ::2],
    }[layout]
    assert_matches(sd.spectral_filter(x, gain), reference.spectral_filter(x.double(), gain.double()))


@given(spec=images())
def test_filter_equals_the_reference(device: torch.device, spec: Image) -> None:
    x = spec.make(device)
    gain = randn((spec.shape[0], 1, *spec.shape[2:]), spec.seed, spec.dtype).to(device)
    scale = gain.double().abs().max().item() * x.double().norm().item() if x.numel() else 0.0
    assert_matches(sd.spectral_filter(x, gain), reference.spectral_filter(x.double(), gain.double()), scale=scale)


@pytest.mark.parametrize("image", DTYPES)
@pytest.mark.parametrize("coefficient", DTYPES)
def test_gain_of_any_type_is_a_coefficient(device: torch.device, image: torch.dtype, coefficient: torch.dtype) -> None:
    """A gain may be in another type than the image, as tau may: it is taken to the type of the arithmetic, no further."""
    x = randn((2, 3, 8, 8), 0, image).to(device)
    gain = randn((8, 8), 1, coefficient).to(device)
    got = sd.spectral_filter(x, gain)
    assert got.dtype == image
    assert_matches(got, reference.spectral_filter(x.double(), gain.double()))

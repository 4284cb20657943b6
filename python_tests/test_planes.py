"""Planes narrower than a vector, which the kernels pack several to a vector: groups that are not full, samples that change in
a group, levels with and without a floor side by side. And wide planes, which share all of that but the packing."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import softdiff_ext as sd
from softdiff_ext import reference
from softdiff_ext.rules import Rule

from .helpers import randn

# planes: under, at and over one and two groups of 16, 8 and 4; planes below and above one vector of pixels
SHAPES = [(5, 3, 8, 8), (17, 1, 4, 4), (2, 9, 3, 13), (33, 1, 1, 1), (4, 5, 40, 7), (1, 1, 8, 8), (3, 2, 37, 2), (16, 1, 2, 15)]
# and not narrow: sides whose plans leave the frequencies in an order of their own, along rows, columns and both
SHAPES += [(2, 2, 64, 20), (3, 1, 20, 64), (2, 1, 96, 72)]
# tall: panels two at a time, the last by itself over a part of its neighbour
SHAPES += [(1, 2, 288, 52)]
# rows of two blocks of noise, not a whole vector of them; of half a block, in an order of their own, and an odd number of them
SHAPES += [(1, 2, 24, 128), (2, 1, 48, 32), (2, 2, 33, 32)]
# the squares with code of their own
SHAPES += [(3, 2, 16, 16), (2, 2, 28, 28), (3, 2, 32, 32), (2, 2, 64, 64)]
BOUNDS = {torch.float64: 1e-13, torch.float32: 2e-6}  # of step: gains of differences, summed over three terms
RULES: list[Rule] = [sd.Markov(), sd.Momentum(), sd.DDIM(), sd.DDIM(eta=0.5), sd.Naive(), sd.Cold()]


def _levels(batch: int) -> tuple[sd.Level, sd.Level]:
    """Every second sample has a floor; blur and noise differ from sample to sample."""
    tau, step = torch.linspace(0.1, 30.0, batch, dtype=torch.float64), torch.linspace(0.5, 4.0, batch, dtype=torch.float64)
    floor = torch.where(torch.arange(batch) % 2 == 0, 1e-2, 0.0).double()
    sigma = torch.linspace(0.2, 0.5, batch, dtype=torch.float64)
    return sd.Level(-0.1 * sigma, tau, sigma, floor), sd.Level(-0.4 * sigma, tau + step, 1.5 * sigma, floor)


def _error(got: Tensor, want: Tensor) -> float:
    return float((got.double() - want).norm() / want.norm())


@pytest.mark.parametrize("dtype", BOUNDS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_blur_and_diffuse(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    _, t = _levels(shape[0])
    x, noise = (randn(shape, seed, dtype) for seed in (1, 2))
    blurred = sd.dct_blur(x, torch.as_tensor(t.tau), torch.as_tensor(t.floor))
    assert _error(blurred, reference.dct_blur(x.double(), t.tau, t.floor)) <= BOUNDS[dtype]
    assert _error(sd.diffuse(x, t, noise=noise), reference.diffuse(x.double(), t, noise.double())) <= BOUNDS[dtype]


@pytest.mark.parametrize("dtype", BOUNDS)
@pytest.mark.parametrize("rule", RULES, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_step(shape: tuple[int, ...], rule: Rule, dtype: torch.dtype) -> None:
    s, t = _levels(shape[0])
    z, output, noise = (randn(shape, seed, dtype) for seed in (3, 4, 5))
    for prediction in ("x", "v", "mean"):
        got = sd.step(z, output, s, t, rule, prediction, noise=noise)
        want = reference.step(z.double(), output.double(), s, t, rule, prediction, noise.double())
        assert _error(got, want) <= BOUNDS[dtype]


@pytest.mark.parametrize("rule", RULES, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_drawn_noise_is_that_of_its_seed(shape: tuple[int, ...], rule: Rule) -> None:
    s, t = _levels(shape[0])
    z, output = randn(shape, 6, torch.float32), randn(shape, 7, torch.float32)
    seed = int(torch.randint(2**63 - 1, (), generator=torch.Generator().manual_seed(8)))
    noise = sd.normal(shape, seed)
    if isinstance(rule, sd.Markov):
        noise = sd.idct(noise)  # drawn in the DCT basis, where its gain differs between frequencies
    drawn = sd.step(z, output, s, t, rule, generator=torch.Generator().manual_seed(8))
    assert _error(drawn, sd.step(z, output, s, t, rule, noise=noise).double()) <= BOUNDS[torch.float32]


@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_filter_by_a_map_of_any_strides(shape: tuple[int, ...], per_channel: bool) -> None:
    x = randn(shape, 9, torch.float32)
    batch, channels, height, width = shape
    gain = randn((batch, channels if per_channel else 1, width, height), 10, torch.float32).mT
    want = reference.idct(gain.double() * reference.dct(x.double()))
    assert _error(sd.spectral_filter(x, gain), want) <= BOUNDS[torch.float32]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_strided_image_gives_what_its_copy_gives(shape: tuple[int, ...]) -> None:
    batch, channels, height, width = shape
    x = randn((batch, channels, width, height), 11, torch.float32).mT
    assert torch.equal(sd.dct_blur(x, 1.5), sd.dct_blur(x.contiguous(), 1.5))
    assert torch.equal(sd.dct(x), sd.dct(x.contiguous()))
    half = x.to(torch.float16)
    assert torch.equal(sd.idct(half), sd.idct(half.float()).half())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_sixteen_bits_are_storage_only(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    """What 16-bit images give is what their float32 copies give, rounded once: with and without images that are added."""
    s, t = _levels(shape[0])
    z, output, noise = (randn(shape, seed, torch.float32).to(dtype) for seed in (12, 13, 14))
    z[..., 0, 0], output[..., -1, -1] = 1e-40, -2.5  # subnormal, and a number that float16 and bfloat16 have
    blurred = sd.dct_blur(z.float(), torch.as_tensor(t.tau), torch.as_tensor(t.floor))
    assert torch.equal(sd.dct_blur(z, torch.as_tensor(t.tau), torch.as_tensor(t.floor)), blurred.to(dtype))
    for rule in (sd.Markov(), sd.Momentum(), sd.Cold()):
        wide = sd.step(z.float(), output.float(), s, t, rule, noise=noise.float())
        assert torch.equal(sd.step(z, output, s, t, rule, noise=noise), wide.to(dtype))
    z[0, 0, 0, 0] = torch.nan
    assert sd.dct_blur(z, 1.0)[0, 0].isnan().all()

"""What the operator tests share: images of every layout, pairs of levels of every family, and the measure of error."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from hypothesis import strategies as st
from torch import Tensor

import softdiff_ext as sd

DTYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
SIDES = (1, 2, 3, 5, 7, 8, 12, 13, 16, 28, 31, 32, 33, 64, 109)
LAYOUTS = ("contiguous", "channels_last", "transposed", "sliced", "expanded")

UNIT_ROUNDOFF = {torch.float64: 2.0**-53, torch.float32: 2.0**-24, torch.float16: 2.0**-11, torch.bfloat16: 2.0**-8}
"""Storing a result costs at most this much, relative to each number."""

ARITHMETIC = {torch.float64: 1e-14, torch.float32: 1e-6, torch.float16: 1e-6, torch.bfloat16: 1e-6}
"""What the computation itself may cost, relative L2: float32 inside for the three smaller types, two transforms of 3.5e-7 each
and gains exp(-y) with the error y 2^-24 of y; in float64 transforms of 1e-15, and y 2^-53, on both sides of the comparison."""


def randn(shape: tuple[int, ...], seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)).to(dtype)


@dataclass(frozen=True)
class Image:
    """A description of an image tensor that hypothesis can print and shrink."""

    shape: tuple[int, int, int, int]
    dtype: torch.dtype
    layout: str
    seed: int

    def make(self, device: torch.device, offset: int = 0) -> Tensor:
        b, c, h, w = self.shape
        seed = self.seed + 1000 * offset
        if self.layout == "transposed":
            return randn((b, c, w, h), seed, self.dtype).to(device).mT
        if self.layout == "sliced":
            return randn((b, c + 1, h + 2, 2 * w), seed, self.dtype).to(device)[:, 1:, 1:-1, ::2]
        if self.layout == "expanded":
            return randn((1, c, h, 1), seed, self.dtype).to(device).expand(self.shape)
        image = randn(self.shape, seed, self.dtype).to(device)
        return image.contiguous(memory_format=torch.channels_last) if self.layout == "channels_last" else image


@st.composite
def images(draw: st.DrawFn, min_batch: int = 0) -> Image:
    shape = (
        draw(st.integers(min_batch, 3)),
        draw(st.integers(1, 3)),
        draw(st.sampled_from(SIDES)),
        draw(st.sampled_from(SIDES)),
    )
    return Image(shape, draw(st.sampled_from(DTYPES)), draw(st.sampled_from(LAYOUTS)), draw(st.integers(0, 999)))


TAUS = st.sampled_from([0.0, 1e-6, 1e-2, 0.5, 8.0, 288.0, 1e4, 1e6])
FRACTIONS = st.sampled_from([0.0, 1e-6, 0.1, 0.5, 0.97, 1.0 - 1e-9, 1.0])


@st.composite
def _numbers(draw: st.DrawFn, family: str, floor: float) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """The four numbers of the cleaner and of the noisier level."""
    tau_t = draw(TAUS)
    tau_s = tau_t * draw(FRACTIONS)
    if family == "variance preserving":
        logsnr_t = draw(st.floats(-12.0, 12.0))
        logsnr_s = logsnr_t + draw(st.sampled_from([0.0, 1e-9, 1e-3, 0.1, 1.0, 8.0]))
        log_a = [-0.5 * math.log1p(math.exp(-logsnr)) for logsnr in (logsnr_s, logsnr_t)]
        sigma = [math.sqrt(1.0 / (1.0 + math.exp(logsnr))) for logsnr in (logsnr_s, logsnr_t)]
    elif family == "fading":  # the signal scale falls faster than the noise: sigma_s > sigma_t, and s is still the cleaner
        log_a = [-0.5, -3.0]
        sigma = [0.3, draw(st.sampled_from([0.03, 0.1, 0.3]))]
    else:
        log_a = [0.0, 0.0]
        sigma_t = 0.0 if family == "no noise" else draw(st.sampled_from([1e-3, 0.01, 0.1, 1.0, 10.0]))
        sigma = [sigma_t * (draw(FRACTIONS) if family == "variance exploding" else 1.0), sigma_t]
    return (log_a[0], tau_s, sigma[0], floor), (log_a[1], tau_t, sigma[1], floor)


@dataclass(frozen=True)
class Levels:
    """Two corruption levels, s cleaner than t: one pair of rows a sample; `kind` says what the fields are made of."""

    rows: tuple[tuple[tuple[float, ...], tuple[float, ...]], ...]
    kind: str

    def make(self, device: torch.device) -> tuple[sd.Level, sd.Level]:
        if self.kind == "float":
            return sd.Level(*self.rows[0][0]), sd.Level(*self.rows[0][1])
        pair = []
        for which in (0, 1):
            table = torch.tensor([row[which] for row in self.rows], dtype=torch.float64, device=device).reshape(-1, 4)
            pair.append(sd.Level(*(table[0] if self.kind == "0-d" else table).unbind(-1)))
        return pair[0], pair[1]


FAMILIES = ("variance preserving", "variance exploding", "constant noise", "fading", "no noise")


@st.composite
def levels(draw: st.DrawFn, batch: int, noisy: bool = False, floored: bool = False) -> Levels:
    """Pairs of levels for a batch; `noisy` keeps sigma_t > 0, `floored` keeps floor > 0."""
    family = draw(st.sampled_from(FAMILIES[:4] if noisy else FAMILIES))
    floor = draw(st.sampled_from([1e-3, 0.2] if floored else [0.0, 1e-3, 0.2]))
    kind = draw(st.sampled_from(["float", "0-d", "batch"]))
    rows = [draw(_numbers(family, floor)) for _ in range(batch if kind == "batch" else 1)]
    return Levels(tuple(rows), kind)


def error_bound(dtype: torch.dtype, scale: float, numel: int, arithmetic: float) -> float:
    """Largest allowed L2 norm of the error of a result whose terms have the norm `scale`."""
    underflow = (
        2.0**-25 if dtype == torch.float16 else 0.0
    )  # half of float16's smallest number: what each tiny element may lose
    return (UNIT_ROUNDOFF[dtype] + arithmetic * ARITHMETIC[dtype]) * scale + underflow * math.sqrt(numel)


def assert_matches(
    got: Tensor,
    want: Tensor,
    dtype: torch.dtype | None = None,
    scale: float | None = None,
    arithmetic: float = 1.0,
    doubt: float = 0.0,
) -> None:
    """`got` is `want` (float64) to the accuracy of `dtype`.

    `scale` is the norm of the terms where they cancel in the sum; `arithmetic` multiplies what the computation may cost;
    `doubt` is how far off, as a norm, the oracle itself may be.
    """
    assert got.shape == want.shape
    dtype = dtype or got.dtype
    error = (got.double() - want.double()).norm().item()
    bound = error_bound(dtype, want.double().norm().item() if scale is None else scale, got.numel(), arithmetic) + doubt
    assert error <= bound, f"error {error:.3e} is over the bound {bound:.3e}"


def assert_same(got: Tensor, want: Tensor) -> None:
    """Two ways of computing the same, in relative L2: each rounded once to the type (gradients twice), and gains of up to 15
    (prediction "eps") that enlarge what the arithmetic costs."""
    assert got.shape == want.shape
    assert got.dtype == want.dtype
    error, scale = (got.double() - want.double()).norm().item(), want.double().norm().item()
    assert error <= (4 * UNIT_ROUNDOFF[got.dtype] + 16 * ARITHMETIC[got.dtype]) * scale, error / scale

"""What the operators are compared with on a GPU: the same filter written with torch, three ways."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor

from softdiff_ext import reference

Filter = Callable[[Tensor], Tensor]


def matmul(shape: tuple[int, ...], dtype: torch.dtype, gain: Tensor) -> Filter:
    """V (gain . V^T x) by matrices made beforehand; float32 stays float32 (no TF32)."""
    rows, columns, rows_t, columns_t = matrices(shape, dtype, gain.device)
    gain = gain.to(dtype)
    return lambda x: rows_t @ ((rows @ (x @ columns_t)).mul_(gain) @ columns)


def compiled(shape: tuple[int, ...], dtype: torch.dtype, gain: Tensor) -> Filter:
    """The same by torch.compile."""
    made, gain = matrices(shape, dtype, gain.device), gain.to(dtype)
    return lambda x: _compiled()(x, gain, *made)


def dense_filter(x: Tensor, gain: Tensor, rows: Tensor, columns: Tensor, rows_t: Tensor, columns_t: Tensor) -> Tensor:
    return rows_t @ (((rows @ (x @ columns_t)) * gain) @ columns)


@lru_cache(maxsize=1)
def _compiled() -> Callable[..., Tensor]:
    return torch.compile(dense_filter, dynamic=False)


def matrices(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    rows, columns = (reference.dct_matrix(n).to(device=device, dtype=dtype) for n in shape[-2:])
    return rows, columns, rows.T.contiguous(), columns.T.contiguous()


class Fourier:
    """DCT-II and its inverse along the last axis by a real FFT of the reordered line (Makhoul 1980)."""

    def __init__(self, n: int, device: torch.device) -> None:
        self.n = n
        k = torch.arange(n, dtype=torch.float64, device=device)
        scale = torch.full_like(k, math.sqrt(2.0 / n))
        scale[0] = math.sqrt(1.0 / n)
        half = n // 2 + 1
        self.turn = torch.polar(scale, -math.pi * k / (2 * n)).to(torch.complex64)
        self.back = torch.polar(1.0 / scale[:half], math.pi * k[:half] / (2 * n)).to(torch.complex64)
        order = torch.cat([torch.arange(0, n, 2), torch.arange(1, n, 2).flip(0)])
        self.order, self.inverse_order = order.to(device), torch.argsort(order).to(device)
        self.last = (n - torch.arange(half)).remainder(n).to(device)
        self.first = (torch.arange(half) == 0).to(device)

    def dct(self, x: Tensor) -> Tensor:
        return (torch.fft.fft(x[..., self.order]) * self.turn).real

    def idct(self, u: Tensor) -> Tensor:
        other = torch.where(self.first, 0.0, u[..., self.last])
        spectrum = torch.complex(u[..., : self.n // 2 + 1], -other) * self.back
        return torch.fft.irfft(spectrum, n=self.n)[..., self.inverse_order]


def fourier(shape: tuple[int, ...], dtype: torch.dtype, gain: Tensor) -> Filter:
    """V (gain . V^T x) by FFTs, in float32 whatever the images are."""
    rows, columns = (Fourier(n, gain.device) for n in shape[-2:])
    gain = gain.float()

    def call(x: Tensor) -> Tensor:
        u = rows.dct(columns.dct(x.float()).mT).mT * gain
        return columns.idct(rows.idct(u.mT).mT).to(dtype)

    return call


PEERS: dict[str, Callable[[tuple[int, ...], torch.dtype, Tensor], Filter]] = {
    "torch matmul": matmul,
    "torch.compile": compiled,
    "FFT": fourier,
}

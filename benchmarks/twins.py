"""The operators as one writes them with torch alone, and one training batch as public code makes it.

Matrices, gains and coefficients are made beforehand; noise comes from torch.randn.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Generator, Tensor
from torch_peers import Matmul

import softdiff_ext as sd
from softdiff_ext import reference


def randn(like: Tensor, generator: Generator | None) -> Tensor:
    return torch.randn(like.shape, dtype=like.dtype, generator=generator)


def diffuse(dense: Matmul, level: sd.Level) -> Callable[..., Tensor]:
    """x -> V alpha V^T x + sigma n."""
    lam = reference.eigenvalues(dense.shape[2:])
    alpha = reference.alpha(level, lam).to(dense.dtype)
    sigma = reference.column(level.sigma, lam.device).to(dense.dtype)

    def call(x: Tensor, generator: Generator | None, noise: Tensor | None = None) -> Tensor:
        return dense.idct(dense.dct(x).mul_(alpha)).addcmul_(sigma, randn(x, generator) if noise is None else noise)

    return call


def step(dense: Matmul, s: sd.Level, t: sd.Level, rule: sd.Rule, prediction: str) -> Callable[..., Tensor]:
    """(output, z_t) -> V (p V^T output + q V^T z_t + w V^T n), with no transform of what a single number multiplies.

    Where w depends on the frequency the noise is drawn in the DCT basis, as the operator does: the same law.
    """
    lam = reference.eigenvalues(dense.shape[2:])
    p, q, w = (c.to(dense.dtype) for c in reference.step_coefficients(s, t, rule, prediction, lam))

    def call(output: Tensor, z_t: Tensor, generator: Generator | None, noise: Tensor | None = None) -> Tensor:
        spectrum = dense.dct(output).mul_(p)
        if q.numel() > 1:
            spectrum.addcmul_(q, dense.dct(z_t))
        if w.numel() > 1:
            spectrum.addcmul_(w, randn(output, generator))
        result = dense.idct(spectrum)
        if q.numel() == 1 and float(q) != 0.0:
            result.add_(z_t, alpha=float(q))
        if w.numel() == 1 and float(w) != 0.0:
            result.add_(randn(output, generator) if noise is None else noise, alpha=float(w))
        return result

    return call


def soft_score_loss(dense: Matmul, level: sd.Level) -> Callable[[Tensor, Tensor], Tensor]:
    """(x_hat, x) -> sum of (alpha V^T (x_hat - x))^2 per sample."""
    alpha = reference.alpha(level, reference.eigenvalues(dense.shape[2:])).to(dense.dtype)

    def call(x_hat: Tensor, x: Tensor) -> Tensor:
        return dense.dct(x_hat - x).mul_(alpha).square_().sum(dim=(1, 2, 3))

    return call


# ---- a batch of heat-dissipation training, as public code makes it -----------------------------------------------------------


def fft_dct(x: Tensor) -> Tensor:
    """Orthonormal DCT-II of the last axis by a complex FFT: even samples forwards, odd ones backwards (Makhoul 1980)."""
    n = x.shape[-1]
    reordered = torch.cat([x[..., 0::2], x[..., 1::2].flip(-1)], dim=-1)
    turn = torch.arange(n, dtype=x.dtype) * (-math.pi / (2 * n))
    spectrum = torch.fft.fft(reordered)
    u = spectrum.real * torch.cos(turn) - spectrum.imag * torch.sin(turn)
    u = u * math.sqrt(2.0 / n)
    return torch.cat([u[..., :1] * math.sqrt(0.5), u[..., 1:]], dim=-1)


def fft_idct(u: Tensor) -> Tensor:
    """Inverse of `fft_dct`."""
    n = u.shape[-1]
    real = torch.cat([u[..., :1] * math.sqrt(2.0), u[..., 1:]], dim=-1) * math.sqrt(n / 2.0)
    imaginary = torch.cat([torch.zeros_like(real[..., :1]), -real[..., 1:].flip(-1)], dim=-1)
    turn = torch.arange(n, dtype=u.dtype) * (math.pi / (2 * n))
    reordered = torch.fft.ifft(torch.complex(real, imaginary) * torch.polar(torch.ones_like(turn), turn)).real
    x = torch.empty_like(u)
    x[..., 0::2] = reordered[..., : (n + 1) // 2]
    x[..., 1::2] = reordered[..., (n + 1) // 2 :].flip(-1)
    return x


def fft_blur(x: Tensor, tau: Tensor) -> Tensor:
    """The heat blur with one tau a sample; eigenvalues and gains made at each call, as in a module's forward."""
    lam = reference.eigenvalues(x.shape[-2:]).to(x.dtype)
    spectrum = fft_dct(fft_dct(x).transpose(-1, -2)).transpose(-1, -2)
    spectrum = spectrum * torch.exp(-lam * tau[:, None, None, None])
    return fft_idct(fft_idct(spectrum).transpose(-1, -2)).transpose(-1, -2)


def training_batch(x: Tensor, tau: Tensor, less: Tensor, sigma: float, generator: Generator | None) -> tuple[Tensor, Tensor]:
    """Input and target of one step: the blur at level k plus noise, the blur at level k - 1."""
    return fft_blur(x, tau) + sigma * randn(x, generator), fft_blur(x, less)

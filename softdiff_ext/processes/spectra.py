"""What a process keeps of the training images: their power spectrum, and the coefficients that survive a strong blur."""

from __future__ import annotations

import torch
from torch import Tensor

from softdiff_ext.ops import dct, eigenvalues, idct

SURVIVES = 1e-6
"""Gain below which a coefficient of a blurred image is not kept: far below any noise that is used."""

CHUNK = 1024
"""Images that are transformed in float64 at a time."""


def spectra_of(images: Tensor, sigma_blur: float) -> tuple[Tensor, Tensor, Tensor]:
    """Of images [N, C, H, W], on the CPU:

    kept [H, W], which coefficients survive a blur of std sigma_blur (pixels); coefficients [N, C, kept.sum()], those of the
    blurred images, float32; power [H, W], the mean of the squared coefficients of the images over images and channels, float64.
    """
    lam = eigenvalues(images.shape[-2:]).cpu()
    gain = torch.exp(-lam * sigma_blur**2 / 2)
    kept, power, parts = gain > SURVIVES, torch.zeros_like(lam), []
    for chunk in torch.split(images.detach().cpu(), CHUNK):
        u = dct(chunk.double())
        power += (u**2).sum(dim=(0, 1)) / (images.shape[0] * images.shape[1])
        parts.append((u * gain)[..., kept].float())
    return kept, torch.cat(parts), power


def images_of(coefficients: Tensor, kept: Tensor) -> Tensor:
    """Blurred images [N, C, H, W] from the coefficients [N, C, kept.sum()] that survived."""
    u = torch.zeros(*coefficients.shape[:2], *kept.shape, device=coefficients.device)
    u[..., kept] = coefficients
    return idct(u)

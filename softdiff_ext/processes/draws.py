"""Random draws of the processes, all from the caller's generator, so that the same seed gives the same loss and samples."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def stratified_times(batch: int, generator: torch.Generator | None, device: torch.device) -> Tensor:
    """Times t_i = (u + i / batch) mod 1, float64 [batch]: each uniform on [0, 1), together evenly spread.

    One draw serves the batch, which lowers the variance of the loss at no cost.

    Source: Kingma et al. 2021, Variational Diffusion Models, appendix I.1.
    """
    first = torch.rand((), dtype=torch.float64, generator=generator, device=_source(generator, device)).to(device)
    return (first + torch.arange(batch, dtype=torch.float64, device=device) / max(batch, 1)) % 1.0


def standard_normal(
    shape: Sequence[int], generator: torch.Generator | None, device: torch.device, dtype: torch.dtype = torch.float32
) -> Tensor:
    """N(0, I) on `device`; a generator of another device draws there and the numbers are moved."""
    return torch.randn(tuple(shape), dtype=dtype, generator=generator, device=_source(generator, device)).to(device)


def choices(n: int, count: int, generator: torch.Generator | None, device: torch.device) -> Tensor:
    """`count` indices below n, with replacement, int64 on `device`."""
    return torch.randint(n, (count,), generator=generator, device=_source(generator, device)).to(device)


def _source(generator: torch.Generator | None, device: torch.device) -> torch.device:
    return device if generator is None else generator.device

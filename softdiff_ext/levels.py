"""Corruption levels: q(z_t | x) = N(V diag(alpha_t) V^T x, sigma_t^2 I), alpha_t[f] = a ((1 - floor) e^(-lam tau) + floor)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

FIELDS = ("log_a", "tau", "sigma", "floor")


@dataclass(frozen=True)
class Level:
    """How strongly an image is corrupted.

    Args:
        log_a: log of the scalar signal scale a; finite.
        tau: heat time sigma_blur^2 / 2 in pixel^2; >= 0.
        sigma: std of the additive white noise in data units; >= 0.
        floor: smallest blur gain, in [0, 1).
    Each is a float, or a tensor that is 0-d (one level for the batch) or [B] (one for each sample).

    Raises:
        TypeError: a field is neither a number nor a floating tensor.
        ValueError: a number is out of its range, or a tensor has more than one dimension. The values inside tensors are
            checked by the operator that uses them, on the CPU.

    Examples:
        >>> import torch, softdiff_ext as sd
        >>> sd.Level(log_a=-0.1, tau=1.5**2 / 2, sigma=0.3)  # one for the batch
        Level(log_a=-0.1, tau=1.125, sigma=0.3, floor=0.0)
        >>> sd.Level(tau=torch.tensor([0.5, 2.0])).tau.shape  # one for each of two samples
        torch.Size([2])
        >>> sd.Level(sigma=-1.0)
        Traceback (most recent call last):
        ValueError: Level: sigma must be finite and >= 0, got -1.0
    """

    log_a: float | Tensor = 0.0
    tau: float | Tensor = 0.0
    sigma: float | Tensor = 0.0
    floor: float | Tensor = 0.0

    def __post_init__(self) -> None:
        for name in FIELDS:
            value = getattr(self, name)
            if isinstance(value, Tensor):
                if not value.is_floating_point():
                    raise TypeError(f"Level: {name} must be a float or a floating tensor, got dtype {value.dtype}")
                if value.ndim > 1:
                    raise ValueError(f"Level: {name} must be a float or have shape [] or [B], got {list(value.shape)}")
            elif isinstance(value, (int, float)) and not isinstance(value, bool):
                _check_number(name, float(value))
            else:
                raise TypeError(f"Level: {name} must be a float or a floating tensor, got {type(value).__name__}")

    def __iter__(self) -> Iterator[float | Tensor]:
        return iter((self.log_a, self.tau, self.sigma, self.floor))

    @cached_property
    def fields(self) -> tuple[float | Tensor, float | Tensor, float | Tensor, float | Tensor]:
        return self.log_a, self.tau, self.sigma, self.floor

    @property
    def tensors(self) -> list[Tensor]:
        """The fields that are tensors."""
        return [value for value in self if isinstance(value, Tensor)]

    @property
    def requires_grad(self) -> bool:
        return any(value.requires_grad for value in self.tensors)

    def packed(self, device: torch.device) -> Tensor:
        """The fields as one float64 tensor [1 or B, 4] on `device`: the form the kernels read."""
        columns = [
            value.to(dtype=torch.float64, device=device).reshape(-1)
            if isinstance(value, Tensor)
            else torch.full((1,), value, dtype=torch.float64, device=device)  # torch.tensor would wait for the device
            for value in self
        ]
        count = next((column.shape[0] for column in columns if column.shape[0] != 1), 1)
        return torch.stack([column.expand(count) for column in columns], dim=1)


def _check_number(name: str, value: float) -> None:
    wanted = {"log_a": "finite", "tau": "finite and >= 0", "sigma": "finite and >= 0", "floor": "in [0, 1)"}[name]
    # Comparisons rather than math.isfinite: torch.compile traces them. A NaN fails each.
    low, high = (-math.inf if name == "log_a" else 0.0), (1.0 if name == "floor" else math.inf)
    good = -math.inf < value and low <= value < high
    if not good:
        raise ValueError(f"Level: {name} must be {wanted}, got {value}")

"""Schedules: how much signal, noise and blur each time t in [0, 1] has; 0 is the cleanest time, 1 the most corrupted."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Cosine:
    """Cosine schedule with pinned ends: logsnr(t) = -2 ln tan(angle), where the angle is linear in t.

    angle(t) = A + B t with A = arctan(e^(-logsnr_max / 2)) and A + B = arctan(e^(-logsnr_min / 2)); a = cos(angle) and
    sigma = sin(angle), so a^2 + sigma^2 = 1 holds by construction and neither is ever formed as 1 minus the other.

    Args:
        logsnr_min: log signal-to-noise ratio ln(a^2 / sigma^2) at t = 1, in nats.
        logsnr_max: the same at t = 0; larger than logsnr_min.
    Raises:
        ValueError: an end is not finite, or logsnr_min >= logsnr_max.
    Source:
        Hoogeboom & Salimans 2023, Blurring Diffusion Models, appendix A; Nichol & Dhariwal 2021 for the cosine.
    """

    logsnr_min: float = -10.0
    logsnr_max: float = 10.0

    def __post_init__(self) -> None:
        ends = (self.logsnr_min, self.logsnr_max)
        if not (all(math.isfinite(end) for end in ends) and self.logsnr_min < self.logsnr_max):
            raise ValueError(f"Cosine: wanted finite logsnr_min < logsnr_max, got {self.logsnr_min} and {self.logsnr_max}")

    def angle(self, t: Tensor) -> Tensor:
        first, last = math.atan(math.exp(-self.logsnr_max / 2)), math.atan(math.exp(-self.logsnr_min / 2))
        return first + (last - first) * t

    def log_a(self, t: Tensor) -> Tensor:
        """ln a(t) = ln cos(angle), exact to rounding at both ends, also where a is 1 to many digits."""
        return -0.5 * torch.log1p(torch.tan(self.angle(t)) ** 2)

    def sigma(self, t: Tensor) -> Tensor:
        """Noise std sigma(t) = sin(angle)."""
        return torch.sin(self.angle(t))

    def logsnr(self, t: Tensor) -> Tensor:
        """ln(a^2 / sigma^2) in nats."""
        return -2.0 * torch.log(torch.tan(self.angle(t)))


def sin2_blur(t: Tensor, sigma_blur_max: float) -> Tensor:
    """Blur std sigma_blur_max sin^2(pi t / 2) in pixels (Hoogeboom & Salimans 2023, Blurring Diffusion Models)."""
    return sigma_blur_max * torch.sin(math.pi / 2 * t) ** 2


def geometric(t: Tensor, first: float, last: float, reached: float) -> Tensor:
    """first (last / first)^(t / reached) up to t = reached, constant after; reached is in (0, 1]."""
    return first * (last / first) ** torch.clamp(t / reached, max=1.0)


def interpolate(t: Tensor, nodes: Tensor) -> Tensor:
    """Piecewise linear function of t in [0, 1] through nodes [n], the first at t = 0 and the last at t = 1."""
    position = t * (len(nodes) - 1)
    left = position.floor().clamp(0, len(nodes) - 2).long()
    return torch.lerp(nodes[left], nodes[left + 1], position - left)

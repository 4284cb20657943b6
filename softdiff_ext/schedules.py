"""Schedules: how much signal, noise and blur each time t in [0, 1] has; 0 is the cleanest time, 1 the most corrupted."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Instant:
    """What a noise schedule says of times t, each a float64 tensor of the shape of t.

    Args:
        log_a, sigma: log of the signal scale, and the noise std.
        gamma, slope: -ln(a^2 / sigma^2) and its derivative by t, in nats.
        time: the time that the network is told.
    """

    log_a: Tensor
    sigma: Tensor
    gamma: Tensor
    slope: Tensor
    time: Tensor


class NoiseSchedule:
    """A variance-preserving schedule: gamma(t) = -logsnr = -ln(a^2 / sigma^2) grows with t, and a^2 + sigma^2 = 1.

    From gamma follow a^2 = sigmoid(-gamma) and sigma^2 = sigmoid(gamma), so neither is formed as 1 minus the other.

    Source:
        Kingma et al. 2021, Variational Diffusion Models, section 3.
    """

    steps: int | None = None
    """Number of times that the schedule is a table of, at t = 1/steps ... 1, with no noise at t = 0; None: any t is as good."""

    def gamma(self, t: Tensor) -> Tensor:
        """-ln(a^2 / sigma^2) in nats, float64, shape of t."""
        raise NotImplementedError

    def slope(self, t: Tensor) -> Tensor:
        """d gamma / dt in nats, shape of t."""
        raise NotImplementedError

    def log_a(self, t: Tensor) -> Tensor:
        """ln a(t), exact to rounding where a is 1 to many digits."""
        return 0.5 * F.logsigmoid(-self.gamma(t))

    def sigma(self, t: Tensor) -> Tensor:
        """Noise std sigma(t)."""
        return torch.exp(0.5 * F.logsigmoid(self.gamma(t)))

    def logsnr(self, t: Tensor) -> Tensor:
        """ln(a^2 / sigma^2) in nats."""
        return -self.gamma(t)

    def time(self, t: Tensor) -> Tensor:
        """The time that the network is told at time t."""
        return t

    def at(self, t: Tensor) -> Instant:
        """All of it at once."""
        return Instant(self.log_a(t), self.sigma(t), self.gamma(t), self.slope(t), self.time(t))


@dataclass(frozen=True)
class Cosine(NoiseSchedule):
    """Cosine schedule with pinned ends: logsnr(t) = -2 ln tan(angle), where the angle is linear in t.

    angle(t) = A + B t with A = arctan(e^(-logsnr_max / 2)) and A + B = arctan(e^(-logsnr_min / 2)); a = cos(angle) and
    sigma = sin(angle).

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
        check_ends("Cosine", "logsnr_min", self.logsnr_min, "logsnr_max", self.logsnr_max)

    def angle(self, t: Tensor) -> Tensor:
        first, width = self._angles()
        return first + width * t

    def gamma(self, t: Tensor) -> Tensor:
        return 2.0 * torch.log(torch.tan(self.angle(t)))

    def slope(self, t: Tensor) -> Tensor:
        return 4.0 * self._angles()[1] / torch.sin(2.0 * self.angle(t))  # 2 B (tan + cot)

    def log_a(self, t: Tensor) -> Tensor:
        return -0.5 * torch.log1p(torch.tan(self.angle(t)) ** 2)

    def sigma(self, t: Tensor) -> Tensor:
        return torch.sin(self.angle(t))

    def _angles(self) -> tuple[float, float]:
        first, last = math.atan(math.exp(-self.logsnr_max / 2)), math.atan(math.exp(-self.logsnr_min / 2))
        return first, last - first


@dataclass(frozen=True)
class LinearGamma(NoiseSchedule):
    """gamma(t) = gamma_min + (gamma_max - gamma_min) t: the fixed schedule of VDM.

    Args:
        gamma_min, gamma_max: -logsnr at t = 0 and t = 1, in nats; the defaults are the published ones for 8-bit images.
    Raises:
        ValueError: an end is not finite, or gamma_min >= gamma_max.
    Source:
        Kingma et al. 2021, Variational Diffusion Models, and the configurations of its code.
    """

    gamma_min: float = -13.3
    gamma_max: float = 5.0

    def __post_init__(self) -> None:
        check_ends("LinearGamma", "gamma_min", self.gamma_min, "gamma_max", self.gamma_max)

    def gamma(self, t: Tensor) -> Tensor:
        return self.gamma_min + (self.gamma_max - self.gamma_min) * t

    def slope(self, t: Tensor) -> Tensor:
        return torch.full_like(t, self.gamma_max - self.gamma_min)


@dataclass(frozen=True)
class LinearBeta(NoiseSchedule):
    """DDPM's table: a^2(i / steps) = prod_{j <= i} (1 - beta_j), i = 1 ... steps, beta growing linearly from first to last.

    DDPM's own index is i - 1. Between the entries ln a is linear in t, which is the continuous process with a constant rate
    within each step; level 0 is the clean image, so gamma(0) = -inf.

    Args:
        steps: entries of the table.
        beta_first, beta_last: noise variance of the first and the last step, 0 < beta_first <= beta_last < 1.
    Raises:
        TypeError: steps is not an int.
        ValueError: an argument is out of its range.
    Source:
        Ho et al. 2020, Denoising Diffusion Probabilistic Models, section 4 and its code.
    """

    steps: int = 1000
    beta_first: float = 1e-4
    beta_last: float = 0.02

    def __post_init__(self) -> None:
        if isinstance(self.steps, bool) or not isinstance(self.steps, int):
            raise TypeError(f"LinearBeta: steps must be an int, got {type(self.steps).__name__}")
        if self.steps < 2:
            raise ValueError(f"LinearBeta: steps must be at least 2, got {self.steps}")
        if not 0.0 < self.beta_first <= self.beta_last < 1.0:
            raise ValueError(f"LinearBeta: wanted 0 < beta_first <= beta_last < 1, got {self.beta_first} and {self.beta_last}")

    def log_a(self, t: Tensor) -> Tensor:
        return 0.5 * interpolate(t, self._log_abar(t.device))

    def gamma(self, t: Tensor) -> Tensor:
        log_abar = 2.0 * self.log_a(t)
        return torch.log(-torch.expm1(log_abar)) - log_abar

    def slope(self, t: Tensor) -> Tensor:
        """Of the segment that ends at t, where t is an entry of the table; infinite at t = 0."""
        log_abar = self._log_abar(t.device)
        segment = (torch.ceil(t * self.steps) - 1.0).clamp(0, self.steps - 1).long()
        return self.steps * (log_abar[segment + 1] - log_abar[segment]) / torch.expm1(2.0 * self.log_a(t))

    def sigma(self, t: Tensor) -> Tensor:
        return torch.sqrt(-torch.expm1(2.0 * self.log_a(t)))

    def _log_abar(self, device: torch.device) -> Tensor:
        """ln of the product up to each entry, entry 0 the empty product, float64 [steps + 1]."""
        beta = torch.linspace(self.beta_first, self.beta_last, self.steps, dtype=torch.float64, device=device)
        return F.pad(torch.cumsum(torch.log1p(-beta), dim=0), (1, 0))


def check_ends(schedule: str, low_name: str, low: float, high_name: str, high: float) -> None:
    """Raise unless both ends are finite and low < high."""
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ValueError(f"{schedule}: wanted finite {low_name} < {high_name}, got {low} and {high}")


def as_number(owner: str, name: str, value: object) -> float:
    """value as a float; raise TypeError, naming `owner` and argument, unless it is a number."""
    if not isinstance(value, Real) or isinstance(value, bool):
        raise TypeError(f"{owner}: {name} must be a number, got {type(value).__name__}")
    return float(value)


def as_pair(owner: str, name: str, value: object) -> tuple[float, float]:
    """value as two floats; raise TypeError or ValueError, naming `owner` and argument, unless it is two numbers."""
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise TypeError(f"{owner}: {name} must be two numbers (first, last), got {type(value).__name__}")
    if len(value) != 2:
        raise ValueError(f"{owner}: {name} must be two numbers (first, last), got {len(value)}")
    return as_number(owner, name, value[0]), as_number(owner, name, value[1])


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

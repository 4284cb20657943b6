"""Sampler rules: what a reverse step keeps of the old state (kappa) and how much fresh noise it adds (omega).

Every rule is a case of one step in the DCT basis (docs/architecture.md):

    u_s = (alpha_s - kappa alpha_t) u_hat + kappa u_t + omega n

and keeps the marginals of an exact clean estimate u_hat iff kappa^2 sigma_t^2 + omega^2 = sigma_s^2. Below,
r = sigma_s / sigma_t (1 where sigma_t = 0) and alpha_ts = alpha_t / alpha_s per frequency.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

PREDICTIONS = ("x", "eps", "v", "mean")
"""What a network's output means: clean image, noise, velocity a eps - sigma x, or the cleaner mean C_s x_hat."""


class Rule:
    """Base of the rules; `code` and `parameter` are what the native kernel is told."""

    code: ClassVar[int]

    @property
    def parameter(self) -> float:
        return 0.0

    @property
    def adds_noise(self) -> bool:
        """Whether omega can be above 0."""
        return True


@dataclass(frozen=True)
class Markov(Rule):
    """The true posterior: kappa = alpha_ts r^2, omega^2 = sigma_s^2 (1 - alpha_ts^2 r^2). DDPM, VDM, Blurring Diffusion.

    Examples:
        >>> import softdiff_ext as sd
        >>> process = sd.BlurringDiffusion()
        >>> process.default_rule
        Markov()
    """

    code: ClassVar[int] = 0


@dataclass(frozen=True)
class Momentum(Rule):
    """Soft Diffusion's momentum sampler: kappa = r^2.

    omega^2 = sigma_t^2 - sigma_s^2 as published, or sigma_s^2 (1 - r^2), which keeps the marginals, with `exact`.

    Examples:
        >>> import softdiff_ext as sd
        >>> sd.Momentum(exact=True)
        Momentum(exact=True)
    """

    exact: bool = False
    code: ClassVar[int] = 1

    def __post_init__(self) -> None:
        if not isinstance(self.exact, bool):
            raise TypeError(f"Momentum: exact must be a bool, got {type(self.exact).__name__}")

    @property
    def parameter(self) -> float:
        return float(self.exact)


@dataclass(frozen=True)
class DDIM(Rule):
    """kappa = sqrt(1 - eta^2) r, omega = eta sigma_s; eta = 0 is the deterministic probability-flow step.

    Examples:
        >>> import softdiff_ext as sd
        >>> sd.DDIM().adds_noise, sd.DDIM(eta=0.5).adds_noise
        (False, True)
    """

    eta: float = 0.0
    code: ClassVar[int] = 2

    def __post_init__(self) -> None:
        if not (0.0 <= float(self.eta) <= 1.0):
            raise ValueError(f"DDIM: eta must be in [0, 1], got {self.eta}")

    @property
    def parameter(self) -> float:
        return float(self.eta)

    @property
    def adds_noise(self) -> bool:
        return float(self.eta) > 0.0


@dataclass(frozen=True)
class Naive(Rule):
    """Corrupt the estimate afresh: kappa = 0, omega = sigma_s, or `std` where given (IHDM's delta).

    Examples:
        >>> import softdiff_ext as sd
        >>> sd.InverseHeatDissipation(delta=0.025).default_rule
        Naive(std=0.025)
    """

    std: float | None = None
    code: ClassVar[int] = 3

    def __post_init__(self) -> None:
        if self.std is not None and not (math.isfinite(self.std) and self.std >= 0.0):
            raise ValueError(f"Naive: std must be None or a finite number >= 0, got {self.std}")

    @property
    def parameter(self) -> float:
        return -1.0 if self.std is None else float(self.std)

    @property
    def adds_noise(self) -> bool:
        return self.std is None or float(self.std) > 0.0


@dataclass(frozen=True)
class Cold(Rule):
    """Cold Diffusion's algorithm 2: kappa = 1, omega = 0.

    Examples:
        >>> import softdiff_ext as sd
        >>> sd.ColdDiffusion().default_rule, sd.Cold().adds_noise
        (Cold(), False)
    """

    code: ClassVar[int] = 4

    @property
    def adds_noise(self) -> bool:
        return False

"""Ticks of an axis: few, round, and in plain numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence

LOG_FROM = 10.0
"""An axis whose largest value is more than this many times its smallest is logarithmic."""


def is_wide(low: float, high: float) -> bool:
    """Whether a logarithmic axis shows these values better."""
    return low > 0 and high / low > LOG_FROM


def linear_ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers that reach from `low` to `high` or beyond: multiples of 1, 2 or 5 times a power of ten."""
    if high <= low:
        low, high = low - (abs(low) or 1.0) / 2, high + (abs(high) or 1.0) / 2
    raw = (high - low) / about
    power = 10.0 ** math.floor(math.log10(raw))
    step = power * next(factor for factor in (1, 2, 5, 10) if factor * power >= raw * (1 - 1e-9))
    return [i * step for i in range(math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9) + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """Powers of ten that reach from `low` to `high` or beyond, where they are few with 2 and 5 times them between."""
    powers = range(math.floor(math.log10(low) + 1e-9), math.ceil(math.log10(high) - 1e-9) + 1)
    fine = [factor * 10.0**power for power in powers for factor in (1, 2, 5)]
    first = max(i for i, tick in enumerate(fine) if tick <= low * (1 + 1e-9))
    last = min(i for i, tick in enumerate(fine) if tick >= high * (1 - 1e-9))
    if last - first < 7:
        return fine[first : last + 1]
    return [10.0**power for power in powers][:: math.ceil(len(powers) / 6)]


def labels(ticks: Sequence[float]) -> list[str]:
    """Different ticks in different words: with as many digits as that takes."""
    found = (([short(tick, digits) for tick in ticks]) for digits in range(3, 17))
    return next(words for words in found if len(set(words)) == len(set(ticks)))


def short(value: float, digits: int = 3) -> str:
    """A number in a few characters: 1.5k, 0.071, 2e-05."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.{digits}g}{letter}"
    return f"{value:.{digits}g}"

"""Interleaved timing: in every round each candidate runs once, so that whatever disturbs the machine disturbs all of them."""

from __future__ import annotations

import gc
import statistics
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

MIN_ROUNDS, MAX_ROUNDS = 9, 41
BURST_SECONDS, MAX_BURST = 2.5e-3, 4  # short calls are timed some times in a row, so that one interruption is not all there is
SLOW, SLOW_STRIDE = 5.0, 4
"""A candidate that takes more than SLOW times as long as the first one runs in every SLOW_STRIDE-th round only, and
without an untimed call before: reading an image from memory would be less than a hundredth of its time."""


@dataclass(frozen=True)
class Timing:
    """Seconds of one call: the median and the quartiles of `rounds` calls."""

    median: float
    low: float
    high: float
    rounds: int

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Timing:
        ordered = sorted(seconds)
        quarter = len(ordered) // 4
        return cls(statistics.median(ordered), ordered[quarter], ordered[-1 - quarter], len(ordered))


def interleaved(calls: dict[str, Callable[[Any], Any]], operands: Sequence[Any], budget: float) -> dict[str, Timing]:
    """Time every call on the operands.

    Args:
        calls: name -> function of one operand, ours first; each has run before (plans made, code compiled).
        operands: each timed call comes right after an untimed one of its own, so that code and tables are in the caches. One
            operand: it is warm too. Several: cold, each call gets the operand that was used longest ago, and results are kept
            until as many others have been made, so that memory given out again is cold as well. Together they should be
            larger than the last cache.
        budget: seconds to spend, roughly; at least MIN_ROUNDS rounds are run.
    """
    warm = len(operands) == 1
    kept: deque[Any] = deque(maxlen=len(operands))
    used = 0

    def once(call: Callable[[Any], Any]) -> float:
        nonlocal used
        operand = operands[used % len(operands)]
        used += 1
        begun = time.perf_counter()
        result = call(operand)
        taken = time.perf_counter() - begun
        if not warm:
            kept.append(result)
        return taken

    collecting = gc.isenabled()
    gc.disable()
    try:
        pilot = {name: once(call) for name, call in calls.items()}
        first = next(iter(pilot.values()), 0.0)
        stride = {name: SLOW_STRIDE if seconds > SLOW * first else 1 for name, seconds in pilot.items()}
        burst = {name: max(1, min(MAX_BURST, int(BURST_SECONDS / seconds))) for name, seconds in pilot.items()}
        round_time = sum(t * (1 + burst[name] if stride[name] == 1 else 1 / SLOW_STRIDE) for name, t in pilot.items())
        rounds = max(MIN_ROUNDS, min(MAX_ROUNDS, int(budget / max(round_time, 1e-9))))
        seconds: dict[str, list[float]] = {name: [] for name in calls}
        for index in range(rounds):
            # Every other round backwards, so that no candidate always follows the same one.
            for name in list(calls)[:: -1 if index % 2 else 1]:
                if index % stride[name]:
                    continue
                if stride[name] == 1:
                    once(calls[name])
                seconds[name] += [once(calls[name]) for _ in range(burst[name])]
    finally:
        if collecting:
            gc.enable()
    return {name: Timing.of(values) for name, values in seconds.items()}

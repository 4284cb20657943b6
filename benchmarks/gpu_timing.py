"""Timing on a GPU with a cold L2: candidates take turns, each on operands that have left the cache, by CUDA graphs or eagerly.

A candidate is captured once as a graph of several calls, each on operands of its own, which together are larger than twice
the L2; results are kept until the graph ends, so they are cold as well. So a replay costs the kernels and nothing else. On a
CPU (the tests) the same calls run one after the other.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

ROUNDS, LEAST_ROUNDS = 15, 5
Call = Callable[[Any], Any]


@dataclass(frozen=True)
class Timing:
    """Microseconds a call: the median and the quartiles of `rounds` rounds."""

    median: float
    low: float
    high: float
    rounds: int

    @classmethod
    def of(cls, microseconds: Sequence[float]) -> Timing:
        ordered = sorted(microseconds)
        quarter = len(ordered) // 4
        return cls(statistics.median(ordered), ordered[quarter], ordered[-1 - quarter], len(ordered))


def cache_bytes(device: torch.device) -> int:
    """The L2 of a GPU; for a CPU a number that keeps the tests small."""
    if device.type != "cuda":
        return 1 << 16
    return int(torch.cuda.get_device_properties(device).L2_cache_size)


def operand_sets(bytes_of_a_call: int, device: torch.device) -> int:
    """How many operands have to take turns so that none is in the L2 when it comes again."""
    return max(2, math.ceil(2 * cache_bytes(device) / bytes_of_a_call) + 1)


class Clock:
    """Time between two points of the work on a device."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        if device.type == "cuda":
            self.begun, self.ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))

    def microseconds(self, work: Callable[[], object]) -> float:
        if self.device.type != "cuda":
            begun = time.perf_counter()
            work()
            return (time.perf_counter() - begun) * 1e6
        self.begun.record()
        work()
        self.ended.record()
        self.ended.synchronize()
        return self.begun.elapsed_time(self.ended) * 1e3


def synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def replayable(call: Call, operands: Sequence[Any], device: torch.device) -> Callable[[], object]:
    """All operands one after the other: as a CUDA graph on a GPU."""

    def every() -> list[Any]:
        return [call(operand) for operand in operands]

    if device.type != "cuda":
        return every
    stream = torch.cuda.Stream(device)
    stream.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(stream):  # tables are made and memory is found before the capture
        call(operands[0])
    torch.cuda.current_stream(device).wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        kept = every()
    replay = graph.replay

    def run(kept: list[Any] = kept) -> None:
        replay()

    return run


def kernel_times(
    calls: dict[str, Call], operands: Sequence[Any], device: torch.device, rounds: int = ROUNDS
) -> dict[str, Timing | str]:
    """Time of each candidate's kernels, in turns; for one that fails the reason instead."""
    runs: dict[str, Callable[[], object]] = {}
    found: dict[str, Timing | str] = {}
    for name, call in calls.items():
        try:
            runs[name] = replayable(call, operands, device)
            runs[name]()
            synchronise(device)
        except Exception as error:
            found[name] = f"{type(error).__name__}: {error}".splitlines()[0]
            runs.pop(name, None)
    clock, taken = Clock(device), {name: [] for name in runs}
    for index in range(rounds):
        for name in list(runs)[:: -1 if index % 2 else 1]:
            taken[name].append(clock.microseconds(runs[name]) / len(operands))
    found.update({name: Timing.of(values) for name, values in taken.items()})
    return found


def eager_time(call: Call, operand: Any, device: torch.device, calls: int = 200, rounds: int = ROUNDS) -> Timing:
    """What an eager call costs the CPU, as long as the device keeps up: many in a row, then a wait."""
    call(operand)
    synchronise(device)
    taken = []
    for _ in range(rounds):
        begun = time.perf_counter()
        for _ in range(calls):
            call(operand)
        taken.append((time.perf_counter() - begun) * 1e6 / calls)
        synchronise(device)
    return Timing.of(taken)

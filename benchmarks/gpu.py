"""Speed of the operators on a GPU, beside a copy of the same bytes and the same filter in torch; `make gpu-check` runs this.

    python benchmarks/gpu.py --out FOLDER [--device cuda] [--budget SECONDS] [--sides 28 32 ...] [--numbers N]

Every answer is checked against float64 first. "Share" is the bandwidth of an operator (what it has to read and write, once)
over that of torch's copy_, measured in the same rounds. FOLDER/gpu_rows.json is written after each case, so that a run that is
cut short leaves what it has; gpu_report.py makes the tables.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from gpu_peers import PEERS
from gpu_timing import ROUNDS, Timing, eager_time, kernel_times, operand_sets, synchronise
from torch import Tensor

import softdiff_ext as sd
from softdiff_ext import reference

SIDES = (28, 32, 64, 128, 256, 512)
DTYPES = (torch.float32, torch.float16, torch.bfloat16)
NUMBERS = 128 * 3 * 128 * 128  # of a batch of images: 25 MB of float32
OURS, COPY = "softdiff_ext", "copy"
KERNEL, LARGE = "kernel", "kernel, large batch"
"""Modes of rows: a batch of NUMBERS, and of LARGE_BATCH times as many, where the GPU is idle at the ends for a smaller part."""
LARGE_BATCH = 8
GOALS = {28: 0.88, 32: 0.88, 64: 0.88, 128: 0.78, 256: 0.55, 512: 0.55}
"""Wanted shares of the copy's bandwidth (PERFORMANCE goals on an H100)."""
REFUSED = {torch.float32: 2e-6, torch.float16: 5e-3, torch.bfloat16: 4e-2}
"""Relative L2 errors above these are wrong answers: ten roundings of the type."""
PEER_SIDES, COMPILED_SIDES = SIDES, (64, 256)  # torch.compile takes seconds a shape
Row = dict[str, Any]


@dataclass(frozen=True)
class Levels:
    """A cleaner and a noisier level for each sample, on the device."""

    s: sd.Level
    t: sd.Level
    tau: Tensor

    @classmethod
    def make(cls, batch: int, device: torch.device) -> Levels:
        spread = 1.0 + torch.arange(batch, dtype=torch.float64, device=device) / batch
        s = sd.Level(-0.1 * spread, 0.4 * spread, 0.2 * spread, 1e-3)
        return cls(s, sd.Level(-0.5 * spread, 2.0 * spread, 0.7 * spread, 1e-3), 2.0 * spread)


@dataclass(frozen=True)
class Operation:
    """`call(images, levels, noise)`: with noise None it draws its own; `images` are as many as it reads."""

    name: str
    images: int
    call: Callable[[tuple[Tensor, ...], Levels, Tensor | None], Tensor]
    want: Callable[[tuple[Tensor, ...], Levels, Tensor], Tensor]


OPERATIONS = (
    Operation("dct_blur", 1, lambda x, l, n: sd.dct_blur(x[0], l.tau), lambda x, l, n: reference.dct_blur(x[0], l.tau)),
    Operation("diffuse", 1, lambda x, l, n: sd.diffuse(x[0], l.t, noise=n), lambda x, l, n: reference.diffuse(x[0], l.t, n)),
    Operation(
        "posterior_sample",
        2,
        lambda x, l, n: sd.posterior_sample(x[0], x[1], l.s, l.t, noise=n),
        lambda x, l, n: reference.step(x[0], x[1], l.s, l.t, sd.Markov(), "x", n),
    ),
    Operation(
        "step",
        2,
        lambda x, l, n: sd.step(x[0], x[1], l.s, l.t, sd.DDIM(0.5), "v", noise=n),
        lambda x, l, n: reference.step(x[0], x[1], l.s, l.t, sd.DDIM(0.5), "v", n),
    ),
    Operation(
        "momentum_step",
        2,
        lambda x, l, n: sd.momentum_step(x[0], x[1], l.s, l.t, noise=n),
        lambda x, l, n: reference.step(x[0], x[1], l.s, l.t, sd.Momentum(), "x", n),
    ),
)


def shape_of(side: int, numbers: int) -> tuple[int, int, int, int]:
    channels = 1 if side == 28 else 3
    return max(2, numbers // (channels * side * side)), channels, side, side


def error_of(operation: Operation, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> float:
    """Relative L2 error of two samples against float64, with given noise."""
    levels = Levels.make(2, device)
    small = (2, *shape[1:])
    images = tuple(torch.randn(small, device=device).to(dtype) for _ in range(operation.images))
    noise = torch.randn(small, device=device).to(dtype)
    got = operation.call(images, levels, noise).double()
    want = operation.want(tuple(x.double() for x in images), levels, noise.double())
    return float((got - want).norm() / want.norm())


def rows_of_case(
    operation: Operation, side: int, dtype: torch.dtype, device: torch.device, numbers: int, rounds: int, mode: str = KERNEL
) -> list[Row]:
    """Kernels of the operator, of a copy and (for the blur in float32, but for large batches) of the peers."""
    shape = shape_of(side, numbers)
    size = math.prod(shape) * torch.empty((), dtype=dtype).element_size()
    moved = {OURS: (operation.images + 1) * size, COPY: 2 * size}
    common = {"operator": operation.name, "side": side, "shape": list(shape), "dtype": str(dtype).removeprefix("torch.")}
    error = error_of(operation, shape, dtype, device)
    if not error <= REFUSED[dtype]:
        return [{**common, "candidate": OURS, "mode": mode, "status": f"refused: relative error {error:.1e}"}]
    levels = Levels.make(shape[0], device)
    calls: dict[str, Callable[[tuple[Tensor, ...]], Tensor]] = {
        OURS: lambda x: operation.call(x, levels, None),
        COPY: lambda x: torch.empty_like(x[0]).copy_(x[0]),
    }
    if operation.name == "dct_blur" and dtype == torch.float32 and mode == KERNEL:
        gain = torch.exp(-sd.eigenvalues(shape[-2:]).to(device) * levels.tau[:, None, None, None]).float()
        for name, make in PEERS.items():
            if name != "torch.compile" or (side in COMPILED_SIDES and device.type == "cuda"):
                peer = make(shape, dtype, gain)
                calls[name], moved[name] = lambda x, peer=peer: peer(x[0]), moved[OURS]
    sets = operand_sets(moved[OURS], device)
    operands = [tuple(torch.randn(shape, device=device).to(dtype) for _ in range(operation.images)) for _ in range(sets)]
    times = kernel_times(calls, operands, device, rounds)
    copy = times[COPY]
    rows = []
    for name, timing in times.items():
        row: Row = {**common, "candidate": name, "mode": mode, "sets": sets}
        if isinstance(timing, str):
            rows.append({**row, "status": f"failed: {timing}"})
            continue
        bandwidth = moved[name] / timing.median * 1e-3
        row |= {
            "status": "ok",
            "error": error if name == OURS else None,
            **microseconds(timing),
            "gigabytes_per_second": bandwidth,
        }
        if isinstance(copy, Timing):
            row["share"] = (moved[name] / timing.median) / (moved[COPY] / copy.median)
        rows.append(row)
    if mode == LARGE:
        return rows
    eager = eager_time(calls[OURS], operands[0], device, calls=5, rounds=3)
    return [*rows, {**common, "candidate": OURS, "mode": "eager, large", "status": "ok", **microseconds(eager)}]


def microseconds(timing: Timing) -> Row:
    return {"us_median": timing.median, "us_low": timing.low, "us_high": timing.high, "rounds": timing.rounds}


def overhead_rows(device: torch.device, calls: int) -> Iterator[Row]:
    """CPU time of an eager call on one image of 8 x 8 pixels, torch.mul beside it."""
    images = tuple(torch.randn(1, 1, 8, 8, device=device) for _ in range(2))
    levels = Levels(sd.Level(-0.1, 0.4, 0.2, 1e-3), sd.Level(-0.5, 2.0, 0.7, 1e-3), torch.ones(1, device=device))
    timed: dict[str, Callable[[Any], object]] = {"torch.mul": lambda x: torch.mul(x[0], x[1])}
    for operation in OPERATIONS:
        timed[operation.name] = lambda x, op=operation: op.call(x, levels, x[1])
        if operation.name != "dct_blur":
            timed[f"{operation.name}, noise drawn"] = lambda x, op=operation: op.call(x, levels, None)
    for name, call in timed.items():
        timing = eager_time(call, images, device, calls)
        yield {
            "operator": name, "side": 8, "shape": [1, 1, 8, 8], "dtype": "float32", "mode": "eager, tiny", "status": "ok",
            "candidate": name if name == "torch.mul" else OURS, **microseconds(timing),
        }  # fmt: skip


def measure(
    device: torch.device, sides: tuple[int, ...], numbers: int, budget: float, rounds: int = ROUNDS
) -> Iterator[list[Row]]:
    """Rows case by case, float32 first and large batches last; what does not fit into the budget (seconds) is left out."""
    torch.manual_seed(0)
    end = time.monotonic() + budget
    yield list(overhead_rows(device, 200 if device.type == "cuda" else 3))
    modes = [(KERNEL, dtype) for dtype in DTYPES] + [(LARGE, torch.float32)]
    for mode, dtype in modes:
        for operation in OPERATIONS:
            for side in sides:
                if time.monotonic() > end:
                    return
                of_batch = numbers * (LARGE_BATCH if mode == LARGE else 1)
                try:
                    rows = rows_of_case(operation, side, dtype, device, of_batch, rounds, mode)
                except Exception as error:
                    reason = f"{type(error).__name__}: {error}".splitlines()[0]
                    name = str(dtype).removeprefix("torch.")
                    rows = [{"operator": operation.name, "side": side, "dtype": name, "candidate": OURS, "mode": mode,
                             "status": f"failed: {reason}"}]  # fmt: skip
                synchronise(device)
                yield rows


def write(path: Path, content: object) -> None:
    """Whole or not at all."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(content, indent=1) + "\n")
    os.replace(partial, path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--budget", type=float, default=120.0, help="seconds")
    parser.add_argument("--sides", type=int, nargs="+", default=list(SIDES))
    parser.add_argument("--numbers", type=int, default=NUMBERS, help="in a batch of images")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    rows: list[Row] = []
    for case in measure(torch.device(options.device), tuple(options.sides), options.numbers, options.budget, options.rounds):
        rows += case
        write(options.out / "gpu_rows.json", rows)
        for row in case:
            share = f"  {100 * row['share']:5.1f} % of the copy" if "share" in row else ""
            time_taken = f"{row['us_median']:10.2f} us" if "us_median" in row else f"{row['status']:>10}"
            case_name = f"{row['operator']:32} {row['side']:4} {row['dtype']:9}"
            print(f"{case_name} {row['candidate']:14} {row['mode']:13}{time_taken}{share}", flush=True)


if __name__ == "__main__":
    main()

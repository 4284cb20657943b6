"""Speed of every operator on the CPU beside other libraries and a copy, in one process, interleaved; `make bench` runs this.

    python benchmarks/bench.py [--quick] [--out FOLDER] [--threads 1 2] [--only GROUP ...]

Answers are checked against float64 first; a wrong one is refused, named, and makes the exit code 1 where it is ours. Writes
FOLDER/bench.json (one row a measurement, and the machine), bench.md (the tables, and how each target was met) and speed.png;
without --out, benchmarks/results, docs/images/speed.png and the table of README.md. On a shared machine only the ratios of one
run mean anything.
"""

from __future__ import annotations

import os

os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")  # no processes that compile beside what is timed

import argparse
import importlib
import importlib.util
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cases
import machine
import peers
import report
import torch
from cases import Case
from measure import LAST_CACHE, Row, run

ROOT = Path(__file__).resolve().parents[1]
Planned = tuple[Callable[[], "Case | Iterator[Case]"], bool, float]  # what makes the case, cold, seconds


def plan(threads: int, first: bool, quick: bool) -> Iterator[Planned]:
    """Everything that is measured with one thread count; `first`: also what is measured with the first count only."""
    shapes = cases.QUICK_SHAPES if quick else cases.SHAPES
    for shape in shapes:
        leave_out = ("torch.compile",) if quick else ()
        yield lambda s=shape, out=leave_out: cases.blur(s, threads, leave_out=out), False, 1.6
        yield lambda s=shape: cases.blur(s, threads, leave_out=("torch.compile",)), True, 0.8
        yield lambda s=shape: cases.backward(s, threads), False, 0.4
        yield lambda s=shape: cases.transforms(s, threads), False, 0.4
        yield lambda s=shape: cases.map_filter(s, threads), False, 0.4
        yield lambda s=shape: cases.corrupt(s, threads), False, 0.3
        for name in ("diffuse", "momentum_step"):
            yield lambda s=shape, n=name: cases.given_noise(n, s, threads), False, 0.3
        for name in cases.STEPS:
            yield lambda s=shape, n=name: cases.reverse_step(n, s, threads), False, 0.3
        yield lambda s=shape: cases.loss(s, threads), False, 0.25
        for dtype in (torch.float64, torch.float16, torch.bfloat16):
            out = ("torch.compile", "torch-dct", "OpenCV", "FFTW")
            yield lambda s=shape, d=dtype, out=out: cases.blur(s, threads, d, out), False, 0.3
    for size in cases.NOISE_SIZES:
        yield lambda n=size: cases.normal(n, threads), False, 0.3
    for shape in shapes[:2]:
        yield lambda s=shape: cases.training(s, threads), False, 0.5
    if first:
        for shape, ndim in [(s, 1) for s in cases.LINES] + [(s, 3) for s in cases.VOLUMES]:
            yield lambda s=shape, d=ndim: cases.transforms(s, threads, d), False, 0.3
        pixels = 1 << (14 if quick else 20)
        for size in cases.SWEEP_SIZES[: 4 if quick else None]:
            shape = (max(1, round(pixels / size**2)), 1, size, size)
            yield lambda s=shape: cases.sweep(s, threads), False, 0.5


def measure(threads: list[int], quick: bool, only: list[str] | None, last_cache: int) -> list[Row]:
    rows: list[Row] = []
    for count in threads:
        torch.set_num_threads(count)
        for make, cold, budget in plan(count, count == threads[0], quick):
            made = make()
            for case in [made] if isinstance(made, Case) else made:
                if only and case.group not in only:
                    continue
                new = run(case, count, cold, 0.0 if quick else budget, last_cache)
                rows += new
                print(report.line(new), flush=True)
    return rows


def overhead() -> list[Row]:
    """What overhead.py measures of calls on a tiny image, a row each; nothing where that file is not."""
    if importlib.util.find_spec("overhead") is None:
        return []
    measured: dict[str, dict[str, float]] = importlib.import_module("overhead").measure()
    rows: list[Row] = [{"us a call": name, **columns} for name, columns in measured.items()]
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small shapes, few rounds, one thread: does it run?")
    parser.add_argument("--out", type=Path, help="folder for all that is written")
    parser.add_argument("--threads", type=int, nargs="+")
    parser.add_argument("--only", nargs="+", help="groups of cases, as the column `group` of the rows names them")
    options = parser.parse_args()
    begun = time.perf_counter()
    info = machine.describe()
    absent = peers.missing()
    info["peers"] = {
        peer.name: f"missing: {absent[peer.name]}" if peer.name in absent else machine.version(peer.distribution)
        for peer in peers.PEERS
        if peer.distribution
    }
    for name, reason in absent.items():
        print(f"peer {name} is missing: {reason}")
    threads = options.threads or ([1] if options.quick else [1, 2])
    calls = [] if options.only or options.quick else overhead()
    rows = measure(threads, options.quick, options.only, info["caches"].get("L3", LAST_CACHE))
    info.update(seconds=round(time.perf_counter() - begun), quick=options.quick, arguments=sys.argv[1:])
    report.write(report.Result(info, rows, calls), options.out, ROOT)
    refused = [row for row in rows if row["status"] != "ok"]
    for row in refused:
        print(f"REFUSED: {row['operator']} {row['shape']} {row['dtype']} by {row['candidate']}: {row['status']}")
    return int(any(row["ours"] for row in refused))


if __name__ == "__main__":
    sys.exit(main())

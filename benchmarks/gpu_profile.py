"""What the kernels do on a GPU, by Nsight Compute: instructions a pixel, how many are issued a cycle, bytes of device memory.

    python benchmarks/gpu_profile.py --out FOLDER [--sides 32 64 128 256]

Runs itself under ncu, once a call of an operator. A call that takes several kernels has a line for each.
FOLDER/gpu_profile.json; part of `make gpu-check` where ncu is on the PATH.
"""

from __future__ import annotations

import argparse
import csv
import math
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from gpu import NUMBERS, OPERATIONS, Levels, shape_of, write

SIDES = (32, 64, 128, 256)
METRICS = {
    "nanoseconds": "gpu__time_duration.sum",
    "instructions": "smsp__inst_executed.sum",
    "instructions_a_cycle": "sm__inst_executed.avg.per_cycle_active",
    "warps_percent": "sm__warps_active.avg.pct_of_peak_sustained_active",
    "bytes": "dram__bytes.sum",
    "registers": "launch__registers_per_thread",
}
WARP = 32
Row = dict[str, Any]


def call_all(sides: tuple[int, ...]) -> None:
    """Each operator once at each side, unseen, then again for ncu to see; a line for each says what comes."""
    device = torch.device("cuda")
    cases = []
    for side in sides:
        shape = shape_of(side, NUMBERS)
        levels = Levels.make(shape[0], device)
        images = tuple(torch.randn(shape, device=device) for _ in range(2))
        cases += [(operation, side, images, levels) for operation in OPERATIONS]
    for operation, _, images, levels in cases:
        operation.call(images, levels, None)
    torch.cuda.synchronize()
    torch.cuda.profiler.start()
    for operation, side, images, levels in cases:
        print(f"CALL {operation.name} {side}", flush=True)
        operation.call(images, levels, None)
        torch.cuda.synchronize()
    torch.cuda.profiler.stop()


def read_log(text: str) -> list[Row]:
    """Rows of what was printed: the calls in their order, then ncu's table of the kernels in theirs."""
    calls = [(match[1], int(match[2])) for match in re.finditer(r"^CALL (\S+) (\d+)$", text, re.MULTILINE)]
    found: dict[str, Row] = {}
    for entry in csv.DictReader(line for line in text.splitlines() if line.startswith('"')):
        row = found.setdefault(entry["ID"], {"kernel": kernel_name(entry["Kernel Name"])})
        for name, metric in METRICS.items():
            if entry["Metric Name"] == metric:
                row[name] = float(entry["Metric Value"].replace(",", "")) * SCALES.get(entry["Metric Unit"], 1.0)
    rows, left = [], list(found.values())
    for operator, side in calls:
        kernels = [left.pop(0)]
        while kernels[-1]["kernel"].startswith(BEFORE_THE_LAST):
            kernels.append(left.pop(0))
        rows += [{"operator": operator, "side": side, **kernel} for kernel in kernels]
    if left:
        raise ValueError(f"{len(left)} kernels more than {len(calls)} calls can have launched, first {left[0]['kernel']}")
    for row in rows:
        row["instructions_a_pixel"] = row["instructions"] * WARP / math.prod(shape_of(row["side"], NUMBERS))
    return rows


BEFORE_THE_LAST = ("HalvesIn", "HalvesRows")
"""Kernels that another one of the same call follows; every other is the last of its call, at these sides."""
SCALES = {"us": 1e3, "ms": 1e6, "Kbyte": 1e3, "Mbyte": 1e6, "Gbyte": 1e9}
"""To nanoseconds and bytes."""


def kernel_name(name: str) -> str:
    """SquareLevel<32> of run_phases<softdiff::cuda_kernels::SquareLevel<(int)32, float>>(..)."""
    match = re.search(r"(\w+)<(?:\((?:int|bool)\))?(\w+), \w+>", re.sub(r"softdiff::\w+::|softdiff::", "", name))
    return f"{match[1]}<{match[2]}>" if match else name[:60]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--sides", type=int, nargs="+", default=list(SIDES))
    parser.add_argument("--calls", action="store_true", help="only the calls: what runs under ncu")
    options = parser.parse_args()
    if options.calls:
        return call_all(tuple(options.sides))
    command = ["ncu", "--csv", "--profile-from-start", "off", "--clock-control", "none", "--kernel-name", "regex:run_phases"]
    command += ["--metrics", ",".join(METRICS.values()), sys.executable, *sys.argv, "--calls"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"ncu: exit code {done.returncode}: {(done.stdout + done.stderr)[-600:]}")
    rows = read_log(done.stdout)
    write(options.out / "gpu_profile.json", rows)
    for row in rows:
        print(
            f"{row['operator']:18} {row['side']:4} {row['kernel']:22} {row['instructions_a_pixel']:6.1f} instructions a pixel"
        )
    return None


if __name__ == "__main__":
    main()

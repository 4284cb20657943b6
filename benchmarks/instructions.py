"""Instructions per pixel of dct_blur, counted by valgrind's callgrind: a measure that a busy machine does not disturb.

    python benchmarks/instructions.py [--out benchmarks/results/instructions.json]

A process of its own blurs one stack of planes by one native call, under callgrind. Two stacks of different heights are counted
and subtracted, so that the start of Python, the reading of the module and the call itself cancel; what is left belongs to the
planes. Valgrind knows no AVX-512, so the counts are those of the AVX2 and of the portable kernels: a float32 plane with a heat
time of its own ("own tau": the gains are made anew), and one that shares its heat time with its neighbours.
"""

from __future__ import annotations

import argparse
import array
import importlib.machinery
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

SIZES = (32, 64)
ISAS = ("avx2", "portable")
STACKS = (2**16, 2**20 + 2**16)
"""Pixels of the two stacks. The start of Python varies by some 10^5 instructions: a tenth of an instruction per pixel."""
FLOAT32 = 1  # the number types as _C numbers them
ALIGNMENT = 64  # what torch's allocator gives


def aligned(numbers: int) -> tuple[array.array[float], int]:
    """A float32 buffer filled with a pattern, and the address of its first aligned number."""
    pattern = [(i * 37 % 101) / 101 - 0.5 for i in range(101)]
    buffer = array.array("f", pattern) * ((numbers + ALIGNMENT) // len(pattern) + 1)
    address = buffer.buffer_info()[0]
    return buffer, address + -address % ALIGNMENT


def blur(module_file: str, isa: str, size: int, planes: int, own_tau: bool) -> None:
    """What is counted: `planes` blurs of a size x size plane, by one call of the native module alone (no torch)."""
    loader = importlib.machinery.ExtensionFileLoader("_C", module_file)
    spec = importlib.util.spec_from_loader("_C", loader)
    assert spec is not None
    native = importlib.util.module_from_spec(spec)
    loader.exec_module(native)
    native.select_isa(isa)
    area = size * size
    # Everything but the call is the same for both heights of the stack, so that it cancels.
    _x, x_at = aligned(STACKS[1])
    _out, out_at = aligned(STACKS[1])
    levels = array.array("d", [0.0, 1.5, 0.0, 0.0] * (STACKS[1] // area))  # log_a, tau, sigma, floor
    level = (levels.buffer_info()[0], planes if own_tau else 1)
    shape = (planes, 1, size, size)
    native.level_filter("", out_at, FLOAT32, shape, (x_at, (area, area, size, 1)), None, None, level, 1, 1)


def count(module_file: str, isa: str, size: int, planes: int, own_tau: bool) -> int:
    """Instructions of a whole process that blurs `planes` planes."""
    with tempfile.TemporaryDirectory() as folder:
        profile = Path(folder) / "profile"
        inner = [
            sys.executable,
            "-S",
            "-s",
            "-B",
            __file__,
            "--inner",
            module_file,
            isa,
            str(size),
            str(planes),
            str(int(own_tau)),
        ]
        command = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={profile}", *inner]
        fixed = {**os.environ, "PYTHONHASHSEED": "0"}
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=fixed)
        if done.returncode != 0:
            raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
        line = next(line for line in profile.read_text().splitlines() if line.startswith(("summary:", "totals:")))
        return int(line.split()[1])


def measure() -> list[dict[str, Any]]:
    """One row for each instruction set, size and kind of heat time; an instruction set that is missing here has none."""
    from softdiff_ext import _C

    rows = []
    for isa in (name for name in ISAS if name in _C.available_isas()):
        for size in SIZES:
            for own_tau in (True, False):
                few, many = (count(_C.__file__, isa, size, pixels // size**2, own_tau) for pixels in STACKS)
                per_pixel = (many - few) / (STACKS[1] - STACKS[0])
                rows.append({"isa": isa, "size": size, "own_tau": own_tau, "instructions_per_pixel": round(per_pixel, 2)})
                print(f"{isa:9} {size}x{size} {'own tau' if own_tau else 'shared tau':10} {per_pixel:6.2f}", flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "instructions.json")
    options = parser.parse_args()
    if shutil.which("valgrind") is None:
        raise SystemExit("valgrind is missing (Debian: apt install valgrind)")
    from machine import describe  # beside this file; not for the process that is counted

    result = {"machine": describe(), "operator": "dct_blur", "dtype": "float32", "rows": measure()}
    options.out.write_text(json.dumps(result, indent=1) + "\n")
    print(f"written: {options.out}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--inner"]:
        module_file, isa, size, planes, own_tau = sys.argv[2:]
        blur(module_file, isa, int(size), int(planes), own_tau == "1")
    else:
        main()

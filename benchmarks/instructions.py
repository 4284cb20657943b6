"""Instructions per pixel of dct_blur, counted by valgrind's callgrind: a measure that a busy machine does not disturb.

    python benchmarks/instructions.py [--out benchmarks/results/instructions.json]

Compiles instructions.cpp, one call of the kernels, with the flags of CMakeLists.txt. Two stacks of planes of different heights
are counted and subtracted, so that the start of the program and the call itself cancel; what is left belongs to the planes.
Valgrind knows no AVX-512, so the counts are those of the AVX2 and of the portable kernels: a float32 plane with a heat time of
its own ("own tau": the gains are made anew), and one that shares its heat time with its neighbours.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from machine import describe

ROOT = Path(__file__).parent.parent
SIZES = (32, 64)
ISAS = ("avx2", "portable")
STACKS = (2**16, 2**20 + 2**16)
"""Pixels of the two stacks."""


def flags(isa: str) -> list[str]:
    """What CMakeLists.txt compiles the float32 kernels of an instruction set with."""
    text = (ROOT / "CMakeLists.txt").read_text()
    common = re.search(r"set\(SOFTDIFF_KERNEL_FLAGS ([^)]*)\)", text)
    own = re.search(rf"softdiff_add_isa\({isa} (\d+) ?([^)]*)\)", text)
    if common is None or own is None:
        raise SystemExit(f"CMakeLists.txt has no kernel flags for {isa}")
    names = [f"-DSOFTDIFF_ISA={isa}", f"-DSOFTDIFF_VECTOR_BYTES={own[1]}", "-DSOFTDIFF_ARITHMETIC=float"]
    return ["-std=gnu++17", "-DNDEBUG", "-fopenmp", *common[1].split(), *own[2].split(), *names]


def build(isa: str, program: Path) -> None:
    others = [path for path in (ROOT / "csrc" / "cpu").glob("*.cpp") if path.stem not in ("kernels", "isa", "dispatch")]
    sources = [ROOT / "benchmarks" / "instructions.cpp", *others]
    subprocess.run(["g++", *flags(isa), f"-I{ROOT}", *map(str, sources), "-o", str(program)], check=True)


def count(program: Path, size: int, planes: int, own_tau: bool) -> int:
    """Instructions of a whole process that blurs `planes` planes."""
    profile = program.with_suffix(".profile")
    inner = [str(program), str(size), str(planes), str(STACKS[1] // size**2), str(int(own_tau))]
    command = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={profile}", *inner]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
    line = next(line for line in profile.read_text().splitlines() if line.startswith(("summary:", "totals:")))
    return int(line.split()[1])


def measure() -> list[dict[str, Any]]:
    """One row for each instruction set, size and kind of heat time."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for isa in ISAS:
            program = Path(folder) / isa
            build(isa, program)
            for size in SIZES:
                for own_tau in (True, False):
                    few, many = (count(program, size, pixels // size**2, own_tau) for pixels in STACKS)
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
    result = {"machine": describe(), "operator": "dct_blur", "dtype": "float32", "rows": measure()}
    options.out.write_text(json.dumps(result, indent=1) + "\n")
    print(f"written: {options.out}")


if __name__ == "__main__":
    main()

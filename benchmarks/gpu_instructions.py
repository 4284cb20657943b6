"""Instructions that a pixel of a blur takes in the kernels of square planes, and what an H100 needs to issue them.

    python benchmarks/gpu_instructions.py [--arch sm_90] [--module FILE] [--out benchmarks/results/gpu_instructions.md]

Reads the machine code of the built module by cuobjdump (Python package nvidia-cuda-cuobjdump, or a CUDA toolkit); no GPU.
In these kernels a thread has one column and one row of N pixels, in straight lines of code: what a warp runs is the longest
way from the entry to an exit that passes the two barriers of a blur and writes to global memory, among those with the fewest
calls of functions that store nothing, which are the slow ways of arithmetic. What one thread of a plane works out for the
others is a function of its own, whose longest way counts for the warps that hold such a thread. Images of float32 and of 16
bits take branches that are told apart by the width of what they move.
"""

from __future__ import annotations

import argparse
import functools
import re
import shutil
import subprocess
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from gpu_resources import RESULTS, blocks_of_multiprocessor, planes_of_block, registers_of, table

import softdiff_ext

SIDES = (8, 16, 28, 32, 64, 128)
BYTES = {"float32": 4, "16-bit": 2}
"""Of a stored number, by the type of the images."""
BARRIERS = 2  # of a blur: columns, rows, columns
WARP = 32
H100_CLOCK, H100_MULTIPROCESSORS, H100_SCHEDULERS = 1.755e9, 132, 4  # H100 SXM
H100_BYTES_PER_SECOND = 3.35e12
CLASSES = ("floating point", "shared memory", "global memory", "integer and moves", "other")


@dataclass(frozen=True)
class Instruction:
    address: int
    conditional: bool
    opcode: str
    operands: str

    @property
    def target(self) -> int | None:
        found = re.findall(r"0x([0-9a-f]+)", self.operands)
        return int(found[-1], 16) if found else None

    def serves(self, stored_bytes: int) -> bool:
        """False where it reads or writes numbers of images of another width."""
        return not (self.opcode in ("LDG.E", "STG.E") and stored_bytes == 2) and not (
            self.opcode in ("LDG.E.U16", "STG.E.U16") and stored_bytes == 4
        )

    @property
    def kind(self) -> str:
        name = self.opcode.split(".")[0]
        if name in ("LDS", "STS", "LD", "ST"):  # LD and ST: generic addresses, here of shared memory
            return "shared memory"
        if name in ("LDG", "STG"):
            return "global memory"
        if name in (
            "BRA",
            "EXIT",
            "BAR",
            "BSSY",
            "BSYNC",
            "CALL",
            "RET",
            "WARPSYNC",
            "BREAK",
            "YIELD",
            "LDC",
            "LDCU",
            "ULDC",
            "MUFU",
        ):
            return "other"
        return (
            "floating point"
            if re.match(r"[FHD](?!2I)[A-Z0-9]*$|I2F|F2", name) and name not in ("FLO",)
            else "integer and moves"
        )


LINE = re.compile(r"^\s*/\*([0-9a-f]{4,})\*/\s+(@!?U?P\w+\s+)?([A-Z][A-Z0-9_.]*)\s*(.*?)\s*;")


def read(sass: str) -> dict[int, Instruction]:
    """The instructions of one function of cuobjdump -sass by their address; padding is left out."""
    found = {}
    for line in sass.splitlines():
        match = LINE.match(line)
        if match and not match[3].startswith("NOP"):
            address, operands = int(match[1], 16), match[4]
            guarded = bool(match[2]) or bool(re.match(r"!?U?P\d", operands))
            found[address] = Instruction(address, guarded, match[3], operands)
    return found


def longest(code: dict[int, Instruction], entry: int, barriers: int, end: str, stored_bytes: int = 4) -> list[Instruction]:
    """The longest way from an address to an instruction `end` that passes so many barriers, for images of such numbers.

    Among those with the fewest calls of functions that store nothing.

    A way to EXIT stores to global memory. No loop is followed: a way that would go back is none.
    """
    after = dict(zip(sorted(code), sorted(code)[1:], strict=False))

    @functools.cache
    def way(address: int | None, passed: int, stored: bool) -> tuple[tuple[int, int], tuple[int, int, bool] | None] | None:
        """The best way on from here, as calls (negative) and length, and where it goes next."""
        if address is None or address not in code or passed > barriers:
            return None
        one = code[address]
        if not one.serves(stored_bytes):
            return None
        name = one.opcode.split(".")[0]
        passed, stored = passed + (name == "BAR"), stored or name == "STG"
        nexts: list[tuple[int | None, int, bool]] = []
        best: tuple[tuple[int, int], tuple[int, int, bool] | None] | None = None
        if name == end and passed == barriers and (stored or end == "RET"):
            best = ((0, 1), None)
        if name == "BRX":
            return None
        slow = name == "CALL" and not stores(code, one.target)
        if name == "BRA" and one.target is not None and one.target > address:
            nexts.append((one.target, passed, stored))
        if name not in ("BRA", "EXIT", "RET") or one.conditional:
            nexts.append((after.get(address), passed, stored))
        for state in nexts:
            rest = way(*state)
            if rest is not None:
                score = (rest[0][0] - slow, rest[0][1] + 1)
                if best is None or score > best[0]:
                    best = (score, state)
        return best

    for address in sorted(code, reverse=True):  # from the end, so that no call is deep
        for passed in range(barriers + 1):
            for stored in (False, True):
                way(address, passed, stored)
    found, state = [], (entry, 0, False)
    while state is not None:
        step = way(*state)
        if step is None:
            raise ValueError(f"no way from {entry:#x} to {end} passes {barriers} barriers")
        found.append(code[state[0]])
        state = step[1]
    return found


def stores(code: dict[int, Instruction], entry: int | None) -> bool:
    """Whether a function of the kernel's own stores something: arithmetic's slow ways do not."""
    for address in sorted(code):
        if entry is not None and address >= entry:
            name = code[address].opcode.split(".")[0]
            if name in ("ST", "STS"):
                return True
            if name == "RET" and not code[address].conditional:
                return False
    return False


def with_callees(code: dict[int, Instruction], way: list[Instruction]) -> list[Instruction]:
    """A way and those of the functions that it calls."""
    found = list(way)
    for one in way:
        if one.opcode.startswith("CALL") and one.target is not None:
            found += with_callees(code, longest(code, one.target, 0, "RET"))
    return found


def per_pixel(code: dict[int, Instruction], side: int, stored_bytes: int = 4) -> Counter[str]:
    """Instructions that a warp issues for a pixel (a lane each), by class."""
    main = longest(code, min(code), BARRIERS, "EXIT", stored_bytes)
    total = Counter(one.kind for one in main)
    counts = {name: float(total[name]) for name in CLASSES}
    threads = side * planes_of_block("SquareLevel", side)
    warps = -(-threads // WARP)
    for one in main:
        if one.opcode.startswith("CALL") and one.target is not None:
            own = Counter(inner.kind for inner in with_callees(code, longest(code, one.target, 0, "RET")))
            share = min(1.0, threads / side / warps)  # of the warps, those with a thread that has the first line of a plane
            for name in CLASSES:
                counts[name] += share * own[name]
    idle = warps * WARP / threads
    return Counter({name: counts[name] * idle / side for name in CLASSES})


def cuobjdump() -> str:
    """The program of a toolkit, or of the Python package."""
    package = list(Path(softdiff_ext.__file__).parent.parent.glob("nvidia/**/bin/cuobjdump"))
    found = shutil.which("cuobjdump") or (str(package[0]) if package else None)
    if found is None:
        raise SystemExit("no cuobjdump: pip install nvidia-cuda-cuobjdump, or put that of a CUDA toolkit on the PATH")
    return found


def machine_code(program: str, module: Path, side: int, architecture: str) -> dict[int, Instruction]:
    kernel = f"_ZN8softdiff12cuda_kernels10run_phasesINS0_11SquareLevelILi{side}EfEEEEvNT_6ParamsEl"
    done = subprocess.run(
        [program, "-sass", "-arch", architecture, "-fun", kernel, str(module)], capture_output=True, text=True, check=True
    )
    code = read(done.stdout)
    if not code:
        raise SystemExit(f"{module} has no SquareLevel<{side}, float> for {architecture}")
    return code


def picoseconds(counts: Counter[str]) -> tuple[float, float]:
    """What an H100 needs for a pixel: to issue all, and to move shared and global memory through its load/store units."""
    lanes = H100_MULTIPROCESSORS * WARP * H100_CLOCK
    moved = counts["shared memory"] + counts["global memory"]
    return counts.total() / (lanes * H100_SCHEDULERS) * 1e12, moved / lanes * 1e12


def predicted(issue: float, moved: float, memory: float, blocks: int) -> tuple[float, float]:
    """Shares of a copy's bandwidth: where one of the blocks of an SM is always at work that no other's loads cover, and where
    blocks hide each other's work entirely."""
    busy = max(issue, moved)
    return memory / max(memory, busy) / (1.0 + busy / memory / blocks), memory / max(memory, busy)


def report(program: str, module: Path, architecture: str) -> str:
    rows, shares = [], []
    for storage in BYTES:
        memory = 2 * BYTES[storage] / H100_BYTES_PER_SECOND * 1e12
        for side in SIDES:
            counts = per_pixel(machine_code(program, module, side, architecture), side, BYTES[storage])
            issue, moved = picoseconds(counts)
            blocks = blocks_of_multiprocessor("SquareLevel", side, registers_of("SquareLevel", side, architecture))
            low, high = predicted(issue, moved, memory, blocks)
            rows.append([str(side), storage, f"{counts.total():.1f}", *(f"{counts[name]:.1f}" for name in CLASSES)])
            shares.append([str(side), storage, f"{issue:.2f}", f"{moved:.2f}", f"{memory:.2f}", str(blocks),
                           f"{100 * low:.0f}-{100 * high:.0f} %"])  # fmt: skip
    return (
        f"# Instructions of a blur, {architecture}\n\n"
        "Written by `python benchmarks/gpu_instructions.py` from the machine code; nothing here was measured on a GPU.\n\n"
        "## Instructions a pixel\n\n" + table(["side", "images", "all", *CLASSES], rows) + "\n\n"
        "## Predicted for an H100 SXM\n\n"
        f"Picoseconds a pixel: to issue the instructions ({H100_MULTIPROCESSORS} multiprocessors of {H100_SCHEDULERS} "
        f"schedulers, {H100_CLOCK / 1e9:.3f} GHz), to move shared and global memory through the load/store units, and to read "
        f"and write the images at {H100_BYTES_PER_SECOND / 1e12:.2f} TB/s. The upper share is where all that overlaps; "
        "for the lower one a block of those that a multiprocessor holds is always at work that the loads of no other cover.\n\n"
        + table(["side", "images", "issue", "load/store", "memory", "blocks", "predicted share of a copy"], shares) + "\n"
    )  # fmt: skip


def main() -> None:
    from softdiff_ext import _C

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arch", default="sm_90")
    parser.add_argument("--module", type=Path, default=Path(_C.__file__), help="a built module, object file or cubin")
    parser.add_argument("--out", type=Path, default=RESULTS / "gpu_instructions.md")
    options = parser.parse_args()
    text = report(cuobjdump(), options.module, options.arch)
    options.out.write_text(text)
    print(text)


if __name__ == "__main__":
    main()

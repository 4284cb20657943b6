"""Registers, shared memory, stack and spills of every CUDA kernel: what can be known of them without a GPU.

    python benchmarks/gpu_resources.py [--out benchmarks/results/gpu_resources.md]

Reads what ptxas said when the package was built (build/*/ptxas). A line of the table is a kernel of both types of arithmetic
and all architectures; gpu_profile.py counts what a pixel takes, on a GPU.
"""

from __future__ import annotations

import argparse
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MOST_REGISTERS, MOST_SHARED = 255, 100 * 1024
RESULTS = ROOT / "benchmarks" / "results"
MOST_OF_BLOCK = 99 * 1024  # kMaxSharedBytes of csrc/cuda/launch.hpp
FLOAT_BYTES = 4
ARITHMETIC = {"float": "float32", "double": "float64"}


@dataclass(frozen=True)
class Kernel:
    """What ptxas says of one kernel for one architecture; sizes in bytes."""

    name: str
    architecture: str
    registers: int
    stack: int
    spill_stores: int
    spill_loads: int
    shared: int

    @property
    def side(self) -> int | None:
        """N of a kernel for square planes of N x N."""
        match = re.match(r"(?:Square|Halves)\w*<(\d+)", self.name)
        return int(match[1]) if match else None

    @property
    def family(self) -> str:
        """The name without the arithmetic: SquareLevel<32>, TileKernel<false>, FillNormal."""
        kept = [part for part in re.findall(r"[\w:]+", self.name) if part not in ARITHMETIC]
        return kept[0] + (f"<{', '.join(kept[1:])}>" if kept[1:] else "")

    @property
    def arithmetic(self) -> str:
        return next((ARITHMETIC[part] for part in re.findall(r"\w+", self.name) if part in ARITHMETIC), "-")


ENTRY = re.compile(r"Compiling entry function '(?P<name>\S+)' for '(?P<architecture>\w+)'")
FRAME = re.compile(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads")
USED = re.compile(r"Used (\d+) registers(?:.*?(\d+) bytes smem)?")


def short(demangled: str) -> str:
    """SquareLevel<32, float> of void softdiff::..::run_phases<softdiff::..::SquareLevel<32, float>>(..)."""
    match = re.search(r"run_phases<(.*)>\(", demangled)
    plain = re.sub(r"softdiff::(\w+::)*", "", match[1] if match else demangled)
    return re.sub(r"\(\w+\)", "", plain).replace(" >", ">").strip()


def demangle(names: list[str]) -> dict[str, str]:
    found = subprocess.run(["c++filt"], input="\n".join(names), capture_output=True, text=True, check=True).stdout.splitlines()
    return {name: short(line) for name, line in zip(names, found, strict=True)}


def read_log(text: str) -> list[Kernel]:
    """The kernels of one compiler's output."""
    kernels, entry, frame = [], None, (0, 0, 0)
    for line in text.splitlines():
        if match := ENTRY.search(line):
            entry = match
        elif match := FRAME.search(line):
            frame = (int(match[1]), int(match[2]), int(match[3]))
        elif (match := USED.search(line)) and entry is not None:
            stack, stores, loads = frame
            kernel = Kernel(entry["name"], entry["architecture"], int(match[1]), stack, stores, loads, int(match[2] or 0))
            kernels.append(kernel)
            entry, frame = None, (0, 0, 0)
    names = demangle([kernel.name for kernel in kernels])
    return [Kernel(names[k.name], *list(vars(k).values())[1:]) for k in kernels]


def logs() -> list[Path]:
    """The logs of the newest build."""
    folders = [path for path in (ROOT / "build").glob("*/ptxas") if any(path.glob("*.log"))]
    newest = max(folders, key=lambda path: path.stat().st_mtime, default=None)
    return sorted(newest.glob("*.log")) if newest else []


def kernels() -> list[Kernel]:
    found = {(k.name, k.architecture): k for path in logs() for k in read_log(path.read_text(errors="replace"))}
    return [found[key] for key in sorted(found, key=lambda key: (key[0], int(re.sub(r"\D", "", key[1]))))]


def breaches(found: list[Kernel]) -> list[str]:
    """Kernels that spill, or take more registers or static shared memory than there are."""
    wrong = []
    for k in found:
        if k.spill_stores or k.spill_loads:
            wrong.append(f"{k.name}, {k.architecture}: spills {k.spill_stores} + {k.spill_loads} bytes")
        if k.registers > MOST_REGISTERS or k.shared > MOST_SHARED:
            wrong.append(f"{k.name}, {k.architecture}: {k.registers} registers, {k.shared} bytes of shared memory")
    return wrong


def values_of_plane(family: str, side: int, tiles: int = 1) -> int:
    """Numbers in shared memory for a plane (csrc/cuda/square.hpp): tiles, and the tables of the gains beside them."""
    tables = {"SquareLevel": side + 16, "SquareCombine": 3 * side + 16, "SquareTransform": 0}
    return tiles * side * (side + 1) + tables[family]


def planes_of_block(family: str, side: int, tiles: int = 1) -> int:
    most = 1 if side >= 128 else 2 if side >= 64 else 4 if side >= 28 else 128 // side
    return min(most, MOST_OF_BLOCK // (values_of_plane(family, side, tiles) * FLOAT_BYTES))


def shared_of_block(family: str, side: int, tiles: int = 1) -> int:
    """Bytes of shared memory that a launch asks for."""
    return planes_of_block(family, side, tiles) * values_of_plane(family, side, tiles) * FLOAT_BYTES


def span(values: list[int]) -> str:
    return "-" if not values else str(values[0]) if min(values) == max(values) else f"{min(values)}-{max(values)}"


def shared_of_halves(family: str, side: int, tiles: int = 1) -> int:
    """The same of csrc/cuda/halves.hpp: nothing, 32 rows of a plane for each image (of one: a level), 64 columns."""
    rows = tiles * 32 * (side + 17) + (1 if tiles == 1 else 3) * (side + 32) + 16
    return {"HalvesIn": 0, "HalvesRows": rows, "HalvesOut": 64 * side + 16}[family] * FLOAT_BYTES


def shared_text(found: list[Kernel]) -> str:
    """KB of a block: of one image, and of as many as the kernel takes at a time."""
    name, side = found[0].family, found[0].side
    if side is None:
        return f"to {MOST_OF_BLOCK // 1024}" if name == "TileKernel<false>" else "under 48"
    family = name.split("<")[0]
    many = family in ("SquareCombine", "HalvesRows")
    if family.startswith("Halves"):
        sizes = [shared_of_halves(family, side, n) for n in (1, 2, 3)]
        sizes = [size for size in sizes[: 3 if many else 1] if size <= MOST_OF_BLOCK]
    else:
        sizes = [shared_of_block(family, side, n) for n in (1, 2, 3)[: 3 if many else 1] if planes_of_block(family, side, n)]
    return " / ".join(f"{size / 1024:.0f}" for size in sizes)


def table(head: list[str], lines: list[list[str]]) -> str:
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [head, ["---"] * len(head), *lines])


def resource_table(found: list[Kernel]) -> str:
    families: dict[str, list[Kernel]] = {}
    for kernel in sorted(found, key=lambda k: (k.family.split("<")[0], k.side or 0, k.family)):
        families.setdefault(kernel.family, []).append(kernel)
    lines = []
    for name, members in families.items():
        registers = [span([k.registers for k in members if k.arithmetic == kind]) for kind in ARITHMETIC.values()]
        spills = sum(k.spill_stores + k.spill_loads for k in members)
        lines.append([name, *registers, shared_text(members), str(max(k.stack for k in members)), str(spills)])
    return table(["kernel", *(f"{s}: registers" for s in ARITHMETIC.values()), "shared, KB", "stack", "spills"], lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=RESULTS / "gpu_resources.md")
    options = parser.parse_args()
    found = kernels()
    if not found:
        raise SystemExit("no build with CUDA was found: build/*/ptxas has no logs")
    architectures = sorted({k.architecture for k in found}, key=lambda name: int(name[3:]))
    text = (
        "# CUDA kernels: registers, shared memory, spills\n\n"
        "Written by `python benchmarks/gpu_resources.py` from the compiler's own report; nothing here was measured on a GPU. "
        f"{len(found)} kernels: a line stands for all of {', '.join(architectures)}; ranges are over these. "
        "float16 and bfloat16 images are those of the float32 kernels. "
        "Shared memory is what a block of a launch asks for, for one, two and three transformed images where that differs; "
        f"none may pass {MOST_OF_BLOCK // 1024} KB. Stack is in bytes, "
        "spills in bytes of all together.\n\n" + resource_table(found) + "\n"
    )
    options.out.write_text(text)
    print(text)
    for line in breaches(found):
        print(f"over a limit: {line}")


if __name__ == "__main__":
    main()

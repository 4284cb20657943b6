"""Registers, spills and stack of every CUDA kernel, and its instructions: what can be known of them without a GPU.

    python benchmarks/gpu_resources.py [--out benchmarks/results/gpu_resources.md]

Reads what ptxas said when the package was built (build/*/ptxas) and, where cuobjdump is found (Python package
nvidia-cuda-cuobjdump, or a CUDA toolkit), counts the instructions in the module's machine code. Kernels of square planes are
straight lines of code in which each thread has one row and one column of N pixels, so a pixel takes (instructions / N); the
bound is what an H100 can issue.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import softdiff_ext

ROOT = Path(__file__).resolve().parent.parent
MOST_REGISTERS, MOST_SHARED = 255, 100 * 1024
H100_LANES_PER_SECOND = 132 * 4 * 32 * 1.755e9
"""132 multiprocessors with four schedulers, each issuing 32 lanes of an instruction a clock, at 1.755 GHz (H100 SXM)."""
H100_BYTES_PER_SECOND = 3.35e12


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
        match = re.match(r"Square\w*<(\d+)", self.name)
        return int(match[1]) if match else None


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


def cuobjdump() -> str | None:
    """The program of a toolkit, or of the Python package."""
    package = list(Path(softdiff_ext.__file__).parent.parent.glob("nvidia/**/bin/cuobjdump"))
    return shutil.which("cuobjdump") or (str(package[0]) if package else None)


def count_instructions(sass: str) -> dict[tuple[str, str], int]:
    """(mangled kernel, architecture) -> instructions, of cuobjdump -sass; padding is left out."""
    counts: dict[tuple[str, str], int] = {}
    architecture, name = "", ""
    for line in sass.splitlines():
        if match := re.match(r"\s*arch = (\w+)", line):
            architecture = match[1]
        elif match := re.match(r"\s*Function : (\S+)", line):
            name = match[1]
        elif re.match(r"\s*/\*[0-9a-f]{4,}\*/\s+\S", line) and " NOP " not in line and "NOP;" not in line:
            counts[name, architecture] = counts.get((name, architecture), 0) + 1
    return counts


def instructions(program: str) -> dict[tuple[str, str], int]:
    """(kernel, architecture) -> instructions in the built module."""
    from softdiff_ext import _C

    done = subprocess.run([program, "-sass", str(_C.__file__)], capture_output=True, text=True, check=True)
    counts = count_instructions(done.stdout)
    names = demangle([name for name, _ in counts])
    return {(names[name], architecture): count for (name, architecture), count in counts.items() if "run_phases" in name}


def table(found: list[Kernel], counted: dict[tuple[str, str], int]) -> str:
    lines = [
        "| kernel | architecture | registers | stack | spills | instructions | a pixel | H100: ps a pixel to issue |",
        "|---" * 8 + "|",
    ]
    for k in found:
        count = counted.get((k.name, k.architecture))
        pixel = count / k.side if count and k.side else None
        issue = f"{pixel / H100_LANES_PER_SECOND * 1e12:.2f}" if pixel else "-"
        cells = [k.name, k.architecture, k.registers, k.stack, k.spill_stores + k.spill_loads, count or "-"]
        cells += [f"{pixel:.1f}" if pixel else "-", issue]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "gpu_resources.md")
    options = parser.parse_args()
    found = kernels()
    if not found:
        raise SystemExit("no build with CUDA was found: build/*/ptxas has no logs")
    program = cuobjdump()
    counted = instructions(program) if program else {}
    memory = 8 / H100_BYTES_PER_SECOND * 1e12
    text = (
        "# CUDA kernels: registers, spills, instructions\n\n"
        "Written by `python benchmarks/gpu_resources.py` from the compiler's own report; nothing here was measured on a GPU. "
        f"Reading and writing a float32 pixel once takes an H100 {memory:.2f} ps; a kernel is bound by memory where issuing "
        "its instructions takes less. Kernels are counted as they lie in the module: where they loop, an instruction runs "
        "more than once, so they have no number a pixel.\n\n" + table(found, counted) + "\n"
    )
    options.out.write_text(text)
    print(text)
    for line in breaches(found):
        print(f"over a limit: {line}")


if __name__ == "__main__":
    main()

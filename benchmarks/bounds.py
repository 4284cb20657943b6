"""The least time that the arithmetic of dct_blur can take, counted from the recursion of csrc/core/codelets.hpp.

    python benchmarks/bounds.py [--ghz 4.05] [--lanes 16]      prints the table of docs/performance.md

Sides whose odd factor is at most 15: longer odd leaves cost what csrc/cpu/odd_choice.cpp estimates. An operation is one vector
addition, multiplication or fused multiply-add. Loads, stores, shuffles and spills are not counted.
"""

from __future__ import annotations

import argparse
import math
from functools import lru_cache

SHAPES = ((32, 32), (64, 64), (128, 128), (256, 256), (512, 512), (28, 28))
LONGEST_CODELET = 32
PER_CYCLE = 2  # vector operations a core can start in a cycle: two FMA units


@lru_cache
def dct2(n: int) -> int:
    """Operations of C2(n), and of its transpose C3(n)."""
    if n == 1:
        return 0
    if n % 2:  # dense, the symmetric and the antisymmetric half apart
        half = n // 2
        return 2 * half + (n - half) ** 2 + half**2
    return n + dct2(n // 2) + dct4(n // 2)


@lru_cache
def dct4(n: int) -> int:
    """Operations of C4(n): n/2 rotations, of three in codelets and of four beyond, two C2(n/2), n - 2 additions."""
    if n == 1:
        return 1
    if n % 2:  # a real DFT of length n: both halves, and 2 n - 1 additions and one product around them
        half = n // 2
        return 2 * half**2 + 5 * half + 1
    rotation = 3 if n <= LONGEST_CODELET else 4
    return rotation * (n // 2) + 2 * dct2(n // 2) + (n - 2)


def blur(height: int, width: int, lanes: int) -> float:
    """Vector operations per pixel: C2 and C3 along both axes and the gain, a product of two numbers; whole vectors of lines."""
    column_vectors, row_vectors = math.ceil(width / lanes), math.ceil(height / lanes)
    operations = column_vectors * 2 * dct2(height) + row_vectors * (2 * dct2(width) + 2 * width)
    return operations / (height * width)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ghz", type=float, default=4.05, help="clock; the default is that of the machine of the tables")
    parser.add_argument("--lanes", type=int, default=16, help="numbers in a vector: 16 float32 with AVX-512, 8 with AVX2")
    options = parser.parse_args()
    print("| plane | C2 along a column | along a row | operations per pixel | cycles per pixel | ns per pixel |")
    print("|---|---|---|---|---|---|")
    for height, width in SHAPES:
        operations = blur(height, width, options.lanes)
        cycles = operations / PER_CYCLE
        counts = f"{dct2(height)} | {dct2(width)} | {operations:.2f} | {cycles:.2f} | {cycles / options.ghz:.2f}"
        print(f"| {height}x{width} | {counts} |")


if __name__ == "__main__":
    main()

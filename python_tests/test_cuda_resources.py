"""Registers, spills and shared memory of every CUDA kernel, read from what the compiler said when the package was built."""

from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType

import pytest
import torch

import softdiff_ext as sd
from softdiff_ext import _C

from .benchmark_modules import load
from .emulated import Emulator

LOG = """
ptxas info    : Compiling entry function '_ZN8softdiff4cuda10run_phasesINS0_11SquareLevelILi32EfEEEEvNT_6ParamsEl' for 'sm_90'
ptxas info    : Function properties for _ZN8softdiff4cuda10run_phasesINS0_11SquareLevelILi32EfEEEEvNT_6ParamsEl
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 68 registers, used 1 barriers
ptxas info    : Compiling entry function '_ZN8softdiff4cuda10run_phasesINS0_10FillNormalIdEEEEvNT_6ParamsEl' for 'sm_120'
ptxas info    : Function properties for _ZN8softdiff4cuda10run_phasesINS0_10FillNormalIdEEEEvNT_6ParamsEl
    40 bytes stack frame, 48 bytes spill stores, 68 bytes spill loads
ptxas info    : Used 64 registers, used 1 barriers, 40 bytes cumulative stack size, 512 bytes smem
"""


@pytest.fixture
def resources(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return load("gpu_resources", monkeypatch)


def test_reads_the_compiler_s_report(resources: ModuleType) -> None:
    first, second = resources.read_log(LOG)
    assert first == resources.Kernel("SquareLevel<32, float>", "sm_90", 68, 0, 0, 0, 0)
    assert second == resources.Kernel("FillNormal<double>", "sm_120", 64, 40, 48, 68, 512)
    assert (first.side, first.family, first.arithmetic) == (32, "SquareLevel<32>", "float32")
    assert (second.side, second.family, second.arithmetic) == (None, "FillNormal", "float64")
    assert resources.breaches([first]) == []
    assert resources.breaches([second]) == ["FillNormal<double>, sm_120: spills 48 + 68 bytes"]
    assert len(resources.breaches([resources.Kernel("SquareLevel<128, float>", "sm_90", 168, 48, 1, 0, 0)])) == 1
    assert len(resources.breaches([resources.Kernel("K", "sm_80", 256, 0, 0, 0, 0)])) == 1
    assert len(resources.breaches([resources.Kernel("K", "sm_80", 9, 0, 0, 0, 200_000)])) == 1


def test_a_line_of_the_table_is_a_kernel_of_both_arithmetics_and_all_architectures(resources: ModuleType) -> None:
    found = [
        resources.Kernel(name, architecture, registers, 0, spill, 0, 0)
        for name, architecture, registers, spill in (
            ("SquareLevel<128, float>", "sm_80", 160, 0),
            ("SquareLevel<128, float>", "sm_90", 168, 8),
            ("FillNormal<float>", "sm_90", 40, 0),
            ("FillNormal<double>", "sm_90", 64, 0),
            ("SquareLevel<32, float>", "sm_90", 72, 0),
        )
    ]
    head, _, *lines = resources.resource_table(found).splitlines()
    assert head.startswith("| kernel | float32: registers | float64: registers |")
    assert lines == [
        "| FillNormal | 40 | 64 | under 48 | 0 | 0 |",
        "| SquareLevel<32> | 72 | - | 17 | 0 | 0 |",
        "| SquareLevel<128> | 160-168 | - | 65 | 0 | 8 |",
    ]


@pytest.mark.parametrize("side", [8, 16, 28, 32, 64, 128])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_shared_memory_is_what_launches_ask_for(
    side: int, dtype: torch.dtype, resources: ModuleType, emulator: Emulator
) -> None:
    x = torch.zeros((300, 1, side, side), dtype=dtype)
    s, t = sd.Level(-0.1, 0.5, 0.2, 1e-2), sd.Level(-0.4, 1.0, 0.6, 1e-2)
    emulator.begin(dry=True)
    sd.dct_blur(x, 1.0)
    sd.spectral_filter(x, torch.ones((side, side)))
    sd.dct(x)
    sd.posterior_sample(x, x, s, t)
    wanted = [("SquareLevel", 1), ("SquareCombine", 1), ("SquareTransform", 1), ("SquareCombine", 2)]
    square = [(launch[2], launch[3]) for launch in emulator.report()["log"] if "square" in launch[0]]
    for (threads, shared), (family, tiles) in zip(square, wanted, strict=side < 128):
        assert threads == side * resources.planes_of_block(family, side, tiles)
        assert shared == resources.shared_of_block(family, side, tiles)


@pytest.mark.parametrize("side", [128, 256])
def test_shared_memory_of_halves(side: int, resources: ModuleType, emulator: Emulator) -> None:
    x = torch.zeros((2, 1, side, side))
    s, t = sd.Level(-0.1, 0.5, 0.2, 1e-2), sd.Level(-0.4, 1.0, 0.6, 1e-2)
    emulator.begin(dry=True)
    sd.posterior_sample(x, x, s, t)
    families = ["HalvesIn", "HalvesIn", "HalvesRows", "HalvesOut"]
    wanted = [resources.shared_of_halves(family, side, 2) for family in families]
    if side == 256:  # a level of 128 is one pass
        sd.dct_blur(x, 1.0)
        wanted += [resources.shared_of_halves(family, side) for family in families[1:]]
    assert [launch[3] for launch in emulator.report()["log"]] == wanted


def test_doubles_have_no_kernels_of_squares(emulator: Emulator) -> None:
    emulator.begin(dry=True)
    sd.dct_blur(torch.zeros((3, 1, 32, 32), dtype=torch.float64), 1.0)
    assert [launch[0] for launch in emulator.report()["log"]] == ["tiles"]


def test_no_kernel_spills(resources: ModuleType) -> None:
    if not _C.cuda_compiled:
        pytest.skip("not run: the package was built without CUDA")
    logs: list[Path] = resources.logs()
    if not logs:
        pytest.skip("not run: the package was not built in this folder, so there are no logs of the compiler")
    found = resources.kernels()
    built = {f"sm_{number}" for number in re.findall(r"\d+", sd.build_info()["cuda_architectures"])}
    assert {kernel.architecture for kernel in found} == built
    assert {"SquareLevel<64, float>", "SquareCombine<128, float>", "HalvesRows<256, float>"} <= {
        kernel.name for kernel in found
    }
    assert resources.breaches(found) == []

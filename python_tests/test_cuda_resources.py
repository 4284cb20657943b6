"""Registers, spills and shared memory of every CUDA kernel, read from what the compiler said when the package was built."""

from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType

import pytest

import softdiff_ext as sd
from softdiff_ext import _C

from .benchmark_modules import load

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
SASS = """
	.target	sm_90
		arch = sm_90
		Function : _Z1fv
        /*0000*/                   LDC R1, c[0x0][0x28] ;                        /* 0x00000a00ff017b82 */
                                                                                 /* 0x000fe20000000800 */
        /*0010*/                   EXIT ;                                        /* 0x000000000000794d */
        /*0020*/                   NOP;                                          /* 0x0000000000007918 */
"""


@pytest.fixture
def resources(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return load("gpu_resources", monkeypatch)


def test_reads_the_compiler_s_report(resources: ModuleType) -> None:
    first, second = resources.read_log(LOG)
    assert first == resources.Kernel("SquareLevel<32, float>", "sm_90", 68, 0, 0, 0, 0)
    assert second == resources.Kernel("FillNormal<double>", "sm_120", 64, 40, 48, 68, 512)
    assert first.side == 32
    assert second.side is None
    assert resources.breaches([first]) == []
    assert resources.breaches([second]) == ["FillNormal<double>, sm_120: spills 48 + 68 bytes"]
    assert len(resources.breaches([resources.Kernel("K", "sm_80", 256, 0, 0, 0, 0)])) == 1
    assert len(resources.breaches([resources.Kernel("K", "sm_80", 9, 0, 0, 0, 200_000)])) == 1


def test_counts_instructions(resources: ModuleType) -> None:
    assert resources.count_instructions(SASS) == {("_Z1fv", "sm_90"): 2}


def test_no_kernel_spills(resources: ModuleType) -> None:
    if not _C.cuda_compiled:
        pytest.skip("not run: the package was built without CUDA")
    logs: list[Path] = resources.logs()
    if not logs:
        pytest.skip("not run: the package was not built in this folder, so there are no logs of the compiler")
    found = resources.kernels()
    built = {f"sm_{number}" for number in re.findall(r"\d+", sd.build_info()["cuda_architectures"])}
    assert {kernel.architecture for kernel in found} == built
    assert {"SquareLevel<64, float>", "SquareCombine<128, float>"} <= {kernel.name for kernel in found}
    assert resources.breaches(found) == []

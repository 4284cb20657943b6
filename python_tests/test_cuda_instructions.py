"""Counting what a warp runs of a kernel: ways through machine code that was written for this."""

from __future__ import annotations

from types import ModuleType

import pytest

from .benchmark_modules import load

# A kernel of three phases: an optional read in front, a slow division that is never taken, a function for one thread of a
# plane, and after the second barrier either a way out or a third phase.
SASS = """
        /*0000*/                   LDC R1, c[0x0][0x28] ;                        /* 0x00000a00ff017b82 */
                                                                                 /* 0x000fe20000000800 */
        /*0010*/              @!P0 BRA 0x40 ;                                    /* 0x1 */
        /*0020*/                   LDG.E.64 R2, [R4] ;                           /* 0x1 */
        /*0030*/                   FADD R2, R2, R3 ;                             /* 0x1 */
        /*0040*/              @!P1 BRA 0x70 ;                                    /* 0x1 */
        /*0050*/                   CALL.REL.NOINC 0x200 ;                        /* 0x1 */
        /*0060*/                   IADD3 R2, R2, R3, R4 ;                        /* 0x1 */
        /*0070*/               @P2 BRA 0x90 ;                                    /* 0x1 */
        /*0080*/                   CALL.REL.NOINC 0x1c0 ;                        /* 0x1 */
        /*0090*/                   STS [R2], R3 ;                                /* 0x1 */
        /*00a0*/                   BAR.SYNC.DEFER_BLOCKING 0x0 ;                 /* 0x1 */
        /*00b0*/                   LDS R2, [R3] ;                                /* 0x1 */
        /*00c0*/                   IMAD.MOV.U32 R2, RZ, RZ, R3 ;                 /* 0x1 */
        /*00d0*/                   BAR.SYNC.DEFER_BLOCKING 0x0 ;                 /* 0x1 */
        /*00e0*/              @!P0 BRA P1, 0x120 ;                               /* 0x1 */
        /*00f0*/                   FFMA R2, R2, R3, R4 ;                         /* 0x1 */
        /*0100*/                   STG.E [R4], R2 ;                              /* 0x1 */
        /*0110*/                   EXIT ;                                        /* 0x1 */
        /*0120*/                   STS [R2], R3 ;                                /* 0x1 */
        /*0130*/                   STS [R2], R3 ;                                /* 0x1 */
        /*0140*/                   BAR.SYNC.DEFER_BLOCKING 0x0 ;                 /* 0x1 */
        /*0150*/                   STG.E [R4], R2 ;                              /* 0x1 */
        /*0160*/               @P0 BRA 0x150 ;                                   /* 0x1 */
        /*0170*/                   EXIT ;                                        /* 0x1 */
        /*01c0*/                   MUFU.EX2 R2, R3 ;                             /* 0x1 */
        /*01d0*/                   ST.E [R4], R2 ;                               /* 0x1 */
        /*01e0*/                   RET.REL.NODEC R2 0x0 ;                        /* 0x1 */
        /*0200*/                   IADD3 R2, R2, R3, R4 ;                        /* 0x1 */
        /*0210*/                   RET.REL.NODEC R2 0x0 ;                        /* 0x1 */
        /*0220*/                   NOP;                                          /* 0x1 */
"""


@pytest.fixture
def counter(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return load("gpu_instructions", monkeypatch)


def test_the_longest_way_of_a_blur(counter: ModuleType) -> None:
    code = counter.read(SASS)
    assert 0x220 not in code
    way = [one.address for one in counter.longest(code, 0, counter.BARRIERS, "EXIT")]
    # with the optional read and the function of one thread; without the division, the third barrier and the loop behind it
    assert way == [*range(0x00, 0x50, 0x10), *range(0x70, 0x120, 0x10)]
    assert [one.address for one in counter.longest(code, 0x1C0, 0, "RET")] == [0x1C0, 0x1D0, 0x1E0]
    with pytest.raises(ValueError, match="passes 5 barriers"):
        counter.longest(code, 0, 5, "EXIT")


# A kernel that reads and writes images of 32 bits or of 16 bits, three more instructions for these, and calls a function that
# stores nothing on every way.
WIDTHS = """
        /*0000*/              @!P0 BRA 0x30 ;                                    /* 0x1 */
        /*0010*/                   LDG.E R2, [R4] ;                              /* 0x1 */
        /*0020*/                   BRA 0x60 ;                                    /* 0x1 */
        /*0030*/                   LDG.E.U16 R2, [R4] ;                          /* 0x1 */
        /*0040*/                   HADD2.F32 R2, -RZ, R2.H0_H0 ;                 /* 0x1 */
        /*0050*/                   IMAD.MOV.U32 R2, RZ, RZ, R3 ;                 /* 0x1 */
        /*0060*/                   BAR.SYNC.DEFER_BLOCKING 0x0 ;                 /* 0x1 */
        /*0070*/                   CALL.REL.NOINC 0x100 ;                        /* 0x1 */
        /*0080*/              @!P1 BRA 0xa0 ;                                    /* 0x1 */
        /*0090*/                   CALL.REL.NOINC 0x100 ;                        /* 0x1 */
        /*00a0*/                   BAR.SYNC.DEFER_BLOCKING 0x0 ;                 /* 0x1 */
        /*00b0*/               @P0 STG.E.U16 [R4], R2 ;                          /* 0x1 */
        /*00c0*/               @P0 EXIT ;                                        /* 0x1 */
        /*00d0*/                   STG.E [R4], R2 ;                              /* 0x1 */
        /*00e0*/                   EXIT ;                                        /* 0x1 */
        /*0100*/                   MUFU.EX2 R2, R3 ;                             /* 0x1 */
        /*0110*/                   RET.REL.NODEC R2 0x0 ;                        /* 0x1 */
"""


def test_ways_of_images_by_the_width_of_their_numbers(counter: ModuleType) -> None:
    code = counter.read(WIDTHS.replace("@P0 STG.E.U16", "STG.E.U16"))
    half = [one.address for one in counter.longest(code, 0, counter.BARRIERS, "EXIT", 2)]
    assert half == [0x00, *range(0x30, 0x90, 0x10), *range(0xA0, 0xD0, 0x10)]  # with one call of the two
    code = counter.read(WIDTHS.replace("@P0 STG.E.U16", "@P0 BRA 0xd0 ;").replace("@P0 EXIT", "EXIT"))
    full = [one.address for one in counter.longest(code, 0, counter.BARRIERS, "EXIT", 4)]
    assert full == [0x00, 0x10, 0x20, *range(0x60, 0x90, 0x10), 0xA0, 0xB0, 0xD0, 0xE0]
    assert len(counter.with_callees(code, counter.longest(code, 0x70, 1, "EXIT", 4))) == 6 + 2


@pytest.mark.parametrize(("side", "share"), [(32, 1.0), (128, 0.25)])
def test_counts_by_class(counter: ModuleType, side: int, share: float) -> None:
    counts = counter.per_pixel(counter.read(SASS), side)
    assert counts["global memory"] * side == pytest.approx(2)
    assert counts["shared memory"] * side == pytest.approx(2 + share)  # of one thread of a plane: a quarter of the warps at 128
    assert counts["floating point"] * side == pytest.approx(2)
    assert counts["integer and moves"] * side == pytest.approx(1)
    assert counts.total() * side == pytest.approx(16 + 3 * share)


def test_predictions(counter: ModuleType) -> None:
    full = counter.Counter({"shared memory": 5.0, "global memory": 2.0, "floating point": 33.0})
    issue, moved = counter.picoseconds(full)
    assert issue == pytest.approx(40 / (132 * 4 * 32 * 1.755e-3))  # lanes in a picosecond
    assert moved == pytest.approx(7 / (132 * 32 * 1.755e-3))
    assert counter.predicted(1.0, 0.5, 2.0, 5) == pytest.approx((1 / 1.1, 1.0))
    assert counter.predicted(4.0, 0.5, 2.0, 2) == pytest.approx((0.25, 0.5))

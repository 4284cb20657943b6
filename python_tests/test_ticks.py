"""Ticks: few, round, different, in plain numbers that do not touch; the curves of an evaluation are looked at as drawn."""

from __future__ import annotations

import re
from itertools import pairwise
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg

from softdiff_ext.evaluation.features import Features
from softdiff_ext.evaluation.page import apart, curve_figure
from softdiff_ext.report.ticks import is_wide, labels, linear_ticks, log_ticks, short

NETWORK = cast(Features, SimpleNamespace(frechet="FD-X", kernel="KD-X"))


def test_ticks_are_round_and_numbers_short() -> None:
    assert linear_ticks(0.03, 0.97) == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1.0])
    assert linear_ticks(5, 5) == pytest.approx([2, 3, 4, 5, 6, 7, 8])
    assert log_ticks(0.03, 40) == pytest.approx([0.01, 0.1, 1, 10, 100])
    assert log_ticks(0.065, 1.08) == pytest.approx([0.05, 0.1, 0.2, 0.5, 1, 2])
    assert log_ticks(0.3, 4) == pytest.approx([0.2, 0.5, 1, 2, 5])
    assert [short(value) for value in (1500, 0.0712345, 2e-5, 0, 3e6)] == ["1.5k", "0.0712", "2e-05", "0", "3M"]
    assert labels([1500, 2000]) == ["1.5k", "2k"]
    assert labels([1000, 1002, 1004]) == ["1k", "1.002k", "1.004k"]
    assert labels([0.0, 1e-20]) == ["0", "1e-20"]


@given(st.floats(-1e6, 1e6), st.floats(0.001, 1e6))
def test_different_ticks_have_different_labels(low: float, extent: float) -> None:
    for ticks in (linear_ticks(low, low + extent), log_ticks(abs(low) + 1e-3, abs(low) + extent + 1e-3)):
        assert 2 <= len(ticks) <= 8
        assert len(set(labels(ticks))) == len(ticks)


@given(st.sets(st.integers(1, 4000), min_size=1, max_size=40).map(sorted))
def test_the_counts_that_are_named_lie_apart(counts: list[int]) -> None:
    named = apart(counts)
    assert set(named) <= set(counts)
    assert (named[0], named[-1]) == (counts[0], counts[-1])
    assert len(named) <= 7
    gap = (counts[-1] / counts[0]) ** (1 / 6) * (1 - 1e-9)
    assert len(named) <= 2 or all(second / first >= gap for first, second in pairwise(named))


def measured(floor: float, first: float, last: float, steps: list[int], kernel: float) -> list[dict[str, Any]]:
    """Rows of an evaluation whose distances go from `first` to `last`."""
    ratios = [i / max(1, len(steps) - 1) for i in range(len(steps))]
    rows: list[dict[str, Any]] = [{"sampler": "held-out images", "steps": None, "n": 359, "FD-X": floor, "KD-X": 0.0}]
    for rule in ("markov", "ddim"):
        for count, ratio in zip(steps, ratios, strict=True):
            distance = first * (last / first) ** ratio
            rows.append({"sampler": rule, "steps": count, "n": 1024, "FD-X": distance, "KD-X": kernel * distance})
    return [row | {"KD-X std": abs(row["KD-X"]) / 20} for row in rows]


CASES = {
    "narrow": (60.0, 75.0, 65.0, [50, 100], 1e-3),
    "very narrow": (1000.0, 1004.0, 1001.0, [99, 100, 101], 1e-3),
    "a decade": (9.0, 90.0, 20.0, [10, 20, 50, 100, 200], 1e-4),
    "just over a decade": (2.9, 31.0, 3.0, [10, 20, 50, 100, 200], 1e-4),
    "seven decades": (1e-3, 1e4, 0.2, [1, 2, 3, 5, 10, 20, 50, 100, 200, 500, 1000], 1e-7),
    "close counts": (5.0, 400.0, 20.0, [10, 11, 12, 13, 90, 95, 100, 101, 999, 1000], -1e-4),
}


@pytest.mark.parametrize("case", CASES)
def test_curves_of_quality_have_few_plain_labels_that_do_not_touch(case: str) -> None:
    floor, first, last, steps, kernel = CASES[case]
    figure = curve_figure(measured(floor, first, last, steps, kernel), [NETWORK])
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    assert len(figure.axes) == 2
    for axis in cast(list[Axes], figure.axes):
        for direction, limits in ((axis.xaxis, axis.get_xlim()), (axis.yaxis, axis.get_ylim())):
            ticks = [*direction.get_major_ticks(), *direction.get_minor_ticks()]
            shown = [tick.label1 for tick in ticks if tick.label1.get_text() and tick.label1.get_visible()]
            assert 2 <= len(shown) <= 7, [text.get_text() for text in shown]
            assert direction.get_offset_text().get_text() == ""
            for tick, text in zip(ticks, shown, strict=True):
                assert re.fullmatch(r"[-]?\d+(\.\d+)?(e-\d+|k|M)?", text.get_text())
                assert limits[0] <= tick.get_loc() <= limits[1]
            boxes = [text.get_window_extent(canvas.get_renderer()).padded(1) for text in shown]
            assert not any(one.overlaps(other) for i, one in enumerate(boxes) for other in boxes[:i])
    assert (figure.axes[0].get_yscale() == "log") == is_wide(min(floor, last), max(floor, first))


def test_one_number_of_steps_is_named() -> None:
    figure = curve_figure(measured(5.0, 20.0, 20.0, [100], 1e-4), [NETWORK])
    assert [text.get_text() for text in figure.axes[0].get_xticklabels()] == ["100"]

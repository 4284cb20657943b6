"""The curves of a report: the log they are read from, and where they are drawn."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch

from softdiff_ext.report.charts import Curve, chart, smoothed, thinned
from softdiff_ext.report.pictures import evenly
from softdiff_ext.training.log import StepLog, read_log

from .markup import Checked


def test_a_log_survives_crashes_and_resuming(tmp_path: Path) -> None:
    log = StepLog(tmp_path, 0)
    for step in range(1, 8):
        log.add(step, {"loss": step / 2, "gradient_norm": float("nan") if step == 3 else 1.0})
    log.close()
    with open(tmp_path / "log.jsonl", "a", encoding="utf-8") as file:
        file.write('7\n{"step": "8"}\n{"step": 9, "loss": "low"}\n{"step": 8, "lo')  # killed while it wrote
    assert read_log(tmp_path)["loss"] == ([*range(1, 8)], [step / 2 for step in range(1, 8)])
    log = StepLog(tmp_path, 5)  # goes on from a checkpoint of step 5: steps 6 and 7 come again
    log.add(6, {"loss": 9.0})
    log.add(6, {"held_out_loss": 4.0})
    log.close()
    curves = read_log(tmp_path)
    assert curves["loss"] == ([1, 2, 3, 4, 5, 6], [0.5, 1.0, 1.5, 2.0, 2.5, 9.0])
    assert curves["gradient_norm"][0] == [1, 2, 4, 5]
    assert curves["held_out_loss"] == ([6], [4.0])
    assert all(json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines())
    assert read_log(tmp_path / "nowhere") == {}


def test_curves_are_drawn_where_their_values_are() -> None:
    figure = chart("c", "Loss <1>", [Curve("a", [10, 20, 30], [1.0, 3.0, 2.0]), Curve("none", [], [])])
    assert "Loss &lt;1&gt;" in figure
    assert 'points="54.0,212.0 218.0,10.0 382.0,111.0"' in figure  # left and bottom, middle and top, right and middle
    assert "a: 2 at step 30, least 1 at step 10" in figure
    Checked(figure)
    Checked(chart("c", "one value", [Curve("a", [5], [0.0])]))
    assert "(logarithmic)" in chart("c", "falls", [Curve("a", [1, 2], [100.0, 0.1])])
    assert "(logarithmic)" not in chart("c", "has a zero", [Curve("a", [1, 2], [100.0, 0.0])])
    late = re.findall(r">([\d.]+k)</text>", chart("c", "late steps", [Curve("a", [100_001, 100_009], [1e6, 2e6])]))
    assert late == ["100.002k", "100.004k", "100.006k", "100.008k"]  # not 100k four times


def test_long_curves_keep_their_mean() -> None:
    values = torch.rand(1000, generator=torch.Generator().manual_seed(0)).tolist()
    thin = thinned(Curve("a", list(range(1, 1001)), values))
    assert len(thin.steps) == 200
    assert (thin.steps[0], thin.steps[-1]) == (5, 1000)
    assert sum(thin.values) / 200 == pytest.approx(sum(values) / 1000)
    assert smoothed([2.0] * 50) == pytest.approx([2.0] * 50)


def test_some_of_many_are_spread_evenly() -> None:
    assert evenly(10, 4) == [0, 3, 6, 9]
    assert evenly(3, 4) == [0, 1, 2]

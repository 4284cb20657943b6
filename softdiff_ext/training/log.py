"""The numbers of a run, RUN/log.jsonl: one JSON object a line, readable while the run grows and after a crash.

A line has "step", and any of loss, gradient_norm, images_per_second, held_out_loss and the numbers that a process logs.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from softdiff_ext.training.files import errors_name, write_file

NAME = "log.jsonl"


class StepLog:
    """Appends lines to the log of a run.

    Args:
        run: its folder.
        start: steps done when the run goes on: later lines, of steps that a crash undid, are dropped and written anew.
    """

    def __init__(self, run: Path, start: int) -> None:
        self.path = run / NAME
        if self.path.exists():
            kept = [entry for entry in read_lines(self.path) if entry["step"] <= start]
            write_file(self.path, "".join(map(_line, kept)).encode())
        self._file = open(self.path, "a", encoding="utf-8", buffering=1)  # noqa: SIM115  open as long as the run; a line at a time

    def add(self, step: int, values: dict[str, float]) -> None:
        """One line; numbers that are not finite, for which JSON has no name, are left out. OSError names the file."""
        finite = {name: value for name, value in values.items() if math.isfinite(value)}
        with errors_name(self.path):
            self._file.write(_line({"step": step, **finite}))

    def close(self) -> None:
        self._file.close()


def read_log(run: Path) -> dict[str, tuple[list[int], list[float]]]:
    """The curves in the log of a run: for each name the steps, rising, and the values there. Empty where there is no log."""
    path, curves = run / NAME, dict[str, dict[int, float]]()
    for entry in read_lines(path) if path.exists() else []:
        for name, value in entry.items():
            if name != "step":
                curves.setdefault(name, {})[entry["step"]] = value
    return {name: (steps := sorted(points), [points[step] for step in steps]) for name, points in curves.items()}


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The lines of a log; one that a crash cut short, or that is no JSON object with a step and numbers, is passed over."""
    entries = []
    for line in path.read_text("utf-8", errors="replace").splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict) and type(entry.get("step")) is int and all(map(_is_number, entry.values())):
            entries.append(entry)
    return entries


def _is_number(value: Any) -> bool:
    return type(value) is int or (type(value) is float and math.isfinite(value))


def _line(entry: dict[str, Any]) -> str:
    return json.dumps(entry) + "\n"

"""What `softdiff evaluate` measured: the JSON files in RUN/evaluation as tables, whatever they hold."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Table:
    """Rows of numbers and words under named columns."""

    caption: str
    columns: list[str]
    rows: list[list[object]]


@dataclass(frozen=True)
class Spread:
    """A number and its standard deviation, which a measurement has under its name and "std"."""

    value: float
    deviation: float

    def __str__(self) -> str:
        return f"{self.value:.4g} ± {self.deviation:.2g}"


def quality_tables(run: Path) -> list[Table]:
    """The tables of all files in run/evaluation, in the order of their names.

    Raises:
        ValueError: a file is no JSON.
    """
    tables = []
    paths = sorted((run / "evaluation").glob("*.json"))
    for path in paths:
        try:
            content = json.loads(path.read_text("utf-8"))
        except ValueError as error:
            raise ValueError(f"report: {path} is damaged: {error}") from error
        tables += list(tables_of(content, words(path.stem) if len(paths) > 1 else ""))
    return tables


def tables_of(content: Any, caption: str) -> Iterator[Table]:
    """A mapping's plain values as a table of two columns, a list of mappings as one of a column a key, and so on inside."""
    if isinstance(content, dict):
        plain = [[words(name), shown(value)] for name, value in content.items() if is_plain(value)]
        if plain:
            yield Table(caption or "measured", ["measure", "value"], plain)
        for name, value in content.items():
            if not is_plain(value):
                yield from tables_of(value, f"{caption}: {words(name)}" if caption else words(name))
    elif isinstance(content, list) and content and all(isinstance(row, dict) for row in content):
        rows = [spreads(row) for row in content]
        columns = list(dict.fromkeys(name for row in rows for name in row))
        if columns:
            values: list[list[object]] = [[row.get(name) for name in columns] for row in rows]
            yield Table(caption or "measured", [words(name) for name in columns], values)


def spreads(row: dict[str, Any]) -> dict[str, object]:
    """The plain values of a row, those that have a deviation beside them as one."""
    plain = {name: value for name, value in row.items() if is_plain(value)}

    def both(name: str) -> bool:
        return all(isinstance(plain.get(key), (int, float)) for key in (name, f"{name} std"))

    folded = {f"{name} std" for name in plain if both(name)}
    return {
        name: Spread(value, plain[f"{name} std"]) if both(name) else shown(value)
        for name, value in plain.items()
        if name not in folded
    }


def is_plain(value: Any) -> bool:
    """Whether a value goes into one cell: a number, a word, or a short list of them."""
    short = isinstance(value, list) and len(value) <= 6 and not any(isinstance(item, (dict, list)) for item in value)
    return value is None or isinstance(value, (str, int, float, bool)) or short


def shown(value: Any) -> object:
    return ", ".join(map(str, value)) if isinstance(value, list) else value


def words(name: str) -> str:
    return name.replace("_", " ")

"""The help of a command: its options in groups, what they mean, and their values where they are not given."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING
from pathlib import Path
from types import NoneType
from typing import Any, get_args, get_origin

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from softdiff_ext.commands.arguments import Option, choices_of, collect, members

WIDEST = 104  # a line that is longer is hard to read
NAMES = 31  # columns for the names: those of all options of this package fit


def show_help(
    options: Callable[..., Any],
    command: str,
    sections: Mapping[str, Sequence[str]] | None = None,
    hidden: Callable[[Option], bool] = lambda option: False,
    closing: Mapping[str, Sequence[tuple[str, str]]] | None = None,
) -> None:
    """Print the help of a command on standard output.

    Args:
        options: the function whose parameters they are.
        command: name of the command.
        sections: title and names of the options that stand below it; all others stand under "Options", or below the first
            line of the docstring of the dataclass within a dataclass that they lie in.
        hidden: options that are not shown.
        closing: what follows, by title: pairs of a word and what it means.
    """
    console = Console(highlight=False, soft_wrap=False)
    width = min(console.width, WIDEST)
    known = [option for option in collect(options) if not hidden(option)]
    groups: dict[str, list[Option]] = {"": [], "Options": [], **{title: [] for title in sections or {}}}
    titles = {name: title for title, names in (sections or {}).items() for name in names}
    for option in known:
        nested = (inspect.getdoc(option.group) or "").partition("\n")[0].rstrip(".") if "." in option.name else "Options"
        groups.setdefault("" if option.metavar else titles.get(option.name, nested), []).append(option)

    usage = ["softdiff", command, *(option.metavar for option in known if option.metavar)]
    usage += [] if all(option.metavar for option in known) else ["[options]"]
    console.print(Text(" ".join(usage), style="bold"), width=width)
    paragraphs = (inspect.getdoc(options) or "").partition("Args:")[0].strip().split("\n\n")
    words = "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)  # lines break where the terminal wants it
    console.print(Padding(Text(words), (1, 0)), width=width)
    for title, group in groups.items():
        if group:
            rows = [(name_of(option), explanation(option)) for option in group]
            show_rows(console, title, rows, width)
    for title, pairs in (closing or {}).items():
        show_rows(console, title, [(word, Text(text)) for word, text in pairs], width)


def show_rows(console: Console, title: str, rows: Sequence[tuple[str, Text]], width: int) -> None:
    """A title and two columns below it; a name too long for its column has a line of its own."""
    if title:
        console.print(Text(title, style="bold yellow"), width=width)
    for name, text in rows:
        if too_long := len(name) > NAMES:
            console.print(Text(f"  {name}", style="cyan"), width=width)
        grid = Table.grid(padding=(0, 1))
        grid.add_column(width=NAMES, style="cyan", no_wrap=True)
        grid.add_column(ratio=1)
        grid.add_row("" if too_long else name, text)
        console.print(Padding(grid, (0, 0, 0, 2)), width=width)
    console.print()


def name_of(option: Option) -> str:
    """RUN, --resume, --steps N."""
    return option.flag if option.metavar else f"{option.flag} {metavar(option.kind)}".strip()


def metavar(kind: Any) -> str:
    """What stands for a value: N, X, TEXT, PATH or NAME, several times where there are several; nothing for a switch."""
    kind = next(member for member in members(kind) if member is not NoneType)
    if kind is bool:
        return ""
    if get_origin(kind) is tuple:
        parts = get_args(kind)
        return f"{metavar(parts[0])} ..." if parts[-1] is Ellipsis else " ".join(map(metavar, parts))
    return "NAME" if choices_of(kind) else {int: "N", float: "X", str: "TEXT", Path: "PATH"}[kind]


def explanation(option: Option) -> Text:
    """What an option means, what it may be, and its value where it is not given."""
    text = Text(re.sub(r"\bNone\b", "none", option.text))  # what a person types for it
    if choices := choices_of(option.kind):
        text.append(f" One of {', '.join(choices)}.")
    if option.default is not MISSING and option.default is not None and option.default is not False:
        text.append(f" [{shown(option.default)}]", style="dim")
    return text


def shown(value: Any) -> str:
    """A default as a person would type it."""
    return " ".join(map(shown, value)) if isinstance(value, tuple) else f"{value:g}" if isinstance(value, float) else str(value)

"""How every command reads its arguments: the parameters of a function, with its docstring as the help."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, TypeVar

import tyro

T = TypeVar("T")
Run = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]


def parse(options: Callable[..., T], command: str, arguments: Sequence[str]) -> T:
    """What `options` returns for the arguments of `softdiff COMMAND`; exits with a message where they are wrong."""
    return tyro.cli(options, prog=f"softdiff {command}", args=arguments, config=(tyro.conf.FlagCreatePairsOff,))

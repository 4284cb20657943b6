"""The command `softdiff`. Each command imports what it needs, so `info` works without any extra."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Callable, Sequence

USAGE = """\
usage: softdiff COMMAND ...

commands:
  train RUN [options]    train a network; the folder RUN keeps everything about it
  sample RUN [options]   draw images from a trained network
  evaluate RUN [options] how good its images are: distances to real ones, bits per dimension, nearest training images
  report RUN [options]   one HTML page about a run: curves, samples, both paths to play, nearest neighbours
  export RUN DIR         write a trained network as a pipeline folder of diffusers
  info                   versions, instruction set, devices: what to put into a bug report

softdiff COMMAND --help lists the options of a command. To begin with:
  softdiff train runs/a --config digits
  softdiff report runs/a"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code: 0, 2 for an error the user can mend, 130 when stopped by Ctrl-C
    (training that saved itself: 128 + the number of the signal)."""
    command, *arguments = list(sys.argv[1:] if argv is None else argv) or ["--help"]
    if command in ("-h", "--help"):
        print(USAGE)
        return 0
    if command not in COMMANDS:
        near = difflib.get_close_matches(command, COMMANDS, n=1)
        hint = f"did you mean softdiff {near[0]}?" if near else f"commands are {', '.join(COMMANDS)}"
        return fail(f"unknown command {command!r}; {hint}")
    try:
        return COMMANDS[command](arguments)
    except KeyboardInterrupt:
        print("softdiff: stopped", file=sys.stderr)
        return 130
    except OSError as error:
        return fail(f"{error.filename}: {error.strerror}" if error.filename and error.strerror else str(error))
    except (ArithmeticError, ImportError, RuntimeError, TypeError, ValueError) as error:
        return fail(str(error))


def fail(message: str) -> int:
    """One line on standard error; exit code 2."""
    print(f"softdiff: {' '.join(message.split())}", file=sys.stderr)
    return 2


def info(arguments: Sequence[str]) -> int:
    """Print what this build and machine are."""
    if arguments and arguments[0] in ("-h", "--help"):
        print("usage: softdiff info\n\nPrint versions, instruction set in use and devices.")
        return 0
    if arguments:
        return fail(f"info takes no options, got {' '.join(arguments)}")
    from softdiff_ext.build_info import build_info

    facts = build_info()
    width = max(map(len, facts))
    for name, value in facts.items():
        text = ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else value
        print(f"{name:<{width}}  {'-' if text in (None, '') else text}")
    return 0


def train(arguments: Sequence[str]) -> int:
    """Train a network, or continue a run."""
    from softdiff_ext.commands.train import run_train

    return run_train(arguments)


def sample(arguments: Sequence[str]) -> int:
    """Draw images from the last checkpoint of a run."""
    from softdiff_ext.commands.sample import run_sample

    return run_sample(arguments)


def evaluate(arguments: Sequence[str]) -> int:
    """Measure the images of a run."""
    from softdiff_ext.commands.evaluate import run_evaluate

    return run_evaluate(arguments)


def report(arguments: Sequence[str]) -> int:
    """Write one page about a run."""
    from softdiff_ext.commands.report import run_report

    return run_report(arguments)


def export(arguments: Sequence[str]) -> int:
    """Write a run as a pipeline folder of diffusers."""
    from softdiff_ext.commands.export import run_export

    return run_export(arguments)


COMMANDS: dict[str, Callable[[Sequence[str]], int]] = {
    "train": train,
    "sample": sample,
    "evaluate": evaluate,
    "report": report,
    "export": export,
    "info": info,
}

"""`softdiff evaluate`: flags in, one call out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from softdiff_ext.commands.arguments import Run, parse
from softdiff_ext.evaluation.evaluate import EvaluateOptions, evaluate
from softdiff_ext.training.group import end_processes


def run_evaluate(arguments: Sequence[str]) -> int:
    """Returns the exit code."""

    def options(run: Run, what: EvaluateOptions = EvaluateOptions()) -> tuple[Path, EvaluateOptions]:  # noqa: B008
        """Measure the images of a run's last checkpoint against its training and held-out images: RUN/evaluation.

        Args:
            run: Run folder.
            what: Everything to measure.
        """
        return run, what

    folder = evaluate(*parse(options, "evaluate", arguments))
    print(f"{folder / 'evaluation.md'}\n{folder / 'evaluation.json'}")
    end_processes()
    return 0

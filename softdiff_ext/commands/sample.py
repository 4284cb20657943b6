"""`softdiff sample`: flags in, one call out."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from softdiff_ext.commands.arguments import Run, parse
from softdiff_ext.training.group import end_processes
from softdiff_ext.training.sampling import BATCH, RULES, sample_run

RuleName = Literal["default", "markov", "momentum", "momentum-exact", "ddim", "naive", "cold"]


def run_sample(arguments: Sequence[str]) -> int:
    """Returns the exit code."""

    def options(
        run: Run,
        count: int = 64,
        steps: int = 100,
        rule: RuleName = "default",
        times: Literal["uniform", "quadratic"] = "uniform",
        seed: int = 0,
        out: Path | None = None,
        overwrite: bool = False,
        batch: int = BATCH,
    ) -> tuple[Path, Path]:
        """Draw images from the averaged weights of a run's last checkpoint, as a PNG sheet and a .npy array in [-1, 1].

        Args:
            run: Run folder.
            count: Number of images.
            steps: Sampler steps; a process with levels takes at most as many as these.
            rule: Sampler; default is that of the process.
            times: Equal steps in time, or steps that shrink towards the image.
            seed: Names the random numbers.
            out: Files to write, without suffix: OUT.png and OUT.npy; RUN/samples/STEP-seed-SEED where not given.
            overwrite: Replace files that exist.
            batch: Images drawn at once by a process; the images do not depend on it, but for rounding.
        """
        return sample_run(run, count, steps, RULES[rule], seed, out, overwrite, times == "quadratic", batch)

    sheet, array = parse(options, "sample", arguments)
    end_processes()
    if os.environ.get("RANK", "0") == "0":  # torchrun starts several processes
        print(f"{sheet}\n{array}")
    return 0

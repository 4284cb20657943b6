"""`softdiff train` and `softdiff sample`: flags in, one call out."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import tyro

from softdiff_ext.training.config import TrainConfig, load_config
from softdiff_ext.training.loop import train
from softdiff_ext.training.sampling import RULES, sample_run

Run = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
RuleName = Literal["default", "markov", "momentum", "momentum-exact", "ddim", "naive", "cold"]


def run_train(arguments: Sequence[str]) -> int:
    """Returns the exit code."""
    run, config, resume = parse_train(arguments, TrainConfig())
    if resume:
        run, config, _ = parse_train(arguments, load_config(run / "config.yaml"))
    done = train(config, run, resume)
    if done < config.steps:
        print(f"softdiff: stopped after step {done}; continue with: softdiff train {run} --resume", file=sys.stderr)
        return 130
    if os.environ.get("RANK", "0") == "0":  # torchrun starts several processes
        print(f"trained {done} steps; draw images with: softdiff sample {run}")
    return 0


def parse_train(arguments: Sequence[str], default: TrainConfig) -> tuple[Path, TrainConfig, bool]:
    """Run folder, options and whether to resume; options that are not given are those of `default`."""

    def options(
        run: Run, config: Annotated[TrainConfig, tyro.conf.arg(name="")] = default, resume: bool = False
    ) -> tuple[Path, TrainConfig, bool]:
        """Train a network. The folder RUN keeps its options, checkpoints, sample grids and TensorBoard curves.

        Args:
            run: Run folder, new or empty; with --resume that of the run to continue.
            config: All options.
            resume: Continue RUN with its saved options; only --steps may be given anew.
        """
        return run, config, resume

    return tyro.cli(options, prog="softdiff train", args=arguments, config=(tyro.conf.FlagCreatePairsOff,))


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
        """
        return sample_run(run, count, steps, RULES[rule], seed, out, overwrite, quadratic=times == "quadratic")

    sheet, array = tyro.cli(options, prog="softdiff sample", args=arguments, config=(tyro.conf.FlagCreatePairsOff,))
    print(f"{sheet}\n{array}")
    return 0

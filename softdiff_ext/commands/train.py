"""`softdiff train`: flags in, one call out."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import tyro

from softdiff_ext.commands.arguments import Run, parse
from softdiff_ext.training.config import TrainConfig, load_config
from softdiff_ext.training.loop import train


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

    return parse(options, "train", arguments)

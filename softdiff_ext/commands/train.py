"""`softdiff train`: flags in, one call out."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from softdiff_ext.commands.arguments import HELP, Option, Run, call, read
from softdiff_ext.commands.help import show_help
from softdiff_ext.training.config import TrainConfig, load_config
from softdiff_ext.training.group import end_processes
from softdiff_ext.training.interrupt import StopRequest
from softdiff_ext.training.loop import train
from softdiff_ext.training.options import PROCESSES
from softdiff_ext.training.presets import preset_names, read_config

SECTIONS: Mapping[str, Sequence[str]] = {
    "Run": ("config", "resume", "auto_resume"),
    "Images": ("data", "mode"),
    "Training": (
        "process",
        "steps",
        "batch_size",
        "learning_rate",
        "warmup",
        "decay",
        "clip",
        "ema_decay",
        "seed",
    ),
    "Speed and memory": ("mixed_precision", "gradient_accumulation", "activation_checkpointing", "compile", "parallel"),
    "What the run keeps": ("log_every", "sample_every", "sample_count", "sample_steps", "checkpoint_every", "keep"),
}

Parsed = tuple[Path, TrainConfig, bool]


def run_train(arguments: Sequence[str]) -> int:
    """Returns the exit code."""
    if set(HELP) & set(arguments):
        show_train_help([word for word in arguments if word not in HELP])
        return 0
    run, config, resume = parse_train(arguments)
    stop = StopRequest()
    done = train(config, run, resume, stop)
    end_processes()
    first = os.environ.get("RANK", "0") == "0"  # torchrun starts several processes
    if done < config.steps:
        if first:
            print(f"softdiff: stopped after step {done}; continue with: softdiff train {run} --resume", file=sys.stderr)
        return 128 + stop.signal
    if first:
        print(f"trained {done} steps; draw images with: softdiff sample {run}; see all of it with: softdiff report {run}")
    return 0


def parse_train(arguments: Sequence[str]) -> Parsed:
    """Run folder, options and whether to resume.

    Options that are not given are those of the run that is resumed, of the configuration named, or TrainConfig's own.
    """
    given = read(options_of(TrainConfig()), "train", arguments)
    if given.get("resume") and "config" in given:
        raise ValueError("resume: a run goes on with the options it began with: leave --config out")
    if given.get("resume") and "run" in given:
        default = load_config(given["run"] / "config.yaml")
    else:
        default = read_config(given["config"]) if "config" in given else TrainConfig()
    return call(options_of(default), "train", given)


def options_of(default: TrainConfig) -> Callable[..., Parsed]:
    """The parameters and the help of the command; options of the config that are not given are those of `default`."""

    def options(
        run: Run, config: str | None = None, resume: bool = False, auto_resume: bool = False, settings: TrainConfig = default
    ) -> Parsed:
        """Train a network. The folder RUN keeps its options, checkpoints, sample grids and curves.

        Ctrl-C, SIGTERM or a closed terminal saves a checkpoint and stops; --resume goes on from the last one.

        Args:
            run: Run folder, new or empty; with --resume that of the run to continue.
            config: A preset (below) or a YAML file with these options; other flags replace what it says.
            resume: Continue RUN with its saved options; --steps and those of speed and memory (not precision) may change.
            auto_resume: Continue RUN if it has begun, else begin it: for a command that a launcher may repeat.
        """
        return run, settings, resume or (auto_resume and (run / "config.yaml").is_file())

    return options


def show_train_help(arguments: Sequence[str]) -> None:
    """The help, with the options of the one process that the arguments or their configuration choose."""
    given: dict[str, Any] = read(options_of(TrainConfig()), "train", arguments)
    default = read_config(given["config"]) if given.get("config") else TrainConfig()
    process = given.get("process", default.process)

    def hidden(option: Option) -> bool:
        family = option.name.partition(".")[0]
        return family in PROCESSES and family != process

    others = "|".join(name for name in PROCESSES if name != process)
    closing = {
        "Presets": list(preset_names().items()),
        "Examples": [
            ("softdiff train runs/a", "a network for the built-in digits"),
            ("  --config digits --steps 500", "a preset, shorter"),
            ("  --data folder:photos", "your own images"),
            ("  --process soft", "another corruption"),
            (f"softdiff train --process {others} --help", "the options of the other processes"),
        ],
    }
    show_help(options_of(default), "train", SECTIONS, hidden, closing)

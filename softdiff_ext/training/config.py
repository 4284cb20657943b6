"""All options of a training run. Each field is a flag of `softdiff train`, and the run folder keeps them as config.yaml."""

from __future__ import annotations

import difflib
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, get_type_hints

import yaml  # type: ignore[import-untyped]

from softdiff_ext.processes import Process
from softdiff_ext.training.data_options import ImageOptions, Mode
from softdiff_ext.training.options import (
    PROCESSES,
    SCHEDULES,
    BlurringOptions,
    ColdOptions,
    IhdmOptions,
    NetworkOptions,
    ProcessName,
    SoftOptions,
    VdmOptions,
    check,
    real,
    whole,
)

T = TypeVar("T")

HOW = ("images.lazy", "images.workers", "gradient_accumulation", "activation_checkpointing", "compile", "parallel")
"""Options that say how a run is computed, not what: it may continue with others."""


@dataclass(frozen=True)
class TrainConfig:
    """Options of a training run."""

    data: str = "digits"
    """digits, folder:PATH, emoji:PATH, arrays:FILE (.npy, .npz), fashion-mnist:PATH or hf:NAME (Hugging Face)."""
    mode: Mode | None = None
    """Convert images; None wants them all grey or all RGB."""
    images: ImageOptions = field(default_factory=ImageOptions)
    process: ProcessName = "blurring"
    """The corruption that the network learns to undo."""
    vdm: VdmOptions = field(default_factory=VdmOptions)
    ihdm: IhdmOptions = field(default_factory=IhdmOptions)
    blurring: BlurringOptions = field(default_factory=BlurringOptions)
    soft: SoftOptions = field(default_factory=SoftOptions)
    cold: ColdOptions = field(default_factory=ColdOptions)
    network: NetworkOptions = field(default_factory=NetworkOptions)
    steps: int = 20_000
    """Optimiser steps."""
    batch_size: int = 64
    """Images a step, in all: each process takes an equal share of them."""
    learning_rate: float = 2e-4
    """Adam's learning rate after the warm-up."""
    warmup: int = 500
    """Steps over which the learning rate rises linearly; 0 for none."""
    decay: Literal["none", "linear"] = "none"
    """What the learning rate does after the warm-up: stay, or fall linearly to 0 at the last step."""
    clip: float = 1.0
    """Largest norm of the gradient."""
    ema_decay: float = 0.999
    """Decay of the averaged weights that samples are drawn with."""
    mixed_precision: Literal["no", "bf16", "fp16"] = "no"
    """Precision inside the network; fp16 scales the loss, bf16 needs no scale."""
    gradient_accumulation: int = 1
    """Parts in which a process computes its share of a batch, one after the other: less memory, the same step."""
    activation_checkpointing: bool = False
    """Compute activations again for the gradient instead of keeping them: less memory, a third more time."""
    compile: bool = False
    """Compile the blocks of the network with torch.compile."""
    parallel: Literal["ddp", "fsdp"] = "ddp"
    """What processes share: ddp the batch alone, fsdp also weights, averages and optimiser state."""
    seed: int = 0
    """Names all random numbers of the run."""
    log_every: int = 10
    """Steps between two logged losses."""
    sample_every: int = 1000
    """Steps between two sample grids."""
    sample_count: int = 64
    """Images in a sample grid."""
    sample_steps: int = 100
    """Sampler steps for a sample grid."""
    checkpoint_every: int = 1000
    """Steps between two checkpoints."""
    keep: int = 2
    """How many checkpoints to keep."""

    def __post_init__(self) -> None:
        check(self, "process", f"one of {', '.join(PROCESSES)}", self.process in PROCESSES)
        check(self, "decay", "none or linear", self.decay in ("none", "linear"))
        check(self, "mixed_precision", "no, bf16 or fp16", self.mixed_precision in ("no", "bf16", "fp16"))
        check(self, "parallel", "ddp or fsdp", self.parallel in ("ddp", "fsdp"))
        for name in ("activation_checkpointing", "compile"):
            check(self, name, "true or false", isinstance(getattr(self, name), bool))
        for name in (
            "steps",
            "batch_size",
            "gradient_accumulation",
            "log_every",
            "sample_every",
            "sample_count",
            "sample_steps",
            "checkpoint_every",
            "keep",
        ):
            check(self, name, "an integer >= 1", whole(getattr(self, name), 1))
        for name in ("warmup", "seed"):
            check(self, name, "an integer >= 0", whole(getattr(self, name)))
        for name in ("learning_rate", "clip"):
            value = getattr(self, name)
            check(self, name, "a finite number > 0", real(value) and 0.0 < value < float("inf"))
        check(self, "ema_decay", "in [0, 1)", real(self.ema_decay) and 0.0 <= self.ema_decay < 1.0)

    def build_process(self) -> Process:
        """The chosen process with its options.

        Raises:
            ValueError: options of another process were given, or the process refuses its own.
        """
        for name in PROCESSES:
            options = getattr(self, name)
            if name != self.process and options != type(options)():
                raise ValueError(f"config: options of {name} were given, but process is {self.process}")
        arguments: dict[str, Any] = dict(vars(getattr(self, self.process)))
        if "schedule" in arguments:
            check(self.vdm, "schedule", f"one of {', '.join(SCHEDULES)}", self.vdm.schedule in SCHEDULES)
            arguments["schedule"] = SCHEDULES[arguments["schedule"]]()
        if "values" in arguments:
            count = arguments["values"]
            check(getattr(self, self.process), "values", "an integer >= 2", whole(count, 2))
            arguments["values"] = [2.0 * i / (count - 1) - 1.0 for i in range(count)]  # where load_images puts 0 ... maximum
        return PROCESSES[self.process](**arguments)

    def learning_rate_at(self, step: int) -> float:
        """The learning rate of a step in [0, steps)."""
        rise = min(1.0, (step + 1) / max(1, self.warmup))
        fall = 1.0 if self.decay == "none" else min(1.0, (self.steps - step) / max(1, self.steps - self.warmup))
        return self.learning_rate * rise * fall

    def check_continues(self, saved: TrainConfig, where: Path) -> None:
        """Raise ValueError where these options differ from those `saved` in `where`: the run cannot go on.

        Only `steps` may differ, unless the learning rate depends on it, and how the run is computed (`HOW`).
        """
        mine, others = _flat(self), _flat(saved)
        differences = [
            f"--{name.replace('_', '-')} is {value} but was {others[name]}"
            for name, value in mine.items()
            if value != others[name] and name not in HOW and (name != "steps" or self.decay != "none")
        ]
        if differences:
            raise ValueError(f"resume: {'; '.join(differences)} in {where}")

    def to_dict(self) -> dict[str, Any]:
        """The options as plain lists, numbers and strings, without those of the other processes."""
        plain: dict[str, Any] = _plain(asdict(self))
        return {name: value for name, value in plain.items() if name not in PROCESSES or name == self.process}

    def to_yaml(self) -> str:
        return str(yaml.safe_dump(self.to_dict(), sort_keys=False))


def load_config(path: Path) -> TrainConfig:
    """Read config.yaml of a run.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no YAML mapping, holds an unknown option, or an option with a bad value.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist: {path.parent} is not the folder of a run")
    try:
        return config_from_dict(yaml.safe_load(path.read_text("utf-8")))
    except (yaml.YAMLError, UnicodeDecodeError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: {' '.join(str(error).split())}") from error


def config_from_dict(values: Any) -> TrainConfig:
    """The options that `TrainConfig.to_dict` gave; raises ValueError or TypeError as `load_config` does."""
    return _build(TrainConfig, values)


def _build(kind: type[T], values: Any) -> T:
    """A dataclass from nested mappings; lists become tuples."""
    if not isinstance(values, dict):
        raise ValueError(f"wanted a mapping of the options of {kind.__name__}, got {type(values).__name__}")
    hints = get_type_hints(kind)
    if unknown := sorted(str(name) for name in values if name not in hints):
        near = difflib.get_close_matches(unknown[0], hints, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ValueError(f"unknown option {', '.join(unknown)} in {kind.__name__}{hint}")
    made: dict[str, Any] = {}
    for name, value in values.items():
        made[name] = (
            _build(hints[name], value) if is_dataclass(hints[name]) else tuple(value) if isinstance(value, list) else value
        )
    return kind(**made)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


def _flat(config: Any, prefix: str = "") -> dict[str, Any]:
    result: dict[str, Any] = {}
    for item in fields(config):
        value = getattr(config, item.name)
        result |= _flat(value, f"{prefix}{item.name}.") if is_dataclass(value) else {prefix + item.name: value}
    return result

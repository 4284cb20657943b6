"""`evaluate`: measure the last checkpoint of a run, and leave numbers and pictures in its folder evaluation/."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from softdiff_ext.evaluation import measures
from softdiff_ext.evaluation.features import Features, load_features
from softdiff_ext.evaluation.page import FLOOR, curves, markdown
from softdiff_ext.processes import Process
from softdiff_ext.rules import Rule
from softdiff_ext.training.checkpoints import last_checkpoint, load_checkpoint
from softdiff_ext.training.config import config_from_dict
from softdiff_ext.training.data import load_images
from softdiff_ext.training.figures import image_sheet, save_png
from softdiff_ext.training.files import write_file
from softdiff_ext.training.group import Group
from softdiff_ext.training.progress import ImageBar
from softdiff_ext.training.runs import load_run
from softdiff_ext.training.sampling import RULES

MOST = 1000
"""Images a row where no number is given and more are held out."""

SHEET = 64
"""Images on a sheet of samples."""

NEAREST = 256
"""Samples whose nearest training images are looked for, and as many held-out images."""

_ROWS, _NEIGHBOURS = 8, 7  # on the sheet of nearest training images


@dataclass(frozen=True)
class EvaluateOptions:
    """What `softdiff evaluate` measures, and by how much."""

    count: int | None = None
    """Images to draw with each sampler; None is as many as are held out, at most 1000."""
    steps: tuple[int, ...] = (10, 30, 100)
    """Numbers of sampler steps; a process with levels takes at most as many as these."""
    rule: tuple[str, ...] = ("default",)
    """Samplers: default, which is that of the process, markov, momentum, momentum-exact, ddim, naive or cold."""
    features: tuple[str, ...] = ("effnet-lite0",)
    """Networks to compare images by: effnet-lite0, classifier (needs labels), inception (FID, where its weights are), or
    MODULE:FUNCTION of yours, which takes images [B, C, H, W] in [-1, 1] and gives [B, D]."""
    reference: int = 5000
    """Most training images to compare with."""
    likelihood: int = 128
    """Most held-out images to bound the bits per dimension of; 0 for none."""
    batch: int = 64
    """Images at a time."""
    seed: int = 0
    """Names the random numbers."""
    overwrite: bool = False
    """Replace an evaluation that is there."""

    def __post_init__(self) -> None:
        for name, least in (("count", 4), ("reference", 4), ("likelihood", 0), ("batch", 1), ("seed", 0)):
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < least):
                raise ValueError(f"evaluate: {name} must be an integer >= {least}, got {value!r}")
        for name in ("steps", "rule", "features"):
            values = getattr(self, name)
            if not values or len(set(values)) < len(values):
                raise ValueError(f"evaluate: {name} must be one or more different values, got {list(values)}")
        if bad := [count for count in self.steps if count < 1]:
            raise ValueError(f"evaluate: steps must be integers >= 1, got {bad[0]}")
        if unknown := [rule for rule in self.rule if rule not in RULES]:
            raise ValueError(f"evaluate: rule must be among {', '.join(RULES)}, got {unknown[0]!r}")


@dataclass(frozen=True)
class Sampler:
    """A rule and the number of steps that it takes."""

    name: str
    rule: Rule
    steps: int

    @property
    def sheet(self) -> str:
        """The file of its samples."""
        return f"samples-{self.name}-{self.steps}.png"


def evaluate(run: Path, options: EvaluateOptions | None = None) -> Path:
    """Measure the images, the likelihood and the memory of a run's last checkpoint.

    Under torchrun or accelerate the processes share the drawing of images; the numbers do not depend on how many they are.

    Args:
        run: folder of a training run; its data are read again from where they were.
        options: what to measure; None are the defaults.
    Returns:
        run/evaluation: evaluation.json, evaluation.md and PNG files, there whole or not at all.
    Raises:
        ValueError: an option is out of range, a rule does not fit the run's process, the run has no checkpoint or the data
            are not those it was trained on; raised before anything is drawn.
        FileExistsError: there is an evaluation and `overwrite` is False.
        ImportError: a package is missing that the features need.
    """
    options = EvaluateOptions() if options is None else options
    path, folder = last_checkpoint(run), run / "evaluation"
    if folder.exists() and not options.overwrite:
        raise FileExistsError(f"evaluate: {folder} exists: give --overwrite")
    group = Group()
    checkpoint = load_checkpoint(path, ())
    config = config_from_dict(checkpoint.config)
    process, network = load_run(run, group.device)
    samplers = _samplers(process, options)
    train, held_out = load_images(config.data, config.mode, config.images)
    if (len(train), *train.shape) != checkpoint.images:
        now = [len(train), *train.shape]
        raise ValueError(f"evaluate: {run} was trained on images {list(checkpoint.images)}, {config.data} now has {now}")
    count = min(len(held_out), MOST) if options.count is None else options.count
    floor_count = min(len(held_out), count)
    if min(count, floor_count) <= measures.NEIGHBOURS:
        raise ValueError(f"evaluate: {len(held_out)} held-out images are too few, wanted at least {measures.NEIGHBOURS + 1}")
    features = [load_features(name, train, group.device) for name in options.features]

    rows: list[dict[str, Any]] = []
    sheets: dict[str, Tensor] = {}
    bits: dict[str, Any] = {"n": 0, "reason": "not asked for"}
    best, last = samplers[0], torch.empty(0)
    with ImageBar(group.main) as bar:
        if group.main:
            advance = bar.begin("training images", min(options.reference, len(train) or options.reference))
            reference = measures.features_of(train, options.reference, "reference", features, options.batch, advance)
            advance = bar.begin(FLOOR, floor_count)
            others = measures.features_of(held_out, floor_count, "floor", features, options.batch, advance)
            rows.append(_row(FLOOR, None, floor_count, None, features, reference, others))
        for sampler in samplers:
            begun = time.perf_counter()
            advance = bar.begin(f"{sampler.name}, {sampler.steps} steps", -(-count // group.world))
            found, images = measures.draw(
                process, network, features, train.shape, count, sampler.steps, sampler.rule, options.seed, options.batch,
                min(count, NEAREST), group, advance,
            )  # fmt: skip
            if group.main:
                seconds = time.perf_counter() - begun
                rows.append(_row(sampler.name, sampler.steps, count, seconds, features, reference, found))
                sheets[sampler.sheet] = images[:SHEET]
                if rows[-1][features[0].frechet] <= min(row[features[0].frechet] for row in rows[1:]):
                    best, last = sampler, images
                bar.say(_line(rows[-1], features))
        if group.main and options.likelihood:
            chosen = held_out.some(options.likelihood, "likelihood").cpu()
            advance = bar.begin("bits per dimension", len(chosen))
            bits = measures.bits_per_dimension(process, network, chosen, held_out.maximum, options.seed, options.batch, advance)
    if group.main:
        held_out_images = held_out.some(NEAREST, "neighbours").cpu()
        training = measures.training_images(train)
        result = {
            "settings": {
                "run": str(run),
                "checkpoint": path.name,
                "process": f"{type(process).__name__} (default rule {process.default_rule})",
                "data": config.data,
                "n": count,
                "n held out": floor_count,
                "n reference": len(reference[0]),
                "seed": options.seed,
                "features": "; ".join(network.description for network in features),
            },
            "quality": rows,
            "bits per dimension": bits,
            "nearest training images": {"sampler": best.name, "steps": best.steps}
            | measures.copies(last, held_out_images, training),
        }
        sheets["nearest.png"] = measures.neighbour_rows(last[:_ROWS], training, _NEIGHBOURS)
        captions = {sampler.sheet: f"{sampler.name}, {sampler.steps} steps: the first samples." for sampler in samplers}
        captions["nearest.png"] = (
            f"Left the first samples ({best.name}, {best.steps} steps), to their right the training images nearest by pixels."
        )
        _write(folder, result, features, sheets, captions)
    group.wait()
    return folder


def _samplers(process: Process, options: EvaluateOptions) -> list[Sampler]:
    """All rules with all numbers of steps, those that a process with levels takes; raises ValueError where one does not fit."""
    found = []
    for name in options.rule:
        rule = process.default_rule if RULES[name] is None else RULES[name]
        assert rule is not None
        shown = next((known for known, same in RULES.items() if same == rule), name)
        for steps in sorted(options.steps):
            times = process.level_times(steps)
            try:
                process.check_rule(rule, times)
            except (TypeError, ValueError) as error:
                raise ValueError(f"evaluate: rule {name} does not fit: {error}") from error
            found.append(Sampler(shown, rule, len(times) - 1))
    return list(dict.fromkeys(found))


def _row(
    name: str,
    steps: int | None,
    count: int,
    seconds: float | None,
    features: Sequence[Features],
    reference: Sequence[Tensor],
    found: Sequence[Tensor],
) -> dict[str, Any]:
    row: dict[str, Any] = {"sampler": name, "steps": steps, "n": count}
    for network, real, others in zip(features, reference, found, strict=True):
        row |= measures.quality(network, real, others)
    return row | {"seconds": None if seconds is None else round(seconds, 1)}


def _line(row: dict[str, Any], features: Sequence[Features]) -> str:
    numbers = ", ".join(f"{network.frechet} {row[network.frechet]:.4g}" for network in features)
    return f"{row['sampler']}, {row['steps']} steps: {numbers} (n = {row['n']}, {row['seconds']} s)"


def _write(
    folder: Path, result: dict[str, Any], features: Sequence[Features], sheets: dict[str, Tensor], captions: dict[str, str]
) -> None:
    """Write everything into a folder beside and rename it."""
    beside, old = (folder.with_name(f".evaluation-{kind}-{os.getpid()}") for kind in ("new", "old"))
    captions = {"quality.png": "Distance to the training images against the number of steps.", **captions}
    try:
        write_file(beside / "quality.png", curves(result["quality"], features))
        for name, images in sheets.items():
            save_png(beside / name, image_sheet(images, columns=1 + _NEIGHBOURS if name == "nearest.png" else None))
        write_file(beside / "evaluation.json", (json.dumps(result, indent=2) + "\n").encode())
        write_file(beside / "evaluation.md", markdown(result, features, captions).encode())
        if folder.exists():
            folder.rename(old)
        try:
            beside.rename(folder)
        except OSError:
            if old.exists():
                old.rename(folder)
            raise
    finally:
        shutil.rmtree(beside, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)

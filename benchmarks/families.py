"""Family x rule: train every family on the digits, sample with every rule that its levels allow, and measure what comes out.

    python benchmarks/families.py                (needs the extra `train`; 14 minutes of one core, half with two)

Prints and writes benchmarks/results/families.json and .md (which docs/methods.md shows), and pictures of the samples in
docs/images/families.png. All families have the same network, the same number of training steps and the same batches.

The number is the Frechet distance to the training images in the features of a small classifier of the digits, as in the demo,
from as many samples as there are held-out scans; those scans have the distance that stands on top. One training seed and
one draw: from another seed the distance of 359 samples differs by a third, so only larger differences say anything, or those
that stay from draw to draw. `--keep --samples 1024` draws more from the same networks.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from families_table import RESULTS, write
from torch import Tensor

import softdiff_ext as sd
from softdiff_ext.evaluation.classifier import classify, train_classifier
from softdiff_ext.evaluation.metrics import frechet_distance, nearest
from softdiff_ext.processes import Process
from softdiff_ext.rules import Rule
from softdiff_ext.training.config import TrainConfig
from softdiff_ext.training.data import load_images
from softdiff_ext.training.figures import image_sheet, save_png
from softdiff_ext.training.files import write_file
from softdiff_ext.training.loop import train
from softdiff_ext.training.options import BlurringOptions, ColdOptions, IhdmOptions, NetworkOptions, SoftOptions, VdmOptions
from softdiff_ext.training.runs import load_run

SURE = 0.9  # the classifier is sure of an image when its most likely digit has more than this probability
SHOWN = 16  # samples of each family in the picture
VALUES = 17  # what a pixel of the digits can be

COMMON = TrainConfig(
    data="digits",
    network=NetworkOptions(channels=(32, 64), blocks=1, attention=()),
    batch_size=64,
    learning_rate=3e-3,
    warmup=100,
    decay="linear",
    ema_decay=0.995,
    log_every=50,
    sample_every=10**6,
    sample_count=4,
    sample_steps=5,
    checkpoint_every=10**6,
)
# The images are 8 pixels wide: a blur of 1 to 4 pixels takes as much away as one of 20 from large ones.
FAMILIES: dict[str, tuple[str, TrainConfig]] = {
    "vdm": ("DDPM / VDM", replace(COMMON, process="vdm", vdm=VdmOptions(values=VALUES))),
    "ihdm": (
        "Inverse Heat Dissipation",
        replace(
            COMMON,
            process="ihdm",
            ihdm=IhdmOptions(levels=50, sigma_blur=(0.2, 2.0), sigma=0.2, delta=0.25, reduction="mean", values=VALUES),
        ),
    ),
    "ihdm10": (
        "Inverse Heat Dissipation, 10 levels",
        replace(
            COMMON,
            process="ihdm",
            ihdm=IhdmOptions(levels=10, sigma_blur=(0.2, 2.0), sigma=0.2, delta=0.25, reduction="mean", values=VALUES),
        ),
    ),
    "blurring": (
        "Blurring Diffusion",
        replace(COMMON, process="blurring", blurring=BlurringOptions(sigma_blur_max=1.0, values=VALUES)),
    ),
    "soft": (
        "Soft Diffusion",
        replace(COMMON, process="soft", soft=SoftOptions(sigma_blur=(0.01, 2.0), sigma=(0.01, 0.2), weight_floor=0.1)),
    ),
    "cold": ("Cold Diffusion", replace(COMMON, process="cold", cold=ColdOptions(levels=50, sigma_blur=(0.3, 8.0)))),
}
RULES: dict[str, Rule] = {
    "Markov": sd.Markov(),
    "DDIM": sd.DDIM(),
    "DDIM(0.5)": sd.DDIM(eta=0.5),
    "Momentum": sd.Momentum(),
    "Momentum(exact)": sd.Momentum(exact=True),
    "Naive": sd.Naive(),
    "Naive(delta)": sd.Naive(std=0.25),
    "Cold": sd.Cold(),
}


@dataclass(frozen=True)
class Work:
    """What one worker is asked to do."""

    name: str
    run: Path
    train_steps: int
    sampler_steps: int
    few: tuple[int, ...]
    samples: int
    scans: int
    keep: bool


@dataclass(frozen=True)
class Made:
    """What came of a family; arrays, because they travel between processes of the operating system."""

    samples: dict[str, np.ndarray]  # rule -> [N, 1, 8, 8]
    refused: dict[str, str]  # rule -> reason
    few: dict[str, np.ndarray]  # "rule, steps" -> samples
    bits: dict[str, float] | None
    seconds: dict[str, float]


def make(work: Work) -> Made:
    """Train one family with the package's own loop and draw its samples; every rule starts from the same random numbers."""
    torch.set_num_threads(1)
    config, began = replace(FAMILIES[work.name][1], steps=work.train_steps), time.perf_counter()
    if not (work.keep and (work.run / "checkpoints").is_dir()):
        shutil.rmtree(work.run, ignore_errors=True)
        train(config, work.run)
    trained = time.perf_counter()
    process, network = load_run(work.run)

    def draw(rule: Rule | None, steps: int | list[float]) -> np.ndarray:
        generator = torch.Generator().manual_seed(0)
        return process.sample(network, (work.samples, 1, 8, 8), steps, rule, generator).clamp(-1, 1).numpy()

    samples, refused = {}, {}
    for label, rule in RULES.items():
        try:
            samples[label] = draw(rule, work.sampler_steps)
        except ValueError as error:
            refused[label] = str(error)
    few: dict[str, np.ndarray] = {}
    for steps in work.few:
        for label in curves_of(process):
            few[f"{label}, {steps}"] = draw(RULES[label], steps)
        few[f"{curves_of(process)[0]}, {steps} quadratic"] = draw(RULES[curves_of(process)[0]], sd.quadratic_times(steps))
    drawn = time.perf_counter()
    bits = bits_of(process, network, work.scans)
    seconds = {"train": trained - began, "sample": drawn - trained, "bits": time.perf_counter() - drawn}
    return Made(samples, refused, few, bits, {name: round(value, 1) for name, value in seconds.items()})


def curves_of(process: Process) -> tuple[str, ...]:
    """Rules whose quality is measured against the number of steps: the family's own, and the deterministic one."""
    own = next(label for label, rule in RULES.items() if rule == process.default_rule)
    return (own, "DDIM") if own != "Cold" else (own, "DDIM(0.5)")  # without noise DDIM() is Cold()


def bits_of(process: Process, network: torch.nn.Module, scans: int) -> dict[str, float] | None:
    """Bits per dimension of the first `scans` held-out digits by their terms, for the families that have a likelihood."""
    if not hasattr(process, "bits_per_dimension"):
        return None
    held_out = load_images("digits")[1].floats()[:scans]
    terms = process.bits_per_dimension(network, held_out, torch.Generator().manual_seed(0))
    return {name: round(value, 4) for name, value in terms.means().items()}


class Judge:
    """A classifier of the digits, and what it makes of sets of images."""

    def __init__(self) -> None:
        train_set, held_out = load_images("digits")
        if train_set.labels is None or held_out.labels is None:
            raise ValueError("the judge needs images with labels")
        self.images, self.held_out = train_set.floats(), held_out.floats()
        self.classifier = train_classifier(self.images, train_set.labels)
        self.reference, _ = classify(self.classifier, self.images)
        _, probabilities = classify(self.classifier, self.held_out)
        self.accuracy = float((probabilities.argmax(dim=1) == held_out.labels).float().mean())

    def report(self, images: Tensor) -> dict[str, float]:
        """Frechet distance, share of images the classifier is sure of, std of the pixels, median RMS to the nearest scan."""
        features, probabilities = classify(self.classifier, images)
        return {
            "frechet_distance": round(frechet_distance(features, self.reference), 1),
            "sure_share": round(float((probabilities.amax(dim=1) > SURE).float().mean()), 3),
            "std": round(float(images.std()), 3),
            "rms_to_nearest": round(float(nearest(images, self.images)[0].median()), 3),
        }


def measured(made: dict[str, Made], judge: Judge, arguments: argparse.Namespace, seconds: float) -> dict[str, Any]:
    return {
        "held_out": judge.report(judge.held_out),
        "classifier_accuracy": round(judge.accuracy, 4),
        "samples": arguments.samples,
        "train_steps": arguments.steps,
        "sampler_steps": arguments.sampler_steps,
        "rules": list(RULES),
        "families": {
            name: {
                "title": FAMILIES[name][0],
                "rules": {rule: judge.report(torch.from_numpy(images)) for rule, images in item.samples.items()},
                "refused": item.refused,
                "few": {key: judge.report(torch.from_numpy(images)) for key, images in item.few.items()},
                "bits_per_dimension": item.bits,
                "seconds": item.seconds,
                "training": replace(FAMILIES[name][1], steps=arguments.steps).to_dict(),
            }
            for name, item in made.items()
        },
        "seconds": round(seconds, 1),
        "machine": {"cores": os.cpu_count(), "python": platform.python_version(), "torch": torch.__version__},
    }


def picture(made: dict[str, Made], path: Path) -> None:
    """Samples of each family by its own rule, two rows of eight a family."""
    own = {name: next(iter(item.few)).split(",")[0] if item.few else next(iter(item.samples)) for name, item in made.items()}
    rows = [torch.from_numpy(item.samples[own[name]][:SHOWN]) for name, item in made.items()]
    save_png(path, image_sheet(torch.cat(rows), columns=SHOWN))


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--families", nargs="+", choices=FAMILIES, default=list(FAMILIES))
    parser.add_argument("--steps", type=int, default=1500, help="training steps of each family")
    parser.add_argument("--sampler-steps", type=int, default=50)
    parser.add_argument("--few", nargs="*", type=int, default=[5, 10, 20], help="numbers of sampler steps of the curves")
    parser.add_argument("--samples", type=int, default=359)
    parser.add_argument("--scans", type=int, default=359, help="held-out scans whose bits are counted; 359 is all")
    parser.add_argument("--runs", type=Path, default=Path("out/families"), help="folder of the training runs")
    parser.add_argument("--keep", action="store_true", help="sample from the runs that are there instead of training anew")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of families.json and families.md")
    parser.add_argument(
        "--docs", type=Path, default=None, help="docs folder whose methods.md and images are brought up to date"
    )
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="families at a time")
    arguments = parser.parse_args(argv)
    began = time.perf_counter()
    tasks = [
        Work(
            name,
            arguments.runs / name,
            arguments.steps,
            arguments.sampler_steps,
            tuple(arguments.few),
            arguments.samples,
            arguments.scans,
            arguments.keep,
        )
        for name in arguments.families
    ]
    if arguments.jobs > 1:
        with ProcessPoolExecutor(arguments.jobs, get_context("spawn")) as pool:
            made = dict(zip(arguments.families, pool.map(make, tasks), strict=True))
    else:
        made = {task.name: make(task) for task in tasks}
    result = measured(made, Judge(), arguments, time.perf_counter() - began)
    write_file(arguments.out / "families.json", (json.dumps(result, indent=2) + "\n").encode())
    text = write(result, arguments.out, arguments.docs)
    if arguments.docs is not None:
        picture(made, arguments.docs / "images" / "families.png")
    print(text)


if __name__ == "__main__":
    main()

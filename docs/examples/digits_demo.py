"""From scanned digits to new ones: train both processes, sample from them, and measure what came out.

    python docs/examples/digits_demo.py        (make demo sets everything up and runs it)

Writes to out/demo: forward.png, reverse.png, samples.png, loss.png, metrics.json, and the training runs below runs/, with
which `softdiff sample` and `softdiff train --resume` work. The digits are the 1797 scans of 8x8 pixels that the package
carries; a fifth of them no training sees.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from digits_figures import Grid, curves, pairs, strips
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor, nn

import softdiff_ext as sd
from softdiff_ext.processes import Process
from softdiff_ext.training.classifier import classify, train_classifier
from softdiff_ext.training.config import BlurringOptions, NetworkOptions, SoftOptions, TrainConfig
from softdiff_ext.training.data import Images, load_images
from softdiff_ext.training.files import write_file
from softdiff_ext.training.loop import train
from softdiff_ext.training.metrics import frechet_distance, nearest
from softdiff_ext.training.network import build_network
from softdiff_ext.training.runs import load_run

OUT = Path("out/demo")
RUNS = OUT / "runs"
SAMPLES = 1024  # enough for a Frechet distance of 64 features that moves by a few percent from seed to seed
SURE = 0.9  # the classifier is sure of an image when its most likely digit has more than this probability
SHOWN = 8  # samples, and moments of their way, in reverse.png


@dataclass(frozen=True)
class Recipe:
    """A process, how it is trained and how it is sampled."""

    title: str
    config: TrainConfig
    rule: sd.Markov | sd.Momentum | sd.DDIM
    steps: int


# What both runs share. The images are 8 pixels wide, so the blur ends at 4 or 5 pixels, not at the 20 of large images.
COMMON = TrainConfig(
    data="digits",
    network=NetworkOptions(channels=(32, 64), blocks=1, attention=(1,)),
    steps=1200,
    batch_size=128,
    learning_rate=1e-3,
    warmup=100,
    ema_decay=0.995,
    log_every=5,
    sample_every=10_000,  # only the sheet at the end
    checkpoint_every=10_000,
    sample_steps=20,
)
RECIPES = {
    "blurring": Recipe(
        "Blurring Diffusion",
        replace(COMMON, process="blurring", blurring=BlurringOptions(sigma_blur_max=4.0)),
        sd.Markov(),
        50,
    ),
    "soft": Recipe(
        "Soft Diffusion",
        replace(COMMON, process="soft", soft=SoftOptions(sigma_blur=(0.01, 5.0))),
        sd.Momentum(),
        50,
    ),
}


@dataclass(frozen=True)
class Made:
    """What came of a recipe."""

    title: str
    process: Process
    samples: Tensor
    path: Grid
    losses: tuple[np.ndarray, np.ndarray]
    metrics: dict[str, Any]


def main() -> None:
    seconds: dict[str, float] = {}
    train_set, held_out_set = load_images("digits")
    images, held_out = train_set.floats(), held_out_set.floats()
    print(f"{len(images)} digits to train on, {len(held_out)} held out; {torch.get_num_threads()} threads", flush=True)

    with stage("train a classifier that will judge the samples", "classifier", seconds):
        judge = Judge(train_set, held_out_set)
    print(f"   it is right about {judge.accuracy:.1%} of the held-out digits", flush=True)

    shutil.rmtree(RUNS, ignore_errors=True)  # of an earlier demo: train() itself never writes over a run
    made = {name: make(name, recipe, images, held_out, judge, seconds) for name, recipe in RECIPES.items()}

    with stage("draw the pictures", "pictures", seconds):
        draw_pictures(made, images)

    metrics = {
        "classifier": {"held_out_accuracy": judge.accuracy, "sure_means_probability_above": SURE},
        "held_out": judge.report(held_out),
        "processes": {name: item.metrics for name, item in made.items()},
        "seconds": {name: round(value, 1) for name, value in seconds.items()},
        "cpu_seconds": round(time.process_time(), 1),
        "machine": {
            "cores": os.cpu_count(),
            "threads": torch.get_num_threads(),
            "python": platform.python_version(),
            "torch": torch.__version__,
        },
    }
    write_file(OUT / "metrics.json", (json.dumps(metrics, indent=2) + "\n").encode())
    summarise(metrics)


@contextmanager
def stage(text: str, name: str, seconds: dict[str, float]) -> Iterator[None]:
    """Say what is going on and how long it took, on the clock and on the processor."""
    print(f"== {text}", flush=True)
    clock, cpu = time.perf_counter(), time.process_time()
    yield
    seconds[name] = time.perf_counter() - clock
    print(f"   {seconds[name]:.0f} s ({time.process_time() - cpu:.0f} s of processor time)", flush=True)


class Judge:
    """A classifier of digits, and its features of the training images, with which sets of images are compared."""

    def __init__(self, train_set: Images, held_out: Images) -> None:
        if train_set.labels is None or held_out.labels is None:
            raise ValueError("the judge needs images with labels")
        self.classifier = train_classifier(train_set.floats(), train_set.labels)
        self.reference, _ = classify(self.classifier, train_set.floats())
        _, probabilities = classify(self.classifier, held_out.floats())
        self.accuracy = float((probabilities.argmax(dim=1) == held_out.labels).float().mean())

    def report(self, images: Tensor) -> dict[str, Any]:
        """Frechet distance to the training images, the share of images it is sure of, and which digits those are."""
        features, probabilities = classify(self.classifier, images)
        probability, digit = probabilities.max(dim=1)
        counts = torch.bincount(digit[probability > SURE], minlength=10).tolist()
        return {
            "count": len(images),
            "frechet_distance": round(frechet_distance(features, self.reference), 2),
            "sure_share": round(sum(counts) / len(images), 4),
            "sure_of_each_digit": counts,
            "all_ten_digits": min(counts) > 0,
        }


def make(name: str, recipe: Recipe, images: Tensor, held_out: Tensor, judge: Judge, seconds: dict[str, float]) -> Made:
    """Train with the package's own loop, sample with the averaged weights of the run, measure the samples."""
    config, run, title = recipe.config, RUNS / name, recipe.title
    with stage(f"{title}: train {config.steps} steps of {config.batch_size} images", f"train {name}", seconds):
        if train(config, run) < config.steps:
            sys.exit("stopped before the end of training; no pictures were written")
    with stage(f"{title}: draw {SAMPLES} samples in {recipe.steps} steps", f"sample {name}", seconds):
        process, network = load_run(run)
        samples, path = sample(process, network, recipe, SAMPLES)
    with stage(f"{title}: {len(held_out)} samples from an untrained network, for comparison", f"untrained {name}", seconds):
        torch.manual_seed(config.seed)
        untrained, _ = sample(process, build_network(config.network, (1, 8, 8)).eval(), recipe, len(held_out))
    metrics = {
        "samples": judge.report(samples),
        "as_many_samples_as_held_out": judge.report(samples[: len(held_out)]),
        "untrained": judge.report(untrained),
        "median_rms_to_nearest_training_image": {
            "samples": round(float(nearest(samples, images)[0].median()), 4),
            "held_out": round(float(nearest(held_out, images)[0].median()), 4),
        },
        "sampler": {"rule": repr(recipe.rule), "steps": recipe.steps},
        "settings": config.to_dict(),
    }
    return Made(title, process, samples, path, logged_losses(run), metrics)


@torch.no_grad()
def sample(process: Process, network: nn.Module, recipe: Recipe, count: int) -> tuple[Tensor, Grid]:
    """`count` images, clipped to [-1, 1], and the path of the first ones: what the network saw on the way, then the image."""
    moments = [round(i * (recipe.steps - 1) / (SHOWN - 1)) for i in range(SHOWN)]
    path: list[Tensor] = []

    def watch(index: int, z_t: Tensor, x_hat: Tensor) -> None:
        if index in moments and len(path) < SHOWN:
            path.append(z_t[:SHOWN, 0].clone())

    generator = torch.Generator().manual_seed(recipe.config.seed)
    parts: list[Tensor] = []
    for start in range(0, count, 256):
        shape = (min(256, count - start), 1, 8, 8)
        parts.append(process.sample(network, shape, recipe.steps, rule=recipe.rule, generator=generator, callback=watch))
    images = torch.cat(parts).clamp(-1, 1)
    labels = [f"t = {1 - index / recipe.steps:.2f}" for index in moments]
    return images, (torch.stack([*path, images[:SHOWN, 0]], dim=1), [*labels, "image"])


def corrupt(process: Process, images: Tensor) -> Grid:
    """Images [N, 1, H, W] at nine times from clean to fully corrupted, and what the levels are."""
    generator = torch.Generator().manual_seed(0)
    columns, labels = [images[:, 0]], ["original\n\n\n"]
    for t in (0.05, 0.1, 0.2, 0.3, 0.45, 0.6, 0.8, 1.0):
        level = process.level(t)
        columns.append(sd.diffuse(images, level, generator=generator)[:, 0])
        log_a, tau, sigma, _ = (float(value) for value in level)
        labels.append(f"t = {t:.2f}\nscale {np.exp(log_a):.2f}\nblur {np.sqrt(2 * tau):.2f} px\nnoise {sigma:.2f}")
    return torch.stack(columns, dim=1), labels


def draw_pictures(made: dict[str, Made], images: Tensor) -> None:
    heading = "Scanned digits under growing corruption"
    strips({item.title: corrupt(item.process, images[:4]) for item in made.values()}, heading, OUT / "forward.png")
    heading = "The way back: eight samples from the start to the finished digit"
    strips({item.title: item.path for item in made.values()}, heading, OUT / "reverse.png", side_by_side=True)
    compared = {}
    for item in made.values():
        samples = item.samples[:64]
        compared[f"{item.title}: the first 64 samples"] = samples, images[nearest(samples, images)[1]]
    pairs(compared, "New digits and the training images closest to them", OUT / "samples.png")
    curves({item.title: item.losses for item in made.values()}, OUT / "loss.png")


def logged_losses(run: Path) -> tuple[np.ndarray, np.ndarray]:
    """(steps, losses) of a run, from its TensorBoard file."""
    events = EventAccumulator(str(run / "tensorboard"), size_guidance={"scalars": 0})  # 0: all of them
    scalars = events.Reload().Scalars("train/loss")
    return np.array([scalar.step for scalar in scalars]), np.array([scalar.value for scalar in scalars])


def summarise(metrics: dict[str, Any]) -> None:
    print(f"\n{'':32}{'Frechet distance':>18}{'classifier sure':>17}{'digits found':>14}")
    rows = {"held-out scans": metrics["held_out"]}
    for name, item in metrics["processes"].items():
        rows |= {f"{RECIPES[name].title}": item["samples"], f"{RECIPES[name].title}, untrained": item["untrained"]}
    for title, row in rows.items():
        found = sum(count > 0 for count in row["sure_of_each_digit"])
        print(f"{title:32}{row['frechet_distance']:>18.2f}{row['sure_share']:>17.1%}{found:>11}/10")
    print(f"\n{sum(metrics['seconds'].values()):.0f} s, {metrics['cpu_seconds']:.0f} s of processor time. Look at:")
    for file in ("samples.png", "reverse.png", "forward.png", "loss.png", "metrics.json"):
        print(f"  {OUT / file}")


if __name__ == "__main__":
    main()

"""From scanned digits to new ones: train both processes, sample from them, and measure what came out.

    python docs/examples/digits_demo.py        (make demo sets everything up and runs it)

Writes to out/demo: forward.png, reverse.png, samples.png, loss.png, metrics.json, and the training runs below runs/, with
which `softdiff sample` works. The digits are the 1797 scans of 8x8 pixels that the package carries; a fifth of them no
training sees.

To learn from: `make` is all that a program of your own needs to train and sample; the rest looks at the result.
"""

from __future__ import annotations

import io
import json
import os
import platform
import shutil
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from digits_figures import Grid, curves, pairs, strips
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor, nn

import softdiff_ext as sd
from softdiff_ext.evaluation.classifier import classify, train_classifier
from softdiff_ext.evaluation.metrics import frechet_distance, nearest
from softdiff_ext.processes import Process
from softdiff_ext.rules import Rule
from softdiff_ext.training.config import TrainConfig
from softdiff_ext.training.data import Images, load_images
from softdiff_ext.training.files import write_file
from softdiff_ext.training.loop import train
from softdiff_ext.training.network import build_network
from softdiff_ext.training.options import BlurringOptions, NetworkOptions, SoftOptions
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
    rule: Rule
    steps: int


# What both runs share. The images are 8 pixels wide: a blur of 1 or 2 pixels takes as much away as one of 20 from large ones.
COMMON = TrainConfig(
    data="digits",
    network=NetworkOptions(channels=(32, 64), blocks=1, attention=()),
    steps=2200,
    batch_size=64,
    learning_rate=3e-3,
    warmup=100,
    decay="linear",  # much of the quality of so short a run
    ema_decay=0.995,
    log_every=1,
    sample_every=10_000,  # only the sheet at the end
    checkpoint_every=10_000,
)
RECIPES = {
    "blurring": Recipe(
        "Blurring Diffusion",
        replace(COMMON, process="blurring", blurring=BlurringOptions(sigma_blur_max=1.0)),
        sd.Markov(),
        steps=50,
    ),
    "soft": Recipe(
        "Soft Diffusion",
        replace(COMMON, process="soft", soft=SoftOptions(sigma_blur=(0.01, 2.0), sigma=(0.01, 0.2), weight_floor=0.1)),
        sd.Momentum(),
        steps=50,
    ),
}


@dataclass(frozen=True)
class Made:
    """What came of a recipe; arrays, because they travel between processes of the operating system."""

    samples: np.ndarray  # [SAMPLES, 1, 8, 8] in [-1, 1]
    path: np.ndarray  # [SHOWN, SHOWN + 1, 8, 8], the way of the first samples
    path_labels: list[str]
    untrained: np.ndarray  # samples of the same network before training
    seconds: dict[str, float]


def make(name: str, untrained: int) -> Made:
    """Train with the package's own loop, load the run, and sample with the averaged weights."""
    recipe, run = RECIPES[name], RUNS / name
    clock = [time.perf_counter()]
    if train(recipe.config, run) < recipe.config.steps:
        raise KeyboardInterrupt
    clock.append(time.perf_counter())
    print(f"draws {SAMPLES} samples in {recipe.steps} steps", file=sys.stderr)
    process, network = load_run(run)
    samples, path, path_labels = sample(process, network, recipe, SAMPLES)
    clock.append(time.perf_counter())
    print(f"draws {untrained} samples with an untrained network, for comparison", file=sys.stderr)
    torch.manual_seed(recipe.config.seed)
    before, _, _ = sample(process, build_network(recipe.config.network, (1, 8, 8)).eval(), recipe, untrained)
    clock.append(time.perf_counter())
    seconds = dict(zip(("train", "sample", "sample_untrained"), np.diff(clock).round(1).tolist(), strict=True))
    return Made(samples.numpy(), path.numpy(), path_labels, before.numpy(), seconds)


def sample(process: Process, network: nn.Module, recipe: Recipe, count: int) -> tuple[Tensor, Tensor, list[str]]:
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
    labels = [*(f"t = {1 - index / recipe.steps:.2f}" for index in moments), "image"]
    return images, torch.stack([*path, images[:SHOWN, 0]], dim=1), labels


def main() -> None:
    begun = time.perf_counter()
    threads = max(1, torch.get_num_threads() // len(RECIPES))
    torch.set_num_threads(1)
    train_set, held_out_set = load_images("digits")
    images, held_out = train_set.floats(), held_out_set.floats()
    shutil.rmtree(RUNS, ignore_errors=True)  # of an earlier demo: train() itself never writes over a run
    print(f"{len(images)} digits to train on, {len(held_out)} held out")
    print(f"training both processes side by side, {threads} thread(s) each, into {RUNS}", flush=True)

    with ProcessPoolExecutor(len(RECIPES), get_context("spawn"), start_worker, (threads,)) as pool:
        futures = {name: pool.submit(work, name, len(held_out)) for name in RECIPES}
        judge = Judge(train_set, held_out_set)
        print(
            f"the classifier that will judge the samples is right about {judge.accuracy:.1%} of the held-out digits", flush=True
        )
        made = {name: future.result() for name, future in futures.items()}

    reports = {name: judged(name, item, judge, images, held_out) for name, item in made.items()}
    draw_pictures(made, images)
    spent = os.times()
    metrics = {
        "classifier": {"held_out_accuracy": round(judge.accuracy, 4), "sure_means_probability_above": SURE},
        "held_out": judge.report(held_out),
        "processes": reports,
        "seconds": round(time.perf_counter() - begun, 1),
        "cpu_seconds": round(spent.user + spent.system + spent.children_user + spent.children_system, 1),
        "machine": {
            "cores": os.cpu_count(),
            "threads_a_process": threads,
            "python": platform.python_version(),
            "torch": torch.__version__,
        },
    }
    write_file(OUT / "metrics.json", (json.dumps(metrics, indent=2) + "\n").encode())
    summarise(metrics)


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
            "sure_of_each_digit": " ".join(map(str, counts)),
            "all_ten_digits": min(counts) > 0,
        }


def judged(name: str, made: Made, judge: Judge, images: Tensor, held_out: Tensor) -> dict[str, Any]:
    """All numbers of a process. Samples much nearer to training images than held-out scans are would be copies."""
    recipe, samples = RECIPES[name], torch.from_numpy(made.samples)
    return {
        "samples": judge.report(samples),
        "as_many_samples_as_held_out": judge.report(samples[: len(held_out)]),
        "untrained": judge.report(torch.from_numpy(made.untrained)),
        "median_rms_to_nearest_training_image": {
            "samples": round(float(nearest(samples, images)[0].median()), 4),
            "held_out": round(float(nearest(held_out, images)[0].median()), 4),
        },
        "seconds": made.seconds,
        "sampler": {"rule": repr(recipe.rule), "steps": recipe.steps},
        "training": recipe.config.to_dict(),
    }


def draw_pictures(made: dict[str, Made], images: Tensor) -> None:
    panels = {RECIPES[name].title: corrupt(load_run(RUNS / name)[0], images[:4]) for name in made}
    strips(panels, "Scanned digits under growing corruption", OUT / "forward.png")
    panels = {RECIPES[name].title: (torch.from_numpy(item.path), item.path_labels) for name, item in made.items()}
    strips(panels, "The way back: eight samples from the start to the finished digit", OUT / "reverse.png", side_by_side=True)
    compared = {}
    for name, item in made.items():
        samples = torch.from_numpy(item.samples[:64])
        compared[f"{RECIPES[name].title}: the first 64 samples"] = samples, images[nearest(samples, images)[1]]
    pairs(compared, "New digits and the training images closest to them", OUT / "samples.png")
    curves({RECIPES[name].title: logged_losses(RUNS / name) for name in made}, OUT / "loss.png")


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


def logged_losses(run: Path) -> tuple[np.ndarray, np.ndarray]:
    """(steps, losses) of a run, from its TensorBoard file."""
    events = EventAccumulator(str(run / "tensorboard"), size_guidance={"scalars": 0})  # 0: all of them
    scalars = events.Reload().Scalars("train/loss")
    return np.array([scalar.step for scalar in scalars]), np.array([scalar.value for scalar in scalars])


def summarise(metrics: dict[str, Any]) -> None:
    print(f"\n{'':30}{'images':>8}{'Frechet distance':>18}{'classifier sure':>17}{'digits found':>14}")
    rows = [("held-out scans", metrics["held_out"])]
    for name, item in metrics["processes"].items():
        title = RECIPES[name].title
        rows += [(title, item["samples"]), ("  as many as held out", item["as_many_samples_as_held_out"])]
        rows += [("  untrained", item["untrained"])]
    for title, row in rows:
        found = sum(count != "0" for count in row["sure_of_each_digit"].split())
        shares = f"{row['frechet_distance']:>18.2f}{row['sure_share']:>17.1%}{found:>11}/10"
        print(f"{title:30}{row['count']:>8}{shares}")
    print("(the Frechet distance of a good set falls with the number of images: compare equal numbers)")
    print(f"\n{metrics['seconds']:.0f} s, {metrics['cpu_seconds']:.0f} s of processor time. Look at:")
    for file in ("samples.png", "reverse.png", "forward.png", "loss.png", "metrics.json"):
        print(f"  {OUT / file}")


class Prefixed(io.TextIOBase):
    """A text stream that puts a name before each line: two processes report on one terminal."""

    def __init__(self, name: str, to: int) -> None:
        self.name, self.to, self.rest = name, to, ""

    def write(self, text: str) -> int:
        *lines, self.rest = (self.rest + text).split("\n")
        for line in lines:
            os.write(self.to, f"{self.name:>8}  {line}\n".encode())  # one write a line: lines never mix
        return len(text)


def start_worker(threads: int) -> None:
    torch.set_num_threads(threads)


def work(name: str, untrained: int) -> Made:
    sys.stderr = Prefixed(name, sys.stderr.fileno())
    return make(name, untrained)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("stopped; no pictures were written")

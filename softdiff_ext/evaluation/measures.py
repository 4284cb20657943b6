"""What is measured of a run: distances of its images to real ones, bits per dimension, how near they are to training images."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from softdiff_ext.evaluation.features import Features
from softdiff_ext.evaluation.metrics import frechet_distance, kernel_distance, nearest, precision_recall
from softdiff_ext.likelihood import BitsPerDimension, pixel_values
from softdiff_ext.processes import InverseHeatDissipation, Process, VariationalDiffusion
from softdiff_ext.rules import Rule
from softdiff_ext.training.data import ImageSet, StreamImages
from softdiff_ext.training.group import Group
from softdiff_ext.training.randomness import generator, permutation

NEIGHBOURS = 3
"""k of precision and recall, as published."""

MOST_NUMBERS = 100_000_000
"""Pixels of training images that samples are compared with one by one, all images together: 400 MB."""


@torch.no_grad()
def draw(
    process: Process,
    network: nn.Module,
    features: list[Features],
    shape: tuple[int, int, int],
    count: int,
    steps: int,
    rule: Rule,
    seed: int,
    batch: int,
    keep: int,
    group: Group,
    advance: Callable[[int], None] = lambda count: None,
) -> tuple[list[Tensor], Tensor]:
    """Draw `count` images with a sampler, each process of the group an equal share.

    Image i is the same whoever draws it, in whatever batch, and that of `softdiff sample` with the seed.

    Args:
        keep: how many of the first images are wanted themselves.
        advance: told how many images this process has drawn since the last call.
    Returns:
        By each network the features [count, D], and the first images, at most [keep, C, H, W], on the CPU, in all processes.
    """
    share = -(-count // group.world)  # the last process may draw a few too many: shares that are gathered have one shape
    parts: list[list[Tensor]] = [[] for _ in features]
    images = []
    for start in range(group.rank * share, (group.rank + 1) * share, batch):
        size = min(batch, (group.rank + 1) * share - start)
        draws = generator(group.device, seed, "sample")
        drawn = process.sample(network, (size, *shape), process.level_times(steps), rule, generator=draws, first=start)
        for part, network_of_features in zip(parts, features, strict=True):
            part.append(network_of_features(drawn))
        images.append(drawn[: max(0, keep - (start - group.rank * share))])  # the first ones may lie in several shares
        advance(size)
    found = [group.gather(torch.cat(part).to(group.device)).cpu()[:count] for part in parts]
    return found, group.gather(torch.cat(images).float()).cpu()[:keep]


def features_of(
    images: ImageSet,
    count: int,
    key: str,
    features: list[Features],
    batch: int,
    advance: Callable[[int], None] = lambda count: None,
) -> list[Tensor]:
    """By each network the features [count, D] of images chosen by `key`; `advance` is told of each few that are done."""
    if isinstance(images, StreamImages):
        parts = iter(torch.split(images.some(count, key), batch))
    else:
        parts = map(images.floats, torch.split(permutation(len(images), key)[:count], batch))
    found: list[list[Tensor]] = []
    for part in parts:  # not all at once: large images would not fit into memory
        found.append([network(part) for network in features])
        advance(len(part))
    return [torch.cat(of_network) for of_network in zip(*found, strict=True)]


def quality(features: Features, real: Tensor, found: Tensor) -> dict[str, float]:
    """Distances between the features of real images and of others, both [N, D]; precision and recall of as many of both."""
    kernel = kernel_distance(found, real)
    count = min(len(real), len(found))
    precision, recall = precision_recall(real[:count], found[:count], NEIGHBOURS)
    return {
        features.frechet: frechet_distance(found, real),
        features.kernel: kernel.mean,
        f"{features.kernel} std": kernel.std,
        f"precision {features.label}": precision,
        f"recall {features.label}": recall,
    }


@torch.no_grad()
def bits_per_dimension(
    process: Process,
    network: nn.Module,
    images: Tensor,
    maximum: int,
    seed: int,
    batch: int,
    advance: Callable[[int], None] = lambda count: None,
) -> dict[str, Any]:
    """The bound on the bits per dimension of images [N, C, H, W], by its terms, or why there is none.

    Args:
        maximum: the largest of their pixel values, which are 0 ... maximum in equal steps from -1 to 1: these are counted,
            whatever the process was told of in training.
        advance: told of each few images that are done.
    """
    if not isinstance(process, (VariationalDiffusion, InverseHeatDissipation)):
        return {"n": 0, "reason": f"{type(process).__name__} defines no likelihood"}
    values = pixel_values([2.0 * i / maximum - 1.0 for i in range(maximum + 1)], "bits_per_dimension")
    process.values = values.to(process.values)
    device = next(network.parameters()).device
    draws = generator(device, seed, "likelihood")
    parts = []
    for part in torch.split(images, batch):
        parts.append(process.bits_per_dimension(network, part.to(device), draws))
        advance(len(part))
    terms = [torch.cat([getattr(part, name).cpu() for part in parts]) for name in ("reconstruction", "prior", "diffusion")]
    bits = BitsPerDimension(*terms)
    error = float(bits.total.std()) / math.sqrt(len(images)) if len(images) > 1 else None
    return {"n": len(images), **bits.means(), "standard error of total": error, "pixel values": maximum + 1}


def training_images(train: ImageSet) -> Tensor:
    """Training images to compare samples with, [R, C, H, W]: all of them, or as many as fit."""
    return train.some(max(1, MOST_NUMBERS // math.prod(train.shape)), "neighbours").cpu()


def copies(samples: Tensor, held_out: Tensor, training: Tensor) -> dict[str, Any]:
    """Whether samples are copies: then they lie nearer to training images than held-out images do.

    Distances are root mean squares over the pixels, whose full range is 2.
    """
    distance, _ = nearest(samples.clamp(-1, 1), training)
    others, _ = nearest(held_out, training)
    typical = float(others.median())
    return {
        "n": len(samples),
        "compared with": len(training),
        "median distance of samples": float(distance.median()),
        "median distance of held-out images": typical,
        "samples within half of that": float((distance < typical / 2).double().mean()),
    }


def neighbour_rows(samples: Tensor, training: Tensor, count: int) -> Tensor:
    """Each sample and the `count` training images nearest to it by pixels, [N * (1 + count), C, H, W]."""
    flat = training.flatten(1)
    rows = []
    for sample in samples.clamp(-1, 1):
        distance = (flat - sample.flatten()).square().sum(dim=1)
        rows += [sample[None], training[distance.topk(min(count, len(training)), largest=False).indices]]
    return torch.cat(rows)

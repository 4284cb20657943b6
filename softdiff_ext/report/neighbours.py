"""Are samples copies? The training images nearest to each, in pixel space, and how near held-out images come."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from softdiff_ext.training.data import ImageSet

MOST_NUMBERS = 100_000_000
"""Pixels of training images that are compared with, all images together: 400 MB. More images are represented by a draw."""

HELD_OUT = 64
"""Held-out images that are compared for scale."""


@dataclass(frozen=True)
class Neighbours:
    """Samples and the training images nearest to them.

    Args:
        images: the nearest ones, nearest first, [N, K, C, H, W] in [-1, 1].
        distances: to them, [N, K]: root mean square over the pixels, of a full range of 2.
        held_out: the distance of the median held-out image to its nearest training image; None where none are held out.
        compared: how many training images were looked at.
    """

    images: Tensor
    distances: Tensor
    held_out: float | None
    compared: int


def nearest(samples: Tensor, train: ImageSet, held_out: ImageSet, count: int = 3) -> Neighbours:
    """The `count` training images nearest to each of the samples [N, C, H, W], or all where there are fewer."""
    pixels = samples[0].numel()
    candidates = train.some(max(1, MOST_NUMBERS // pixels), "neighbours").cpu()
    distances = pairwise_rms(samples, candidates)
    found = distances.topk(min(count, len(candidates)), largest=False)
    others = held_out.some(HELD_OUT, "neighbours").cpu()
    typical = float(pairwise_rms(others, candidates).amin(1).median()) if len(others) else None
    return Neighbours(candidates[found.indices], found.values, typical, len(candidates))


def pairwise_rms(a: Tensor, b: Tensor) -> Tensor:
    """Root mean square difference of each image of a to each of b, [len(a), len(b)]."""
    flat_a, flat_b = a.float().clamp(-1, 1).flatten(1), b.float().flatten(1)
    squares = (flat_a**2).sum(1)[:, None] + (flat_b**2).sum(1) - 2 * flat_a @ flat_b.T
    return (squares.clamp_min(0) / flat_a.shape[1]).sqrt()

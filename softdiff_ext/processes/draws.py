"""Random draws of the processes, all from the caller's generator, so that the same seed gives the same loss and samples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from softdiff_ext import reference
from softdiff_ext.ops import normal
from softdiff_ext.ops.noise import draw_seed

_TIMES = 2**62  # the counter of the times of a batch: far from those of the draws, which count from 0


class ImageDraws:
    """The random numbers of a sampling run: those of image i and draw k are a function of (generator's seed, k, i) alone.

    So an image is the same whether it is drawn in a batch of 64, in two of 32, or alone, on however many threads. One number is
    taken from the generator; everything else is Philox with the counters k and i (Salmon et al. 2011).

    Args:
        generator: where the run's seed comes from; None is torch's default generator.
        first: index in the run of the first image of this batch.
        shared: give all images the numbers of image `first`.
    """

    def __init__(self, generator: torch.Generator | None, first: int = 0, shared: bool = False) -> None:
        if isinstance(first, bool) or not isinstance(first, int) or first < 0:
            raise ValueError(f"first: must be an int >= 0, got {first!r}")
        self.seed, self.first, self.shared = int(draw_seed(generator, tracing=False)), first, shared

    def seeds(self, count: int, draw: int = 0) -> list[int]:
        """A seed for each of `count` images, in [0, 2^63)."""
        key = _seeds(np.array([draw]), self.seed)[0]
        if self.shared:
            return [_seeds(np.array([self.first]), key)[0]] * count
        return _seeds(np.arange(self.first, self.first + count), key)

    def normal(self, shape: Sequence[int], draw: int = 0, device: torch.device | str | None = None) -> Tensor:
        """N(0, I) of shape [B, ...], float32."""
        count, *image = shape
        target = torch.device(device or "cpu")
        numbers = torch.empty(tuple(shape), pin_memory=target.type == "cuda")  # from pinned memory a copy makes nobody wait
        if count:
            torch.stack([normal(image, seed) for seed in self.seeds(count, draw)], out=numbers)
        return numbers.to(target, non_blocking=True)

    def choices(self, n: int, count: int, draw: int = 0) -> Tensor:
        """An index below n for each of `count` images, int64 on the CPU."""
        # remainder of a 63-bit number: the bias against the last indices is n / 2^63
        return torch.tensor([seed % n for seed in self.seeds(count, draw)], dtype=torch.int64)

    def __call__(self, index: int, like: Tensor) -> Tensor:
        """Noise for step `index` of a run, shape, dtype and device of `like`."""
        return self.normal(like.shape, index, like.device).to(like.dtype)


def _seeds(counter: np.ndarray, key: int) -> list[int]:
    words = reference.philox(counter.astype(np.uint64), key)
    return [int(seed) for seed in ((words[0] << np.uint64(32)) | words[1]) >> np.uint64(1)]


class BatchDraws(ImageDraws):
    """The random numbers of images first, first + 1, ... of a training batch of `total`, for `Process.loss` as its generator.

    Each image gets the numbers it has where the whole batch is in one piece: noise of its own, and its place among the times
    that are spread evenly over all. So the mean of the losses of equal parts, on many devices or one after the other, is the
    loss of the batch, to rounding.

    Args:
        generator: where the seed of the whole batch comes from: the same one, in the same state, for all parts.
        first: index in the batch of the first image.
        total: number of images in the batch.
    Raises:
        ValueError: first or total is out of its range.
    """

    def __init__(self, generator: torch.Generator | None, first: int, total: int) -> None:
        super().__init__(generator, first)
        if isinstance(total, bool) or not isinstance(total, int) or total < first:
            raise ValueError(f"total: must be an int >= first = {first}, got {total!r}")
        self.total = total

    def times(self, count: int, device: torch.device) -> Tensor:
        """The times of the next `count` images, see `stratified_times`; float64 [count]."""
        if self.first + count > self.total:
            raise ValueError(f"total: images {self.first} to {self.first + count - 1} are not in a batch of {self.total}")
        start = (_seeds(np.array([_TIMES]), self.seed)[0] >> 10) / 2.0**53
        index = torch.arange(self.first, self.first + count, dtype=torch.float64, device=device)
        return (start + index / max(self.total, 1)) % 1.0


Source = torch.Generator | BatchDraws | None
"""Where a loss takes its draws from; None is torch's default generator."""


def stratified_times(batch: int, generator: Source, device: torch.device) -> Tensor:
    """Times t_i = (u + i / batch) mod 1, float64 [batch]: each uniform on [0, 1), together evenly spread.

    One draw serves the batch, which lowers the variance of the loss at no cost.

    Source: Kingma et al. 2021, Variational Diffusion Models, appendix I.1.
    """
    if isinstance(generator, BatchDraws):
        return generator.times(batch, device)
    first = torch.rand((), dtype=torch.float64, generator=generator, device=_source(generator, device)).to(device)
    return (first + torch.arange(batch, dtype=torch.float64, device=device) / max(batch, 1)) % 1.0


def standard_normal(
    shape: Sequence[int], generator: Source, device: torch.device, dtype: torch.dtype = torch.float32, draw: int = 0
) -> Tensor:
    """N(0, I) on `device`; a generator of another device draws there and the numbers are moved. `draw` is for BatchDraws."""
    if isinstance(generator, BatchDraws):
        return generator.normal(shape, draw, device).to(dtype)
    return torch.randn(tuple(shape), dtype=dtype, generator=generator, device=_source(generator, device)).to(device)


def noise_source(x: Tensor, generator: Source) -> dict[str, Any]:
    """What an operator is told of where its noise comes from: noise=..., shape and dtype of x, or generator=..."""
    return {"noise": generator(0, x)} if isinstance(generator, BatchDraws) else {"generator": generator}


def _source(generator: torch.Generator | None, device: torch.device) -> torch.device:
    return device if generator is None else generator.device

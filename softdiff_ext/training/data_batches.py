"""Training batches as a pure function of the step: which images, and how each is cut and mirrored."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from softdiff_ext.reference import philox
from softdiff_ext.training.data_sets import AS_STORED, Augment, Images, ImageSet
from softdiff_ext.training.randomness import permutation, stream_seed

_AHEAD = 2  # batches read before they are asked for: one for the step that runs, one for a slow disk


class Batches:
    """Training batches as a pure function of the step: each epoch is a fresh permutation, dealt out over the processes.

    The image at position p of the run, and its cut and mirroring, are functions of (seed, p) alone; the batch of a step holds
    positions step * world * batch_size + rank * batch_size + 0, 1, ... So runs of the same global batch see the same images
    with any number of processes. Images that are not in memory are read ahead by a thread.

    Args:
        images: the training set; batches come from the device where it hands out its images.
        batch_size: images a process and step.
        seed, rank, world: the run's seed, this process and the number of processes.
    """

    def __init__(self, images: ImageSet, batch_size: int, seed: int, rank: int = 0, world: int = 1) -> None:
        self.images, self.batch_size, self.seed, self.rank, self.world = images, batch_size, seed, rank, world
        self._epoch, self._order = -1, torch.empty(0, dtype=torch.int64)
        self._reader = None if isinstance(images, Images) else ThreadPoolExecutor(1, "images")
        self._ahead: dict[int, Future[Tensor]] = {}

    def __call__(self, step: int) -> Tensor:
        """The batch of `step`, float32 [batch_size, C, H, W] in [-1, 1]."""
        cut = augmented(self._stored(step), self.images.augment, self.seed, self._position(step))
        return self.images.to_floats(cut)

    def index(self, step: int) -> Tensor:
        """Which images the batch of `step` holds, int64 [batch_size]; a batch may reach into the next epoch."""
        position, pieces, wanted = self._position(step), [], self.batch_size
        while wanted:
            epoch, offset = divmod(position, len(self.images))
            piece = self._epoch_order(epoch)[offset : offset + wanted]
            pieces.append(piece)
            position, wanted = position + len(piece), wanted - len(piece)
        return torch.cat(pieces)

    def _position(self, step: int) -> int:
        return (step * self.world + self.rank) * self.batch_size

    def _stored(self, step: int) -> Tensor:
        if self._reader is None:
            return self.images.stored(self.index(step))
        ahead = {}
        for wanted in range(step, step + 1 + _AHEAD):  # the indices are found here: only one thread may keep the epoch's order
            known = self._ahead.get(wanted)
            ahead[wanted] = known or self._reader.submit(self.images.stored, self.index(wanted))
        self._ahead = ahead
        return ahead[step].result()

    def _epoch_order(self, epoch: int) -> Tensor:
        if epoch != self._epoch:
            order = permutation(len(self.images), self.seed, "epoch", epoch)
            self._epoch, self._order = epoch, order.to(self.images.device)
        return self._order


def augmented(pixels: Tensor, augment: Augment, seed: int, position: int) -> Tensor:
    """Images [B, C, H, W] at position, position + 1, ... of a run, cut and mirrored by the numbers of each position."""
    if augment == AS_STORED:
        return pixels
    batch, _, height, width = pixels.shape
    _, new_height, new_width = augment.shape((pixels.shape[1], height, width))
    words = philox(np.arange(position, position + batch, dtype=np.uint64), stream_seed(seed, "augment"))
    # 32-bit words, remainders below some thousands: the bias against the last place is below 1e-6
    top = torch.from_numpy((words[0] % np.uint64(height - new_height + 1)).astype(np.int64))
    left = torch.from_numpy((words[1] % np.uint64(width - new_width + 1)).astype(np.int64))
    mirrored = torch.from_numpy((words[2] & np.uint64(augment.flip)).astype(np.int64)).bool()
    column = torch.arange(new_width)
    columns = left[:, None] + torch.where(mirrored[:, None], new_width - 1 - column, column)
    rows = top[:, None] + torch.arange(new_height)
    images = torch.arange(batch)
    where = [index.to(pixels.device) for index in (images[:, None, None], rows[:, :, None], columns[:, None, :])]
    return pixels.movedim(1, -1)[where[0], where[1], where[2]].movedim(-1, 1).contiguous()

"""Hugging Face data sets read from front to back: too large to store, or on another machine.

The order of the images is a function of the seed and of the data set's own order, whatever the number of processes: each of
them reads the whole stream, but decodes its own share only. A run that is resumed reads again, undecoded, what it has seen.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import count, islice
from typing import Any

import numpy as np
import torch
from torch import Tensor

from softdiff_ext.reference import philox
from softdiff_ext.training.data_batches import augmented
from softdiff_ext.training.data_huggingface import content_name, open_dataset, open_row
from softdiff_ext.training.data_options import ImageOptions
from softdiff_ext.training.data_prepare import Prepare
from softdiff_ext.training.data_sets import AS_STORED, CPU, Augment, Images, ImageSet, Unreadable, decode_all, to_device
from softdiff_ext.training.data_split import place
from softdiff_ext.training.randomness import stream_seed

BUFFER = 4096
"""Rows, undecoded, among which the next one is drawn: a stream has no other way to be shuffled."""

HELD_OUT_IMAGES = 2048
"""Held-out images of a stream that are kept in memory."""

_AHEAD = 2  # batches read before they are asked for
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Row:
    """One undecoded image: what an error calls it, and its file {"bytes", "path"}."""

    where: str
    cell: dict[str, Any]


@dataclass(frozen=True)
class Rows:
    """Undecoded images as a reader, so that they are decoded like all others."""

    rows: list[Row]
    labels: Tensor | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def name(self, i: int) -> str:
        return content_name(self.rows[i].cell, self.rows[i].where)

    def where(self, i: int) -> str:
        return self.rows[i].where

    def open(self, i: int) -> Any:
        return open_row(self.rows[i].cell, self.rows[i].where)


@dataclass(frozen=True)
class Stream:
    """The rows of one split, again and again in the same order. To be read by one at a time: `datasets` keeps one place.

    Args:
        dataset, column: what to iterate, and where the images are.
        title, split, options: what it was opened by.
    """

    dataset: Any
    column: str
    title: str
    split: str
    options: ImageOptions

    @staticmethod
    def open(title: str, split: str, options: ImageOptions) -> Stream:
        """Raises as `open_dataset`."""
        return Stream(*open_dataset(title, split, options), title, split, options)

    def again(self) -> Stream:
        """The same rows for another reader."""
        return Stream.open(self.title, self.split, self.options)

    def __iter__(self) -> Iterator[Row]:
        for i, values in enumerate(self.dataset):
            row = Row(f"row {i} of {self.title}", values[self.column])
            if self.options.unreadable == "skip":  # by the header: every process must leave out the same rows
                try:
                    open_row(row.cell, row.where).close()
                except Unreadable as error:
                    _LOG.warning("skipped: %s", error)
                    continue
            yield row


def is_held_out(row: Row, share: float) -> bool:
    """Whether a row belongs to the share of the images that training never sees."""
    return place(content_name(row.cell, row.where)) < share


@dataclass(frozen=True)
class StreamImages(ImageSet):
    """The training images of a stream. They have no index and, as far as is known, no number: their length is 0.

    Args:
        stream: their rows.
        share: the rows below it are held out; 0 where another split is.
        prepare, workers: what is done to each image, by how many threads.
        image_shape: (C, H, W) of each after that.
        put_on: the device where batches are put.
    """

    stream: Stream
    share: float
    prepare: Prepare
    workers: int
    image_shape: tuple[int, int, int]
    put_on: torch.device = CPU
    augment: Augment = AS_STORED
    maximum: int = 255

    def __len__(self) -> int:
        return 0

    @property
    def stored_shape(self) -> tuple[int, int, int]:
        return self.image_shape

    @property
    def device(self) -> torch.device:
        return self.put_on

    def to(self, device: torch.device) -> StreamImages:
        """The set that hands its images out on `device`."""
        return replace(self, put_on=device)

    def shuffled(self, seed: int, epoch: int) -> Iterator[Row]:
        """The training rows, each drawn from a buffer of the `BUFFER` rows that come next; a function of (seed, epoch)."""
        key, buffer = stream_seed(seed, "stream", epoch), []
        drawn = 0
        for row in self.stream:
            if self.share and is_held_out(row, self.share):
                continue
            buffer.append(row)
            if len(buffer) == BUFFER:
                yield _draw(buffer, key, drawn)
                drawn += 1
        while buffer:
            yield _draw(buffer, key, drawn)
            drawn += 1

    def decoded(self, rows: list[Row]) -> Tensor:
        """Rows as uint8 [B, C, H, W] on `device`."""
        pixels = decode_all(Rows(rows), self.prepare, range(len(rows)), self.image_shape, self.workers)
        return to_device(pixels, self.put_on)

    def some(self, count: int, key: str) -> Tensor:
        """The first `count` images of a shuffled stream."""
        rows = list(islice(self.shuffled(stream_seed(key), 0), count))
        return self.to_floats(self.augment.centre(self.decoded(rows)))


def _draw(buffer: list[Row], key: int, drawn: int) -> Row:
    word = int(philox(np.array([drawn], dtype=np.uint64), key)[0, 0])
    chosen = word % len(buffer)
    buffer[chosen], buffer[-1] = buffer[-1], buffer[chosen]
    return buffer.pop()


class StreamBatches:
    """Training batches of a stream; as `Batches`, but a step other than the next one reads the stream from its beginning."""

    def __init__(self, images: StreamImages, batch_size: int, seed: int, rank: int = 0, world: int = 1) -> None:
        self.images = replace(images, stream=images.stream.again())
        self.batch_size, self.seed, self.rank, self.world = batch_size, seed, rank, world
        self._reader = ThreadPoolExecutor(1, "images")
        self._ahead: dict[int, Future[Tensor]] = {}
        self._next = 0
        self._rows = self._from(0)

    def __call__(self, step: int) -> Tensor:
        """The batch of `step`, float32 [batch_size, C, H, W] in [-1, 1]."""
        if step not in self._ahead and step != self._next:
            for future in self._ahead.values():  # they use the rows: let them end
                future.exception()
            self._ahead, self._next, self._rows = {}, step, self._from(step)
        while self._next <= step + _AHEAD:
            self._ahead[self._next] = self._reader.submit(self._read)
            self._next += 1
        self._ahead = {wanted: future for wanted, future in self._ahead.items() if wanted >= step}
        position = (step * self.world + self.rank) * self.batch_size
        return self.images.to_floats(augmented(self._ahead[step].result(), self.images.augment, self.seed, position))

    def _read(self) -> Tensor:
        rows = list(islice(self._rows, self.world * self.batch_size))
        return self.images.decoded(rows[self.rank * self.batch_size : (self.rank + 1) * self.batch_size])

    def _from(self, step: int) -> Iterator[Row]:
        return islice(self._endless(), step * self.world * self.batch_size, None)

    def _endless(self) -> Iterator[Row]:
        for epoch in count():
            found = False
            for row in self.images.shuffled(self.seed, epoch):
                found = True
                yield row
            if not found:
                raise ValueError(f"data: {self.images.stream.title} has no images to train on")


def open_stream(
    name: str, prepare: Prepare, options: ImageOptions, train: Augment, held_out: Augment
) -> tuple[StreamImages, Images]:
    """(train, held_out) of a Hugging Face data set that is streamed; held out are at most `HELD_OUT_IMAGES`, in memory.

    Raises:
        ValueError: as `open_dataset`; the stream has no image for one of the sides.
    """
    stream = Stream.open(name, options.split, options)
    share = 0.0 if options.held_out_split else options.held_out
    first = next(iter(stream), None)
    if first is None:
        raise ValueError(f"data: {name} has no images")
    with open_row(first.cell, first.where) as image:
        shape = prepare.shape(image, first.where)
    images = StreamImages(stream, share, prepare, options.workers, shape, augment=train)
    if options.held_out_split:
        others: Iterator[Row] = iter(Stream.open(name, options.held_out_split, options))
    else:
        others = (row for row in stream if is_held_out(row, share))
    rows = list(islice(others, HELD_OUT_IMAGES))
    if not rows:
        raise ValueError(f"data: {name} has no images to hold out: give --images.held-out or --images.held-out-split")
    return images, Images(images.decoded(rows), augment=held_out)

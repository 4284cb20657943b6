"""Sets of images: held in memory as one uint8 tensor, or read when they are needed; floats in [-1, 1] to the outside."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from softdiff_ext.training.data_prepare import Bytes, Prepare
from softdiff_ext.training.randomness import permutation

T = TypeVar("T")

_AT_ONCE = 4096  # jobs handed to threads at a time: each takes memory, and an error should not wait for millions


@dataclass(frozen=True)
class Augment:
    """What training does to an image each time it sees it.

    Args:
        window: side of the square that is cut out: at a random place for training, at the centre otherwise; None cuts nothing.
        flip: whether training mirrors images left to right with probability 1/2.
    """

    window: int | None = None
    flip: bool = False

    def shape(self, stored: tuple[int, int, int]) -> tuple[int, int, int]:
        """(C, H, W) of what is cut out of stored images.

        Raises:
            ValueError: they are smaller than the window.
        """
        channels, height, width = stored
        if self.window is None:
            return stored
        if self.window > min(height, width):
            raise ValueError(f"data: images are {width}x{height}, smaller than --images.random-crop {self.window}")
        return channels, self.window, self.window

    def centre(self, pixels: Tensor) -> Tensor:
        """The centres of images [B, C, H, W]."""
        _, height, width = self.shape((pixels.shape[1], pixels.shape[2], pixels.shape[3]))
        top, left = (pixels.shape[2] - height) // 2, (pixels.shape[3] - width) // 2
        return pixels[:, :, top : top + height, left : left + width]


AS_STORED = Augment()
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Skipped:
    """A file that was left out, and why."""

    name: str
    reason: str


class ImageSet:
    """A set of images of one shape, by index.

    `maximum` is the value that means white, `labels` int64 [N] where the classes are known, `skipped` what was left out.
    """

    maximum: int
    labels: Tensor | None = None
    augment: Augment = AS_STORED
    skipped: tuple[Skipped, ...] = ()

    def __len__(self) -> int:
        raise NotImplementedError

    @property
    def stored_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of an image as it is kept."""
        raise NotImplementedError

    @property
    def device(self) -> torch.device:
        """Where images are handed out."""
        raise NotImplementedError

    def stored(self, index: Tensor) -> Tensor:
        """The images at `index` as they are kept, uint8 [B, C, H, W] on `device`."""
        raise NotImplementedError

    def to(self, device: torch.device) -> ImageSet:
        """The set that hands its images out on `device`."""
        raise NotImplementedError

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of an image that training sees."""
        return self.augment.shape(self.stored_shape)

    def to_floats(self, pixels: Tensor) -> Tensor:
        """Stored bytes as float32 in [-1, 1]."""
        return pixels.to(torch.float32).div_(self.maximum / 2).sub_(1.0)  # white is exactly 1

    def floats(self, index: Tensor | slice = slice(None)) -> Tensor:
        """The images at `index`, not augmented, as float32 in [-1, 1], [B, C, H, W]."""
        chosen = torch.arange(len(self))[index] if isinstance(index, slice) else index
        return self.to_floats(self.augment.centre(self.stored(chosen)))

    def some(self, count: int, key: str) -> Tensor:
        """Up to `count` images chosen at random, the same for the same key, as `floats` gives them."""
        return self.floats(permutation(len(self), key)[:count])


@dataclass(frozen=True)
class Images(ImageSet):
    """Images in memory.

    Args:
        pixels: uint8 [N, C, H, W], values 0..maximum.
        maximum: the value that means white: 255, or 16 for the digit scans.
        labels: int64 [N], the class of each image, where the data set knows it.
        augment, skipped: see `ImageSet`.
    """

    pixels: Tensor
    maximum: int = 255
    labels: Tensor | None = None
    augment: Augment = AS_STORED
    skipped: tuple[Skipped, ...] = ()

    def __len__(self) -> int:
        return len(self.pixels)

    @property
    def stored_shape(self) -> tuple[int, int, int]:
        channels, height, width = self.pixels.shape[1:]
        return channels, height, width

    @property
    def device(self) -> torch.device:
        return self.pixels.device

    def stored(self, index: Tensor) -> Tensor:
        return self.pixels[index.to(self.pixels.device)]

    def take(self, index: Tensor) -> Images:
        """The images at `index` as a set of their own."""
        return replace(self, pixels=self.pixels[index], labels=None if self.labels is None else self.labels[index])

    def to(self, device: torch.device) -> Images:
        """The set with its pixels on `device`: batches are then cut without any transfer."""
        return replace(self, pixels=self.pixels.to(device))


class Reader(Protocol):
    """Images that can be opened one by one, by several threads at once."""

    @property
    def labels(self) -> Tensor | None: ...

    def __len__(self) -> int: ...

    def name(self, i: int) -> str:
        """What decides on which side of the split image i is."""
        ...

    def where(self, i: int) -> str:
        """What an error calls image i."""
        ...

    def open(self, i: int) -> Image.Image:
        """Image i, which need not be decoded yet; raises `Unreadable`."""
        ...


class Unreadable(ValueError):
    """An image cannot be decoded."""


def decode(reader: Reader, prepare: Prepare, i: int) -> Bytes:
    """Image i as training keeps it; raises `Unreadable`, or ValueError where it is another kind of image than wanted."""
    where = reader.where(i)
    with reader.open(i) as image:
        try:
            image.load()
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise Unreadable(f"data: cannot read image {where}: {error}") from error
        return prepare(image, where)


def in_threads(work: Callable[[int], T], indices: Sequence[int], workers: int) -> list[T]:
    """work(i) of each index, in order; Pillow decodes without holding Python's lock."""
    if workers == 1 or len(indices) < 2:
        return [work(i) for i in indices]
    results: list[T] = []
    with ThreadPoolExecutor(min(workers, len(indices))) as pool:
        for start in range(0, len(indices), _AT_ONCE):
            results += pool.map(work, indices[start : start + _AT_ONCE])
    return results


def decode_all(reader: Reader, prepare: Prepare, rows: Sequence[int], shape: tuple[int, int, int], workers: int) -> Tensor:
    """The images `rows` of a reader as uint8 [B, C, H, W]; raises as `decode`, and ValueError where one has another shape."""
    pixels = np.empty((len(rows), *shape), dtype=np.uint8)

    def read(k: int) -> None:
        image = decode(reader, prepare, rows[k])
        if image.shape != shape:
            where = reader.where(rows[k])
            raise ValueError(f"data: images must all have one shape, got {list(image.shape)} in {where}, wanted {list(shape)}")
        pixels[k] = image

    in_threads(read, range(len(rows)), workers)
    return torch.from_numpy(pixels)


@dataclass(frozen=True)
class LazyImages(ImageSet):
    """Images that are read when they are asked for.

    Args:
        reader, prepare: where they come from and what is done to them.
        rows: int64 [N], which images of the reader these are.
        image_shape: (C, H, W) of each, after `prepare`.
        workers: threads that decode.
        put_on: the device where batches are put, through pinned memory if it is a GPU.
    """

    reader: Reader
    prepare: Prepare
    rows: Tensor
    image_shape: tuple[int, int, int]
    workers: int
    labels: Tensor | None = None
    augment: Augment = AS_STORED
    skipped: tuple[Skipped, ...] = ()
    put_on: torch.device = CPU
    maximum: int = 255

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def stored_shape(self) -> tuple[int, int, int]:
        return self.image_shape

    @property
    def device(self) -> torch.device:
        return self.put_on

    def stored(self, index: Tensor) -> Tensor:
        rows: list[int] = self.rows[index.cpu()].tolist()
        return to_device(decode_all(self.reader, self.prepare, rows, self.image_shape, self.workers), self.put_on)

    def to(self, device: torch.device) -> LazyImages:
        """The set that hands its images out on `device`."""
        return replace(self, put_on=device)


def to_device(pixels: Tensor, device: torch.device) -> Tensor:
    """Bytes on the CPU to `device`; from pinned memory, so that a GPU fetches them while it computes."""
    return pixels.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else pixels.to(device)

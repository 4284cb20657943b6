"""Reading the images of a source: all into memory, or only looked at now and read when they are needed."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain

import numpy as np
import torch
from torch import Tensor

from softdiff_ext.training.data_options import ImageOptions
from softdiff_ext.training.data_prepare import Prepare
from softdiff_ext.training.data_sets import (
    Augment,
    Images,
    ImageSet,
    LazyImages,
    Reader,
    Skipped,
    Unreadable,
    decode,
    in_threads,
)


@dataclass(frozen=True)
class Side:
    """One side of a split: which images of a reader, and what is done to them in training."""

    reader: Reader
    rows: Tensor
    augment: Augment


def read_sides(train: Side, held_out: Side, prepare: Prepare, options: ImageOptions) -> tuple[ImageSet, ImageSet]:
    """Both sides as sets of images of one shape.

    Files that cannot be decoded are left out and listed in `skipped` with unreadable="skip"; a lazy set is then decoded once to
    find them, otherwise only the headers are looked at.

    Raises:
        Unreadable: a file cannot be decoded and is not to be skipped.
        ValueError: an image has another shape than the first one or a kind that is not wanted, a side has no readable image, or
            the images do not fit into memory.
    """
    try:
        return _read_sides(train, held_out, prepare, options)
    except Unreadable as error:
        raise Unreadable(f"{error} (mend or remove it, or give --images.unreadable skip)") from error


def _read_sides(train: Side, held_out: Side, prepare: Prepare, options: ImageOptions) -> tuple[ImageSet, ImageSet]:
    found = next(_shapes([train, held_out], prepare, options.unreadable == "skip"), None)
    if found is None:
        raise ValueError("data: none of the files can be read as an image")
    shape, like = found
    if not options.lazy:
        check_memory(len(train.rows) + len(held_out.rows), shape)
    sets = _read(train, prepare, options, shape, like), _read(held_out, prepare, options, shape, like)
    for name, images in zip(("train on", "hold out"), sets, strict=True):
        if not len(images):
            raise ValueError(f"data: no readable image is left to {name}; first: {images.skipped[0].reason}")
    return sets


def check_memory(count: int, shape: tuple[int, int, int]) -> None:
    """Raise ValueError where images take more than half of the machine's memory: they are better read lazily."""
    wanted, there = count * int(np.prod(shape)), os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if wanted > there / 2:
        sizes = "x".join(map(str, shape))
        raise ValueError(
            f"data: {count} images of {sizes} take {wanted / 2**30:.1f} GiB, the machine has {there / 2**30:.1f}: "
            "give --images.lazy"
        )


def _shapes(sides: Iterable[Side], prepare: Prepare, skip: bool) -> Iterator[tuple[tuple[int, int, int], str]]:
    """Shape and name of each image whose header can be read."""
    for reader, i in chain.from_iterable(((side.reader, i) for i in side.rows.tolist()) for side in sides):
        try:
            yield shape_of(reader, prepare, i), reader.where(i)
        except Unreadable:
            if not skip:
                raise


def shape_of(reader: Reader, prepare: Prepare, i: int) -> tuple[int, int, int]:
    """(C, H, W) of image i after `prepare`, from its header."""
    with reader.open(i) as image:
        return prepare.shape(image, reader.where(i))


def _read(side: Side, prepare: Prepare, options: ImageOptions, shape: tuple[int, int, int], like: str) -> ImageSet:
    rows, reader, skip = side.rows.tolist(), side.reader, options.unreadable == "skip"
    pixels = np.empty((0 if options.lazy else len(rows), *shape), dtype=np.uint8)

    def read(k: int) -> Skipped | None:
        try:
            check_shape(shape_of(reader, prepare, rows[k]), shape, reader.where(rows[k]), like)
            if skip or not options.lazy:
                image = decode(reader, prepare, rows[k])
                if not options.lazy:
                    pixels[k] = image
        except Unreadable as error:
            if not skip:
                raise
            return Skipped(reader.where(rows[k]), str(error).removeprefix("data: "))
        return None

    results = in_threads(read, range(len(rows)), options.workers)
    skipped = tuple(result for result in results if result is not None)
    good = torch.tensor([result is None for result in results], dtype=torch.bool)
    kept = side.rows[good]
    labels = None if reader.labels is None else reader.labels[kept]
    if options.lazy:
        return LazyImages(reader, prepare, kept, shape, options.workers, labels, side.augment, skipped)
    images = torch.from_numpy(pixels)
    return Images(images[good] if skipped else images, 255, labels, side.augment, skipped)


def check_shape(found: tuple[int, int, int], wanted: tuple[int, int, int], where: str, like: str) -> None:
    """Raise ValueError unless an image has the shape of the first one, whose name is `like`."""
    if found[1:] != wanted[1:]:
        sizes = [f"{shape[2]}x{shape[1]}" for shape in (found, wanted)]
        raise ValueError(
            f"data: images must all have one size, got {sizes[0]} in {where} and {sizes[1]} in {like}: give --images.size"
        )
    if found[0] != wanted[0]:
        raise ValueError(f"data: grey and colour images are mixed ({where}, {like}): give --mode grey or --mode rgb")


def skip_report(*sets: ImageSet, shown: int = 3) -> str:
    """One line about the files that were left out, naming the first few; empty where there are none."""
    skipped = [file for images in sets for file in images.skipped]
    if not skipped:
        return ""
    count = sum(len(images) for images in sets)
    some = "; ".join(file.reason for file in skipped[:shown]) + ("; ..." if len(skipped) > shown else "")
    return f"data: skipped {len(skipped)} unreadable of {count + len(skipped)} files: {some}"

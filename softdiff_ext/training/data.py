"""Images to train on: `load_images` finds them, decides which are held out, and gives sets that batches are cut from.

`digits` ships with the package (digits.npz): the 1797 test scans of "Optical Recognition of Handwritten Digits" by E. Alpaydin
and C. Kaynak, UCI Machine Learning Repository, 1998, https://doi.org/10.24432/C50P49, licence CC BY 4.0; 8x8 pixels, 0..16.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from softdiff_ext.training.data_batches import Batches
from softdiff_ext.training.data_huggingface import RowReader
from softdiff_ext.training.data_idx import read_idx_pair
from softdiff_ext.training.data_options import MODES, ImageOptions
from softdiff_ext.training.data_prepare import Prepare
from softdiff_ext.training.data_read import Side, read_sides, skip_report
from softdiff_ext.training.data_readers import ArrayReader, EmojiReader, FolderReader
from softdiff_ext.training.data_sets import Augment, Images, ImageSet, LazyImages, Reader, Skipped, in_threads
from softdiff_ext.training.data_split import split_by_name
from softdiff_ext.training.data_stream import StreamBatches, StreamImages, open_stream
from softdiff_ext.training.randomness import permutation

__all__ = [
    "SOURCES",
    "Augment",
    "Batches",
    "ImageOptions",
    "ImageSet",
    "Images",
    "LazyImages",
    "Skipped",
    "StreamImages",
    "load_digits",
    "load_images",
    "make_batches",
    "skip_report",
]

SOURCES = ("digits", "folder:PATH", "emoji:PATH", "arrays:FILE", "fashion-mnist:PATH", "hf:NAME")
HELD_OUT = 0.2
"""Share of the digits that training never sees."""

READERS: dict[str, Callable[[str, ImageOptions], Reader]] = {
    "folder": lambda path, _: FolderReader(Path(path)),
    "emoji": lambda path, _: EmojiReader(Path(path)),
    "arrays": lambda path, options: ArrayReader(Path(path), options.layout),
    "hf": lambda name, options: RowReader(name, options.split, options),
}
"""The sources whose images are opened one by one. One more takes a line here and in SOURCES, and a class as `FolderReader`."""


def load_images(source: str, mode: str | None = None, options: ImageOptions | None = None) -> tuple[ImageSet, ImageSet]:
    """Load a data set and split it into the images to train on and those held out; the same split every time.

    Args:
        source: "digits"; "folder:PATH" for all images below a folder; "emoji:PATH" for npm's emoji-datasource packages;
            "arrays:FILE" for a .npy or .npz file; "fashion-mnist:PATH" for the folder of its four idx files, plain or gzip-ed;
            "hf:NAME" for what the library `datasets` loads, from the Hub or a local path.
        mode: what images are converted to: "grey", "rgb" or "rgba"; None converts nothing and wants all grey or all RGB.
        options: how they are cut, scaled, split and kept; None are the defaults.

    Returns:
        (train, held_out). Fashion-MNIST holds out its own test set, hf the split that is named, the digits a fixed fifth;
        otherwise a hash of its name (of hf: its content) says on which side an image is.

    Raises:
        ValueError: the source, mode or an option is unknown or does not go with the source; the images are too few, unreadable,
            of several sizes or colours, or too large for memory; a file is damaged.
        FileNotFoundError: a folder or file does not exist.
        ImportError: the library `datasets` is wanted and missing.
    """
    options = ImageOptions() if options is None else options
    kind, _, path = source.partition(":")
    if kind not in {known.partition(":")[0] for known in SOURCES} or bool(path) == (kind == "digits") or source == "digits:":
        there = "folder" if Path(source).is_dir() else "arrays" if source.endswith((".npy", ".npz")) else ""
        hint = f"; did you mean {there}:{source}?" if there else ""
        raise ValueError(f"data must be one of {', '.join(SOURCES)}, got {source!r}{hint}")
    if mode is not None and (kind not in READERS or mode not in MODES):
        raise ValueError(
            f"mode must be one of {', '.join(MODES)} and goes with {', '.join(READERS)}, got {mode!r} with {source!r}"
        )
    options.check_source(kind, source)
    images = _load(kind, path, Prepare(mode, options), options)
    _ = images[0].shape  # raises where random_crop is larger than the images
    return images


def _load(kind: str, path: str, prepare: Prepare, options: ImageOptions) -> tuple[ImageSet, ImageSet]:
    train, held_out = Augment(options.random_crop, options.flip), Augment(options.random_crop)
    if kind == "digits":
        parts = split(load_digits())
        return replace(parts[0], augment=train), replace(parts[1], augment=held_out)
    if kind == "fashion-mnist":
        return _idx(Path(path), "train", prepare, train), _idx(Path(path), "t10k", prepare, held_out)
    if options.stream:
        return open_stream(path, prepare, options, train, held_out)
    reader = READERS[kind](path, options)
    other: Reader
    if options.held_out_split is not None:
        other = RowReader(path, options.held_out_split, options)
        rows = torch.arange(len(reader)), torch.arange(len(other))
    else:
        other = reader
        rows = split_by_name(in_threads(reader.name, range(len(reader)), options.workers), options.held_out)
    return read_sides(Side(reader, rows[0], train), Side(other, rows[1], held_out), prepare, options)


def make_batches(images: ImageSet, batch_size: int, seed: int, rank: int = 0, world: int = 1) -> Batches | StreamBatches:
    """Training batches of a set: call it with the number of the step. See `Batches`."""
    if isinstance(images, StreamImages):
        return StreamBatches(images, batch_size, seed, rank, world)
    return Batches(images, batch_size, seed, rank, world)


def split(images: Images) -> tuple[Images, Images]:
    """(train, held_out): a fixed random fifth is held out. For sets without names, that never grow."""
    order = permutation(len(images), "split")
    held_out = max(1, round(HELD_OUT * len(images)))
    return images.take(order[held_out:].sort().values), images.take(order[:held_out].sort().values)


def load_digits() -> Images:
    """The embedded digit scans: 1797 grey images of 8x8 pixels, values 0..16, with labels."""
    with files("softdiff_ext.training").joinpath("digits.npz").open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        pixels = np.ascontiguousarray(arrays["pixels"].transpose(2, 0, 1))
        return Images(torch.from_numpy(pixels)[:, None], 16, torch.from_numpy(arrays["labels"]).to(torch.int64))


def _idx(folder: Path, part: str, prepare: Prepare, augment: Augment) -> Images:
    pixels, labels = read_idx_pair(folder, part)
    if prepare.changes_size:
        name = f"the {part} images of {folder}"
        pixels = torch.from_numpy(np.stack([prepare(Image.fromarray(image), name) for image in pixels.numpy()]))
    else:
        pixels = pixels[:, None]
    return Images(pixels, 255, labels, augment)

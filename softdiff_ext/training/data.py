"""Images to train on, held in memory as one uint8 tensor and turned into floats in [-1, 1] batch by batch.

`digits` ships with the package (digits.npz): the 1797 test scans of "Optical Recognition of Handwritten Digits" by E. Alpaydin
and C. Kaynak, UCI Machine Learning Repository, 1998, https://doi.org/10.24432/C50P49, licence CC BY 4.0; 8x8 pixels, 0..16.
"""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from softdiff_ext.training.randomness import permutation

SOURCES = ("digits", "folder:PATH", "fashion-mnist:PATH")
MODES = ("grey", "rgb")
SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
HELD_OUT = 0.2
"""Share of the images that training never sees, where a data set has no split of its own."""


@dataclass(frozen=True)
class Images:
    """A set of images.

    Args:
        pixels: uint8 [N, C, H, W], values 0..maximum.
        maximum: the value that means white: 255, or 16 for the digit scans.
        labels: int64 [N], the class of each image, where the data set knows it.
    """

    pixels: Tensor
    maximum: int = 255
    labels: Tensor | None = None

    def __len__(self) -> int:
        return len(self.pixels)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of one image."""
        channels, height, width = self.pixels.shape[1:]
        return channels, height, width

    def floats(self, index: Tensor | slice = slice(None)) -> Tensor:
        """The images at `index` as float32 in [-1, 1], [B, C, H, W]."""
        return self.pixels[index].to(torch.float32).div_(self.maximum / 2).sub_(1.0)  # white is exactly 1

    def take(self, index: Tensor) -> Images:
        """The images at `index` as a set of their own."""
        return Images(self.pixels[index], self.maximum, None if self.labels is None else self.labels[index])

    def to(self, device: torch.device) -> Images:
        """The set with its pixels on `device`: batches are then cut without any transfer."""
        return Images(self.pixels.to(device), self.maximum, self.labels)


def load_images(source: str, mode: str | None = None) -> tuple[Images, Images]:
    """Load a data set and split it into the images to train on and those held out; the same split every time.

    Args:
        source: "digits"; "folder:PATH" for all images below a folder; "fashion-mnist:PATH" for the folder of its four idx
            files, plain or gzip-ed.
        mode: what a folder's images are converted to: "grey" or "rgb", transparency over white; None converts nothing and
            wants all files grey or all RGB.

    Returns:
        (train, held_out). Fashion-MNIST holds out its own test set, the others a fifth.

    Raises:
        ValueError: the source or mode is unknown; a folder holds no, unreadable, differently sized or differently coloured
            images; an idx file is damaged.
        FileNotFoundError: the folder or one of the idx files does not exist.
    """
    kind, _, path = source.partition(":")
    if mode is not None and (kind != "folder" or mode not in MODES):
        raise ValueError(f"mode must be one of {', '.join(MODES)} and goes with folder:PATH, got {mode!r} with {source!r}")
    if kind == "folder" and path:
        return split(load_folder(Path(path), mode))
    if kind == "fashion-mnist" and path:
        return load_idx_pair(Path(path), "train"), load_idx_pair(Path(path), "t10k")
    if source == "digits":
        return split(load_digits())
    raise ValueError(f"data must be one of {', '.join(SOURCES)}, got {source!r}")


def split(images: Images) -> tuple[Images, Images]:
    """(train, held_out): a fixed random fifth is held out, and at least one image on either side."""
    if len(images) < 2:
        raise ValueError(f"data must hold at least 2 images, one to train on and one held out, got {len(images)}")
    order = permutation(len(images), "split")
    held_out = max(1, round(HELD_OUT * len(images)))
    return images.take(order[held_out:].sort().values), images.take(order[:held_out].sort().values)


def load_digits() -> Images:
    """The embedded digit scans: 1797 grey images of 8x8 pixels, values 0..16, with labels."""
    with files("softdiff_ext.training").joinpath("digits.npz").open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        pixels = np.ascontiguousarray(arrays["pixels"].transpose(2, 0, 1))
        return Images(torch.from_numpy(pixels)[:, None], 16, torch.from_numpy(arrays["labels"]).to(torch.int64))


def load_folder(folder: Path, mode: str | None = None) -> Images:
    """All images below `folder`, in the order of their names; see `load_images` for `mode` and the errors."""
    if not folder.is_dir():
        raise FileNotFoundError(f"data: folder {folder} does not exist")
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    if not paths:
        raise ValueError(f"data: folder {folder} holds no images (looked for {', '.join(SUFFIXES)})")
    first = read_image(paths[0], mode)
    pixels = np.empty((len(paths), *first.shape), dtype=np.uint8)
    for i, path in enumerate(paths):
        image = read_image(path, mode)
        if image.shape[1:] != first.shape[1:]:
            found, wanted = (f"{shape[2]}x{shape[1]}" for shape in (image.shape, first.shape))
            raise ValueError(f"data: images must all have one size, got {found} in {path} and {wanted} in {paths[0]}")
        if image.shape[0] != first.shape[0]:
            raise ValueError(f"data: grey and colour images are mixed ({path}, {paths[0]}): give --mode grey or --mode rgb")
        pixels[i] = image
    return Images(torch.from_numpy(pixels))


def read_image(path: Path, mode: str | None) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """One image file as uint8 [C, H, W]."""
    from PIL import Image

    try:
        with Image.open(path) as file:
            image: Image.Image = file.copy()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(f"data: cannot read image {path}: {error}") from error
    if image.mode.startswith(("I", "F")):
        raise ValueError(f"data: {path} has pixels of kind {image.mode}, wanted 8-bit ones")
    if mode is None and image.mode not in ("L", "RGB"):
        raise ValueError(f"data: {path} has pixels of kind {image.mode}, not grey (L) or RGB: give --mode grey or --mode rgb")
    if mode is not None:
        if image.has_transparency_data:
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
        image = image.convert("L" if mode == "grey" else "RGB")
    array = np.asarray(image, dtype=np.uint8)
    return array[None] if array.ndim == 2 else array.transpose(2, 0, 1)


def load_idx_pair(folder: Path, part: str) -> Images:
    """The images and labels of one part ("train" or "t10k") of a data set in the idx format of MNIST."""
    pixels = read_idx(folder, f"{part}-images-idx3-ubyte", 3)
    labels = read_idx(folder, f"{part}-labels-idx1-ubyte", 1)
    if len(pixels) != len(labels):
        raise ValueError(f"data: {folder} has {len(pixels)} {part} images but {len(labels)} labels")
    return Images(pixels[:, None], 255, labels.to(torch.int64))


def read_idx(folder: Path, name: str, ndim: int) -> Tensor:
    """One idx file of bytes, plain or gzip-ed: 0, 0, 8 (unsigned bytes), ndim, ndim big-endian sizes, data."""
    path = next((path for path in (folder / name, folder / f"{name}.gz") if path.is_file()), None)
    if path is None:
        raise FileNotFoundError(f"data: {folder / name} does not exist, nor does {name}.gz")
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError) as error:
        raise ValueError(f"data: {path} is damaged: {error}") from error
    header = 4 + 4 * ndim
    sizes = [int.from_bytes(content[4 + 4 * i : 8 + 4 * i], "big") for i in range(ndim)]
    if content[:4] != bytes((0, 0, 8, ndim)) or len(content) != header + int(np.prod(sizes, dtype=np.int64)):
        raise ValueError(f"data: {path} is not an idx file of bytes with {ndim} dimensions, or it is cut short")
    return torch.from_numpy(np.frombuffer(content, np.uint8, offset=header).reshape(sizes).copy())


class Batches:
    """Training batches as a pure function of the step: each epoch is a fresh permutation, dealt out over the processes.

    Args:
        images: the training set; batches come from the device that holds its pixels.
        batch_size: images a process and step.
        seed, rank, world: the run's seed, this process and the number of processes.
    """

    def __init__(self, images: Images, batch_size: int, seed: int, rank: int = 0, world: int = 1) -> None:
        self.images, self.batch_size, self.seed, self.rank, self.world = images, batch_size, seed, rank, world
        self._epoch, self._order = -1, torch.empty(0, dtype=torch.int64)

    def __call__(self, step: int) -> Tensor:
        """The batch of `step`, float32 [batch_size, C, H, W] in [-1, 1]."""
        return self.images.floats(self.index(step))

    def index(self, step: int) -> Tensor:
        """Which images the batch of `step` holds, int64 [batch_size]; a batch may reach into the next epoch."""
        position, pieces, wanted = (step * self.world + self.rank) * self.batch_size, [], self.batch_size
        while wanted:
            epoch, offset = divmod(position, len(self.images))
            piece = self._epoch_order(epoch)[offset : offset + wanted]
            pieces.append(piece)
            position, wanted = position + len(piece), wanted - len(piece)
        return torch.cat(pieces)

    def _epoch_order(self, epoch: int) -> Tensor:
        if epoch != self._epoch:
            order = permutation(len(self.images), self.seed, "epoch", epoch)
            self._epoch, self._order = epoch, order.to(self.images.pixels.device)
        return self._order

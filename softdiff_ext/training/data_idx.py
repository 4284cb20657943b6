"""Data sets in the idx format of MNIST, plain or gzip-ed: 0, 0, 8 (unsigned bytes), ndim, ndim big-endian sizes, data."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor


def read_idx_pair(folder: Path, part: str) -> tuple[Tensor, Tensor]:
    """Images, uint8 [N, 28, 28], and labels, int64 [N], of one part: "train" or "t10k".

    Raises:
        FileNotFoundError: a file does not exist.
        ValueError: a file is damaged, or the counts differ.
    """
    pixels = read_idx(folder, f"{part}-images-idx3-ubyte", 3)
    labels = read_idx(folder, f"{part}-labels-idx1-ubyte", 1)
    if len(pixels) != len(labels):
        raise ValueError(f"data: {folder} has {len(pixels)} {part} images but {len(labels)} labels")
    return pixels, labels.to(torch.int64)


def read_idx(folder: Path, name: str, ndim: int) -> Tensor:
    """One idx file of bytes; raises as `read_idx_pair`."""
    path = next((path for path in (folder / name, folder / f"{name}.gz") if path.is_file()), None)
    if path is None:
        raise FileNotFoundError(f"data: {folder / name} does not exist, nor does {name}.gz (Debian: dataset-fashion-mnist)")
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"data: {path} is damaged: {error}") from error
    header = 4 + 4 * ndim
    sizes = [int.from_bytes(content[4 + 4 * i : 8 + 4 * i], "big") for i in range(ndim)]
    if content[:4] != bytes((0, 0, 8, ndim)) or len(content) != header + int(np.prod(sizes, dtype=np.int64)):
        raise ValueError(f"data: {path} is not an idx file of bytes with {ndim} dimensions, or it is cut short")
    return torch.from_numpy(np.frombuffer(content, np.uint8, offset=header).reshape(sizes).copy())

"""Data sets of the Hugging Face library `datasets`: a name on the Hub, or local parquet, arrow, image or saved folders."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from softdiff_ext.training.data_options import ImageOptions
from softdiff_ext.training.data_sets import Unreadable


def open_dataset(name: str, split: str, options: ImageOptions) -> tuple[Any, str]:
    """One split, a Dataset or IterableDataset, and its column of images, whose rows hold undecoded files {"bytes", "path"}.

    Args:
        name: what `datasets.load_dataset` takes, or a folder that `save_to_disk` wrote.
        split: its split; of a folder saved as a single data set, which has none, "train".
        options: subset, stream and column.
    Raises:
        ImportError: `datasets` is not installed.
        ValueError: the data set, split or column is unknown, or cannot be reached.
    """
    try:
        from datasets import Image as ImageFeature
    except ImportError as error:
        raise ImportError(
            'data: hf:NAME needs the library datasets, not installed here: pip install "softdiff-ext[data]"', name="datasets"
        ) from error
    found = _load(name, split, options)
    column = _image_column(found.features or {}, options.column, name)
    return found.cast_column(column, ImageFeature(decode=False)), column


def _load(name: str, split: str, options: ImageOptions) -> Any:
    import datasets

    what = f"data: the Hugging Face data set {name!r}"
    try:
        if (Path(name) / "state.json").is_file() or (Path(name) / "dataset_dict.json").is_file():
            saved = datasets.load_from_disk(name)
            if isinstance(saved, datasets.DatasetDict):
                if split not in saved:
                    raise ValueError(f"no split {split!r}, it has {', '.join(map(str, saved))}")
                saved = saved[split]
            elif split != "train":
                raise ValueError(f"no split {split!r}: it was saved as one data set")
            return saved.to_iterable_dataset() if options.stream else saved
        if Path(name).suffix in (".parquet", ".arrow"):
            if not Path(name).is_file():
                raise ValueError("there is no such file")
            kind = Path(name).suffix[1:]
            return datasets.load_dataset(kind, data_files={"train": name}, split=split, streaming=options.stream)
        return datasets.load_dataset(name, options.subset, split=split, streaming=options.stream)
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        raise ValueError(f"{what} cannot be opened: {' '.join(str(error).split())}") from error


def _image_column(features: Any, wanted: str | None, name: str) -> str:
    """The column `wanted`, or the only one of images."""
    images: list[str] = [column for column, feature in features.items() if type(feature).__name__ == "Image"]
    if wanted is not None:
        if wanted not in images:
            raise ValueError(
                f"data: --images.column {wanted!r} is no column of images of {name}, wanted {_listed(images, features)}"
            )
        return wanted
    if len(images) != 1:
        raise ValueError(f"data: {name} has not one column of images but {_listed(images, features)}: give --images.column")
    return images[0]


def _listed(images: list[str], features: Any) -> str:
    return f"one of {', '.join(images)}" if images else f"none (columns: {', '.join(features) or 'unknown'})"


class RowReader:
    """The images of a data set with random access; the name of an image is a hash of its content.

    So equal images stay on one side of the split, and the order of the rows does not matter.

    Raises:
        ImportError, ValueError: as `open_dataset`.
    """

    def __init__(self, name: str, split: str, options: ImageOptions) -> None:
        dataset, self.column = open_dataset(name, split, options)
        self.rows, self.labels = dataset.select_columns([self.column]), _labels(dataset)
        self.title = f"{name} ({split})"

    def __len__(self) -> int:
        return len(self.rows)

    def name(self, i: int) -> str:
        return content_name(self.rows[i][self.column], self.where(i))

    def where(self, i: int) -> str:
        return f"row {i} of {self.title}"

    def open(self, i: int) -> Image.Image:
        return open_row(self.rows[i][self.column], self.where(i))


def _labels(dataset: Any) -> Tensor | None:
    """The only column of class labels, int64 [N], if there is one."""
    columns = [name for name, feature in dataset.features.items() if type(feature).__name__ == "ClassLabel"]
    if len(columns) != 1:
        return None
    return torch.tensor(dataset[columns[0]][:], dtype=torch.int64)


def row_bytes(cell: dict[str, Any] | None, where: str) -> bytes:
    """The file that a row holds or points to; raises `Unreadable` where it is empty or missing."""
    try:
        if cell and cell["bytes"] is not None:
            return bytes(cell["bytes"])
        if cell and cell["path"] is not None:
            return Path(cell["path"]).read_bytes()
    except OSError as error:
        raise Unreadable(f"data: cannot read image {where}: {error}") from error
    raise Unreadable(f"data: cannot read image {where}: the row is empty")


def content_name(cell: dict[str, Any] | None, where: str) -> str:
    """A hash of the file; empty rows have the name of their place."""
    try:
        return hashlib.blake2b(row_bytes(cell, where), digest_size=16).hexdigest()
    except Unreadable:
        return where


def open_row(cell: dict[str, Any] | None, where: str) -> Image.Image:
    """The image of a row, not decoded yet; raises `Unreadable`."""
    content = row_bytes(cell, where)
    try:
        return Image.open(io.BytesIO(content))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise Unreadable(f"data: cannot read image {where}: {error}") from error

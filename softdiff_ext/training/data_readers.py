"""Where images come from one by one: folders of files, emoji packages, numpy arrays."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from softdiff_ext.training.data_sets import Unreadable
from softdiff_ext.training.data_split import emoji_base_name

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
_EMOJI_FILES = "img/*/64/*.png"  # of emoji-datasource-google and its siblings on npm
_EMOJI_PACKAGE = "npm install emoji-datasource-google brings some"

Array = np.ndarray[Any, np.dtype[Any]]


class FolderReader:
    """All image files below a folder, in the order of their names; the name of an image is its path within the folder.

    Raises:
        FileNotFoundError: the folder does not exist.
        ValueError: it holds no images.
    """

    labels: Tensor | None = None

    def __init__(self, folder: Path) -> None:
        _check_folder(folder)
        self.folder = folder
        self.paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
        if not self.paths:
            raise ValueError(f"data: folder {folder} holds no images (looked for {', '.join(SUFFIXES)})")

    def __len__(self) -> int:
        return len(self.paths)

    def name(self, i: int) -> str:
        return self.paths[i].relative_to(self.folder).as_posix()

    def where(self, i: int) -> str:
        return str(self.paths[i])

    def open(self, i: int) -> Image.Image:
        try:
            return Image.open(self.paths[i])
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise Unreadable(f"data: cannot read image {self.paths[i]}: {error}") from error


class EmojiReader(FolderReader):
    """The 64x64 emoji of the npm packages emoji-datasource-*, found anywhere below a folder, or all PNG files right in it.

    The name of an image is that of the emoji without skin tone: its variants, also those of another package, stay together.
    """

    def __init__(self, folder: Path) -> None:
        _check_folder(folder, f" ({_EMOJI_PACKAGE})")
        self.folder = folder
        self.paths = sorted(path for path in folder.rglob("*.png") if path.match(_EMOJI_FILES)) or sorted(folder.glob("*.png"))
        if not self.paths:
            looked = f"looked for {_EMOJI_FILES} anywhere below, and *.png; {_EMOJI_PACKAGE}"
            raise ValueError(f"data: folder {folder} holds no emoji ({looked})")

    def name(self, i: int) -> str:
        return emoji_base_name(self.paths[i].stem)


class ArrayReader:
    """The images of a numpy file: uint8 [N, H, W], or four axes in the order that `layout` names; 1, 3 or 4 channels.

    A .npz file holds them as "images" (or alone), and if it likes "labels", integers [N], and "names", text [N], which decide
    on the split; without them the position does. A .npy file is not read into memory as a whole.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: it is damaged, or its arrays are of another shape or type.
    """

    labels: Tensor | None = None

    def __init__(self, path: Path, layout: str | None) -> None:
        if not path.is_file():
            raise FileNotFoundError(f"data: file {path} does not exist")
        self.path = path
        arrays = _arrays(path)
        images = arrays["images"]
        if images.dtype != np.uint8:
            raise ValueError(f"data: {path} holds images of type {images.dtype}, wanted uint8, 0 to 255")
        if images.ndim == 3:
            images = images[..., None]
        elif images.ndim != 4:
            raise ValueError(f"data: {path} holds an array {list(images.shape)}, wanted [N, H, W] or four axes")
        elif layout is None:
            raise ValueError(f"data: {path} holds an array {list(images.shape)}: give --images.layout nhwc or nchw")
        elif layout == "nchw":
            images = images.transpose(0, 2, 3, 1)
        if images.shape[-1] not in (1, 3, 4) or 0 in images.shape:
            count, height, width, channels = images.shape
            found = f"{count} images of {width}x{height} with {channels} channels"
            raise ValueError(f"data: {path} holds {found}, wanted 1, 3 or 4 channels and no empty axis")
        self.images = images
        self.names = None if "names" not in arrays else [str(name) for name in self._column(arrays, "names").tolist()]
        if "labels" in arrays:
            labels = self._column(arrays, "labels")
            if not np.issubdtype(labels.dtype, np.integer):
                raise ValueError(f"data: {path} holds labels of type {labels.dtype}, wanted integers")
            self.labels = torch.from_numpy(labels.astype(np.int64))

    def _column(self, arrays: dict[str, Array], name: str) -> Array:
        column = arrays[name]
        if column.shape != (len(self.images),):
            raise ValueError(
                f"data: {self.path} holds {name} {list(column.shape)}, wanted one for each of {len(self.images)} images"
            )
        return column

    def __len__(self) -> int:
        return len(self.images)

    def name(self, i: int) -> str:
        return str(i) if self.names is None else self.names[i]

    def where(self, i: int) -> str:
        return f"image {i} of {self.path}"

    def open(self, i: int) -> Image.Image:
        image = np.ascontiguousarray(self.images[i])
        return Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)


def _check_folder(folder: Path, hint: str = "") -> None:
    if not folder.is_dir():
        raise FileNotFoundError(f"data: folder {folder} does not exist{hint}")


def _arrays(path: Path) -> dict[str, Array]:
    """The arrays of a .npy or .npz file by name; what holds the images is called "images"."""
    try:
        with path.open("rb") as file:
            packed = file.read(2) == b"PK"
        if not packed:
            return {"images": np.load(path, mmap_mode="r", allow_pickle=False)}
        with path.open("rb") as file, np.load(file, allow_pickle=False) as loaded:
            arrays = {name: loaded[name] for name in loaded.files}
    except (OSError, ValueError, EOFError, BadZipFile) as error:
        raise ValueError(f"data: {path} is no numpy file, or damaged: {error}") from error
    if "images" in arrays:
        return arrays
    if len(arrays) == 1:
        return {"images": next(iter(arrays.values()))}
    raise ValueError(f"data: {path} holds {', '.join(sorted(arrays)) or 'nothing'}, wanted an array named images")

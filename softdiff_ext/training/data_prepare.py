"""From an opened image file to the bytes that training sees: colour, transparency, orientation, cut and size."""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image, ImageColor, ImageOps

from softdiff_ext.training.data_options import ImageOptions

Bytes = np.ndarray[Any, np.dtype[np.uint8]]

_ORIENTATION = 0x0112  # the tag of EXIF that says how a camera was held: 1 upright, 5 ... 8 swap the sides
_TARGET = {"grey": "L", "rgb": "RGB", "rgba": "RGBA"}


class Prepare:
    """Turns images of Pillow into uint8 [C, H, W], all by the same rule; `shape` tells the shape without decoding.

    Args:
        mode: "grey", "rgb", "rgba" or None, which takes grey and RGB images as they are and refuses others.
        options: crop, size, transparency and background.
    Raises:
        ValueError: the background is no colour.
    """

    def __init__(self, mode: str | None, options: ImageOptions) -> None:
        try:
            self.background = ImageColor.getrgb(options.background)[:3]
        except ValueError as error:
            raise ValueError(f"data: background must be a colour name or #rrggbb, got {options.background!r}") from error
        self.mode, self.options = mode, options

    def shape(self, image: Image.Image, where: str) -> tuple[int, int, int]:
        """(C, H, W) that the image will have.

        Raises:
            ValueError: its pixels are not 8-bit, not of a kind that `mode` takes, or fewer than the crop wants.
        """
        if image.mode.startswith(("I", "F")):
            raise ValueError(f"data: {where} has pixels of kind {image.mode}, wanted 8-bit ones")
        see_through = image.has_transparency_data
        if self.mode is None and (image.mode not in ("L", "RGB") or see_through):
            kind = f"{image.mode}, with transparency" if see_through else image.mode
            choice = "--mode grey or --mode rgb" + (", or --mode rgba to keep it" if see_through else "")
            raise ValueError(f"data: {where} has pixels of kind {kind}, not grey (L) or RGB: give {choice}")
        kind = _TARGET[self.mode] if self.mode else image.mode
        width, height = image.size
        if _orientation(image) >= 5:
            width, height = height, width
        side = self.options.crop
        if side is not None and side > min(width, height):
            raise ValueError(f"data: {where} is {width}x{height}, smaller than --images.crop {side}")
        if self.options.size is not None or side is not None:
            width = height = self.options.size or side or 0
        return len(kind), height, width

    @property
    def changes_size(self) -> bool:
        """Whether images are cut or scaled."""
        return self.options.size is not None or self.options.crop is not None

    def __call__(self, image: Image.Image, where: str) -> Bytes:
        """The image as uint8 [C, H, W]; raises as `shape`."""
        self.shape(image, where)
        if _orientation(image) != 1:
            image = ImageOps.exif_transpose(image)
        if self.mode is not None:
            image = self._colour(image)
        if self.changes_size:
            image = self._cut_and_scale(image)
        array: Bytes = np.asarray(image, dtype=np.uint8)
        return array[None] if array.ndim == 2 else array.transpose(2, 0, 1)

    def _colour(self, image: Image.Image) -> Image.Image:
        if self.mode == "rgba":
            return image.convert("RGBA")
        if image.has_transparency_data:
            see_through = image.convert("RGBA")
            if self.options.transparency == "over":
                see_through = Image.alpha_composite(Image.new("RGBA", image.size, (*self.background, 255)), see_through)
            image = see_through.convert("RGB")
        return image.convert(_TARGET[str(self.mode)])

    def _cut_and_scale(self, image: Image.Image) -> Image.Image:
        side = self.options.crop or min(image.size)
        left, top = (image.width - side) // 2, (image.height - side) // 2
        image = image.crop((left, top, left + side, top + side))
        if self.options.size in (None, side):
            return image
        # bicubic over the whole footprint of a pixel, so that shrinking does not alias; Pillow weighs colours by their alpha
        return image.resize((self.options.size, self.options.size), Image.Resampling.BICUBIC)


def _orientation(image: Image.Image) -> int:
    """How a camera's picture must be turned. Of PNG files it is not asked: theirs may stand behind the pixels."""
    return 1 if image.format == "PNG" else int(image.getexif().get(_ORIENTATION, 1))

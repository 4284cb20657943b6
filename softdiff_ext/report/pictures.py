"""Images inside a page: as few bytes as they need, in the text of the page itself."""

from __future__ import annotations

import base64
import io

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from softdiff_ext.training.figures import rgb_bytes

WIDEST = 256
"""Pixels a side of an image that stands still; larger ones are shrunk to it. A film has half of it."""

EXACT = 32
"""Images up to this many pixels a side are kept to the last bit; larger ones as a photo would be."""

MOST_BYTES = 600_000
"""Of one picture, whatever it shows. The five strips of the films then stay below 4 MB together, written in text."""

_QUALITIES = (85, 50, 15, 1)


def display_bytes(images: Tensor, widest: int = WIDEST) -> Tensor:
    """Images [N, C, H, W] in [-1, 1] as they are shown: uint8 [N, 3, h, w] with sides of at most `widest`."""
    height, width = images.shape[-2:]
    shrink = widest / max(height, width)
    if shrink < 1:
        size = (max(1, round(height * shrink)), max(1, round(width * shrink)))
        images = F.interpolate(images.float().clamp(-1, 1), size, mode="bilinear", antialias=True)
    return rgb_bytes(images)


def sprite(frames: Tensor) -> str:
    """Frames uint8 [F, N, 3, H, W] as one picture, a row a frame and a column an image: a data URI."""
    rows = frames.permute(0, 3, 1, 4, 2).flatten(2, 3).flatten(0, 1)
    return data_uri(rows, max(frames.shape[-2:]) <= EXACT)


def picture(pixels: Tensor) -> str:
    """One image, uint8 [3, H, W], as a data URI."""
    return data_uri(pixels.permute(1, 2, 0), max(pixels.shape[1:]) <= EXACT)


def data_uri(pixels: Tensor, exact: bool) -> str:
    """uint8 [height, width, 3] in the text of a URI, below MOST_BYTES."""
    image = Image.fromarray(pixels.contiguous().numpy())
    content = b""
    for quality in (None, *_QUALITIES) if exact else _QUALITIES:
        file = io.BytesIO()
        if quality is None:
            image.save(file, "WEBP", lossless=True, quality=80, method=4)
        else:
            image.save(file, "WEBP", quality=quality, method=4)
        content = file.getvalue()
        if len(content) <= MOST_BYTES:
            break
    return f"data:image/webp;base64,{base64.b64encode(content).decode()}"


def evenly(count: int, most: int) -> list[int]:
    """Up to `most` of the indices 0 ... count - 1, evenly spread, the first and the last among them."""
    if count <= most:
        return list(range(count))
    return sorted({round(float(place)) for place in torch.linspace(0, count - 1, most, dtype=torch.float64)})

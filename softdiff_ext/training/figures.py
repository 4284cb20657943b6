"""Pictures of many images: a sheet with gaps, as pixels or as a PNG file."""

from __future__ import annotations

import io
import math
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from softdiff_ext.training.files import write_file

_SMALLEST = 32  # an image is shown at least this many pixels wide: 8x8 scans are otherwise a smudge on a screen


def image_sheet(images: Tensor, columns: int | None = None, gap: int = 2) -> Tensor:
    """Lay images out in rows on a grey ground.

    Args:
        images: [N, C, H, W] in [-1, 1], N >= 1, C 1, 3 or 4; clipped. Small ones are enlarged by whole factors.
        columns: images a row; None: as square as N allows.
        gap: pixels between images.

    Returns:
        uint8 [3, height, width].

    Raises:
        ValueError: images has another shape.
    """
    if images.ndim != 4 or not len(images) or images.shape[1] not in (1, 3, 4):
        raise ValueError(f"image_sheet: images must have shape [N >= 1, 1, 3 or 4, H, W], got {list(images.shape)}")
    pixels, zoom = rgb_bytes(images), sheet_zoom(images.shape[-1])
    pixels = pixels.repeat_interleave(zoom, -1).repeat_interleave(zoom, -2)
    columns = columns or math.ceil(math.sqrt(len(pixels)))
    rows = math.ceil(len(pixels) / columns)
    tiles = F.pad(pixels, (gap, 0, gap, 0), value=128)
    ground = torch.full((rows * columns, *tiles.shape[1:]), 128, dtype=torch.uint8)
    ground[: len(tiles)] = tiles
    sheet = ground.reshape(rows, columns, *tiles.shape[1:]).permute(2, 0, 3, 1, 4).flatten(3, 4).flatten(1, 2)
    return F.pad(sheet, (0, gap, 0, gap), value=128)


def rgb_bytes(images: Tensor) -> Tensor:
    """Images [N, C, H, W] in [-1, 1], clipped, as uint8 [N, 3, H, W]; C is 1 (grey), 3, or 4 (with opacity; laid on white)."""
    unit = (images.detach().float().cpu().clamp(-1, 1) + 1) / 2
    if unit.shape[1] == 4:
        colour, opacity = unit[:, :3], unit[:, 3:]
        unit = colour * opacity + 1 - opacity
    return (unit * 255).round().to(torch.uint8).expand(-1, 3, -1, -1)


def sheet_zoom(width: int) -> int:
    """The whole factor by which a sheet enlarges images of this width."""
    return math.ceil(_SMALLEST / width)


def cut_sheet(sheet: Tensor, count: int, shape: tuple[int, int], gap: int = 2) -> Tensor:
    """The images that `image_sheet` laid out as square as it could, uint8 [count, 3, H, W].

    Args:
        sheet: uint8 [3, height, width].
        count: images on it.
        shape: (H, W) of one.

    Raises:
        ValueError: the sheet has not the size that these make.
    """
    (height, width), zoom = shape, sheet_zoom(shape[1])
    columns = math.ceil(math.sqrt(count))
    rows, tile = math.ceil(count / columns), (height * zoom + gap, width * zoom + gap)
    wanted = [3, rows * tile[0] + gap, columns * tile[1] + gap]
    if list(sheet.shape) != wanted:
        raise ValueError(f"cut_sheet: {count} images of {height}x{width} make a sheet {wanted}, got {list(sheet.shape)}")
    tiles = sheet[:, gap:, gap:].unfold(1, tile[0] - gap, tile[0]).unfold(2, tile[1] - gap, tile[1])
    return tiles.permute(1, 2, 0, 3, 4).flatten(0, 1)[:count, :, ::zoom, ::zoom]


def save_png(path: Path, pixels: Tensor) -> None:
    """Write uint8 [3, height, width] as a PNG file, whole or not at all."""
    from PIL import Image

    content = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels.permute(1, 2, 0).numpy())).save(content, format="PNG")
    write_file(path, content.getvalue())

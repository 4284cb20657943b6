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
        images: [N, C, H, W] in [-1, 1], N >= 1, C 1 or 3; clipped. Small ones are enlarged by whole factors.
        columns: images a row; None: as square as N allows.
        gap: pixels between images.

    Returns:
        uint8 [3, height, width].

    Raises:
        ValueError: images has another shape.
    """
    if images.ndim != 4 or not len(images) or images.shape[1] not in (1, 3):
        raise ValueError(f"image_sheet: images must have shape [N >= 1, 1 or 3, H, W], got {list(images.shape)}")
    zoom = math.ceil(_SMALLEST / images.shape[-1])
    pixels = ((images.detach().float().cpu().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    pixels = pixels.repeat_interleave(zoom, -1).repeat_interleave(zoom, -2).expand(-1, 3, -1, -1)
    columns = columns or math.ceil(math.sqrt(len(pixels)))
    rows = math.ceil(len(pixels) / columns)
    tiles = F.pad(pixels, (gap, 0, gap, 0), value=128)
    ground = torch.full((rows * columns, *tiles.shape[1:]), 128, dtype=torch.uint8)
    ground[: len(tiles)] = tiles
    sheet = ground.reshape(rows, columns, *tiles.shape[1:]).permute(2, 0, 3, 1, 4).flatten(3, 4).flatten(1, 2)
    return F.pad(sheet, (0, gap, 0, gap), value=128)


def save_png(path: Path, pixels: Tensor) -> None:
    """Write uint8 [3, height, width] as a PNG file, whole or not at all."""
    from PIL import Image

    content = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels.permute(1, 2, 0).numpy())).save(content, format="PNG")
    write_file(path, content.getvalue())

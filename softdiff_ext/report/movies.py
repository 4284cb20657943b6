"""The reverse path as a moving picture: GIF by Pillow, MP4 by the ffmpeg of imageio-ffmpeg."""

from __future__ import annotations

import io
import os
from pathlib import Path
from types import ModuleType

import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from softdiff_ext.report.build import draw, open_run
from softdiff_ext.rules import Rule
from softdiff_ext.training.figures import image_sheet
from softdiff_ext.training.files import write_file

FRAMES = 61
PER_SECOND = 20
STILL = 30
"""Frames that the finished images stand still for."""

_SMALLEST = 480  # pixels a side of a film


def write_gif(
    run: Path, out: Path, images: int = 16, steps: int | None = None, rule: Rule | None = None, seed: int = 0
) -> Path:
    """Write the reverse path of `images` images as an endless GIF; arguments and errors as for `write_report`."""
    frames = [Image.fromarray(frame.numpy()) for frame in path_frames(run, images, steps, rule, seed)]
    content = io.BytesIO()
    still = [1000 // PER_SECOND] * (len(frames) - 1) + [1000 * STILL // PER_SECOND]
    frames[0].save(content, "GIF", save_all=True, append_images=frames[1:], duration=still, loop=0)
    write_file(out, content.getvalue())
    return out


def write_mp4(
    run: Path, out: Path, images: int = 16, steps: int | None = None, rule: Rule | None = None, seed: int = 0
) -> Path:
    """The same as an MP4 film (H.264), which browsers and phones play.

    Raises:
        ImportError, RuntimeError: as `find_encoder`.
    """
    encoder = find_encoder()
    frames = path_frames(run, images, steps, rule, seed)
    height, width = frames[0].shape[:2]
    beside = out.with_name(f".{out.stem}.tmp-{os.getpid()}{out.suffix}")
    out.parent.mkdir(parents=True, exist_ok=True)
    try:
        writer = encoder.write_frames(beside, (width, height), fps=PER_SECOND, quality=8, macro_block_size=2)
        writer.send(None)
        for frame in [*frames, *frames[-1:] * STILL]:
            writer.send(frame.contiguous().numpy())
        writer.close()
        os.replace(beside, out)
    finally:
        beside.unlink(missing_ok=True)
    return out


def find_encoder() -> ModuleType:
    """imageio_ffmpeg, with a working ffmpeg.

    Raises:
        ImportError: it is not installed.
        RuntimeError: it has no ffmpeg for this machine.
    """
    try:
        import imageio_ffmpeg
    except ImportError as error:
        raise ImportError('mp4: needs imageio-ffmpeg: pip install "softdiff-ext[movie]", or take --gif') from error
    try:
        imageio_ffmpeg.get_ffmpeg_exe()
    except RuntimeError as error:
        raise RuntimeError("mp4: imageio-ffmpeg has no ffmpeg for this machine: install ffmpeg, or take --gif") from error
    module: ModuleType = imageio_ffmpeg
    return module


def path_frames(run: Path, images: int, steps: int | None, rule: Rule | None, seed: int) -> list[Tensor]:
    """Sheets of the states of a reverse path, uint8 [height, width, 3] with even sides, which H.264 wants."""
    facts = open_run(run)
    steps = facts.config.sample_steps if steps is None else steps
    film, _ = draw(facts, images, steps, rule, seed, FRAMES)
    frames = []
    for tiles in film.strips[0].frames:
        sheet = image_sheet(tiles.float() / 127.5 - 1)
        zoom = max(1, round(_SMALLEST / max(sheet.shape[1:])))
        sheet = sheet.repeat_interleave(zoom, 1).repeat_interleave(zoom, 2)
        sheet = F.pad(sheet, (0, sheet.shape[2] % 2, 0, sheet.shape[1] % 2), value=128)
        frames.append(sheet.permute(1, 2, 0).contiguous())
    return frames

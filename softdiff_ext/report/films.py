"""Films: what the images of a run look like over the times of a process, or over its training; a few frames of each."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from softdiff_ext.levels import Level
from softdiff_ext.processes import Process
from softdiff_ext.report.pictures import WIDEST, display_bytes, evenly
from softdiff_ext.rules import Rule
from softdiff_ext.sampling import times
from softdiff_ext.training.figures import cut_sheet

MOST_FRAMES = 25
MOST_PIXELS = 2_000_000
"""Of one strip of a film: what fits into a picture of MOST_BYTES even where it is all noise."""

_SHEET = re.compile(r"step-(\d{8})\.png")


@dataclass(frozen=True)
class Strip:
    """Frames of a few images: uint8 [F, N, 3, H, W], and what they show."""

    title: str
    frames: Tensor


@dataclass(frozen=True)
class Film:
    """Strips that run together; labels say where each frame is."""

    labels: list[str]
    strips: list[Strip]


def frames_that_fit(images: int, height: int, width: int) -> int:
    """How many frames of so many images a strip may have, at least 2."""
    return max(2, min(MOST_FRAMES, MOST_PIXELS // (images * height * width)))


def film_bytes(images: Tensor) -> Tensor:
    """Images [N, C, H, W] in [-1, 1] as a frame of a film: uint8 [N, 3, h, w]."""
    return display_bytes(images, WIDEST // 2)


@torch.no_grad()
def forward_film(process: Process, images: Tensor, generator: torch.Generator) -> Film:
    """Clean images [N, C, H, W] as the process corrupts them, with the same noise in every frame."""
    pixels = film_bytes(images)
    noise = torch.randn(images.shape, generator=generator, device=generator.device).to(images.device)
    path = process.level_times(MOST_FRAMES - 1)[::-1]
    chosen = [path[i] for i in evenly(len(path), frames_that_fit(len(pixels), *pixels.shape[-2:]))]
    frames = torch.stack([film_bytes(process.corrupt(images, t, noise)) for t in chosen])
    blurred = torch.stack([film_bytes(process.signal(images, t)) for t in chosen])
    labels = [level_label(process.level(t), t) for t in chosen]
    strips = [Strip("What the network sees: the corrupted image", frames), Strip("The same without its noise", blurred)]
    return Film(labels, strips if any(float(process.level(t).sigma) > 0 for t in chosen) else strips[:1])


def reverse_film(
    process: Process,
    network: nn.Module,
    shape: tuple[int, int, int, int],
    steps: int,
    rule: Rule | None,
    generator: torch.Generator,
    most_frames: int | None = None,
) -> tuple[Film, Tensor]:
    """Draw images and keep some of the states and of the clean estimates on the way.

    Args:
        shape: [N, C, H, W] of the images.
        steps, rule, generator: as for `Process.sample`, with the times that the network was trained at.
        most_frames: of the film; None is what fits into a page.
    Returns:
        The film, which ends with the images, and the images themselves [N, C, H, W] in about [-1, 1].
    """
    path = times(process.level_times(steps))
    probe = film_bytes(torch.zeros(1, *shape[1:]))
    most = frames_that_fit(shape[0], *probe.shape[-2:]) if most_frames is None else most_frames
    kept = set(evenly(len(path), most))
    states: list[Tensor] = []
    estimates: list[Tensor] = []

    def keep(index: int, z_t: Tensor, x_hat: Tensor) -> None:
        if index in kept:
            states.append(film_bytes(z_t))
            estimates.append(film_bytes(x_hat))

    images = process.sample(network, shape, path, rule, generator=generator, callback=keep).cpu()
    last = film_bytes(images)
    labels = [level_label(process.level(path[i]), path[i]) for i in sorted(kept)]
    strips = [
        Strip("The image on its way", torch.stack([*states, last])),
        Strip("What the network takes it for: its clean estimate", torch.stack([*estimates, last])),
    ]
    return Film(labels, strips), images


def training_film(run: Path, count: int, shape: tuple[int, int, int], most_images: int = 16) -> Film | None:
    """The sample sheets that training left; None where there is none. Sheets of another size are passed over.

    Args:
        run: folder of the run.
        count: images on a sheet.
        shape: (C, H, W) of one.
    """
    found = [
        (int(match[1]), path) for path in sorted((run / "samples").glob("*.png")) if (match := _SHEET.fullmatch(path.name))
    ]
    shown = min(count, most_images)
    height, width = shape[1:]
    sheets: list[tuple[int, Tensor]] = []
    for step, path in (
        [found[i] for i in evenly(len(found), frames_that_fit(shown, min(height, WIDEST // 2), min(width, WIDEST // 2)))]
        if found
        else []
    ):
        with Image.open(path) as file:
            sheet = torch.from_numpy(np.asarray(file.convert("RGB")).copy()).permute(2, 0, 1)
        try:
            tiles = cut_sheet(sheet, count, (height, width))[:shown]
        except ValueError:
            continue
        sheets.append((step, film_bytes(tiles.float() / 127.5 - 1)))
    if not sheets:
        return None
    labels = [f"step {step:,}" for step, _ in sheets]
    return Film(labels, [Strip("The same random numbers each time", torch.stack([tiles for _, tiles in sheets]))])


def level_label(level: Level, t: float) -> str:
    """A time, and how much blur (std in pixels) and noise there is."""
    tau, sigma = float(level.tau), float(level.sigma)
    blur = f", blur {math.sqrt(2 * tau):.2g} px" if tau > 0 else ""
    noise = f", noise {sigma:.2g}" if sigma > 0 else ""
    return f"t = {t:.2f}{blur}{noise}"

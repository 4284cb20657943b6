"""The pictures of the digits demo: small grey images in labelled grids, and loss curves."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")  # no window: the demo also runs where there is no screen
import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter
from torch import Tensor

from softdiff_ext.training.files import write_file

PIXEL = 8  # an image pixel is drawn as PIXEL x PIXEL, so that an 8 x 8 digit can be seen
GAP = 6
GAP_COLOUR = (70, 110, 160)  # blue, which no grey image contains: where an image ends is never a question

Grid = tuple[Tensor, Sequence[str]]
"""Grey images [rows, columns, H, W] in [-1, 1] and the labels of the columns."""


def strips(panels: Mapping[str, Grid], heading: str, path: Path, side_by_side: bool = False) -> None:
    """One grid of images for each panel, below or beside each other."""
    rows, columns = next(iter(panels.values()))[0].shape[:2]
    width, height = 0.78 * columns, 0.78 * rows + 0.9  # inches; 0.9 for title and column labels
    down, across = (1, len(panels)) if side_by_side else (len(panels), 1)
    figure, axes = plt.subplots(
        down, across, figsize=(width * across + 0.3, height * down + 0.4), layout="constrained", squeeze=False
    )
    for axis, (title, (images, labels)) in zip(axes.flat, panels.items(), strict=True):
        show_tiles(axis, images, title, labels)
    figure.suptitle(f"{heading}\n", fontsize=13)
    save(figure, path)


def pairs(panels: Mapping[str, tuple[Tensor, Tensor]], heading: str, path: Path) -> None:
    """For each panel 64 samples on the left and, in the same places on the right, the training images nearest to them."""
    figure, axes = plt.subplots(len(panels), 2, figsize=(10, 5.3 * len(panels) + 0.4), layout="constrained", squeeze=False)
    for row, (title, (samples, nearest)) in zip(axes, panels.items(), strict=True):
        show_tiles(row[0], samples.view(8, 8, *samples.shape[-2:]), title)
        show_tiles(row[1], nearest.view(8, 8, *nearest.shape[-2:]), "the training image nearest to each")
    figure.suptitle(f"{heading}\n", fontsize=13)
    save(figure, path)


def curves(losses: Mapping[str, tuple[np.ndarray, np.ndarray]], path: Path) -> None:
    """(steps, losses): every step in pale, a moving mean of a fiftieth of the run on top. An axis each: the scales differ."""
    figure, axes = plt.subplots(1, len(losses), figsize=(5.5 * len(losses), 3.8), layout="constrained", squeeze=False)
    for axis, (title, (steps, values)) in zip(axes[0], losses.items(), strict=True):
        window = max(1, len(values) // 50)
        smooth = np.convolve(values, np.full(window, 1 / window), mode="valid")
        centres = steps[window // 2 : window // 2 + len(smooth)]
        axis.plot(steps, values, color="tab:blue", alpha=0.35, linewidth=0.7, label="each step")
        axis.plot(centres, smooth, color="tab:orange", label=f"mean of {window} steps")
        axis.set(title=title, xlabel="step", ylabel="loss", yscale="log")
        axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5)))
        axis.yaxis.set_major_formatter("{x:g}")
        axis.yaxis.set_minor_formatter(NullFormatter())
        axis.grid(alpha=0.3)
        axis.legend()
    save(figure, path)


def show_tiles(axes: Axes, images: Tensor, title: str, labels: Sequence[str] = ()) -> None:
    """Draw a grid of images; `labels` stand above its columns."""
    picture = tiles(images)
    axes.imshow(picture, interpolation="nearest")
    axes.set_title(title, loc="left", fontsize=12, fontweight="bold", pad=8)
    cell = (picture.shape[1] - GAP) / images.shape[1]
    axes.xaxis.tick_top()
    axes.set_xticks([(column + 0.5) * cell + GAP / 2 for column in range(len(labels))], labels, fontsize=8)
    axes.set_yticks([])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def tiles(images: Tensor) -> np.ndarray:
    """Images [rows, columns, H, W] in [-1, 1] as one RGB picture: black = -1, white = 1, values outside are cut."""
    rows, columns, height, width = images.shape
    grey = ((images.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).numpy()
    grey = grey.repeat(PIXEL, axis=2).repeat(PIXEL, axis=3)
    cell = (height * PIXEL + GAP, width * PIXEL + GAP)
    picture = np.empty((rows * cell[0] + GAP, columns * cell[1] + GAP, 3), np.uint8)
    picture[:] = GAP_COLOUR
    for row in range(rows):
        for column in range(columns):
            top, left = row * cell[0] + GAP, column * cell[1] + GAP
            picture[top : top + height * PIXEL, left : left + width * PIXEL] = grey[row, column, :, :, None]
    return picture


def save(figure: Figure, path: Path) -> None:
    """Write the PNG whole or not at all."""
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=120, bbox_inches="tight", pad_inches=0.15)
    plt.close(figure)
    write_file(path, content.getvalue())

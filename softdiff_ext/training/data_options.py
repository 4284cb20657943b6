"""Options of reading images, by the names that `softdiff train` and config.yaml give them (`--images.size 64`)."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal

from softdiff_ext.training.options import check, real, whole

Mode = Literal["grey", "rgb", "rgba"]
MODES = ("grey", "rgb", "rgba")

FILES = ("folder", "emoji", "arrays", "hf")
"""The sources that are read image by image."""

GOES_WITH: dict[str, tuple[str, ...]] = {
    "size": (*FILES, "fashion-mnist"),
    "crop": (*FILES, "fashion-mnist"),
    "transparency": FILES,
    "background": FILES,
    "layout": ("arrays",),
    "unreadable": FILES,
    "lazy": FILES,
    "workers": FILES,
    "held_out": FILES,
    "subset": ("hf",),
    "split": ("hf",),
    "held_out_split": ("hf",),
    "column": ("hf",),
    "stream": ("hf",),
}
"""The sources that take an option; one that is not named here (flip, random_crop) goes with all."""


@dataclass(frozen=True)
class ImageOptions:
    """How images are read, cut and split; lengths in pixels."""

    size: int | None = None
    """Scale to squares of this side: the largest centred square of each image, or what --images.crop cuts."""
    crop: int | None = None
    """Cut a centred square of this side out of each image, before it is scaled."""
    random_crop: int | None = None
    """Train on squares of this side at random places of the scaled images; held-out images show their centre."""
    flip: bool = False
    """Mirror training images left to right, each time with probability 1/2."""
    transparency: Literal["over", "drop"] = "over"
    """With --mode grey or rgb: lay transparent images over the background, or drop their transparency."""
    background: str = "white"
    """Colour behind transparent images: a name or #rrggbb."""
    layout: Literal["nhwc", "nchw"] | None = None
    """Order of the axes of arrays:FILE; not needed for [N, H, W]."""
    unreadable: Literal["refuse", "skip"] = "refuse"
    """What a damaged file does: stop, or be left out and reported."""
    lazy: bool = False
    """Read images when they are needed instead of holding all in memory."""
    workers: int = 4
    """Threads that read images."""
    held_out: float = 0.2
    """Share of the images that training never sees, chosen by a hash of their names."""
    subset: str | None = None
    """Configuration of the Hugging Face data set."""
    split: str = "train"
    """Split of the Hugging Face data set to train on."""
    held_out_split: str | None = None
    """Split to hold out instead of a share of the one to train on."""
    column: str | None = None
    """Column of the images; None takes the only one."""
    stream: bool = False
    """Read the Hugging Face data set from front to back without storing it."""

    def __post_init__(self) -> None:
        for name in ("size", "crop", "random_crop"):
            value = getattr(self, name)
            check(self, name, "an integer >= 1", value is None or whole(value, 1))
        check(self, "workers", "an integer >= 1", whole(self.workers, 1))
        check(self, "held_out", "between 0 and 1", real(self.held_out) and 0.0 < self.held_out < 1.0)
        choices = {
            "transparency": ("over", "drop"),
            "layout": (None, "nhwc", "nchw"),
            "unreadable": ("refuse", "skip"),
            "flip": (True, False),
            "lazy": (True, False),
            "stream": (True, False),
        }
        for name, wanted in choices.items():
            check(self, name, f"one of {', '.join(map(str, wanted))}", getattr(self, name) in wanted)

    def check_source(self, kind: str, source: str) -> None:
        """Raise ValueError where an option was given that does not go with this kind of source."""
        for item in fields(self):
            kinds = GOES_WITH.get(item.name, (kind,))
            if kind not in kinds and getattr(self, item.name) != item.default:
                flag = f"--images.{item.name.replace('_', '-')}"
                raise ValueError(f"data: {flag} goes with {', '.join(kinds)}, got it with {source!r}")

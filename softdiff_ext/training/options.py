"""Options of each process and of the network, by the names that `softdiff train` and config.yaml give them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from softdiff_ext.learned_schedules import LearnedLinear, LearnedMonotone
from softdiff_ext.processes import (
    BlurringDiffusion,
    ColdDiffusion,
    InverseHeatDissipation,
    Process,
    SoftDiffusion,
    VariationalDiffusion,
)
from softdiff_ext.schedules import Cosine, LinearBeta, LinearGamma, NoiseSchedule

PROCESSES: dict[str, type[Process]] = {
    "vdm": VariationalDiffusion,
    "ihdm": InverseHeatDissipation,
    "blurring": BlurringDiffusion,
    "soft": SoftDiffusion,
    "cold": ColdDiffusion,
}
"""The processes by name. One more takes a line here, a dataclass of its options and a field of `TrainConfig` of that name."""

SCHEDULES: dict[str, Callable[[], NoiseSchedule]] = {
    "cosine": Cosine,
    "ddpm": LinearBeta,
    "linear": LinearGamma,
    "learned-linear": LearnedLinear,
    "learned-monotone": LearnedMonotone,
}
"""The noise schedules of --process vdm by name."""

ProcessName = Literal["vdm", "ihdm", "blurring", "soft", "cold"]
ScheduleName = Literal["cosine", "ddpm", "linear", "learned-linear", "learned-monotone"]


@dataclass(frozen=True)
class VdmOptions:
    """Variational diffusion: DDPM and VDM; only with --process vdm."""

    schedule: ScheduleName = "cosine"
    """Noise schedule; ddpm is that of DDPM, linear and the learned ones are VDM's."""
    prediction: Literal["x", "eps", "v"] = "eps"
    """What the network predicts: clean image, noise or velocity."""
    weighting: Literal["mse", "elbo"] = "mse"
    """Loss: mean squared error, or the bound on the bits per dimension, which learned schedules need."""
    steps: int | None = None
    """Number of steps T that the bound is for; None is infinitely many, or those of the ddpm schedule."""
    values: int = 256
    """Number of values of a pixel, equally spaced from -1 to 1 (17 for the digits); the bits per dimension count them."""


@dataclass(frozen=True)
class IhdmOptions:
    """Inverse Heat Dissipation; only with --process ihdm."""

    levels: int = 200
    """Number of blur levels K."""
    sigma_blur: tuple[float, float] = (0.5, 24.0)
    """Blur of the first and the last level, in pixels."""
    sigma: float = 0.02
    """Noise std in training, images in [-1, 1]: twice the published one, which is for [0, 1]."""
    delta: float = 0.025
    """Noise std in sampling, images in [-1, 1]."""
    reduction: Literal["sum", "mean"] = "sum"
    """Loss over the pixels of an image: sum as published, or mean."""
    values: int = 256
    """Number of values of a pixel, equally spaced from -1 to 1; the bits per dimension count them."""


@dataclass(frozen=True)
class BlurringOptions:
    """Blurring Diffusion; only with --process blurring."""

    sigma_blur_max: float = 20.0
    """Largest blur, in pixels."""
    floor: float = 1e-3
    """Smallest blur gain of a frequency."""
    logsnr_min: float = -10.0
    """Log signal-to-noise ratio at t = 1."""
    logsnr_max: float = 10.0
    """Log signal-to-noise ratio at t = 0."""
    prediction: Literal["x", "eps", "v"] = "eps"
    """What the network predicts: clean image, noise or velocity."""
    weighting: Literal["mse", "elbo"] = "mse"
    """Loss: mean squared error, or the bound on the bits per dimension."""
    steps: int | None = None
    """Number of steps T that the bound is for; None is infinitely many."""
    block: int | None = None
    """Blur blocks of this many pixels a side, each by itself; None blurs whole images."""
    values: int = 256
    """Number of values of a pixel, equally spaced from -1 to 1; the bits per dimension count them."""


@dataclass(frozen=True)
class SoftOptions:
    """Soft Diffusion; only with --process soft."""

    sigma_blur: tuple[float, float] = (0.01, 23.0)
    """Smallest and largest blur, in pixels."""
    sigma: tuple[float, float] = (0.01, 0.10)
    """Smallest and largest std of the noise, images in [-1, 1]."""
    weight_floor: float = 0.0
    """Smallest gain of a frequency in the loss; 0 is the published loss."""


@dataclass(frozen=True)
class ColdOptions:
    """Cold Diffusion; only with --process cold."""

    levels: int = 200
    """Number of blur levels K."""
    sigma_blur: tuple[float, float] = (0.5, 24.0)
    """Blur of the first and the last level, in pixels."""
    prior: Literal["mixture", "images"] = "mixture"
    """Start from images of one colour, drawn from a Gaussian mixture, or from blurred training images."""
    components: int = 1
    """Gaussians in the mixture."""
    start_noise: float = 0.002
    """Noise std on a start of one colour; 0 keeps its symmetry."""


@dataclass(frozen=True)
class NetworkOptions:
    """The U-Net (UNet2DModel of diffusers)."""

    channels: tuple[int, ...] = (64, 128, 128)
    """Channels of each level; each level after the first halves the image."""
    blocks: int = 2
    """Residual blocks a level."""
    attention: tuple[int, ...] = (2,)
    """Levels with self-attention, 0 = full size."""
    dropout: float = 0.0
    """Dropout inside the residual blocks."""

    def __post_init__(self) -> None:
        levels = len(self.channels)
        # the attention of UNet2DModel's middle has heads of 8 channels
        check(self, "channels", "one or more integers >= 8", levels > 0 and all(whole(c, 8) for c in self.channels))
        check(self, "blocks", "an integer >= 1", whole(self.blocks, 1))
        there = f"levels 0..{levels - 1} of the {levels} in channels (give --network.attention too)"
        check(self, "attention", there, all(whole(i) and i < levels for i in self.attention))
        check(self, "dropout", "in [0, 1)", real(self.dropout) and 0.0 <= self.dropout < 1.0)


def check(options: Any, name: str, wanted: str, good: bool) -> None:
    """Raise ValueError, naming the option and its value, unless it is good."""
    if not good:
        raise ValueError(f"config: {name} must be {wanted}, got {getattr(options, name)!r}")


def whole(value: Any, least: int = 0) -> bool:
    """Whether value is an int (no bool) of at least `least`."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def real(value: Any) -> bool:
    """Whether value is an int or a float (no bool)."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)

"""The published configurations of Inverse Heat Dissipation, from the configs of the authors' code."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Preset:
    """One data set's configuration; lengths in pixels, noise in the unit of images in [-1, 1].

    The authors train on images in [0, 1] with sigma = 0.01 and sample with delta = 1.25 sigma; both are twice as much here.
    Everywhere: Adam(0.9, 0.999), 5000 steps of warm-up, gradient norm at most 1, no flips, 1.3 million steps.
    """

    size: int
    levels: int
    sigma_blur_max: float
    channels: tuple[int, ...]
    """Of each resolution of the U-Net."""
    blocks: int
    """Residual blocks a resolution."""
    attention: tuple[int, ...]
    """Resolutions with self-attention, 0 = full size."""
    dropout: float = 0.1
    batch_size: int = 128
    learning_rate: float = 2e-4
    ema_decay: float = 0.999
    sigma_blur_min: float = 0.5
    sigma: float = 2 * 0.01
    delta: float = 2 * 0.0125

    @property
    def sigma_blur(self) -> tuple[float, float]:
        return self.sigma_blur_min, self.sigma_blur_max


_DEEP = (128, 256, 384, 512, 640)

PRESETS: dict[str, Preset] = {
    "mnist": Preset(28, 100, 20.0, (128, 256, 256), 4, (2,)),
    "mnist-small": Preset(28, 50, 20.0, (64, 64, 64), 4, (2,)),
    "cifar10": Preset(32, 200, 24.0, (128, 256, 256, 256), 4, (2, 3)),
    "afhq-64": Preset(64, 200, 32.0, (128, 256, 384, 512), 2, (2, 3), learning_rate=1e-4),
    "afhq-256": Preset(256, 200, 128.0, _DEEP, 3, (2, 3, 4), 0.3, 32, 1e-4, 0.9999),
    "ffhq-128": Preset(128, 200, 128.0, _DEEP, 2, (2, 3, 4), 0.1, 32, 2e-4, 0.9999),
    "ffhq-256": Preset(256, 200, 128.0, _DEEP, 3, (2, 3, 4), 0.3, 32, 2e-5, 0.9999),
    "lsun-church-128": Preset(128, 400, 64.0, _DEEP, 4, (2, 3, 4), 0.1, 32, 2e-5, 0.999),
}

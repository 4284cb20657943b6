"""What Inverse Heat Dissipation and Cold Diffusion share: K log-spaced blur levels, and starts from blurred training images."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from softdiff_ext.levels import Level
from softdiff_ext.ops import eigenvalues
from softdiff_ext.processes.base import Process, as_time, check_images
from softdiff_ext.processes.draws import ImageDraws, Source, stratified_times
from softdiff_ext.processes.spectra import images_of, spectra_of
from softdiff_ext.sampling import uniform_times
from softdiff_ext.schedules import as_number, as_pair
from softdiff_ext.wasserstein import CANDIDATES, w2_levels


class BlurLevels(Process):
    """Levels k = 0 .. K at the times t = k / K: level 0 the clean image, levels 1 .. K log-spaced blur and a constant sigma.

    Between the levels sigma_blur is interpolated, log-spaced from level 1 on and linearly from 0 before it.

    Args:
        levels: K >= 1.
        sigma_blur: blur std of levels 1 and K in pixels, 0 < first < last (or equal for K = 1).
        sigma: noise std at every t > 0, in the unit of the images, which span [-1, 1].
    Raises:
        TypeError: levels is not an int, or a number is none.
        ValueError: an argument is out of its range.
    """

    FITTED: ClassVar[tuple[str, ...]] = ("kept", "coefficients", "power")
    kept: Tensor
    coefficients: Tensor
    power: Tensor

    def __init__(self, levels: int, sigma_blur: tuple[float, float], sigma: float) -> None:
        super().__init__()
        name = type(self).__name__
        if isinstance(levels, bool) or not isinstance(levels, int):
            raise TypeError(f"{name}: levels must be an int, got {type(levels).__name__}")
        if levels < 1:
            raise ValueError(f"{name}: levels must be at least 1, got {levels}")
        (least, most), sigma = as_pair(name, "sigma_blur", sigma_blur), as_number(name, "sigma", sigma)
        if not (0.0 < least <= most < math.inf) or (least == most and levels > 1):
            raise ValueError(f"{name}: sigma_blur must be finite with 0 < first < last, got {sigma_blur}")
        if not 0.0 <= sigma < math.inf:
            raise ValueError(f"{name}: sigma must be finite and >= 0, got {sigma}")
        self.levels, self.sigma_blur, self.sigma = levels, (least, most), float(sigma)
        self.register_buffer("kept", torch.empty(0, 0, dtype=torch.bool))  # [H, W], the coefficients that survive level K
        self.register_buffer("coefficients", torch.empty(0, 0, 0))  # [N, C, kept.sum()], of the training images at level K
        self.register_buffer("power", torch.empty(0, 0, dtype=torch.float64))  # [H, W], mean of u^2 over images and channels

    def sigma_blur_at(self, t: Tensor) -> Tensor:
        """Blur std in pixels at times t."""
        least, most = self.sigma_blur
        k = t * self.levels
        share = (k - 1.0) / max(self.levels - 1, 1)
        return torch.where(k < 1.0, k * least, least * (most / least) ** share.clamp(0.0, 1.0))

    def level(self, t: float | Tensor) -> Level:
        time = as_time(t)
        zero = torch.zeros_like(time)
        return Level(zero, self.sigma_blur_at(time) ** 2 / 2, torch.where(time > 0.0, self.sigma, zero), zero)

    def random_levels(self, batch: int, generator: Source, device: torch.device) -> Tensor:
        """Levels k for a training batch, each uniform on 1 .. K (both included), together evenly spread; float64 [batch]."""
        t = stratified_times(batch, generator, device)
        return (1.0 + (t * self.levels).floor()).clamp(max=self.levels)  # t < 1, but t K may round up to K

    @torch.no_grad()
    def fit(self, images: Tensor) -> None:
        """Keep of images [N, C, H, W] in [-1, 1] the DCT coefficients that survive the last level, and the power spectrum."""
        check_images(self, images)
        device = self.kept.device
        self.kept, self.coefficients, self.power = (x.to(device) for x in spectra_of(images, self.sigma_blur[1]))

    def level_times(self, steps: int, start: float = 1.0) -> list[float]:
        """Times of a run from `start` to 0 by levels that the network was trained at, as evenly spaced as these allow.

        Between two levels a network has not been trained: sharpening digits in 20 equal steps from level 6 of 10 brings
        ColdDiffusion to 19.0 dB of PSNR, and the 6 steps of the levels themselves to 33.6 dB.

        Args:
            steps: number of steps; fewer where there are not as many levels below `start`.
            start: in (0, 1]; it may lie between two levels.
        Raises:
            TypeError, ValueError: steps is not an int, or below 1, or start is out of its range.
        """
        even = uniform_times(steps, start)
        levels = {round(t * self.levels) for t in even[1:-1]}
        inner = [k / self.levels for k in sorted(levels, reverse=True) if 0.0 < k / self.levels < start]
        return [start, *inner, 0.0]

    def w2_times(self, steps: int) -> list[float]:
        """Times of a run whose steps follow the shortest Wasserstein path of the data from level K down to level 1, then to 0.

        Small steps are where a blur takes much from the images. `steps` steps, or the nearest number that the data allow
        (see `wasserstein.path_of`).

        Args:
            steps: >= 2.
        Raises:
            RuntimeError: fit() was not called.
            ValueError: steps is below 2, or there is one level only.
        Source:
            Daras et al. 2023, Soft Diffusion, section on scheduling; there for training, here for a trained network.
        """
        if self.power.numel() == 0:
            raise RuntimeError(f"{type(self).__name__}: call fit(images) first; the path is that of the data")
        if isinstance(steps, bool) or not isinstance(steps, int) or steps < 2 or self.levels < 2:
            raise ValueError(f"steps: must be an int >= 2, of 2 levels or more, got {steps!r} of {self.levels}")
        least, most = self.sigma_blur
        lam = eigenvalues(self.power.shape).cpu().numpy()
        nodes = w2_levels(self.power.cpu().numpy(), lam, self.sigma_blur, steps, max(CANDIDATES, steps))
        share = (nodes / least) / (most / least)  # 1 for the last node, exactly
        times = (1.0 + (self.levels - 1) * (1.0 + np.log(share) / math.log(most / least))) / self.levels
        return [*(float(t) for t in times[::-1]), 0.0]

    def check_fitted(self, sizes: tuple[int, int, int] | None = None) -> None:
        """Raise unless fit() was called, on images of `sizes` = (C, H, W) where given: RuntimeError, ValueError."""
        if self.coefficients.numel() == 0:
            name = type(self).__name__
            raise RuntimeError(f"{name}: call fit(images) first; it starts from blurred training images")
        fitted = [self.coefficients.shape[1], *self.kept.shape]
        if sizes is not None and list(sizes) != fitted:
            raise ValueError(f"shape: {type(self).__name__} was fitted on images {fitted}, got {list(sizes)}")

    def blurred_images(self, count: int, draws: ImageDraws, device: torch.device | str | None) -> Tensor:
        """`count` randomly chosen training images at the blur of the last level, float32."""
        own = self.coefficients.device
        chosen = draws.choices(len(self.coefficients), count).to(own)
        return images_of(self.coefficients[chosen], self.kept).to(own if device is None else device)

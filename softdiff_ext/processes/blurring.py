"""Blurring Diffusion: variance-preserving noise and a heat-equation blur together, one log-SNR for each frequency."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from softdiff_ext.levels import Level
from softdiff_ext.ops import dct, eigenvalues
from softdiff_ext.processes.base import check_shape
from softdiff_ext.processes.blocks import check_blocks, join_blocks, split_blocks
from softdiff_ext.processes.vdm import VariationalDiffusion
from softdiff_ext.rules import Rule
from softdiff_ext.schedules import Cosine, as_number, sin2_blur


class BlurringDiffusion(VariationalDiffusion):
    """z_t = V alpha_t V^T x + sigma_t eps, alpha_t = a_t ((1 - floor) exp(-lam tau_t) + floor), a_t^2 + sigma_t^2 = 1.

    a_t and sigma_t follow the cosine schedule, the blur is sigma_blur_max sin^2(pi t / 2). It is variational diffusion with
    gamma_i(t) = -ln(alpha_i^2 / sigma^2) for each frequency i: the blur takes the fine ones into the noise first. So loss,
    bound and start are those of `VariationalDiffusion`, frequency by frequency.

    Args:
        sigma_blur_max: blur std at t = 1 in pixels, >= 0; 20 is published for images of 32 to 128 pixels (scale it with the
            size of other images), 0 is cosine diffusion without blur.
        floor: smallest gain of the blur, in (0, 1) for "eps" (a noise estimate is divided by alpha), in [0, 1) else.
        logsnr_min, logsnr_max: ends of the cosine schedule in nats, at t = 1 and t = 0.
        prediction: what the network gives: "eps", the noise; "v" = a eps - sigma x; "x", the clean image.
        weighting, steps, values: as for `VariationalDiffusion`; "mse" is the published loss, "elbo" weighs each frequency.
        block: blur within blocks of this many pixels a side, each in a DCT basis of its own, instead of across the image;
            the sides of the images are multiples of it. The network still sees whole images. None is no blocks.
    Raises:
        TypeError: a number is none.
        ValueError: an argument is out of its range.
    Source:
        Hoogeboom & Salimans 2023, Blurring Diffusion Models; no official code. Blocks: Teng et al. 2023, Relay Diffusion,
        which takes 4 pixels and sigma_blur_max = 3.

    Examples:
        >>> import torch, softdiff_ext as sd
        >>> process = sd.BlurringDiffusion(sigma_blur_max=4.0)
        >>> [round(float((2 * process.level(torch.tensor([t])).tau).sqrt()), 2) for t in (0.0, 0.5, 1.0)]  # blur in pixels
        [0.0, 2.0, 4.0]
        >>> network = lambda z, t: torch.zeros_like(z)
        >>> process.sample(network, (2, 1, 8, 8), steps=5, rule=sd.DDIM()).shape
        torch.Size([2, 1, 8, 8])
    """

    def __init__(
        self,
        sigma_blur_max: float = 20.0,
        floor: float = 1e-3,
        logsnr_min: float = -10.0,
        logsnr_max: float = 10.0,
        prediction: str = "eps",
        weighting: str = "mse",
        steps: int | None = None,
        values: int | Sequence[float] | Tensor = 256,
        block: int | None = None,
    ) -> None:
        sigma_blur_max, floor, logsnr_min, logsnr_max = (
            as_number("BlurringDiffusion", name, value)
            for name, value in (
                ("sigma_blur_max", sigma_blur_max),
                ("floor", floor),
                ("logsnr_min", logsnr_min),
                ("logsnr_max", logsnr_max),
            )
        )
        if not (math.isfinite(sigma_blur_max) and sigma_blur_max >= 0.0):
            raise ValueError(f"BlurringDiffusion: sigma_blur_max must be finite and >= 0, got {sigma_blur_max}")
        if not (0.0 <= floor < 1.0) or (floor == 0.0 and prediction == "eps" and sigma_blur_max > 0.0):
            raise ValueError(f'BlurringDiffusion: floor must be in [0, 1), and above 0 for prediction="eps", got {floor}')
        if block is not None and (isinstance(block, bool) or not isinstance(block, int) or block < 2):
            raise ValueError(f"BlurringDiffusion: block must be None or an int >= 2, got {block!r}")
        super().__init__(Cosine(logsnr_min, logsnr_max), prediction, weighting, steps, values)
        self.sigma_blur_max, self.floor = float(sigma_blur_max), float(floor)
        self.block = block if sigma_blur_max > 0.0 else None

    def prior(
        self,
        shape: Sequence[int],
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
        first: int = 0,
    ) -> Tensor:
        """Start images: N(0, I); their sides must be multiples of the block."""
        _, _, height, width = check_shape(shape)
        if self.block is not None:
            check_blocks(height, width, self.block)
        return super().prior(shape, generator, device, first)

    def estimate(self, z_t: Tensor, output: Tensor, t: float | Tensor) -> Tensor:
        """Clean images that the network's output tells of."""
        return self._join(super().estimate(self._split(z_t), self._split(output), t), z_t)

    def signal(self, x: Tensor, t: float) -> Tensor:
        """Clean images as they are at time t without the noise, blurred within the blocks where there are any."""
        return self._join(super().signal(self._split(x), t), x)

    def corrupt(self, x: Tensor, t: float | Tensor, noise: Tensor) -> Tensor:
        """z_t from clean images and noise, blurred within the blocks where there are any."""
        return self._corrupt(x, self.level(t), noise)

    def advance(
        self,
        z_t: Tensor,
        output: Tensor,
        s: float,
        t: float,
        rule: Rule,
        noise: Tensor | None = None,
        prediction: str | None = None,
    ) -> Tensor:
        """One reverse step of `rule`, within the blocks where there are any."""
        fresh = None if noise is None else self._split(noise)
        return self._join(super().advance(self._split(z_t), self._split(output), s, t, rule, fresh, prediction), z_t)

    def _level(self, t: Tensor, log_a: Tensor, sigma: Tensor) -> Level:
        # Without blur floor and blocks say nothing; left out, all is that of VariationalDiffusion to the last bit.
        floor = self.floor if self.sigma_blur_max > 0.0 else 0.0
        return Level(log_a, sin2_blur(t, self.sigma_blur_max) ** 2 / 2, sigma, torch.full_like(t, floor))

    def _tau_slope(self, t: Tensor) -> Tensor:
        angle = math.pi / 2 * t
        return self.sigma_blur_max**2 * math.pi * torch.sin(angle) ** 3 * torch.cos(angle)

    def _corrupt(self, x: Tensor, level: Level, eps: Tensor) -> Tensor:
        return self._join(super()._corrupt(self._split(x), level, self._split(eps)), x)

    def _coefficients(self, x: Tensor) -> tuple[Tensor, Tensor]:
        if self.sigma_blur_max == 0.0:
            return super()._coefficients(x)
        blocks = self._split(x)
        return dct(blocks), eigenvalues(blocks.shape[-2:]).to(x.device)

    def _split(self, x: Tensor) -> Tensor:
        return x if self.block is None else split_blocks(x, self.block)

    def _join(self, blocks: Tensor, like: Tensor) -> Tensor:
        return blocks if self.block is None else join_blocks(blocks, like)

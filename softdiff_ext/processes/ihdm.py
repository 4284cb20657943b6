"""Inverse Heat Dissipation: blur with a little constant noise, undone level by level."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from softdiff_ext.ops import dct_blur, diffuse, eigenvalues, spectral_filter
from softdiff_ext.processes.base import as_time, check_shape
from softdiff_ext.processes.blur_levels import BlurLevels
from softdiff_ext.processes.draws import ImageDraws
from softdiff_ext.processes.ihdm_presets import PRESETS
from softdiff_ext.processes.network import Model
from softdiff_ext.rules import Naive, Rule

SHARPEST = 10.0
"""Largest gain by which a network's image is sharpened when a step skips levels; see `InverseHeatDissipation.mean_at`."""


class InverseHeatDissipation(BlurLevels):
    """u_k = V exp(-lam tau_k) V^T x + sigma eps; the network takes u_k to the mean of the next sharper level k - 1.

    Levels are log-spaced in the blur, t = k / K, level 0 is the clean image. The network predicts the residual: mu = u_k + f,
    which should be V exp(-lam tau_{k-1}) V^T x. The default rule is the published sampler, mu plus noise of std delta; the
    last mu is returned without noise. The start is a blurred training image with noise of std delta, the density that the
    likelihood uses too.

    sigma and delta are in the unit of this package's images, which span [-1, 1]. The published sigma = 0.01, delta = 0.0125 are
    for images in [0, 1] and are 0.02 and 0.025 here: `preset` converts them.

    Args:
        levels: K.
        sigma_blur: blur std of levels 1 and K in pixels; (0.5, 24) is published for 32 pixels.
        sigma: std of the noise that training adds, > 0.
        delta: std of the noise that sampling adds, > 0. 1.25 sigma is published; docs/methods.md tells what it does to the
            variance of the samples ("The temperature law"), and which rules have no such parameter.
        reduction: "sum" over the pixels of an image, as published, or "mean": the loss and its gradient C H W times smaller.
    Raises:
        TypeError, ValueError: an argument is of the wrong kind or out of its range.
    Source:
        Rissanen et al. 2022, Generative Modelling with Inverse Heat Dissipation, and the authors' code; unlike that code,
        training includes level K, the first that the sampler meets.
    """

    prediction = "mean"
    REDUCTIONS: ClassVar[tuple[str, ...]] = ("sum", "mean")

    def __init__(
        self,
        levels: int = 200,
        sigma_blur: tuple[float, float] = (0.5, 24.0),
        sigma: float = 0.01,
        delta: float = 0.0125,
        reduction: str = "sum",
    ) -> None:
        super().__init__(levels, sigma_blur, sigma)
        for name, value in (("sigma", sigma), ("delta", delta)):
            if not 0.0 < value < math.inf:
                raise ValueError(f"InverseHeatDissipation: {name} must be finite and > 0, got {value}")
        if reduction not in self.REDUCTIONS:
            raise ValueError(f"InverseHeatDissipation: reduction must be one of {self.REDUCTIONS}, got {reduction!r}")
        self.delta, self.reduction = float(delta), reduction
        self.default_rule = Naive(std=self.delta)

    @classmethod
    def preset(cls, name: str) -> InverseHeatDissipation:
        """The published configuration for a data set, by its name in `ihdm_presets.PRESETS`, for images in [-1, 1]."""
        if name not in PRESETS:
            raise ValueError(f"preset: must be one of {', '.join(PRESETS)}, got {name!r}")
        chosen = PRESETS[name]
        return cls(chosen.levels, chosen.sigma_blur, chosen.sigma, chosen.delta)

    def prior(
        self,
        shape: Sequence[int],
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
        first: int = 0,
    ) -> Tensor:
        """Start images: randomly chosen training images at the blur of level K, with noise of std delta."""
        self.check_fitted()
        count, *image = check_shape(shape)
        self.check_fitted((image[0], image[1], image[2]))
        draws = ImageDraws(generator, first)
        blurred = self.blurred_images(count, draws, device)
        return blurred + self.delta * draws.normal(blurred.shape, draw=1, device=blurred.device)

    def output(self, model: Model, z_t: Tensor, t: Tensor) -> Tensor:
        """The mean of the level below t: z_t plus the residual that the network predicts."""
        return z_t + super().output(model, z_t, t)

    def loss(self, model: Model, x: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, dict[str, float]]:
        """Squared error of the mean, ||V exp(-lam tau_{k-1}) V^T x - mu(u_k, k)||^2, summed over pixels, mean over the batch.

        With reduction="mean" it is the mean over pixels too. k is uniform on 1 .. K, stratified over the batch.

        The two blurred images come from `diffuse` and `dct_blur`: with the transforms, the gains and the noise inside one pass
        over the image each, they take 0.4 of the time of one dct, two products with explicit gains and two idct (measured
        at 32 and 128 pixels), though those share the forward transform.
        """
        k = self.random_levels(x.shape[0], generator, x.device)
        u_k = diffuse(x, self.level(k / self.levels), generator=generator)
        target = dct_blur(x, self.level((k - 1.0) / self.levels).tau)
        error = (target - self.output(model, u_k, k / self.levels)) ** 2
        mean = torch.mean(error)
        summed = error.sum() / max(x.shape[0], 1)
        return summed if self.reduction == "sum" else mean, {"mean_mse": float(mean.detach())}

    def mean_at(self, mean: Tensor, s: float, t: float | Tensor) -> Tensor:
        """V exp(-lam tau_s) V^T x_hat from the network's answer at time t, which is the mean at t - 1 / K.

        A step of one level needs nothing. A shorter one blurs further. A longer one has to sharpen, by exp(lam (tau_{t - 1/K} -
        tau_s)), but by no more than `SHARPEST`: where the answer at its level holds less than a tenth of a frequency, the rest
        is not made up from it, and the coming steps have to add it.
        """
        above, wanted = self.level((as_time(t) - 1.0 / self.levels).clamp(min=0.0)).tau, self.level(s).tau
        further = torch.as_tensor(wanted, device=mean.device) - torch.as_tensor(above, device=mean.device)
        if not isinstance(t, Tensor) and abs(float(further)) <= 1e-9 * float(wanted):
            return mean
        lam = eigenvalues(mean.shape[-2:]).to(mean.device)
        gain = torch.exp((-lam * further.reshape(-1, 1, 1, 1)).clamp(max=math.log(SHARPEST)))
        return spectral_filter(mean, gain)

    def advance(self, z_t: Tensor, output: Tensor, s: float, t: float, rule: Rule, noise: Tensor | None = None) -> Tensor:
        return super().advance(z_t, self.mean_at(output, s, t), s, t, rule, noise)

    def estimate(self, z_t: Tensor, output: Tensor, t: float | Tensor) -> Tensor:
        """Clean images: the network's mean, sharpened as far as `mean_at` goes; at level 1 the mean itself."""
        return self.mean_at(output, 0.0, t)

    @torch.no_grad()
    def interpolate(
        self,
        model: Model,
        shape: Sequence[int],
        steps: int | Sequence[float],
        rule: Rule | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """A path of images between two samples: linear in the start, spherical in the noise of each step.

        Args:
            model, steps, rule: as for `sample`.
            shape: [B, C, H, W]; the B images lie evenly on the path, the first and the last are the two samples that
                `sample(model, [2, C, H, W], ...)` draws from the same seed.
            generator: source of the two starts and their noise.
        Returns:
            Images [B, C, H, W].
        Source:
            Rissanen et al. 2022, section on interpolation, as their code does it: cos(a) n_1 + sin(a) n_2, a from 0 to pi / 2.
        """
        count, *image = check_shape(shape)
        parameters = getattr(model, "parameters", None)
        device = next((parameter.device for parameter in parameters()), None) if parameters is not None else None
        ends = self.prior((2, *image), generator, device)
        share = torch.linspace(0.0, 1.0, count, device=ends.device).reshape(-1, 1, 1, 1)
        draws, angle = ImageDraws(generator), share * (math.pi / 2)

        def noise(index: int, like: Tensor) -> Tensor:
            one, other = draws.normal((2, *image), index, like.device).unbind()
            mixed: Tensor = torch.cos(angle) * one + torch.sin(angle) * other
            return mixed

        return self.sample(model, shape, steps, rule, start=torch.lerp(ends[:1], ends[1:], share), noise=noise)

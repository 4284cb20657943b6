"""Blurring Diffusion: variance-preserving noise and a heat-equation blur together, one log-SNR for each frequency."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from softdiff_ext.levels import Level
from softdiff_ext.ops import diffuse
from softdiff_ext.processes.base import Process, as_time, check_shape
from softdiff_ext.processes.draws import ImageDraws, standard_normal, stratified_times
from softdiff_ext.processes.network import Model
from softdiff_ext.rules import Markov
from softdiff_ext.schedules import Cosine, sin2_blur

PREDICTIONS = ("eps", "v", "x")


class BlurringDiffusion(Process):
    """z_t = V alpha_t V^T x + sigma_t eps, alpha_t = a_t ((1 - floor) exp(-lam tau_t) + floor), a_t^2 + sigma_t^2 = 1.

    a_t and sigma_t follow the cosine schedule, the blur is sigma_blur_max sin^2(pi t / 2). The start is N(0, I), the loss the
    plain mean squared error of what the network predicts, the default rule the exact posterior.

    Args:
        sigma_blur_max: blur std at t = 1 in pixels, >= 0; 20 is published for images of 32 to 128 pixels (scale it with the
            size of other images), 0 is cosine diffusion without blur.
        floor: smallest gain of the blur, in (0, 1) for "eps" (a noise estimate is divided by alpha), in [0, 1) else.
        logsnr_min, logsnr_max: ends of the cosine schedule in nats, at t = 1 and t = 0.
        prediction: what the network gives: "eps", the noise; "v" = a eps - sigma x; "x", the clean image.
    Raises:
        ValueError: an argument is out of its range.
    Source:
        Hoogeboom & Salimans 2023, Blurring Diffusion Models; no official code.
    """

    default_rule = Markov()

    def __init__(
        self,
        sigma_blur_max: float = 20.0,
        floor: float = 1e-3,
        logsnr_min: float = -10.0,
        logsnr_max: float = 10.0,
        prediction: str = "eps",
    ) -> None:
        super().__init__()
        if not (math.isfinite(sigma_blur_max) and sigma_blur_max >= 0.0):
            raise ValueError(f"BlurringDiffusion: sigma_blur_max must be finite and >= 0, got {sigma_blur_max}")
        if prediction not in PREDICTIONS:
            raise ValueError(f"BlurringDiffusion: prediction must be one of {PREDICTIONS}, got {prediction!r}")
        if not (0.0 <= floor < 1.0) or (floor == 0.0 and prediction == "eps" and sigma_blur_max > 0.0):
            raise ValueError(f'BlurringDiffusion: floor must be in [0, 1), and above 0 for prediction="eps", got {floor}')
        self.cosine = Cosine(logsnr_min, logsnr_max)
        self.sigma_blur_max, self.floor, self.prediction = float(sigma_blur_max), float(floor), prediction

    def level(self, t: float | Tensor) -> Level:
        time = as_time(t)
        tau = sin2_blur(time, self.sigma_blur_max) ** 2 / 2
        return Level(self.cosine.log_a(time), tau, self.cosine.sigma(time), torch.full_like(time, self.floor))

    def prior(
        self,
        shape: Sequence[int],
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
        first: int = 0,
    ) -> Tensor:
        """Start images: N(0, I)."""
        return ImageDraws(generator, first).normal(check_shape(shape), device=device)

    def loss(self, model: Model, x: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, dict[str, float]]:
        """Mean over batch and pixels of (target - output)^2, t stratified uniform; the target is what `prediction` names."""
        t = stratified_times(x.shape[0], generator, x.device)
        eps = standard_normal(x.shape, generator, x.device, x.dtype)
        level = self.level(t)
        output = self.output(model, diffuse(x, level, noise=eps), t)
        loss = torch.mean((self._target(x, eps, level) - output) ** 2)
        return loss, {f"{self.prediction}_mse": float(loss.detach())}

    def _target(self, x: Tensor, eps: Tensor, level: Level) -> Tensor:
        if self.prediction == "eps":
            return eps
        if self.prediction == "x":
            return x
        a, sigma = (
            torch.as_tensor(value).to(x.dtype)[:, None, None, None]
            for value in (torch.exp(torch.as_tensor(level.log_a)), level.sigma)
        )
        return a * eps - sigma * x

"""Soft Diffusion: blur with little noise, trained by soft score matching, sampled with momentum."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from softdiff_ext.levels import Level
from softdiff_ext.ops import dct, diffuse, eigenvalues, idct, soft_score_loss
from softdiff_ext.processes.base import Process, as_time, check_images, check_shape
from softdiff_ext.processes.draws import ImageDraws, stratified_times
from softdiff_ext.processes.network import Model
from softdiff_ext.rules import Momentum
from softdiff_ext.schedules import geometric, interpolate, w2_levels

SIGMA_REACHED = 0.25
"""Time at which the noise reaches its maximum (figure 6 of the paper, as the one public port reads it)."""

LEVELS = 32
"""Nodes of the blur schedule (section on scheduling of the paper)."""

SURVIVES = 1e-6
"""Gain at t = 1 below which a coefficient of a training image is not kept for the prior: far below the noise."""

FITTED = ("sigma_blur_nodes", "kept", "coefficients")


class SoftDiffusion(Process):
    """x_t = V exp(-lam tau_t) V^T x_0 + sigma_t eps with a small sigma_t; the network predicts the residual x_0 - x_t.

    fit(images) comes first: it sets the blur schedule, along which equal times are equal steps of the shortest Wasserstein path
    from the clean to the blurred data, and the prior, which is a random blurred training image with the noise of t = 1.
    The noise grows geometrically to its maximum at t = 0.25 and is constant after.

    Args:
        sigma_blur: blur std at t = 0 and t = 1 in pixels, 0 < first < last; (0.01, 23) is published for 64 pixels (scale the
            last with the size of other images).
        sigma: noise std at t = 0 and from t = 0.25 on, 0 < first <= last.
        corruption: None, the spectral blur; other linear corruptions are not there yet.
        weight_floor: smallest gain that the loss gives a frequency, in [0, 1). 0 is the published loss, which learns nothing
            about frequencies that the blur has wiped out, though the next, sharper level shows what the network says of them.
    Raises:
        ValueError: an argument is out of its range, or a corruption is given.
    Source:
        Daras et al. 2023, Soft Diffusion: Score Matching for General Corruptions; no official code.
    """

    prediction = "x"  # output() adds x_t to the residual that the network gives
    default_rule = Momentum()
    sigma_blur_nodes: Tensor
    kept: Tensor
    coefficients: Tensor

    def __init__(
        self,
        sigma_blur: tuple[float, float] = (0.01, 23.0),
        sigma: tuple[float, float] = (0.01, 0.10),
        corruption: object = None,
        weight_floor: float = 0.0,
    ) -> None:
        super().__init__()
        if corruption is not None:
            raise ValueError(
                f"SoftDiffusion: corruption must be None, only the spectral blur is there so far, got {corruption!r}"
            )
        if not (0.0 < sigma_blur[0] < sigma_blur[1] < math.inf):
            raise ValueError(f"SoftDiffusion: sigma_blur must be finite with 0 < first < last, got {sigma_blur}")
        if not (0.0 < sigma[0] <= sigma[1] < math.inf):
            raise ValueError(f"SoftDiffusion: sigma must be finite with 0 < first <= last, got {sigma}")
        if not 0.0 <= weight_floor < 1.0:
            raise ValueError(f"SoftDiffusion: weight_floor must be in [0, 1), got {weight_floor}")
        self.weight_floor = float(weight_floor)
        self.sigma_blur, self.sigma = (float(sigma_blur[0]), float(sigma_blur[1])), (float(sigma[0]), float(sigma[1]))
        self.register_buffer("sigma_blur_nodes", torch.empty(0, dtype=torch.float64))  # pixels, equally spaced in t
        self.register_buffer("kept", torch.empty(0, 0, dtype=torch.bool))  # [H, W], the coefficients that survive the blur
        self.register_buffer("coefficients", torch.empty(0, 0, 0))  # [N, C, kept.sum()], of the blurred training images

    def level(self, t: float | Tensor) -> Level:
        self._check_fitted()
        time = as_time(t)
        nodes = self.sigma_blur_nodes.to(device=time.device, dtype=torch.float64)
        sigma = geometric(time, *self.sigma, SIGMA_REACHED)
        return Level(torch.zeros_like(time), interpolate(time, nodes) ** 2 / 2, sigma, torch.zeros_like(time))

    @torch.no_grad()
    def fit(self, images: Tensor) -> None:
        """Blur schedule from the power spectrum of images [N, C, H, W] in [-1, 1], prior from their blurred coefficients."""
        check_images(self, images)
        height, width = images.shape[-2:]
        lam = eigenvalues((height, width)).cpu()
        gain = torch.exp(-lam * self.sigma_blur[1] ** 2 / 2)
        kept, power, parts = gain > SURVIVES, torch.zeros_like(lam), []
        for chunk in torch.split(images.detach().cpu(), 1024):
            u = dct(chunk.double())
            power += (u**2).sum(dim=(0, 1)) / len(images)
            parts.append((u * gain)[..., kept].float())
        device = self.sigma_blur_nodes.device
        self.sigma_blur_nodes = torch.from_numpy(w2_levels(power.numpy(), lam.numpy(), self.sigma_blur, LEVELS)).to(device)
        self.kept, self.coefficients = kept.to(device), torch.cat(parts).to(device)

    def prior(
        self,
        shape: Sequence[int],
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
        first: int = 0,
    ) -> Tensor:
        """Start images: randomly chosen training images under the blur and noise of t = 1."""
        self._check_fitted()
        batch, *sizes = check_shape(shape)
        fitted = [self.coefficients.shape[1], *self.kept.shape]
        if sizes != fitted:
            raise ValueError(f"shape: SoftDiffusion was fitted on images {fitted}, got {sizes}")
        own = self.coefficients.device
        u = torch.zeros(batch, *sizes, device=own)
        draws = ImageDraws(generator, first)
        u[..., self.kept] = self.coefficients[draws.choices(len(self.coefficients), batch).to(own)]
        blurred = idct(u).to(own if device is None else device)
        return blurred + self.sigma[1] * draws.normal(blurred.shape, draw=1, device=blurred.device)

    def output(self, model: Model, z_t: Tensor, t: Tensor) -> Tensor:
        """Clean estimate: z_t plus the residual that the network predicts."""
        return z_t + super().output(model, z_t, t)

    def loss(self, model: Model, x: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, dict[str, float]]:
        """Soft score matching: mean over the batch of (sigma_max / sigma_t)^2 ||C_t (x_hat - x)||^2 / (C H W).

        C_t here is V ((1 - weight_floor) exp(-lam tau_t) + weight_floor) V^T, which is the blur for weight_floor = 0. The times
        are stratified uniform. The published weight is 1 / sigma_t^2; the constant sigma_max^2 and the mean over pixels make
        the loss at t >= 0.25 the mean squared error of the blurred estimate, whatever the size of the images.
        """
        t = stratified_times(x.shape[0], generator, x.device)
        level = self.level(t)
        x_hat = self.output(model, diffuse(x, level, generator=generator), t)
        error = soft_score_loss(x_hat, x, replace(level, floor=self.weight_floor)) / max(math.prod(x.shape[1:]), 1)
        weight = (self.sigma[1] / torch.as_tensor(level.sigma)) ** 2
        loss = torch.mean(weight.to(error.dtype) * error)
        return loss, {"weighted_mse": float(loss.detach()), "blurred_mse": float(error.detach().mean())}

    def _check_fitted(self) -> None:
        if self.sigma_blur_nodes.numel() == 0:
            raise RuntimeError("SoftDiffusion: call fit(images) first; its blur schedule and its prior come from the data")

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *args: Any) -> None:
        for name in FITTED:  # take the sizes of the run that is loaded: those of an unfitted process are zero
            if f"{prefix}{name}" in state_dict:
                current, loaded = getattr(self, name), state_dict[f"{prefix}{name}"]
                setattr(self, name, torch.empty(loaded.shape, dtype=current.dtype, device=current.device))
        super()._load_from_state_dict(state_dict, prefix, *args)

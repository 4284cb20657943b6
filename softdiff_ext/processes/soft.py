"""Soft Diffusion: a linear corruption with little noise, trained by soft score matching, sampled with momentum."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from softdiff_ext.corruptions import Corruption, SpectralBlur
from softdiff_ext.levels import Level
from softdiff_ext.linear import LinearLevel, check_linear_rule, linear_diffuse, linear_score_loss, linear_step
from softdiff_ext.ops import diffuse, eigenvalues, soft_score_loss
from softdiff_ext.processes.base import Process, as_time, check_images, check_shape
from softdiff_ext.processes.draws import ImageDraws, Source, noise_source, stratified_times
from softdiff_ext.processes.network import Model
from softdiff_ext.processes.spectra import CHUNK, images_of, spectra_of
from softdiff_ext.rules import Momentum, Rule
from softdiff_ext.sampling import check_rule
from softdiff_ext.schedules import as_number, as_pair, geometric, interpolate
from softdiff_ext.wasserstein import w2_levels, w2_strengths

SIGMA_BLUR = (0.01, 23.0)
"""Published blur std in pixels at t = 0 and t = 1, for images of 64 pixels."""

SIGMA_REACHED = 0.25
"""Time at which the noise reaches its maximum (figure 6 of the paper, as the one public port reads it)."""

START_BYTES = 2**26
"""Corrupted training images kept for the prior of other corruptions than the blur; they are in each checkpoint."""


class SoftDiffusion(Process):
    """x_t = C_t x_0 + sigma_t eps with a linear C_t and a small sigma_t; the network predicts the residual x_0 - x_t.

    fit(images) comes first: it sets the schedule of strengths, along which equal times are equal steps of the shortest
    Wasserstein path from the clean to the corrupted data, and the prior, which is a random corrupted training image with the
    noise of t = 1. The noise grows geometrically to its maximum at t = 0.25 and is constant after.

    Args:
        sigma_blur: for the spectral blur, C_t = V exp(-lam tau_t) V^T: its std at t = 0 and t = 1 in pixels, 0 < first < last;
            (0.01, 23) is published for 64 pixels (scale the last with the size of other images).
        sigma: noise std at t = 0 and from t = 0.25 on, 0 < first <= last.
        corruption: None, the spectral blur, whose kernels work in the DCT basis; or another linear corruption (NestedMask,
            BlockAverage, Grayscale, LinearMap), with the same samplers in pixel space.
        weight_floor: share of C_t that is replaced by the identity in the loss, in [0, 1). 0 is the published loss, which
            learns nothing about what the corruption has wiped out, though the next, weaker level shows what the network says.
    Raises:
        TypeError: corruption is not a Corruption, or a number is none.
        ValueError: an argument is out of its range, or sigma_blur is given beside a corruption.
    Source:
        Daras et al. 2023, Soft Diffusion: Score Matching for General Corruptions; no official code.

    Examples:
        >>> import torch, softdiff_ext as sd
        >>> process = sd.SoftDiffusion(sigma_blur=(0.01, 3.0))
        >>> process.fit(torch.rand(20, 1, 8, 8) * 2 - 1)  # sets the schedule by the data, and the starts
        >>> network = lambda x, t: torch.zeros_like(x)
        >>> process.sample(network, (2, 1, 8, 8), steps=5).shape
        torch.Size([2, 1, 8, 8])
    """

    prediction = "x"  # output() adds x_t to the residual that the network gives
    default_rule = Momentum()
    FITTED = ("nodes", "kept", "coefficients", "starts")
    nodes: Tensor
    kept: Tensor
    coefficients: Tensor
    starts: Tensor

    def __init__(
        self,
        sigma_blur: tuple[float, float] = SIGMA_BLUR,
        sigma: tuple[float, float] = (0.01, 0.10),
        corruption: Corruption | None = None,
        weight_floor: float = 0.0,
    ) -> None:
        super().__init__()
        sigma_blur, sigma = as_pair("SoftDiffusion", "sigma_blur", sigma_blur), as_pair("SoftDiffusion", "sigma", sigma)
        if corruption is None:
            if not (0.0 < sigma_blur[0] < sigma_blur[1] < math.inf):
                raise ValueError(f"SoftDiffusion: sigma_blur must be finite with 0 < first < last, got {sigma_blur}")
            corruption = SpectralBlur(sigma_blur)
        elif sigma_blur != SIGMA_BLUR:
            raise ValueError(f"SoftDiffusion: give sigma_blur or a corruption, got {sigma_blur} and {corruption!r}")
        if missing := [name for name in ("apply", "adjoint", "candidates") if not hasattr(corruption, name)]:
            raise TypeError(
                f"SoftDiffusion: corruption must have apply, adjoint and candidates (see Corruption), "
                f"but {type(corruption).__name__} lacks {', '.join(missing)}"
            )
        if not (0.0 < sigma[0] <= sigma[1] < math.inf):
            raise ValueError(f"SoftDiffusion: sigma must be finite with 0 < first <= last, got {sigma}")
        if not 0.0 <= as_number("SoftDiffusion", "weight_floor", weight_floor) < 1.0:
            raise ValueError(f"SoftDiffusion: weight_floor must be in [0, 1), got {weight_floor}")
        self.corruption, self.weight_floor = corruption, float(weight_floor)
        self.sigma = sigma
        self.register_buffer("nodes", torch.empty(0, dtype=torch.float64))  # strengths (blur: pixels), equally spaced in t
        self.register_buffer("kept", torch.empty(0, 0, dtype=torch.bool))  # [H, W], the coefficients that survive the blur
        self.register_buffer("coefficients", torch.empty(0, 0, 0))  # [N, C, kept.sum()], of the blurred training images
        self.register_buffer("starts", torch.empty(0, 0, 0, 0))  # [N, C, H, W], training images under another corruption

    def level(self, t: float | Tensor) -> Level:
        """Corruption at time t as the kernels of the DCT basis know it.

        Raises:
            ValueError: the corruption is not the spectral blur: `linear_level` describes any.
        """
        if not isinstance(self.corruption, SpectralBlur):
            name = type(self.corruption).__name__
            raise ValueError(f"level: {name} is not diagonal in the DCT basis, so no Level describes it: see linear_level")
        linear = self.linear_level(t)
        blur, sigma = torch.as_tensor(linear.strength), torch.as_tensor(linear.sigma)
        return Level(torch.zeros_like(blur), blur**2 / 2, sigma, torch.zeros_like(blur))

    def linear_level(self, t: float | Tensor) -> LinearLevel:
        """Corruption at time t: the map's strength and the noise, float64, 0-d for a float."""
        self._check_fitted()
        time = as_time(t)
        nodes = self.nodes.to(device=time.device, dtype=torch.float64)
        return LinearLevel(self.corruption, interpolate(time, nodes), self.sigma_at(time))

    def sigma_at(self, t: Tensor) -> Tensor:
        """Noise std at times t."""
        return geometric(t, *self.sigma, SIGMA_REACHED)

    @torch.no_grad()
    def fit(self, images: Tensor) -> None:
        """Schedule and prior from images [N, C, H, W] in [-1, 1].

        The blur's schedule is exact from the power spectrum of all images, and the few coefficients that survive it are kept of
        each. For another corruption `w2_strengths` estimates the schedule, and the corrupted images are kept as they are: up to
        64 MB of them, evenly spaced, or a single one where the corruption leaves the same of all.
        """
        check_images(self, images)
        device, clean = self.nodes.device, images.detach().cpu()
        if isinstance(self.corruption, SpectralBlur):
            self._fit_blur(self.corruption, clean, device)
            return
        nodes = torch.from_numpy(w2_strengths(self.corruption, clean))
        used = clean[:: math.ceil(4 * clean.numel() / START_BYTES)].float()
        parts = [LinearLevel(self.corruption, nodes[-1]).apply(part) for part in torch.split(used, CHUNK)]
        starts = torch.cat(parts)
        if torch.equal(starts, starts[:1].expand_as(starts)):
            starts = starts[:1]
        self.nodes, self.starts = nodes.to(device), starts.clone().to(device)

    def _fit_blur(self, blur: SpectralBlur, images: Tensor, device: torch.device) -> None:
        kept, coefficients, power = spectra_of(images, blur.sigma_blur[1])
        lam = eigenvalues(images.shape[-2:]).cpu()
        self.nodes = torch.from_numpy(w2_levels(power.numpy(), lam.numpy(), blur.sigma_blur)).to(device)
        self.kept, self.coefficients = kept.to(device), coefficients.to(device)

    def prior(
        self,
        shape: Sequence[int],
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
        first: int = 0,
    ) -> Tensor:
        """Start images: randomly chosen training images under the corruption and noise of t = 1."""
        self._check_fitted()
        batch, *sizes = check_shape(shape)
        blur = isinstance(self.corruption, SpectralBlur)
        fitted = [self.coefficients.shape[1], *self.kept.shape] if blur else list(self.starts.shape[1:])
        if sizes != fitted:
            raise ValueError(f"shape: SoftDiffusion was fitted on images {fitted}, got {sizes}")
        own, draws = self.nodes.device, ImageDraws(generator, first)
        chosen = draws.choices(len(self.coefficients) if blur else len(self.starts), batch).to(own)
        corrupted = images_of(self.coefficients[chosen], self.kept) if blur else self.starts[chosen]
        corrupted = corrupted.to(own if device is None else device)
        return corrupted + self.sigma[1] * draws.normal(corrupted.shape, draw=1, device=corrupted.device)

    def output(self, model: Model, z_t: Tensor, t: Tensor) -> Tensor:
        """Clean estimate: z_t plus the residual that the network predicts."""
        return z_t + super().output(model, z_t, t)

    def estimate(self, z_t: Tensor, output: Tensor, t: float | Tensor) -> Tensor:
        """The output itself, which is the clean estimate already."""
        return output

    def signal(self, x: Tensor, t: float) -> Tensor:
        """C_t x."""
        return self.linear_level(t).apply(x)

    def corrupt(self, x: Tensor, t: float | Tensor, noise: Tensor) -> Tensor:
        """x_t = C_t x + sigma_t noise."""
        if isinstance(self.corruption, SpectralBlur):
            return super().corrupt(x, t, noise)
        return linear_diffuse(x, self.linear_level(t), noise)

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
        """One reverse step; in the DCT basis for the blur, in pixel space for another corruption. `output` is clean images."""
        if isinstance(self.corruption, SpectralBlur):
            return super().advance(z_t, output, s, t, rule, noise)
        if noise is None and not rule.adds_noise:
            noise = torch.zeros_like(z_t)  # drawing what is not used would move the caller's random numbers
        return linear_step(z_t, output, self.linear_level(s), self.linear_level(t), rule, noise)

    def check_rule(self, rule: Rule, chosen: Sequence[float]) -> None:
        """As every process, and the corruption must be known well enough for the rule."""
        check_rule(rule, [float(self.sigma_at(as_time(t))) for t in chosen[:-1]], type(self).__name__)
        check_linear_rule(rule, self.corruption)

    def loss(self, model: Model, x: Tensor, generator: Source = None) -> tuple[Tensor, dict[str, Tensor]]:
        """Soft score matching: mean over the batch of (sigma_max / sigma_t)^2 ||C_t (x_hat - x)||^2 / (C H W).

        C_t here is (1 - weight_floor) C_t + weight_floor, which is the corruption for weight_floor = 0. The times are
        stratified uniform. The published weight is 1 / sigma_t^2; the constant sigma_max^2 and the mean over pixels make the
        loss at t >= 0.25 the mean squared error of the corrupted estimate, whatever the size of the images.
        """
        t = stratified_times(x.shape[0], generator, x.device)
        linear = self.linear_level(t)
        if isinstance(self.corruption, SpectralBlur):
            level = self.level(t)
            x_hat = self.output(model, diffuse(x, level, **noise_source(x, generator)), t)
            error = soft_score_loss(x_hat, x, replace(level, floor=self.weight_floor))
        else:
            x_hat = self.output(model, linear_diffuse(x, linear, **noise_source(x, generator)), t)
            error = linear_score_loss(x_hat, x, linear, self.weight_floor)
        error = error / max(math.prod(x.shape[1:]), 1)
        weight = (self.sigma[1] / torch.as_tensor(linear.sigma)) ** 2
        loss = torch.mean(weight.to(error.dtype) * error)
        return loss, {"weighted_mse": loss.detach(), "corrupted_mse": error.detach().mean()}

    def _check_fitted(self) -> None:
        if self.nodes.numel() == 0:
            raise RuntimeError("SoftDiffusion: call fit(images) first; its schedule and its prior come from the data")

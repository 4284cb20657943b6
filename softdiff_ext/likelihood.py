"""Bounds on the likelihood: the terms of the evidence lower bound, as functions of tensors. All in nats unless bits are named.

For a process of docs/architecture.md whose chain of latents is Markov, each frequency i is a variational diffusion model with
gamma_i = -ln(alpha_i^2 / sigma^2) of its own. A step from t to s costs, with u the clean coefficients and u_hat the estimate,

    KL = 1/2 sum_i (e^(-gamma_i(s)) - e^(-gamma_i(t))) (u - u_hat)_i^2
       = 1/2 sum_i expm1(gamma_i(t) - gamma_i(s)) (eps - eps_hat)_i^2

and in the limit of infinitely many steps 1/2 gamma_i'(t) (eps - eps_hat)_i^2 dt.

Source: Kingma et al. 2021, Variational Diffusion Models, sections 3 to 4 and appendix E; per frequency: docs/methods.md.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from softdiff_ext import reference
from softdiff_ext.levels import Level
from softdiff_ext.reference import column

CHUNK = 2**22
"""Numbers that `grid_nats` lays out at once: a pixel times a value each."""


@dataclass(frozen=True)
class BitsPerDimension:
    """An upper bound on -log2 p(x) / (C H W) of each image, and the terms that it is the sum of; each float64 [B].

    Args:
        reconstruction: -log2 p(x | z_0): what is left to say about the image once its cleanest latent is known.
        prior: distance of the most corrupted latent from the start distribution.
        diffusion: the steps between.
    """

    reconstruction: Tensor
    prior: Tensor
    diffusion: Tensor

    @property
    def total(self) -> Tensor:
        return self.reconstruction + self.prior + self.diffusion

    def means(self) -> dict[str, float]:
        """Mean of each term over the images."""
        return {name: float(getattr(self, name).mean()) for name in ("total", "reconstruction", "prior", "diffusion")}


def to_bits(nats: Tensor, x: Tensor) -> Tensor:
    """Nats of an image to bits per dimension of x [B, C, H, W]."""
    return nats / (max(math.prod(x.shape[1:]), 1) * math.log(2.0))


def grid(values: int) -> Tensor:
    """Pixel values 2 (i + 1/2) / values - 1, i = 0 ... values - 1, float64: bin centres of [-1, 1]."""
    return (2.0 * torch.arange(values, dtype=torch.float64) + 1.0) / values - 1.0


def pixel_values(values: int | Sequence[float] | Tensor, name: str) -> Tensor:
    """The values of a pixel as float64 [L]: `grid(values)` for a number of them, or the increasing values themselves.

    Raises:
        ValueError: fewer than two values, or values that do not increase; `name` is who was given them.
    """
    if isinstance(values, int) and not isinstance(values, bool):
        if values < 2:
            raise ValueError(f"{name}: values must be at least 2, got {values}")
        return grid(values)
    chosen = torch.as_tensor(values, dtype=torch.float64)
    if chosen.ndim != 1 or len(chosen) < 2 or not bool(chosen.isfinite().all()) or not bool((chosen.diff() > 0).all()):
        raise ValueError(f"{name}: values must be an int or an increasing list of two or more pixel values, got {values}")
    return chosen


def check_on_grid(x: Tensor, values: Tensor) -> None:
    """Raise ValueError unless each pixel of x is one of the increasing `values`, to a thousandth of their distance."""
    flat = x.detach().double().reshape(-1)
    values = values.to(flat)
    right = torch.searchsorted(values, flat).clamp(1, len(values) - 1)
    off = torch.minimum((flat - values[right - 1]).abs(), (flat - values[right]).abs())
    if flat.numel() and not bool((off <= 1e-3 * values.diff().min()).all()):
        worst = flat[torch.nan_to_num(off, nan=math.inf).argmax()]
        raise ValueError(
            f"x: pixels must be among the {len(values)} values from {float(values[0]):.6g} to {float(values[-1]):.6g} that the "
            f"process was told of (values), got {float(worst):.6g}"
        )


def grid_nats(x: Tensor, gamma_0: Tensor, eps: Tensor, values: Tensor) -> Tensor:
    """-ln p(x | z_0) summed over pixels, z_0 = a_0 x + sigma_0 eps: each pixel a softmax over the values it can take.

    The logits are -1/2 e^(-gamma_0) (z_0 / a_0 - v)^2 with z_0 / a_0 = x + e^(gamma_0 / 2) eps, so
    -ln p = ln sum_v exp(1/2 eps^2 - 1/2 (eps + (x - v) e^(-gamma_0 / 2))^2): the term of the true value is 1.

    Args:
        x: images whose pixels are among `values`, [B, C, H, W].
        gamma_0: -logsnr at t = 0, 0-d.
        eps: the noise of z_0, shape of x.
        values: [L].
    Returns:
        [B], float64. Differentiable in gamma_0.
    """
    scale, wide = torch.exp(-0.5 * gamma_0), torch.promote_types(x.dtype, torch.float32)
    pixels, noise = x.reshape(-1).to(wide), eps.reshape(-1).to(wide)
    nats = []
    for part, fresh in zip(*(torch.split(flat, max(1, CHUNK // len(values))) for flat in (pixels, noise)), strict=True):
        distance = (part[:, None] - values.to(part)) * scale.to(wide)
        nats.append(torch.logsumexp(-distance * (fresh[:, None] + 0.5 * distance), dim=1).double())
    return torch.cat(nats).reshape(x.shape[0], math.prod(x.shape[1:])).sum(dim=1)


def discretised_normal_nats(x: Tensor, mean: Tensor, std: float, values: Tensor) -> Tensor:
    """-ln p(x) summed over pixels, p(v) the mass of N(mean, std^2) between the midpoints around v; the end bins are open.

    Source: Ho et al. 2020, Denoising Diffusion Probabilistic Models, equation 13.
    """
    values, centre = values.to(x.device), mean.double()
    edges = torch.cat([values.new_tensor([-math.inf]), (values[1:] + values[:-1]) / 2, values.new_tensor([math.inf])])
    nearest = torch.searchsorted(edges[1:-1], x.double().contiguous())
    low, high = ((edges[nearest + i] - centre) / std for i in (0, 1))
    # Phi(high) - Phi(low) = Phi(-low) - Phi(-high): of the two the one that does not subtract numbers near 1
    flip = low + high > 0
    low, high = torch.where(flip, -high, low), torch.where(flip, -low, high)
    log_high, log_low = torch.special.log_ndtr(high), torch.special.log_ndtr(low)
    log_mass: Tensor = log_high + torch.log1p(-torch.exp(log_low - log_high))
    return -log_mass.sum(dim=(1, 2, 3))


def prior_nats(u: Tensor, level: Level, lam: Tensor) -> Tensor:
    """KL(q(z_1 | x) || N(0, I)) = 1/2 sum_i [alpha_i^2 u_i^2 + sigma^2 - 1 - ln sigma^2], for a variance-preserving level.

    Args:
        u: clean coefficients in the basis of lam, [B, C, H, W].
        level: the level at t = 1, with a^2 + sigma^2 = 1.
        lam: eigenvalues, broadcasts to [H, W].
    Returns:
        [B], float64.
    """
    log_a2 = 2.0 * torch.as_tensor(level.log_a, dtype=torch.float64, device=u.device)
    constant = -torch.exp(log_a2) - torch.log(-torch.expm1(log_a2))  # sigma^2 - 1 = -a^2, both without 1 - sigma^2
    signal = (reference.alpha(level, lam) ** 2 * u.double() ** 2).sum(dim=(1, 2, 3))
    return 0.5 * (signal + math.prod(u.shape[1:]) * constant)


def gamma_step(s: Level, t: Level, gap: Tensor, lam: Tensor) -> Tensor:
    """gamma_i(t) - gamma_i(s) per frequency, [B or 1, 1, H, W] float64, without the ratio of two small gains.

    Args:
        s, t: the cleaner and the noisier level, of one floor.
        gap: the difference of the scalar gammas (of a and sigma alone), [] or [B].
    """
    dev = lam.device
    lost = torch.expm1(-lam * (column(t.tau, dev) - column(s.tau, dev)))
    floor = column(t.floor, dev)
    kept = (1.0 - floor) * torch.exp(-lam * column(s.tau, dev))
    gain_s = torch.where(floor > 0, kept + floor, 1.0)  # without a floor ln(d_t / d_s) is -lam (tau_t - tau_s)
    exact = -lam * (column(t.tau, dev) - column(s.tau, dev))
    log_gain = torch.where(floor > 0, torch.log1p(torch.where(floor > 0, kept * lost / gain_s, 0.0)), exact)
    return gap.reshape(-1, 1, 1, 1) - 2.0 * log_gain


def gamma_rate(t: Level, slope: Tensor, tau_slope: Tensor, lam: Tensor) -> Tensor:
    """d gamma_i / dt per frequency, [B or 1, 1, H, W] float64, from the slopes of the scalar gamma and of tau, [] or [B]."""
    dev = lam.device
    floor = column(t.floor, dev)
    kept = (1.0 - floor) * torch.exp(-lam * column(t.tau, dev))
    share = torch.where(floor > 0, kept / torch.where(floor > 0, kept + floor, 1.0), 1.0)
    return slope.reshape(-1, 1, 1, 1) + 2.0 * share * lam * tau_slope.reshape(-1, 1, 1, 1)


def step_weight(s: Level, t: Level, step: Tensor, prediction: str, lam: Tensor) -> Tensor:
    """What the squared error of a network's output weighs in twice the KL of the step t -> s, broadcasts to [B, 1, H, W].

    Args:
        step: gamma_i(t) - gamma_i(s) (`gamma_step`).
        prediction: what the network gives: "eps", "x" or "v".
    """
    if prediction == "eps":
        return torch.expm1(step)
    # e^(-gamma_s) - e^(-gamma_t) in the form that stays finite where the frequency is lost altogether at t
    snr_s = (reference.alpha(s, lam) / column(s.sigma, lam.device)) ** 2
    return -snr_s * torch.expm1(-step) * _clean_per_output(t, prediction, lam) ** 2


def rate_weight(t: Level, rate: Tensor, prediction: str, lam: Tensor) -> Tensor:
    """The same per unit of time for infinitely many steps, from d gamma_i / dt (`gamma_rate`)."""
    if prediction == "eps":
        return rate
    snr = (reference.alpha(t, lam) / column(t.sigma, lam.device)) ** 2
    return snr * rate * _clean_per_output(t, prediction, lam) ** 2


def _clean_per_output(t: Level, prediction: str, lam: Tensor) -> Tensor | float:
    """Size of the error of the clean estimate over that of the output."""
    if prediction == "x":
        return 1.0
    sigma, a = column(t.sigma, lam.device), torch.exp(column(t.log_a, lam.device))  # "v": see reference.step_coefficients
    return sigma / (a * reference.alpha(t, lam) + sigma**2)


def weighted_nats(error: Tensor, weight: Tensor) -> Tensor:
    """1/2 sum_i weight_i error_i^2 of each image, [B], float64 (or the gradient's path to it)."""
    wide = torch.promote_types(error.dtype, torch.float32)
    return 0.5 * (weight.to(wide) * error.to(wide) ** 2).sum(dim=(1, 2, 3)).double()

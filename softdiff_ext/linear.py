"""The forward marginal, the loss and the reverse step of any linear corruption, in pixel space.

x_t = C_t x_0 + sigma_t eps, and each step is x_s = C_s x_hat + kappa (x_t - C_t x_hat) + omega eta with the kappa and omega of
the rules. For the spectral blur `diffuse`, `step` and `soft_score_loss` do the same in the DCT basis, in one kernel.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from softdiff_ext.corruptions import Corruption, Diagonal
from softdiff_ext.levels import Level
from softdiff_ext.ops.checks import check_generator, check_images, check_same
from softdiff_ext.ops.noise import draw_seed, noise_like
from softdiff_ext.reference import accumulation_dtype, column, kappa_omega
from softdiff_ext.rules import Markov, Rule


@dataclass(frozen=True)
class LinearLevel:
    """How strongly an image is corrupted: x_t = C_strength x_0 + sigma eps.

    Args:
        corruption: the family of maps.
        strength: in the corruption's own unit.
        sigma: std of the additive white noise in data units, >= 0.
    strength and sigma are floats, or float64 tensors: 0-d, or [B] with one number for each image.
    """

    corruption: Corruption
    strength: float | Tensor
    sigma: float | Tensor = 0.0

    def apply(self, x: Tensor) -> Tensor:
        """C x, differentiable to any order in x by the corruption's own adjoint."""
        strength = torch.as_tensor(self.strength, dtype=torch.float64, device=x.device).expand(x.shape[0])
        result: Tensor = _Map.apply(x, self.corruption, strength, False)  # type: ignore[no-untyped-call]
        return result


class _Map(torch.autograd.Function):
    """C x with the backward pass C^T, whose backward pass is C again."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, corruption: Corruption, strength: Tensor, transposed: bool) -> Tensor:
        ctx.corruption, ctx.strength, ctx.transposed = corruption, strength, transposed
        name = "adjoint" if transposed else "apply"
        result: Tensor = getattr(corruption, name)(x, strength)
        if result.shape != x.shape:
            kind = type(corruption).__name__
            raise ValueError(f"{kind}.{name}: must keep the shape of its images = {list(x.shape)}, got {list(result.shape)}")
        return result.clone() if result is x else result.to(x.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        return _Map.apply(grad, ctx.corruption, ctx.strength, not ctx.transposed), None, None, None  # type: ignore[no-untyped-call]


def linear_diffuse(
    x: Tensor, level: LinearLevel, noise: Tensor | None = None, generator: torch.Generator | None = None
) -> Tensor:
    """Corrupt clean images to a level: x_t = C x + sigma n, n ~ N(0, I).

    Args:
        x: clean images, [B, C, H, W], floating.
        level: the corruption level, one for the batch or one for each image.
        noise: n, shape and dtype of x; None draws it.
        generator: where the seed of drawn noise comes from; None is torch's default generator.
    Returns:
        x_t, shape and dtype of x.
    Raises:
        TypeError, ValueError: as `diffuse`, or the corruption refuses the images or the strength.
    Note:
        Differentiable to any order in x and noise.
    """
    check_images("linear_diffuse", "x", x)
    check_generator("linear_diffuse", noise, generator)
    if noise is not None:
        check_same("linear_diffuse", "x", x, "noise", noise)
    corrupted = level.apply(x)
    drawn = noise_like(x, draw_seed(generator, tracing=False)) if noise is None else noise
    return _sum((1.0, corrupted), (column(level.sigma, x.device), drawn))


def linear_score_loss(x_hat: Tensor, x: Tensor, level: LinearLevel, weight_floor: float = 0.0) -> Tensor:
    """Squared error as the corruption sees it: || C (x_hat - x) ||^2 for each image, [B]; its gradient is 2 C^T C (x_hat - x).

    Args:
        x_hat: estimate of the clean images, [B, C, H, W], floating.
        x: clean images, shape and dtype of x_hat.
        level: whose map weighs the error; its sigma plays no part.
        weight_floor: take (1 - weight_floor) C + weight_floor for C, so that what C wipes out still counts.
    Returns:
        [B], float32 for 16-bit inputs, else in the dtype of x; a sum over channels and pixels, not a mean.
    Raises:
        TypeError, ValueError: as `soft_score_loss`, or the corruption refuses the images or the strength.
    Source:
        Daras et al. 2023, Soft Diffusion: Score Matching for General Corruptions, section 3.1.
    """
    check_images("linear_score_loss", "x_hat", x_hat)
    check_same("linear_score_loss", "x_hat", x_hat, "x", x)
    wide = accumulation_dtype(x.dtype)
    error = x_hat.to(wide) - x.to(wide)
    return torch.lerp(level.apply(error), error, weight_floor).square().sum(dim=(1, 2, 3))


def linear_step(
    x_t: Tensor,
    x_hat: Tensor,
    s: LinearLevel,
    t: LinearLevel,
    rule: Rule,
    noise: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """One reverse step from level t to the cleaner level s: x_s = C_s x_hat + kappa (x_t - C_t x_hat) + omega eta.

    With Markov() kappa and omega are functions of C_s and C_t: the exact posterior of the chain x_t = C_t C_s^+ x_s + noise.
    They are known where the corruption is `Diagonal`; what C_s has lost already, the chain forgets.

    Args:
        x_t: corrupted images at level t, [B, C, H, W], floating.
        x_hat: clean images or their estimate, shape and dtype of x_t.
        s: cleaner level.
        t: noisier level, of the same corruption.
        rule: Markov(), Momentum(), DDIM(), Naive() or Cold().
        noise: eta, shape and dtype of x_t; None draws it.
        generator: where the seed of drawn noise comes from; None is torch's default generator.
    Returns:
        x_s, shape and dtype of x_t.
    Raises:
        TypeError: a tensor is not floating, dtypes differ, or rule is not a Rule.
        ValueError: shapes or devices differ, the levels have different corruptions, s is stronger than t, or the rule is Markov
            and the corruption not `Diagonal`.
    Source:
        Daras et al. 2023, Soft Diffusion, section on sampling; docs/architecture.md has the table of rules.
    """
    check_images("linear_step", "x_t", x_t)
    check_same("linear_step", "x_t", x_t, "x_hat", x_hat)
    check_generator("linear_step", noise, generator)
    if noise is not None:
        check_same("linear_step", "x_t", x_t, "noise", noise)
    _check_levels(s, t)
    check_linear_rule(rule, t.corruption)
    drawn = noise_like(x_t, draw_seed(generator, tracing=False)) if noise is None else noise
    if isinstance(rule, Markov):
        return _markov(x_t, x_hat, s, t, drawn)
    # without blur, per-frequency coefficients are one number: those of the rules
    kappa, omega = kappa_omega(
        Level(sigma=s.sigma), Level(sigma=t.sigma), rule, torch.zeros(1, 1, dtype=torch.float64, device=x_t.device)
    )
    return _sum((1.0, s.apply(x_hat)), (kappa, x_t), (-kappa, t.apply(x_hat)), (omega, drawn))


def check_linear_rule(rule: Rule, corruption: Corruption) -> None:
    """Raise ValueError where a rule needs to know more of the corruption than what it does to images."""
    if isinstance(rule, Markov) and not isinstance(corruption, Diagonal):
        raise ValueError(
            f"rule: Markov needs the eigenvectors of the corruption, to keep of each what the next level has not lost; "
            f"{type(corruption).__name__} is known by what it does to images only. Take Momentum(exact=True) or DDIM()"
        )


def _markov(x_t: Tensor, x_hat: Tensor, s: LinearLevel, t: LinearLevel, noise: Tensor) -> Tensor:
    corruption, dev = t.corruption, x_t.device
    assert isinstance(corruption, Diagonal)
    gain_s, gain_t = (corruption.gains(level.strength, x_t.shape, dev) for level in (s, t))
    sigma_s, sigma_t = column(s.sigma, dev), column(t.sigma, dev)
    ratio = torch.where(gain_s > 0, gain_t / torch.where(gain_s > 0, gain_s, 1.0), 0.0)
    r = torch.where(sigma_t > 0, sigma_s / torch.where(sigma_t > 0, sigma_t, 1.0), 1.0)
    kappa, omega = ratio * r**2, sigma_s * (1.0 - (ratio * r) ** 2).clamp_min(0.0).sqrt()
    terms = ((x_hat, gain_s - kappa * gain_t), (x_t, kappa), (noise, omega))
    return _sum(*((1.0, corruption.filter(image, gain)) for image, gain in terms))


def _check_levels(s: LinearLevel, t: LinearLevel) -> None:
    for name, level in (("s", s), ("t", t)):
        if not isinstance(level, LinearLevel):
            raise TypeError(f"linear_step: {name} must be a LinearLevel, got {type(level).__name__}")
    if s.corruption is not t.corruption:
        raise ValueError("linear_step: s and t must have the same corruption")
    for name in ("strength", "sigma"):
        first, second = (torch.as_tensor(getattr(level, name), dtype=torch.float64) for level in (s, t))
        if first.device.type == second.device.type == "cpu" and bool((first > second).any()):
            raise ValueError(
                f"linear_step: s must not be stronger than t, but {name} is {first.tolist()} and {second.tolist()}"
            )


def _sum(*terms: tuple[float | Tensor, Tensor]) -> Tensor:
    """sum_i factor_i image_i in the accumulation dtype of the images, returned in theirs."""
    dtype = terms[0][1].dtype
    wide = accumulation_dtype(dtype)
    parts = [image.to(wide) * (factor.to(wide) if isinstance(factor, Tensor) else factor) for factor, image in terms]
    return sum(parts[1:], start=parts[0]).to(dtype)

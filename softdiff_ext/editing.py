"""Image to image with a trained network: sharpen and enlarge, fill in, and interpolate. Any process, any rule it accepts."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from softdiff_ext.ops.checks import check_images
from softdiff_ext.processes import ImageDraws, Process, SoftDiffusion
from softdiff_ext.processes.base import as_time
from softdiff_ext.rules import Rule
from softdiff_ext.sampling import Noise, reverse, times


@torch.no_grad()
def restore(
    process: Process,
    model: Callable[..., object],
    images: Tensor,
    *,
    t: float | None = None,
    sigma_blur: float | None = None,
    strength: float | None = None,
    steps: int | Sequence[float] = 50,
    rule: Rule | None = None,
    generator: torch.Generator | None = None,
    known: Tensor | None = None,
) -> Tensor:
    """Undo a corruption that an image already has: start the reverse run at the time whose corruption it is.

    Args:
        process, model: a fitted process and its network, in evaluation mode.
        images: corrupted images without noise, [B, C, H, W]; the noise of the starting level is added to them.
        t: the starting time in (0, 1]; or, one of the three,
        sigma_blur: the blur of the images in pixels, of a process that blurs; or
        strength: their corruption in the unit of SoftDiffusion's, such as 1 / 2 for blocks of 2 under BlockAverage((2, 4)).
        steps: number of equal steps, or the times themselves, falling strictly from the starting time to 0. A process with
            levels starts between two of them where t or sigma_blur says so, and then takes a number of steps by its levels
            (`level_times`): as many at most as there are below the start.
        rule: as for `Process.sample`.
        generator: source of every draw.
        known: which pixels of `images` are clean already, bool, broadcasts to images. They are put into every clean estimate,
            so that the result has them exactly.
    Returns:
        Clean estimates, [B, C, H, W].
    Raises:
        TypeError, ValueError: not exactly one of t, sigma_blur and strength is given, it is out of the process's range, known
            is not a fitting bool tensor, or the rule does not fit. Nothing is computed before.

    Examples:
        >>> import torch, softdiff_ext as sd
        >>> process = sd.SoftDiffusion(sigma_blur=(0.01, 3.0))
        >>> images = torch.rand(20, 1, 8, 8) * 2 - 1
        >>> process.fit(images)
        >>> network = lambda x, t: torch.zeros_like(x)  # a trained one predicts what is missing
        >>> sd.restore(process, network, sd.dct_blur(images[:2], 1.0**2 / 2), sigma_blur=1.0, steps=5).shape
        torch.Size([2, 1, 8, 8])
    """
    start = _starting_time(process, t, sigma_blur, strength)
    chosen, rule = _times(process, steps, start), process.default_rule if rule is None else rule
    process.check_rule(rule, chosen)
    check_images("restore", "images", images)
    _check_known(images, known)
    draws = ImageDraws(generator)
    scale, sigma = _scale_and_sigma(process, start)
    z = scale * images + sigma * draws.normal(images.shape, device=images.device).to(images.dtype)
    return _run(process, model, z, chosen, rule, draws, images, known)


@torch.no_grad()
def inpaint(
    process: Process,
    model: Callable[..., object],
    images: Tensor,
    known: Tensor,
    *,
    steps: int | Sequence[float] = 50,
    rule: Rule | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Fill in pixels with a process that was not trained for it: a whole run in which each clean estimate gets the known ones.

    A process with NestedMask knows which pixels are missing: there `restore(strength=...)` with `known` is the better way.

    Args:
        images: floating, [B, C, H, W]; pixels that are not known may hold anything finite.
        known: bool, broadcasts to images.
        process, model, steps, rule, generator: as for `Process.sample`.
    Returns:
        Images [B, C, H, W] with the known pixels as they were.
    Raises:
        TypeError, ValueError: known is not a fitting bool tensor, or as `Process.sample`.
    Source:
        Wang et al. 2022, Zero-Shot Image Restoration Using Denoising Diffusion Null-Space Model, for this replacement.

    Examples:
        >>> import torch, softdiff_ext as sd
        >>> images, known = torch.rand(2, 1, 8, 8), torch.zeros(8, 8, dtype=torch.bool)
        >>> known[:, :4] = True  # the left half
        >>> network = lambda z, t: torch.zeros_like(z)
        >>> filled = sd.inpaint(sd.BlurringDiffusion(), network, images, known, steps=5)
        >>> torch.equal(filled[..., :4], images[..., :4])
        True
    """
    chosen, rule = _times(process, steps, 1.0), process.default_rule if rule is None else rule
    process.check_rule(rule, chosen)
    check_images("inpaint", "images", images)
    _check_known(images, known)
    z = process.prior(images.shape, generator=generator, device=images.device).to(images.dtype)
    return _run(process, model, z, chosen, rule, ImageDraws(generator), images, known)


@torch.no_grad()
def interpolate(
    process: Process,
    model: Callable[..., object],
    first: Tensor,
    second: Tensor,
    count: int,
    *,
    t: float,
    steps: int | Sequence[float] = 50,
    rule: Rule | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """A path between two images: corrupt both to time t, mix linearly in the corrupted image and spherically in all noise.

    Args:
        first, second: clean images, [C, H, W].
        count: images on the path, at least 2; its ends are the two images as the network gives them back from time t.
        t: in (0, 1]; the larger, the freer the path.
        process, model, steps, rule, generator: as for `restore`.
    Returns:
        Images [count, C, H, W].
    Raises:
        ValueError: the images do not have one shape [C, H, W], count is below 2, or as `restore`.
    Source:
        Rissanen et al. 2022, Generative Modelling with Inverse Heat Dissipation, on interpolation.

    Examples:
        >>> import torch, softdiff_ext as sd
        >>> first, second = torch.rand(2, 1, 8, 8) * 2 - 1
        >>> network = lambda z, t: torch.zeros_like(z)
        >>> sd.interpolate(sd.BlurringDiffusion(), network, first, second, count=5, t=0.5, steps=5).shape
        torch.Size([5, 1, 8, 8])
    """
    if first.ndim != 3 or first.shape != second.shape:
        raise ValueError(f"interpolate: images must have one shape [C, H, W], got {list(first.shape)} and {list(second.shape)}")
    if count < 2:
        raise ValueError(f"interpolate: count must be at least 2, got {count}")
    start = _starting_time(process, t, None, None)
    chosen, rule = _times(process, steps, start), process.default_rule if rule is None else rule
    process.check_rule(rule, chosen)
    share = torch.linspace(0.0, 1.0, count, dtype=torch.float64, device=first.device).reshape(-1, 1, 1, 1)
    draws, cos, sin = ImageDraws(generator), torch.cos(share * (math.pi / 2)), torch.sin(share * (math.pi / 2))

    def mixed(draw: int, like: Tensor) -> Tensor:
        one, other = draws.normal((2, *first.shape), draw, like.device).unbind()
        return (cos * one + sin * other).to(like.dtype)

    ends = process.signal(torch.stack([first, second]), start)
    z = torch.lerp(ends[:1].double(), ends[1:].double(), share).to(first.dtype)
    z = z + _scale_and_sigma(process, start)[1] * mixed(0, z)
    return process.reverse(model, z, chosen, rule, lambda index, like: mixed(index + 1, like))


def _scale_and_sigma(process: Process, t: float) -> tuple[float, float]:
    """The scale a that corrupted images have at time t beside their blur, and the noise."""
    if isinstance(process, SoftDiffusion):
        return 1.0, float(process.linear_level(t).sigma)
    level = process.level(t)
    return float(torch.as_tensor(level.log_a).exp()), float(level.sigma)


def _times(process: Process, steps: int | Sequence[float], start: float) -> list[float]:
    return process.level_times(steps, start) if isinstance(steps, int) else times(steps, start)


def _starting_time(process: Process, t: float | None, sigma_blur: float | None, strength: float | None) -> float:
    given = {"t": t, "sigma_blur": sigma_blur, "strength": strength}
    values = {name: value for name, value in given.items() if value is not None}
    if len(values) != 1:
        raise ValueError(f"restore: give exactly one of t, sigma_blur and strength, got {sorted(values)}")
    ((name, wanted),) = values.items()
    if name == "t":
        if not 0.0 < wanted <= 1.0:
            raise ValueError(f"t: must be in (0, 1], got {wanted}")
        return float(wanted)
    if name == "strength" and not isinstance(process, SoftDiffusion):
        raise ValueError(f"restore: strength is SoftDiffusion's, {type(process).__name__} has sigma_blur or t")

    def amount(time: float) -> float:
        if name == "strength":
            assert isinstance(process, SoftDiffusion)
            return float(process.linear_level(time).strength)
        return math.sqrt(2.0 * float(process.level(as_time(time)).tau))

    low, high = 0.0, 1.0
    if not amount(low) < wanted <= amount(high):
        raise ValueError(f"restore: {name} must be in ({amount(low):.4g}, {amount(high):.4g}], got {wanted}")
    for _ in range(60):  # both only grow with t; 60 halvings reach the last bit of a time
        middle = (low + high) / 2
        low, high = (middle, high) if amount(middle) < wanted else (low, middle)
    return high


def _check_known(images: Tensor, known: Tensor | None) -> None:
    if known is None:
        return
    if not isinstance(known, Tensor) or known.dtype != torch.bool:
        raise TypeError(f"known: must be a bool tensor, got {getattr(known, 'dtype', type(known).__name__)}")
    sizes = zip(reversed(known.shape), reversed(images.shape), strict=False)
    if known.ndim > images.ndim or any(k not in (1, n) for k, n in sizes):
        raise ValueError(f"known: must broadcast to the images' shape {list(images.shape)}, got {list(known.shape)}")


def _run(
    process: Process,
    model: Callable[..., object],
    z: Tensor,
    chosen: Sequence[float],
    rule: Rule,
    noise: Noise,
    images: Tensor,
    known: Tensor | None,
) -> Tensor:
    """`Process.reverse`, with the known pixels put into each clean estimate."""
    if known is None:
        return process.reverse(model, z, chosen, rule, noise)
    mask = known.to(images.device)

    def predict(z_t: Tensor, t: float) -> Tensor:
        x_hat = process.denoise(model, z_t, t)
        return torch.where(mask, images, x_hat)

    def advance(index: int, z_t: Tensor, x_hat: Tensor, s: float, t: float) -> Tensor:
        fresh = noise(index, z_t) if rule.adds_noise else torch.zeros_like(z_t)
        return process.advance(z_t, x_hat, s, t, rule, fresh, prediction="x")

    return reverse(predict, advance, lambda z_t, x_hat, t: x_hat, z, chosen)

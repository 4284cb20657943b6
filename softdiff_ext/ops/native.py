"""The kernels for whoever answers for the arguments: checked, and not looked at by autograd. The only caller of `_C`'s kernels
besides `Operator.quick`, which is for everybody else."""

from __future__ import annotations

from typing import TypeAlias

import torch
from torch import Tensor

from softdiff_ext import _C, reference
from softdiff_ext.levels import Level
from softdiff_ext.reference import accumulation_dtype
from softdiff_ext.rules import DDIM, Cold, Markov, Momentum, Naive, Rule

Numbers: TypeAlias = tuple[float, float, float, float]
Packed: TypeAlias = "Tensor | Numbers"
"""A level as the operators pass it on: float64 [1 or B, 4], or four plain numbers (eager calls without tensors)."""
Seed: TypeAlias = "int | Tensor | None"
"""An int, or a 0-d int64 tensor on the device of the images (not the CPU), where the kernel reads it."""
MAX_SEED = 2**63 - 1


def _plain(x: Tensor | None) -> Tensor | None:
    """The same values without a pending negation, which the memory would not show."""
    return x.resolve_neg() if x is not None and x.is_neg() else x


def pack(level: Level, device: torch.device, traced: bool) -> Packed:
    if traced or level.tensors:
        return level.packed(device)
    log_a, tau, sigma, floor = level
    return float(log_a), float(tau), float(sigma), float(floor)


def unpack(level: Packed) -> Level:
    if isinstance(level, Tensor):
        return Level(*(column if level.shape[0] > 1 else column[0] for column in level.unbind(1)))
    return Level(*level)


def native(x: Tensor) -> bool:
    """Whether kernels run on x's device; elsewhere the reference formulas do."""
    return x.is_cpu or (x.is_cuda and _C.cuda_compiled)


def on_host(x: Tensor) -> bool:
    """Whether values like those of x can be looked at without waiting for a device."""
    return x.is_cpu


def seed_for(like: Tensor, seed: int | Tensor | None) -> int | Tensor | None:
    """A seed as the kernels on the device of `like` take it: a tensor stays one where they read it there."""
    if isinstance(seed, Tensor) and (on_host(like) or seed.device != like.device or not native(like)):
        return int(seed) & MAX_SEED
    return seed


def draw_device_seed(generator: torch.Generator | None, device: int) -> int | Tensor:
    """A seed from a generator of CUDA device number `device`, without a wait; a tensor there while a CUDA graph is captured."""
    return _C.draw_device_seed(generator, device)


def rule_of(code: int, parameter: float) -> Rule:
    rules: dict[int, Rule] = {0: Markov(), 4: Cold()}
    if code == Momentum.code:
        return Momentum(exact=bool(parameter))
    if code == DDIM.code:
        return DDIM(eta=parameter)
    if code == Naive.code:
        return Naive(std=None if parameter < 0 else parameter)
    return rules[code]


def transform(x: Tensor, ndim: int, inverse: bool) -> Tensor:
    """DCT-II or inverse over the last 1 or 2 dimensions of a tensor of any rank >= ndim."""
    if x.numel() == 0:
        return torch.empty(x.shape, dtype=x.dtype, device=x.device)
    # Leading dimensions as one: a tensor of many need not have them evenly spaced.
    merged = x.resolve_neg().reshape(-1, *x.shape[-ndim:])
    return _computed(_C.transform(None, merged, ndim, inverse)).view(x.shape)


def transform_depth(x: Tensor, inverse: bool) -> Tensor:
    """DCT-II or inverse over the third to last dimension of a contiguous tensor that is not empty; on the CPU in its place."""
    if not on_host(x):  # its kernels have no pass over the depth alone
        return transform(x.movedim(-3, -1), 1, inverse).movedim(-1, -3).contiguous()
    lines = x.view(-1, x.shape[-3], x.shape[-2] * x.shape[-1])
    return _computed(_C.transform(None, lines, -2, inverse)).view(x.shape)


def filter_sum(images: list[Tensor | None], gains: list[Tensor | None]) -> Tensor:
    """V sum_i (gain_i . V^T image_i); gains in the accumulation dtype, broadcast to the images."""
    terms = [_plain(x) for pair in zip(images, gains, strict=True) for x in pair]
    return _computed(_C.filter_sum(None, *terms))


def level_filter(prefix: str, x: Tensor | None, noise: Tensor | None, seed: Seed, level: Packed, power: int) -> Tensor:
    """V (alpha^power . V^T x) + sigma noise, leaving out what is None."""
    return _computed(_C.level_filter(None, prefix, _plain(x), _plain(noise), seed, level, power))


def step(
    op: str,
    output: Tensor | None,
    z_t: Tensor | None,
    noise: Tensor | None,
    seed: Seed,
    s: Packed,
    t: Packed,
    rule: int,
    parameter: float,
    prediction: str,
) -> Tensor:
    """V (p . V^T output + q . V^T z_t + w . V^T noise), leaving out what is None."""
    images = _plain(output), _plain(z_t), _plain(noise)
    return _computed(_C.step(None, op, *images, seed, s, t, rule, parameter, prediction))


def _computed(result: Tensor | None) -> Tensor:
    """Kernels decline only what nobody answers for."""
    assert result is not None
    return result


def step_variance(op: str, s: Packed, t: Packed, rule: int, parameter: float, prediction: str, like: Tensor) -> Tensor:
    """The variance per frequency of a step's noise, [B, 1, H, W] in the accumulation dtype."""
    maps = torch.empty((like.shape[0], 3, *like.shape[2:]), dtype=accumulation_dtype(like.dtype), device=like.device)
    _C.step_coefficients(op, maps, s, t, rule, parameter, prediction)
    return maps[:, 2:].square()


def energy(a: Tensor, b: Tensor, level: Packed) -> Tensor:
    """sum over c, f of (alpha . V^T (a - b))^2, [B] in the accumulation dtype."""
    if a.shape[1] == 0:
        return torch.zeros(a.shape[0], dtype=accumulation_dtype(a.dtype), device=a.device)
    return _computed(_C.energy(None, a.resolve_neg(), b.resolve_neg(), level))


def correlation(x: Tensor, y: Tensor, sum_batch: bool, sum_channels: bool) -> Tensor:
    """(V^T x)(V^T y) summed over the batch or the channels, [B or 1, C or 1, H, W] in the accumulation dtype."""
    shape = (1 if sum_batch else x.shape[0], 1 if sum_channels else x.shape[1], *x.shape[2:])
    wide = accumulation_dtype(x.dtype)
    if x.numel() == 0:
        return torch.zeros(shape, dtype=wide, device=x.device)
    if not on_host(x):  # no kernel of its own there: two transforms and their product
        return (transform(x.to(wide), 2, False) * transform(y.to(wide), 2, False)).sum_to_size(shape)
    return _computed(_C.correlation(None, x.resolve_neg(), y.resolve_neg(), sum_batch, sum_channels))


def normal(shape: tuple[int, ...], seed: int | Tensor, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Standard normal numbers, on a device without kernels by way of the CPU."""
    out = torch.empty(shape, dtype=dtype, device=device)
    if on_host(out) or native(out):
        own = seed_for(out, seed)
        assert own is not None
        _C.normal(out, own)
        return out
    return normal(shape, int(seed), dtype, torch.device("cpu")).to(device)


def check_level_values(prefix: str, level: Level, like: Tensor) -> None:
    """Raise ValueError where a value of a level is out of range; inside tensors on a device that would cost a wait."""
    if on_host(like) or not level.tensors:
        _C.check_level(prefix, like.shape[0], pack(_detached(level), like.device, False))


def check_step_values(op: str, s: Level, t: Level, rule: Rule, prediction: str, like: Tensor) -> None:
    if on_host(like) or not (s.tensors or t.tensors):
        cleaner, noisier = (pack(_detached(level), like.device, False) for level in (s, t))
        _C.check_step(op, like.shape[0], cleaner, noisier, rule.code, prediction)


def _detached(level: Level) -> Level:
    return Level(*(value.detach() if isinstance(value, Tensor) else value for value in level))


def lam_of(x: Tensor) -> Tensor:
    return reference.eigenvalues((x.shape[-2], x.shape[-1]), device=x.device)

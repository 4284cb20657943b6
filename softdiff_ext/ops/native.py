"""From tensors to what the native module takes: pointers, strides, plain numbers. The only caller of `_C`'s kernels."""

from __future__ import annotations

from typing import TypeAlias

import torch
from torch import Tensor

from softdiff_ext import _C, reference
from softdiff_ext.levels import Level
from softdiff_ext.reference import accumulation_dtype
from softdiff_ext.rules import DDIM, PREDICTIONS, Cold, Markov, Momentum, Naive, Rule

Numbers: TypeAlias = tuple[float, float, float, float]
Packed: TypeAlias = "Tensor | Numbers"
"""A level as the operators pass it on: float64 [1 or B, 4], or four plain numbers (eager calls without tensors)."""
Operand: TypeAlias = tuple[int, tuple[int, ...]]

_DTYPE = {torch.float64: 0, torch.float32: 1, torch.float16: 2, torch.bfloat16: 3}


def _operand(x: Tensor | None) -> Operand | None:
    if x is None:
        return None
    return x.data_ptr(), x.stride()


def _level(level: Packed) -> Numbers | tuple[int, int]:
    if isinstance(level, Tensor):
        return level.data_ptr(), level.shape[0]
    return level


def _plain(x: Tensor | None) -> Tensor | None:
    """The same values without a pending negation, which data_ptr would not show."""
    return x.resolve_neg() if x is not None and x.is_neg() else x


def _packed(level: Packed) -> Packed:
    """The kernels read a level's four fields at neighbouring addresses."""
    return level.contiguous() if isinstance(level, Tensor) else level


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
    """Whether the kernels run on x's device; elsewhere the reference formulas do, until the CUDA kernels are there."""
    return x.device.type == "cpu"


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
    out = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    if x.numel() == 0:
        return out
    shape = (1, 1, -1, x.shape[-1]) if ndim == 1 else x.shape if x.ndim == 4 else (1, -1, *x.shape[-2:])
    source = x.reshape(shape).resolve_neg()
    _C.transform(
        out.data_ptr(),
        _DTYPE[x.dtype],
        tuple(source.shape),
        (source.data_ptr(), source.stride()),
        inverse,
        ndim == 1,
        torch.get_num_threads(),
    )
    return out


def filter_sum(images: list[Tensor | None], gains: list[Tensor | None], like: Tensor) -> Tensor:
    """V sum_i (gain_i . V^T image_i); gains in the accumulation dtype, broadcast to the images."""
    out = torch.empty(like.shape, dtype=like.dtype, device=like.device)
    images = [_plain(image) for image in images]
    gains = [None if gain is None else gain.resolve_neg().expand(like.shape) for gain in gains]
    _C.filter_sum(
        out.data_ptr(),
        _DTYPE[like.dtype],
        tuple(like.shape),
        (_operand(images[0]), _operand(images[1]), _operand(images[2])),
        (_operand(gains[0]), _operand(gains[1]), _operand(gains[2])),
        torch.get_num_threads(),
    )
    return out


def level_filter(
    prefix: str, x: Tensor | None, noise: Tensor | None, seed: int | None, level: Packed, power: int, like: Tensor
) -> Tensor:
    """V (alpha^power . V^T x) + sigma noise, leaving out what is None."""
    out = torch.empty(like.shape, dtype=like.dtype, device=like.device)
    x, noise, level = _plain(x), _plain(noise), _packed(level)
    _C.level_filter(
        prefix,
        out.data_ptr(),
        _DTYPE[like.dtype],
        tuple(like.shape),
        _operand(x),
        _operand(noise),
        seed,
        _level(level),
        power,
        torch.get_num_threads(),
    )
    return out


def step(
    op: str,
    output: Tensor | None,
    z_t: Tensor | None,
    noise: Tensor | None,
    seed: int | None,
    s: Packed,
    t: Packed,
    rule: int,
    parameter: float,
    prediction: str,
    like: Tensor,
) -> Tensor:
    """V (p . V^T output + q . V^T z_t + w . V^T noise), leaving out what is None."""
    out = torch.empty(like.shape, dtype=like.dtype, device=like.device)
    output, z_t, noise, s, t = _plain(output), _plain(z_t), _plain(noise), _packed(s), _packed(t)
    _C.step(
        op,
        out.data_ptr(),
        _DTYPE[like.dtype],
        tuple(like.shape),
        _operand(output),
        _operand(z_t),
        _operand(noise),
        seed,
        _level(s),
        _level(t),
        rule,
        parameter,
        PREDICTIONS.index(prediction),
        torch.get_num_threads(),
    )
    return out


def step_variance(op: str, s: Packed, t: Packed, rule: int, parameter: float, prediction: str, like: Tensor) -> Tensor:
    """The variance per frequency of a step's noise, [B, 1, H, W] in the accumulation dtype."""
    batch, height, width = like.shape[0], like.shape[2], like.shape[3]
    dtype = accumulation_dtype(like.dtype)
    s, t = _packed(s), _packed(t)
    maps = torch.empty((batch, 3, height, width), dtype=dtype, device=like.device)
    _C.step_coefficients(
        op,
        maps.data_ptr(),
        _DTYPE[dtype],
        batch,
        (height, width),
        _level(s),
        _level(t),
        rule,
        parameter,
        PREDICTIONS.index(prediction),
    )
    return maps[:, 2:].square()


def energy(prefix: str, a: Tensor, b: Tensor, level: Packed) -> Tensor:
    """sum over c, f of (alpha . V^T (a - b))^2, [B] in the accumulation dtype."""
    out = torch.empty(a.shape[0], dtype=accumulation_dtype(a.dtype), device=a.device)
    if a.shape[1] == 0:
        return out.zero_()
    a, b, level = a.resolve_neg(), b.resolve_neg(), _packed(level)
    _C.energy(
        prefix,
        out.data_ptr(),
        _DTYPE[a.dtype],
        tuple(a.shape),
        (a.data_ptr(), a.stride()),
        (b.data_ptr(), b.stride()),
        _level(level),
        torch.get_num_threads(),
    )
    return out


def normal(shape: tuple[int, ...], seed: int, dtype: torch.dtype) -> Tensor:
    out = torch.empty(shape, dtype=dtype)
    _C.normal(out.data_ptr(), _DTYPE[dtype], out.numel(), seed, torch.get_num_threads())
    return out


def check_level_values(prefix: str, level: Level, like: Tensor) -> None:
    """Raise ValueError where a value inside a level's tensors is out of range. On other devices that would cost a wait."""
    if native(like):
        packed = _packed(pack(_detached(level), like.device, False))
        _C.check_level(prefix, like.shape[0], _level(packed))


def check_step_values(op: str, s: Level, t: Level, rule: Rule, prediction: str, like: Tensor) -> None:
    if native(like):
        cleaner, noisier = (_packed(pack(_detached(level), like.device, False)) for level in (s, t))
        _C.check_step(op, like.shape[0], _level(cleaner), _level(noisier), rule.code, PREDICTIONS.index(prediction))


def _detached(level: Level) -> Level:
    return Level(*(value.detach() if isinstance(value, Tensor) else value for value in level))


def lam_of(x: Tensor) -> Tensor:
    return reference.eigenvalues((x.shape[-2], x.shape[-1]), device=x.device)

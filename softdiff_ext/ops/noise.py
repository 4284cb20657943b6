"""Counter-based normal noise, and the seeds that operators draw from a torch.Generator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from softdiff_ext.ops import native
from softdiff_ext.ops.checks import DTYPES
from softdiff_ext.ops.library import Operator, traced

_MAX_SEED = native.MAX_SEED


def normal(
    shape: Sequence[int], seed: int | Tensor, *, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu"
) -> Tensor:
    """Standard normal numbers that are a pure function of seed and element index: n = sqrt(-2 ln u1) (cos, sin)(2 pi u2).

    Args:
        shape: sizes, each >= 0.
        seed: int in [0, 2^63), or a 0-d int64 tensor, read by the kernel itself where it lies on `device`.
        dtype: float64, float32, float16 or bfloat16; the 16-bit types are rounded float32 numbers.
        device: where the numbers are wanted.
    Returns:
        Contiguous tensor; the same numbers on every device and for every thread count, the first n for every shape.
    Raises:
        TypeError: dtype is not one of the four, or seed is neither an int nor an int64 tensor.
        ValueError: a size is negative, or seed is out of range or not 0-d.
    Source:
        Salmon et al. 2011, Parallel random numbers: as easy as 1, 2, 3 (Philox4x32-10); Box and Muller 1958.

    Examples:
        >>> import torch, softdiff_ext as sd
        >>> noise = sd.normal((2, 3), seed=7)
        >>> torch.equal(noise.flatten()[:4], sd.normal((4,), seed=7))  # number i depends on the seed and i alone
        True
    """
    sizes = tuple(shape)
    if any(size < 0 for size in sizes):
        raise ValueError(f"normal: shape must hold sizes >= 0, got {list(sizes)}")
    if dtype not in DTYPES:
        raise TypeError(f"normal: dtype must be float64, float32, float16 or bfloat16, got {dtype}")
    if isinstance(seed, Tensor):
        if seed.dtype != torch.int64:
            raise TypeError(f"normal: seed must be an int or an int64 tensor, got dtype {seed.dtype}")
        if seed.ndim != 0:
            raise ValueError(f"normal: seed must be 0-d, got shape {list(seed.shape)}")
    elif isinstance(seed, bool) or not isinstance(seed, int):
        raise TypeError(f"normal: seed must be an int or an int64 tensor, got {type(seed).__name__}")
    elif not 0 <= seed <= _MAX_SEED:
        raise ValueError(f"normal: seed must be in [0, 2^63), got {seed}")
    target = torch.device(device)
    if not traced((seed,)):
        return _forward(list(sizes), seed, dtype, target)
    return _normal(list(sizes), seed if isinstance(seed, Tensor) else torch.tensor(seed), dtype, target)


def _forward(shape: list[int], seed: int | Tensor, dtype: torch.dtype, device: torch.device) -> Tensor:
    return native.normal(tuple(shape), seed, dtype, device)


def _fake(shape: list[int], seed: Tensor, dtype: torch.dtype, device: torch.device) -> Tensor:
    return torch.empty(shape, dtype=dtype, device=device)


def _vmap(
    info: Any, in_dims: tuple[int | None, ...], shape: list[int], seed: Tensor, dtype: torch.dtype, device: torch.device
) -> Any:
    return torch.stack([_normal(shape, one, dtype, device) for one in seed.unbind(in_dims[1] or 0)]), 0


_normal = Operator(
    "normal(SymInt[] shape, Tensor seed, ScalarType dtype, Device device) -> Tensor",
    lambda apply, *args: None,
    _forward,
    _fake,
    lambda ctx, inputs, output: None,
    lambda ctx, grad: (None, None, None, None),
    _vmap,
)


def seed_source(noise: object, generator: object) -> object:
    """What `Operator.quick` takes as a seed for these arguments of an operator; where they are wrong, what it declines."""
    if generator is None:
        return True if noise is None else None
    return generator if isinstance(generator, torch.Generator) else "wrong"


def draw_seed(generator: torch.Generator | None, tracing: bool, like: Tensor | None = None) -> int | Tensor:
    """A seed from the generator's stream, for None from torch's default one of the device of `like` (where it has kernels).

    An int; a tensor where the call is traced, and on the device while a CUDA graph is captured there.
    """
    device = torch.device("cpu")
    if generator is not None:
        device = generator.device
    elif like is not None and native.native(like):
        device = like.device
    if not tracing and device.type == "cuda":
        return native.draw_device_seed(generator, torch.cuda.current_device() if device.index is None else device.index)
    seed = torch.randint(_MAX_SEED, (), generator=generator, device=device)
    return seed if tracing or (like is not None and native.seed_for(like, seed) is seed) else int(seed)


def noise_like(x: Tensor, seed: int | Tensor) -> Tensor:
    return normal(tuple(x.shape), seed, dtype=x.dtype, device=x.device)


def same_noise(info: Any, folded: Tensor, seed: Tensor) -> Tensor:
    """One slice's noise, repeated for each slice that vmap folded into the batch (randomness="same")."""
    batch = folded.shape[0] // info.batch_size
    noise = normal((batch, *folded.shape[1:]), seed, dtype=folded.dtype, device=folded.device)
    return noise.repeat(info.batch_size, 1, 1, 1)

"""Linear corruptions C_s of images, s their strength: blur, growing mask, block average, grey, or a map of your own.

Soft Diffusion needs no more of a corruption than `Corruption` asks: C_s x and its adjoint. Where C_s has orthonormal
eigenvectors that do not depend on s (`Diagonal`), posteriors are known too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from softdiff_ext.ops import eigenvalues, spectral_filter
from softdiff_ext.reference import accumulation_dtype, column
from softdiff_ext.schedules import as_pair

Array = npt.NDArray[np.float64]
Strength = float | Tensor
"""A number, or a float64 tensor: 0-d, or [B] with one strength for each image."""

REC_601 = (0.299, 0.587, 0.114)
"""Luminance of red, green and blue, ITU-R BT.601."""


class Corruption(Protocol):
    """A family of linear maps of images [B, C, H, W] onto the same shape, from weak to strong."""

    def apply(self, x: Tensor, strength: Tensor, /) -> Tensor:
        """C_s x; the package calls it with one strength for each image, float64 [B] on the device of x."""

    def adjoint(self, y: Tensor, strength: Tensor, /) -> Tensor:
        """C_s^T y: <C_s x, y> = <x, C_s^T y>."""

    def candidates(self, count: int) -> Array:
        """`count` increasing strengths, the first for t = 0 and the last for t = 1, that a schedule chooses from."""


@dataclass(frozen=True)
class LinearMap:
    """A corruption of your own: two functions of (images [B, C, H, W], strengths [B]).

    Args:
        apply: C_s x, linear in x, of the shape and dtype of x.
        adjoint: C_s^T y. It is the backward pass of `apply`, which therefore may be code that autograd does not understand.
        strengths: least and largest strength, first < last.
    Raises:
        ValueError: strengths are not finite with first < last.
    """

    apply: Callable[[Tensor, Tensor], Tensor]
    adjoint: Callable[[Tensor, Tensor], Tensor]
    strengths: tuple[float, float] = (0.0, 1.0)

    def __post_init__(self) -> None:
        first, last = self.strengths
        if not -math.inf < first < last < math.inf:
            raise ValueError(f"LinearMap: strengths must be finite with first < last, got {self.strengths}")

    def candidates(self, count: int) -> Array:
        return np.linspace(*self.strengths, count)


class Diagonal:
    """C_s = sum_k g_k(s) E_k with orthogonal projections E_k onto subspaces that do not depend on s, and gains in [0, 1].

    C_s is symmetric, and functions of it are functions of its gains: what a Markov chain x_s -> x_t needs.
    """

    def gains(self, strength: Strength, shape: Sequence[int], device: torch.device) -> Tensor:
        """g(s) for images [B, C, H, W] of `shape`, float64 [1 or B, ., ., .], in the form that `filter` takes."""
        raise NotImplementedError

    def filter(self, x: Tensor, gains: Tensor) -> Tensor:
        """sum_k gains_k E_k x."""
        raise NotImplementedError

    def apply(self, x: Tensor, strength: Strength) -> Tensor:
        return self.filter(x, self.gains(strength, x.shape, x.device))

    def adjoint(self, y: Tensor, strength: Strength) -> Tensor:
        return self.apply(y, strength)

    def candidates(self, count: int) -> Array:
        return np.linspace(0.0, 1.0, count)


@dataclass(frozen=True)
class SpectralBlur(Diagonal):
    """The heat equation: C_s = V exp(-lam s^2 / 2) V^T, s the blur std in pixels. Candidates are spaced by equal factors.

    Args:
        sigma_blur: least and largest blur std in pixels, 0 < first < last.
    Raises:
        ValueError: sigma_blur is not finite with 0 < first < last.
    """

    sigma_blur: tuple[float, float] = (0.01, 23.0)

    def __post_init__(self) -> None:
        first, last = as_pair("SpectralBlur", "sigma_blur", self.sigma_blur)
        if not 0.0 < first < last < math.inf:
            raise ValueError(f"SpectralBlur: sigma_blur must be finite with 0 < first < last, got {self.sigma_blur}")

    def gains(self, strength: Strength, shape: Sequence[int], device: torch.device) -> Tensor:
        _check_strength("SpectralBlur", strength, math.inf)
        return torch.exp(-eigenvalues((shape[-2], shape[-1])).to(device) * column(strength, device) ** 2 / 2)

    def filter(self, x: Tensor, gains: Tensor) -> Tensor:
        return spectral_filter(x, gains)

    def candidates(self, count: int) -> Array:
        return np.geomspace(*self.sigma_blur, count)


@dataclass(frozen=True, eq=False)
class NestedMask(Diagonal):
    """A mask that grows: a pixel keeps its value up to its own threshold and is 0 at any greater strength s in [0, 1].

    0 is the middle of the data's range [-1, 1]. The masks are nested: what is lost at s is lost at every greater strength, so
    C_s C_t = C_max(s, t).

    Args:
        order: thresholds [H, W], where >= 1 is never lost; or "centre", ring after ring outward from the centre, in each
            clockwise; or "random", in an order that `seed` names. In both pixel after pixel, until nothing is left at s = 1.
        seed: names the random order.
    Raises:
        ValueError: order is none of these, or holds thresholds below 0 or NaN.
    """

    order: Literal["centre", "random"] | Tensor = "centre"
    seed: int = 0

    def __post_init__(self) -> None:
        if isinstance(self.order, Tensor):
            if self.order.ndim != 2 or not bool((self.order >= 0.0).all()):
                raise ValueError(f"NestedMask: order must be thresholds >= 0 of shape [H, W], got {list(self.order.shape)}")
        elif self.order not in ("centre", "random"):
            raise ValueError(f'NestedMask: order must be "centre", "random" or a tensor, got {self.order!r}')

    def thresholds(self, size: tuple[int, int]) -> Tensor:
        """The strength up to which each pixel is kept, float64 [H, W]."""
        if isinstance(self.order, Tensor):
            if tuple(self.order.shape) != size:
                raise ValueError(f"NestedMask: order was given for images {list(self.order.shape)}, got {list(size)}")
            return self.order.double()
        return _centre_order(*size) if self.order == "centre" else _random_order(*size, self.seed)

    def kept(self, strength: float, size: tuple[int, int]) -> Tensor:
        """Which pixels are still there, bool [H, W]."""
        return self.thresholds(size) >= strength

    def gains(self, strength: Strength, shape: Sequence[int], device: torch.device) -> Tensor:
        _check_strength("NestedMask", strength, 1.0)
        thresholds = self.thresholds((shape[-2], shape[-1])).to(device)
        return (thresholds >= column(strength, device)).double()

    def filter(self, x: Tensor, gains: Tensor) -> Tensor:
        return x * gains.to(accumulation_dtype(x.dtype)).to(x.dtype)


@dataclass(frozen=True)
class BlockAverage(Diagonal):
    """Downsampling in place: pixels move towards the mean of their block, then these blocks to the mean of larger ones.

    With K block sizes, strength k / K in [0, 1] is exactly the mean over blocks of side blocks[k - 1], 0 the image itself, and
    in between C_s is linear in s. All are functions of the nested projections P_1 > P_2 > ... onto block means.

    Args:
        blocks: sides of the blocks in pixels, each a multiple of the one before and larger, the first at least 2. They divide
            the sides of the images.
    Raises:
        ValueError: blocks are not such a chain.
    """

    blocks: tuple[int, ...] = (2, 4)

    def __post_init__(self) -> None:
        chain = (1, *self.blocks)
        grows = all(large > small and large % small == 0 for small, large in zip(chain, self.blocks, strict=False))
        if not self.blocks or not grows:
            raise ValueError(f"BlockAverage: blocks must grow from 2 or more, each a multiple of the last, got {self.blocks}")

    def gains(self, strength: Strength, shape: Sequence[int], device: torch.device) -> Tensor:
        _check_strength("BlockAverage", strength, 1.0)
        stage = torch.arange(len(self.blocks), device=device)[:, None, None]
        details = (1.0 - (column(strength, device) * len(self.blocks) - stage)).clamp(0.0, 1.0)
        return torch.cat([details, torch.ones_like(details[:, :1])], dim=1)

    def filter(self, x: Tensor, gains: Tensor) -> Tensor:
        """Gains [1 or B, K + 1, 1, 1] of (1 - P_1), (P_1 - P_2), ..., P_K."""
        if x.shape[-2] % self.blocks[-1] or x.shape[-1] % self.blocks[-1]:
            raise ValueError(
                f"BlockAverage: sides of images must be multiples of {self.blocks[-1]}, got {x.shape[-2]}x{x.shape[-1]}"
            )
        wide = x.to(accumulation_dtype(x.dtype))
        parts = gains.to(wide.dtype).unbind(1)
        ratios = [large // small for small, large in zip((1, *self.blocks), self.blocks, strict=False)]
        means = [wide]
        for ratio in ratios:
            means.append(F.avg_pool2d(means[-1], ratio))
        result = parts[-1][:, None] * means[-1]
        for fine, coarse, gain, ratio in zip(means[-2::-1], means[:0:-1], parts[-2::-1], reversed(ratios), strict=True):
            result = gain[:, None] * (fine - _spread(coarse, ratio)) + _spread(result, ratio)
        return result.to(x.dtype)


@dataclass(frozen=True)
class Grayscale:
    """Channels move towards their luminance: C_s x = (1 - s) x + s Y(x) in each channel, Y = sum_c weights_c x_c, s in [0, 1].

    C_s is not symmetric unless the weights are equal: the adjoint spreads the sum over channels by the weights.

    Args:
        weights: share of each channel in the luminance, sum 1.
    Raises:
        ValueError: weights are not finite or do not sum to 1.
    """

    weights: tuple[float, ...] = REC_601

    def __post_init__(self) -> None:
        if not abs(math.fsum(self.weights) - 1.0) <= 1e-9:
            raise ValueError(f"Grayscale: weights must sum to 1, got {self.weights}")

    def apply(self, x: Tensor, strength: Strength) -> Tensor:
        s, weights = self._read(x, strength)
        return torch.lerp(x, (weights * x).sum(dim=1, keepdim=True).expand_as(x), s)

    def adjoint(self, y: Tensor, strength: Strength) -> Tensor:
        s, weights = self._read(y, strength)
        return torch.lerp(y, weights * y.sum(dim=1, keepdim=True), s)

    def candidates(self, count: int) -> Array:
        return np.linspace(0.0, 1.0, count)

    def _read(self, x: Tensor, strength: Strength) -> tuple[Tensor, Tensor]:
        _check_strength("Grayscale", strength, 1.0)
        if x.shape[1] != len(self.weights):
            raise ValueError(f"Grayscale: images must have {len(self.weights)} channels, got {x.shape[1]}")
        return column(strength, x.device).to(x.dtype), torch.tensor(self.weights, dtype=x.dtype, device=x.device)[:, None, None]


def _check_strength(name: str, strength: Strength, last: float) -> None:
    """Looks on the CPU only: on a GPU the look would stall the stream."""
    values = torch.as_tensor(strength)
    if values.device.type == "cpu" and not bool(((values >= 0.0) & (values <= last)).all()):
        raise ValueError(f"{name}: strength must be in [0, {last:g}], got {strength}")


def _spread(means: Tensor, side: int) -> Tensor:
    return means.repeat_interleave(side, -1).repeat_interleave(side, -2)


@lru_cache(maxsize=16)
def _centre_order(height: int, width: int) -> Tensor:
    """Rank by distance from the centre in half sides, the larger of the two directions, and in each ring by angle."""
    rows, columns = np.meshgrid(*((2 * np.arange(n) + 1 - n) / n for n in (height, width)), indexing="ij")
    ring, angle = np.maximum(abs(rows), abs(columns)).round(9), np.arctan2(rows, columns)
    return _ranks(np.lexsort((angle.ravel(), ring.ravel())), height, width)


@lru_cache(maxsize=16)
def _random_order(height: int, width: int, seed: int) -> Tensor:
    order = torch.randperm(height * width, generator=torch.Generator().manual_seed(seed))
    return _ranks(order.numpy(), height, width)


def _ranks(order: npt.NDArray[np.int64], height: int, width: int) -> Tensor:
    """Thresholds of pixels that are lost in this order: 0, 1 / n, ... (n - 1) / n."""
    thresholds = torch.empty(height * width, dtype=torch.float64)
    thresholds[torch.from_numpy(order)] = torch.arange(height * width, dtype=torch.float64) / (height * width)
    return thresholds.view(height, width)

"""A library that the operators are compared with: DCT-II, its inverse, and a filter per sample, as it does them best.

A peer is made for one shape, number type and thread count and may precompute all that does not depend on the images: matrices,
plans, gains with its own normalisation folded in. It may keep what lies between the two transforms in a buffer of its own; its
result is a new tensor, as an operator's is.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Function = Callable[[Tensor], Tensor]


class Peer:
    """dct, idct and filter over the last `ndim` dimensions of tensors of one shape."""

    name: str
    module: str | None = None  # what has to be imported
    distribution: str | None = None  # what to install for it

    def __init__(self, shape: tuple[int, ...], dtype: torch.dtype, threads: int, ndim: int = 2) -> None:
        self.shape, self.dtype, self.threads, self.ndim = shape, dtype, threads, ndim
        self.axes = tuple(range(len(shape) - ndim, len(shape)))

    @staticmethod
    def supports(shape: tuple[int, ...], dtype: torch.dtype, ndim: int) -> bool:
        return dtype in (torch.float32, torch.float64)

    def dct(self, x: Tensor) -> Tensor:
        raise NotImplementedError

    def idct(self, u: Tensor) -> Tensor:
        raise NotImplementedError

    def filter(self, gain: Tensor) -> Function:
        """x -> V (gain . V^T x), for a gain that broadcasts to the images."""
        return lambda x: self.idct(self.dct(x).mul_(gain))

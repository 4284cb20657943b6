"""The peers that compute with torch tensors."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable
from functools import lru_cache

import torch
from peer import Function, Peer
from torch import Tensor

from softdiff_ext import reference

COMPILE_BUDGET = 60.0  # seconds that torch.compile may take in one run; shapes beyond are left out


class Matmul(Peer):
    """DCT matrices made beforehand; differentiable."""

    name = "torch matmul"

    def __init__(self, shape: tuple[int, ...], dtype: torch.dtype, threads: int, ndim: int = 2) -> None:
        super().__init__(shape, dtype, threads, ndim)
        self.matrices = [reference.dct_matrix(shape[axis]).to(dtype) for axis in self.axes]
        self.transposed = [matrix.T.contiguous() for matrix in self.matrices]

    def _apply(self, x: Tensor, left: list[Tensor], right: list[Tensor]) -> Tensor:
        """Last axis by `right`, the one before by `left`, a third as a matrix times planes laid flat."""
        y = x @ right[-1]
        if self.ndim >= 2:
            y = left[-2] @ y
        if self.ndim == 3:
            y = (left[0] @ y.flatten(-2)).view(x.shape)
        return y

    def dct(self, x: Tensor) -> Tensor:
        return self._apply(x, self.matrices, self.transposed)

    def idct(self, u: Tensor) -> Tensor:
        return self._apply(u, self.transposed, self.matrices)

    def filter(self, gain: Tensor) -> Function:
        return lambda x: self.idct(self.dct(x) * gain) if x.requires_grad else self.idct(self.dct(x).mul_(gain))


class Compiled(Matmul):
    """torch.compile of the matmuls and the product; one compilation serves all shapes of a thread count."""

    name = "torch.compile"
    spent = 0.0

    @staticmethod
    def supports(shape: tuple[int, ...], dtype: torch.dtype, ndim: int) -> bool:
        return dtype == torch.float32 and ndim == 2 and Compiled.spent < COMPILE_BUDGET

    def filter(self, gain: Tensor) -> Function:
        rows, columns, rows_t, columns_t = *self.matrices, *self.transposed

        def call(x: Tensor) -> Tensor:
            begun = time.perf_counter()
            result = compiled()(x, gain, rows, columns, rows_t, columns_t)
            taken = time.perf_counter() - begun
            if taken > 1.0:  # no call of a benchmark takes a second: it compiled
                Compiled.spent += taken
            return result

        return call


def dense_filter(x: Tensor, gain: Tensor, rows: Tensor, columns: Tensor, rows_t: Tensor, columns_t: Tensor) -> Tensor:
    return rows_t @ (((rows @ (x @ columns_t)) * gain) @ columns)


@lru_cache(maxsize=1)
def compiled() -> Callable[..., Tensor]:
    """torch.compile only when it is asked for: its import alone takes seconds."""
    return torch.compile(dense_filter, dynamic=True)


class TorchDct(Peer):
    """The package torch-dct: complex FFTs of the reordered signal; differentiable."""

    name, module, distribution = "torch-dct", "torch_dct", "torch-dct"

    def __init__(self, shape: tuple[int, ...], dtype: torch.dtype, threads: int, ndim: int = 2) -> None:
        super().__init__(shape, dtype, threads, ndim)
        package = importlib.import_module("torch_dct")
        suffix = {1: "", 2: "_2d", 3: "_3d"}[ndim]
        self._dct, self._idct = getattr(package, f"dct{suffix}"), getattr(package, f"idct{suffix}")

    def dct(self, x: Tensor) -> Tensor:
        result: Tensor = self._dct(x, norm="ortho")
        return result

    def idct(self, u: Tensor) -> Tensor:
        result: Tensor = self._idct(u, norm="ortho")
        return result

    def filter(self, gain: Tensor) -> Function:
        return lambda x: self.idct(self.dct(x) * gain)

"""The peers that compute with numpy arrays, which share the memory of the tensors."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from peer import Function, Peer
from torch import Tensor

PLANNING_LIMIT = 0.4  # seconds that FFTW may measure for one plan


class Ducc(Peer):
    name, module, distribution = "ducc0", "ducc0", "ducc0"

    def __init__(self, shape: tuple[int, ...], dtype: torch.dtype, threads: int, ndim: int = 2) -> None:
        super().__init__(shape, dtype, threads, ndim)
        self.fft = importlib.import_module("ducc0").fft
        self.buffer = torch.empty(shape, dtype=dtype).numpy()

    def _dct(self, x: Any, kind: int, out: Any = None) -> Any:
        return self.fft.dct(x, type=kind, axes=self.axes, inorm=1, nthreads=self.threads, out=out)

    def dct(self, x: Tensor) -> Tensor:
        return torch.from_numpy(self._dct(x.numpy(), 2))

    def idct(self, u: Tensor) -> Tensor:
        return torch.from_numpy(self._dct(u.numpy(), 3))

    def filter(self, gain: Tensor) -> Function:
        gains = gain.numpy()

        def call(x: Tensor) -> Tensor:
            spectrum = self._dct(x.numpy(), 2, self.buffer)
            spectrum *= gains
            return torch.from_numpy(self._dct(spectrum, 3))

        return call


class Scipy(Peer):
    name, module, distribution = "scipy.fft", "scipy.fft", "scipy"

    def __init__(self, shape: tuple[int, ...], dtype: torch.dtype, threads: int, ndim: int = 2) -> None:
        super().__init__(shape, dtype, threads, ndim)
        self.fft = importlib.import_module("scipy.fft")
        self.options = {"axes": self.axes, "norm": "ortho", "workers": threads}

    def dct(self, x: Tensor) -> Tensor:
        return torch.from_numpy(self.fft.dctn(x.numpy(), **self.options))

    def idct(self, u: Tensor) -> Tensor:
        return torch.from_numpy(self.fft.idctn(u.numpy(), **self.options))

    def filter(self, gain: Tensor) -> Function:
        gains = gain.numpy()

        def call(x: Tensor) -> Tensor:
            spectrum = self.fft.dctn(x.numpy(), **self.options)
            spectrum *= gains
            return torch.from_numpy(self.fft.idctn(spectrum, overwrite_x=True, **self.options))

        return call


class OpenCV(Peer):
    """One call a plane; even sizes only. The planes are shared among threads, since OpenCV does not."""

    name, module, distribution = "OpenCV", "cv2", "opencv-python-headless"

    def __init__(self, shape: tuple[int, ...], dtype: torch.dtype, threads: int, ndim: int = 2) -> None:
        super().__init__(shape, dtype, threads, ndim)
        self.cv2 = importlib.import_module("cv2")
        self.cv2.setNumThreads(1)
        self.planes = math.prod(shape[:2])
        self.pool = ThreadPoolExecutor(threads) if threads > 1 else None

    @staticmethod
    def supports(shape: tuple[int, ...], dtype: torch.dtype, ndim: int) -> bool:
        even = all(size % 2 == 0 for size in shape[-2:])
        return even and ndim == 2 and len(shape) == 4 and dtype in (torch.float32, torch.float64)

    def _each(self, x: Tensor, plane: Callable[[Any, Any, int], None]) -> Tensor:
        out = torch.empty_like(x)
        size = x.shape[-2:]
        sources, results = x.reshape(-1, *size).numpy(), out.view(-1, *size).numpy()

        def share(first: int) -> None:
            for i in range(first, self.planes, self.threads):
                plane(sources[i], results[i], i)

        if self.pool is None:
            share(0)
        else:
            list(self.pool.map(share, range(self.threads)))
        return out

    def dct(self, x: Tensor) -> Tensor:
        return self._each(x, lambda source, result, i: self.cv2.dct(source, result))

    def idct(self, u: Tensor) -> Tensor:
        return self._each(u, lambda source, result, i: self.cv2.idct(source, result))

    def filter(self, gain: Tensor) -> Function:
        gains = gain.expand(*self.shape[:2], *gain.shape[2:]).reshape(-1, *self.shape[2:]).numpy()

        def plane(source: Any, result: Any, i: int) -> None:
            spectrum = self.cv2.dct(source)
            spectrum *= gains[i]
            self.cv2.idct(spectrum, result)

        return lambda x: self._each(x, plane)


class FFTW(Peer):
    """Plans of pyfftw on aligned buffers; the normalisation is folded into the gain."""

    name, module, distribution = "FFTW", "pyfftw", "pyfftw"

    def __init__(self, shape: tuple[int, ...], dtype: torch.dtype, threads: int, ndim: int = 2) -> None:
        super().__init__(shape, dtype, threads, ndim)
        pyfftw = importlib.import_module("pyfftw")
        kind = "float32" if dtype == torch.float32 else "float64"
        self.spectrum, other = (pyfftw.empty_aligned(shape, dtype=kind) for _ in range(2))
        options = {"axes": self.axes, "flags": ("FFTW_MEASURE", "FFTW_DESTROY_INPUT"), "threads": threads}
        options["planning_timelimit"] = PLANNING_LIMIT
        keep = {**options, "flags": ("FFTW_MEASURE",)}  # the image of the caller is not to be overwritten
        self.forward = pyfftw.FFTW(other, self.spectrum, direction=("FFTW_REDFT10",) * ndim, **keep)
        self.inverse = pyfftw.FFTW(self.spectrum, other, direction=("FFTW_REDFT01",) * ndim, **options)
        sizes = [shape[axis] for axis in self.axes]
        # REDFT01 after REDFT10 is 2N times the identity; the orthonormal transforms need the roots of their shares of it.
        self.total = math.prod(2.0 * n for n in sizes)
        self.scale = np.ones(sizes, dtype=kind)
        for axis, n in enumerate(sizes):
            line = np.full(n, math.sqrt(1.0 / (2.0 * n)))
            line[0] = math.sqrt(1.0 / (4.0 * n))
            self.scale *= line.reshape((-1,) + (1,) * (ndim - axis - 1)).astype(kind)
        self.inverse_scale = (1.0 / (self.scale * self.total)).astype(kind)

    def _run(self, plan: Any, source: Any) -> Tensor:
        out = torch.empty(self.shape, dtype=self.dtype)
        plan.update_arrays(source, out.numpy())
        plan.execute()
        return out

    def dct(self, x: Tensor) -> Tensor:
        return self._run(self.forward, x.numpy()).mul_(torch.from_numpy(self.scale))

    def idct(self, u: Tensor) -> Tensor:
        np.multiply(u.numpy(), self.inverse_scale, out=self.spectrum)
        return self._run(self.inverse, self.spectrum)

    def filter(self, gain: Tensor) -> Function:
        gains = gain.numpy() / gain.numpy().dtype.type(self.total)

        def call(x: Tensor) -> Tensor:
            self.forward.update_arrays(x.numpy(), self.spectrum)
            self.forward.execute()
            np.multiply(self.spectrum, gains, out=self.spectrum)
            return self._run(self.inverse, self.spectrum)

        return call

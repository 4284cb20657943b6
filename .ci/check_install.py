"""Does an installed softdiff_ext work? Prints what it found; run by the Python of the environment, in any other folder.

With a torch in the environment the package is used as a person would. Where no CPU build of torch can be had for a Python, the
native module alone is: it reads tensors through Python, so a stand-in for the few names of torch that it asks for is enough.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import math
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np

RNG = np.random.default_rng(0)
SIZES = ((8, 8), (28, 30), (32, 32), (109, 17), (256, 256))


def cosines(n: int) -> np.ndarray:
    """The orthonormal DCT-II as a matrix."""
    k, i = np.arange(n)[:, None], np.arange(n)[None, :]
    return np.where(k == 0, math.sqrt(1 / n), math.sqrt(2 / n)) * np.cos(math.pi * (i + 0.5) * k / n)


def dct(x: np.ndarray) -> np.ndarray:
    return cosines(x.shape[-2]) @ x @ cosines(x.shape[-1]).T


def files() -> list[Path]:
    return [Path(str(path.locate())) for path in importlib.metadata.files("softdiff-ext") or []]


def check_contents() -> None:
    names = {path.name for path in files() if "softdiff_ext" in path.parts}
    assert {"py.typed", "_C.pyi", "__init__.py", "digits.npz"} <= names, names
    top = {path.parts[0] for path in importlib.metadata.files("softdiff-ext") or [] if path.parts[0] != ".."}
    assert top == {"softdiff_ext", f"softdiff_ext-{importlib.metadata.version('softdiff-ext')}.dist-info"}, top


def check_with_torch() -> str:
    import torch

    import softdiff_ext as sd

    for height, width in SIZES:
        x = torch.from_numpy(RNG.normal(size=(2, 3, height, width))).requires_grad_()
        u = sd.dct(x)
        assert np.abs(u.detach().numpy() - dct(x.detach().numpy())).max() < 1e-12
        tau = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
        blurred = sd.dct_blur(x, tau)
        blurred.square().sum().backward()
        gain = np.exp(-0.7 * sd.eigenvalues((height, width)).numpy())
        assert np.abs(dct(blurred.detach().numpy()) - gain * u.detach().numpy()).max() < 1e-12
        assert x.grad is not None
        assert tau.grad is not None
        assert float(tau.grad) < 0.0
    info = sd.build_info()
    assert info["version"] == importlib.metadata.version("softdiff-ext")
    return f"torch {torch.__version__}, {info['isa']}, CUDA {info['cuda_toolkit'] or 'none'}"


def stand_in() -> types.ModuleType:
    """What `_C` looks up in torch, with numpy's arrays inside."""

    class Tensor:
        requires_grad, is_cpu, device = False, True, "cpu"

        def __init__(self, array: np.ndarray) -> None:
            self.array, self.shape, self.dtype = array, array.shape, sys.intern(array.dtype.name)  # _C compares by identity

        def stride(self) -> tuple[int, ...]:
            return tuple(step // self.array.itemsize for step in self.array.strides)

        def data_ptr(self) -> int:
            return self.array.ctypes.data

        def is_neg(self) -> bool:
            return False

    class Parameter(Tensor):
        pass

    class Generator:
        pass

    torch: Any = types.ModuleType("torch")
    torch.Tensor, torch.nn, torch.Generator = Tensor, types.SimpleNamespace(Parameter=Parameter), Generator
    torch.float64, torch.float32, torch.float16, torch.bfloat16 = "float64", "float32", "float16", "bfloat16"
    torch.contiguous_format, torch.device = "contiguous", str
    torch.empty_like = lambda x, memory_format="": Tensor(np.empty(x.shape, x.dtype))
    torch.empty = lambda shape, dtype="", device="": Tensor(np.empty(shape, dtype))
    torch.randint = torch.is_grad_enabled = None
    torch.get_num_threads = lambda: 2
    torch._C = types.SimpleNamespace(_functorch=types.SimpleNamespace(maybe_current_level=lambda: None))
    return torch


def check_native_module() -> str:
    torch: Any = stand_in()
    sys.modules["torch"] = torch
    (library,) = (path for path in files() if path.name.startswith("_C.") and path.suffix == ".so")
    spec = importlib.util.spec_from_file_location("softdiff_ext._C", library)
    assert spec is not None
    assert spec.loader is not None
    native: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(native)
    for height, width in SIZES:
        x = torch.Tensor(RNG.normal(size=(2, 3, height, width)))
        u = native.transform(None, x, 2, False)
        assert np.abs(u.array - dct(x.array)).max() < 1e-12
        assert np.abs(native.transform(None, u, 2, True).array - x.array).max() < 1e-12
        level = native.level_filter(None, "", x, None, None, (0.0, 0.7, 0.0, 0.0), 1)
        lam = (np.pi * np.arange(height)[:, None] / height) ** 2 + (np.pi * np.arange(width) / width) ** 2
        assert np.abs(dct(level.array) - np.exp(-0.7 * lam) * u.array).max() < 1e-12
    noise = torch.Tensor(np.empty(100_000, np.float32))
    native.normal(noise, 1)
    assert abs(noise.array.mean()) < 0.02
    assert abs(noise.array.std() - 1.0) < 0.02
    info = native.build_info()
    return f"no torch: _C alone, {info['isa']}, CUDA {info['cuda_toolkit'] or 'none'}"


if __name__ == "__main__":
    check_contents()
    print(check_with_torch() if importlib.util.find_spec("torch") else check_native_module())

"""Training: a plain PyTorch loop and what it needs. Everything here wants the extra `softdiff-ext[train]`."""

from __future__ import annotations

from importlib.util import find_spec

_EXTRA = ("accelerate", "diffusers", "PIL", "psutil", "rich", "safetensors", "tensorboard", "yaml")

if _missing := [name for name in _EXTRA if find_spec(name) is None]:
    raise ImportError(
        f'softdiff_ext.training needs {", ".join(_missing)}, not installed here: pip install "softdiff-ext[train]"',
        name=_missing[0],
    )

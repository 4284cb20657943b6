"""Other libraries' interfaces to the processes. Everything here wants the extra `softdiff-ext[diffusers]`."""

from __future__ import annotations

from importlib.util import find_spec

_EXTRA = ("diffusers", "safetensors")

if _missing := [name for name in _EXTRA if find_spec(name) is None]:
    raise ImportError(
        f'softdiff_ext.integrations needs {", ".join(_missing)}, not installed here: pip install "softdiff-ext[diffusers]"',
        name=_missing[0],
    )

"""What is installed and what was found: the first thing to look at when something is slow or missing."""

from __future__ import annotations

import platform
from typing import Any

import torch

try:
    from softdiff_ext import _C
except ImportError as error:
    raise ImportError(
        "softdiff_ext has no native module _C here: this is the source tree, or the build failed. Start Python in another "
        "folder after `pip install .`, or run `pip install -e .` to work inside the tree."
    ) from error


def build_info() -> dict[str, Any]:
    """Versions, instruction set in use, OpenMP, CUDA architectures compiled and the devices found.

    Returns:
        A flat dict of strings, numbers and lists: version, python, torch, torch_threads, compiler, isa (in use),
        isas_available, openmp (the date of the OpenMP specification), openmp_max_threads, cuda_compiled, cuda_toolkit,
        cuda_architectures, cuda_devices (as the driver reports them), torch_cuda (whether torch can use a device).
    """
    return {
        **_C.build_info(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torch_threads": torch.get_num_threads(),
        "torch_cuda": torch.cuda.is_available(),
    }

"""Calling a network: a plain model(z, t), or a diffusers network, which counts time in thousandths and wraps its output."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

Model = Callable[..., Any]

WRAPPERS = ("torch.", "accelerate.", "deepspeed.")
"""Packages whose wrappers (data parallel, compiled, averaged) hand their arguments on to the module inside."""


def unwrap(model: Model) -> Model:
    """The network inside the wrappers of `WRAPPERS`; a user's own is left alone, it may call what it holds differently."""
    while isinstance(model, nn.Module) and type(model).__module__.startswith(WRAPPERS):
        inner = getattr(model, "_orig_mod", None) or getattr(model, "module", None)
        if not isinstance(inner, nn.Module):
            break
        model = inner
    return model


def is_diffusers(model: Model) -> bool:
    """Whether the unwrapped network is, or derives from, a class of the package diffusers (which is not imported for this)."""
    return any(base.__module__.split(".")[0] == "diffusers" for base in type(unwrap(model)).__mro__)


def call_network(model: Model, z: Tensor, t: Tensor) -> Tensor:
    """Output of the network for images z [B, C, H, W] at times t [B] in [0, 1], in the shape and dtype of z.

    Raises:
        TypeError: the output is not a tensor.
        ValueError: the output has another shape than z.
    """
    t = t.to(device=z.device, dtype=torch.promote_types(z.dtype, torch.float32))
    output = model(z, 1000.0 * t).sample if is_diffusers(model) else model(z, t)
    if not isinstance(output, Tensor):
        raise TypeError(f"model: must return a tensor, got {type(output).__name__}")
    if output.shape != z.shape:
        raise ValueError(f"model: output must have the shape of its input {list(z.shape)}, got {list(output.shape)}")
    return output.to(z.dtype)  # under autocast a network answers in 16 bit

"""What every operator checks before anything is computed; a message names operator, argument, what was wanted and what came."""

from __future__ import annotations

import torch
from torch import Tensor

from softdiff_ext.levels import FIELDS, Level
from softdiff_ext.rules import PREDICTIONS, Rule

DTYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16)


def check_floating(op: str, name: str, x: object) -> None:
    if not isinstance(x, Tensor):
        raise TypeError(f"{op}: {name} must be a tensor, got {type(x).__name__}")
    if x.dtype not in DTYPES:
        raise TypeError(f"{op}: {name} must be float64, float32, float16 or bfloat16, got {x.dtype}")
    if x.layout != torch.strided:
        raise TypeError(f"{op}: {name} must be a dense (strided) tensor, got {x.layout}")


def check_images(op: str, name: str, x: object) -> None:
    """[B, C, H, W] with H, W >= 1."""
    check_floating(op, name, x)
    assert isinstance(x, Tensor)
    if x.ndim != 4:
        raise ValueError(f"{op}: {name} must have shape [B, C, H, W], got {list(x.shape)}")
    if x.shape[2] == 0 or x.shape[3] == 0:
        raise ValueError(f"{op}: {name} must have H, W >= 1, got {list(x.shape)}")


def check_same(op: str, first_name: str, first: Tensor, name: str, other: object) -> None:
    """`other` has the shape, dtype and device of `first`."""
    check_floating(op, name, other)
    assert isinstance(other, Tensor)
    if other.shape != first.shape:
        raise ValueError(f"{op}: {name} must have the shape of {first_name} = {list(first.shape)}, got {list(other.shape)}")
    if other.dtype != first.dtype:
        raise TypeError(f"{op}: {name} must have the dtype of {first_name} = {first.dtype}, got {other.dtype}")
    if other.device != first.device:
        raise ValueError(f"{op}: {name} must be on the device of {first_name} = {first.device}, got {other.device}")


def check_level(op: str, name: str, level: object, x: Tensor) -> None:
    """A Level whose tensors fit the batch and the device of x; their values are checked by the kernels."""
    if not isinstance(level, Level):
        raise TypeError(f"{op}: {name} must be a Level, got {type(level).__name__}")
    for field, value in zip(FIELDS, level, strict=True):
        if isinstance(value, Tensor):
            check_per_sample(op, f"{name}.{field}", value, x)


def check_per_sample(op: str, name: str, value: Tensor, x: Tensor) -> None:
    batch = x.shape[0]
    if not value.is_floating_point():
        raise TypeError(f"{op}: {name} must be a float or a floating tensor, got dtype {value.dtype}")
    if value.ndim > 1 or (value.ndim == 1 and value.shape[0] != batch):
        raise ValueError(f"{op}: {name} must be a float or have shape [] or [B] = [{batch}], got {list(value.shape)}")
    if value.device != x.device and not (value.ndim == 0 and value.device.type == "cpu"):
        raise ValueError(f"{op}: {name} must be on the device of the images = {x.device}, got {value.device}")


def check_rule(op: str, rule: object, prediction: object) -> None:
    if not isinstance(rule, Rule):
        names = ", ".join(f"{cls.__name__}()" for cls in Rule.__subclasses__())
        raise TypeError(f"{op}: rule must be one of {names}, got {rule!r}")
    if prediction not in PREDICTIONS:
        raise ValueError(f"{op}: prediction must be one of {', '.join(map(repr, PREDICTIONS))}, got {prediction!r}")


def check_generator(op: str, noise: object, generator: object) -> None:
    if generator is not None and not isinstance(generator, torch.Generator):
        raise TypeError(f"{op}: generator must be a torch.Generator or None, got {type(generator).__name__}")
    if noise is not None and generator is not None:
        raise ValueError(f"{op}: give noise or generator, got both")

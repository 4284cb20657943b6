"""The native module. Only `softdiff_ext.ops` and `build_info` call it.

The operators come first, with `attach`: what joins a result to the autograd graph where a tensor asks for a gradient, and the
sign that nobody has checked the arguments: they then return None for what is not for them. With None the caller answers for the
arguments.
"""

from collections.abc import Callable
from typing import TypeAlias

from torch import Generator, Tensor

_Attach: TypeAlias = Callable[..., Tensor] | None
_Level: TypeAlias = tuple[float | Tensor, float | Tensor, float | Tensor, float | Tensor] | Tensor  # fields, or float64 [B, 4]
_Seed: TypeAlias = int | Tensor | Generator | bool | None  # a tensor: 0-d int64 on the device of the images

cuda_compiled: bool

def level_filter(
    attach: _Attach, prefix: str, x: Tensor | None, noise: Tensor | None, seed: _Seed, level: _Level, power: int
) -> Tensor | None: ...
def step(
    attach: _Attach,
    name: str,
    output: Tensor | None,
    z_t: Tensor | None,
    noise: Tensor | None,
    seed: _Seed,
    s: _Level,
    t: _Level,
    rule: int,
    parameter: float,
    prediction: str,
) -> Tensor | None: ...
def filter_sum(
    attach: _Attach,
    image0: Tensor | None,
    gain0: Tensor | None,
    image1: Tensor | None,
    gain1: Tensor | None,
    image2: Tensor | None,
    gain2: Tensor | None,
) -> Tensor | None: ...
def transform(attach: _Attach, x: Tensor, ndim: int, inverse: bool) -> Tensor | None: ...
def energy(attach: _Attach, a: Tensor, b: Tensor, level: _Level) -> Tensor | None: ...
def correlation(attach: _Attach, x: Tensor, y: Tensor, sum_batch: bool, sum_channels: bool) -> Tensor | None: ...
def normal(out: Tensor, seed: int | Tensor) -> None: ...
def draw_device_seed(generator: Generator | None, device: int) -> int | Tensor: ...
def step_coefficients(name: str, out: Tensor, s: _Level, t: _Level, rule: int, parameter: float, prediction: str) -> None: ...
def check_level(prefix: str, batch: int, level: _Level) -> None: ...
def check_step(name: str, batch: int, s: _Level, t: _Level, rule: int, prediction: str) -> None: ...
def available_isas() -> list[str]: ...
def select_isa(name: str) -> None: ...
def build_info() -> dict[str, str | int | bool | list[str]]: ...

"""The native module: kernels on raw pointers. Only `softdiff_ext.ops` and `build_info` call it, all arguments checked."""

from typing import TypeAlias

_Shape: TypeAlias = tuple[int, ...]  # four sizes or strides
_Operand: TypeAlias = tuple[int, _Shape] | None  # data pointer, strides in elements
_Level: TypeAlias = tuple[float, float, float, float] | tuple[int, int]  # numbers, or (float64 pointer, count)

def level_filter(
    prefix: str,
    out: int,
    dtype: int,
    shape: _Shape,
    x: _Operand,
    noise: _Operand,
    seed: int | None,
    level: _Level,
    power: int,
    threads: int,
) -> None: ...
def step(
    name: str,
    out: int,
    dtype: int,
    shape: _Shape,
    output: _Operand,
    z_t: _Operand,
    noise: _Operand,
    seed: int | None,
    s: _Level,
    t: _Level,
    rule: int,
    parameter: float,
    prediction: int,
    threads: int,
) -> None: ...
def filter_sum(
    out: int,
    dtype: int,
    shape: _Shape,
    images: tuple[_Operand, _Operand, _Operand],
    gains: tuple[_Operand, _Operand, _Operand],
    threads: int,
) -> None: ...
def transform(out: int, dtype: int, shape: _Shape, x: _Operand, inverse: bool, rows_only: bool, threads: int) -> None: ...
def energy(prefix: str, out: int, dtype: int, shape: _Shape, a: _Operand, b: _Operand, level: _Level, threads: int) -> None: ...
def normal(out: int, dtype: int, size: int, seed: int, threads: int) -> None: ...
def step_coefficients(
    name: str,
    out: int,
    dtype: int,
    batch: int,
    size: tuple[int, int],
    s: _Level,
    t: _Level,
    rule: int,
    parameter: float,
    prediction: int,
) -> None: ...
def check_level(prefix: str, batch: int, level: _Level) -> None: ...
def check_step(name: str, batch: int, s: _Level, t: _Level, rule: int, prediction: int) -> None: ...
def available_isas() -> list[str]: ...
def select_isa(name: str) -> None: ...
def build_info() -> dict[str, str | int | bool | list[str]]: ...

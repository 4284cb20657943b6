"""From a case to rows: each candidate's answer is checked against float64, then those that are right are timed together."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

import torch
from cases import OURS, YARDSTICKS, Case, Operand
from timing import interleaved
from torch import Tensor

from softdiff_ext import reference

# Relative L2 errors above these are wrong answers: ten roundings of the type.
REFUSED = {torch.float64: 1e-13, torch.float32: 2e-6, torch.float16: 5e-3, torch.bfloat16: 4e-2}
CHECKED_NUMBERS = 400_000  # about as many numbers of each answer are checked, in whole samples, the last one among them
STANDARD_ERRORS = 6.0  # of the noise's mean square: beyond is a wrong std
LAST_CACHE = 32 << 20  # where the machine does not say
Row = dict[str, Any]


class WrongAnswer(Exception):
    """What is wrong with a candidate's answer."""


def samples(shape: tuple[int, ...]) -> list[int]:
    first = max(1, min(shape[0], CHECKED_NUMBERS // max(1, math.prod(shape[1:]))))
    return sorted({*range(first), shape[0] - 1})


def answer(case: Case, name: str, operand: Operand, seed: int, index: list[int]) -> Tensor:
    """The candidate's answer in float64 for the samples with these indices; the parts of a tuple side by side."""
    result = case.calls[name](operand, torch.Generator().manual_seed(seed))
    if isinstance(result, tuple):
        return torch.stack([part[index].double() for part in result], dim=1)
    return result[index].double()


def check(case: Case, name: str, operand: Operand) -> float | None:
    """Raise WrongAnswer, or return the relative L2 error of what is not noise.

    The noise is what the candidate makes of images that are 0, from the same generator: subtracted, it leaves the mean. It is
    checked by its mean square in the DCT basis, in units of the wanted std.
    """
    if name in YARDSTICKS:
        return None
    index = samples(case.shape)
    got, noise = answer(case, name, operand, 0, index), None
    if case.noise_std is not None:
        noise = answer(case, name, operand.zeros(), 0, index) if case.want else got
        check_noise(noise, case.noise_std(index), flat=case.want is None)
    if case.want is None:
        return None
    want = case.want(operand.rows(index), index)
    error = float((got - (0.0 if noise is None else noise) - want).norm() / want.norm())
    if not error <= REFUSED[case.dtype]:
        raise WrongAnswer(f"relative error {error:.1e}")
    return error


def check_noise(noise: Tensor, std: Tensor, flat: bool) -> None:
    spectrum = noise if flat else reference.dct(noise)
    std = std.expand_as(spectrum)
    if not bool((spectrum[std == 0].abs() < 1e-6).all()):
        raise WrongAnswer("noise where there should be none")
    unit = spectrum[std > 0] / std[std > 0]
    square, allowed = float(unit.square().mean()), STANDARD_ERRORS * math.sqrt(2.0 / unit.numel())
    if not abs(square - 1.0) <= allowed:
        raise WrongAnswer(f"the noise has {square:.4f} times the wanted variance")


def operands(case: Case, cold: bool, last_cache: int) -> list[Operand]:
    """One operand, or as many as are twice as large as the last cache together."""
    first = Operand.random(case.shape, case.dtype)
    count = max(2, math.ceil(2 * last_cache / first.bytes)) if cold else 1
    return [first, *(Operand.random(case.shape, case.dtype) for _ in range(count - 1))]


def run(case: Case, threads: int, cold: bool, budget: float, last_cache: int = LAST_CACHE) -> list[Row]:
    """The rows of one case: a time for each candidate that is right, the reason for each that is refused."""
    torch.manual_seed(0)
    sets = operands(case, cold, last_cache)
    errors: dict[str, float | None] = {}
    refused: dict[str, str] = {}
    for name in case.calls:
        try:
            errors[name] = check(case, name, sets[0])
        except WrongAnswer as wrong:
            refused[name] = str(wrong)
    calls = {name: (lambda o, f=case.calls[name]: f(o, None)) for name in errors}
    timings = interleaved(calls, sets, budget)
    numbers = math.prod(case.shape)
    common = {
        "group": case.group,
        "operator": case.operator,
        "shape": list(case.shape),
        "dtype": str(case.dtype).removeprefix("torch."),
        "threads": threads,
        "operands": "cold" if cold else "warm",
        "images": case.images,
        "noise": case.noise_std is not None,
    }
    rows = []
    for name in case.calls:
        row = {**common, "candidate": name, "ours": name == OURS}
        if name in refused:
            rows.append({**row, "status": f"refused: {refused[name]}"})
            continue
        timing = {key: value for key, value in asdict(timings[name]).items() if key != "rounds"}
        scaled = {f"ns_per_pixel_{key}": value * 1e9 / numbers for key, value in timing.items()}
        rows.append({**row, "status": "ok", "error": errors[name], "rounds": timings[name].rounds, **scaled})
    return rows

"""One table of the operators: how each is called on plain tensors, its oracle, and what its tensors are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

import softdiff_ext as sd
from softdiff_ext import reference
from softdiff_ext.rules import PREDICTIONS, Rule

from .helpers import randn

FIELD_VALUES = {
    "s.log_a": -0.1, "s.tau": 0.4, "s.sigma": 0.2, "s.floor": 0.06,
    "t.log_a": -0.5, "t.tau": 2.0, "t.sigma": 0.7, "t.floor": 0.05,
}  # fmt: skip
"""A cleaner level s and a noisier level t; sample b of a batch has (1 + b / 20) times these."""

LEVEL = ("t.log_a", "t.tau", "t.sigma", "t.floor")
LEVELS = tuple(FIELD_VALUES)
RULES: dict[str, Rule] = {
    "markov": sd.Markov(),
    "momentum": sd.Momentum(),
    "momentum exact": sd.Momentum(exact=True),
    "ddim": sd.DDIM(),
    "ddim 0.6": sd.DDIM(eta=0.6),
    "naive": sd.Naive(),
    "naive 0.3": sd.Naive(std=0.3),
    "cold": sd.Cold(),
}


@dataclass(frozen=True)
class Operator:
    """`call` and `oracle` take the tensors named in `inputs`: images, a gain, and fields of levels."""

    name: str
    call: Callable[..., Any]
    oracle: Callable[..., Any]
    inputs: tuple[str, ...]
    rule: Rule | None = None
    prediction: str = "x"

    @property
    def public_name(self) -> str:
        return self.name.split("[")[0]

    def make(self, shape: tuple[int, ...], dtype: torch.dtype, fields: str = "batch", seed: int = 0) -> list[Tensor]:
        """Tensors for the inputs; the fields of levels are float64, [B] or ("0-d") one number."""
        made = []
        for index, name in enumerate(self.inputs):
            if name in FIELD_VALUES:
                column = FIELD_VALUES[name] * (1.0 + torch.arange(max(shape[0], 1), dtype=torch.float64) / 20)
                made.append(column[: shape[0]] if fields == "batch" else column[0].clone())
            elif name == "gain":
                made.append(randn((shape[0], 1, *shape[2:]), seed + index).abs().to(dtype))
            else:
                made.append(randn(shape, seed + index, dtype))
        return made


def results(out: Any) -> tuple[Tensor, ...]:
    return out if isinstance(out, tuple) else (out,)


def level_pair(fields: tuple[Any, ...]) -> tuple[sd.Level, sd.Level]:
    return sd.Level(*fields[:4]), sd.Level(*fields[4:])


def _step(rule: Rule, prediction: str) -> Operator:
    name = next(key for key, value in RULES.items() if value == rule)
    return Operator(
        f"step[{name}, {prediction}]",
        lambda z, m, n, *f: sd.step(z, m, *level_pair(f), rule, prediction, noise=n),
        lambda z, m, n, *f: reference.step(z, m, *level_pair(f), rule, prediction, n),
        ("z", "m", "n", *LEVELS),
        rule,
        prediction,
    )


def _transform(name: str, ndim: int) -> Operator:
    return Operator(
        f"{name}[{ndim}]", lambda x: getattr(sd, name)(x, ndim), lambda x: getattr(reference, name)(x, ndim), ("x",)
    )


def _markov_reference(z: Tensor, m: Tensor, n: Tensor, *f: Tensor) -> Tensor:
    return reference.step(z, m, *level_pair(f), sd.Markov(), "x", n)


def _momentum(exact: bool) -> Operator:
    return Operator(
        f"momentum_step[{exact}]",
        lambda z, m, n, *f: sd.momentum_step(z, m, *level_pair(f), noise=n, exact=exact),
        lambda z, m, n, *f: reference.step(z, m, *level_pair(f), sd.Momentum(exact), "x", n),
        ("z", "m", "n", *LEVELS),
        sd.Momentum(exact),
    )


STEPS = [_step(rule, prediction) for rule in RULES.values() for prediction in PREDICTIONS]
OPERATORS = [
    *[_transform(name, ndim) for name in ("dct", "idct") for ndim in (1, 2, 3)],
    Operator("spectral_filter", sd.spectral_filter, reference.spectral_filter, ("x", "gain")),
    Operator("dct_blur", sd.dct_blur, reference.dct_blur, ("x", "t.tau", "t.floor")),
    Operator(
        "diffuse",
        lambda x, n, *f: sd.diffuse(x, sd.Level(*f), noise=n),
        lambda x, n, *f: reference.diffuse(x, sd.Level(*f), n),
        ("x", "n", *LEVEL),
    ),
    Operator(
        "posterior",
        lambda z, m, *f: sd.posterior(z, m, *level_pair(f)),
        lambda z, m, *f: reference.posterior(z, m, *level_pair(f)),
        ("z", "m", *LEVELS),
        sd.Markov(),
    ),
    Operator(
        "posterior_sample",
        lambda z, m, n, *f: sd.posterior_sample(z, m, *level_pair(f), noise=n),
        _markov_reference,
        ("z", "m", "n", *LEVELS),
        sd.Markov(),
    ),
    _momentum(False),
    _momentum(True),
    Operator(
        "soft_score_loss",
        lambda m, x, *f: sd.soft_score_loss(m, x, sd.Level(*f)),
        lambda m, x, *f: reference.soft_score_loss(m, x, sd.Level(*f)),
        ("m", "x", *LEVEL),
    ),
    *STEPS,
]
FEW_STEPS = ("step[markov, eps]", "step[ddim 0.6, v]", "step[momentum, x]", "step[naive, mean]", "step[cold, x]")
"""One step a rule, all four predictions: for the tests that are about the machinery, not the formulas."""

CORE = [op for op in OPERATORS if op not in STEPS or op.name in FEW_STEPS]


def names(operators: list[Operator]) -> list[str]:
    return [op.name for op in operators]

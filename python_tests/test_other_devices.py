"""Devices without kernels: the reference formulas stand in. Tried on the CPU by saying that it has none."""

from __future__ import annotations

import pytest
import torch

import softdiff_ext as sd
from softdiff_ext.ops import library, native

from .operators import CORE, Operator, results

SHAPE = (2, 3, 5, 8)


def forget_the_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "native", lambda x: False)
    for operator in library.OPS.values():
        monkeypatch.setattr(operator, "quick", lambda *args: None)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("op", CORE, ids=lambda op: op.name)
def test_same_results_and_gradients(op: Operator, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    def run() -> list[torch.Tensor]:
        values = op.make(SHAPE, dtype)
        images = [value.requires_grad_() for value in values if value.ndim == 4]
        outs = results(op.call(*values))
        return [*outs, *torch.autograd.grad(sum(out.square().sum() for out in outs), images)]

    with_kernels = run()
    forget_the_kernels(monkeypatch)
    # float32: the kernels round in float32, the formulas at the end only
    tolerance = {"rtol": 1e-12, "atol": 1e-12} if dtype == torch.float64 else {"rtol": 1e-4, "atol": 1e-4}
    for got, want in zip(run(), with_kernels, strict=True):
        torch.testing.assert_close(got, want, **tolerance)


@pytest.mark.parametrize("rule", [sd.Markov(), sd.Momentum(), sd.DDIM(0.5), sd.Naive(0.2), sd.Cold()])
def test_same_noise(rule: sd.Markov, monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.linspace(-1, 1, 240, dtype=torch.float64).reshape(SHAPE)
    s, t = sd.Level(-0.1, 0.5, 0.2, 1e-2), sd.Level(-0.4, 1.0, 0.6, 1e-2)

    def run() -> list[torch.Tensor]:
        generator = torch.Generator().manual_seed(4)
        return [sd.diffuse(x, t, generator=generator), sd.step(x, x / 2, s, t, rule, "v", generator=generator)]

    with_kernels = run()
    forget_the_kernels(monkeypatch)
    for got, want in zip(run(), with_kernels, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-12)

"""Eager calls on plain tensors: one native call that costs little; the long way round for everything else, to the same end."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import softdiff_ext as sd
from softdiff_ext.ops import library, native

from .helpers import DTYPES, randn
from .operators import CORE, Operator, names, results

S, T = sd.Level(-0.1, 0.5, 0.2, 1e-3), sd.Level(-0.4, 2.0, 0.6, 1e-3)
RULE = sd.DDIM()


def tiny_calls() -> dict[str, Callable[[Tensor], Tensor]]:
    y, gain = torch.randn(1, 1, 8, 8), torch.rand(1, 1, 8, 8)
    return {
        "dct_blur": lambda x: sd.dct_blur(x, 2.0),
        "dct": sd.dct,
        "idct": sd.idct,
        "diffuse": lambda x: sd.diffuse(x, T, noise=y),
        "diffuse, drawn": lambda x: sd.diffuse(x, T),
        "posterior_sample": lambda x: sd.posterior_sample(x, y, S, T, noise=y),
        "step": lambda x: sd.step(x, y, S, T, RULE, noise=y),
        "momentum_step": lambda x: sd.momentum_step(x, y, S, T, noise=y),
        "spectral_filter": lambda x: sd.spectral_filter(x, gain),
        "soft_score_loss": lambda x: sd.soft_score_loss(x, y, T),
    }


def smallest_times(calls: list[Callable[[], object]]) -> list[float]:
    """Taking turns, so that a busy machine slows all alike; the smallest of many runs is one nobody disturbed."""
    best = [float("inf")] * len(calls)
    for _ in range(60):
        for i, call in enumerate(calls):
            begun = time.perf_counter()
            for _ in range(50):
                call()
            best[i] = min(best[i], time.perf_counter() - begun)
    return best


@pytest.mark.parametrize("name", tiny_calls())
def test_a_call_costs_little_more_than_a_product(name: str) -> None:
    """Measured: 2 to 4 times torch.mul without a gradient, 3 to 5 times with one. Checks in Python alone cost 8 and 15."""
    call = tiny_calls()[name]
    x, y = torch.randn(2, 1, 1, 8, 8).unbind()
    leaf = x.clone().requires_grad_()
    own, product, own_grad, product_grad = smallest_times(
        [lambda: call(x), lambda: torch.mul(x, y), lambda: call(leaf), lambda: torch.mul(leaf, y)]
    )
    assert own < 6 * product
    assert own_grad < 9 * product_grad


@pytest.mark.parametrize("requires_grad", [False, True])
@pytest.mark.parametrize("name", tiny_calls())
def test_plain_calls_take_the_short_way(name: str, requires_grad: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    def long_way(*args: Any) -> Any:
        raise AssertionError("a plain call went the long way")

    monkeypatch.setattr(native, "native", long_way)
    x = torch.randn(1, 1, 8, 8, requires_grad=requires_grad)
    out = tiny_calls()[name](x)
    assert out.requires_grad == requires_grad
    if requires_grad:
        out.sum().backward()


def with_gradients(op: Operator, dtype: torch.dtype, fields: str, layout: str) -> list[Tensor]:
    """Results and gradients in the images; the fields of levels are tensors."""
    values = op.make((3, 2, 6, 5), dtype, fields)
    if layout == "strided":
        values = [value.mT.contiguous().mT if value.ndim == 4 else value for value in values]
    for value in values:
        value.requires_grad_(value.ndim == 4)
    outs = results(op.call(*values))
    total = torch.stack([out.square().sum() for out in outs]).sum()
    return [*outs, *torch.autograd.grad(total, [value for value in values if value.ndim == 4], materialize_grads=True)]


@pytest.mark.parametrize("layout", ["contiguous", "strided"])
@pytest.mark.parametrize("fields", ["batch", "0-d"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("op", CORE, ids=names(CORE))
def test_both_ways_lead_to_the_same(
    op: Operator, dtype: torch.dtype, fields: str, layout: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = with_gradients(op, dtype, fields, layout)
    for operator in library.OPS.values():
        monkeypatch.setattr(operator, "quick", lambda *args: None)
    for got, want in zip(short, with_gradients(op, dtype, fields, layout), strict=True):
        assert got.is_contiguous()
        torch.testing.assert_close(got, want, rtol=0, atol=0)


@pytest.mark.parametrize("name", tiny_calls())
def test_other_tensors_go_the_long_way(name: str) -> None:
    class Marked(Tensor):
        pass

    call = tiny_calls()[name]
    x = torch.randn(1, 1, 8, 8)

    def seeded(x: Tensor) -> Tensor:
        torch.manual_seed(3)
        return call(x)

    want = seeded(x)
    for other in (x.as_subclass(Marked), nn.Parameter(x)):
        torch.testing.assert_close(seeded(other).detach().as_subclass(Tensor), want, rtol=0, atol=0)
    wide = torch.randn(1, 1, 8, 8).to_sparse()
    with pytest.raises(TypeError, match=r"must be a dense \(strided\) tensor, got torch.sparse_coo"):
        call(wide)


def test_a_plain_subclass_is_read_by_its_attributes() -> None:
    class Marked(Tensor):
        pass

    x = randn((2, 3, 6, 5), 0, torch.float32).mT
    out = torch.ops.softdiff_ext.dct(x.as_subclass(Marked), 2, False)
    torch.testing.assert_close(out.as_subclass(Tensor), sd.dct(x), rtol=0, atol=0)


def test_calls_inside_transforms_are_not_taken_for_plain() -> None:
    x = randn((4, 2, 3, 6, 5), 0)
    tau = torch.linspace(0.1, 2.0, 4, dtype=torch.float64)
    got = torch.func.vmap(lambda x, tau: sd.dct_blur(x, tau))(x, tau)
    torch.testing.assert_close(got, torch.stack([sd.dct_blur(x[i], float(tau[i])) for i in range(4)]), rtol=0, atol=1e-13)
    kept: list[Tensor] = []

    def keep(x: Tensor) -> Tensor:
        kept.append(x)
        return x.sum()

    torch.func.grad(keep)(x[0])  # what is kept outlives its transform
    torch.testing.assert_close(sd.dct(kept[0]), sd.dct(x[0]), rtol=0, atol=0)


def test_a_level_changed_after_the_call_does_not_change_the_gradient() -> None:
    x = randn((3, 1, 6, 5), 0).requires_grad_()
    tau = torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64)
    weight = randn((3, 1, 6, 5), 1)
    out = sd.dct_blur(x, tau)
    want = sd.dct_blur(weight, tau.clone())
    tau.fill_(9.0)
    torch.testing.assert_close(torch.autograd.grad(out, x, weight)[0], want, rtol=0, atol=0)


def test_what_is_drawn_is_the_same_either_way(monkeypatch: pytest.MonkeyPatch) -> None:
    x = randn((2, 3, 6, 5), 0, torch.float32)

    def draws() -> list[Tensor]:
        torch.manual_seed(1)
        generator = torch.Generator().manual_seed(2)
        calls = [sd.diffuse(x, T), sd.diffuse(x, T, generator=generator), sd.posterior_sample(x, x, S, T, generator=generator)]
        return [*calls, torch.rand(3), torch.rand(3, generator=generator)]

    short = draws()
    for operator in library.OPS.values():
        monkeypatch.setattr(operator, "quick", lambda *args: None)
    for got, want in zip(short, draws(), strict=True):
        torch.testing.assert_close(got, want, rtol=0, atol=0)


def test_wrong_generators_are_not_taken_for_seeds() -> None:
    for generator in (True, 7, "cpu"):
        with pytest.raises(TypeError, match=r"diffuse: generator must be a torch.Generator or None"):
            sd.diffuse(torch.zeros(1, 1, 8, 8), T, generator=generator)


def test_registered_operators_refuse_what_does_not_fit_together() -> None:
    x, level = torch.zeros(2, 1, 4, 4), torch.zeros(1, 4, dtype=torch.float64)
    with pytest.raises(TypeError, match="the native kernels take images of one shape and dtype"):
        torch.ops.softdiff_ext.level_filter("", x, x[:1], None, level, 1)
    with pytest.raises(ValueError, match="wanted 1 or 2 of them, got 3"):
        torch.ops.softdiff_ext.level_filter("", x, None, None, level.expand(3, 4), 1)

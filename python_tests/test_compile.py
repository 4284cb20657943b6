"""torch.compile without graph breaks, vmap, FakeTensor, and torch.library.opcheck for every operator torch is told of."""

from __future__ import annotations

import importlib
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.func import vmap

import softdiff_ext as sd

from .helpers import DTYPES, randn
from .operators import CORE, Operator, names, results
from .registered import Calls, opcheck, registered_calls

SHAPE = (2, 3, 6, 5)
EVERY = pytest.mark.parametrize("op", CORE, ids=names(CORE))


@pytest.fixture(autouse=True)
def _fresh_dynamo() -> None:
    torch._dynamo.reset()


def assert_equal_results(got: Any, want: Any) -> None:
    for left, right in zip(results(got), results(want), strict=True):
        assert left.dtype == right.dtype
        torch.testing.assert_close(left, right, rtol=1e-12, atol=1e-13)


def with_gradients(function: Any, values: list[Tensor]) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    values = [value.detach().clone().requires_grad_() for value in values]
    outs = results(function(*values))
    total = torch.stack([(out * out).sum() for out in outs]).sum()
    return outs, torch.autograd.grad(total, values, materialize_grads=True)


@EVERY
def test_compiles_whole_forward_and_backward(op: Operator) -> None:
    compiled = torch.compile(op.call, fullgraph=True, backend="aot_eager")
    values = op.make(SHAPE, torch.float64)
    for got, want in zip(with_gradients(compiled, values), with_gradients(op.call, values), strict=True):
        assert_equal_results(got, want)


def test_compiles_for_a_batch_size_that_changes() -> None:
    """The second size makes it dynamic, the third runs without a new compilation; gradients of images only this time."""
    s, t = sd.Level(-0.1, 0.5, 0.2, 1e-3), sd.Level(-0.4, 2.0, 0.6, 1e-3)

    def function(z: Tensor, output: Tensor, noise: Tensor) -> Tensor:
        return sd.step(z, output, s, t, sd.Markov(), "eps", noise=noise)

    compiled = torch.compile(function, fullgraph=True, backend="aot_eager")
    for batch in (2, 3, 5):
        with torch._dynamo.config.patch(error_on_recompile=batch == 5):
            values = [randn((batch, 3, 6, 5), i) for i in range(3)]
            for got, want in zip(with_gradients(compiled, values), with_gradients(function, values), strict=True):
                assert_equal_results(got, want)


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")  # torch's own, on the first import of inductor
@pytest.mark.parametrize("name", ["dct_blur", "step[markov, eps]"])
def test_compiles_with_inductor(name: str) -> None:
    op = next(op for op in CORE if op.name == name)
    values = op.make(SHAPE, torch.float64)
    compiled = torch.compile(op.call, fullgraph=True)
    for got, want in zip(with_gradients(compiled, values), with_gradients(op.call, values), strict=True):
        assert_equal_results(got, want)


def test_compiles_between_other_operations_and_with_float_levels() -> None:
    s, t = sd.Level(-0.1, 0.5, 0.2, 1e-3), sd.Level(-0.4, 2.0, 0.6, 1e-3)

    def sampler_step(z: Tensor, output: Tensor, noise: Tensor) -> Tensor:
        x_hat = torch.tanh(sd.dct_blur(output, 0.25)) * 2
        return sd.step(z, x_hat, s, t, sd.DDIM(eta=0.5), noise=noise).relu()

    values = [randn(SHAPE, i) for i in range(3)]
    compiled = torch.compile(sampler_step, fullgraph=True, backend="aot_eager")
    for got, want in zip(with_gradients(compiled, values), with_gradients(sampler_step, values), strict=True):
        assert_equal_results(got, want)


def test_compiled_operators_draw_noise() -> None:
    level = sd.Level(0.0, 1.0, 0.5)
    compiled = torch.compile(lambda x: sd.diffuse(x, level), fullgraph=True, backend="aot_eager")
    x = randn((4, 3, 32, 32), 0, torch.float32)
    first, second = (compiled(x) - sd.diffuse(x, level, noise=torch.zeros_like(x)) for _ in range(2))
    assert not torch.equal(first, second)
    for noise in (first, second):  # 12288 numbers of std 0.5: five standard errors
        assert abs(noise.mean().item()) < 5 * 0.5 / 12288**0.5
        assert abs(noise.std().item() / 0.5 - 1) < 5 / (2 * 12288) ** 0.5


@EVERY
def test_vmap_is_a_loop(op: Operator) -> None:
    sets = [op.make(SHAPE, torch.float64, seed=10 * i) for i in range(3)]
    stacked = [torch.stack(column) for column in zip(*sets, strict=True)]
    loops = [results(op.call(*values)) for values in sets]
    for got, want in zip(results(vmap(op.call)(*stacked)), zip(*loops, strict=True), strict=True):
        assert_equal_results(got, torch.stack(want))
    # Only the first argument has the extra dimension, and it is the last one.
    moved = [stacked[0].movedim(0, -1), *sets[0][1:]]
    dims = (-1, *[None] * (len(moved) - 1))
    loops = [results(op.call(stacked[0][i], *sets[0][1:])) for i in range(3)]
    for got, want in zip(results(vmap(op.call, in_dims=dims)(*moved)), zip(*loops, strict=True), strict=True):
        assert_equal_results(got, torch.stack(want))


@EVERY
def test_gradients_under_vmap(op: Operator) -> None:
    """Per-sample gradients, the usual use of vmap."""
    sets = [op.make((1, 2, 3, 4), torch.float64, seed=10 * i) for i in range(2)]

    def gradient(*values: Tensor) -> Tensor:
        return torch.func.grad(lambda x: torch.stack([(out**2).sum() for out in results(op.call(x, *values[1:]))]).sum())(
            values[0]
        )

    stacked = [torch.stack(column) for column in zip(*sets, strict=True)]
    assert_equal_results(vmap(gradient)(*stacked), torch.stack([gradient(*values) for values in sets]))


@EVERY
@pytest.mark.parametrize("dtype", DTYPES)
def test_fake_tensors_have_the_shapes_of_real_ones(op: Operator, dtype: torch.dtype) -> None:
    values = op.make(SHAPE, dtype)
    real = results(op.call(*values))
    with FakeTensorMode() as mode:
        fake = results(op.call(*[mode.from_tensor(value) for value in values]))
    for left, right in zip(fake, real, strict=True):
        assert (left.shape, left.dtype, left.stride(), left.device) == (right.shape, right.dtype, right.stride(), right.device)


def test_opcheck_of_every_registered_operator() -> None:
    registered = set(importlib.import_module("softdiff_ext.ops.library").OPS)
    seed = torch.tensor(7)
    calls: Calls = registered_calls(lambda x: x * sd.normal(SHAPE, seed, dtype=torch.float64), [randn(SHAPE, 0)])
    for op in CORE:
        if op.name in ("dct[2]", "spectral_filter", "dct_blur", "diffuse", "soft_score_loss", "step[markov, eps]"):
            calls = registered_calls(op.call, op.make(SHAPE, torch.float64)) | calls
    assert {name.split("::")[1].split(".")[0] for name in calls} == registered, "an operator no test reaches, or one not listed"
    opcheck(calls)

"""First and second derivatives of every operator in every floating argument: finite differences, then the reference."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

import softdiff_ext as sd

from .helpers import ARITHMETIC, DTYPES, UNIT_ROUNDOFF, randn
from .operators import CORE, OPERATORS, Operator, names, results

SMALL = (2, 2, 3, 4)


def leaves(op: Operator, fields: str = "batch", shape: tuple[int, ...] = SMALL) -> list[Tensor]:
    return [value.requires_grad_() for value in op.make(shape, torch.float64, fields)]


@pytest.mark.parametrize("op", OPERATORS, ids=names(OPERATORS))
def test_first_derivatives_are_finite_differences(op: Operator) -> None:
    assert gradcheck(op.call, leaves(op), fast_mode=True)


@pytest.mark.parametrize("op", CORE, ids=names(CORE))
def test_every_entry_of_the_first_derivative(op: Operator) -> None:
    """Not the fast mode, which looks at one random direction; level fields 0-d this time."""
    assert gradcheck(op.call, leaves(op, "0-d", (2, 1, 2, 3)))


@pytest.mark.parametrize("op", OPERATORS, ids=names(OPERATORS))
def test_second_derivatives_are_finite_differences(op: Operator) -> None:
    assert gradgradcheck(op.call, leaves(op), fast_mode=True)


def derivatives(op: Operator, oracle: bool, values: list[Tensor], upstream: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
    """Gradients of the weighted results, and the gradients, in values and weights, of the sum of squares of those."""
    upstream = [weight.clone().requires_grad_() for weight in upstream]
    values = [value.detach().clone().requires_grad_() for value in values]
    outs = results((op.oracle if oracle else op.call)(*values))
    total = torch.stack([(out.double() * weight).sum() for out, weight in zip(outs, upstream, strict=True)]).sum()
    first = torch.autograd.grad(total, values, create_graph=True, materialize_grads=True)
    squares = torch.stack([(grad.double() ** 2).sum() for grad in first]).sum()
    second = torch.autograd.grad(squares, [*values, *upstream], materialize_grads=True)
    return [grad.detach() for grad in first], list(second)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("op", CORE, ids=names(CORE))
def test_gradients_equal_those_of_the_reference(device: torch.device, op: Operator, dtype: torch.dtype) -> None:
    values = [value.to(device) for value in op.make((3, 2, 13, 16), dtype)]
    wide = [value.double() for value in values]
    # Small upstream gradients: second derivatives are quadratic in them, and float16 ends at 65504.
    upstream = [
        randn(tuple(out.shape), 50 + i).to(device, dtype).double() / 512 for i, out in enumerate(results(op.call(*values)))
    ]
    got_first, got_second = derivatives(op, False, values, upstream)
    want_first, want_second = derivatives(op, True, wide, upstream)
    # A level's gradient sums products over an image: errors add in a sum whose terms partly cancel, hence the tenfold bound;
    # a second derivative is a function of the rounded first one, hence twice that.
    bound = 10 * (UNIT_ROUNDOFF[dtype] + ARITHMETIC[dtype])
    for got, want, times in [(g, w, 1) for g, w in zip(got_first, want_first, strict=True)] + [
        (g, w, 2) for g, w in zip(got_second, want_second, strict=True)
    ]:
        assert got.shape == want.shape
        assert (got.double() - want).norm().item() <= times * bound * want.norm().item() + 1e-12
    for got, value in zip(got_first, values, strict=True):
        assert got.dtype == value.dtype


@pytest.mark.parametrize("op", CORE, ids=names(CORE))
def test_each_argument_alone(op: Operator) -> None:
    """Asking for one gradient gives the number that asking for all gives, and leaves the others without one."""
    together = leaves(op)
    torch.stack([out.sum() for out in results(op.call(*together))]).sum().backward()
    for index in range(len(together)):
        alone = op.make(SMALL, torch.float64)
        alone[index].requires_grad_()
        total = torch.stack([out.sum() for out in results(op.call(*alone))]).sum()
        wanted = together[index].grad
        if not total.requires_grad:  # an argument the rule does not read, such as the noise of a Cold step
            assert wanted is None or not bool(wanted.any())
            continue
        total.backward()
        assert [value.grad is not None for value in alone] == [i == index for i in range(len(alone))]
        torch.testing.assert_close(alone[index].grad, wanted, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("op", CORE, ids=names(CORE))
def test_results_need_no_gradient_when_no_input_does(op: Operator) -> None:
    values = op.make(SMALL, torch.float32)
    assert not any(out.requires_grad for out in results(op.call(*values)))
    values[0].requires_grad_()
    with torch.no_grad():
        assert not any(out.requires_grad for out in results(op.call(*values)))


LINEAR = [
    "dct[2]",
    "dct_blur",
    "diffuse",
    "posterior",
    "posterior_sample",
    "momentum_step[False]",
    *[n for n in names(CORE) if "step[" in n],
]


@pytest.mark.parametrize("op", [op for op in CORE if op.name in LINEAR], ids=lambda op: op.name)
def test_the_gradient_of_an_image_saves_no_image(op: Operator) -> None:
    """Linear in their images: nothing the size of one is kept for backward where no level asks for a gradient."""
    values = op.make((2, 3, 16, 16), torch.float32)
    images = [value for value in values if value.ndim == 4]
    for image in images:
        image.requires_grad_()
    saved: list[int] = []

    def note(tensor: Tensor) -> Tensor:
        saved.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        op.call(*values)
    assert max(saved, default=0) < images[0].numel()


def test_a_gradient_that_is_not_contiguous() -> None:
    x = randn((2, 3, 8, 8), 0).requires_grad_()
    sd.dct_blur(x, 2.0).mT.sum().backward()  # upstream gradient: expanded and transposed
    torch.testing.assert_close(x.grad, torch.ones_like(x), rtol=0, atol=1e-13)


@pytest.mark.parametrize("rule", [sd.Markov(), sd.Momentum(), sd.Momentum(exact=True), sd.DDIM()], ids=repr)
def test_gradients_at_equal_levels_are_finite_and_right_for_images(rule: sd.Markov) -> None:
    """omega is a square root of 0 here: its slope is defined as 0, and must not turn the other gradients into NaN."""
    z, x_hat, n = (randn((1, 1, 4, 4), i).requires_grad_() for i in range(3))
    fields = [torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in (-0.4, 2.0, 0.6, 1e-3)]
    level = sd.Level(*fields)
    sd.step(z, x_hat, level, level, rule, noise=n).sum().backward()
    torch.testing.assert_close(z.grad, torch.ones_like(z), rtol=0, atol=1e-12)
    torch.testing.assert_close(x_hat.grad, torch.zeros_like(z), rtol=0, atol=1e-12)
    for field in fields:
        assert field.grad is None or bool(torch.isfinite(field.grad).all())

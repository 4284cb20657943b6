"""One definition, three ways to call it.

Eager calls cost a `torch.empty` and one native call. Where an input requires grad, or inside torch.func's transforms, the same
forward and backward run as an autograd.Function. torch.compile, export, FakeTensor and tensor subclasses, for which all that
would be opaque, see the same registered in torch.library.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch._C._functorch import maybe_current_level

NAMESPACE = "softdiff_ext"
OPS: list[str] = []
"""The names registered under torch.ops.softdiff_ext."""

Context = Any  # what torch hands to setup_context and backward
Forward = Callable[..., Tensor]
Backward = Callable[..., Any]


def compiled(tensors: tuple[Any, ...]) -> bool:
    """Whether a compiler or a tensor subclass looks at the call, rather than plain eager execution."""
    if torch.compiler.is_compiling():
        return True
    return any(isinstance(x, Tensor) and type(x) is not Tensor and type(x) is not torch.nn.Parameter for x in tensors)


def traced(tensors: tuple[Any, ...]) -> bool:
    """Whether values may not be looked at: `compiled`, or inside vmap and the other transforms of torch.func."""
    return maybe_current_level() is not None or compiled(tensors)


class Operator:
    """A differentiable operator.

    Args:
        schema: name and arguments in torch's schema language, such as "dct(Tensor x, int ndim, bool inverse) -> Tensor".
        forward: computes the result on plain tensors; arguments in the order of the schema.
        fake: the same on tensors without data: shape and dtype only.
        setup: setup(ctx, inputs, output) keeps what backward needs.
        backward: backward(ctx, grad) returns a gradient or None for each argument; differentiable itself.
        vmap: vmap(info, in_dims, *args) -> (output, out_dim).
    """

    def __init__(
        self, schema: str, forward: Forward, fake: Forward, setup: Backward, backward: Backward, vmap: Backward
    ) -> None:
        name, signature = schema[: schema.index("(")], schema[schema.index("(") :]
        self.forward = forward
        qualified = f"{NAMESPACE}::{name}"
        op = torch.library.custom_op(qualified, forward, mutates_args=(), schema=signature)
        op.register_fake(fake)
        op.register_autograd(backward, setup_context=setup)
        op.register_vmap(vmap)
        self.registered = getattr(getattr(torch.ops, NAMESPACE), name)
        self.function: Any = type(
            f"{name.title().replace('_', '')}Function",
            (torch.autograd.Function,),
            {
                "forward": staticmethod(forward),
                "setup_context": staticmethod(setup),
                "backward": staticmethod(backward),
                "vmap": staticmethod(vmap),
            },
        )
        OPS.append(name)

    def __call__(self, *args: Any) -> Tensor:
        result: Tensor
        if compiled(args):
            result = self.registered(*args)
        elif maybe_current_level() is not None or (
            torch.is_grad_enabled() and any(isinstance(x, Tensor) and x.requires_grad for x in args)
        ):
            result = self.function.apply(*args)
        else:
            result = self.forward(*args)
        return result


def fold_batch(info: Any, in_dims: tuple[Any, ...], args: tuple[Any, ...], kinds: str) -> tuple[list[Any], int]:
    """Fold the dimension that vmap adds into the batch dimension of every tensor.

    `kinds` has a letter for each argument: i images or gains (batch first, size 1 broadcasts), l packed levels [1 or B, 4],
    s a seed, . anything else. Returns the folded arguments and the batch size of one slice.
    """
    slices = list(args)
    for i, (x, dim, kind) in enumerate(zip(args, in_dims, kinds, strict=True)):
        if isinstance(x, Tensor) and kind in "il":
            slices[i] = x.unsqueeze(0) if dim is None else x.movedim(dim, 0)
        elif isinstance(x, Tensor) and dim is not None:
            slices[i] = x.select(dim, 0)  # one seed is enough: every element of the folded batch draws noise of its own
    batch = next(x.shape[1] for x, kind in zip(slices, kinds, strict=True) if kind == "i" and isinstance(x, Tensor))
    for i, (x, kind) in enumerate(zip(slices, kinds, strict=True)):
        if isinstance(x, Tensor) and kind in "il":
            slices[i] = x.expand(info.batch_size, batch, *x.shape[2:]).reshape(info.batch_size * batch, *x.shape[2:])
    return slices, batch


def unfold_batch(info: Any, result: Tensor, batch: int) -> tuple[Tensor, int]:
    return result.reshape(info.batch_size, batch, *result.shape[1:]), 0

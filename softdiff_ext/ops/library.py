"""One definition, two ways to call it: a plain eager function, and the same registered in torch.library.

The eager path costs a `torch.empty` and one native call, plus an autograd.Function where an input requires grad. The registered
operator serves torch.compile, export, FakeTensor, tensor subclasses and vmap, for which eager code would be opaque.
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


def traced(tensors: tuple[Any, ...]) -> bool:
    """Whether something other than plain eager execution looks at the call."""
    if torch.compiler.is_compiling() or maybe_current_level() is not None:
        return True
    return any(isinstance(x, Tensor) and type(x) is not Tensor and type(x) is not torch.nn.Parameter for x in tensors)


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

    def __init__(self, schema: str, forward: Forward, fake: Forward, setup: Backward, backward: Backward, vmap: Backward) -> None:
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
            {"forward": staticmethod(forward), "setup_context": staticmethod(setup), "backward": staticmethod(backward)},
        )
        OPS.append(name)

    def __call__(self, *args: Any) -> Tensor:
        result: Tensor
        if traced(args):
            result = self.registered(*args)
        elif torch.is_grad_enabled() and any(isinstance(x, Tensor) and x.requires_grad for x in args):
            result = self.function.apply(*args)
        else:
            result = self.forward(*args)
        return result


def fold_batch(info: Any, in_dims: tuple[int | None, ...], args: tuple[Any, ...], kinds: str) -> tuple[list[Any], int]:
    """Fold the dimension that vmap adds into the batch dimension of every tensor.

    `kinds` has a letter for each argument: i images or gains (batch first, size 1 broadcasts), l packed levels [1 or B, 4],
    . anything else. Returns the folded arguments and the batch size of one slice.
    """
    slices = [x.movedim(dim, 0) if dim is not None else x.unsqueeze(0) if isinstance(x, Tensor) and kind in "il" else x
              for x, dim, kind in zip(args, in_dims, kinds, strict=True)]
    batch = max(x.shape[1] for x, kind in zip(slices, kinds, strict=True) if kind in "il" and isinstance(x, Tensor))
    batch = next((x.shape[1] for x, kind in zip(slices, kinds, strict=True) if kind == "i" and isinstance(x, Tensor)), batch)
    folded = [
        x.expand(info.batch_size, batch, *x.shape[2:]).reshape(info.batch_size * batch, *x.shape[2:])
        if kind in "il" and isinstance(x, Tensor)
        else x
        for x, kind in zip(slices, kinds, strict=True)
    ]
    return folded, batch


def unfold_batch(info: Any, result: Tensor, batch: int) -> tuple[Tensor, int]:
    return result.reshape(info.batch_size, batch, *result.shape[1:]), 0

"""One definition, three ways to call it.

An eager call on plain tensors of the CPU or a GPU is one native call, which looks at its arguments itself (`Operator.quick`).
Where an input requires grad, or inside torch.func's transforms, the same forward and backward run as an autograd.Function. For
torch.compile, export, FakeTensor and tensor subclasses all that would be opaque: they see the same registered in torch.library.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor
from torch._C._functorch import maybe_current_level
from torch.compiler import is_compiling, is_dynamo_compiling

NAMESPACE = "softdiff_ext"
OPS: dict[str, Operator] = {}
"""The operators by the names registered under torch.ops.softdiff_ext."""

Context = Any  # what torch hands to setup_context and backward
Forward = Callable[..., Tensor]
Backward = Callable[..., Any]
Quick = Callable[..., Tensor | None]


def compiled(tensors: tuple[Any, ...]) -> bool:
    """Whether a compiler or a tensor subclass looks at the call, rather than plain eager execution."""
    if is_compiling():
        return True
    return any(isinstance(x, Tensor) and type(x) is not Tensor and type(x) is not torch.nn.Parameter for x in tensors)


def traced(tensors: tuple[Any, ...]) -> bool:
    """Whether values may not be looked at: `compiled`, or inside vmap and the other transforms of torch.func."""
    return maybe_current_level() is not None or compiled(tensors)


class Operator:
    """A differentiable operator.

    Args:
        schema: name and arguments in torch's schema language, such as "dct(Tensor x, int ndim, bool inverse) -> Tensor".
        kernel: the native function for eager calls: kernel(apply, *args), see `quick`.
        forward: computes the result on plain tensors; arguments in the order of the schema.
        fake: the same on tensors without data: shape and dtype only.
        setup: setup(ctx, inputs, output) keeps what backward needs.
        backward: backward(ctx, grad) returns a gradient or None for each argument; differentiable itself.
        vmap: vmap(info, in_dims, *args) -> (output, out_dim).
    """

    def __init__(
        self, schema: str, kernel: Quick, forward: Forward, fake: Forward, setup: Backward, backward: Backward, vmap: Backward
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
        self.quick: Quick = functools.partial(kernel, _attach(name, setup, backward))
        """quick(*args): the result of an eager call in one native call, or None where somebody has to look closer.

        Nothing needs to have been checked: the kernel takes plain tensors that fit together and levels that are in range, and
        gives None for all else, be it an error or a tensor of another kind; only values inside tensors it refuses itself. A
        level may be its four fields, and a seed where to draw one from: a torch.Generator, or True for torch's default one.
        Where a tensor asks for a gradient, the result has it. Not for code that torch.compile traces.
        """
        OPS[name] = self

    def __call__(self, *args: Any) -> Tensor:
        if not is_dynamo_compiling():
            quick = self.quick(*args)
            if quick is not None:
                return quick
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


def _attach(name: str, setup: Backward, backward: Backward) -> Callable[..., Tensor]:
    """attach(*leading, (others, result)): a result that the kernel has computed already, joined to the autograd graph.

    `leading` are the operator's arguments to the last image, `others` those after it.

    An autograd.Function in its older form, and its `apply` without what that does in Python: the newer form binds arguments by
    `inspect`, which takes longer than all the rest, and the transforms of torch.func have been looked for by the kernel.
    """

    def join(ctx: Context, *args: Any) -> Tensor:
        others, result = args[-1]
        setup(ctx, (*args[:-1], *others), result)
        return cast(Tensor, result)

    function: Any = type(
        f"{name.title().replace('_', '')}Attached",
        (torch.autograd.Function,),
        {"forward": staticmethod(join), "backward": staticmethod(lambda ctx, grad: (*backward(ctx, grad), None))},
    )
    attach: Callable[..., Tensor] = super(torch.autograd.Function, function).apply
    return attach


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

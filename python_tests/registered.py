"""Finds the operators of the project that are registered with torch, with real arguments, by watching compiled graphs run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx
from torch._dynamo.backends.common import aot_autograd
from torch._functorch.aot_autograd import make_boxed_func

Calls = dict[str, tuple[Any, tuple[Any, ...], dict[str, Any]]]


class _Recorder(fx.Interpreter):
    def __init__(self, graph: fx.GraphModule, calls: Calls) -> None:
        super().__init__(graph)
        self.calls = calls

    def call_function(self, target: Any, args: Any, kwargs: Any) -> Any:
        if getattr(target, "namespace", "") == "softdiff_ext":
            kept = fx.node.map_aggregate(args, lambda a: a.detach().clone() if isinstance(a, Tensor) else a)
            self.calls.setdefault(target.name(), (target, tuple(kept), dict(kwargs)))
        return super().call_function(target, args, kwargs)


def registered_calls(function: Callable[..., Any], values: list[Tensor]) -> Calls:
    """A call of each registered operator the function reaches: forward and backward, with and without level gradients."""
    calls: Calls = {}

    def record(graph: fx.GraphModule, _: list[Tensor]) -> Any:
        def run(*args: Tensor) -> Any:
            with torch.no_grad():
                return _Recorder(graph, calls).run(*args)

        return make_boxed_func(run)

    torch._dynamo.reset()
    compiled = torch.compile(
        function, fullgraph=True, backend=aot_autograd(fw_compiler=record, bw_compiler=record), dynamic=False
    )
    for fewest_dimensions in (4, 0):  # gradients of images only, then of every tensor
        leaves = [value.detach().clone().requires_grad_(value.ndim >= fewest_dimensions) for value in values]
        outs = compiled(*leaves)
        total = torch.stack([(out * out).sum() for out in (outs if isinstance(outs, tuple) else (outs,))]).sum()
        if total.requires_grad:
            total.backward()
    return calls


def opcheck(calls: Calls) -> None:
    """torch.library.opcheck of each call, as it was made and with every floating argument asking for a gradient."""
    for target, args, kwargs in calls.values():
        torch.library.opcheck(target, args, kwargs)
        leaves = fx.node.map_aggregate(
            args, lambda a: a.clone().requires_grad_() if isinstance(a, Tensor) and a.is_floating_point() else a
        )
        torch.library.opcheck(target, tuple(leaves), kwargs)

"""What calling an operator costs beside its arithmetic: one image of 8 x 8 pixels, with torch's own calls beside it.

    python benchmarks/overhead.py [--rounds 40]

Each time is the smallest of many short runs, operators taking turns in one process, in microseconds a call.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch
from torch import Tensor

import softdiff_ext as sd

CALLS = 200
"""In a run: long against the resolution of the clock, short against the pauses of a shared machine."""
COLUMNS = ("no grad", "grad", "forward + backward")
Call = Callable[[Tensor], Tensor]


class Attached(torch.autograd.Function):
    """Joins a result that is there to the graph: what any operator written in Python or by pybind11 takes for a gradient."""

    @staticmethod
    def forward(ctx: object, x: Tensor, result: Tensor) -> Tensor:
        return result

    @staticmethod
    def backward(ctx: object, *grads: Tensor) -> tuple[Tensor, None]:
        return grads[0], None


# Without what autograd.Function's own `apply` does in Python.
join = super(torch.autograd.Function, Attached).apply


def operators() -> dict[str, Call]:
    """Each operator as a function of its first image; torch's own first."""
    y, gain = torch.randn(1, 1, 8, 8), torch.rand(1, 1, 8, 8)
    s, t = sd.Level(-0.1, 0.5, 0.2, 1e-3), sd.Level(-0.4, 2.0, 0.6, 1e-3)
    rule, tau = sd.DDIM(), torch.ones(1, dtype=torch.float64)
    return {
        "torch.mul": lambda x: torch.mul(x, y),
        "torch.empty_like, joined to the graph": lambda x: join(x, torch.empty_like(x)),
        "dct_blur": lambda x: sd.dct_blur(x, 2.0),
        "dct_blur, tau [B]": lambda x: sd.dct_blur(x, tau),
        "dct": sd.dct,
        "idct": sd.idct,
        "diffuse": lambda x: sd.diffuse(x, t, noise=y),
        "diffuse, noise drawn": lambda x: sd.diffuse(x, t),
        "posterior_sample": lambda x: sd.posterior_sample(x, y, s, t, noise=y),
        "posterior_sample, noise drawn": lambda x: sd.posterior_sample(x, y, s, t),
        "step": lambda x: sd.step(x, y, s, t, rule, noise=y),
        "momentum_step": lambda x: sd.momentum_step(x, y, s, t, noise=y),
        "spectral_filter": lambda x: sd.spectral_filter(x, gain),
        "soft_score_loss": lambda x: sd.soft_score_loss(x, y, t),
    }


def runs(call: Call) -> dict[str, Callable[[], object]]:
    """What is timed, by column."""
    x = torch.randn(1, 1, 8, 8)
    leaf = x.clone().requires_grad_()
    upstream = torch.ones_like(call(x))
    return {
        "no grad": lambda: call(x),
        "grad": lambda: call(leaf),
        "forward + backward": lambda: torch.autograd.grad(call(leaf), leaf, upstream),
    }


def _microseconds(run: Callable[[], object]) -> float:
    begun = time.perf_counter()
    for _ in range(CALLS):
        run()
    return (time.perf_counter() - begun) * 1e6 / CALLS


def measure(rounds: int = 40) -> dict[str, dict[str, float]]:
    """Microseconds a call, by operator and column."""
    torch.manual_seed(0)
    timed = {name: runs(call) for name, call in operators().items()}
    best = {name: dict.fromkeys(COLUMNS, float("inf")) for name in timed}
    for _ in range(rounds):
        for name, columns in timed.items():
            for column, run in columns.items():
                best[name][column] = min(best[name][column], _microseconds(run))
    return best


def table(measured: dict[str, dict[str, float]]) -> str:
    lines = ["| us a call | " + " | ".join(COLUMNS) + " |", "|---" * (1 + len(COLUMNS)) + "|"]
    lines += [f"| {name} | " + " | ".join(f"{row[column]:.2f}" for column in COLUMNS) + " |" for name, row in measured.items()]
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=40)
    torch.set_num_threads(1)
    print(table(measure(parser.parse_args().rounds)))

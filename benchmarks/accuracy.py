"""The accuracy table: every operator in every number type, against the float64 reference and beside plain PyTorch.

    python benchmarks/accuracy.py            prints the table as Markdown and writes benchmarks/results/accuracy.md

Errors are the largest relative L2 errors over the shapes below: of the result, of the gradient in every floating argument
(the fields of levels as one vector), and of the gradient of the squared norm of those gradients. "plain" is the same formula
as PyTorch matrix products in that number type. A 16-bit error is accepted when it is at most twice the plain one; the exit
code 1 says that one was not.
"""

from __future__ import annotations

import math
import sys
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT))  # for the table of operators that the tests use; an installed softdiff_ext comes before it

import softdiff_ext as sd  # noqa: E402
from python_tests.helpers import DTYPES, randn  # noqa: E402
from python_tests.operators import CORE, OPERATORS, Operator, level_pair, results  # noqa: E402
from python_tests.registered import opcheck, registered_calls  # noqa: E402
from softdiff_ext import reference  # noqa: E402

SHAPES = ((2, 3, 8, 8), (2, 1, 28, 28), (2, 3, 32, 32), (1, 3, 33, 31), (1, 3, 64, 64), (2, 1, 109, 7), (3, 2, 1, 5))
MACHINERY = (2, 3, 16, 16)
"""The shape for compile and opcheck."""
# Bounds of the two wide types: two transforms of 3.5e-7 (1e-15) each and the coefficients. Gradients pass through more of
# both: three times as much.
WIDE = {torch.float64: 1e-14, torch.float32: 1e-6}


def plain(op: Operator) -> Callable[..., Any]:
    """The operator as matrix products in the images' own number type, the coefficients rounded to it."""

    def transform(x: Tensor, ndim: int, inverse: bool) -> Tensor:
        for dim in range(-ndim, 0):
            matrix = reference.dct_matrix(x.shape[dim], x.dtype)
            x = torch.movedim(torch.movedim(x, dim, -1) @ (matrix if inverse else matrix.T), -1, dim)
        return x

    def combine(*terms: tuple[Tensor, Tensor]) -> Tensor:
        return transform(sum(gain.to(image.dtype) * transform(image, 2, False) for gain, image in terms), 2, True)

    def lam(x: Tensor) -> Tensor:
        return reference.eigenvalues((x.shape[-2], x.shape[-1]))

    def diffuse(x: Tensor, n: Tensor, *fields: Tensor) -> Tensor:
        return combine((reference.alpha(sd.Level(*fields), lam(x)), x)) + fields[2].reshape(-1, 1, 1, 1).to(x.dtype) * n

    def loss(m: Tensor, x: Tensor, *fields: Tensor) -> Tensor:
        return ((reference.alpha(sd.Level(*fields), lam(x)).to(x.dtype) * transform(m - x, 2, False)) ** 2).sum((1, 2, 3))

    def posterior(z: Tensor, m: Tensor, *fields: Tensor) -> tuple[Tensor, Tensor]:
        p, q, w = reference.step_coefficients(*level_pair(fields), sd.Markov(), "x", lam(z))
        return combine((p, m), (q, z)), (w**2).to(z.dtype)

    def step(z: Tensor, m: Tensor, n: Tensor, *fields: Tensor) -> Tensor:
        p, q, w = reference.step_coefficients(*level_pair(fields), op.rule or sd.Markov(), op.prediction, lam(z))
        return combine((p, m), (q, z), (w, n))

    kinds: dict[str, Callable[..., Any]] = {
        "dct": lambda x: transform(x, int(op.name[-2]), False),
        "idct": lambda x: transform(x, int(op.name[-2]), True),
        "spectral_filter": lambda x, gain: combine((gain, x)),
        "dct_blur": lambda x, tau, floor: combine((reference.blur_gain(tau, floor, lam(x)), x)),
        "diffuse": diffuse,
        "posterior": posterior,
        "soft_score_loss": loss,
    }
    return kinds.get(op.public_name, step)


def measure(function: Callable[..., Any], values: list[Tensor], dtype: torch.dtype, levels: bool) -> list[list[Tensor]]:
    """Results, gradients and second gradients in float64; the upstream gradients are numbers of `dtype`.

    Without `levels` only images ask for gradients: then the kernels compute the coefficients, which otherwise come from torch.
    """
    copies = [value.detach().clone().requires_grad_(levels or value.ndim == 4) for value in values]
    leaves = [value for value in copies if value.requires_grad]
    outs = results(function(*copies))
    # Upstream gradients small enough that second derivatives, quadratic in them, stay inside float16.
    upstream = [(randn(tuple(out.shape), 90 + i) / 512).to(dtype).double().requires_grad_() for i, out in enumerate(outs)]
    total = torch.stack([(out.double() * weight).sum() for out, weight in zip(outs, upstream, strict=True)]).sum()
    first = torch.autograd.grad(total, leaves, create_graph=True, materialize_grads=True)
    squares = torch.stack([(grad.double() ** 2).sum() for grad in first]).sum()
    second = torch.autograd.grad(squares, [*leaves, *upstream], materialize_grads=True)
    return [_vectors(group) for group in (outs, first, second)]


def _vectors(tensors: Sequence[Tensor]) -> list[Tensor]:
    """The images and gains one by one; what is [B] only, the fields of levels, as one vector, for some alone nearly cancel."""
    small = [tensor.detach().double().reshape(-1) for tensor in tensors if tensor.ndim < 4]
    large = [tensor.detach().double() for tensor in tensors if tensor.ndim == 4]
    return [*large, torch.cat(small)] if small else large


def relative(got: list[Tensor], want: list[Tensor]) -> float:
    """Largest relative L2 error; where the right answer is 0, the answer itself counts."""
    return max((g - w).norm().item() / (w.norm().item() or 1.0) for g, w in zip(got, want, strict=True))


def errors(op: Operator, dtype: torch.dtype) -> dict[str, float]:
    """Largest error of result, gradient and second gradient, ours and the plain ones."""
    worst: dict[str, float] = defaultdict(float)
    for shape in SHAPES:
        values = op.make(shape, dtype)
        for levels in (False, True):
            exact = measure(op.oracle, [value.double() for value in values], dtype, levels)
            for who, function in (("", op.call), ("plain ", plain(op))):
                found = measure(function, values, dtype, levels)
                for what, got, want in zip(("forward", "grad", "gradgrad"), found, exact, strict=True):
                    worst[who + what] = max(worst[who + what], relative(got, want))
    return worst


def compiled_difference(op: Operator, dtype: torch.dtype) -> float:
    """Largest relative difference between the compiled operator and the eager one, result and gradients."""
    torch._dynamo.reset()
    values = op.make(MACHINERY, dtype)
    outcomes = []
    for function in (torch.compile(op.call, fullgraph=True, backend="aot_eager"), op.call):
        leaves = [value.clone().requires_grad_() for value in values]
        outs = results(function(*leaves))
        total = torch.stack([out.double().sum() for out in outs]).sum()
        grads = torch.autograd.grad(total, leaves, materialize_grads=True)
        outcomes.append([tensor.detach().double() for tensor in (*outs, *grads)])
    return relative(*outcomes)


def rows() -> tuple[list[str], list[str]]:
    """Lines of the table, and what is not accepted."""
    lines, refused = [], []
    for name in dict.fromkeys(op.public_name for op in OPERATORS):
        for dtype in DTYPES:
            worst: dict[str, float] = defaultdict(float)
            for op in (op for op in OPERATORS if op.public_name == name):
                for what, error in errors(op, dtype).items():
                    worst[what] = max(worst[what], error)
                if op in CORE:
                    worst["compile"] = max(worst["compile"], compiled_difference(op, dtype))
                    opcheck(registered_calls(op.call, op.make(MACHINERY, dtype)))  # raises where it fails
            cells = [f"{worst['compile']:.1e}", "pass"]
            for what in ("gradgrad", "grad", "forward"):
                wide = WIDE.get(dtype)
                bound = 2 * worst[f"plain {what}"] if wide is None else wide * (1 if what == "forward" else 3)
                if not worst[what] <= bound:
                    refused.append(f"{name}, {dtype}, {what}: {worst[what]:.2e} is over {bound:.2e}")
                cells.insert(0, f"{worst[what]:.1e} ({worst[f'plain {what}']:.1e})")
            lines.append(f"| {name} | {str(dtype).removeprefix('torch.')} | {' | '.join(cells)} |")
            print(lines[-1], flush=True)
    return lines + noise_rows(), refused


def noise_rows() -> list[str]:
    lines = []
    for dtype in DTYPES:
        want = reference.normal((1 << 18,), 1, dtype=torch.float64)
        got = sd.normal((1 << 18,), 1, dtype=dtype, device="cpu").double()
        error = ((got - want).norm() / math.sqrt(want.numel())).item()
        lines.append(f"| normal | {str(dtype).removeprefix('torch.')} | {error:.1e} | - | - | - | - |")
        print(lines[-1], flush=True)
    return lines


HEAD = (
    "| operator | type | forward (plain) | grad (plain) | gradgrad (plain) | compile against eager | opcheck |",
    "|---|---|---|---|---|---|---|",
)


def main() -> int:
    torch.set_num_threads(1)
    print("\n".join(HEAD), flush=True)
    lines, refused = rows()
    verdict = "\n".join(f"- NOT ACCEPTED: {line}" for line in refused) or "All accepted."
    text = f"""# Accuracy of the operators against softdiff_ext.reference in float64

Repeat with `python benchmarks/accuracy.py`. {(__doc__ or "").split("accuracy.md", 1)[1].strip()}

Shapes: {", ".join(map(str, SHAPES))}. `step` is the worst of all rules and predictions. torch {torch.__version__}.

{chr(10).join((*HEAD, *lines))}

{verdict}
"""
    (ROOT / "benchmarks" / "results" / "accuracy.md").write_text(text)
    print(f"\n{verdict}")
    return 1 if refused else 0


if __name__ == "__main__":
    raise SystemExit(main())

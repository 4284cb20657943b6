"""Speed of the operators on the CPU against the same written with what else there is, interleaved in one process.

    python benchmarks/operators.py [--threads 1 2] [--rounds 15]

Every answer is checked against float64 first, and a wrong one is refused. Times are medians, warm, in nanoseconds per
pixel; only the ratios of one run mean anything on a shared machine. Peers: torch with DCT matrices made beforehand, scipy.fft
and ducc0 (extra `bench`; a missing one is named). Writes benchmarks/results/operators.json and operators.md.
"""

from __future__ import annotations

import argparse
import importlib
import json
import platform
import statistics
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import softdiff_ext as sd
from softdiff_ext import reference

SHAPES = [
    (128, 3, 32, 32),
    (128, 3, 64, 64),
    (32, 3, 128, 128),
    (16, 3, 256, 256),
    (4, 3, 512, 512),
    (512, 1, 28, 28),
    (8, 3, 218, 178),
]
COLUMNS = ("dct_blur", "copy", "torch matmul", "scipy", "ducc0", "diffuse", "posterior_sample", "momentum_step")
RESULTS = Path(__file__).parent / "results"
Case = dict[str, Callable[[], Tensor]]


def optional(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        print(f"peer {name} is missing (pip install 'softdiff-ext[bench]')")
        return None


SCIPY, DUCC = optional("scipy.fft"), optional("ducc0")


class Dense:
    """The operators as one writes them with torch alone: DCT matrices and gain maps made beforehand, noise by torch.randn."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.rows, self.columns = (reference.dct_matrix(n).float() for n in shape[2:])
        self.rows_t, self.columns_t = self.rows.T.contiguous(), self.columns.T.contiguous()

    def dct(self, x: Tensor) -> Tensor:
        return self.rows @ (x @ self.columns_t)

    def idct(self, u: Tensor) -> Tensor:
        return self.rows_t @ (u @ self.columns)


def blur_case(shape: tuple[int, ...], threads: int) -> tuple[Case, Tensor]:
    x, tau = torch.randn(shape), 0.1 + 2.0 * torch.rand(shape[0], dtype=torch.float64)
    gain = reference.blur_gain(tau, 0.0, reference.eigenvalues(shape[2:])).float()
    dense = Dense(shape)
    pixels, gains = x.numpy(), gain.numpy()
    case: Case = {
        "copy": x.clone,  # allocates its result, as all of them do
        "softdiff_ext": lambda: sd.dct_blur(x, tau),
        "torch matmul": lambda: dense.idct(dense.dct(x).mul_(gain)),
    }
    if SCIPY:
        args = {"axes": (2, 3), "norm": "ortho", "workers": threads}
        case["scipy"] = lambda: torch.from_numpy(SCIPY.idctn(SCIPY.dctn(pixels, **args) * gains, overwrite_x=True, **args))
    if DUCC:
        args_d = {"axes": (2, 3), "inorm": 1, "nthreads": threads}
        case["ducc0"] = lambda: torch.from_numpy(DUCC.fft.dct(DUCC.fft.dct(pixels, type=2, **args_d) * gains, type=3, **args_d))
    return case, reference.dct_blur(x.double(), tau)


def sampler_case(shape: tuple[int, ...]) -> Case:
    """Two images in, noise drawn, one out; nothing to check against, since the noise differs: the tests do that."""
    x, z = torch.randn(shape), torch.randn(shape)
    s, t = sd.Level(-0.05, 0.5, 0.3, 1e-3), sd.Level(-0.2, 1.0, 0.57, 1e-3)
    p, q, w = (c.float() for c in reference.step_coefficients(s, t, sd.Markov(), "x", reference.eigenvalues(shape[2:])))
    alpha, dense = reference.alpha(t, reference.eigenvalues(shape[2:])).float(), Dense(shape)
    return {
        "diffuse": lambda: sd.diffuse(x, t),
        "diffuse, torch": lambda: dense.idct(dense.dct(x).mul_(alpha)).add_(torch.randn(shape), alpha=0.57),
        "posterior_sample": lambda: sd.posterior_sample(z, x, s, t),
        "posterior_sample, torch": lambda: dense.idct(
            dense.dct(x).mul_(p).add_(dense.dct(z).mul_(q)).addcmul_(w, torch.randn(shape))
        ),
        "momentum_step": lambda: sd.momentum_step(z, x, s, t),
        "momentum_step, torch": lambda: dense.idct(dense.dct(x).mul_(p)).add_(z, alpha=0.3).add_(torch.randn(shape), alpha=0.5),
    }


def check(case: Case, want: Tensor) -> None:
    for name, function in case.items():
        error = float((function().double() - want).norm() / want.norm())
        if name != "copy" and error > 1e-6:
            raise SystemExit(f"{name}: relative error {error:.1e}: refused")


def medians(case: Case, rounds: int, pixels: int) -> dict[str, float]:
    times: dict[str, list[float]] = {name: [] for name in case}
    for _ in range(rounds):
        for name, function in case.items():
            function()
            begun = time.perf_counter()
            function()
            times[name].append(time.perf_counter() - begun)
    return {name: statistics.median(values) * 1e9 / pixels for name, values in times.items()}


def commit() -> str:
    done = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    rows, info = [], sd.build_info()
    for threads in options.threads:
        torch.set_num_threads(threads)
        for shape in SHAPES:
            torch.manual_seed(0)
            case, want = blur_case(shape, threads)
            check(case, want)
            pixels = want.numel()
            blur, sampler = medians(case, options.rounds, pixels), medians(sampler_case(shape), options.rounds, pixels)
            rows.append({"shape": shape, "threads": threads, "dct_blur_ns": blur, "sampler_ns": sampler})
            print(shape, threads, {name: round(value, 2) for name, value in {**blur, **sampler}.items()}, flush=True)
    machine = {
        "cpu": platform.processor() or platform.machine(),
        "isa": info["isa"],
        "torch": info["torch"],
        "commit": commit(),
    }
    text = table(rows, machine)
    (RESULTS / "operators.json").write_text(json.dumps({"machine": machine, "rows": rows}, indent=1) + "\n")
    (RESULTS / "operators.md").write_text(text)
    print(text)


def table(rows: list[dict[str, Any]], machine: dict[str, Any]) -> str:
    lines = [
        "# Operators on the CPU, float32",
        "",
        f"{machine['isa']}, torch {machine['torch']}, commit {machine['commit']}; `python benchmarks/operators.py` repeats it.",
        "`dct_blur` with a heat time per sample in ns per pixel, and how many times as long a copy of the same bytes and peers",
        "take.",
        "",
        "| " + " | ".join(("shape", "threads", *COLUMNS)) + " |",
        "|---|---" + "|---" * len(COLUMNS) + "|",
    ]
    for row in rows:
        blur, sampler = row["dct_blur_ns"], row["sampler_ns"]
        ours = blur["softdiff_ext"]
        peers = [f"{blur[name] / ours:.2g}x" if name in blur else "-" for name in COLUMNS[1:5]]
        steps = [f"{sampler[name]:.2f} ({sampler[name + ', torch'] / sampler[name]:.1f}x)" for name in COLUMNS[5:]]
        shape = "x".join(map(str, row["shape"]))
        lines.append(f"| {shape} | {row['threads']} | {ours:.2f} | {' | '.join(peers + steps)} |")
    lines += ["", "The last three: ns per pixel with noise drawn, and how many times longer matmuls and torch.randn take.", ""]
    return "\n".join(lines)


if __name__ == "__main__":
    main()

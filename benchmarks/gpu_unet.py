"""What the operators take of a training step and of a sampling step on a GPU, around a small UNet written here.

    python benchmarks/gpu_unet.py --out FOLDER [--device cuda] [--side 64] [--batch 64] [--width 64]

Soft Diffusion's loss on images of 64 x 64: corrupt, run the network, soft score loss, backward, AdamW; and a momentum step
after a call of the network. Time on the device between events around the operators, over the time of the whole step.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from gpu import write
from torch import Tensor, nn
from torch.nn import functional

import softdiff_ext as sd

STEPS, WARM_UP = 10, 3


class Block(nn.Module):
    """GroupNorm, SiLU, 3 x 3 convolution, twice, with the time added in between."""

    def __init__(self, channels_in: int, channels_out: int, time_features: int) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.GroupNorm(8, channels_in), nn.SiLU(), nn.Conv2d(channels_in, channels_out, 3, padding=1))
        self.second = nn.Sequential(
            nn.GroupNorm(8, channels_out), nn.SiLU(), nn.Conv2d(channels_out, channels_out, 3, padding=1)
        )
        self.time = nn.Linear(time_features, channels_out)
        self.skip = nn.Conv2d(channels_in, channels_out, 1) if channels_in != channels_out else nn.Identity()

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        y = self.first(x) + self.time(t)[:, :, None, None]
        return self.second(y) + self.skip(x)


class UNet(nn.Module):
    """Three resolutions, two blocks each way."""

    def __init__(self, width: int) -> None:
        super().__init__()
        sizes = (width, 2 * width, 2 * width)
        self.time = nn.Sequential(nn.Linear(1, width), nn.SiLU(), nn.Linear(width, width))
        self.stem = nn.Conv2d(3, width, 3, padding=1)
        self.down = nn.ModuleList(Block(a, b, width) for a, b in zip((width, *sizes[:-1]), sizes, strict=True))
        self.middle = Block(sizes[-1], sizes[-1], width)
        ups = zip(sizes[::-1], (*sizes[-2::-1], width), strict=True)
        self.up = nn.ModuleList(Block(2 * a, b, width) for a, b in ups)
        self.head = nn.Conv2d(width, 3, 3, padding=1)

    def forward(self, z: Tensor, t: Tensor) -> Tensor:
        features = self.time(t[:, None])
        x, kept = self.stem(z), []
        for block in self.down:
            x = block(x, features)
            kept.append(x)
            x = functional.avg_pool2d(x, 2)
        x = self.middle(x, features)
        for block in self.up:
            x = block(torch.cat([functional.interpolate(x, scale_factor=2.0), kept.pop()], dim=1), features)
        out: Tensor = self.head(x)
        return out


class Stopwatch:
    """Time on the device of named stretches of a step; on a CPU the time of a clock."""

    def __init__(self, device: torch.device) -> None:
        self.on_gpu = device.type == "cuda"
        self.marks: list[tuple[str, Any, Any]] = []

    def _now(self) -> Any:
        if not self.on_gpu:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    @contextmanager
    def measure(self, name: str) -> Iterator[None]:
        begun = self._now()
        yield
        self.marks.append((name, begun, self._now()))

    def milliseconds(self) -> dict[str, float]:
        if self.on_gpu:
            torch.cuda.synchronize()
        total: dict[str, float] = {}
        for name, begun, ended in self.marks:
            taken = begun.elapsed_time(ended) if self.on_gpu else (ended - begun) * 1e3
            total[name] = total.get(name, 0.0) + taken
        return total


def level(t: Tensor) -> sd.Level:
    """Blur that grows with t, and a little noise."""
    return sd.Level(tau=(8.0 * t).square() / 2 + 1e-4, sigma=0.01 + 0.09 * t)


def steps(device: torch.device, side: int, batch: int, width: int) -> dict[str, Callable[[Stopwatch], None]]:
    torch.manual_seed(0)
    network = UNet(width).to(device)
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-4)
    x = torch.rand(batch, 3, side, side, device=device) * 2 - 1
    s, t = (level(torch.full((batch,), value, dtype=torch.float64, device=device)) for value in (0.4, 0.5))
    half = torch.full((batch,), 0.5, device=device)
    mixed = torch.autocast("cuda", torch.bfloat16) if device.type == "cuda" else nullcontext()

    def training(watch: Stopwatch) -> None:
        with watch.measure("step"):
            times = torch.rand(batch, device=device)
            at = level(times.double())
            with watch.measure("operators"):
                z = sd.diffuse(x, at)
            with mixed:
                x_hat = network(z, times).float() + z
            with watch.measure("operators"):
                loss = sd.soft_score_loss(x_hat, x, at).mean()
                (upstream,) = torch.autograd.grad(loss, x_hat)
            optimiser.zero_grad(set_to_none=True)
            x_hat.backward(upstream)
            optimiser.step()

    def sampling(watch: Stopwatch) -> None:
        with torch.no_grad(), watch.measure("step"):
            with mixed:
                x_hat = network(x, half).float() + x
            with watch.measure("operators"):
                sd.momentum_step(x, x_hat, s, t)

    return {"training step": training, "sampling step": sampling}


def measure(device: torch.device, side: int, batch: int, width: int, repeats: int = STEPS) -> list[dict[str, Any]]:
    rows = []
    for name, step in steps(device, side, batch, width).items():
        for _ in range(WARM_UP):
            step(Stopwatch(device))
        totals, shares = [], []
        for _ in range(repeats):
            watch = Stopwatch(device)
            step(watch)
            taken = watch.milliseconds()
            totals.append(taken["step"])
            shares.append(taken["operators"] / taken["step"])
        rows.append(
            {
                "step": name,
                "shape": [batch, 3, side, side],
                "parameters": sum(p.numel() for p in UNet(width).parameters()),
                "milliseconds": statistics.median(totals),
                "share_of_operators": statistics.median(shares),
            }
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--side", type=int, default=64)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--width", type=int, default=64)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    rows = measure(torch.device(options.device), options.side, options.batch, options.width)
    write(options.out / "gpu_unet.json", rows)
    for row in rows:
        print(f"{row['step']}: {row['milliseconds']:.2f} ms, {100 * row['share_of_operators']:.1f} % of it in our operators")


if __name__ == "__main__":
    main()

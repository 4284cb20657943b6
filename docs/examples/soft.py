"""Soft Diffusion with three corruptions: blur, a growing mask and block averages. Trains each for seconds on the digits.

    python docs/examples/soft.py [FOLDER] [STEPS]    draws soft_schedule.png and soft_samples.png, by default in out/examples

Needs the extra for training: pip install "softdiff-ext[train]".
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import matplotlib

matplotlib.use("Agg")  # no window
import matplotlib.pyplot as plt
import numpy as np
import torch
from torch import Tensor

import softdiff_ext as sd
from softdiff_ext.training.data import load_images
from softdiff_ext.training.network import build_network
from softdiff_ext.training.options import NetworkOptions
from softdiff_ext.wasserstein import coupled_distances

STEPS = int(sys.argv[2]) if len(sys.argv) > 2 else 180
BATCH = 32

# The loss weighs what a corruption has wiped out by weight_floor squared. A mask wipes out all or nothing of a pixel, so its
# network learns what to fill in by the floor alone: it is higher there than for the blur.
PROCESSES = {
    "blur": sd.SoftDiffusion(sigma_blur=(0.01, 3.0), weight_floor=0.3),
    "mask": sd.SoftDiffusion(corruption=sd.NestedMask("random"), weight_floor=0.7),
    "block average": sd.SoftDiffusion(corruption=sd.BlockAverage((2, 4)), weight_floor=0.7),
}


def train(process: sd.SoftDiffusion, images: Tensor) -> torch.nn.Module:
    """The whole of training: a loss, an optimiser, batches."""
    torch.manual_seed(0)
    process.fit(images)
    network = build_network(NetworkOptions(channels=(32, 64), blocks=1, attention=()), (1, 8, 8))
    optimiser = torch.optim.Adam(network.parameters(), lr=3e-3, betas=(0.9, 0.99))
    draws = torch.Generator().manual_seed(0)
    for step in range(STEPS):
        batch = images[torch.randint(len(images), (BATCH,), generator=draws)]
        loss, _ = process.loss(network, batch, draws)
        optimiser.param_groups[0]["lr"] = 3e-3 * min(1.0, (step + 1) / 20) * (1 - step / STEPS)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
    return network.eval()


def schedule_figure(process: sd.SoftDiffusion, images: Tensor, path: Path) -> None:
    """The blur over time and the Wasserstein distance of each hop, beside a schedule spaced by equal factors."""
    first, last = float(process.nodes[0]), float(process.nodes[-1])
    schedules = {"shortest W2 path": process.nodes.numpy(), "log-spaced": np.geomspace(first, last, len(process.nodes))}
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
    for name, nodes in schedules.items():
        hops = np.diag(coupled_distances(process.corruption, images, nodes), 1)
        left.plot(np.linspace(0, 1, len(nodes)), nodes, ".-", label=name)
        right.plot(np.arange(1, len(nodes)), hops, ".-", label=f"{name}: longest {hops.max():.2f}")
        print(f"{name}: longest hop {hops.max():.3f}, sum {hops.sum():.3f}")
    left.set(xlabel="t", ylabel="blur std (pixels)", yscale="log", title="32 levels of blur")
    right.set(xlabel="hop", ylabel="W2 distance", ylim=(0, None), title="how far the data move")
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.legend()
    figure.savefig(path, dpi=110)
    plt.close(figure)


def rows_figure(rows: dict[str, Tensor], path: Path) -> None:
    """Sixteen images a row, [16, 1, 8, 8], under each other with their names."""
    figure, axes = plt.subplots(len(rows), 1, figsize=(9, 0.62 * len(rows)), layout="constrained")
    for axis, (title, images) in zip(axes, rows.items(), strict=True):
        tiles = torch.nn.functional.pad(images[:, 0].clamp(-1, 1), (1, 1, 1, 1))  # a grey frame around each
        axis.imshow(tiles.permute(1, 0, 2).reshape(10, 160), cmap="gray", vmin=-1, vmax=1)
        axis.set(xticks=[], yticks=[])
        axis.set_ylabel(title, rotation=0, ha="right", va="center")
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    images = load_images("digits")[0].floats()
    rows = {}
    for name, process in PROCESSES.items():
        begun = time.perf_counter()
        network = train(process, images)
        rows[name] = process.sample(network, (16, 1, 8, 8), 50, sd.Momentum(), torch.Generator().manual_seed(1))
        print(f"{name}: {len(process.nodes)} levels, trained and sampled in {time.perf_counter() - begun:.1f} s")
    rows_figure(rows, folder / "soft_samples.png")
    schedule_figure(PROCESSES["blur"], images, folder / "soft_schedule.png")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "out/examples"))

"""A layer that blurs before it leaves pixels out, beside one that only leaves them out: pictures and shift consistency.

    python docs/examples/antialiased_downsampling.py [FOLDER] [STEPS]
    draws antialiased_downsampling.png, by default in out/examples

Leaving out every second pixel folds the finer frequencies onto the coarser ones, so a shift by one pixel can change all that
follows (Zhang 2019, Making Convolutional Networks Shift-Invariant Again).
Here a blur with a std of half the factor comes first.
Needs the extra for training: pip install "softdiff-ext[train]".
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")  # no window
import matplotlib.pyplot as plt
import torch
from torch import Tensor, nn

import softdiff_ext as sd
from softdiff_ext.training.data import load_images

STEPS = int(sys.argv[2]) if len(sys.argv) > 2 else 500
CANVAS, REACH = 16, 3  # digits of 8 x 8 in the middle of 16 x 16, and by how many pixels they are moved from there

ALONG = torch.arange(128) - 63.5
RADIUS = torch.hypot(ALONG[:, None], ALONG)
RINGS = torch.cos(torch.pi * RADIUS**2 / 128)[None, None]  # a zone plate: at radius r, r / 128 waves a pixel


class Downsample(nn.Module):
    """Every factor-th pixel of [B, C, H, W], blurred before by half the factor; sigma_blur = 0 is the plain stride."""

    def __init__(self, factor: int = 2, sigma_blur: float | None = None) -> None:
        super().__init__()
        self.factor, self.sigma_blur = factor, factor / 2 if sigma_blur is None else sigma_blur

    def forward(self, x: Tensor) -> Tensor:
        return sd.dct_blur(x, self.sigma_blur**2 / 2)[..., :: self.factor, :: self.factor]


def classifier(sigma_blur: float | None) -> nn.Sequential:
    """Three convolutions, each of the first two followed by half the pixels: the kind of network that strides harm."""
    torch.manual_seed(0)
    blocks: list[nn.Module] = []
    for channels, wider in ((1, 16), (16, 32)):
        blocks += [nn.Conv2d(channels, wider, 3, padding=1), nn.ReLU(), Downsample(2, sigma_blur)]
    return nn.Sequential(
        *blocks, nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10)
    )


def placed(images: Tensor, down: int, right: int) -> Tensor:
    """The digits on a dark canvas, moved from its middle."""
    margin = (CANVAS - images.shape[-1]) // 2
    canvas = nn.functional.pad(images, (margin,) * 4, value=-1.0)
    return canvas.roll((down, right), (-2, -1))


def train(network: nn.Module, images: Tensor, labels: Tensor) -> None:
    """Digits in the middle and one pixel around it: nobody shows the network larger shifts."""
    optimiser, draws = torch.optim.Adam(network.parameters(), lr=5e-3), torch.Generator().manual_seed(0)
    for _ in range(STEPS):
        index = torch.randint(len(images), (64,), generator=draws)
        down, right = torch.randint(-1, 2, (2,), generator=draws).tolist()
        loss = nn.functional.cross_entropy(network(placed(images[index], down, right)), labels[index])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()


@torch.no_grad()
def consistency(network: nn.Module, images: Tensor, labels: Tensor) -> tuple[float, float]:
    """How often a digit and the same digit one pixel further are called the same, and how often the name is right."""
    shifts = [(down, right) for down in range(-REACH, REACH + 1) for right in range(-REACH, REACH)]
    same = right_ones = 0.0
    for down, right in shifts:
        here, beside = (network(placed(images, down, column)).argmax(1) for column in (right, right + 1))
        same += float((here == beside).float().mean()) / len(shifts)
        right_ones += float((here == labels).float().mean()) / len(shifts)
    return same, right_ones


def figure(path: Path) -> None:
    """The rings, and every fourth of their pixels each way, taken plainly and after a blur."""
    images = {
        "128 x 128": RINGS,
        "every 4th pixel: false rings": Downsample(4, 0.0)(RINGS),
        "blurred before": Downsample(4)(RINGS),
    }
    drawing, axes = plt.subplots(1, 3, figsize=(9, 3.3), layout="constrained")
    for axis, (title, image) in zip(axes, images.items(), strict=True):
        axis.imshow(image[0, 0], cmap="gray", vmin=-1, vmax=1, interpolation="nearest")
        axis.set(xticks=[], yticks=[], title=title)
    drawing.savefig(path, dpi=110)
    plt.close(drawing)


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    training, held_out = load_images("digits")
    for name, sigma_blur in (("plain stride", 0.0), ("blurred before", None)):
        network = classifier(sigma_blur)
        train(network, training.floats(), training.labels)
        same, right = consistency(network, held_out.floats(), held_out.labels)
        print(f"{name}: same class one pixel further {100 * same:.1f} %, right {100 * right:.1f} %")
    # Rings more than 16 pixels from the middle are finer than every 4th pixel can show: what is left of them is false.
    far = RADIUS[::4, ::4] > 16
    for name, layer in (("plain stride", Downsample(4, 0.0)), ("blurred before", Downsample(4))):
        print(f"{name}: contrast of the false rings {float(layer(RINGS)[0, 0][far].std()):.3f}")
    figure(folder / "antialiased_downsampling.png")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "out/examples"))

"""A denoiser with one gain per frequency, learned from pairs, beside the best Gaussian blur and the gain that theory gives.

    python docs/examples/frequency_weighted_denoiser.py [FOLDER] [STEPS]
    draws frequency_weighted_denoiser.png, by default in out/examples

Of all filters V (gain . V^T x), the one with gain P / (P + sigma^2) errs least where P is the power of the clean images at each
frequency (Wiener 1949). `spectral_filter` has a gradient in its gain, so a network can learn such a filter as a layer: this one
does, and should end there. A Gaussian blur, with one number for all frequencies, is what one would take without it.
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

STEPS = int(sys.argv[2]) if len(sys.argv) > 2 else 600
SIDE, SIGMA = 24, 0.5


class SpectralDenoiser(nn.Module):
    """A filter with one gain for each frequency of images of side x side; it starts as the identity."""

    def __init__(self, side: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(side, side))

    def forward(self, x: Tensor) -> Tensor:
        return sd.spectral_filter(x, self.gain)


def noisy(images: Tensor, draws: torch.Generator) -> Tensor:
    return sd.diffuse(images, sd.Level(sigma=SIGMA), generator=draws)


def psnr(images: Tensor, clean: Tensor) -> float:
    """Peak signal-to-noise ratio in dB, the peak-to-peak range being 2."""
    return float(10 * torch.log10(4.0 / (images - clean).square().mean()))


def train(images: Tensor) -> SpectralDenoiser:
    denoiser, draws = SpectralDenoiser(SIDE), torch.Generator().manual_seed(0)
    optimiser = torch.optim.Adam(denoiser.parameters(), lr=0.05)
    for step in range(STEPS):
        batch = images[torch.randint(len(images), (64,), generator=draws)]
        loss = (denoiser(noisy(batch, draws)) - batch).square().mean()
        optimiser.param_groups[0]["lr"] = 0.05 * (1 - step / STEPS)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return denoiser


def best_blur(clean: Tensor, seen: Tensor) -> float:
    """The blur std in pixels, of 40, that takes noisy training images nearest to the clean ones."""
    widths = torch.linspace(0.1, 4.0, 40).tolist()
    errors = [float((sd.dct_blur(seen, width**2 / 2) - clean).square().mean()) for width in widths]
    return widths[errors.index(min(errors))]


def figure(gains: dict[str, Tensor], rows: dict[str, Tensor], path: Path) -> None:
    """The gains over both frequencies and along the diagonal, and what they make of noisy digits."""
    drawing = plt.figure(figsize=(11, 3.4), layout="constrained")
    axes = drawing.subplot_mosaic([["learned", "Wiener", "diagonal", "images", "images"]])
    for name, gain in gains.items():
        axes[name].imshow(gain, vmin=0, vmax=1, cmap="viridis")
        axes[name].set(xticks=[], yticks=[], title=f"gain, {name}")
        axes["diagonal"].plot(gain.diagonal(), label=name)
    axes["diagonal"].set(xlabel="frequency, both ways", title="along the diagonal")
    axes["diagonal"].grid(alpha=0.3)
    axes["diagonal"].legend()
    tiles = torch.stack([nn.functional.pad(part[:8, 0].clamp(-1, 1), (1, 1, 1, 1)) for part in rows.values()])
    height = tiles.shape[2]
    axes["images"].imshow(tiles.permute(0, 2, 1, 3).reshape(len(rows) * height, -1), cmap="gray", vmin=-1, vmax=1)
    axes["images"].set(xticks=[], yticks=[height * (row + 0.5) for row in range(len(rows))], yticklabels=list(rows))
    drawing.savefig(path, dpi=110)
    plt.close(drawing)


@torch.no_grad()
def compare(denoiser: SpectralDenoiser, training: Tensor, held_out: Tensor, path: Path) -> None:
    power = sd.dct(training).square().mean((0, 1))
    wiener = power / (power + SIGMA**2)
    seen = noisy(held_out, torch.Generator().manual_seed(1))
    learned, theory = denoiser(seen), sd.spectral_filter(seen, wiener)
    width = best_blur(training, noisy(training, torch.Generator().manual_seed(2)))
    blurred = sd.dct_blur(seen, width**2 / 2)
    difference = (denoiser.gain - wiener).abs()
    print(
        f"gain, learned against Wiener: mean difference {float(difference.mean()):.4f}, largest {float(difference.max()):.4f}"
    )
    results = {"noisy": seen, f"best blur ({width:.1f} pixels)": blurred, "learned gain": learned, "Wiener gain": theory}
    for name, images in results.items():
        print(f"held out, {name}: PSNR {psnr(images, held_out):.2f}")
    rows = {"clean": held_out, "noisy": seen, "best blur": blurred, "learned": learned, "Wiener": theory}
    figure({"learned": denoiser.gain, "Wiener": wiener}, rows, path)


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    parts = (part.floats() for part in load_images("digits"))
    training, held_out = (nn.functional.interpolate(images, size=SIDE, mode="bilinear") for images in parts)
    compare(train(training), training, held_out, folder / "frequency_weighted_denoiser.png")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "out/examples"))

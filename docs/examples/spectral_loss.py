"""A loss that sees the coarse before the fine: find by how much digits were moved, where squared error gets lost.

    python docs/examples/spectral_loss.py [FOLDER] [STEPS]     draws spectral_loss.png, by default in out/examples

Images are aligned by gradient descent on a shift. Squared error only falls while the strokes overlap. `soft_score_loss` is the
squared error of the blurred images, || C (x_hat - x) ||^2, from one DCT and no inverse; with a blur as wide as the shifts it
falls from everywhere, and as the blur shrinks the answer sharpens. The same loss with a level per sample trains Soft Diffusion.
Needs the extra for training: pip install "softdiff-ext[train]".
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")  # no window
import matplotlib.pyplot as plt
import torch
from torch import Tensor

import softdiff_ext as sd
from softdiff_ext.training.data import load_images

STEPS = int(sys.argv[2]) if len(sys.argv) > 2 else 150
COUNT, SIDE, FURTHEST = 64, 48, 14.0  # digits of 24 x 24 on a canvas of 48 x 48, moved by up to 14 pixels each way
WIDEST, SHARPEST = 10.0, 0.3  # blur std in pixels at the first and at the last step


def scenes() -> Tensor:
    """Held-out digits, three times as large, in the middle of a dark canvas with some noise: [COUNT, 1, SIDE, SIDE]."""
    digits = load_images("digits")[1].floats()[:COUNT]
    large = torch.nn.functional.interpolate(digits, scale_factor=3, mode="bilinear")
    return torch.nn.functional.pad(large, ((SIDE - 24) // 2,) * 4, value=-1.0)


def moved(images: Tensor, shift: Tensor) -> Tensor:
    """Images moved by shift = (right, down) in pixels, [B, 2]; differentiable in it."""
    eye = torch.eye(2).expand(len(images), 2, 2)
    grid = torch.nn.functional.affine_grid(
        torch.cat([eye, -2 * shift[:, :, None] / SIDE], dim=2), list(images.shape), align_corners=False
    )
    return torch.nn.functional.grid_sample(images, grid, padding_mode="border", align_corners=False)


def align(images: Tensor, targets: Tensor, blurs: Tensor) -> Tensor:
    """Shifts that take images to targets, by one step of Adam at each blur: [B, 2]."""
    shift = torch.zeros(len(images), 2, requires_grad=True)
    optimiser = torch.optim.Adam([shift], lr=0.5)
    for step, sigma_blur in enumerate(blurs.tolist()):
        loss = sd.soft_score_loss(moved(images, shift), targets, sd.Level(tau=sigma_blur**2 / 2)).mean()
        optimiser.param_groups[0]["lr"] = 0.5 * (1 - step / len(blurs)) + 0.01
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return shift.detach()


def landscape(image: Tensor, sigma_blur: float, offsets: Tensor) -> Tensor:
    """The loss of one image against itself moved to the right by each offset, divided by its largest value."""
    shift = torch.stack([offsets, torch.zeros_like(offsets)], dim=1)
    many = image.expand(len(offsets), -1, -1, -1).contiguous()
    losses = sd.soft_score_loss(moved(many, shift), many, sd.Level(tau=sigma_blur**2 / 2))
    return losses / losses.max()


def figure(images: Tensor, targets: Tensor, found: dict[str, Tensor], path: Path) -> None:
    """The losses over the shift, and eight alignments: targets in red, the moved images in blue, white where they agree."""
    grid = [["loss", "loss", *["plain"] * 3], ["loss", "loss", *["spectral"] * 3]]
    drawing, axes = plt.subplot_mosaic(grid, figsize=(11, 4), layout="constrained")
    offsets = torch.linspace(-20, 20, 161)
    for sigma_blur in (0.0, 2.0, WIDEST):
        axes["loss"].plot(offsets, landscape(images[:1], sigma_blur, offsets), label=f"blur {sigma_blur:g} pixels")
    axes["loss"].set(xlabel="shift (pixels)", ylabel="loss / largest", title="soft_score_loss of a digit and itself, moved")
    axes["loss"].grid(alpha=0.3)
    axes["loss"].legend()
    for (name, shift), key in zip(found.items(), ("plain", "spectral"), strict=True):
        ours, theirs = ((part[:8, 0].clamp(-1, 1) + 1) / 2 for part in (moved(images, shift), targets))
        tiles = torch.stack([theirs, torch.minimum(ours, theirs), ours], dim=-1)
        axes[key].imshow(tiles.permute(1, 0, 2, 3).reshape(SIDE, 8 * SIDE, 3))
        axes[key].set(xticks=[], yticks=[], title=f"{name}: targets red, found blue, both white")
    drawing.savefig(path, dpi=110)
    plt.close(drawing)


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    images, draws = scenes(), torch.Generator().manual_seed(0)
    true = (torch.rand(COUNT, 2, generator=draws) * 2 - 1) * FURTHEST
    targets = moved(images, true) + 0.2 * torch.randn(images.shape, generator=draws)
    blurs = {
        "squared error": torch.zeros(STEPS),
        "coarse to fine": torch.logspace(torch.tensor(WIDEST).log10(), torch.tensor(SHARPEST).log10(), STEPS),
    }
    found = {name: align(images, targets, blur) for name, blur in blurs.items()}
    for name, shift in found.items():
        error = (shift - true).norm(dim=1)
        close = 100 * float((error < 0.5).float().mean())
        print(f"{name}: within half a pixel {close:.1f} %, mean error {float(error.mean()):.2f} pixels")
    figure(images, targets, found, folder / "spectral_loss.png")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "out/examples"))

"""A blur whose width is a parameter: find how much each image of a batch was blurred, and undo it.

    python docs/examples/learnable_blur.py [FOLDER] [STEPS]     draws learnable_blur.png, by default in out/examples

`dct_blur` has a gradient in its heat time tau = sigma_blur^2 / 2, one for each sample. So a blur is a layer like any other:
here it learns the unknown blurs of 48 pairs at once, and one blur of images without their sharp versions, by their spectrum.
What it is good for shows when the images are sharpened, each by its own blur or all by the mean one.
Needs the extra for training: pip install "softdiff-ext[train]".
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import matplotlib

matplotlib.use("Agg")  # no window
import matplotlib.pyplot as plt
import torch
from torch import Tensor, nn

import softdiff_ext as sd
from softdiff_ext.training.data import load_images

STEPS = int(sys.argv[2]) if len(sys.argv) > 2 else 200
COUNT, NOISE = 48, 0.02


class LearnableBlur(nn.Module):
    """A blur by sigma_blur pixels, learned through its logarithm: always positive. One for each sample, or one, (), for all."""

    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.log_sigma_blur = nn.Parameter(torch.zeros(shape))

    @property
    def sigma_blur(self) -> Tensor:
        return self.log_sigma_blur.exp()

    def forward(self, x: Tensor) -> Tensor:
        return sd.dct_blur(x, self.sigma_blur**2 / 2)


def fit(blur: LearnableBlur, loss_of: Callable[[LearnableBlur], Tensor]) -> Tensor:
    """The blurs after each step, [STEPS, ...]."""
    optimiser, path = torch.optim.Adam(blur.parameters()), []
    for step in range(STEPS):
        loss = loss_of(blur)
        optimiser.param_groups[0]["lr"] = 0.05 * (1 - step / STEPS)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        path.append(blur.sigma_blur.detach().clone())
    return torch.stack(path)


def enlarged(images: Tensor) -> Tensor:
    return nn.functional.interpolate(images, scale_factor=3, mode="bilinear")


def power(images: Tensor) -> Tensor:
    """Mean square of each DCT coefficient: [H, W]."""
    return sd.dct(images).square().mean((0, 1))


def sharpened(images: Tensor, sigma_blur: Tensor, spectrum: Tensor) -> Tensor:
    """The Wiener filter for blur and noise that are known: gain d P / (d^2 P + noise^2), d the blur's gain."""
    d = torch.exp(-sd.eigenvalues(images.shape[-2:]) * (sigma_blur[:, None, None, None] ** 2 / 2)).float()
    return sd.spectral_filter(images, d * spectrum / (d**2 * spectrum + NOISE**2))


def figure(rows: dict[str, Tensor], path_of: Tensor, true: Tensor, file: Path) -> None:
    """The learned blurs over the steps with the true ones as dots, and the images."""
    drawing, (left, right) = plt.subplots(1, 2, figsize=(11, 3.6), layout="constrained", width_ratios=(2, 3))
    left.plot(path_of[:, :12].numpy(), lw=1)
    left.plot(torch.full((12,), len(path_of)), true[:12], "k.", label="true")
    left.set(xlabel="step", ylabel="sigma_blur (pixels)", title="12 of the blurs, learned")
    left.grid(alpha=0.3)
    left.legend()
    tiles = torch.cat([nn.functional.pad(part[:12, 0].clamp(-1, 1), (1, 1, 1, 1)) for part in rows.values()])
    height, width = tiles.shape[1:]
    sheet = tiles.reshape(len(rows), 12, height, width).permute(0, 2, 1, 3).reshape(len(rows) * height, 12 * width)
    right.imshow(sheet, cmap="gray", vmin=-1, vmax=1)
    right.set(xticks=[], yticks=[height * (row + 0.5) for row in range(len(rows))], yticklabels=list(rows))
    drawing.savefig(file, dpi=110)
    plt.close(drawing)


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    training, held_out = (enlarged(part.floats()) for part in load_images("digits"))
    draws, sharp = torch.Generator().manual_seed(0), held_out[:COUNT]
    true = 0.4 + 3.6 * torch.rand(COUNT, generator=draws)
    blurred = sd.dct_blur(sharp, true**2 / 2) + NOISE * torch.randn(sharp.shape, generator=draws)

    pairs = LearnableBlur(COUNT)
    path = fit(pairs, lambda blur: (blur(sharp) - blurred).square().mean((1, 2, 3)).sum())
    found = path[-1]
    reach = f"{COUNT} blurs of {float(true.min()):.2f} to {float(true.max()):.2f} pixels"
    print(f"from pairs: {reach}, largest error {float((found - true).abs().max()):.3f}")

    # Without pairs: other digits, as sharp as these once were, blurred until their spectrum is the one that was seen.
    one = torch.tensor(1.7)
    seen = sd.dct_blur(held_out, one**2 / 2) + NOISE * torch.randn(held_out.shape, generator=draws)
    wanted = (power(seen) - NOISE**2).clamp_min(NOISE**2).log()
    some = training[::4]
    blind = LearnableBlur()
    guess = fit(blind, lambda blur: (power(blur(some)).clamp_min(NOISE**2).log() - wanted).square().mean())[-1]
    print(f"from the spectrum alone: true blur {float(one):.3f}, found {float(guess):.3f}")

    # One blur for all, the mean, is what is left to assume where each image's own is unknown.
    alike, again = (sharpened(blurred, widths, power(training)) for widths in (found.mean().expand(COUNT), found))
    rows = {"blurred": blurred, "sharpened alike": alike, "sharpened": again}
    for name, images in rows.items():
        print(f"{name}: RMS to the sharp images {float((images - sharp).square().mean().sqrt()):.4f}")
    figure({"sharp": sharp, **rows}, path, true, folder / "learnable_blur.png")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "out/examples"))

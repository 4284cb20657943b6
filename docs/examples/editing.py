"""Sharpen, enlarge, fill in and interpolate digits that no training has seen, and measure by how much it helps.

    python docs/examples/editing.py [FOLDER] [STEPS]     draws editing.png, by default in out/examples

Needs the extra for training: pip install "softdiff-ext[train]".
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from soft import PROCESSES, rows_figure, train
from torch import Tensor

import softdiff_ext as sd
from softdiff_ext.training.data import load_images


def psnr(images: Tensor, clean: Tensor) -> float:
    """Peak signal-to-noise ratio in dB of images clipped to [-1, 1], over all of them together."""
    return float(10 * torch.log10(4.0 / torch.mean((images.clamp(-1, 1) - clean) ** 2)))


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    training, held_out = (part.floats() for part in load_images("digits"))
    clean = held_out[:64]
    rows = {"held-out scans": clean[:16]}
    networks = {name: train(process, training) for name, process in PROCESSES.items()}

    def draws() -> torch.Generator:
        return torch.Generator().manual_seed(0)

    def show(name: str, corrupted: Tensor, restored: Tensor) -> None:
        print(f"{name}: PSNR {psnr(corrupted, clean):.2f} dB -> {psnr(restored, clean):.2f} dB")
        rows[name], rows[f"-> {psnr(restored, clean):.1f} dB"] = corrupted[:16], restored[:16]

    # The starting time is the one whose blur the images have.
    blurred = sd.dct_blur(clean, 1.0**2 / 2)
    restored = sd.restore(PROCESSES["blur"], networks["blur"], blurred, sigma_blur=1.0, steps=20, generator=draws())
    show("deblurring, 1 pixel", blurred, restored)

    # Blocks of 2 are the first of two stages of BlockAverage((2, 4)): strength 1 / 2.
    blocks = PROCESSES["block average"]
    small = blocks.corruption.apply(clean, torch.tensor(0.5, dtype=torch.float64))
    show(
        "enlarging 4 x 4 to 8 x 8",
        small,
        sd.restore(blocks, networks["block average"], small, strength=0.5, steps=20, generator=draws()),
    )

    # Of the random order, the first 40 % of the pixels are gone. The others are known and stay.
    mask = PROCESSES["mask"].corruption
    known = mask.kept(0.4, (8, 8))
    filled = sd.restore(
        PROCESSES["mask"], networks["mask"], clean * known, strength=0.4, steps=20, generator=draws(), known=known
    )
    assert torch.equal(filled[..., known], clean[..., known])
    show("inpainting, 40 % of the pixels", clean * known, filled)

    # A path between two scans: the ends are what the network makes of them from half of the way into the corruption.
    path = sd.interpolate(PROCESSES["blur"], networks["blur"], clean[0], clean[1], 16, t=0.5, steps=20, generator=draws())
    rows["from the first to the second"] = path
    rows_figure(rows, folder / "editing.png")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "out/examples"))

"""Cold Diffusion on the digit scans: deblurring without noise, by both published algorithms, and new digits from one colour.

    python docs/examples/cold.py [OUT] [STEPS]     half a minute on one CPU core; draws OUT/cold.png, by default in out/examples

Needs the extra for training: pip install "softdiff-ext[train]".
"""

# %% Data: 8x8 scans with 17 grey values; a fifth is held out.
import math
import sys
import time
from pathlib import Path

import torch
from matplotlib.figure import Figure

import softdiff_ext as sd
from softdiff_ext.training.data import load_images
from softdiff_ext.training.network import build_network
from softdiff_ext.training.options import NetworkOptions

OUT = Path(sys.argv[1] if len(sys.argv) > 1 else "out/examples")
STEPS = int(sys.argv[2]) if len(sys.argv) > 2 else 400
torch.manual_seed(0)
train, held_out = load_images("digits")

# %% The process: at a blur of 8 pixels an image of 8x8 is one colour, so a start is one colour, drawn from a Gaussian mixture
# over the means of the training images, and a little noise that breaks its symmetry.
process = sd.ColdDiffusion(levels=20, sigma_blur=(0.3, 8.0))
process.fit(train.floats())
network = build_network(NetworkOptions(channels=(32, 64), blocks=1, attention=()), train.shape)

# %% Training: the clean image from any level, L1.
optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
began = time.perf_counter()
for step in range(STEPS):
    optimizer.param_groups[0]["lr"] = 3e-3 * min(1.0, (step + 1) / 50) * 0.5 * (1 + math.cos(math.pi * step / STEPS))
    loss, _ = process.loss(network, train.floats(torch.randint(len(train), (64,))))
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
    optimizer.step()
    if step % 100 == 0 or step == STEPS - 1:
        print(f"step {step:4d}  absolute error a pixel {float(loss.detach()):.4f}")
network.eval()
print(f"trained in {time.perf_counter() - began:.0f} s")

# %% Deblurring held-out scans from level 13 of 20: algorithm 1 (blur the estimate anew), algorithm 2, and the estimate at once.
x, times = held_out.floats()[:16], sd.uniform_times(13, start=0.65)
blurred = sd.dct_blur(x, process.level(times[0]).tau)
panels = {"held-out scans": x, f"blurred, {float(torch.as_tensor(2 * process.level(times[0]).tau)) ** 0.5:.1f} px": blurred}
panels["at once"] = process.denoise(network, blurred, times[0]).detach()
panels["algorithm 1"] = process.reverse(network, blurred, times, sd.Naive(std=0.0))
panels["algorithm 2"] = process.reverse(network, blurred, times, sd.Cold())
for title, images in panels.items():
    print(f"RMS to the scans, {title}: {float((images - x).square().mean().sqrt()):.3f}")

# %% New digits from one colour. Without noise every rule is deterministic; algorithm 2 keeps the little noise of the start.
panels["new digits"] = process.sample(network, (16, 1, 8, 8), 20, generator=torch.Generator().manual_seed(1))
print(f"std of new digits {float(panels['new digits'].std()):.3f}, of the scans {float(train.floats().std()):.3f}")

figure = Figure(figsize=(9, 4.6), layout="constrained")
for axis, (title, images) in zip(figure.subplots(len(panels), 1), panels.items(), strict=True):
    tiles = torch.nn.functional.pad(images[:, 0].clamp(-1, 1), (1, 1, 1, 1))  # a grey frame around each
    axis.imshow(tiles.permute(1, 0, 2).reshape(10, 160), cmap="gray", vmin=-1, vmax=1)
    axis.set(xticks=[], yticks=[])
    axis.set_ylabel(title, rotation=0, ha="right", va="center")
OUT.mkdir(parents=True, exist_ok=True)
figure.savefig(OUT / "cold.png")
print(f"wrote {OUT / 'cold.png'}")

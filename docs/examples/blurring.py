"""Blurring Diffusion on the digit scans: the bound of each frequency, blocks, and the same network under several samplers.

    python docs/examples/blurring.py [OUT]        half a minute on one CPU core; draws OUT/blurring.png

OUT is out/examples by default. Needs the extra for training: pip install "softdiff-ext[train]".
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
STEPS = int(sys.argv[2]) if len(sys.argv) > 2 else 220
train, held_out = load_images("digits")
test_images = held_out.floats()
VALUES = torch.linspace(-1.0, 1.0, 17)  # all that a pixel can be: what the bits per dimension count

# %% One process that blurs the whole scan and learns by the published loss, the plain mean squared error; one that blurs within
# blocks of 4x4 pixels and learns by the bound, which weighs each frequency. With sigma_blur_max = 0 both would be VDM.
COMMON = {"sigma_blur_max": 1.0, "logsnr_max": 6.0, "prediction": "v", "values": VALUES}
processes = {
    "whole scan, squared error": sd.BlurringDiffusion(**COMMON),
    "4x4 blocks, bound": sd.BlurringDiffusion(**COMMON, weighting="elbo", block=4),
}


# %% Training.
def fit(process: sd.BlurringDiffusion) -> torch.nn.Module:
    torch.manual_seed(0)
    network = build_network(NetworkOptions(channels=(32, 64), blocks=1, attention=()), train.shape)
    optimizer = torch.optim.Adam(network.parameters(), lr=2e-3)
    for step in range(STEPS):
        optimizer.param_groups[0]["lr"] = 2e-3 * min(1.0, (step + 1) / 50) * 0.5 * (1 + math.cos(math.pi * step / STEPS))
        loss, _ = process.loss(network, train.floats(torch.randint(len(train), (64,))))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
    return network.eval()


networks = {}
for name, process in processes.items():
    began = time.perf_counter()
    networks[name] = fit(process)
    bits = process.bits_per_dimension(networks[name], test_images, torch.Generator().manual_seed(1), evaluations=8)
    parts = ", ".join(f"{term} {value:.4f}" for term, value in bits.means().items())
    print(f"{name}: {time.perf_counter() - began:.0f} s, held out, bits per pixel: {parts}")

# %% Any rule drives either network, in few steps.
RULES = {"posterior": sd.Markov(), "probability flow": sd.DDIM(), "momentum": sd.Momentum()}
figure = Figure(figsize=(10, 3), layout="constrained")
grid = figure.subplots(len(processes), len(RULES))
for row, (name, process) in zip(grid, processes.items(), strict=True):
    for axes, (title, rule) in zip(row, RULES.items(), strict=True):
        samples = process.sample(networks[name], (16, 1, 8, 8), 30, rule, torch.Generator().manual_seed(2))
        tiles = torch.nn.functional.pad(samples[:, 0].clamp(-1, 1), (1, 1, 1, 1))  # a grey frame around each
        axes.imshow(tiles.view(2, 8, 10, 10).permute(0, 2, 1, 3).reshape(20, 80), cmap="gray", vmin=-1, vmax=1)
        axes.set(xticks=[], yticks=[])
        axes.set_title(f"{name}\n{title}", fontsize="small")
OUT.mkdir(parents=True, exist_ok=True)
figure.savefig(OUT / "blurring.png")
print(f"wrote {OUT / 'blurring.png'}")

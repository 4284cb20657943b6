"""Inverse Heat Dissipation on the digit scans: three samplers for one network, one start with many ends, a path between two.

    python docs/examples/ihdm.py [OUT] [STEPS]     half a minute on one CPU core; draws OUT/ihdm.png, by default in out/examples

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

# %% The process: twenty levels from a blur of 0.2 pixels to one of 2. So small images keep little detail, so the noise is
# stronger than the published one, which InverseHeatDissipation.preset("cifar10") has. fit() keeps what the start needs.
process = sd.InverseHeatDissipation(
    levels=20, sigma_blur=(0.2, 2.0), sigma=0.2, delta=0.25, reduction="mean", values=torch.linspace(-1.0, 1.0, 17)
)
process.fit(train.floats())
print(f"kept {int(process.kept.sum())} of 64 coefficients of each training image")
network = build_network(NetworkOptions(channels=(32, 64), blocks=1, attention=()), train.shape)

# %% Training: from each level to the mean of the next sharper one.
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
        print(f"step {step:4d}  squared error a pixel {float(loss.detach()):.5f}")
network.eval()
print(f"trained in {time.perf_counter() - began:.0f} s")

# %% The same network under three rules: the published one (kappa = 0), the exact posterior, and the deterministic one, where
# all that varies is the start. The variance tells the temperature (docs/methods.md).
shape, panels = (16, 1, 8, 8), {}
print(f"std of the scans {float(train.floats().std()):.3f}")
for title, rule in (("published", None), ("Markov", sd.Markov()), ("Cold: no fresh noise", sd.Cold())):
    panels[title] = process.sample(network, shape, 20, rule, torch.Generator().manual_seed(1))
    print(f"std of samples, {title}: {float(panels[title].std()):.3f}")

# %% One start, many ends; and a path between two samples.
start = process.prior((1, 1, 8, 8), torch.Generator().manual_seed(5)).expand(shape)
panels["one start, 16 noises"] = process.sample(network, shape, 20, generator=torch.Generator().manual_seed(2), start=start)
panels["a path between two"] = process.interpolate(network, shape, 20, generator=torch.Generator().manual_seed(3))

# %% Bits per dimension of held-out scans.
bits = process.bits_per_dimension(network, held_out.floats()[:100], torch.Generator().manual_seed(4))
print("held out:", ", ".join(f"{name} {value:.3f}" for name, value in bits.means().items()))

figure = Figure(figsize=(9, 4), layout="constrained")
for axis, (title, images) in zip(figure.subplots(len(panels), 1), panels.items(), strict=True):
    tiles = torch.nn.functional.pad(images[:, 0].clamp(-1, 1), (1, 1, 1, 1))  # a grey frame around each
    axis.imshow(tiles.permute(1, 0, 2).reshape(10, 160), cmap="gray", vmin=-1, vmax=1)
    axis.set(xticks=[], yticks=[])
    axis.set_ylabel(title, rotation=0, ha="right", va="center")
OUT.mkdir(parents=True, exist_ok=True)
figure.savefig(OUT / "ihdm.png")
print(f"wrote {OUT / 'ihdm.png'}")

"""Variational diffusion on the digit scans: a learned noise schedule, bits per dimension with their terms, and new digits.

    python docs/examples/vdm.py [OUT]        half a minute on one CPU core; draws OUT/vdm.png, by default out/examples/vdm.png

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
STEPS = int(sys.argv[2]) if len(sys.argv) > 2 else 350
torch.manual_seed(0)
train, held_out = load_images("digits")
VALUES = torch.linspace(-1.0, 1.0, 17)  # all that a pixel can be: what the bits per dimension count

# %% The process: the monotone network learns gamma(t) between ends that the bound trains.
process = sd.VariationalDiffusion(
    sd.LearnedMonotone(gamma_min=-8.0, gamma_max=5.0), prediction="eps", weighting="elbo", values=VALUES
)
network = build_network(NetworkOptions(channels=(32, 64), blocks=1, attention=()), train.shape)


class Residual(torch.nn.Module):
    """eps_hat = network + z, as VDM has it: at high noise z is the noise, and the network need not learn to copy."""

    def __init__(self) -> None:
        super().__init__()
        self.network = network

    def forward(self, z: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        return self.network(z, 1000 * t).sample + z


model = Residual()

# %% Training: one loss call gives the network the gradient of the bound, the schedule's ends as well, and its interior the
# gradient of the variance. The schedule is trained by the same optimiser as the network.
optimizer = torch.optim.Adam(
    [{"params": model.parameters(), "lr": 2e-3}, {"params": process.parameters(), "lr": 1e-2}], betas=(0.9, 0.99)
)
began = time.perf_counter()
for step in range(STEPS):
    for group, peak in zip(optimizer.param_groups, (2e-3, 1e-2), strict=True):
        group["lr"] = peak * min(1.0, (step + 1) / 50) * 0.5 * (1 + math.cos(math.pi * step / STEPS))
    images = train.floats(torch.randint(len(train), (64,)))
    loss, terms = process.loss(model, images)
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    if step % 100 == 0 or step == STEPS - 1:
        shown = ", ".join(f"{name} {value:.3f}" for name, value in terms.items())
        print(f"step {step:4d}  bound {float(loss.detach()):.3f} bits per pixel: {shown}")
model.eval()
print(f"trained in {time.perf_counter() - began:.0f} s")

# %% Bits per dimension of the held-out scans. log2(17) = 4.09 is what a pixel costs without any model.
test_images = held_out.floats()
bits = process.bits_per_dimension(model, test_images, torch.Generator().manual_seed(1), evaluations=10)
error = float(bits.total.std()) / math.sqrt(len(test_images))
print("held out:", ", ".join(f"{name} {value:.4f}" for name, value in bits.means().items()), f"(+- {error:.3f})")
for steps in (8, 32):
    coarse = process.bits_per_dimension(model, test_images[:100], torch.Generator().manual_seed(1), steps=steps)
    print(f"  with {steps:2d} steps, 100 of them: {float(coarse.total.mean()):.3f}")

# %% New digits, and the schedule that was learned.
samples = process.sample(model, (32, 1, 8, 8), 50, generator=torch.Generator().manual_seed(2))
figure = Figure(figsize=(9, 3.4), layout="constrained")
left, right = figure.subplots(1, 2, width_ratios=[2, 1])
tiles = torch.nn.functional.pad(samples[:, 0].clamp(-1, 1), (1, 1, 1, 1))  # a grey frame around each
left.imshow(tiles.view(4, 8, 10, 10).permute(0, 2, 1, 3).reshape(40, 80), cmap="gray", vmin=-1, vmax=1)
left.set(title=f"digits from {STEPS} training steps", xticks=[], yticks=[])
t = torch.linspace(0, 1, 101, dtype=torch.float64)
with torch.no_grad():
    right.plot(t, process.schedule.gamma(t))
right.set(title="learned gamma(t)", xlabel="t", ylabel="-ln SNR")
OUT.mkdir(parents=True, exist_ok=True)
figure.savefig(OUT / "vdm.png")
print(f"wrote {OUT / 'vdm.png'}")

"""The temperature law of the kappa = 0 samplers, computed exactly and drawn.

    python benchmarks/temperature.py             -> docs/images/temperature.png

For Gaussian data of power P per frequency the best network is u_hat = g u_t, g = P alpha_t / (alpha_t^2 P + sigma_t^2), every
sampler is linear, and the variance of a frequency follows v_s = (alpha_s g + kappa (1 - alpha_t g))^2 v_t + omega^2: no network
and no random number is involved. The data are 32 x 32 images with the power spectrum 1 / f^2 of photographs, the levels those
of Inverse Heat Dissipation on CIFAR-10 with sigma = 0.02.

Shown is v / P, averaged over the frequencies with a signal of 12 to 100 sigma, 319 of 1024. In finer ones the last estimate
drops what the noise has covered, whatever the rule; the 8 coarsest are so far above the noise that they keep the variance of
the start for thousands of steps.
"""

from __future__ import annotations

import argparse
import io
import math
from pathlib import Path

import matplotlib

matplotlib.use("Agg")  # no window: also runs where there is no screen
import matplotlib.pyplot as plt
import torch
from torch import Tensor

from softdiff_ext import reference
from softdiff_ext.training.files import write_file

SIZE, SIGMA, BLUR = 32, 0.02, (0.5, 24.0)
LAM = reference.eigenvalues((SIZE, SIZE))
POWER = 1.0 / (LAM + (math.pi / SIZE) ** 2 / 4)
POWER = POWER * 0.25 * SIZE**2 / POWER.sum()  # E x^2 = 0.25, as photographs in [-1, 1] have
SHOWN = (POWER > (12 * SIGMA) ** 2) & (POWER < (100 * SIGMA) ** 2)


def taus(levels: int) -> Tensor:
    blur = torch.cat([torch.zeros(1), torch.logspace(*(math.log10(end) for end in BLUR), levels, dtype=torch.float64)])
    return blur**2 / 2


def output_variance(levels: int, kappa: str, omega: float) -> Tensor:
    """Variance of each frequency after `levels` steps; kappa is "0", "1" or "markov", omega counts for kappa = 0 only."""
    tau = taus(levels)
    v = torch.exp(-2 * LAM * tau[-1]) * POWER + SIGMA**2
    for t, s in zip(tau.flip(0)[:-1], tau.flip(0)[1:], strict=True):
        d_t, d_s = torch.exp(-LAM * t), torch.exp(-LAM * s)
        g = POWER * d_t / (d_t**2 * POWER + SIGMA**2)
        ratio = torch.exp(-LAM * (t - s))
        keep = {"0": 0 * ratio, "1": 1 + 0 * ratio, "markov": ratio}[kappa]
        fresh = {"0": omega**2, "1": 0.0, "markov": SIGMA**2 * (1 - ratio**2)}[kappa]
        if s == 0:  # the last step returns the estimate
            return g**2 * v
        v = (d_s * g + keep * (1 - d_t * g)) ** 2 * v + fresh
    raise AssertionError("no last level")


def relative(levels: int, kappa: str, omega: float = 0.0) -> float:
    """Variance over that of the data, mean over the frequencies of `SHOWN`."""
    return float((output_variance(levels, kappa, omega) / POWER)[SHOWN].mean())


def fixed_point(omega: float, signal: float) -> float:
    """Variance over P that endless kappa = 0 steps at one level end in, for a frequency with alpha^2 P = (signal sigma)^2."""
    power = (signal * SIGMA) ** 2
    g = power / (power + SIGMA**2)  # v = g^2 v + omega^2
    return omega**2 / (1 - g**2) / (power + SIGMA**2)


def draw(path: Path) -> None:
    plt.rcParams.update({"font.size": 10, "axes.spines.top": False, "axes.spines.right": False})
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
    ratios: list[float] = torch.linspace(0.0, 2.1, 43, dtype=torch.float64).tolist()
    left.plot(ratios, [ratio**2 / 2 for ratio in ratios], color="black", lw=2.5, alpha=0.3, label="law: omega² / (2 sigma²)")
    for signal, style in ((30.0, "-"), (3.0, "--"), (1.0, ":")):
        values = [fixed_point(ratio * SIGMA, signal) for ratio in ratios]
        left.plot(ratios, values, style, color="tab:blue", label=f"fixed point, signal {signal:g} sigma")
    for levels, colour in ((100, "tab:orange"), (400, "tab:red")):
        marks = [0.5, 0.75, 1.0, 1.25, 2**0.5, 1.75, 2.0]
        values = [relative(levels, "0", ratio * SIGMA) for ratio in marks]
        left.plot(marks, values, "o", color=colour, label=f"whole sampler, {levels} steps")
    for ratio, name in ((1.0, "sigma"), (1.25, "1.25 sigma\n(published)"), (2**0.5, "√2 sigma")):
        left.axvline(ratio, color="0.85", zorder=0)
        left.text(ratio + 0.01, 2.0, name, fontsize=8, va="top", rotation=90, ha="left", color="0.35")
    left.set(xlabel="noise of a step, omega / sigma", ylabel="variance / variance of the data", ylim=(0, 2.1), xlim=(0, 2.1))
    left.set_title("kappa = 0: the noise sets the temperature", loc="left", fontsize=11)
    left.legend(frameon=False, fontsize=8, loc="upper left")

    counts = [10, 20, 40, 70, 100, 200, 400, 700, 1000, 2000]
    for label, kappa, omega, style in (
        ("kappa = 0, omega = sigma (naive)", "0", SIGMA, "o-"),
        ("kappa = 0, omega = 1.25 sigma (IHDM)", "0", 1.25 * SIGMA, "s-"),
        ("kappa = 0, omega = √2 sigma", "0", 2**0.5 * SIGMA, "^-"),
        ("kappa per frequency (Markov)", "markov", 0.0, "o--"),
        ("kappa = 1 (Cold, Momentum, DDIM)", "1", 0.0, "s--"),
    ):
        right.plot(counts, [relative(count, kappa, omega) for count in counts], style, ms=4, label=label)
    right.axhline(1.0, color="0.6", lw=1)
    right.set(xlabel="number of steps", xscale="log", ylim=(0, 1.1), ylabel="variance / variance of the data")
    right.set_title("more steps mend kappa > 0, not kappa = 0 at the wrong noise", loc="left", fontsize=11)
    right.legend(frameon=False, fontsize=8, loc="lower right")
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=110)
    plt.close(figure)
    write_file(path, content.getvalue())


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Draw the temperature law of the kappa = 0 samplers.")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent.parent / "docs" / "images" / "temperature.png")
    arguments = parser.parse_args(argv)
    draw(arguments.out)
    for ratio in (1.0, 1.25, 2**0.5, 2.0):
        cells = ", ".join(f"{levels} steps {relative(levels, '0', ratio * SIGMA):.3f}" for levels in (100, 200, 400, 2000))
        print(f"kappa = 0, omega = {ratio:.3f} sigma: law {ratio**2 / 2:.3f}; {cells}")
    for kappa in ("markov", "1"):
        print(
            f"kappa = {kappa}: "
            + ", ".join(f"{levels} steps {relative(levels, kappa):.3f}" for levels in (100, 200, 400, 2000))
        )


if __name__ == "__main__":
    main()

"""The picture of the README: time per pixel of dct_blur against the side of the image."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from cases import COPY, OURS
from targets import Rows

# Okabe and Ito's colours, told apart by people of any colour vision; markers for those who print in grey.
STYLE = {
    "torch-dct": ("#CC79A7", "v", "torch-dct (FFT)"),
    "torch matmul": ("#E69F00", "s", "torch matmul"),
    "FFTW": ("#56B4E9", "D", "FFTW"),
    "scipy.fft": ("#009E73", "^", "scipy.fft"),
    "OpenCV": ("#D55E00", "P", "OpenCV"),
    "ducc0": ("#0072B2", "X", "ducc0"),
    OURS: ("#000000", "o", "softdiff_ext"),
    COPY: ("#999999", "", "copying the images"),
}
TICKS = (8, 16, 32, 64, 128, 256, 512, 1024)


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Write the plot of the rows of group "sweep" (one thread) as a PNG."""
    curves: dict[str, list[tuple[int, float]]] = {name: [] for name in STYLE}
    for (group, _, shape, *_), case in Rows(rows):
        if group == "sweep":
            for name in set(case) & set(STYLE):
                curves[name].append((shape[-1], case[name]["ns_per_pixel_median"]))
    figure, axes = plt.subplots(figsize=(8.4, 4.6), dpi=150, facecolor="white")
    for name, points in curves.items():
        if not points:
            continue
        colour, marker, _ = STYLE[name]
        ours = name == OURS
        sizes, times = zip(*sorted(points), strict=True)
        axes.plot(
            sizes,
            times,
            color=colour,
            marker=marker or None,
            markersize=6 if ours else 4.5,
            linewidth=2.6 if ours else 1.3,
            linestyle="--" if name == COPY else "-",
            zorder=3 if ours else 2,
        )
    axes.set(xscale="log", yscale="log", xlabel="side of the image, pixels (odd and prime sizes included)")
    axes.set_ylabel("ns per pixel, lower is faster")
    axes.set_title("Blur in the DCT basis, one heat time a sample: float32, 1 thread", loc="left", fontsize=11)
    axes.set_xticks(TICKS, [str(tick) for tick in TICKS])
    axes.minorticks_off()
    axes.set_yticks((0.1, 0.3, 1, 3, 10, 30, 100), ("0.1", "0.3", "1", "3", "10", "30", "100"))
    axes.grid(color="#e4e4e4", linewidth=0.8)
    axes.spines[["top", "right"]].set_visible(False)
    label_ends(axes, {name: sorted(points)[-1] for name, points in curves.items() if points})
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    figure.savefig(partial, format="png", facecolor="white")
    plt.close(figure)
    os.replace(partial, path)


def label_ends(axes: Any, ends: dict[str, tuple[int, float]]) -> None:
    """Write each curve's name at its right end, pushed apart where they would overlap: no legend to look up."""
    low, last = 0.0, max(size for size, _ in ends.values())
    for name, (_, time) in sorted(ends.items(), key=lambda item: item[1][1]):
        low = max(time, low * 1.30)  # 1.30: a line of text on this log axis
        colour, _, label = STYLE[name]
        weight = "bold" if name == OURS else "normal"
        axes.annotate(label, (last, low), (10, 0), textcoords="offset points", va="center", color=colour, weight=weight)
    axes.margins(x=0.03)

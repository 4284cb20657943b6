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


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Write the plot of the rows of group "sweep" (one thread) as a PNG: powers of two on the left, odd sizes on the right."""
    curves: dict[str, dict[int, float]] = {name: {} for name in STYLE}
    for (group, _, shape, *_), case in Rows(rows):
        if group == "sweep":
            for name in set(case) & set(STYLE):
                curves[name][shape[-1]] = case[name]["ns_per_pixel_median"]
    sizes = sorted({size for points in curves.values() for size in points})
    panels = {"powers of two": [n for n in sizes if n & (n - 1) == 0], "odd and prime sizes": [n for n in sizes if n % 2]}
    options = {"sharey": True, "width_ratios": [1.25, 1.0], "layout": "constrained"}
    figure, (left, right) = plt.subplots(1, 2, figsize=(8.8, 5.0), dpi=150, facecolor="white", **options)
    for axes, (title, columns) in zip((left, right), panels.items(), strict=True):
        for name, points in curves.items():
            here = [(i, points[n]) for i, n in enumerate(columns) if n in points]
            if here:
                line(axes, name, here)
        axes.set(yscale="log", xlabel=f"side of the image in pixels: {title}")
        axes.set_xticks(range(len(columns)), [str(n) for n in columns])
        axes.minorticks_off()
        axes.set_yticks((0.1, 0.3, 1, 3, 10, 30, 100), ("0.1", "0.3", "1", "3", "10", "30", "100"))
        axes.grid(color="#e4e4e4", linewidth=0.8)
        axes.spines[["top", "right"]].set_visible(False)
    left.set_ylabel("ns per pixel, lower is faster")
    figure.suptitle("Blur in the DCT basis, a heat time for each sample: float32, 1 thread", fontsize=11)
    handles, labels = left.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    figure.savefig(partial, format="png", facecolor="white")
    plt.close(figure)
    os.replace(partial, path)


def line(axes: Any, name: str, points: list[tuple[int, float]]) -> None:
    """One candidate's curve; ours is the thick one."""
    colour, marker, label = STYLE[name]
    ours = name == OURS
    axes.plot(
        *zip(*points, strict=True),
        color=colour,
        marker=marker or None,
        markersize=6.5 if ours else 4.5,
        linewidth=2.8 if ours else 1.3,
        linestyle="--" if name == COPY else "-",
        label=label,
        zorder=3 if ours else 2,
    )

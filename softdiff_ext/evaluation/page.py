"""What an evaluation leaves to look at: a Markdown page, curves of quality against steps, sheets of images."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure

from softdiff_ext.evaluation.features import Features
from softdiff_ext.report.ticks import is_wide, labels, linear_ticks, log_ticks

FLOOR = "held-out images"
"""The first row of the table: what real images that training never saw measure."""


def markdown(result: dict[str, Any], features: Sequence[Features], pictures: dict[str, str]) -> str:
    """The page of an evaluation.

    Args:
        result: what evaluation.json holds.
        features: the networks, in the order of their columns.
        pictures: captions by file name.
    """
    settings = result["settings"]
    lines = [
        f"# {settings['run']}, {settings['checkpoint']}",
        "",
        f"{settings['process']} on {settings['data']}; n = {settings['n']} samples a row (seed {settings['seed']}) against "
        f"{settings['n reference']} training images. The first row is the floor: the distance that {settings['n held out']} "
        "held-out images have themselves.",
        "",
        *_table(result["quality"]),
        "",
    ]
    if settings["n held out"] < settings["n"]:
        lines += [
            "The floor has fewer images than the samples, which raises its Frechet distance and lowers its precision and "
            "recall; its kernel distance compares.",
            "",
        ]
    for network in features:
        lines += [
            f"{network.frechet} (Frechet distance) and {network.kernel} (kernel distance, mean over subsets and its spread): "
            f"lower is better; by {network.description}.",
            "",
        ]
    lines += [
        "Numbers compare only with the same n, features and reference. Precision: share of samples that lie where training "
        "images do; recall: share of training images that lie where samples do (balls to the 3rd neighbour, as many of both).",
        "",
        "## Bits per dimension",
        "",
        *_bits(result["bits per dimension"]),
        "",
        "## Nearest training images",
        "",
        *_copies(result["nearest training images"]),
        "",
    ]
    for name, caption in pictures.items():
        lines += [f"![{caption}]({name})", "", caption, ""]
    return "\n".join(lines)


def _table(rows: list[dict[str, Any]]) -> list[str]:
    columns = [name for name in rows[0] if not name.endswith(" std")]
    lines = [f"| {' | '.join(columns)} |", f"|{'|'.join('---' if name == 'sampler' else '---:' for name in columns)}|"]
    for row in rows:
        spread = {name: f" ± {row[f'{name} std']:.2g}" if f"{name} std" in row else "" for name in columns}
        lines.append(f"| {' | '.join(_cell(row[name]) + spread[name] for name in columns)} |")
    return lines


def _cell(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _bits(bits: dict[str, Any]) -> list[str]:
    if not bits["n"]:
        return [f"None: {bits['reason']}."]
    error = "" if bits["standard error of total"] is None else f" ± {bits['standard error of total']:.2g}"
    terms = " + ".join(f"{name} {bits[name]:.3f}" for name in ("reconstruction", "prior", "diffusion"))
    images = f"{bits['n']} held-out images of {bits['pixel values']} pixel values"
    return [f"**{bits['total']:.3f}**{error} = {terms}: an upper bound, mean over {images}."]


def _copies(found: dict[str, Any]) -> list[str]:
    samples, others = found["median distance of samples"], found["median distance of held-out images"]
    return [
        f"{found['sampler']}, {found['steps']} steps: the median of {found['n']} samples lies {samples:.3f} from the nearest "
        f"of {found['compared with']} training images, the median held-out image {others:.3f} (root mean square of pixels, "
        f"full range 2); {found['samples within half of that']:.1%} of the samples lie within half of that, as copies would."
    ]


def curves(rows: list[dict[str, Any]], features: Sequence[Features]) -> bytes:
    """The PNG of `curve_figure`."""
    content = io.BytesIO()
    curve_figure(rows, features).savefig(content, format="png")
    return content.getvalue()


def curve_figure(rows: list[dict[str, Any]], features: Sequence[Features]) -> Figure:
    """Both distances against the number of steps: a line a rule, the held-out images' own distance dashed."""
    figure = Figure(figsize=(9, 3.4 * len(features)), dpi=120, layout="constrained")
    axes = figure.subplots(len(features), 2, squeeze=False)
    floor, *samples = rows
    rules = list(dict.fromkeys(row["sampler"] for row in samples))
    counts = sorted({int(row["steps"]) for row in samples})
    for line, network in zip(axes, features, strict=True):
        for axis, name in zip(line, (network.frechet, network.kernel), strict=True):
            for number, rule in enumerate(rules):
                chosen = sorted((row for row in samples if row["sampler"] == rule), key=lambda row: int(row["steps"]))
                steps, values = [row["steps"] for row in chosen], [row[name] for row in chosen]
                spread = [row[f"{name} std"] for row in chosen] if name == network.kernel else None
                axis.errorbar(steps, values, spread, marker="o", capsize=3, label=rule, color=f"C{number}")
            axis.axhline(floor[name], color="0.4", linestyle="--", label=f"{FLOOR} (n = {floor['n']})")
            distances = [row[name] for row in rows]
            wide = name == network.frechet and is_wide(min(distances), max(distances))  # a kernel distance may be negative
            axis.set_xscale("log")
            axis.set_yscale("log" if wide else "linear")
            low, high = axis.get_ylim()
            ticks = [tick for tick in (log_ticks if wide else linear_ticks)(low, high) if low <= tick <= high]
            axis.set_xticks(shown := apart(counts), [str(count) for count in shown])
            axis.set_yticks(ticks, labels(ticks))
            axis.minorticks_off()
            axis.set(xlabel="steps", ylabel=f"{name} (logarithmic)" if wide else name, title=f"{name}, n = {samples[0]['n']}")
            axis.grid(alpha=0.3)
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=4, frameon=False)
    return figure


def apart(counts: Sequence[int]) -> list[int]:
    """Those of the rising counts that a logarithmic axis has room to name: the first, the last, and at most five between."""
    first, *others = counts
    if not others:
        return [first]
    last, gap = others[-1], (others[-1] / first) ** (1 / 6)
    kept = [first]
    for count in others[:-1]:
        if kept[-1] * gap <= count <= last / gap:
            kept.append(count)
    return [*kept, last]

"""Curves as SVG: readable on a phone, in light and dark, and without any program but the browser."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from softdiff_ext.report.ticks import is_wide, labels, linear_ticks, log_ticks, short

WIDTH, HEIGHT = 400, 240
LEFT, RIGHT, TOP, BOTTOM = 54, 18, 10, 28
MOST_POINTS = 240
"""Of a curve: one for about each pixel and a half. Longer ones are drawn as means of neighbours."""
SMOOTHING = 0.06
"""Share of a curve over which the thick line averages."""


@dataclass(frozen=True)
class Curve:
    """Values over steps. `style` is "line" (thin, with a thick average where it is long) or "dots"."""

    name: str
    steps: Sequence[int]
    values: Sequence[float]
    style: str = "line"


def chart(identity: str, title: str, curves: Sequence[Curve]) -> str:
    """One chart as an HTML figure; curves without points are left out, and at least one must have some.

    Args:
        identity: a word, unique on the page.
        title: what it shows; the first curve is described in numbers below it.
    """
    drawn = [thinned(curve) for curve in curves if curve.steps]
    last = max(curve.steps[-1] for curve in drawn)
    first = min(min(curve.steps[0] for curve in drawn), last - 1)
    values = [value for curve in drawn for value in curve.values]
    low, high = min(values), max(values)
    logarithmic = is_wide(low, high)
    ticks = log_ticks(low, high) if logarithmic else linear_ticks(low, high)
    shown_steps = [tick for tick in linear_ticks(first, last, 5) if first <= tick <= last]
    low, high = min(low, ticks[0]), max(high, ticks[-1])

    def x(step: float) -> float:
        return LEFT + (step - first) / (last - first) * (WIDTH - LEFT - RIGHT)

    def y(value: float) -> float:
        share = math.log(value / low) / math.log(high / low) if logarithmic else (value - low) / (high - low)
        return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)

    parts = [
        f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(tick):.1f}" y2="{y(tick):.1f}"/>'
        f'<text class="tick" x="{LEFT - 6}" y="{y(tick) + 4:.1f}" text-anchor="end">{label}</text>'
        for tick, label in zip(ticks, labels(ticks), strict=True)
    ]
    parts += [
        f'<text class="tick" x="{x(tick):.1f}" y="{HEIGHT - 8}" text-anchor="middle">{label}</text>'
        for tick, label in zip(shown_steps, labels(shown_steps), strict=True)
    ]
    for index, curve in enumerate(drawn):
        points = " ".join(f"{x(step):.1f},{y(value):.1f}" for step, value in zip(curve.steps, curve.values, strict=True))
        if curve.style == "dots":
            parts += [f'<polyline class="series s{index}" points="{points}"/>']
            parts += [
                f'<circle class="dot s{index}" cx="{p.split(",")[0]}" cy="{p.split(",")[1]}" r="3"/>' for p in points.split()
            ]
        elif len(curve.steps) < 20:
            parts.append(f'<polyline class="series s{index}" points="{points}"/>')
        else:
            smooth = smoothed(curve.values)
            thick = " ".join(f"{x(step):.1f},{y(value):.1f}" for step, value in zip(curve.steps, smooth, strict=True))
            parts += [
                f'<polyline class="faint s{index}" points="{points}"/>',
                f'<polyline class="series s{index}" points="{thick}"/>',
            ]
    data = json.dumps(
        {
            "first": first,
            "last": last,
            "left": LEFT,
            "width": WIDTH - LEFT - RIGHT,
            "curves": [
                {"name": curve.name, "steps": list(curve.steps), "values": [float(f"{value:.4g}") for value in curve.values]}
                for curve in drawn
            ],
        }
    )
    legend = "".join(f'<span class="key s{index}">{escape(curve.name)}</span>' for index, curve in enumerate(drawn))
    words = "; ".join(described(curve) for curve in curves if curve.steps)
    return (
        f'<figure class="chart" data-chart="{escape(data)}">'
        f'<h3 id="{identity}">{escape(title)}{" (logarithmic)" if logarithmic else ""}</h3>'
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-labelledby="{identity} {identity}-words">'
        f'{"".join(parts)}<line class="cursor" y1="{TOP}" y2="{HEIGHT - BOTTOM}" visibility="hidden"/></svg>'
        f'<figcaption><span class="legend">{legend}</span>'
        f'<span class="words" id="{identity}-words">{escape(words)}</span></figcaption></figure>'
    )


def described(curve: Curve) -> str:
    """A curve in words."""
    at = min(range(len(curve.values)), key=curve.values.__getitem__)
    ends = f"{curve.name}: {short(curve.values[-1])} at step {curve.steps[-1]:,}"
    return f"{ends}, least {short(curve.values[at])} at step {curve.steps[at]:,}"


def thinned(curve: Curve) -> Curve:
    """The curve with at most MOST_POINTS points: the means of equally many neighbours, at their last step."""
    size = math.ceil(len(curve.steps) / MOST_POINTS)
    if size <= 1:
        return curve
    pieces = [list(curve.values[i : i + size]) for i in range(0, len(curve.values), size)]
    steps = [curve.steps[min(i + size, len(curve.steps)) - 1] for i in range(0, len(curve.steps), size)]
    return Curve(curve.name, steps, [math.fsum(piece) / len(piece) for piece in pieces], curve.style)


def smoothed(values: Sequence[float]) -> list[float]:
    """Exponential moving average over about SMOOTHING of the values, without the pull of its start."""
    keep = math.exp(-1 / max(1.0, SMOOTHING * len(values)))
    total = weight = 0.0
    result = []
    for value in values:
        total, weight = keep * total + (1 - keep) * value, keep * weight + (1 - keep)
        result.append(total / weight)
    return result

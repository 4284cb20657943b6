"""The page: sections in, one HTML file out that fetches nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files

from torch import Tensor

from softdiff_ext.report.films import Film
from softdiff_ext.report.neighbours import Neighbours
from softdiff_ext.report.pictures import display_bytes, picture, sprite
from softdiff_ext.report.quality import Spread

PIXELATED = 32
"""Images up to this many pixels a side show their pixels; larger ones are smoothed where the screen is finer."""

_TILE = 128  # CSS pixels: eight images beside each other fill the page

_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"


@dataclass(frozen=True)
class Section:
    """A part of the page: a word for its address, its title and its HTML."""

    identity: str
    title: str
    body: str


def page(title: str, lead: str, facts: Mapping[str, str], sections: Sequence[Section], closing: str) -> str:
    """The whole page. Everything but section bodies is plain text."""
    links = "".join(f'<li><a href="#{section.identity}">{escape(section.title)}</a></li>' for section in sections)
    listed = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in facts.items())
    bodies = "\n".join(
        f'<section id="{section.identity}" aria-labelledby="{section.identity}-title">'
        f'<h2 id="{section.identity}-title">{escape(section.title)}</h2>\n{section.body}\n</section>'
        for section in sections
    )
    own = files("softdiff_ext.report")
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<link rel="icon" href="data:,">
<title>{escape(title)}</title>
<style>
{(own / "page.css").read_text("utf-8")}</style>
</head>
<body>
<header>
<h1>{escape(title)}</h1>
<p class="lead">{escape(lead)}</p>
<nav aria-label="Sections"><ul>{links}</ul></nav>
<dl class="facts">{listed}</dl>
<noscript><p class="note">The players need JavaScript, which is off; the curves, pictures and tables do not.</p></noscript>
</header>
<main>
{bodies}
</main>
<footer>{closing}</footer>
<script>
{(own / "page.js").read_text("utf-8")}</script>
</body>
</html>
"""


def player(identity: str, name: str, film: Film, start: int) -> str:
    """A film with a slider and a button.

    Args:
        identity: a word, unique on the page.
        name: what it shows, for those who hear the page.
        film: its frames; all strips have equally many images of one size.
        start: the frame that is shown at first.
    """
    count, height, width = (film.strips[0].frames.shape[i] for i in (1, 3, 4))
    strips = "".join(
        f'<div class="strip"><h3>{escape(strip.title)}</h3>'
        f'<div class="tiles" role="img" aria-label="{count} images. {escape(strip.title)}">'
        + f'<canvas width="{width}" height="{height}"></canvas>' * count
        + "</div></div>"
        for strip in film.strips
    )
    data = json.dumps({"labels": film.labels, "sprites": [sprite(strip.frames) for strip in film.strips]}).replace(
        "<", "\\u003c"
    )
    label, still = escape(film.labels[start]), " disabled" if len(film.labels) == 1 else ""
    return (
        f'<figure class="card player{pixelated(height, width)}" id="{identity}-player" style="{sizes(count, width)}">{strips}'
        f'<div class="controls"><button type="button" aria-label="Play or pause: {escape(name)}"{still}>Play</button>'
        f'<input type="range" id="{identity}-frame" min="0" max="{len(film.labels) - 1}" value="{start}" step="1"'
        f' aria-label="{escape(name)}" aria-valuetext="{label}"{still}>'
        f'<output for="{identity}-frame">{label}</output></div>'
        f'<script type="application/json">{data}</script></figure>'
    )


def pixelated(height: int, width: int) -> str:
    """The class of what shows images of this size, with a space before it; empty for large ones."""
    return " pixelated" if max(height, width) <= PIXELATED else ""


def sizes(count: int, width: int) -> str:
    """How many images stand beside each other on a screen and on a phone, and how wide they get at most, in CSS."""
    columns = 8 if width <= _TILE else 4
    side = width * round(_TILE / width) if width <= PIXELATED else min(max(width, _TILE), 2 * _TILE)
    return f"--columns:{min(count, columns)};--narrow:{min(count, 4)};--side:{side}px"


def neighbour_list(samples: Tensor, found: Neighbours) -> str:
    """Each sample beside the training images nearest to it."""
    own, shown = display_bytes(samples), display_bytes(found.images.flatten(0, 1))
    nearest = shown.reshape(*found.images.shape[:2], *shown.shape[1:])
    height, width = own.shape[-2:]
    rows = []
    for number, (sample, images, distances) in enumerate(zip(own, nearest, found.distances.tolist(), strict=True), start=1):
        items = [f'<li><img src="{picture(sample)}" alt="sample {number}" width="{width}" height="{height}">sample</li>']
        items += [
            f'<li><img src="{picture(image)}" alt="training image" width="{width}" height="{height}">{distance:.3f}</li>'
            for image, distance in zip(images, distances, strict=True)
        ]
        rows.append(f'<ul class="pictures">{"".join(items)}</ul>')
    style = f'class="card neighbours{pixelated(height, width)}" style="{sizes(4, width)}"'
    return f"<div {style}>{''.join(rows)}</div>"


def table(caption: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A table; numbers and their names stand at the right of their column where rows compare, which two columns do not."""
    compared = len(columns) > 2

    def cell(value: object) -> str:
        text = f"{value:.4g}" if isinstance(value, float) else "" if value is None else str(value)
        return f"<td{at_right([value])}>{escape(text)}</td>"

    def head(column: str, values: Sequence[object]) -> str:
        words = " ".join(f"<span>{escape(word)}</span>" for word in column.split())  # a line breaks between words alone
        return f'<th{at_right(values)} scope="col">{words}</th>'

    def at_right(values: Sequence[object]) -> str:
        return ' class="number"' if compared and any(map(is_number, values)) else ""

    names = "".join(head(column, [row[index] for row in rows]) for index, column in enumerate(columns))
    body = "".join(f"<tr>{''.join(map(cell, row))}</tr>" for row in rows)
    name = escape(caption)
    return (
        f'<div class="scroll{" compared" if compared else ""}" tabindex="0" role="region" aria-label="{name}"><table>'
        f"<caption>{name}</caption><thead><tr>{names}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def is_number(value: object) -> bool:
    return isinstance(value, (int, float, Spread)) and not isinstance(value, bool)

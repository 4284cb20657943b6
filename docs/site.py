"""What the site takes from outside docs/, the changelog and the results that pages link to; formulas; how it reads docstrings.

mkdocs calls the functions (`hooks` in mkdocs.yml), the reader of docstrings the class (`extensions` there).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from html import escape
from pathlib import Path
from typing import Any

import griffe
from matplotlib.font_manager import FontProperties
from matplotlib.path import Path as Outline
from matplotlib.textpath import TextPath
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parent.parent
FORMULA = re.compile(r"^\$\$\n(.+)\n\$\$$", re.MULTILINE)
"""LaTeX between two lines of dollars, which code hosts draw."""
ITEM = re.compile(r"([*-]|\d+\.) ")
PEN = {Outline.MOVETO: "M", Outline.LINETO: "L", Outline.CURVE3: "Q", Outline.CURVE4: "C", Outline.CLOSEPOLY: "Z"}


def on_files(files: Files, config: Any) -> Files:
    outside = {"changelog.md": ROOT / "CHANGELOG.md"}
    outside |= {f"benchmarks/results/{path.name}": path for path in (ROOT / "benchmarks" / "results").iterdir()}
    for name, path in outside.items():
        files.append(File.generated(config, name, abs_src_path=str(path)))
    # on a code host the scripts are beside the page; here they are read as they are
    for path in (ROOT / "docs" / "examples").glob("*.py"):
        files.append(File.generated(config, f"examples/{path.name}.txt", abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, **_: object) -> str:
    markdown = FORMULA.sub(lambda found: f'<div class="formula">{drawn(found[1])}</div>', markdown)
    markdown = "\n".join(with_lists_apart(markdown.split("\n")))
    markdown = re.sub(r"\]\(((?:examples/)?\w+\.py)\)", r"](\1.txt)", markdown)
    return markdown.replace("](../benchmarks/", "](benchmarks/").replace("](../CHANGELOG.md)", "](changelog.md)")


def drawn(latex: str) -> str:
    """A formula as outlines in the colour of the text: few readers have a font for MathML, and none is fetched."""
    outline = TextPath((0, 0), f"${latex}$", size=18, prop=FontProperties(math_fontfamily="stix"))
    box = outline.get_extents().padded(2)
    path = "".join(
        PEN[code] + ("" if code == Outline.CLOSEPOLY else " ".join(f"{value:.1f}" for value in points))
        for points, code in outline.iter_segments(simplify=False)
    )
    view = f"{box.x0:.1f} {-box.y1:.1f} {box.width:.1f} {box.height:.1f}"
    size = f'width="{box.width:.0f}" height="{box.height:.0f}"'
    return (
        f'<svg role="img" aria-label="{escape(latex)}" viewBox="{view}" {size}><path transform="scale(1 -1)" d="{path}"/></svg>'
    )


def with_lists_apart(lines: Iterable[str]) -> Iterator[str]:
    """With an empty line before each list that follows a line of text: without, it is part of that here, not on code hosts."""
    before, code = "", False
    for line in lines:
        code ^= line.startswith("```")
        in_text = bool(before) and not before.startswith(" ") and not ITEM.match(before)
        if in_text and not code and ITEM.match(line):
            yield ""
        yield line
        before = line


class Sections(griffe.Extension):
    """The docstrings' sections follow each other without an empty line, which the reader of docstrings needs to see them."""

    TITLES = re.compile(r"(?<!\n)\n(?=(?:Args|Returns|Raises|Note|Source|Examples):)")

    def on_instance(self, *, obj: griffe.Object, **_: object) -> None:
        if obj.docstring is not None:
            obj.docstring.value = self.TITLES.sub("\n\n", obj.docstring.value)

"""What the site takes from outside docs/, the changelog and the results that pages link to, and how it reads docstrings.

mkdocs calls the functions (`hooks` in mkdocs.yml), the reader of docstrings the class (`extensions` there).
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import griffe
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parent.parent


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
    markdown = re.sub(r"\]\(((?:examples/)?\w+\.py)\)", r"](\1.txt)", markdown)
    return markdown.replace("](../benchmarks/", "](benchmarks/").replace("](../CHANGELOG.md)", "](changelog.md)")


class Sections(griffe.Extension):
    """The docstrings' sections follow each other without an empty line, which the reader of docstrings needs to see them."""

    TITLES = re.compile(r"(?<!\n)\n(?=(?:Args|Returns|Raises|Note|Source|Examples):)")

    def on_instance(self, *, obj: griffe.Object, **_: object) -> None:
        if obj.docstring is not None:
            obj.docstring.value = self.TITLES.sub("\n\n", obj.docstring.value)

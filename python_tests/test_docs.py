"""The pages: links and pictures exist, every page is in the site, every public name in the reference. `make docs` builds it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

import softdiff_ext as sd

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = sorted([ROOT / "README.md", *DOCS.rglob("*.md")])


def anchors(page: Path) -> set[str]:
    titles = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"\s+", "-", re.sub(r"[^\w\s-]", "", title).strip().lower()) for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"https?:|mailto:", link):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name) if name else page
        assert target.exists(), f"{page.name}: {link}"
        assert not anchor or anchor in anchors(target), f"{page.name}: {link}"


def nav_pages(entry: object) -> list[str]:
    if isinstance(entry, str):
        return [entry]
    values = entry.values() if isinstance(entry, dict) else entry
    return [page for value in values for page in nav_pages(value)]  # type: ignore[union-attr]


def test_every_page_is_in_the_site() -> None:
    named = set(nav_pages(yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]))
    here = {page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md")}
    assert named == here | {"changelog.md"}  # docs/site.py brings that one


def test_every_public_name_is_in_the_reference() -> None:
    named = [
        name
        for page in (DOCS / "api").glob("*.md")
        for name in re.findall(r"^::: softdiff_ext\.(\w+)$", page.read_text(), re.M)
    ]
    assert sorted(named) == sorted(sd.__all__)

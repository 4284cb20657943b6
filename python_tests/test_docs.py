"""The pages: links, commands and code are right, formulas can be drawn, and the site has it all. `make docs` builds it."""

from __future__ import annotations

import importlib
import importlib.util
import re
import sys
from contextlib import suppress
from pathlib import Path
from types import ModuleType

import pytest
import torch
import yaml

import softdiff_ext as sd
from softdiff_ext.cli import main
from softdiff_ext.integrations import diffusers as schedulers
from softdiff_ext.training.options import PROCESSES

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
    others = []
    pages = ((DOCS / "api" / name).read_text() for name in ("diffusers.md", "training.md"))
    for name in re.findall(r"^::: (\S+)$", "\n".join(pages), re.M):
        module, _, attribute = name.rpartition(".")
        assert hasattr(importlib.import_module(module), attribute), name
        others.append(attribute)
    assert set(schedulers.__all__) <= set(others)


def test_options_in_the_pages_exist(capsys: pytest.CaptureFixture[str]) -> None:
    known: dict[str, set[str]] = {}
    for command, choices in {"train": list(PROCESSES), "sample": [], "evaluate": [], "report": [], "export": []}.items():
        for choice in choices or [None]:
            with suppress(SystemExit):  # the others end so, as is usual after a help
                main([command, "--help", *(["--process", choice] if choice else [])])
            known.setdefault(command, set()).update(re.findall(r"--[a-z][\w.-]*", capsys.readouterr().out))
    found = 0
    for page in PAGES:
        text = page.read_text().replace("\\\n", " ")
        for command, arguments in re.findall(r"softdiff(?:_ext)? (train|sample|evaluate|report|export)\b([^`\n]*)", text):
            for option in re.findall(r"(?<=\s)--[a-z][\w.-]*", arguments.partition("#")[0]):
                found += 1
                assert option in known[command] | {"--help"}, f"{page.name}: softdiff {command} {option}"
    for option in re.findall(r"`(--[a-z][\w.-]*)", (DOCS / "scaling.md").read_text()):
        assert option in known["train"] | known["sample"] | {"--max-restarts"}, f"scaling.md: {option}"
    assert found > 20


def test_the_code_of_the_home_page_runs() -> None:
    code = "\n".join(re.findall(r"^```python\n(.*?)^```", (DOCS / "index.md").read_text(), re.M | re.S))
    short = code.replace("range(1000)", "range(2)").replace("steps=100", "steps=2")
    assert short != code
    names: dict[str, object] = {}
    exec(compile(short, "index.md", "exec"), names)
    images = names["images"]
    assert isinstance(images, torch.Tensor)
    assert images.shape == (16, 1, 8, 8)


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """docs/site.py with stand-ins for what the extra `docs` alone brings and its functions on pages do not use."""
    for name in ("griffe", "mkdocs", "mkdocs.structure", "mkdocs.structure.files"):
        stand_in = ModuleType(name)
        for attribute in ("Extension", "Object", "File", "Files"):
            setattr(stand_in, attribute, object)
        monkeypatch.setitem(sys.modules, name, stand_in)
    spec = importlib.util.spec_from_file_location("docs_site", DOCS / "site.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_formulas_become_outlines(site: ModuleType) -> None:
    drawn = 0
    for page in PAGES[1:]:
        text = page.read_text()
        formulas = re.findall(r"^\$\$$", text, re.M)
        result = site.on_page_markdown(text)
        assert "$$" not in result, page.name
        assert result.count('<svg role="img" aria-label="') == len(formulas) / 2
        drawn += len(formulas) // 2
    assert drawn > 15
    small, large = (re.findall(r'height="(\d+)"', site.drawn(formula))[0] for formula in ("x", r"\frac{x}{\sigma}"))
    assert int(small) < int(large)


def test_lists_are_lists_where_no_line_is_left_free_before_them(site: ModuleType) -> None:
    text = "**Why.**\n* one\n  goes on\n* two\n\n```yaml\nkey:\n- kept\n```\n1. first\n2. second\n"
    want = "**Why.**\n\n* one\n  goes on\n* two\n\n```yaml\nkey:\n- kept\n```\n\n1. first\n2. second\n"
    assert site.on_page_markdown(text) == want

"""Imports modules of benchmarks/ as its programs do, and forgets them when the test ends."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType

import pytest

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


def load(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(BENCHMARKS)
    for path in BENCHMARKS.glob("*.py"):
        if path.stem in sys.modules:
            monkeypatch.delitem(sys.modules, path.stem)
    before = set(sys.modules)
    module = importlib.import_module(name)
    for added in set(sys.modules) - before:  # to be forgotten: monkeypatch puts back what was there, which is nothing
        kept = sys.modules.pop(added)
        monkeypatch.setitem(sys.modules, added, kept)
    return module

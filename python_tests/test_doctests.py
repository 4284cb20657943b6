"""The examples in the docstrings of the public names: each runs, and prints what it says."""

from __future__ import annotations

import doctest
import importlib
import inspect

import pytest
import torch

import softdiff_ext as sd

PUBLIC = [name for name in sd.__all__ if callable(getattr(sd, name))]
OPERATORS = [name for name in PUBLIC if getattr(sd, name).__module__.startswith("softdiff_ext.ops.")]
PROCESSES = [
    name for name in PUBLIC if getattr(sd, name).__module__.startswith("softdiff_ext.processes.") and name != "ImageDraws"
]
RULES = [name for name in PUBLIC if getattr(sd, name).__module__ == "softdiff_ext.rules"]
EDITS = [name for name in PUBLIC if getattr(sd, name).__module__ == "softdiff_ext.editing"]


def examples_of(name: str) -> list[doctest.DocTest]:
    value = getattr(sd, name)
    module = importlib.import_module(value.__module__)
    found = doctest.DocTestFinder(recurse=False).find(value, name, module, globs={})
    return [test for test in found if test.examples]


@pytest.mark.parametrize("name", [name for name in PUBLIC if examples_of(name)])
def test_the_examples_of(name: str) -> None:
    torch.manual_seed(0)
    runner = doctest.DocTestRunner()
    said: list[str] = []
    for test in examples_of(name):
        runner.run(test, out=said.append)
    assert runner.summarize(verbose=False).failed == 0, "".join(said)


def test_whatever_people_call_first_has_an_example() -> None:
    assert len(OPERATORS) == 12
    assert (len(PROCESSES), len(RULES), len(EDITS)) == (5, 5, 3)
    bare = [name for name in [*OPERATORS, *PROCESSES, *RULES, *EDITS, "Level"] if not examples_of(name)]
    assert bare == []


def test_the_check_sees_a_wrong_result() -> None:
    wrong = inspect.getdoc(sd.posterior).replace("tensor([0.7500])", "tensor([0.2500])")  # type: ignore[union-attr]
    test = doctest.DocTestParser().get_doctest(wrong, {}, "posterior", None, None)
    runner = doctest.DocTestRunner()
    runner.run(test, out=lambda text: None)
    assert runner.failures == 1

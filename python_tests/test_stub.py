"""The type stub of the native module against the module that was built: the same names with the same arguments."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import softdiff_ext
from softdiff_ext import _C

STUB = Path(softdiff_ext.__file__).parent / "_C.pyi"


def stub_functions() -> dict[str, list[str]]:
    functions = [node for node in ast.parse(STUB.read_text()).body if isinstance(node, ast.FunctionDef)]
    return {node.name: [a.arg for a in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)] for node in functions}


def built_functions() -> dict[str, list[str]]:
    """Argument names from the signature line that pybind11 writes first into each docstring."""
    found = {}
    for name in dir(_C):
        value = getattr(_C, name)
        if not name.startswith("_") and callable(value) and not isinstance(value, type):
            signature = (value.__doc__ or "").splitlines()[0]
            found[name] = re.findall(r"(?:\(|, )(\w+):", signature)
    return found


def test_same_functions_and_arguments() -> None:
    assert stub_functions() == built_functions()


def test_arguments_have_names() -> None:
    unnamed = {name for name, arguments in built_functions().items() if any(re.fullmatch(r"arg\d+", a) for a in arguments)}
    assert unnamed == set()


def test_same_constants() -> None:
    annotated = {
        n.target.id for n in ast.parse(STUB.read_text()).body if isinstance(n, ast.AnnAssign) and isinstance(n.target, ast.Name)
    }
    built = {name for name in dir(_C) if not name.startswith("_") and not callable(getattr(_C, name))}
    assert {name for name in annotated if not name.startswith("_")} == built

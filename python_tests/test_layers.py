"""The layers of the package, read from its source: imports point downwards, and the core needs torch and numpy only."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

PACKAGE = "softdiff_ext"
ROOT = Path(__file__).parent.parent / PACKAGE
LAYERS = (
    ("_C",),
    ("levels", "rules", "build_info"),
    ("reference",),
    ("ops",),
    ("schedules", "corruptions", "likelihood"),
    ("wasserstein", "linear", "learned_schedules"),
    ("sampling", "processes"),
    ("editing",),
    ("__init__",),
    ("training", "integrations"),
    ("evaluation", "report"),
    ("commands",),
    ("cli", "__main__"),
)
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}
EXTRAS = ("training", "integrations", "evaluation", "report", "commands", "cli", "__main__")
"""What may import packages that only an extra installs."""


def module_name(path: Path) -> str:
    parts = (PACKAGE, *path.relative_to(ROOT).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def layer_of(module: str) -> str:
    return [*module.split("."), "__init__"][1]


def imports(source: str, module: str, is_package: bool) -> list[str]:
    """Absolute names of everything the source imports, wherever the statement stands; names from a package count one by one."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = module.split(".") if is_package else module.split(".")[:-1]
                base = ".".join([*above[: len(above) - node.level + 1], *([node.module] if node.module else [])])
            found += [f"{base}.{alias.name}" for alias in node.names]
    return found


def resolved(name: str) -> str:
    """The layer a `softdiff_ext...` name belongs to: a module of the package, or the package's own namespace."""
    layer = layer_of(name)
    return layer if layer in RANK else "__init__"


def breaches(source: str, module: str, is_package: bool) -> list[str]:
    layer = layer_of(module)
    wrong = []
    for name in imports(source, module, is_package):
        top = name.split(".")[0]
        if top == PACKAGE and RANK[resolved(name)] > RANK[layer]:
            wrong.append(f"{module} imports {name}, which is above it")
        elif (
            top not in (PACKAGE, "torch", "numpy", "__future__") and top not in sys.stdlib_module_names and layer not in EXTRAS
        ):
            wrong.append(f"{module} imports {name}, which only an extra installs")
        scheduler = top == "diffusers" and ("schedul" in name.lower() or name.endswith("ConfigMixin"))
        if scheduler and module != f"{PACKAGE}.integrations.diffusers":
            wrong.append(f"{module} imports {name}, which only integrations/diffusers.py may")
    return wrong


FILES = sorted(ROOT.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: module_name(path))
def test_imports_point_downwards(path: Path) -> None:
    module = module_name(path)
    assert layer_of(module) in RANK, f"{module} has no layer: give it one here and in docs/architecture.md"
    assert breaches(path.read_text(), module, path.name == "__init__.py") == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("levels", "from softdiff_ext.ops import dct"),
        ("reference", "def f():\n    from softdiff_ext import ops"),
        ("ops.blur", "from ..sampling import sample"),
        ("processes.soft", "from softdiff_ext.training.loop import train"),
        ("processes.soft", "import softdiff_ext"),
        ("schedules", "import scipy.fft"),
        ("sampling", "from diffusers import UNet2DModel"),
        ("training.loop", "from diffusers import DDPMScheduler"),
        ("training.loop", "import softdiff_ext.cli"),
    ],
)
def test_the_check_sees_a_breach(module: str, source: str) -> None:
    assert len(breaches(source, f"{PACKAGE}.{module}", False)) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("ops.blur", "from .. import _C\nfrom ..levels import Level\nfrom .common import check"),
        ("processes.soft", "import math\nimport torch\nfrom softdiff_ext.sampling import sample"),
        ("training.loop", "from diffusers import UNet2DModel\nimport softdiff_ext as sd"),
        ("integrations.diffusers", "from diffusers import SchedulerMixin"),
    ],
)
def test_the_check_lets_good_imports_pass(module: str, source: str) -> None:
    assert breaches(source, f"{PACKAGE}.{module}", False) == []

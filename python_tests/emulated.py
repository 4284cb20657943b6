"""The module `_emulated`: the bindings of `_C` over an emulated device, whose memory reports what a GPU would not.

Memory of the CPU stands for that of the device, so everything from the checks in Python down to the phases of each kernel runs
as it would on a GPU: only the launcher is another. It is built here, once for each state of csrc/, into build/emulated; two
cores take about a minute and a half.
"""

from __future__ import annotations

import fcntl
import functools
import importlib.util
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pybind11
import pytest

from softdiff_ext.ops import library, native

ROOT = Path(__file__).parent.parent
BUILD = ROOT / "build" / "emulated"
ONE_NAMESPACE = "-DSOFTDIFF_ISA=emulated"
FLAGS = "-std=gnu++17 -O1 -fPIC -fvisibility=hidden -Wall -Wextra -Wno-unknown-pragmas -Wno-attributes"
DEFINED = (
    '-DSOFTDIFF_EMULATED -DSOFTDIFF_WITH_CUDA -DSOFTDIFF_VERSION=\\"0\\" -DSOFTDIFF_CUDA_VERSION=\\"emulated\\" '
    '-DSOFTDIFF_CUDA_ARCHITECTURES=\\"emulated\\"'
)
HOST_TABLES = ("odd_choice", "odd_plan", "plan", "scratch")
RUN_TIME = ("device", "guard")  # sources of csrc/cuda that need CUDA's run time; csrc/emulation/host.cpp stands for them


def _objects() -> dict[str, tuple[Path, str]]:
    """Object file -> (source, flags beside the common ones); the slow ones first."""
    source = ROOT / "csrc"
    found = {}
    for arithmetic in ("float", "double"):
        flags = f"{ONE_NAMESPACE} -DSOFTDIFF_ARITHMETIC={arithmetic}"
        found[f"kernels_{arithmetic}.o"] = (source / "emulation" / "kernels.cpp", flags)
    for path in (*sorted((source / "emulation").glob("*.cpp")), *sorted((source / "cuda").glob("*.cpp"))):
        if path.name != "kernels.cpp" and not (path.parent.name == "cuda" and path.stem in RUN_TIME):
            found[f"{path.parent.name}_{path.stem}.o"] = (path, ONE_NAMESPACE)
    for path in sorted((source / "bindings").glob("*.cpp")):
        found[f"bindings_{path.stem}.o"] = (path, DEFINED)
    for name in HOST_TABLES:
        found[f"cpu_{name}.o"] = (source / "cpu" / f"{name}.cpp", "")
    return found


def build() -> Path:
    """The module's file, compiled where something has changed."""
    includes = f"-isystem {pybind11.get_include()} -isystem {sysconfig.get_paths()['include']}"
    module = f"_emulated{sysconfig.get_config_var('EXT_SUFFIX')}"
    objects = _objects()
    lines = [
        "rule compile",
        f"  command = c++ $flags {FLAGS} -fopenmp {includes} -MD -MF $out.d -c $in -o $out",
        "  depfile = $out.d",
        "  deps = gcc",
        "rule link",
        "  command = c++ -shared -fopenmp $in -o $out",
    ]
    for name, (source, flags) in objects.items():
        lines += [f"build {name}: compile {source}", f"  flags = {flags}"]
    lines += [f"build {module}: link {' '.join(objects)}", ""]
    BUILD.mkdir(parents=True, exist_ok=True)
    plan, text = BUILD / "build.ninja", "\n".join(lines)
    if not plan.exists() or plan.read_text() != text:
        plan.write_text(text)
    ninja = Path(sys.executable).parent / "ninja"
    command = [str(ninja) if ninja.exists() else "ninja", "-C", str(BUILD), "-j", "2", "-k", "0"]
    with (BUILD / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # ninja itself does not mind if another one builds in the same folder
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"the emulated module does not build:\n{done.stdout[-6000:]}")
    return BUILD / module


@functools.lru_cache(maxsize=1)
def _built() -> Path | RuntimeError:
    try:
        return build()
    except RuntimeError as error:  # kept, so that not every test tries again
        return error


@functools.lru_cache(maxsize=1)
def load() -> ModuleType:
    built = _built()
    if isinstance(built, RuntimeError):
        raise built
    spec = importlib.util.spec_from_file_location("_emulated", built)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Emulator:
    """The emulated device: `begin` before, `report` and `assert_clean` after some calls."""

    def __init__(self, module: ModuleType) -> None:
        self.module: Any = module

    def begin(self, order_seed: int = 0, dropped_barrier: int = -1, dry: bool = False, dropped_launch: int = -1) -> None:
        """A new report. Threads run in an order drawn from the seed; one barrier can be left out, in one launch or in all of
        them; dry: launches are written down and not run."""
        self.module.begin(order_seed, dropped_barrier, dry, dropped_launch)

    def report(self) -> dict[str, Any]:
        """Numbers of races, uninitialised, out_of_bounds, unwritten, launches, blocks, barriers, reads, writes; and `first`."""
        found: dict[str, Any] = self.module.report()
        return found

    def assert_clean(self) -> None:
        """Nobody raced, read what was not written, left a result unwritten or went out of bounds."""
        report = self.report()
        wrong = {key: report[key] for key in ("races", "uninitialised", "out_of_bounds", "unwritten") if report[key]}
        assert wrong == {}, f"{wrong}, first: {report['first']}"


@contextmanager
def on_the_device(patch: pytest.MonkeyPatch) -> Iterator[Emulator]:
    """All operators on the emulated device."""
    module = load()
    with patch.context() as patched:
        for operator in library.OPS.values():
            quick: Any = operator.quick
            if hasattr(module, quick.func.__name__):  # normal has no short way
                patched.setattr(operator, "quick", functools.partial(getattr(module, quick.func.__name__), *quick.args))
        patched.setattr(native, "_C", module)
        patched.setattr(native, "on_host", lambda x: False)
        emulator = Emulator(module)
        emulator.begin()
        yield emulator


@pytest.fixture
def emulator(monkeypatch: pytest.MonkeyPatch) -> Iterator[Emulator]:
    with on_the_device(monkeypatch) as device:
        yield device

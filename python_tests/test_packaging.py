"""What is shipped: sdist and wheel but for compiling, the built module's libraries, and the files about the project."""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
import zipfile
import zlib
from pathlib import Path
from typing import Any

import pytest
import yaml

import softdiff_ext as sd
from softdiff_ext import _C

ROOT = Path(__file__).parent.parent
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
LARGEST = 10_000_000  # bytes of a wheel
# libgomp is torch's, of which a second copy would be a second thread pool. The last three are what a static CUDA run-time
# library asks for where the C library has them apart.
LIBRARIES = {"libgomp.so.1", "libstdc++.so.6", "libm.so.6", "libgcc_s.so.1", "libc.so.6"}
LIBRARIES |= {"libdl.so.2", "librt.so.1", "libpthread.so.0"}


def backend(call: str, folder: Path) -> Path:
    """What a function of the build backend makes, in a process of its own, as pip calls it."""
    code = f"import scikit_build_core.build as backend; print('made', backend.{call})"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder / re.findall(r"^made (\S+)$", done.stdout, re.MULTILINE)[-1]


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    folder = tmp_path_factory.mktemp("sdist")
    path = backend(f"build_sdist({str(folder)!r})", folder)
    assert path.stat().st_size < LARGEST
    with tarfile.open(path) as archive:
        return {member.name.split("/", 1)[1] for member in archive.getmembers() if member.isfile()}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The wheel but for the compiled module."""
    folder = tmp_path_factory.mktemp("wheel")
    return zipfile.ZipFile(backend(f"build_wheel({str(folder)!r}, {{'wheel.cmake': 'false'}})", folder))


def test_the_sdist_has_what_builds_and_tests_it(sdist: set[str]) -> None:
    wanted = {
        "CMakeLists.txt",
        "LICENSE",
        "Makefile",
        "README.md",
        "constraints.txt",
        "pyproject.toml",
        "softdiff_ext/py.typed",
    }
    assert wanted <= sdist
    for folder, pattern in (("csrc", "*.[ch]pp"), ("csrc", "*.cu"), ("softdiff_ext", "*.py"), ("python_tests", "test_*.py")):
        here = {path.relative_to(ROOT).as_posix() for path in (ROOT / folder).rglob(pattern)}
        assert here
        assert here <= sdist


def test_the_sdist_has_nothing_else(sdist: set[str]) -> None:
    wrong = re.compile(r"(^|/)(\.ci|\.github|\.venv|out|runs|build|dist|node_modules|__pycache__)/|\.(so|pyc|whl|log)$")
    assert sorted(filter(wrong.search, sdist)) == []


def test_the_wheel_has_the_package_with_its_types_and_data(wheel: zipfile.ZipFile) -> None:
    names = set(wheel.namelist())
    folder = ROOT / "softdiff_ext"
    shipped = [
        path for path in folder.rglob("*") if path.is_file() and path.suffix in (".py", ".pyi", ".typed", ".npz", ".yaml")
    ]
    assert {path.relative_to(ROOT).as_posix() for path in shipped} <= names
    assert {"softdiff_ext/py.typed", "softdiff_ext/_C.pyi", "softdiff_ext/training/digits.npz"} <= names
    assert {name.split("/")[0] for name in names} == {"softdiff_ext", f"softdiff_ext-{sd.__version__}.dist-info"}
    assert f"softdiff_ext-{sd.__version__}.dist-info/licenses/LICENSE" in names


def test_the_metadata_says_what_is_needed(wheel: zipfile.ZipFile) -> None:
    text = wheel.read(f"softdiff_ext-{sd.__version__}.dist-info/METADATA").decode()
    fields = text.split("\n\n", 1)[0].splitlines()
    for line in (
        "Name: softdiff-ext",
        f"Version: {sd.__version__}",
        "Requires-Python: >=3.10",
        "License-Expression: Apache-2.0",
    ):
        assert line in fields
    assert "Description-Content-Type: text/markdown" in fields
    extras = {line.split()[1] for line in fields if line.startswith("Provides-Extra:")}
    assert extras >= {"train", "bench", "dev", "dist", "docs"}
    entry = wheel.read(f"softdiff_ext-{sd.__version__}.dist-info/entry_points.txt").decode()
    assert "softdiff = softdiff_ext.cli:main" in entry


@pytest.mark.skipif(sys.platform != "linux", reason="reads ELF files")
def test_the_module_needs_no_library_that_a_user_may_not_have() -> None:
    said = subprocess.run(["readelf", "-d", _C.__file__], capture_output=True, text=True, check=True).stdout
    needed = {name for name in re.findall(r"NEEDED.*\[(.*)\]", said) if not name.startswith("ld-linux")}
    assert "libgomp.so.1" in needed
    assert needed <= LIBRARIES
    assert "RUNPATH" not in said
    assert "RPATH" not in said
    assert len(zlib.compress(Path(_C.__file__).read_bytes())) < LARGEST  # as it lies in a wheel


@pytest.mark.skipif(sys.platform != "linux", reason="reads ELF files")
def test_the_module_shows_its_entry_alone() -> None:
    """What else it showed could be taken for another module's symbol of the same name."""
    said = subprocess.run(["nm", "-D", "--defined-only", _C.__file__], capture_output=True, text=True, check=True).stdout
    strong = [line.split()[-1] for line in said.splitlines() if line.split()[-2] in "TDBRu"]
    assert strong == ["PyInit__C"]


def test_every_requirement_of_the_extras_is_pinned(wheel: zipfile.ZipFile) -> None:
    """constraints.txt says what was tested; a package that it does not name would be whatever is newest that day."""

    def plain(name: str) -> str:
        return re.sub(r"[-_.]+", "-", name).lower()

    pinned = {plain(name) for name in re.findall(r"^([\w.-]+)==", (ROOT / "constraints.txt").read_text(), re.MULTILINE)}
    text = wheel.read(f"softdiff_ext-{sd.__version__}.dist-info/METADATA").decode()
    wanted = {plain(name) for name in re.findall(r"^Requires-Dist: ([\w.-]+)", text, re.MULTILINE)}
    assert sorted(wanted - pinned) == []


def test_citation() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert {"cff-version", "message", "title", "authors", "version", "license"} <= set(citation)
    assert citation["version"] == sd.__version__
    assert citation["license"] == "Apache-2.0"
    assert all({"type", "title", "authors", "year"} <= set(reference) for reference in citation["references"])


def test_the_changelog_keeps_its_form() -> None:
    text = (ROOT / "CHANGELOG.md").read_text()
    versions = re.findall(r"^## \[(.*?)\]", text, re.MULTILINE)
    assert versions[0] == "Unreleased"
    assert sd.__version__ in versions
    kinds = set(re.findall(r"^### (.*)$", text, re.MULTILINE))
    assert kinds <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def load(path: Path) -> dict[Any, Any]:
    workflow = yaml.safe_load(path.read_text())
    assert isinstance(workflow, dict)
    return workflow


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_workflows(path: Path) -> None:
    """Only read rights unless a job asks for more, a time limit everywhere, steps that each do one thing, needs that exist."""
    workflow = load(path)
    assert workflow["permissions"] == {"contents": "read"}
    assert True in workflow  # YAML 1.1 reads the key `on` as true
    for job in workflow["jobs"].values():
        assert job["timeout-minutes"] <= 120
        assert set(job.get("needs", [])) <= set(workflow["jobs"])
        for step in job["steps"]:
            assert ("uses" in step) != ("run" in step)
            assert "@" in step.get("uses", "@")
            for script in re.findall(r"(?:^|\s)(\.ci/\w+|python_tests/\w+\.py)", step.get("run", "")):
                assert (ROOT / script).exists(), script
            for target in re.findall(r"\bmake (\w+)", step.get("run", "")):
                assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE), target


def test_publishing_happens_on_tags_without_a_password() -> None:
    job = load(ROOT / ".github" / "workflows" / "wheels.yml")["jobs"]["publish"]
    assert "refs/tags/v" in job["if"]
    assert job["permissions"] == {"id-token": "write"}
    assert not any("password" in step.get("with", {}) for step in job["steps"])

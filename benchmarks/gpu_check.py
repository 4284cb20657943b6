"""Everything that needs a GPU, in one command and in less than nine minutes: `make gpu-check`.

    python benchmarks/gpu_check.py [--out benchmarks/results] [--minutes 9] [--only STAGE ...]

For a machine without network that has torch with CUDA, nvcc, cmake, ninja, pybind11, scikit-build-core, pytest and hypothesis.
Builds the package for the card's own architecture into build/gpu-check, runs the tests marked cuda, compute-sanitizer's four
tools, and the benchmarks. Each stage is a process of its own with its own time limit, and what one loses the others keep.
Writes gpu.json and gpu.md beside the other results; the tables come last on the screen. Exit code 0 where every stage passed.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
WORK = ROOT / "build" / "gpu-check"
SITE = WORK / "site"
WRITING = 30.0  # seconds, for the report at the end
SANITIZERS = ("memcheck", "racecheck", "initcheck", "synccheck")
PYTEST_INI = """[pytest]
addopts = --import-mode=importlib -ra --strict-markers
filterwarnings =
    error
    # by torch 2.11 itself, when torch.compile is first used
    ignore:`torch.jit.script_method` is deprecated:DeprecationWarning
xfail_strict = true
markers =
    cuda: needs a CUDA device
    slow: takes more than 20 seconds
    timeout: limits of pytest-timeout, which may not be installed here
"""
Result = dict[str, Any]


@dataclass(frozen=True)
class Stage:
    """`run(seconds)` returns whether it passed, and a line for the table."""

    name: str
    limit: float
    run: Callable[[float], tuple[bool, str]]


def python(*arguments: str) -> list[str]:
    """This Python without the source tree on its path, which has no _C."""
    return [sys.executable, "-P", *arguments]


def program(name: str, *arguments: str) -> list[str]:
    """A program of benchmarks/, which imports its neighbours: their folder has to be on the path."""
    return [sys.executable, str(ROOT / "benchmarks" / name), *arguments]


def environment() -> dict[str, str]:
    given = os.environ.get("PYTHONPATH")
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(SITE), *([given] if given else [])])}


def call(command: list[str], log: str, seconds: float, **more: str) -> tuple[int, str]:
    """Exit code (124: out of time) and the last lines of what a command printed; all of it goes to a log."""
    path = WORK / f"{log}.log"
    with path.open("w") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, cwd=ROOT, env=environment() | more, start_new_session=True
        )
        try:
            code = process.wait(max(seconds, 1.0))
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            process.wait()
            code = 124
    return code, "\n".join(path.read_text(errors="replace").splitlines()[-40:])


def last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1].strip()[:160] if lines else ""


def build(seconds: float) -> tuple[bool, str]:
    query = "import torch; print('%d%d' % torch.cuda.get_device_capability())"
    found = subprocess.run([sys.executable, "-c", query], capture_output=True, text=True, check=False, timeout=seconds)
    if found.returncode != 0:
        return False, f"torch finds no CUDA device: {last_line(found.stderr)}"
    architecture = found.stdout.split()[-1]
    shutil.rmtree(SITE, ignore_errors=True)
    options = ["--no-build-isolation", "--no-deps", "--no-index", "--target", str(SITE)]
    options += ["-C", f"cmake.define.CMAKE_CUDA_ARCHITECTURES={architecture}-real", "-C", "cmake.define.SOFTDIFF_CUDA=ON"]
    code, _ = call([sys.executable, "-m", "pip", "install", *options, str(ROOT)], "build", seconds)
    return code == 0, f"sm_{architecture}" if code == 0 else why_not_built((WORK / "build.log").read_text(errors="replace"))


def why_not_built(log: str) -> str:
    """The first error of CMake or of a compiler, which pip's last line does not repeat."""
    lines = [line.strip() for line in log.splitlines()]
    for i, line in enumerate(lines):
        if line.startswith("CMake Error"):
            return " ".join(lines[i : i + 3]).strip()[:160]
        if re.search(r"\)?: (fatal )?error:|^ptxas (error|fatal)", line):
            return line[:160]
    return last_line(log)


def missing_packages(log: str) -> dict[str, str]:
    """Test files that pytest could not collect for want of a package -> the package."""
    missing = {}
    for section in re.split(r"^_+ ERROR collecting ", log, flags=re.MULTILINE)[1:]:
        found = re.search(r"^E +(?:\w+Error: .*needs|ModuleNotFoundError: No module named) '?([\w-]+)", section, re.MULTILINE)
        if found:
            missing[section.split()[0].rpartition("/")[2]] = found[1]
    return missing


def tests(seconds: float) -> tuple[bool, str]:
    begun = time.monotonic()
    (WORK / "pytest.ini").write_text(PYTEST_INI)
    options = ["-m", "cuda", "-c", str(WORK / "pytest.ini"), "--rootdir", str(ROOT), "-p", "no:cacheprovider"]
    call(python("-m", "pytest", "-q", "--collect-only", *options, str(ROOT / "python_tests")), "collect", seconds)
    missing = missing_packages((WORK / "collect.log").read_text(errors="replace"))
    options += ["-v", "--durations=15", *[f"--ignore={ROOT / 'python_tests' / name}" for name in missing]]
    left = seconds - (time.monotonic() - begun)
    code, text = call(python("-m", "pytest", *options, str(ROOT / "python_tests")), "tests", left)
    packages = sorted(set(missing.values()))
    left_out = f"; not run: {len(missing)} files that need {', '.join(packages)}" if missing else ""
    return code == 0, last_line(text).strip("= ") + left_out


def sanitizer(seconds: float) -> tuple[bool, str]:
    """The four tools at once: they wait for the CPU most of the time."""
    if shutil.which("compute-sanitizer") is None:
        return False, "not run: no compute-sanitizer on the PATH"
    running = {}
    for tool in SANITIZERS:
        # initcheck has to see torch's kernels too, which write what ours read
        ours = [] if tool == "initcheck" else ["--kernel-regex", "kns=run_phases"]
        options = ["--tool", tool, "--error-exitcode", "9", *ours]
        command = ["compute-sanitizer", *options, *program("gpu_sanitize.py")]
        log = (WORK / f"sanitizer_{tool}.log").open("w")
        # without torch's cache every tensor has bounds of its own
        setting = environment() | {"PYTORCH_NO_CUDA_MEMORY_CACHING": "1"}
        running[tool] = subprocess.Popen(
            command, stdout=log, stderr=subprocess.STDOUT, cwd=ROOT, env=setting, start_new_session=True
        )
    end, results = time.monotonic() + seconds, {}
    for tool, process in running.items():
        try:
            code = process.wait(max(1.0, end - time.monotonic()))
            results[tool] = "clean" if code == 0 else f"exit code {code}"
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            process.wait()
            results[tool] = "out of time"
    return set(results.values()) == {"clean"}, ", ".join(f"{tool} {result}" for tool, result in results.items())


def benchmark(seconds: float) -> tuple[bool, str]:
    options = ["--out", str(WORK), "--budget", f"{max(10.0, seconds - 25.0):.0f}"]
    code, text = call(program("gpu.py", *options), "benchmark", seconds)
    rows = read(WORK / "gpu_rows.json")
    wrong = sum(row["status"] != "ok" for row in rows)
    detail = f"{len(rows)} rows, {wrong} of them without a time"
    return code == 0 and bool(rows) and not wrong, detail if code == 0 else f"{detail}; {last_line(text)}"


def unet(seconds: float) -> tuple[bool, str]:
    code, text = call(program("gpu_unet.py", "--out", str(WORK)), "unet", seconds)
    return code == 0, last_line(text)


def profile(seconds: float) -> tuple[bool, str]:
    if shutil.which("ncu") is None:
        return True, "not run: no ncu on the PATH"
    code, text = call(program("gpu_profile.py", "--out", str(WORK)), "profile", seconds)
    return code == 0, last_line(text)


STAGES = (
    Stage("build", 130, build),
    Stage("tests", 160, tests),
    Stage("benchmark", 80, benchmark),
    Stage("unet", 30, unet),
    Stage("profile", 60, profile),
    Stage("sanitizer", 50, sanitizer),
)
"""The build first; the sanitizer last, which is the slowest where time is short."""


def read(path: Path) -> list[Result]:
    content: list[Result] = json.loads(path.read_text()) if path.exists() else []
    return content


def run_stages(stages: tuple[Stage, ...], minutes: float) -> list[Result]:
    """Each stage within its limit and what is left of the whole time."""
    end, results = time.monotonic() + 60.0 * minutes, []
    for stage in stages:
        begun = time.monotonic()
        limit = min(stage.limit, end - begun)
        print(f"== {stage.name}, at most {limit:.0f} s", flush=True)
        if limit <= 0:
            passed, detail = False, "not run: no time left"
        else:
            try:
                passed, detail = stage.run(limit)
            except Exception as error:  # one stage must not take the others' results with it
                passed, detail = False, f"{type(error).__name__}: {error}"
        taken = time.monotonic() - begun
        status = "passed" if passed else "out of time" if taken >= limit > 0 else "failed"
        results.append({"stage": stage.name, "status": status, "seconds": taken, "detail": detail})
        print(f"   {status} after {taken:.0f} s: {detail}", flush=True)
    return results


def table(head: list[str], lines: list[list[str]]) -> str:
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [head, ["---"] * len(head), *lines])


def stage_table(stages: list[Result]) -> str | None:
    lines = [[s["stage"], s["status"], f"{s['seconds']:.0f}", s["detail"]] for s in stages]
    return table(["stage", "result", "seconds", "detail"], lines) if lines else None


WRITER = """
import json, pathlib, sys
sys.path.insert(0, sys.argv[1])
import torch
from gpu import write
from gpu_report import machine, report
work, out = map(pathlib.Path, sys.argv[2:4])
def read(name):
    return json.loads((work / name).read_text()) if (work / name).exists() else []
device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
names = {"stages": "stages.json", "rows": "gpu_rows.json", "unet": "gpu_unet.json", "profile": "gpu_profile.json"}
result = {"schema": 1, "machine": machine(device), **{key: read(name) for key, name in names.items()}}
write(out / "gpu.json", result)
(out / "gpu.md").write_text(report(result))
print(report(result))
"""
"""Needs the package that was built, so it is a process too."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results")
    parser.add_argument("--minutes", type=float, default=8.4)
    parser.add_argument("--only", nargs="+", choices=[stage.name for stage in STAGES])
    options = parser.parse_args()
    WORK.mkdir(parents=True, exist_ok=True)
    for old in ("gpu_rows.json", "gpu_unet.json", "gpu_profile.json"):
        (WORK / old).unlink(missing_ok=True)
    stages = tuple(stage for stage in STAGES if not options.only or stage.name in options.only)
    results = run_stages(stages, options.minutes)
    (WORK / "stages.json").write_text(json.dumps(results))
    options.out.mkdir(parents=True, exist_ok=True)
    arguments = [str(ROOT / "benchmarks"), str(WORK), str(options.out.resolve())]
    try:
        code = subprocess.run(python("-c", WRITER, *arguments), cwd=ROOT, env=environment(), timeout=WRITING).returncode
    except subprocess.TimeoutExpired:
        code = 124
    if code != 0:  # nothing was built that could be described
        (options.out / "gpu.json").write_text(json.dumps({"schema": 1, "stages": results}, indent=1) + "\n")
        print(stage_table(results))
    sys.exit(0 if code == 0 and all(result["status"] == "passed" for result in results) else 1)


if __name__ == "__main__":
    main()

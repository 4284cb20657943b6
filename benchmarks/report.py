"""What a run's rows are written as: JSON, Markdown tables, the plot, and the table in README.md.

python benchmarks/report.py      writes bench.md, the plot and README.md's table again from benchmarks/results/bench.json
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cases import BOTH_NEG, CLONE, COPY, NOISE, OURS, SHAPES, TWIN, TWO_BLURS, TWO_NEGS
from targets import Row, Rows, Verdict, best_peer, evaluate

SCHEMA = 1
BEGIN, END = "<!-- written by `make bench` -->", "<!-- end of what `make bench` writes -->"
GROUPS = {
    "blur": "dct_blur, a heat time for each sample",
    "backward": "dct_blur with its gradient",
    "transform": "dct and idct",
    "filter": "spectral_filter with a map [B, 1, H, W]",
    "sampler": "Corruption and reverse steps, noise drawn but where it says given",
    "loss": "soft_score_loss",
    "noise": "normal",
    "training": "One batch of heat-dissipation training: blur at level k plus noise, and blur at level k - 1",
    "sweep": "dct_blur by size, about 2^20 pixels",
}
EXPLANATION = f"""Medians of interleaved rounds in one process. `ns/pixel` is ours for each number of the tensor; a column with
a name is how many times as long that takes (bold: the best of them). `{COPY}` copies one image tensor into memory that is
there, `{CLONE}` into new memory, as operators write; `x copy` is ours over `{COPY}`. Peers may keep everything that does not
depend on the images; ours is told heat times and levels anew at every call. Warm: the same operand again; cold: operands in
turn, twice as large together as the last cache. `{TWIN}`: the same in torch with matmuls and torch.randn. `dct_blur` and
`{NOISE}` beside a step are ours, of as many images and numbers, `{TWO_BLURS}` beside a gradient a blur of each of two images,
and `{BOTH_NEG}` less `{TWO_NEGS}` what autograd itself takes: the parts. Out of reach is what the parts alone would miss, and
what a copy of the images would.
"""


@dataclass
class Result:
    """One run; `overhead`: rows of benchmarks/overhead.py."""

    machine: dict[str, Any]
    rows: list[Row]
    overhead: list[Row] = field(default_factory=list)

    @classmethod
    def read(cls, path: Path) -> Result:
        content = json.loads(path.read_text())
        if content["schema"] != SCHEMA:
            raise ValueError(f"{path}: schema must be {SCHEMA}, got {content['schema']}")
        return cls(content["machine"], content["rows"], content["overhead"])


def name_of(shape: tuple[int, ...] | list[int]) -> str:
    return "x".join(map(str, shape))


def line(rows: list[Row]) -> str:
    """One case on one line, for the terminal: our time, then how many times as long the others take."""
    head = rows[0]
    title = f"{head['operator']:24} {name_of(head['shape']):14} {head['dtype']:8} {head['threads']} {head['operands']:4}"
    times = {row["candidate"]: row["ns_per_pixel_median"] for row in rows if row["status"] == "ok"}
    if OURS not in times:
        return f"{title}  refused"
    others = "  ".join(f"{name} {time / times[OURS]:.2f}x" for name, time in times.items() if name != OURS)
    return f"{title}  {times[OURS]:6.3f} ns/px  {others}"


def table(header: list[str], rows: list[list[str]]) -> list[str]:
    return ["| " + " | ".join(header) + " |", "|---" * len(header) + "|", *("| " + " | ".join(row) + " |" for row in rows), ""]


def ratio(value: float) -> str:
    return f"{value:.2f}x" if value < 10 else f"{value:.0f}x"


def group_tables(rows: Rows, group: str) -> list[str]:
    """A table for each (number type, threads, operands) of a group: a case a row, a candidate a column."""
    settings: dict[tuple[Any, ...], list[tuple[str, tuple[int, ...], dict[str, Row]]]] = {}
    for (of, operator, shape, dtype, threads, state), case in rows:
        if of == group and OURS in case:
            settings.setdefault((dtype, threads, state), []).append((operator, shape, case))
    lines = [f"## {GROUPS[group]}", ""] if settings else []
    for (dtype, threads, state), cases in settings.items():
        columns = list(dict.fromkeys(name for *_, case in cases for name in case if name not in (OURS, COPY, CLONE)))
        header = ["operator", "images", "ns/pixel", *columns, f"{COPY} takes", f"{CLONE} takes", "x copy"]
        body = []
        for operator, shape, case in cases:
            time, best = case[OURS]["ns_per_pixel_median"], best_peer(case)
            cells = []
            for name in columns:
                cell = ratio(case[name]["ns_per_pixel_median"] / time) if name in case else "-"
                cells.append(f"**{cell}**" if best and name == best["candidate"] else cell)
            copies = [f"{case[name]['ns_per_pixel_median']:.3f}" for name in (COPY, CLONE)]
            body.append([operator, name_of(shape), f"{time:.3f}", *cells, *copies, f"{time / float(copies[0]):.1f}"])
        lines += [f"{dtype}, {threads} thread{'s' * (threads > 1)}, {state} operands:", "", *table(header, body)]
    return lines


def target_table(verdicts: list[Verdict]) -> list[str]:
    musts = [v for v in verdicts if v.must is not None]
    goals = [v for v in verdicts if v.goal is not None]
    reached = [sum(not v.missed(v.must) for v in musts), sum(not v.missed(v.goal) for v in goals)]
    lines = ["## Targets", ""]
    lines += [f"Must: {reached[0]} of {len(musts)} reached. Goal: {reached[1]} of {len(goals)}. Missed musts come first.", ""]
    body = []
    for v in sorted(verdicts, key=lambda v: (not v.missed(v.must), not v.missed(v.goal), v.goal is None)):
        requirement = ("<= " if v.at_most else ">= ") + v.requirement
        numbers = ["-" if x is None else f"{x:.1e}" if x < 1e-3 else f"{x:.2f}" for x in (v.must, v.goal, v.measured)]
        body.append([v.operator, name_of(v.shape), str(v.threads), requirement, *numbers, v.text])
    return [*lines, *table(["operator", "images", "threads", "requirement", "must", "goal", "measured", "verdict"], body)]


def markdown(result: Result) -> str:
    machine, rows = result.machine, Rows(result.rows)
    caches = ", ".join(f"{level} {size >> 10} KiB" for level, size in machine["caches"].items())
    versions = ", ".join(f"{name} {value}" for name, value in machine["peers"].items())
    lines = [
        "# Speed on the CPU",
        "",
        f"{machine['cpu']}, {machine['cores']} cores, {caches}; kernels {machine['isa']}, {machine['compiler']}, Python "
        f"{machine['python']}, torch {machine['torch']}, {versions}. Commit {machine['commit']}, {machine['time']}, "
        f"{machine['seconds']} s; `make bench` repeats it.",
        "",
        EXPLANATION,
    ]
    refused = [row for row in result.rows if row["status"] != "ok"]
    if refused:
        lines += ["## Refused: wrong answers", ""]
        lines += [f"- {row['operator']} {name_of(row['shape'])} by {row['candidate']}: {row['status']}" for row in refused] + [
            ""
        ]
    lines += target_table(evaluate(result.rows))
    for group in GROUPS:
        lines += group_tables(rows, group)
    if result.overhead:
        header = list(result.overhead[0])
        body = [[f"{v:.2f}" if isinstance(v, float) else str(v) for v in row.values()] for row in result.overhead]
        lines += ["## Calls on a tiny image", "", *table(header, body)]
    return "\n".join(lines)


def readme_table(result: Result) -> str:
    """The table of README.md: one thread and two, warm, float32."""
    rows, body = Rows(result.rows), []
    for shape in SHAPES:
        cells = [name_of(shape)]
        for threads in (1, 2):
            case = dict(rows).get(("blur", "dct_blur", shape, "float32", threads, "warm"), {})
            best = best_peer(case)
            if OURS not in case or best is None:
                cells += ["-", "-"] + ["-"] * (threads == 1)
                continue
            ours = case[OURS]["ns_per_pixel_median"]
            cells += [f"{ours:.2f}", f"{best['ns_per_pixel_median'] / ours:.1f}x ({best['candidate']})"]
            if threads == 1:
                torch_dct = case.get("torch-dct")
                cells.append(f"{torch_dct['ns_per_pixel_median'] / ours:.0f}x" if torch_dct else "-")
        for operator in ("posterior_sample", "momentum_step"):
            case = dict(rows).get(("sampler", operator, shape, "float32", 1, "warm"), {})
            both = OURS in case and TWIN in case
            cells.append(f"{case[TWIN]['ns_per_pixel_median'] / case[OURS]['ns_per_pixel_median']:.1f}x" if both else "-")
        body.append(cells)
    header = ["images", "dct_blur", "best peer", "torch-dct", "2 threads", "best peer", "posterior_sample", "momentum_step"]
    return "\n".join(table(header, body)).rstrip()


def update_readme(result: Result, path: Path) -> None:
    text = path.read_text()
    if BEGIN not in text or END not in text:
        raise ValueError(f"{path} must hold the lines {BEGIN} and {END}")
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    replace(path, f"{before}{BEGIN}\n{readme_table(result)}\n{END}{after}")


def replace(path: Path, text: str) -> None:
    """Write beside and rename: never half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text)
    os.replace(partial, path)


def write(result: Result, out: Path | None, root: Path) -> None:
    """All files of a run; into the project itself (results, plot, README) where `out` is None."""
    folder = out or root / "benchmarks" / "results"
    plot = out / "speed.png" if out else root / "docs" / "images" / "speed.png"
    content = {"schema": SCHEMA, "machine": result.machine, "overhead": result.overhead}
    rows = ",\n".join(json.dumps(row) for row in result.rows)
    replace(folder / "bench.json", json.dumps(content)[:-1] + ', "rows": [\n' + rows + "\n]}\n")
    render(result, folder, plot)
    if out is None:
        update_readme(result, root / "README.md")


def render(result: Result, folder: Path, plot: Path) -> None:
    replace(folder / "bench.md", markdown(result))
    if any(row["group"] == "sweep" for row in result.rows):
        from plot import draw

        draw(result.rows, plot)


if __name__ == "__main__":
    here = Path(__file__).resolve().parent
    read = Result.read(here / "results" / "bench.json")
    render(read, here / "results", here.parent / "docs" / "images" / "speed.png")
    update_readme(read, here.parent / "README.md")

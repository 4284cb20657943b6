"""The tables of a GPU run (benchmarks/results/gpu.md) from its rows; what is missing is left out and named."""

from __future__ import annotations

import importlib.metadata
import platform
import shutil
import subprocess
from datetime import datetime, timezone
from typing import Any

import torch
from gpu import COPY, GOALS, KERNEL, LARGE, OURS
from gpu_check import stage_table, table
from machine import commit

import softdiff_ext as sd

Row = dict[str, Any]
DTYPE_NAMES = ("float32", "float16", "bfloat16")


def machine(device: torch.device) -> Row:
    info = sd.build_info()
    found: Row = {
        "device": "CPU (a trial of the program, no measurement)",
        "torch": torch.__version__,
        "torch_cuda": torch.version.cuda,
        "cuda_toolkit": info["cuda_toolkit"],
        "cuda_architectures": info["cuda_architectures"],
        "python": platform.python_version(),
        "softdiff_ext": importlib.metadata.version("softdiff-ext"),
        "commit": commit() if shutil.which("git") else "unknown",
        "time": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        found["device"] = properties.name
        found["architecture"] = f"sm_{properties.major}{properties.minor}"
        found["memory_gib"] = round(properties.total_memory / 2**30, 1)
        found["l2_mib"] = round(properties.L2_cache_size / 2**20, 1)
        found["multiprocessors"] = properties.multi_processor_count
        found["driver"] = driver()
    return found


def driver() -> str:
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[0].strip()
    except (OSError, subprocess.CalledProcessError, IndexError):
        return "unknown"


def kernel_rows(rows: list[Row], mode: str = KERNEL) -> dict[tuple[str, int, str, str], Row]:
    """By operator, side, dtype and candidate."""
    found = [row for row in rows if row["mode"] == mode]
    return {(row["operator"], row["side"], row["dtype"], row["candidate"]): row for row in found}


def share_table(rows: list[Row], dtype: str, mode: str = KERNEL) -> str | None:
    """Shares of the copy's bandwidth of each operator at each side, with the goal."""
    kernels = kernel_rows(rows, mode)
    operators = list(dict.fromkeys(row["operator"] for row in rows if row["mode"] == mode))
    sides = sorted({side for _, side, kind, _ in kernels if kind == dtype})
    if not sides:
        return None
    lines = []
    for side in sides:
        copy = next(
            (r for (o, s, d, c), r in kernels.items() if s == side and d == dtype and c == COPY and "us_median" in r), None
        )
        goal = f"{100 * GOALS[side]:.0f} %" if side in GOALS else "-"
        cells = [str(side), goal, f"{copy['gigabytes_per_second']:.0f} GB/s" if copy else "-"]
        for operator in operators:
            row = kernels.get((operator, side, dtype, OURS))
            cells.append("-" if row is None else f"{100 * row['share']:.0f} %" if "share" in row else row["status"])
        lines.append(cells)
    return table(["side", "goal", "copy", *operators], lines)


def peer_table(rows: list[Row]) -> str | None:
    """The blur in float32: our time, and how many times as long the others take."""
    kernels = kernel_rows(rows)
    peers = list(dict.fromkeys(c for o, _, d, c in kernels if o == "dct_blur" and d == "float32" and c not in (OURS, COPY)))
    lines = []
    for side in sorted({s for o, s, d, c in kernels if o == "dct_blur" and d == "float32" and c == OURS}):
        ours = kernels["dct_blur", side, "float32", OURS]
        if "us_median" not in ours:
            continue
        cells = [str(side), f"{ours['us_median']:.1f}"]
        for peer in peers:
            row = kernels.get(("dct_blur", side, "float32", peer), {"status": "-"})
            cells.append(f"{row['us_median'] / ours['us_median']:.1f}x" if "us_median" in row else row["status"][:40])
        lines.append(cells)
    return table(["side", "softdiff_ext, us", *peers], lines) if lines and peers else None


def eager_table(rows: list[Row]) -> str | None:
    lines = [[row["operator"], f"{row['us_median']:.1f}"] for row in rows if row["mode"] == "eager, tiny"]
    return table(["operator, [1, 1, 8, 8]", "us a call"], lines) if lines else None


def large_eager_table(rows: list[Row]) -> str | None:
    """End to end: eager calls of Python on large images beside their kernels' time."""
    kernels, lines = kernel_rows(rows), []
    for row in rows:
        if row["mode"] == "eager, large" and row["dtype"] == "float32":
            kernel = kernels.get((row["operator"], row["side"], row["dtype"], OURS), {})
            if "us_median" in kernel:
                lines.append([row["operator"], str(row["side"]), f"{row['us_median']:.1f}", f"{kernel['us_median']:.1f}"])
    return table(["operator", "side", "CPU, us a call", "kernels, us"], lines) if lines else None


def unet_table(unet: list[Row]) -> str | None:
    lines = [
        [row["step"], "x".join(map(str, row["shape"])), f"{row['parameters'] / 1e6:.1f} M", f"{row['milliseconds']:.2f}",
         f"{100 * row['share_of_operators']:.1f} %"] for row in unet
    ]  # fmt: skip
    return table(["UNet", "images", "parameters", "ms", "in our operators"], lines) if lines else None


def profile_table(rows: list[Row]) -> str | None:
    """What Nsight Compute counted, a line a kernel."""
    lines = []
    for row in rows:
        lines.append([row["operator"], str(row["side"]), row["kernel"], f"{row['nanoseconds'] / 1e3:.1f}"])
        lines[-1] += [
            f"{row['instructions_a_pixel']:.0f}",
            f"{row['instructions_a_cycle']:.2f}",
            f"{row['warps_percent']:.0f} %",
        ]
        lines[-1] += [f"{row['bytes'] / row['nanoseconds'] / 1e3:.2f}", f"{row['registers']:.0f}"]
    head = ["operator", "side", "kernel", "us", "instructions a pixel", "issued a cycle", "warps", "TB/s", "registers"]
    return table(head, lines) if lines else None


def report(result: Row) -> str:
    """Markdown of everything a run found."""
    rows = result.get("rows", [])
    about = result["machine"]
    parts = [
        f"# GPU: {about['device']}",
        "Written by `make gpu-check`. " + ", ".join(f"{key} {value}" for key, value in about.items() if key != "device") + ".",
    ]
    sections = [
        ("Stages", stage_table(result.get("stages", []))),
        *((f"Share of the copy's bandwidth, {dtype} (cold L2, CUDA graph)", share_table(rows, dtype)) for dtype in DTYPE_NAMES),
        ("The same of batches of 200 MB, float32", share_table(rows, "float32", LARGE)),
        ("dct_blur, float32: times as long as softdiff_ext", peer_table(rows)),
        ("CPU time of an eager call", eager_table(rows)),
        ("End to end: eager calls on large images, float32", large_eager_table(rows)),
        ("A step of a network", unet_table(result.get("unet", []))),
        ("By Nsight Compute, float32: one call each, noise drawn", profile_table(result.get("profile", []))),
    ]
    for title, text in sections:
        parts += [f"## {title}", text or "Not measured in this run."]
    wrong = sorted({f"{row['operator']} {row['side']} {row['dtype']} {row['candidate']}: {row['status']}"
                    for row in rows if row["status"] != "ok"})  # fmt: skip
    if wrong:
        parts += ["## Refused or failed", "\n".join(f"* {line}" for line in wrong)]
    return "\n\n".join(parts) + "\n"

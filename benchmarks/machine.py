"""What a measurement was made on and with: processor, caches, versions, commit."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import softdiff_ext as sd

CACHES = Path("/sys/devices/system/cpu/cpu0/cache")


def processor() -> str:
    """The processor's name as Linux reports it."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    found: dict[str, str] = {}
    for line in lines:
        key, _, value = line.partition(":")
        found.setdefault(key.strip(), value.strip())
    if "model name" not in found:
        return platform.processor() or platform.machine()
    family = f", family {found['cpu family']} model {found['model']}" if "cpu family" in found else ""
    return found["model name"] + family


def caches() -> dict[str, int]:
    """Bytes of each data cache that the first core sees: {"L1": .., "L2": .., "L3": ..}; empty where Linux does not say."""
    found = {}
    for index in sorted(CACHES.glob("index*")):
        level, kind, size = ((index / name).read_text().strip() for name in ("level", "type", "size"))
        if kind != "Instruction":
            found[f"L{level}"] = int(size.rstrip("K")) * 1024
    return found


def commit() -> str:
    """The commit of the working tree, marked `-dirty` where tracked files differ from it."""
    command = ["git", "describe", "--always", "--dirty", "--exclude=*"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parent)
    return done.stdout.strip() or "unknown"


def version(distribution: str) -> str | None:
    """The version of an installed distribution; None where it is not installed."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def describe() -> dict[str, Any]:
    info = sd.build_info()
    return {
        "cpu": processor(),
        "cores": os.cpu_count(),
        "caches": caches(),
        "isa": info["isa"],
        "compiler": info["compiler"],
        "python": platform.python_version(),
        "torch": info["torch"],
        "softdiff_ext": info["version"],
        "commit": commit(),
        "time": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }

"""The file beside a scheduler's configuration: what its process took from the data, as safetensors with a checksum."""

from __future__ import annotations

import hashlib
import inspect
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from softdiff_ext.processes import Process

FORMAT = 1
STATE_NAME = "scheduler_state.safetensors"
KEY = "_softdiff"
"""Where a configuration keeps the format and the checksum; diffusers carries names with an underscore along unread."""


def check_config(cls: type, config: dict[str, Any]) -> None:
    """Refuse a configuration of another class, or of a newer version of the package: ValueError."""
    name = config.get("_class_name", cls.__name__)
    if name != cls.__name__:
        raise ValueError(f"config: was saved by {name}, which is not the {cls.__name__} that is to be built from it")
    found = dict(config.get(KEY) or {}).get("format", FORMAT)
    if found != FORMAT:
        raise ValueError(
            f"config: {cls.__name__} was saved in format {found}, this softdiff_ext reads format {FORMAT}: install the one "
            f"that saved it, or a newer one"
        )
    known = inspect.signature(cls).parameters
    if foreign := [name for name in config if name not in known and not name.startswith("_")]:
        raise ValueError(f"config: {cls.__name__} has no {', '.join(foreign)}: it is the configuration of another class")


def write_state(process: Process, folder: Path) -> str | None:
    """Write the tensors of a process into `folder`; returns their SHA-256, or None where it has none."""
    tensors: dict[str, Tensor] = process.state_dict()
    if not any(tensor.numel() for tensor in tensors.values()):
        (folder / STATE_NAME).unlink(missing_ok=True)  # of a scheduler that was saved here before
        return None
    content = save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()})
    folder.mkdir(parents=True, exist_ok=True)
    (folder / STATE_NAME).write_bytes(content)
    return hashlib.sha256(content).hexdigest()


def read_state(process: Process, path: Path, sha256: str) -> None:
    """Load what `write_state` wrote.

    Raises:
        ValueError: the file is missing, damaged, or that of another process; the message names it.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ValueError(f"scheduler: {path} cannot be read: {error.strerror}") from error
    if hashlib.sha256(content).hexdigest() != sha256:
        raise ValueError(f"scheduler: {path} is damaged: its SHA-256 is not the one in the configuration")
    try:
        process.load_state_dict(load(content))
    except (SafetensorError, RuntimeError) as error:
        raise ValueError(f"scheduler: {path} does not fit {type(process).__name__}: {' '.join(str(error).split())}") from error

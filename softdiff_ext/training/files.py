"""Files that exist whole or not at all: write beside, fsync, rename."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def write_file(path: Path, content: bytes) -> None:
    """Write `content` to `path` so that a crash at any moment leaves the old file or the new one, never a part.

    Raises:
        OSError: the disk refuses; it names a file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.tmp-{os.getpid()}")
    try:
        with errors_name(path):
            write_and_sync(beside, content)
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
    sync_folder(path.parent)


@contextmanager
def errors_name(path: Path) -> Iterator[None]:
    """Have an OSError from within name `path`: that of a full disk comes from the write, which does not know the name."""
    try:
        yield
    except OSError as error:
        if error.filename is not None or error.errno is None:  # named already, or words of its own that a name would replace
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


def write_and_sync(path: Path, content: bytes) -> None:
    """Write `content` to `path` and wait until the disk has it."""
    with open(path, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Wait until the disk has the names in `folder`: without it a rename can be lost in a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

"""One trainer at a time in the folder of a run."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LOCK_NAME = ".lock"


@contextmanager
def sole_trainer(run: Path) -> Iterator[None]:
    """Hold the folder of a run, made where it is not there, until the block ends or the process does, however that comes.

    Raises:
        RuntimeError: another process trains in it.
    """
    run.mkdir(parents=True, exist_ok=True)
    with open(run / LOCK_NAME, "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RuntimeError(f"run folder {run} is in use: another process is training in it") from error
        except OSError:
            pass  # a file system without locks, as Lustre may be mounted: nobody can tell there
        yield

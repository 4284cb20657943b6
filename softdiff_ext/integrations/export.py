"""A finished training run as a pipeline folder of diffusers; wants the extra `softdiff-ext[train]` too."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from safetensors import SafetensorError

from softdiff_ext.integrations.conversion import scheduler_of
from softdiff_ext.integrations.diffusers import SoftdiffPipeline
from softdiff_ext.training.files import sync_folder
from softdiff_ext.training.runs import load_run


def export_run(run: Path, folder: Path) -> Path:
    """Write the averaged weights of a run's last checkpoint and its fitted process as a pipeline.

    `SoftdiffPipeline.from_pretrained(folder)` has it back. Everything is written into a hidden folder beside, synced to disk
    and renamed, so there is a whole pipeline or none.

    Args:
        run: folder of a training run.
        folder: to be made.
    Returns:
        folder.
    Raises:
        FileExistsError: folder is there already.
        OSError: the disk refuses; nothing is left behind.
        ValueError: the run has no checkpoint, it is damaged, or no scheduler describes its process.
    """
    if folder.exists():
        raise FileExistsError(f"export: {folder} exists: choose another folder")
    process, network = load_run(run)
    pipeline = SoftdiffPipeline(unet=network, scheduler=scheduler_of(process))
    beside = folder.with_name(f".{folder.name}.tmp-{os.getpid()}")
    try:
        pipeline.save_pretrained(beside)
        for file in beside.rglob("*"):
            _sync(file)
        sync_folder(beside)
        os.rename(beside, folder)
    except (OSError, SafetensorError) as error:  # diffusers' files are written by safetensors, whose errors are its own
        reason = (error.strerror if isinstance(error, OSError) else None) or error
        raise OSError(f"export: {folder} cannot be written: {reason}") from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    sync_folder(folder.parent)
    return folder


def _sync(path: Path) -> None:
    if path.is_dir():
        sync_folder(path)
        return
    with open(path, "rb") as file:
        os.fsync(file.fileno())

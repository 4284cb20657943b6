"""Checkpoints: a folder of safetensors files and a manifest with their sizes and checksums, there whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as from_bytes
from safetensors.torch import save as to_bytes
from torch import Tensor, nn
from torch.amp.grad_scaler import GradScaler
from torch.distributed.tensor import DTensor, distribute_tensor

from softdiff_ext.training.files import sync_folder, write_and_sync

FORMAT = 1
PARTS = ("model", "ema", "optimizer", "process")
_NAME = re.compile(r"step-(\d+)")
_SCALER = ("scale", "_growth_tracker")  # what changes of a GradScaler's state

Tensors = dict[str, Tensor]


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint holds.

    Args:
        step: number of steps done.
        config: the run's options, as `TrainConfig.to_dict` gives them.
        images: number and shape of the training images, [N, C, H, W].
        tensors: of each part, by name; a checkpoint that was read has only the parts asked for.
    """

    step: int
    config: dict[str, Any]
    images: tuple[int, int, int, int]
    tensors: dict[str, Tensors]

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of one image."""
        return self.images[1:]


def save_checkpoint(folder: Path, checkpoint: Checkpoint, keep: int) -> None:
    """Write folder/step-XXXXXXXX and remove all but the last `keep` checkpoints.

    Everything is written into a hidden folder beside, synced to disk and renamed, so a crash leaves no half checkpoint, and a
    full disk no part of one.

    Raises:
        OSError: there is a checkpoint of this step already, or the disk refuses; the message says what is left.
    """
    path = folder / f"step-{checkpoint.step:08d}"
    beside = folder / f".{path.name}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for left_over in folder.glob(".step-*"):  # of a run that was killed while it saved
            shutil.rmtree(left_over)
        beside.mkdir()
        _write_parts(beside, checkpoint)
        os.rename(beside, path)
        sync_folder(folder)
    except OSError as error:
        shutil.rmtree(beside, ignore_errors=True)  # what was written of it is no use and may be in the way of what is
        last = [whole.name for whole in checkpoint_paths(folder) if whole != path]
        left = f"the last whole checkpoint is {last[-1]}" if last else "there is no earlier checkpoint"
        raise OSError(f"checkpoint: {path} cannot be written: {error.strerror or error}; {left}") from error
    for old in checkpoint_paths(folder)[:-keep]:
        shutil.rmtree(old)


def _write_parts(folder: Path, checkpoint: Checkpoint) -> None:
    """The tensors and the manifest of a checkpoint."""
    files = {}
    for part in PARTS:
        content = to_bytes({name: tensor.detach().cpu().contiguous() for name, tensor in checkpoint.tensors[part].items()})
        write_and_sync(folder / _file(part), content)
        files[_file(part)] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    manifest = {
        "format": FORMAT,
        "step": checkpoint.step,
        "images": list(checkpoint.images),
        "config": checkpoint.config,
        "torch": torch.__version__,
        "files": files,
    }
    write_and_sync(folder / "manifest.json", (json.dumps(manifest, indent=2) + "\n").encode())
    sync_folder(folder)


def checkpoint_paths(folder: Path) -> list[Path]:
    """The checkpoints in `folder`, oldest first."""
    found = [path for path in folder.glob("step-*") if _NAME.fullmatch(path.name)]
    return sorted(found, key=lambda path: int(path.name.removeprefix("step-")))


def last_checkpoint(run: Path) -> Path:
    """The last checkpoint in the folder of a run; raises ValueError where there is none."""
    if not run.is_dir():
        raise ValueError(f"run folder {run} does not exist")
    if not (paths := checkpoint_paths(run / "checkpoints")):
        raise ValueError(f"run folder {run} holds no checkpoint")
    return paths[-1]


def load_checkpoint(path: Path, parts: Iterable[str] = PARTS) -> Checkpoint:
    """Read and verify `parts` of a checkpoint; nothing is ever unpickled.

    Raises:
        ValueError: the manifest or a file is missing, damaged, cut short or of another format; the message names the file.
    """
    manifest_path = path / "manifest.json"
    try:
        manifest = json.loads(manifest_path.read_bytes())
        if manifest["format"] != FORMAT:
            raise ValueError(f"wanted format {FORMAT}, got {manifest['format']}")
        step, config, (count, channels, height, width) = int(manifest["step"]), dict(manifest["config"]), manifest["images"]
        files = {
            part: (int(entry["bytes"]), str(entry["sha256"])) for part in parts for entry in [manifest["files"][_file(part)]]
        }
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"checkpoint: {manifest_path} is damaged or missing: {error!r}") from error
    tensors = {part: _read_tensors(path / _file(part), *wanted) for part, wanted in files.items()}
    return Checkpoint(step, config, (count, channels, height, width), tensors)


def _file(part: str) -> str:
    return f"{part}.safetensors"


def _read_tensors(path: Path, size: int, sha256: str) -> Tensors:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ValueError(f"checkpoint: {path} cannot be read: {error.strerror}") from error
    if len(content) != size:
        raise ValueError(f"checkpoint: {path} is damaged: wanted {size} bytes, got {len(content)}")
    if hashlib.sha256(content).hexdigest() != sha256:
        raise ValueError(f"checkpoint: {path} is damaged: its SHA-256 is not the one in manifest.json")
    try:
        return dict(from_bytes(content))
    except SafetensorError as error:
        raise ValueError(f"checkpoint: {path} is no safetensors file: {error}") from error


def restore_module(module: nn.Module, checkpoint: Checkpoint, part: str) -> None:
    """Load a part into a network or process.

    Raises:
        ValueError: names or shapes are not those of `module`; the message names the file.
    """
    try:
        module.load_state_dict(checkpoint.tensors[part])
    except RuntimeError as error:
        raise ValueError(f"checkpoint: {_file(part)} does not fit this run: {' '.join(str(error).split())}") from error


def optimizer_tensors(optimizer: torch.optim.Optimizer, scaler: GradScaler | None = None) -> Tensors:
    """An optimizer's state as tensors named index.key, the index counting parameters as state_dict does, and its scaler's."""
    state = optimizer.state_dict()["state"]
    tensors = {f"{index}.{key}": value for index, entry in state.items() for key, value in entry.items()}
    scaling = {} if scaler is None else scaler.state_dict()
    return tensors | {f"scaler.{name}": torch.tensor(scaling[name], dtype=torch.float64) for name in _SCALER if name in scaling}


def restore_optimizer(optimizer: torch.optim.Optimizer, checkpoint: Checkpoint, scaler: GradScaler | None = None) -> None:
    """Load the part "optimizer", sharded as its parameters are; its options (learning rate and so on) stay as they are.

    Raises:
        ValueError: an entry has not the shape of its parameter, or the scaler's are missing.
    """
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    saved = dict(checkpoint.tensors["optimizer"])
    scaling = {name: saved.pop(f"scaler.{name}") for name in _SCALER if f"scaler.{name}" in saved}
    if scaler is not None and scaler.is_enabled():
        if len(scaling) < len(_SCALER):
            raise ValueError(f"checkpoint: {_file('optimizer')} does not fit this run: it was trained without a loss scale")
        numbers = {"scale": float(scaling["scale"]), "_growth_tracker": int(scaling["_growth_tracker"])}
        scaler.load_state_dict({**scaler.state_dict(), **numbers})
    for name, tensor in sorted(saved.items()):  # processes share out one tensor after the other, and files have no order
        index, _, key = name.partition(".")
        fits = (
            index.isdecimal() and int(index) < len(parameters) and tensor.shape in (parameters[int(index)].shape, torch.Size())
        )
        if not fits:
            raise ValueError(
                f"checkpoint: {_file('optimizer')} does not fit this run: no parameter for {name} {list(tensor.shape)}"
            )
        state.setdefault(int(index), {})[key] = sharded_as(parameters[int(index)], tensor)
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def sharded_as(parameter: Tensor, tensor: Tensor) -> Tensor:
    """A tensor that all processes hold, sharded as a parameter of its shape is; as it is, where the parameter is not."""
    if not isinstance(parameter, DTensor) or tensor.shape != parameter.shape:
        return tensor
    return distribute_tensor(tensor.to(parameter.device), parameter.device_mesh, parameter.placements)

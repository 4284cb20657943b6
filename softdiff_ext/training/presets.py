"""Configurations that come with the package, and those in a file of your own: `softdiff train --config NAME_OR_FILE`."""

from __future__ import annotations

import difflib
from importlib.resources import as_file, files
from pathlib import Path

from softdiff_ext.training.config import TrainConfig, load_config

_FOLDER = files("softdiff_ext") / "configs"


def preset_names() -> dict[str, str]:
    """The configurations that come with the package: name and what the first line of the file says."""
    found = sorted(item for item in (entry.name for entry in _FOLDER.iterdir()) if item.endswith(".yaml"))
    return {
        name.removesuffix(".yaml"): (_FOLDER / name).read_text("utf-8").partition("\n")[0].removeprefix("#").strip()
        for name in found
    }


def read_config(name: str) -> TrainConfig:
    """Options from a file, or from a configuration that comes with the package.

    Args:
        name: path of a YAML file, which ends in .yaml or .yml, or a name of `preset_names`.
    Raises:
        ValueError: there is no such file or name; the file holds an unknown option or a bad value.
    """
    presets = preset_names()
    if name in presets:
        with as_file(_FOLDER / f"{name}.yaml") as path:
            return load_config(path)
    path = Path(name)
    if path.is_file():
        return load_config(path)
    near = difflib.get_close_matches(path.stem, presets, n=1)
    hint = f"did you mean {near[0]}?" if near else f"presets are {', '.join(presets)}"
    raise ValueError(f"config: {name} is neither a file nor a preset; {hint}")

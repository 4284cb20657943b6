"""A finished run as two objects in your own program."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from softdiff_ext.processes import Process
from softdiff_ext.training.checkpoints import last_checkpoint, load_checkpoint, restore_module
from softdiff_ext.training.config import config_from_dict
from softdiff_ext.training.network import build_network


def load_run(run: Path, device: torch.device | str = "cpu") -> tuple[Process, nn.Module]:
    """The process and the network, with its averaged weights, of a run's last checkpoint: `process.sample(network, ...)`.

    Args:
        run: folder of a training run.
        device: where both are put.
    Returns:
        (process, network), the network in eval mode.
    Raises:
        ValueError: the run has no checkpoint, or the last one is damaged.
    """
    checkpoint = load_checkpoint(last_checkpoint(run), ("ema", "process"))
    config = config_from_dict(checkpoint.config)
    process, network = config.build_process(), build_network(config.network, checkpoint.shape)
    restore_module(process, checkpoint, "process")
    restore_module(network, checkpoint, "ema")
    return process.to(device), network.to(device).eval()

"""What a run looks at on its way: samples, and the loss on images never trained on, both shared out over the processes."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from softdiff_ext.processes import Process
from softdiff_ext.processes.draws import BatchDraws
from softdiff_ext.training.engine import Engine
from softdiff_ext.training.randomness import generator

CPU = torch.device("cpu")
HELD_OUT_IMAGES = 512  # a held-out loss from more would cost more than the steps between two sheets


@torch.no_grad()
def draw_samples(engine: Engine, process: Process, model: nn.Module, shape: tuple[int, int, int]) -> Tensor:
    """`sample_count` images of `shape` (C, H, W), the same ones, to rounding, for any number of processes.

    They always use the same random numbers, so that what changes from one call to the next is the network alone.
    """
    config = engine.config
    share = math.ceil(config.sample_count / engine.world)  # equal ones: with fsdp all must call the network equally often
    draws = generator(CPU, config.seed, "samples")
    times = process.level_times(config.sample_steps)
    images = process.sample(model, (share, *shape), times, generator=draws, first=engine.rank * share)
    return engine.gather(images)[: config.sample_count]


@torch.no_grad()
def held_out_loss(engine: Engine, process: Process, model: nn.Module, images: Tensor) -> float:
    """The loss on `images` [N, C, H, W], the same number, to rounding, for any number of processes."""
    total: Tensor = torch.zeros((), device=engine.device)
    for begin in range(engine.rank * engine.part, len(images) + engine.rank * engine.part, engine.world * engine.part):
        first = min(begin, len(images) - 1)  # a process without images of its own calls the network too, for the others
        mine = images[first : first + engine.part].to(engine.device)
        draws = BatchDraws(generator(CPU, engine.config.seed, "held-out"), first, len(images))
        loss, _ = process.loss(model, mine, draws)
        total = total + loss * (len(mine) if begin < len(images) else 0)
    return float(engine.mean(total) * (engine.world / len(images)))

"""The processes of a launch, and what they tell each other."""

from __future__ import annotations

import os
import warnings

import torch
import torch.distributed as dist
from accelerate import PartialState
from accelerate.utils import parse_flag_from_env
from torch import Tensor


class Group:
    """This process and the others that a launcher started with it: torchrun, accelerate launch, or none.

    Attributes:
        device, rank, world: where this process computes, its number and how many there are.
        main: whether it is the one that writes.

    Raises:
        RuntimeError: several processes were started but do not know each other.
        ValueError: the launcher asks for an engine that only options ask for here.
    """

    def __init__(self) -> None:
        refuse_other_launchers()
        # not Accelerator: that also fixes a precision for the whole program, which may have one of its own
        self.state = PartialState(cpu=parse_flag_from_env("ACCELERATE_USE_CPU"))
        refuse_separate_processes(self.state)
        self.device, self.rank = self.state.device, self.state.process_index
        self.world, self.main = self.state.num_processes, self.state.is_main_process
        if self.main and restarts_may_meet_the_dead():
            warnings.warn(
                "torchrun keeps the addresses of processes that died, and those it starts again fail where they read one: "
                "set TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 for torchrun",
                stacklevel=2,
            )

    def mean(self, values: Tensor) -> Tensor:
        """The mean over the processes."""
        if self.world == 1:
            return values
        mean: Tensor = values / self.world
        dist.all_reduce(mean)  # a sum: gloo knows no mean
        return mean

    def gather(self, values: Tensor) -> Tensor:
        """The values [n, ...] of all processes in their order, [world * n, ...]; they must have one shape."""
        if self.world == 1:
            return values
        parts = [torch.empty_like(values) for _ in range(self.world)]
        dist.all_gather(parts, values.contiguous())
        return torch.cat(parts)

    def agree(self, done: int, run: object) -> None:
        """Raise RuntimeError unless all processes begin after the same step: they may look at different disks."""
        found = self.gather(torch.tensor([done], device=self.device)).tolist()
        if len(set(found)) > 1:
            raise RuntimeError(
                f"processes found different checkpoints of {run}, of steps {', '.join(map(str, found))}: "
                f"it must be on a file system that all machines share"
            )

    def wait(self) -> None:
        """Wait until all processes are here."""
        self.state.wait_for_everyone()


def restarts_may_meet_the_dead() -> bool:
    """Whether torchrun uses one store for all its attempts: who is faster than rank 0 then finds the address it had before.

    Seen with torch 2.13: one restart in three failed.
    """
    shared = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    return shared and os.environ.get("TORCHELASTIC_MAX_RESTARTS", "0") != "0"


def refuse_other_launchers() -> None:
    """`accelerate launch` can ask for engines by environment variables, which this loop does not look at."""
    for variable in ("ACCELERATE_USE_FSDP", "ACCELERATE_USE_DEEPSPEED", "ACCELERATE_USE_MEGATRON_LM"):
        if os.environ.get(variable, "false").lower() == "true":
            raise ValueError(f"{variable} is set, but this trainer shards by itself: unset it, and give --parallel fsdp")


def refuse_separate_processes(state: PartialState) -> None:
    """torchrun on a machine without GPU starts processes that accelerate leaves alone: each would train the whole run."""
    started = int(os.environ.get("WORLD_SIZE", "1"))
    if started != state.num_processes:
        raise RuntimeError(
            f"{started} processes were started, but accelerate sees {state.num_processes}, so each would train alone: "
            "set ACCELERATE_USE_CPU=true to train on CPUs with torchrun"
        )


def end_processes() -> None:
    """What every process of a launch does last, after its work has gone well."""
    if dist.is_initialized():
        dist.destroy_process_group()

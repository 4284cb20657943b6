"""How a run computes: in which precision, with how much memory, and what its processes share. All of it is torch's own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel
from torch.utils.checkpoint import checkpoint

from softdiff_ext.processes.network import call_network
from softdiff_ext.training.config import TrainConfig
from softdiff_ext.training.group import Group

PRECISIONS = {"no": None, "bf16": torch.bfloat16, "fp16": torch.float16}


class Engine(Group):
    """One process of a training run, and what it computes with.

    Args:
        config: the run's options.

    Attributes:
        part: images in each part of this process's share of a batch.
        scaler: multiplies losses so that gradients do not vanish in float16; does nothing in the other precisions.

    Raises:
        RuntimeError, ValueError: as for `Group`.
        ValueError: the batch is no multiple of processes and parts.
    """

    def __init__(self, config: TrainConfig) -> None:
        super().__init__()
        self.config = config
        self.part, rest = divmod(config.batch_size, self.world * config.gradient_accumulation)
        if rest or not self.part:
            raise ValueError(
                f"config: batch_size must be a multiple of {self.world} processes times gradient_accumulation = "
                f"{config.gradient_accumulation}, got {config.batch_size}"
            )
        self.dtype = PRECISIONS[config.mixed_precision]
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.dtype == torch.float16)
        self.sharded = config.parallel == "fsdp" and self.world > 1

    def place(self, network: nn.Module) -> None:
        """Put a network on the device: all of it, or with fsdp this process's shard, block by block."""
        if not self.sharded:
            network.to(self.device)
            return
        mesh = init_device_mesh(self.device.type, (self.world,))
        for module in (*blocks(network), network):
            fully_shard(module, mesh=mesh, reshard_after_forward=True)

    def trainable(self, network: nn.Module) -> nn.Module:
        """The network as training calls it: placed, its blocks recomputing and compiled where asked, its gradients averaged.

        Weights stay float32 and autocast converts them where a layer gains by it. FSDP's own mixed precision would also round
        the time given to the network, to multiples of 4 in [512, 1000] with bfloat16.
        """
        if self.config.activation_checkpointing:
            network.enable_gradient_checkpointing(partial(checkpoint, use_reentrant=False))  # type: ignore[operator]
        if self.config.compile:
            # Block by block, so that the gradients of one travel while the next computes its own; not by Module.compile, which
            # makes all blocks one function with as many versions, more than torch keeps. Shapes never change within a block.
            for block in blocks(network):
                block.forward = torch.compile(block.forward, dynamic=False)
        self.place(network)
        if self.world == 1 or self.sharded:
            return network
        places = [self.device] if self.device.type == "cuda" else None
        return DistributedDataParallel(network, device_ids=places, gradient_as_bucket_view=True)  # gradients are there once

    def call(self, model: nn.Module, z: Tensor, t: Tensor) -> Tensor:
        """The answer of a network in the run's precision; with the model bound it is what `process.loss` takes."""
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype is not None):
            return call_network(model, z, t)

    @contextmanager
    def gradients(self, model: nn.Module, last: bool) -> Iterator[None]:
        """Around forward and backward of one part of a batch: processes exchange gradients with the last one only."""
        if isinstance(model, FSDPModule):
            model.set_requires_gradient_sync(last)
        if isinstance(model, DistributedDataParallel) and not last:
            with model.no_sync():
                yield
        else:
            yield


def blocks(network: nn.Module) -> list[nn.Module]:
    """The parts of UNet2DModel that hold nearly all of its weights, in the order in which it computes them."""
    return [*network.down_blocks, network.mid_block, *network.up_blocks]  # type: ignore[misc,list-item]


def clip_gradients(parameters: Iterable[nn.Parameter], largest: float) -> Tensor:
    """Scale gradients so that their joint norm is `largest` at most; returns the norm before, 0-d.

    Sharded gradients count with the shards of all processes, plain ones, equal on all, once.
    """
    by_kind: dict[bool, list[nn.Parameter]] = {}
    for parameter in parameters:
        if parameter.grad is not None:
            by_kind.setdefault(isinstance(parameter, DTensor), []).append(parameter)
    norms = [whole(nn.utils.get_total_norm([p.grad for p in kind if p.grad is not None])) for kind in by_kind.values()]
    norm = norms[0] if len(norms) == 1 else torch.linalg.vector_norm(torch.stack([n.double() for n in norms]))
    for kind in by_kind.values():
        nn.utils.clip_grads_with_norm_(kind, largest, norm)
    return norm


def whole(tensor: Tensor) -> Tensor:
    """All of a tensor of which each process may hold a shard; then all processes must call this."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


class Means:
    """Means of numbers over steps and processes that make nobody wait for the device until they are asked for."""

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}
        self.count = 0

    def add(self, values: Mapping[str, Tensor]) -> None:
        """One more of each number, 0-d; the names are the same each time."""
        self.count += 1
        for name, value in values.items():
            value = value.detach().double()
            self.sums[name] = self.sums[name] + value if name in self.sums else value

    def take(self, group: Group) -> dict[str, float]:
        """The means since the last call, the same on all processes."""
        means = group.mean(torch.stack(list(self.sums.values())) / self.count).tolist()
        names = list(self.sums)
        self.sums, self.count = {}, 0
        return dict(zip(names, means, strict=True))

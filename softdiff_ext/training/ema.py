"""Exponential moving average of a network's weights."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor


class EMA:
    """Moving average of a network: average <- d average + (1 - d) weights, d = min(decay, (1 + n) / (10 + n)).

    Args:
        model: the network to follow; it is copied, and `ema.model` is a network of its own to sample with. Until the first
            update both may be moved or sharded, in the same way.
        decay: the decay d after the first updates, in [0, 1).

    Raises:
        ValueError: decay is outside [0, 1).

    Source:
        The bias-free start (1 + n) / (10 + n) is that of tf.train.ExponentialMovingAverage, used by DDPM and IHDM.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        if not 0.0 <= decay < 1.0:
            raise ValueError(f"EMA: decay must be in [0, 1), got {decay}")
        self.decay = decay
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        self._followed = model
        self._weights: list[Tensor] = []
        self._averages: list[Tensor] = []
        self._buffers: list[tuple[Tensor, Tensor]] = []

    @torch.no_grad()
    def update(self, n: int) -> None:
        """Take in the weights of the network after `n` earlier updates; one fused call, no synchronisation."""
        if not self._weights:  # once: walking a module tree takes ten times as long as the update itself
            self._weights = [local(weight) for weight in self._followed.parameters()]
            self._averages = [local(average) for average in self.model.parameters()]
            self._buffers = list(zip(self.model.buffers(), self._followed.buffers(), strict=True))
        decay = min(self.decay, (1 + n) / (10 + n))
        torch._foreach_lerp_(self._averages, self._weights, 1.0 - decay)
        for average, buffer in self._buffers:
            average.copy_(buffer)


def local(tensor: Tensor) -> Tensor:
    """What this process holds of a tensor: its shard of a sharded one."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor

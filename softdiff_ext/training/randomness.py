"""Randomness without state: every draw of a run is a pure function of (seed, step, rank).

A checkpoint therefore holds no generator state, and a run that was killed continues with the very numbers it would have
drawn.
"""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor


def stream_seed(*key: int | str) -> int:
    """A seed in [0, 2^63) for the stream named by `key`: unrelated for any two different keys."""
    digest = hashlib.blake2b(repr(key).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def permutation(n: int, *key: int | str) -> Tensor:
    """The permutation of range(n) named by `key`, int64 [n]."""
    return torch.randperm(n, generator=torch.Generator().manual_seed(stream_seed(*key)))


def generator(device: torch.device, *key: int | str) -> torch.Generator:
    """A generator on `device` at the start of the stream named by `key`."""
    return torch.Generator(device).manual_seed(stream_seed(*key))

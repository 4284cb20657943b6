"""Which peers there are and which of them can be used here. One that cannot be imported is reported, not an error."""

from __future__ import annotations

import importlib
from functools import lru_cache

import torch
from array_peers import FFTW, Ducc, OpenCV, Scipy
from peer import Peer
from torch_peers import Compiled, Matmul, TorchDct

PEERS: tuple[type[Peer], ...] = (Ducc, Scipy, OpenCV, FFTW, Matmul, Compiled, TorchDct)


def missing() -> dict[str, str]:
    """Peer -> why it cannot be used here."""
    reasons = {}
    for peer in PEERS:
        if peer.module is not None:
            try:
                importlib.import_module(peer.module)
            except ImportError as error:
                reasons[peer.name] = f"{error} (pip install 'softdiff-ext[bench]')"
    return reasons


def usable(
    shape: tuple[int, ...], dtype: torch.dtype, threads: int, ndim: int = 2, leave_out: tuple[str, ...] = ()
) -> list[Peer]:
    """The peers that are here and can do this shape and number type."""
    absent = missing()
    chosen = [p for p in PEERS if p.name not in absent and p.name not in leave_out and p.supports(shape, dtype, ndim)]
    return [made(peer, shape, dtype, threads, ndim) for peer in chosen]


@lru_cache(maxsize=8)
def made(peer: type[Peer], shape: tuple[int, ...], dtype: torch.dtype, threads: int, ndim: int) -> Peer:
    """Plans and matrices are made once for the cases of one shape."""
    return peer(shape, dtype, threads, ndim)

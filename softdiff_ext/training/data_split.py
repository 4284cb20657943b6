"""Which images training never sees: decided by a hash of the name, so files that come later move none of the others."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

import torch
from torch import Tensor

_SKIN_TONE = re.compile(r"-1f3f[b-f](?=-|$)")


def place(name: str) -> float:
    """Where the name lies in [0, 1): uniform over names, the same on every machine."""
    digest = hashlib.blake2b(name.encode("utf-8", "surrogateescape"), digest_size=8, person=b"softdiff split").digest()
    return (int.from_bytes(digest, "little") >> 11) * 2.0**-53


def emoji_base_name(name: str) -> str:
    """The name of an emoji without its skin tones: "1f44b-1f3fd" and "1f44b" are both "1f44b"."""
    return _SKIN_TONE.sub("", name)


def split_by_name(names: Sequence[str], share: float) -> tuple[Tensor, Tensor]:
    """Indices (train, held out), int64: held out are the names that lie below `share`; equal names stay together.

    In a tiny set, where one side would stay empty, the name that lies nearest to it changes sides.

    Raises:
        ValueError: there are fewer than two different names.
    """
    places = [place(name) for name in names]
    if len(set(places)) < 2:
        found = f"{len(names)}, all of one name or content" if len(names) > 1 else len(names)
        raise ValueError(f"data must hold at least 2 images, one to train on and one held out, got {found}")
    limit = min(max(share, min(places) + 2.0**-53), max(places))
    held_out = torch.tensor([where < limit for where in places])
    return (~held_out).nonzero().flatten(), held_out.nonzero().flatten()

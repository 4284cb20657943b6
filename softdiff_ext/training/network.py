"""The network of the training loop: UNet2DModel of diffusers, sized by the options."""

from __future__ import annotations

from typing import cast

from diffusers import UNet2DModel
from torch import nn

from softdiff_ext.training.options import NetworkOptions

_GROUPS = 32  # groups of the group normalisation in DDPM and its successors
_CHANNELS_A_GROUP = 4  # theirs at 128 channels; with fewer a group loses the mean of its channels, and samples get worse


def build_network(options: NetworkOptions, shape: tuple[int, int, int]) -> nn.Module:
    """A U-Net for images of `shape` (C, H, W) whose output has the shape of its input.

    Raises:
        ValueError: the sides of the image are no multiples of 2^(levels - 1).
    """
    channels, height, width = shape
    levels = len(options.channels)
    multiple = 2 ** (levels - 1)
    if height % multiple or width % multiple:
        raise ValueError(
            f"network: {levels} levels want sides that are multiples of {multiple}, got images of {height}x{width}: "
            f"give fewer --network.channels or other images"
        )
    attention = [level in options.attention for level in range(levels)]
    network = UNet2DModel(  # type: ignore[no-untyped-call]
        sample_size=(height, width),
        in_channels=channels,
        out_channels=channels,
        block_out_channels=options.channels,
        layers_per_block=options.blocks,
        down_block_types=tuple("AttnDownBlock2D" if attended else "DownBlock2D" for attended in attention),
        up_block_types=tuple("AttnUpBlock2D" if attended else "UpBlock2D" for attended in reversed(attention)),
        norm_num_groups=norm_groups(options.channels),
        dropout=options.dropout,
    )
    return cast(nn.Module, network)


def norm_groups(channels: tuple[int, ...]) -> int:
    """The largest number of groups up to 32 that divides all channels and leaves four or more to a group, else 1."""
    fits = [
        groups
        for groups in range(1, _GROUPS + 1)
        if all(count % groups == 0 and count >= _CHANNELS_A_GROUP * groups for count in channels)
    ]
    return max(fits, default=1)

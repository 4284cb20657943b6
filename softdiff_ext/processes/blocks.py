"""Square blocks of images as images of their own, for blurs that stay within a block."""

from __future__ import annotations

from torch import Tensor


def check_blocks(height: int, width: int, side: int) -> None:
    """Raise ValueError unless both sides of the images are multiples of that of a block."""
    if height % side or width % side:
        raise ValueError(f"block: the sides of the images must be multiples of {side}, got {height}x{width}")


def split_blocks(x: Tensor, side: int) -> Tensor:
    """Blocks of images: [B, C, H, W] -> [B, C (H / side) (W / side), side, side], row by row for each channel.

    Raises:
        ValueError: H or W is no multiple of side.
    """
    batch, channels, height, width = x.shape
    check_blocks(height, width, side)
    tiles = x.reshape(batch, channels, height // side, side, width // side, side)
    return tiles.transpose(3, 4).reshape(batch, -1, side, side)


def join_blocks(blocks: Tensor, like: Tensor) -> Tensor:
    """Images of the shape of `like` from their blocks: the inverse of `split_blocks`."""
    batch, channels, height, width = like.shape
    side = blocks.shape[-1]
    tiles = blocks.reshape(batch, channels, height // side, width // side, side, side)
    return tiles.transpose(3, 4).reshape(batch, channels, height, width)

"""Data sets, their split, and the order of batches."""

from __future__ import annotations

import gzip
import hashlib
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from softdiff_ext.training import data, data_split
from softdiff_ext.training.data import Batches, ImageOptions, Images, ImageSet, load_digits, load_images


def save(path: Path, array: np.ndarray, mode: str | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(array)
    (image.convert(mode) if mode else image).save(path)
    return path


def everything(*sets: ImageSet) -> torch.Tensor:
    """The stored pixels of all images of both sides, in the order of their first pixels."""
    pixels = torch.cat([images.stored(torch.arange(len(images))) for images in sets])
    return pixels[pixels.flatten(1)[:, 0].argsort(stable=True)]


def only(folder: Path, mode: str | None = None, **options: object) -> np.ndarray:
    """The image `a` of a folder of two, as training keeps it."""
    train, held_out = load_images(f"folder:{folder}", mode, ImageOptions(**options))  # type: ignore[arg-type]
    for images in (train, held_out):
        assert len(images) == 1
    first, second = (images.stored(torch.tensor([0]))[0].numpy() for images in (train, held_out))
    return first if data_split.place("a.png") > data_split.place("b.png") else second


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def test_the_embedded_digits_are_the_published_ones() -> None:
    digits = load_digits()
    assert digits.pixels.shape == (1797, 1, 8, 8)
    assert digits.maximum == 16
    assert digits.labels is not None
    content = digits.pixels.numpy().tobytes() + digits.labels.numpy().astype(np.uint8).tobytes()
    # of sklearn.datasets.load_digits (scikit-learn 1.9.1): images, then targets, as bytes
    assert hashlib.sha256(content).hexdigest() == "87ff0c9e40dc7e2c0e34e7257799c2e3f3aec1a016363bb11cad869ec428a826"
    assert files("softdiff_ext.training").joinpath("digits.npz").stat().st_size <= 60_000  # type: ignore[attr-defined]
    for credit in ("Alpaydin", "Kaynak", "UCI Machine Learning Repository", "CC BY 4.0"):
        assert credit in (data.__doc__ or "")


def test_floats_reach_both_ends_exactly() -> None:
    for maximum in (16, 255):
        pixels = torch.tensor([0, maximum], dtype=torch.uint8).view(2, 1, 1, 1)
        assert Images(pixels, maximum).floats().flatten().tolist() == [-1.0, 1.0]


def test_the_split_is_fixed_and_parts_the_data() -> None:
    train, held_out = load_images("digits")
    again, _ = load_images("digits")
    assert torch.equal(train.pixels, again.pixels)
    assert (len(train), len(held_out)) == (1438, 359)
    digits = load_digits()
    assert digits.labels is not None
    assert train.labels is not None
    assert held_out.labels is not None
    both = torch.cat([train.pixels, held_out.pixels]).flatten(1)
    assert torch.equal(both.unique(dim=0, return_counts=True)[1], digits.pixels.flatten(1).unique(dim=0, return_counts=True)[1])
    assert torch.equal(torch.cat([train.labels, held_out.labels]).bincount(), digits.labels.bincount())
    # the scans come class after class in a cycle of ten: a split by position would leave classes out
    assert held_out.labels.bincount(minlength=10).min() >= 20


@given(
    n=st.integers(1, 40),
    batch=st.integers(1, 50),
    world=st.integers(1, 3),
    seed=st.integers(0, 2**32),
    epochs=st.integers(1, 3),
)
def test_each_epoch_deals_out_each_image_once(n: int, batch: int, world: int, seed: int, epochs: int) -> None:
    images = Images(torch.zeros(n, 1, 1, 1, dtype=torch.uint8))
    ranks = [Batches(images, batch, seed, rank, world) for rank in range(world)]
    steps = -(-n * epochs // (batch * world))
    dealt = torch.cat([ranks[rank].index(step) for step in range(steps) for rank in range(world)])
    for epoch in range(epochs):
        assert dealt[epoch * n : (epoch + 1) * n].sort().values.tolist() == list(range(n))
    # a pure function of the step: the last batch is the same when asked for first
    assert torch.equal(Batches(images, batch, seed, 0, world).index(steps - 1), ranks[0].index(steps - 1))


def test_seeds_and_epochs_have_orders_of_their_own() -> None:
    images = Images(torch.zeros(500, 1, 1, 1, dtype=torch.uint8))
    orders = [Batches(images, 500, seed).index(epoch) for seed in (0, 1) for epoch in (0, 1)]
    for i, first in enumerate(orders):
        assert all((first == second).sum() < 20 for second in orders[i + 1 :])  # equal by chance: Poisson with mean 1


@pytest.mark.parametrize(("mode", "channels"), [(None, 1), ("grey", 1), ("rgb", 3)])
def test_a_folder_of_grey_images(tmp_path: Path, mode: str | None, channels: int) -> None:
    arrays = [noise(6, 5, seed=i) for i in range(5)]
    for i, array in enumerate(arrays):
        save(tmp_path / f"part{i % 2}" / f"{i}.png", array)
    (tmp_path / "notes.txt").write_text("not an image")
    train, held_out = load_images(f"folder:{tmp_path}", mode)
    assert train.shape == held_out.shape == (channels, 6, 5)
    assert min(len(train), len(held_out)) >= 1
    for channel in everything(train, held_out).movedim(1, 0):
        in_order = sorted(arrays, key=lambda array: int(array[0, 0]))
        assert np.array_equal(channel.numpy(), np.stack(in_order))


def test_colour_and_transparency(tmp_path: Path) -> None:
    colour = noise(4, 4, 3)
    see_through = np.dstack([colour, np.zeros((4, 4), np.uint8)])  # hidden colours must not show
    for name in "ab":
        save(tmp_path / "rgb" / f"{name}.png", colour)
        save(tmp_path / "rgba" / f"{name}.png", see_through)
    in_order = colour.transpose(2, 0, 1)
    assert np.array_equal(only(tmp_path / "rgb"), in_order)
    assert np.array_equal(only(tmp_path / "rgb", "rgba"), np.concatenate([in_order, np.full((1, 4, 4), 255)]))
    assert (only(tmp_path / "rgba", "rgb") == 255).all()
    assert (only(tmp_path / "rgba", "grey") == 255).all()
    over = only(tmp_path / "rgba", "rgb", background="#102030")
    assert np.array_equal(over[:, 0, 0], [0x10, 0x20, 0x30])
    assert np.array_equal(only(tmp_path / "rgba", "rgb", transparency="drop"), in_order)
    assert np.array_equal(only(tmp_path / "rgba", "rgba"), see_through.transpose(2, 0, 1))
    with pytest.raises(
        ValueError,
        match=r"png has pixels of kind RGBA, with transparency, not grey \(L\) or RGB: give --mode .* or --mode rgba",
    ):
        load_images(f"folder:{tmp_path}/rgba")
    for name in "ab":  # one colour of an RGB file is said to be transparent
        (tmp_path / "key").mkdir(exist_ok=True)
        Image.fromarray(colour).save(tmp_path / "key" / f"{name}.png", transparency=tuple(colour[0, 0].tolist()))
    with pytest.raises(ValueError, match="has pixels of kind RGB, with transparency"):
        load_images(f"folder:{tmp_path}/key")
    assert np.array_equal(only(tmp_path / "key", "rgb")[:, 0, 0], [255, 255, 255])
    with pytest.raises(ValueError, match="background must be a colour name or #rrggbb, got 'blurple'"):
        load_images(f"folder:{tmp_path}/rgba", "rgb", ImageOptions(background="blurple"))


def test_bad_folders(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"folder .*nowhere does not exist"):
        load_images(f"folder:{tmp_path}/nowhere")
    (tmp_path / "notes.txt").write_text("not an image")
    with pytest.raises(ValueError, match="holds no images"):
        load_images(f"folder:{tmp_path}")
    save(tmp_path / "a.png", noise(4, 4))
    with pytest.raises(ValueError, match="at least 2 images, one to train on and one held out, got 1"):
        load_images(f"folder:{tmp_path}")
    save(tmp_path / "b.png", noise(4, 5))
    with pytest.raises(ValueError, match=r"one size, got .*5x4 in .*b\.png|one size, got 4x4 in .*a\.png and 5x4 in .*b\.png"):
        load_images(f"folder:{tmp_path}")
    save(tmp_path / "b.png", noise(4, 4, 3))
    with pytest.raises(ValueError, match=r"mixed \(.*[ab]\.png, .*[ab]\.png\): give --mode"):
        load_images(f"folder:{tmp_path}")
    whole = save(tmp_path / "b.png", noise(64, 64)).read_bytes()
    (tmp_path / "b.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"cannot read image .*b\.png"):
        load_images(f"folder:{tmp_path}")
    (tmp_path / "b.png").write_bytes(b"")
    with pytest.raises(ValueError, match=r"cannot read image .*b\.png"):
        load_images(f"folder:{tmp_path}")
    save(tmp_path / "b.png", noise(4, 4).astype(np.uint16) * 257)
    with pytest.raises(ValueError, match=r"b\.png has pixels of kind I;16, wanted 8-bit"):
        load_images(f"folder:{tmp_path}", "grey")


@pytest.mark.parametrize("source", ["digit", "folder:", "folder", "fashion-mnist", "digits:x", "digits:", "imagenet", ""])
def test_unknown_sources(source: str) -> None:
    with pytest.raises(ValueError, match=r"data must be one of digits, folder:PATH, .*hf:NAME, got"):
        load_images(source)


def test_mode_goes_with_folders() -> None:
    with pytest.raises(
        ValueError, match=r"mode must be one of grey, rgb, rgba and goes with folder, .*, hf, got 'grey' with 'digits'"
    ):
        load_images("digits", "grey")
    with pytest.raises(ValueError, match="mode must be one of grey, rgb"):
        load_images("folder:.", "cmyk")


def idx(array: np.ndarray) -> bytes:
    return bytes((0, 0, 8, array.ndim)) + b"".join(size.to_bytes(4, "big") for size in array.shape) + array.tobytes()


def write_fashion(folder: Path) -> dict[str, np.ndarray]:
    arrays = {
        "train-images-idx3-ubyte": noise(7, 28, 28),
        "train-labels-idx1-ubyte": np.arange(7, dtype=np.uint8),
        "t10k-images-idx3-ubyte": noise(3, 28, 28, seed=1),
        "t10k-labels-idx1-ubyte": np.arange(3, dtype=np.uint8),
    }
    for i, (name, array) in enumerate(arrays.items()):  # half of them gzip-ed
        path = folder / (f"{name}.gz" if i % 2 else name)
        path.write_bytes(gzip.compress(idx(array)) if i % 2 else idx(array))
    return arrays


def test_fashion_mnist_from_idx_files(tmp_path: Path) -> None:
    arrays = write_fashion(tmp_path)
    train, held_out = load_images(f"fashion-mnist:{tmp_path}")
    assert train.labels is not None
    assert np.array_equal(train.pixels[:, 0].numpy(), arrays["train-images-idx3-ubyte"])
    assert train.labels.tolist() == list(range(7))
    assert np.array_equal(held_out.pixels[:, 0].numpy(), arrays["t10k-images-idx3-ubyte"])


def test_bad_idx_files(tmp_path: Path) -> None:
    source = f"fashion-mnist:{tmp_path}"
    with pytest.raises(FileNotFoundError, match=r"train-images-idx3-ubyte does not exist, nor does .*\.gz"):
        load_images(source)
    write_fashion(tmp_path)
    images, labels = tmp_path / "train-images-idx3-ubyte", tmp_path / "train-labels-idx1-ubyte.gz"
    whole = images.read_bytes()
    for broken in (whole[:-1], whole + b"x", b"\x00\x00\x0d" + whole[3:], b""):
        images.write_bytes(broken)
        with pytest.raises(
            ValueError, match="train-images-idx3-ubyte is not an idx file of bytes with 3 dimensions, or it is cut"
        ):
            load_images(source)
    images.write_bytes(whole)
    packed = labels.read_bytes()
    for broken in (packed[:-9], b"no gzip at all"):
        labels.write_bytes(broken)
        with pytest.raises(ValueError, match=r"train-labels-idx1-ubyte\.gz is damaged"):
            load_images(source)
    labels.write_bytes(gzip.compress(idx(np.arange(6, dtype=np.uint8))))
    with pytest.raises(ValueError, match="has 7 train images but 6 labels"):
        load_images(source)

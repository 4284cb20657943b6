"""Sources, preparation and splits of images: what is read is what was written, and nobody changes sides."""

from __future__ import annotations

import io
import itertools
import tempfile
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from softdiff_ext.training.data import (
    Augment,
    ImageOptions,
    ImageSet,
    LazyImages,
    StreamImages,
    load_images,
    make_batches,
    skip_report,
)
from softdiff_ext.training.data_batches import augmented
from softdiff_ext.training.data_options import GOES_WITH
from softdiff_ext.training.data_split import emoji_base_name, place, split_by_name


def noise(*shape: int, seed: int = 0) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def write_folder(folder: Path, count: int, *shape: int) -> list[np.ndarray[Any, Any]]:
    """PNG files 00.png, 01.png, ... of random pixels; a zeroth pixel counts them."""
    folder.mkdir(parents=True, exist_ok=True)
    arrays = [noise(*shape, seed=i) for i in range(count)]
    for i, array in enumerate(arrays):
        array.reshape(-1)[0] = i
        Image.fromarray(array).save(folder / f"{i:02}.png")
    return arrays


def stored(images: ImageSet) -> np.ndarray[Any, Any]:
    return images.stored(torch.arange(len(images))).numpy()


def both_sides(sets: tuple[ImageSet, ImageSet]) -> np.ndarray[Any, Any]:
    """The stored pixels of both sides, in the order that the zeroth pixel counts."""
    pixels = np.concatenate([stored(images) for images in sets])
    return pixels[pixels.reshape(len(pixels), -1)[:, 0].argsort(kind="stable")]


# --- the split ---

names = st.lists(st.text(min_size=1, max_size=8), min_size=2, max_size=60, unique=True)


@given(names, st.floats(0.01, 0.99), st.randoms(use_true_random=False))
def test_a_name_decides_alone(many: list[str], share: float, random: Any) -> None:
    train, held_out = split_by_name(many, share)
    assert sorted([*train.tolist(), *held_out.tolist()]) == list(range(len(many)))
    assert len(train)
    assert len(held_out)
    if min(map(place, many)) < share <= max(map(place, many)):  # else one of them had to change sides
        side = {many[i] for i in held_out.tolist()}
        assert side == {name for name in many if place(name) < share}
        more = [*many, *(f"{name} again" for name in many)]
        random.shuffle(more)
        _, later = split_by_name(more, share)
        assert side == {more[i] for i in later.tolist()} & set(many)


def test_the_share_is_kept_and_the_hash_is_the_published_one() -> None:
    _, held_out = split_by_name([f"{i}.png" for i in range(10_000)], 0.2)
    assert len(held_out) == pytest.approx(2000, abs=4 * 40)  # 4 standard deviations of a binomial
    # fixed for good: another value would move images of existing runs from one side to the other
    assert place("a.png") == pytest.approx(PLACE_OF_A, abs=1e-15)


PLACE_OF_A = 0.2696463318564042


def test_skin_tones_stay_together() -> None:
    assert emoji_base_name("1f44b-1f3fd") == emoji_base_name("1f44b") == "1f44b"
    assert emoji_base_name("1f9d1-1f3fb-200d-1f91d-200d-1f9d1-1f3ff") == "1f9d1-200d-1f91d-200d-1f9d1"
    assert emoji_base_name("1f3f4-200d-2620-fe0f") == "1f3f4-200d-2620-fe0f"  # a flag that only begins like a tone


def test_emoji_packages(tmp_path: Path) -> None:
    tones = ["", *(f"-1f3f{tone}" for tone in "bcdef")]
    bases = [f"{base:x}" for base in range(0x1F600, 0x1F614)]
    for package, size in itertools.product(("google", "twitter"), (64, 32)):
        folder = tmp_path / f"emoji-datasource-{package}" / "img" / package / str(size)
        folder.mkdir(parents=True)
        for base, tone in itertools.product(bases, tones):
            pixel = np.full((size, size, 4), (int(base, 16) - 0x1F600, 0, 0, 255), np.uint8)
            Image.fromarray(pixel).save(folder / f"{base}{tone}.png")
    train, held_out = load_images(f"emoji:{tmp_path}", "rgb")
    assert len(train) + len(held_out) == 2 * len(bases) * len(tones)
    assert train.shape == (3, 64, 64)
    sides = [set(stored(images)[:, 0, 0, 0].tolist()) for images in (train, held_out)]
    assert not sides[0] & sides[1]
    assert len(sides[0] | sides[1]) == len(bases)
    (tmp_path / "emoji-datasource-google" / "img" / "google" / "128").mkdir()
    one = tmp_path / "emoji-datasource-google" / "img" / "google" / "32"
    assert sum(map(len, load_images(f"emoji:{one}", "rgba"))) == len(bases) * len(tones)
    with pytest.raises(ValueError, match=r"folder .* holds no emoji \(looked for img/\*/64/\*\.png"):
        load_images(f"emoji:{tmp_path / 'emoji-datasource-google' / 'img' / 'google' / '128'}")


# --- cutting and scaling ---


def test_cut_scale_and_orientation(tmp_path: Path) -> None:
    arrays = write_folder(tmp_path, 2, 8, 12)
    source = f"folder:{tmp_path}"
    cut = both_sides(load_images(source, None, ImageOptions(crop=4)))
    assert {image.tobytes() for image in cut} == {array[2:6, 4:8].tobytes() for array in arrays}
    scaled, held_out = load_images(source, None, ImageOptions(size=16))
    assert scaled.shape == held_out.shape == (1, 16, 16)
    assert load_images(source, "rgb", ImageOptions(crop=6, size=3))[0].shape == (3, 3, 3)
    with pytest.raises(ValueError, match=r"\.png is 12x8, smaller than --images.crop 9"):
        load_images(source, None, ImageOptions(crop=9))
    with pytest.raises(ValueError, match=r"images are 12x8, smaller than --images.random-crop 9"):
        load_images(source, None, ImageOptions(random_crop=9))
    turned = tmp_path / "turned"
    turned.mkdir()
    for name in "ab":
        photo = Image.fromarray(np.repeat(np.repeat(noise(1, 2, 3), 16, 0), 16, 1))  # JPEG keeps large flat squares
        exif = Image.Exif()
        exif[0x0112] = 6  # the camera was held a quarter turn clockwise
        photo.save(turned / f"{name}.jpg", exif=exif, quality=95)
    assert load_images(f"folder:{turned}")[0].shape == (3, 32, 16)


def test_shrinking_keeps_the_mean(tmp_path: Path) -> None:
    # a checkerboard shrunk without a filter would come out black or white
    board = ((np.indices((64, 64)).sum(0) % 2) * 255).astype(np.uint8)
    for name in "ab":
        Image.fromarray(board).save(tmp_path / f"{name}.png")
    train, _ = load_images(f"folder:{tmp_path}", None, ImageOptions(size=8))
    assert np.abs(stored(train).astype(float) - 127.5).max() < 3


# --- arrays ---


@given(
    count=st.integers(4, 9),
    height=st.integers(1, 5),
    width=st.integers(1, 5),
    channels=st.sampled_from([1, 3, 4]),
    layout=st.sampled_from(["nhwc", "nchw"]),
    packed=st.booleans(),
    seed=st.integers(0, 99),
)
def test_arrays_come_back(count: int, height: int, width: int, channels: int, layout: Any, packed: bool, seed: int) -> None:
    images = noise(count, height, width, channels, seed=seed)
    images[:, 0, 0, 0] = np.arange(count)
    given = images if layout == "nhwc" else images.transpose(0, 3, 1, 2)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / ("a.npz" if packed else "a.npy")
        if packed:
            np.savez(path, images=given, labels=np.arange(count), names=[f"n{i}" for i in range(count)])
        else:
            np.save(path, given)
        options = ImageOptions(layout=layout, held_out=0.5)
        sets = load_images(f"arrays:{path}", {1: "grey", 3: "rgb", 4: "rgba"}[channels], options)
        assert np.array_equal(both_sides(sets), images.transpose(0, 3, 1, 2))
        if packed:
            for side in sets:
                assert side.labels is not None
                assert side.labels.tolist() == stored(side)[:, 0, 0, 0].tolist()


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"images": noise(4, 5, 5, 3)}, r"holds an array \[4, 5, 5, 3\]: give --images.layout nhwc or nchw"),
        ({"images": noise(4, 5)}, r"holds an array \[4, 5\], wanted \[N, H, W\] or four axes"),
        ({"images": noise(4, 5, 5).astype(np.float32)}, "images of type float32, wanted uint8"),
        ({"images": noise(4, 5, 5), "labels": np.arange(3)}, r"labels \[3\], wanted one for each of 4 images"),
        ({"images": noise(4, 5, 5), "labels": np.ones(4)}, "labels of type float64, wanted integers"),
        ({"x": noise(4, 5, 5), "y": noise(4, 5, 5)}, "holds x, y, wanted an array named images"),
        ({"images": np.array([None, 1])}, "is no numpy file, or damaged: Object arrays cannot be loaded"),
    ],
)
def test_bad_arrays(tmp_path: Path, arrays: dict[str, Any], message: str) -> None:
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(ValueError, match=f"a.npz .*{message}|{message}"):
        load_images(f"arrays:{tmp_path}/a.npz")


def test_arrays_of_the_wrong_channels_and_damaged_files(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", noise(4, 5, 5, 2))
    with pytest.raises(ValueError, match="4 images of 5x5 with 2 channels, wanted 1, 3 or 4"):
        load_images(f"arrays:{tmp_path}/a.npy", None, ImageOptions(layout="nhwc"))
    with pytest.raises(FileNotFoundError, match=r"file .*b\.npy does not exist"):
        load_images(f"arrays:{tmp_path}/b.npy")
    (tmp_path / "b.npy").write_bytes((tmp_path / "a.npy").read_bytes()[:140])
    (tmp_path / "c.npz").write_bytes(b"PK\x03\x04 and no more")
    for name in ("b.npy", "c.npz"):
        with pytest.raises(ValueError, match=f"{name} is no numpy file, or damaged"):
            load_images(f"arrays:{tmp_path}/{name}")


# --- unreadable files, memory ---


@pytest.mark.parametrize("lazy", [False, True])
def test_unreadable_files_are_refused_or_skipped_and_named(tmp_path: Path, lazy: bool) -> None:
    write_folder(tmp_path, 20, 6, 6)
    whole = (tmp_path / "03.png").read_bytes()
    (tmp_path / "03.png").write_bytes(whole[: len(whole) - 30])  # its header is good
    (tmp_path / "07.png").write_bytes(b"not a PNG")
    source = f"folder:{tmp_path}"
    with pytest.raises(ValueError, match=r"data: cannot read image .*0[37]\.png: .*give --images.unreadable skip"):
        load_images(source, None, ImageOptions(lazy=lazy))
    sets = load_images(source, None, ImageOptions(lazy=lazy, unreadable="skip"))
    assert both_sides(sets)[:, 0, 0, 0].tolist() == [i for i in range(20) if i not in (3, 7)]
    report = skip_report(*sets)
    assert report.startswith("data: skipped 2 unreadable of 20 files: cannot read image ")
    for name in ("03.png", "07.png"):
        assert name in report
    assert "\n" not in report
    assert skip_report(*load_images("digits")) == ""
    for path in tmp_path.iterdir():
        path.write_bytes(b"")
    with pytest.raises(ValueError, match="none of the files can be read as an image"):
        load_images(source, None, ImageOptions(lazy=lazy, unreadable="skip"))


def test_a_file_that_is_damaged_later_is_named(tmp_path: Path) -> None:
    write_folder(tmp_path, 4, 6, 6)
    train, _ = load_images(f"folder:{tmp_path}", None, ImageOptions(lazy=True))
    for path in tmp_path.iterdir():
        path.write_bytes(b"")
    with pytest.raises(ValueError, match=r"data: cannot read image .*\.png"):
        make_batches(train, 4, seed=0)(0)


def test_more_than_the_memory_is_refused_before_reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_folder(tmp_path, 4, 6, 6)
    monkeypatch.setattr("os.sysconf", lambda name: {"SC_PAGE_SIZE": 16, "SC_PHYS_PAGES": 10}[name])
    with pytest.raises(ValueError, match=r"4 images of 1x6x6 take 0.0 GiB, the machine has 0.0: give --images.lazy"):
        load_images(f"folder:{tmp_path}")
    load_images(f"folder:{tmp_path}", None, ImageOptions(lazy=True))


def test_options_go_with_their_sources() -> None:
    values = {"size": 4, "layout": "nhwc", "column": "x", "lazy": True, "held_out": 0.5, "stream": True, "split": "all"}
    for name, value in values.items():
        flag = name.replace("_", "-")
        with pytest.raises(ValueError, match=f"--images.{flag} goes with {', '.join(GOES_WITH[name])}, got it with 'digits'"):
            load_images("digits", None, ImageOptions(**{name: value}))
    for name, value in {"size": 0, "workers": 0, "held_out": 1.0, "flip": 2, "layout": "hwc", "unreadable": "ignore"}.items():
        with pytest.raises(ValueError, match=f"config: {name} must be .*, got {value!r}"):
            ImageOptions(**{name: value})


# --- Hugging Face ---


def rows(count: int, label: bool = True) -> Any:
    def png(i: int) -> bytes:
        content, image = io.BytesIO(), noise(5, 4, 3, seed=i)
        image[0, 0, 0] = i
        Image.fromarray(image).save(content, format="PNG")
        return content.getvalue()

    columns: dict[str, Any] = {"picture": [{"bytes": png(i), "path": None} for i in range(count)]}
    features: dict[str, Any] = {"picture": datasets.Image()}
    if label:
        columns["kind"], features["kind"] = [i % 3 for i in range(count)], datasets.ClassLabel(3)
    return datasets.Dataset.from_dict(columns, features=datasets.Features(features))


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same forty rows as a parquet folder, a saved data set, saved splits, and a folder of images."""
    root = tmp_path_factory.mktemp("hf")
    (root / "cache").mkdir()
    table = rows(40)
    (root / "parquet").mkdir()
    table.to_parquet(root / "parquet" / "train.parquet")
    table.save_to_disk(root / "saved")
    datasets.DatasetDict({"train": table, "test": rows(7)}).save_to_disk(root / "splits")
    for i in range(40):
        (root / "files").mkdir(exist_ok=True)
        (root / "files" / f"{i:02}.png").write_bytes(table.with_format(None).cast_column(
            "picture", datasets.Image(decode=False))[i]["picture"]["bytes"])  # fmt: skip
    return root


@pytest.fixture(autouse=True)
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is asked of the network, nothing is left in the user's cache, and no bars are drawn."""
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    datasets.disable_progress_bars()


@pytest.mark.parametrize("name", ["parquet", "parquet/train.parquet", "saved", "splits", "files"])
@pytest.mark.parametrize("lazy", [False, True])
def test_hugging_face_rows_come_back(saved: Path, name: str, lazy: bool) -> None:
    sets = load_images(f"hf:{saved / name}", None, ImageOptions(lazy=lazy))
    expected = np.stack([noise(5, 4, 3, seed=i) for i in range(40)]).transpose(0, 3, 1, 2)
    expected[:, 0, 0, 0] = np.arange(40)
    assert np.array_equal(both_sides(sets), expected)
    assert isinstance(sets[0], LazyImages) == lazy
    if name != "files":  # it has no labels
        for side in sets:
            assert side.labels is not None
            assert side.labels.tolist() == [i % 3 for i in stored(side)[:, 0, 0, 0]]


def test_the_content_decides_on_the_side_of_rows(saved: Path) -> None:
    side = [set(stored(load_images(f"hf:{saved / name}")[1])[:, 0, 0, 0].tolist()) for name in ("parquet", "files", "saved")]
    assert side[0] == side[1] == side[2]


def test_a_split_of_its_own_is_held_out(saved: Path) -> None:
    for options in (ImageOptions(held_out_split="test"), ImageOptions(held_out_split="test", stream=True)):
        train, held_out = load_images(f"hf:{saved / 'splits'}", None, options)
        assert stored(held_out)[:, 0, 0, 0].tolist() == list(range(7))
        assert len(train) == (0 if options.stream else 40)


def test_unknown_names_splits_and_columns(saved: Path) -> None:
    for name, options, message in [
        ("nobody/nothing", {}, "the Hugging Face data set 'nobody/nothing' cannot be opened: "),
        (f"{saved}/no.parquet", {}, r"no.parquet' cannot be opened: there is no such file"),
        (f"{saved}/parquet", {"split": "trial"}, r"cannot be opened: .*trial"),
        (f"{saved}/splits", {"split": "trial"}, r"cannot be opened: no split 'trial', it has train, test"),
        (f"{saved}/saved", {"held_out_split": "test"}, r"cannot be opened: no split 'test': it was saved as one data set"),
        (f"{saved}/saved", {"column": "kind"}, r"--images.column 'kind' is no column of images of .*, wanted one of picture"),
    ]:
        with pytest.raises(ValueError, match=message):
            load_images(f"hf:{name}", None, ImageOptions(**options))
    without = datasets.Dataset.from_dict({"text": ["a", "b"]})
    without.save_to_disk(saved / "text")
    with pytest.raises(ValueError, match=r"has not one column of images but none \(columns: text\): give --images.column"):
        load_images(f"hf:{saved / 'text'}")


def test_empty_rows_are_refused_or_skipped(tmp_path: Path) -> None:
    table = rows(12, label=False)
    empty = datasets.Dataset.from_dict({"picture": [None]}, features=table.features)
    datasets.concatenate_datasets([table, empty]).save_to_disk(tmp_path / "saved")
    with pytest.raises(ValueError, match=r"cannot read image row 12 of .*saved \(train\): the row is empty"):
        load_images(f"hf:{tmp_path / 'saved'}")
    sets = load_images(f"hf:{tmp_path / 'saved'}", None, ImageOptions(unreadable="skip"))
    assert len(both_sides(sets)) == 12
    with pytest.raises(ValueError, match=r"row 12 of .* the row is empty"):
        load_stream(tmp_path / "saved").some(20, "all")
    train = load_stream(tmp_path / "saved", unreadable="skip")
    assert len(list(train.shuffled(0, 0))) == len(sets[0])


# --- batches of sets that are not in memory ---


def load_stream(path: Path, **options: Any) -> StreamImages:
    train, _ = load_images(f"hf:{path}", None, ImageOptions(stream=True, **options))
    assert isinstance(train, StreamImages)
    return train


def seen(images: ImageSet, steps: list[int], batch: int, world: int, seed: int = 3) -> torch.Tensor:
    """The global batches of the steps, put together from those of `world` processes."""
    ranks = [make_batches(images, batch // world, seed, rank, world) for rank in range(world)]
    return torch.stack([torch.cat([of_rank(step) for of_rank in ranks]) for step in steps])


def test_lazy_images_make_the_batches_of_those_in_memory(saved: Path) -> None:
    source, options = f"hf:{saved / 'saved'}", {"flip": True, "random_crop": 3}
    memory, _ = load_images(source, None, ImageOptions(**options))
    lazy, _ = load_images(source, None, ImageOptions(lazy=True, workers=3, **options))
    steps = list(range(12))
    assert torch.equal(seen(memory, steps, 12, 1), seen(lazy, steps, 12, 1))
    assert torch.equal(seen(memory, steps[::-1], 12, 2), seen(lazy, steps[::-1], 12, 3))  # in any order, by any number


@pytest.mark.parametrize("buffer", [5, 1000])
def test_streams_make_the_same_batches_for_any_number_of_processes_and_any_first_step(
    saved: Path, buffer: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("softdiff_ext.training.data_stream.BUFFER", buffer)
    train = load_stream(saved / "parquet", flip=True)
    unbroken = seen(train, list(range(9)), 12, 1)
    assert torch.equal(seen(train, list(range(9)), 12, 3), unbroken)
    for world in (1, 3):
        assert torch.equal(seen(train, [5, 6, 7, 2, 3], 12, world), unbroken[[5, 6, 7, 2, 3]])
    memory, _ = load_images(f"hf:{saved / 'parquet'}")
    first = [{row.cell["bytes"] for row in train.shuffled(3, epoch)} for epoch in (0, 1)]
    assert first[0] == first[1]
    assert len(first[0]) == len(memory)
    orders = [[row.where for row in train.shuffled(seed, epoch)] for seed, epoch in ((3, 0), (3, 1), (4, 0))]
    assert orders[0] != orders[1] != orders[2] != orders[0]


# --- cutting and mirroring as training goes ---


@given(height=st.integers(2, 7), width=st.integers(2, 7), data=st.data())
def test_each_cut_is_a_window_of_its_image_and_a_function_of_the_position(height: int, width: int, data: Any) -> None:
    side = data.draw(st.integers(1, min(height, width)))
    pixels = torch.arange(6 * 2 * height * width, dtype=torch.int32).view(6, 2, height, width)
    position, augment = data.draw(st.integers(0, 2**40)), Augment(side, flip=data.draw(st.booleans()))
    found = augmented(pixels, augment, 7, position)
    for image, cut in zip(pixels, found, strict=True):
        windows = image.unfold(1, side, 1).unfold(2, side, 1).movedim(0, 2).flatten(0, 1)
        mirrored = windows.flip(-1) if augment.flip else windows
        assert any(torch.equal(cut, window) for window in (*windows, *mirrored))
    parts = [augmented(pixels[i : i + 2], augment, 7, position + i) for i in (0, 2, 4)]
    assert torch.equal(torch.cat(parts), found)


def test_windows_and_mirrors_are_fair() -> None:
    pixels = torch.arange(12).view(1, 1, 3, 4).expand(6000, 1, 3, 4)
    found = augmented(pixels, Augment(2, flip=True), 0, 0).flatten(1)
    kinds, counts = found.unique(dim=0, return_counts=True)
    assert len(kinds) == 2 * 3 * 2  # rows, columns, mirrored or not
    assert (counts - 500).abs().max() < 4.5 * 500**0.5


def test_held_out_images_show_their_centre() -> None:
    _, held_out = load_images("digits", None, ImageOptions(random_crop=4, flip=True))
    _, whole = load_images("digits")
    assert held_out.shape == (1, 4, 4)
    assert torch.equal(held_out.floats(), whole.floats()[:, :, 2:6, 2:6])

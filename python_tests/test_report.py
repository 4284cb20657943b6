"""The page about a run: what is in it, that it needs nothing else, and that it works in a browser and by keyboard."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import softdiff_ext as sd
from softdiff_ext.cli import main
from softdiff_ext.report import movies, write_report
from softdiff_ext.report.films import Film, Strip, forward_film, training_film
from softdiff_ext.report.neighbours import nearest, pairwise_rms
from softdiff_ext.report.page import player, table
from softdiff_ext.report.pictures import MOST_BYTES, display_bytes, sprite
from softdiff_ext.report.quality import Spread, quality_tables, tables_of
from softdiff_ext.report.threads import GRAIN, threads_for
from softdiff_ext.training.data import Images
from softdiff_ext.training.figures import cut_sheet, image_sheet, rgb_bytes
from softdiff_ext.training.log import read_log

from .browser import CHROMIUM, Browser
from .markup import Checked

NETWORK = ["--network.channels", "8", "8", "--network.blocks", "1", "--network.attention"]
RECORD = ["--log-every", "1", "--sample-every", "2", "--sample-count", "5", "--sample-steps", "6", "--checkpoint-every", "4"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report") / "tiny"
    assert (
        main(["train", str(folder), "--blurring.sigma-blur-max", "3", *NETWORK, *RECORD, "--batch-size", "8", "--steps", "24"])
        == 0
    )
    (folder / "evaluation").mkdir()
    wide = {f"precision-EffNetLite{i}": i / 10 for i in range(9)}  # names that do not break: wider than a phone
    rows = [{"rule": "markov", "FD": 12.25}, {"rule": "<ddim>", "FD": 9.5, "steps": 50}, {"rule": "naive", **wide}]
    measured = {"images": 1024, "distances": rows}
    (folder / "evaluation" / "quality.json").write_text(json.dumps(measured))
    return folder


@pytest.fixture(scope="module")
def page(run: Path) -> Path:
    assert main(["report", str(run), "--images", "6"]) == 0
    return run / "report.html"


def test_the_page_is_whole_and_fetches_nothing(page: Path) -> None:
    text = page.read_text("utf-8")
    document = Checked(text)
    assert 10_000 < len(text) < 5_000_000
    for _, attributes in document.elements:
        for name in ("src", "href", "srcset", "data", "action"):
            assert attributes.get(name, "data:").startswith(("data:", "#")), attributes
    assert "url(" not in text
    assert "@import" not in text
    assert not re.search(r"https?://", text)
    (policy,) = [meta["content"] for meta in document.all("meta") if meta.get("http-equiv")]
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert {"width=device-width, initial-scale=1"} <= {meta.get("content") for meta in document.all("meta")}


def test_everything_on_the_page_has_a_name(page: Path) -> None:
    document = Checked(page.read_text("utf-8"))
    names = [attributes["id"] for _, attributes in document.elements if "id" in attributes]
    assert len(names) == len(set(names))
    for link in document.all("a"):
        assert link["href"].removeprefix("#") in names
    assert all(image["alt"] for image in document.all("img"))
    assert all(element["aria-label"] for tag in ("button", "input") for element in document.all(tag))
    for drawing in document.all("svg"):
        assert set(drawing["aria-labelledby"].split()) <= set(names)
    sections = [section["id"] for section in document.all("section")]
    assert sections == ["reverse", "forward", "training", "curves", "quality", "neighbours", "config"]
    assert len(document.all("h1")) == 1


def test_the_page_says_what_the_run_was(page: Path) -> None:
    text = page.read_text("utf-8")
    assert "Blurring Diffusion, trained on 1,438 grey images of 8x8 pixels." in text
    assert "24 of 24 steps of 8 images" in text
    assert "sigma_blur_max: 3.0" in text
    for cell in (
        '<td class="number">12.25</td>',
        "<td>&lt;ddim&gt;</td>",
        "<td>1024</td>",
        "<td></td>",
        "<caption>distances</caption>",
    ):
        assert cell in text
    assert len(Checked(text).all("svg")) == 3
    assert len(Checked(text).all("img")) == 6 * 4


def test_the_films_hold_the_run(run: Path, page: Path) -> None:
    films = {}
    for name, content in re.findall(
        r'id="(\w+)-player".*?<script type="application/json">(.*?)</script>', page.read_text("utf-8")
    ):
        films[name] = json.loads(content)
    assert list(films) == ["reverse", "forward", "training"]
    assert [len(films[name]["labels"]) for name in films] == [7, 25, 12]
    assert films["training"]["labels"][-1] == "step 24"
    assert films["reverse"]["labels"][0] == "t = 1.00, blur 3 px, noise 1"
    assert films["reverse"]["labels"][-1].startswith("t = 0.00")
    content = base64.b64decode(films["training"]["sprites"][0].partition(",")[2])
    with Image.open(io.BytesIO(content)) as file, Image.open(run / "samples" / "step-00000004.png") as sheet:
        pixels, wanted = np.asarray(file.convert("RGB")), np.asarray(sheet)
    assert pixels.shape == (12 * 8, 5 * 8, 3)
    assert np.array_equal(pixels[8:16, :8], wanted[2:34:4, 2:34:4])  # frame 1, image 0: exact, small images lose nothing


def test_a_page_can_be_made_of_less(run: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    (bare / "checkpoints").mkdir(parents=True)
    step = bare / "checkpoints" / "step-00000024"
    step.symlink_to(run / "checkpoints" / "step-00000024")
    text = write_report(bare, images=1, steps=2).read_text("utf-8")
    for words in ("has no log.jsonl", "left no sample sheets", "Not measured yet: <code>softdiff evaluate"):
        assert words in text
    Checked(text)


def test_report_refuses(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def refused(*arguments: str) -> str:
        capsys.readouterr()
        assert main(["report", *arguments]) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        return error

    out = ["--out", str(tmp_path / "x.html")]
    assert "images must be in 1..64, got 65" in refused(str(run), "--images", "65", *out)
    assert "steps must be >= 1, got 0" in refused(str(run), "--steps", "0", *out)
    assert "does not exist" in refused(str(tmp_path / "nowhere"), *out)
    assert "Cold keeps all the noise" in refused(str(run), "--rule", "cold", *out)
    (tmp_path / "empty").mkdir()
    assert "holds no checkpoint" in refused(str(tmp_path / "empty"), *out)
    assert not (tmp_path / "x.html").exists()


def test_small_networks_get_one_thread(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Convolutions of 8x8 images gain nothing by a second one, and wait for it where the machine has other work."""
    seen: list[int] = []
    sample = sd.BlurringDiffusion.sample

    def watched(*arguments: Any, **options: Any) -> torch.Tensor:
        seen.append(torch.get_num_threads())
        return sample(*arguments, **options)

    monkeypatch.setattr(sd.BlurringDiffusion, "sample", watched)
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        write_report(run, tmp_path / "page.html", images=2, steps=2)
        movies.write_gif(run, tmp_path / "film.gif", images=2, steps=2)
        assert seen == [1, 1]
        assert torch.get_num_threads() == 3
        for numbers, wanted in ((0, 1), (2 * GRAIN - 1, 1), (2 * GRAIN, 2), (100 * GRAIN, 3)):
            with contextlib.suppress(KeyError), threads_for(numbers):
                assert torch.get_num_threads() == wanted
                raise KeyError
            assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_large_images_are_shrunk() -> None:
    noise = torch.randn(2, 3, 300, 600, generator=torch.Generator().manual_seed(0))
    assert display_bytes(noise).shape == (2, 3, 128, 256)
    assert display_bytes(torch.zeros(1, 1, 1, 2000)).shape == (1, 3, 1, 256)


def test_films_of_photos_stay_below_four_megabytes() -> None:
    draws = torch.Generator().manual_seed(0)
    images = torch.rand(8, 3, 256, 256, generator=draws) * 2 - 1  # noise is the hardest picture there is
    film = forward_film(sd.BlurringDiffusion(), images, draws)
    assert film.strips[0].frames.shape == (15, 8, 3, 128, 128)
    assert len(sprite(film.strips[0].frames)) < MOST_BYTES * 4 / 3 + 100
    worst = torch.randint(0, 256, film.strips[0].frames.shape, dtype=torch.uint8, generator=draws)
    assert len(sprite(worst)) < MOST_BYTES * 4 / 3 + 100


def test_films_follow_the_process() -> None:
    process = sd.InverseHeatDissipation(levels=20, sigma_blur=(0.5, 4.0), sigma=0.02, delta=0.025)
    images = torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    process.fit(images)
    film = forward_film(process, images, torch.Generator().manual_seed(0))
    times = process.level_times(24)[::-1]
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    assert len(film.labels) == len(times)
    for frame, t in zip(film.strips[0].frames, times, strict=True):
        assert torch.equal(frame, rgb_bytes(process.corrupt(images, t, noise)))
    still = forward_film(sd.ColdDiffusion(levels=8, sigma_blur=(0.5, 4.0)), images, torch.Generator())
    assert [strip.title for strip in still.strips] == ["What the network sees: the corrupted image"]  # there is no noise


def test_a_film_of_one_frame_has_nothing_to_play() -> None:
    still = Film(["step 1"], [Strip("one", torch.zeros(1, 2, 3, 8, 8, dtype=torch.uint8))])
    controls = [element for tag, element in Checked(player("x", "one", still, 0)).elements if tag in ("button", "input")]
    assert ["disabled" in element for element in controls] == [True, True]
    moving = Film(["1", "2"], [Strip("two", torch.zeros(2, 2, 3, 8, 8, dtype=torch.uint8))])
    assert "disabled" not in player("x", "two", moving, 0)


def test_sheets_of_another_size_are_passed_over(tmp_path: Path) -> None:
    assert training_film(tmp_path, 5, (1, 8, 8)) is None
    (tmp_path / "samples").mkdir()
    Image.new("RGB", (30, 30)).save(tmp_path / "samples" / "step-00000001.png")
    assert training_film(tmp_path, 5, (1, 8, 8)) is None


@pytest.mark.parametrize("shape", [(5, 1, 8, 8), (16, 3, 10, 40), (1, 3, 64, 33), (7, 4, 8, 16)])
def test_a_sheet_can_be_cut_again(shape: tuple[int, int, int, int]) -> None:
    images = torch.rand(shape, generator=torch.Generator().manual_seed(0)) * 2.4 - 1.2
    sheet = image_sheet(images)
    assert torch.equal(cut_sheet(sheet, shape[0], shape[2:]), rgb_bytes(images))
    with pytest.raises(ValueError, match="images of 9x9 make a sheet"):
        cut_sheet(sheet, shape[0], (9, 9))


def test_transparent_pixels_are_laid_on_white() -> None:
    pixel = torch.tensor([-1.0, 0.0, 1.0, 0.0])[None, :, None, None]  # half there
    assert rgb_bytes(pixel).flatten().tolist() == [128, 191, 255]


def test_neighbours_are_the_nearest() -> None:
    draws = torch.Generator().manual_seed(0)
    train = Images(torch.randint(0, 256, (40, 3, 4, 5), dtype=torch.uint8, generator=draws))
    held_out = Images(torch.randint(0, 256, (9, 3, 4, 5), dtype=torch.uint8, generator=draws))
    samples = train.floats(torch.tensor([7, 3])) + 0.01
    found = nearest(samples, train, held_out)
    assert torch.equal(found.images[:, 0], train.floats(torch.tensor([7, 3])))
    every = (samples.clamp(-1, 1)[:, None] - train.floats()[None]).pow(2).mean((2, 3, 4)).sqrt()
    torch.testing.assert_close(found.distances, every.sort(1).values[:, :3], atol=2e-4, rtol=0)  # float32 squares of 2 cancel
    typical = (held_out.floats()[:, None] - train.floats()[None]).pow(2).mean((2, 3, 4)).sqrt().amin(1).median()
    assert found.held_out == pytest.approx(float(typical), abs=1e-5)
    assert found.compared == 40
    assert pairwise_rms(torch.ones(1, 1, 2, 2), -torch.ones(1, 1, 2, 2)).item() == 2.0


def test_a_run_logs_every_step_once(run: Path, tmp_path: Path) -> None:
    curves = read_log(run)
    assert curves["loss"][0] == curves["images_per_second"][0] == curves["gradient_norm"][0] == [*range(1, 25)]
    assert curves["held_out_loss"][0] == [*range(2, 25, 2)]
    assert min(curves["images_per_second"][1]) > 0
    again = tmp_path / "again"
    (again / "checkpoints").mkdir(parents=True)
    for name in ("config.yaml", "log.jsonl"):
        (again / name).write_bytes((run / name).read_bytes())
    (again / "checkpoints" / "step-00000020").symlink_to(run / "checkpoints" / "step-00000020")
    assert main(["train", str(again), "--resume"]) == 0
    assert read_log(again)["loss"] == curves["loss"]
    assert len((again / "log.jsonl").read_text().splitlines()) == 24 + 12


def test_quality_of_any_form_becomes_tables(tmp_path: Path) -> None:
    (tmp_path / "evaluation").mkdir()
    assert quality_tables(tmp_path) == []
    (tmp_path / "evaluation" / "b.json").write_text('{"n": 3, "nested": {"deep_value": 1.5, "sizes": [1, 2]}, "none": []}')
    (tmp_path / "evaluation" / "a_b.json").write_text('[{"x": 1}, {"y": "z"}]')
    first, second, third = quality_tables(tmp_path)
    assert (first.caption, first.columns, first.rows) == ("a b", ["x", "y"], [[1, None], [None, "z"]])
    assert (second.caption, second.rows) == ("b", [["n", 3], ["none", ""]])
    assert (third.caption, third.rows) == ("b: nested", [["deep value", 1.5], ["sizes", "1, 2"]])
    (tmp_path / "evaluation" / "c.json").write_text("{")
    with pytest.raises(ValueError, match=r"c\.json is damaged"):
        quality_tables(tmp_path)


def test_a_deviation_stands_beside_its_number_and_names_stand_over_theirs() -> None:
    known = {"rule": "a", "KD-x": 0.0123456, "KD-x std": 0.00123, "n": 3}
    (found,) = tables_of([known, known | {"KD-x": None}], "quality")
    assert found.columns == ["rule", "KD-x", "n", "KD-x std"]  # where one is not known the other stays
    (found,) = tables_of([known], "quality")
    assert (found.columns, found.rows) == (["rule", "KD-x", "n"], [["a", Spread(0.0123456, 0.00123), 3]])
    html = table(found.caption, found.columns, found.rows)
    assert '<td class="number">0.01235 ± 0.0012</td>' in html
    assert '<th scope="col"><span>rule</span></th><th class="number" scope="col"><span>KD-x</span></th>' in html
    assert 'class="number"' not in table("two", ["measure", "value"], [["n", 3]])
    Checked(html)


def test_the_reverse_path_as_a_moving_picture(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "page.html"
    assert main(["report", str(run), "--out", str(out), "--images", "2", "--gif"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == [str(out), str(tmp_path / "page.gif")]
    with Image.open(tmp_path / "page.gif") as film:
        assert film.n_frames == 7  # type: ignore[attr-defined]
        assert film.info["loop"] == 0
        assert film.info["duration"] == 50
        first = np.asarray(film.convert("RGB"))
        film.seek(6)
        assert film.info["duration"] == 1500
        last = np.asarray(film.convert("RGB"))
    assert first.shape == last.shape
    assert min(first.shape[:2]) >= 400
    assert not np.array_equal(first, last)


def test_an_mp4_plays_the_path_to_its_end(run: Path, tmp_path: Path) -> None:
    encoder = pytest.importorskip("imageio_ffmpeg", reason="not run: the extra softdiff-ext[movie] is not installed")
    out = movies.write_mp4(run, tmp_path / "path.mp4", images=5)
    assert [path.name for path in tmp_path.iterdir()] == ["path.mp4"]
    wanted = np.stack([frame.numpy() for frame in movies.path_frames(run, 5, None, None, 0)])
    reader = [encoder.get_ffmpeg_exe(), "-i", str(out), "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    read = subprocess.run(reader, capture_output=True, check=True)
    assert re.search(rb"Video: h264 .* yuv420p\b.* 20 fps", read.stderr)  # what every player takes
    frames = np.frombuffer(read.stdout, np.uint8).reshape(-1, *wanted.shape[1:])
    assert len(frames) == len(wanted) + movies.STILL

    def apart(one: np.ndarray, other: np.ndarray) -> float:
        return float(np.abs(one.astype(float) - other).mean())

    motion = apart(wanted[0], wanted[-1])
    assert apart(frames[0], wanted[0]) < 0.05 * motion
    assert apart(frames[-1], wanted[-1]) < 0.05 * motion
    assert apart(frames[len(wanted) - 1], wanted[-1]) < 0.05 * motion  # it stands still from here


def test_without_an_encoder_nothing_is_written_and_the_message_helps(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "imageio_ffmpeg", None)
    assert main(["report", str(run), "--out", str(tmp_path / "page.html"), "--mp4"]) == 2
    assert capsys.readouterr().err.strip().endswith('pip install "softdiff-ext[movie]", or take --gif')
    assert not any(tmp_path.iterdir())


needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="not run: no Chromium (Debian package chromium) on this machine")


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("chromium")) as started:
        yield started


def pixels_of(browser: Browser, name: str) -> str:
    """All canvases of a player as text: equal where they show the same."""
    return str(browser.evaluate(f"[...document.querySelectorAll('#{name}-player canvas')].map(c => c.toDataURL()).join()"))


@needs_chromium
@pytest.mark.parametrize(("width", "phone", "dark"), [(1280, False, False), (390, True, True)])
def test_the_players_work_in_a_browser(browser: Browser, page: Path, width: int, phone: bool, dark: bool) -> None:
    browser.open(page, width, dark=dark, phone=phone)
    browser.until("document.querySelectorAll('canvas').length > 0")
    browser.until(
        "[...document.querySelectorAll('canvas')].every(c => c.getContext('2d').getImageData(0, 0, 1, 1).data[3] === 255)"
    )
    for name in ("reverse", "forward", "training"):
        last = int(browser.evaluate(f"document.querySelector('#{name}-frame').max"))
        browser.evaluate(f"document.querySelector('#{name}-frame').focus()")
        browser.press("End")
        at_end, label = (
            pixels_of(browser, name),
            browser.evaluate(f"document.querySelector('#{name}-player output').textContent"),
        )
        browser.press("Home")
        assert browser.evaluate(f"document.querySelector('#{name}-frame').value") == "0"
        assert pixels_of(browser, name) != at_end
        assert browser.evaluate(f"document.querySelector('#{name}-player output').textContent") != label
        browser.press("ArrowRight")
        assert browser.evaluate(f"document.querySelector('#{name}-frame').value") == "1"
        browser.press("End")
        assert pixels_of(browser, name) == at_end

        if name != "reverse":
            continue
        browser.click(f"#{name}-player button")  # plays from the start, ends by itself
        assert browser.evaluate(f"document.querySelector('#{name}-player button').textContent") == "Pause"
        assert int(browser.evaluate(f"document.querySelector('#{name}-frame').value")) < last
        browser.until(f"document.querySelector('#{name}-player button').textContent === 'Play'")
        assert pixels_of(browser, name) == at_end
    assert browser.evaluate("document.documentElement.scrollWidth <= innerWidth"), "the page is wider than the window"
    moved = "const e = document.querySelector('.compared'); e.scrollLeft = 300"
    place = "e.querySelector('td').getBoundingClientRect().x - e.getBoundingClientRect().x"
    assert browser.evaluate(f"{{ {moved}; [e.scrollLeft, Math.round({place})] }}") == [300, 0]  # names of rows stay in view
    assert browser.evaluate("[...document.images].every(image => image.complete && image.naturalWidth > 0)")
    assert browser.complaints == []


@needs_chromium
def test_the_button_pauses_by_keyboard_and_curves_answer_the_pointer(browser: Browser, page: Path) -> None:
    browser.open(page, 1280)
    browser.evaluate("document.querySelector('#forward-player button').focus()")
    browser.press("Enter")
    browser.until("Number(document.querySelector('#forward-frame').value) > 0")
    browser.press("Enter")
    assert browser.evaluate("document.querySelector('#forward-player button').textContent") == "Play"
    stopped = browser.evaluate("document.querySelector('#forward-frame').value")
    assert (
        browser.evaluate("new Promise(done => setTimeout(() => done(document.querySelector('#forward-frame').value), 400))")
        == stopped
    )

    words = "document.querySelector('.chart .words').textContent"
    at_rest = browser.evaluate(words)
    x, y = browser.evaluate(
        "(() => { const e = document.querySelector('.chart svg'); e.scrollIntoView({block: 'center'});"
        " const b = e.getBoundingClientRect(); return [b.x + b.width * 0.6, b.y + b.height / 2]; })()"
    )
    browser.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
    browser.until(f"{words} !== {json.dumps(at_rest)}")
    assert re.fullmatch(r"training: [\d.e+-]+ at step 1\d; held out: [\d.e+-]+ at step 1\d", browser.evaluate(words))
    browser.call("Input.dispatchMouseEvent", type="mouseMoved", x=1, y=1)
    browser.until(f"{words} === {json.dumps(at_rest)}")
    assert browser.complaints == []


@needs_chromium
def test_the_browser_test_can_fail(browser: Browser, tmp_path: Path) -> None:
    (tmp_path / "bad.html").write_text("<script>console.error('bad'); throw new Error('worse')</script>")
    browser.open(tmp_path / "bad.html", 800)
    browser.until("true")
    assert len(browser.complaints) == 2
    browser.complaints.clear()

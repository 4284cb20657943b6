"""The training loop: it learns, refuses before it writes, and a broken run ends with the bits of an unbroken one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import fields, replace
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor, nn

from softdiff_ext.training.checkpoints import checkpoint_paths, load_checkpoint
from softdiff_ext.training.config import TrainConfig, config_from_dict, load_config
from softdiff_ext.training.figures import image_sheet
from softdiff_ext.training.loop import train
from softdiff_ext.training.network import build_network
from softdiff_ext.training.options import PROCESSES, BlurringOptions, ColdOptions, NetworkOptions, SoftOptions, VdmOptions
from softdiff_ext.training.randomness import stream_seed
from softdiff_ext.training.runs import load_run
from softdiff_ext.training.sampling import sample_run

NETWORK = NetworkOptions(channels=(8, 8), blocks=1, attention=(), dropout=0.1)  # dropout: its draws must resume, too
TINY = TrainConfig(
    process="soft",
    soft=SoftOptions(sigma_blur=(0.01, 3.0)),
    network=NETWORK,
    steps=40,
    batch_size=8,
    warmup=10,
    log_every=3,
    sample_every=25,
    sample_count=4,
    sample_steps=2,
    checkpoint_every=5,
)


def flags(config: TrainConfig) -> list[str]:
    """The options of `config` as a person would type them."""

    def walk(values: dict[str, Any], prefix: str) -> list[str]:
        words: list[str] = []
        for name, value in values.items():
            if isinstance(value, dict):
                words += walk(value, f"{prefix}{name}.")
            elif isinstance(value, bool):
                words += [f"--{prefix}{name}"] * value
            elif value is not None:
                words += [f"--{prefix}{name}", *map(str, value if isinstance(value, list) else [value])]
        return words

    return walk(config.to_dict(), "")


def start(run: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "softdiff_ext", "train", str(run), *arguments],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        cwd=run.parent,  # away from the sources, which have no extension module: the installed package is meant
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def checksums(run: Path) -> Any:
    last = checkpoint_paths(run / "checkpoints")[-1]
    return json.loads((last / "manifest.json").read_text())["files"]


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Bits depend on the number of threads (sums are split differently), so all runs that are compared use one."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "unbroken"
    assert train(TINY, run) == TINY.steps
    return run


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_broken_run_resumes_bit_for_bit(unbroken: Path, tmp_path: Path, how: signal.Signals) -> None:
    run = tmp_path / "run"
    with start(run, *flags(TINY)) as process:
        while not checkpoint_paths(run / "checkpoints"):
            assert process.poll() is None, process.communicate()
            time.sleep(0.005)
        process.send_signal(how)
        if how in (signal.SIGTERM, signal.SIGHUP):  # as from two sides: the kernel and the shell, a scheduler and a launcher
            process.send_signal(how)
        _, errors = process.communicate()
    done = load_checkpoint(checkpoint_paths(run / "checkpoints")[-1], ()).step
    assert 0 < done < TINY.steps
    if how == signal.SIGKILL:
        assert process.returncode == -how
    else:
        assert process.returncode == 128 + how
        assert errors.splitlines()[-1] == f"softdiff: stopped after step {done}; continue with: softdiff train {run} --resume"
    assert train(load_config(run / "config.yaml"), run, resume=True) == TINY.steps
    # equal checksums are equal bytes: weights, average, optimizer state and what the process took from the data
    assert checksums(run) == checksums(unbroken)


def test_a_run_killed_before_its_first_checkpoint_starts_again(unbroken: Path, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(TINY.to_yaml())
    assert train(TINY, tmp_path, resume=True) == TINY.steps
    assert checksums(tmp_path) == checksums(unbroken)


def test_what_a_run_leaves(unbroken: Path) -> None:
    assert load_config(unbroken / "config.yaml") == TINY
    assert [path.name for path in checkpoint_paths(unbroken / "checkpoints")] == ["step-00000035", "step-00000040"]
    assert sorted(os.listdir(unbroken / "samples")) == ["step-00000025.png", "step-00000040.png"]
    with Image.open(unbroken / "samples" / "step-00000040.png") as sheet:
        assert sheet.size == (2 * (32 + 2) + 2, 2 * (32 + 2) + 2)
    events = EventAccumulator(str(unbroken / "tensorboard")).Reload()
    logged = [event.step for event in events.Scalars("train/loss")]
    assert logged == [*range(3, 40, 3), 40]
    assert [event.step for event in events.Scalars("held_out/loss")] == [25, 40]
    assert [event.step for event in events.Images("samples")] == [25, 40]
    assert {"train/gradient_norm", "train/weighted_mse"} <= set(events.Tags()["scalars"])


def test_another_seed_is_another_run(unbroken: Path, tmp_path: Path) -> None:
    train(replace(TINY, seed=1, steps=5), tmp_path / "run")
    assert checksums(tmp_path / "run")["model.safetensors"] != checksums(unbroken)["model.safetensors"]


def test_longer_training_goes_on_from_a_finished_run(unbroken: Path, tmp_path: Path) -> None:
    short = replace(TINY, steps=20)
    train(short, tmp_path / "run")
    assert train(TINY, tmp_path / "run", resume=True) == TINY.steps
    assert checksums(tmp_path / "run") == checksums(unbroken)
    with pytest.raises(ValueError, match="has done 40 steps already, more than the 20 asked for"):
        train(short, tmp_path / "run", resume=True)
    assert load_config(tmp_path / "run" / "config.yaml") == TINY


def test_training_lowers_the_held_out_loss(tmp_path: Path) -> None:
    config = replace(
        TINY, process="blurring", soft=SoftOptions(), steps=150, warmup=0, learning_rate=3e-3, batch_size=32, sample_every=75
    )
    train(replace(config, blurring=BlurringOptions(sigma_blur_max=3.0), checkpoint_every=1000, ema_decay=0.9), tmp_path / "run")
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard")).Reload()
    losses = [event.value for event in events.Scalars("held_out/loss")]
    assert losses[1] < losses[0] < 0.8  # predicting no noise at all costs 1


def test_processes_that_do_not_know_each_other_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")  # what torchrun sets; accelerate ignores it on a machine without GPU
    with pytest.raises(RuntimeError, match=r"2 processes were started, but accelerate sees 1, .* ACCELERATE_USE_CPU=true"):
        train(TINY, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_refusals_write_nothing(unbroken: Path, tmp_path: Path) -> None:
    before = sorted(path for path in unbroken.rglob("*"))
    with pytest.raises(FileExistsError, match="exists and is not empty: continue it with --resume"):
        train(TINY, unbroken)
    with pytest.raises(ValueError, match=r"resume: --network\.blocks is 2 but was 1; --batch-size is 9 but was 8 in"):
        train(replace(TINY, batch_size=9, network=replace(NETWORK, blocks=2)), unbroken, resume=True)
    assert sorted(path for path in unbroken.rglob("*")) == before
    bad = {
        "other process": (replace(TINY, process="blurring"), "options of soft were given, but process is blurring"),
        "levels": (
            replace(TINY, network=NetworkOptions(channels=(8,) * 5, attention=())),
            "multiples of 16, got images of 8x8",
        ),
        "data": (replace(TINY, data="folder:/nowhere/at/all"), "/nowhere/at/all does not exist"),
        "range": (replace(TINY, soft=SoftOptions(sigma=(0.2, 0.1))), "sigma must be finite with 0 < first <= last"),
    }
    for name, (config, message) in bad.items():
        with pytest.raises((ValueError, FileNotFoundError), match=message):
            train(config, tmp_path / name)
    with pytest.raises(FileNotFoundError, match=r"config\.yaml does not exist: .* is not the folder of a run"):
        train(TINY, tmp_path / "new", resume=True)
    assert not any(tmp_path.iterdir())


def test_changed_data_or_options_in_a_checkpoint_are_refused(tmp_path: Path) -> None:
    for i in range(6):
        path = tmp_path / "images" / f"{i}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(np.full((8, 8), 40 * i, np.uint8)).save(path)
    config = replace(TINY, data=f"folder:{tmp_path}/images", steps=2, checkpoint_every=1, batch_size=4)
    train(config, tmp_path / "run")
    count = load_checkpoint(checkpoint_paths(tmp_path / "run" / "checkpoints")[-1], ()).images[0]
    for i in range(2, 5):  # of which some are trained on
        (tmp_path / "images" / f"{i}.png").unlink()
    with pytest.raises(ValueError, match=rf"trained on images \[{count}, 1, 8, 8\], the data are now \[\d, 1, 8, 8\]"):
        train(replace(config, steps=4), tmp_path / "run", resume=True)
    edited = replace(config, seed=5)
    (tmp_path / "run" / "config.yaml").write_text(edited.to_yaml())
    with pytest.raises(ValueError, match=r"--seed is 5 but was 0 in .*step-00000002"):
        train(edited, tmp_path / "run", resume=True)


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def loss(self: nn.Module, model: nn.Module, x: Tensor, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        return model(x, torch.zeros(len(x))).sum() * float("nan"), {}

    monkeypatch.setattr(PROCESSES["soft"], "loss", loss)
    with pytest.raises(FloatingPointError, match="loss is nan after step 3: lower --learning-rate"):
        train(TINY, tmp_path / "run")
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_options_survive_yaml_and_mirror_the_processes(tmp_path: Path) -> None:
    config = replace(TINY, learning_rate=1e-5, data="folder:a b", mode="rgb")
    (tmp_path / "config.yaml").write_text(config.to_yaml())
    assert load_config(tmp_path / "config.yaml") == config
    assert config_from_dict(json.loads(json.dumps(config.to_dict()))) == config
    # a schedule has a name here; the noise is the published one in the unit of the images, which the class leaves to its caller
    other = {"vdm": {"schedule": "cosine"}, "ihdm": {"sigma": 0.02, "delta": 0.025}}
    for name, kind in PROCESSES.items():
        wanted = {key: value.default for key, value in signature(kind).parameters.items() if key != "corruption"}
        options = getattr(TrainConfig(), name)
        assert {field.name: getattr(options, field.name) for field in fields(options)} == wanted | other.get(name, {})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("steps: [", "config.yaml: while parsing"),
        ("- steps", "wanted a mapping of the options of TrainConfig, got list"),
        ("stepz: 3", "unknown option stepz in TrainConfig"),
        ("steps: ten", "config: steps must be an integer >= 1, got 'ten'"),
        ("steps: 0", "config: steps must be an integer >= 1, got 0"),
        ("learning_rate: .nan", "config: learning_rate must be a finite number > 0, got nan"),
        ("ema_decay: 1.0", r"config: ema_decay must be in \[0, 1\), got 1.0"),
        ("process: hot", "config: process must be one of vdm, ihdm, blurring, soft, cold, got 'hot'"),
        ("mixed_precision: fp8", "config: mixed_precision must be no, bf16 or fp16"),
        ("network: {channels: [3]}", "config: channels must be one or more integers >= 8"),
        ("network: {channels: []}", "config: channels must be one or more integers >= 8"),
        ("network: {attention: [7]}", r"attention must be levels 0\.\.2 of the 3 in channels .*, got \(7,\)"),
        ("network: 3", "wanted a mapping of the options of NetworkOptions, got int"),
    ],
)
def test_bad_options_are_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(ValueError, match=message):
        load_config(tmp_path / "config.yaml")


@pytest.mark.parametrize("name", PROCESSES)
def test_every_process_trains_by_name_and_draws_any_part_of_a_run(tmp_path: Path, name: str) -> None:
    train(replace(TINY, process=name, soft=SoftOptions(), steps=6), tmp_path / "run")
    process, network = load_run(tmp_path / "run")
    assert type(process) is PROCESSES[name]

    def draw(first: int, count: int) -> Tensor:
        return process.sample(network, (count, 1, 8, 8), 5, generator=torch.Generator().manual_seed(0), first=first)

    # a network's convolutions may round otherwise in another batch, which Blurring Diffusion multiplies by 1 / alpha, up to 1e5
    whole = draw(0, 5)
    assert float((torch.cat([draw(0, 2), draw(2, 3)]) - whole).norm() / whole.norm()) < 2e-2
    sheet, array = sample_run(tmp_path / "run", 3, 4, quadratic=True)
    assert sheet.stat().st_size > 100
    assert np.isfinite(np.load(array)).all()


def test_the_command_line_samples_by_the_levels_that_were_trained(tmp_path: Path) -> None:
    options = ColdOptions(levels=3, sigma_blur=(0.3, 3.0))
    train(replace(TINY, process="cold", soft=SoftOptions(), cold=options, steps=2), tmp_path / "run")
    by_levels, more = (np.load(sample_run(tmp_path / "run", 2, n, out=tmp_path / f"{n}")[1]) for n in (3, 50))
    assert np.array_equal(by_levels, more)
    process, network = load_run(tmp_path / "run")
    network.register_forward_pre_hook(lambda _, inputs: times.append(float(inputs[1][0])))
    times: list[float] = []
    process.sample(network, (1, 1, 8, 8), process.level_times(50))
    assert times == pytest.approx([1000.0, 1000 * 2 / 3, 1000 / 3], rel=1e-6)


def test_a_learned_schedule_learns_and_resumes(tmp_path: Path) -> None:
    options = VdmOptions(schedule="learned-monotone", weighting="elbo", values=17)
    config = replace(TINY, process="vdm", soft=SoftOptions(), vdm=options, steps=10)
    train(config, tmp_path / "whole")
    states = [load_checkpoint(path).tensors for path in checkpoint_paths(tmp_path / "whole" / "checkpoints")]
    moved = {name for name, value in states[0]["process"].items() if not torch.equal(value, states[1]["process"][name])}
    assert moved == {
        "schedule.start",
        "schedule.width",
        "schedule.straight",
        "schedule.inner",
        "schedule.bias",
        "schedule.outer",
    }
    train(replace(config, steps=5), tmp_path / "parts")
    train(config, tmp_path / "parts", resume=True)
    resumed = load_checkpoint(checkpoint_paths(tmp_path / "parts" / "checkpoints")[-1]).tensors
    for part, tensors in states[1].items():
        assert all(torch.equal(value, resumed[part][name]) for name, value in tensors.items()), part


def test_streams_of_random_numbers_have_different_seeds() -> None:
    keys = [
        (seed, name, step, rank) for seed in range(3) for name in ("loss", "dropout") for step in range(50) for rank in range(2)
    ]
    seeds = {stream_seed(*key) for key in keys}
    assert len(seeds) == len(keys)
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert stream_seed(0, "loss", 1, 0) == 1131302714464555888  # fixed for ever: a saved run depends on it


def test_the_network_has_the_shape_of_its_options() -> None:
    network = build_network(NetworkOptions(channels=(8, 12), blocks=1, attention=(1,)), (3, 6, 10))
    out = network(torch.zeros(2, 3, 6, 10), torch.tensor([0.0, 999.5])).sample
    assert out.shape == (2, 3, 6, 10)
    assert sum("attentions" in name and name.endswith("to_q.weight") for name, _ in network.named_parameters()) == 4


@pytest.mark.parametrize(("channels", "groups"), [((32, 64), 8), ((128, 256), 32), ((64, 128, 128), 16), ((8, 9), 1)])
def test_a_group_of_the_normalisation_has_four_channels_or_more(channels: tuple[int, ...], groups: int) -> None:
    network = build_network(NetworkOptions(channels=channels, blocks=1, attention=()), (1, 8, 8))
    assert {module.num_groups for module in network.modules() if isinstance(module, torch.nn.GroupNorm)} == {groups}


def test_image_sheet_lays_out_rows() -> None:
    images = torch.linspace(-1.5, 1.5, 3).view(3, 1, 1, 1).expand(3, 1, 40, 32)
    sheet = image_sheet(images, columns=2)
    assert sheet.shape == (3, 2 * 42 + 2, 2 * 34 + 2)
    assert sheet.dtype == torch.uint8
    assert [int(sheet[0, 2, 2]), int(sheet[0, 2, 36]), int(sheet[0, 44, 2]), int(sheet[0, 44, 36])] == [0, 128, 255, 128]
    assert sheet[:, :2].eq(128).all()
    assert image_sheet(torch.zeros(4, 3, 8, 8)).shape == (3, 70, 70)  # small images are enlarged to 32 pixels
    with pytest.raises(ValueError, match=r"images must have shape \[N >= 1, 1, 3 or 4, H, W\], got \[0, 1, 2, 2\]"):
        image_sheet(torch.zeros(0, 1, 2, 2))


def test_the_learning_rate_rises_and_falls() -> None:
    config = replace(TINY, steps=40, warmup=10, learning_rate=1e-2)
    rates = [config.learning_rate_at(step) for step in range(40)]
    assert rates[:10] == pytest.approx([1e-3 * (i + 1) for i in range(10)])
    assert rates[10:] == pytest.approx([1e-2] * 30)
    falling = [replace(config, decay="linear").learning_rate_at(step) for step in range(40)]
    assert falling[:10] == pytest.approx(rates[:10])
    assert falling[10:] == pytest.approx([1e-2 * (40 - step) / 30 for step in range(10, 40)])


def test_a_falling_learning_rate_fixes_the_number_of_steps(tmp_path: Path) -> None:
    falling = replace(TINY, decay="linear")
    replace(TINY, steps=80).check_continues(TINY, tmp_path)
    with pytest.raises(ValueError, match="--steps is 80 but was 40"):
        replace(falling, steps=80).check_continues(falling, tmp_path)

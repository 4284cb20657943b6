"""Many processes, parts, precisions and engines: they train as one, survive a death, and leave whole checkpoints."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import numpy as np
import pytest
import torch
from tensorboard.summary.writer.record_writer import RecordWriter
from torch import Tensor, nn

from softdiff_ext.cli import main
from softdiff_ext.training import checkpoints
from softdiff_ext.training.checkpoints import checkpoint_paths, load_checkpoint, optimizer_tensors, restore_optimizer
from softdiff_ext.training.config import TrainConfig
from softdiff_ext.training.engine import clip_gradients
from softdiff_ext.training.group import Group
from softdiff_ext.training.lock import sole_trainer
from softdiff_ext.training.log import read_log
from softdiff_ext.training.loop import train
from softdiff_ext.training.options import NetworkOptions, SoftOptions, VdmOptions
from softdiff_ext.training.sampling import sample_run

TINY = TrainConfig(
    process="soft",
    soft=SoftOptions(sigma_blur=(0.01, 3.0)),
    network=NetworkOptions(channels=(8, 8), blocks=1, attention=()),  # no dropout: that each process draws for itself
    steps=8,
    batch_size=16,
    learning_rate=2e-3,
    warmup=3,
    log_every=1,
    sample_every=100,
    sample_count=3,
    sample_steps=2,
    checkpoint_every=4,
)
LONG = replace(TINY, steps=40, checkpoint_every=5, network=replace(TINY.network, dropout=0.1))
LEARNED = replace(
    TINY, process="vdm", soft=SoftOptions(), vdm=VdmOptions(schedule="learned-linear", weighting="elbo", values=17)
)
HALF = replace(TINY, mixed_precision="fp16")
SHARDED = replace(TINY, parallel="fsdp", activation_checkpointing=True)
JOBS: tuple[tuple[str, TrainConfig, bool], ...] = (
    ("ddp", TINY, False),
    ("ddp in parts", replace(TINY, gradient_accumulation=2), False),
    ("fsdp", SHARDED, False),
    ("fsdp resumed", replace(SHARDED, gradient_accumulation=4, steps=4), False),
    ("fsdp resumed", replace(SHARDED, gradient_accumulation=4), True),
    ("learned ddp", LEARNED, False),
    ("learned fsdp", replace(LEARNED, parallel="fsdp"), False),
    ("half ddp", HALF, False),
    ("half fsdp", replace(HALF, parallel="fsdp"), False),
    ("long", LONG, False),
)
ROUNDING = 1e-5
"""Relative: sums of float32 are split in another way, 1e-7 of a gradient, and each step hands it on (measured: 1e-6)."""


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Bits depend on the number of threads, and torchrun gives each process one."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def launch(folder: Path, *command: str, restarts: int = 0) -> subprocess.Popen[str]:
    """torchrun with two processes on the CPU."""
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--max-restarts", str(restarts)]
    return subprocess.Popen(
        [sys.executable, *launcher, "--no-python", sys.executable, *command],
        env={**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true", "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"},
        cwd=folder,  # away from the sources, which have no extension module
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the runs of two processes."""
    folder = tmp_path_factory.mktemp("pair")
    (folder / "jobs.json").write_text(json.dumps([(name, config.to_dict(), resume) for name, config, resume in JOBS]))
    with launch(folder, str(Path(__file__).parent / "distributed_worker.py"), str(folder)) as process:
        _, errors = process.communicate()
    assert process.returncode == 0, errors
    return folder


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the runs of one process."""
    folder = tmp_path_factory.mktemp("alone")
    for name, config in (("plain", TINY), ("learned", LEARNED), ("half", HALF)):
        train(config, folder / name)
    return folder


def curve(run: Path, name: str = "loss") -> np.ndarray:
    return np.array(read_log(run)[name][1])


def last(run: Path) -> dict[str, dict[str, Tensor]]:
    return load_checkpoint(checkpoint_paths(run / "checkpoints")[-1]).tensors


def same_bits(first: Path, second: Path) -> bool:
    one, other = (
        json.loads((checkpoint_paths(run / "checkpoints")[-1] / "manifest.json").read_text()) for run in (first, second)
    )
    return bool(one["files"] == other["files"])


@pytest.mark.parametrize(
    ("several", "one"),
    [
        ("ddp", "plain"),
        ("ddp in parts", "plain"),
        ("fsdp", "plain"),
        ("fsdp resumed", "plain"),
        ("learned ddp", "learned"),
        ("learned fsdp", "learned"),
    ],
)
def test_two_processes_train_as_one(pair: Path, alone: Path, several: str, one: str) -> None:
    losses, wanted = curve(pair / several), curve(alone / one)
    assert len(losses) == TINY.steps
    assert wanted.std() > 0.01 * wanted.mean()  # so a curve of other images or noise would be seen
    np.testing.assert_allclose(losses, wanted, rtol=ROUNDING)
    np.testing.assert_allclose(curve(pair / several, "gradient_norm"), curve(alone / one, "gradient_norm"), rtol=1e-4)
    assert curve(pair / several, "held_out_loss")[-1] == pytest.approx(curve(alone / one, "held_out_loss")[-1], rel=ROUNDING)
    got, reference = last(pair / several), last(alone / one)
    for part in ("model", "ema", "process", "optimizer"):
        assert got[part].keys() == reference[part].keys()
        assert all(got[part][name].shape == tensor.shape for name, tensor in reference[part].items())
    weights = [torch.cat([tensors["ema"][name].flatten() for name in sorted(got["ema"])]) for tensors in (got, reference)]
    # a bias before a normalisation has no gradient but rounding, which Adam makes as large as any (measured: 1e-5)
    assert float((weights[0] - weights[1]).norm() / weights[1].norm()) < 1e-4


def test_parts_of_a_batch_add_up_to_it(alone: Path, tmp_path: Path) -> None:
    for parts in (2, 4):
        train(replace(TINY, gradient_accumulation=parts), tmp_path / f"{parts}")
        np.testing.assert_allclose(curve(tmp_path / f"{parts}"), curve(alone / "plain"), rtol=ROUNDING)


def test_a_run_of_two_goes_on_in_one_and_of_shards_without(pair: Path, tmp_path: Path) -> None:
    longer = replace(TINY, steps=12)
    train(longer, tmp_path / "whole")
    for several in ("ddp", "fsdp"):
        (tmp_path / several).mkdir()
        for file in pair.joinpath(several).rglob("*"):
            if file.is_file():
                copy = tmp_path / several / file.relative_to(pair / several)
                copy.parent.mkdir(parents=True, exist_ok=True)
                copy.write_bytes(file.read_bytes())
        train(longer, tmp_path / several, resume=True)
        np.testing.assert_allclose(curve(tmp_path / several), curve(tmp_path / "whole"), rtol=2 * ROUNDING)


def test_images_are_the_same_for_any_number_of_processes(pair: Path, tmp_path: Path) -> None:
    _, array = sample_run(pair / "ddp", 7, 3, out=tmp_path / "samples", batch=2)
    images, wanted = np.load(pair / "samples.npy"), np.load(array)
    assert images.shape == (7, 1, 8, 8)
    assert np.array_equal(images, wanted)
    assert (pair / "samples.png").read_bytes() == (tmp_path / "samples.png").read_bytes()
    assert all(abs(images[i] - images[j]).max() > 0.01 for i in range(7) for j in range(i))
    other = np.load(sample_run(pair / "ddp", 7, 3, out=tmp_path / "other", batch=7)[1])
    np.testing.assert_allclose(other, wanted, atol=1e-4)  # a convolution rounds otherwise in another batch


def worker_of(launcher: int, rank: int) -> int:
    """Id of the process that `launcher` started as `rank`."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            parent = int(process.joinpath("stat").read_text().rpartition(")")[2].split()[1])
            variables = process.joinpath("environ").read_bytes().split(b"\0")
        except OSError:  # it has ended meanwhile
            continue
        if parent == launcher and f"RANK={rank}".encode() in variables:
            return int(process.name)
    raise AssertionError(f"no process of rank {rank}")


def as_flags(config: TrainConfig, path: Path) -> list[str]:
    path.write_text(config.to_yaml())
    return ["--config", str(path)]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="finds the process to kill in /proc")
def test_a_rank_that_dies_is_restarted_and_the_run_ends_with_the_same_bits(pair: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    command = ("-m", "softdiff_ext", "train", str(run), *as_flags(LONG, tmp_path / "long.yaml"), "--auto-resume")
    with launch(tmp_path, *command, restarts=1) as process:
        while not checkpoint_paths(run / "checkpoints"):
            assert process.poll() is None, process.communicate()
            time.sleep(0.005)
        os.kill(worker_of(process.pid, 1), signal.SIGKILL)
        output, errors = process.communicate()
    assert process.returncode == 0, errors
    assert output.count(f"trained {LONG.steps} steps") == 1
    assert len(list((run / "tensorboard").glob("events*"))) == 2  # it was begun twice
    assert same_bits(run, pair / "long")
    assert np.array_equal(curve(run), curve(pair / "long"))


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGHUP])
def test_torchrun_told_to_stop_lets_the_run_save_itself(tmp_path: Path, how: signal.Signals) -> None:
    run = tmp_path / "run"
    endless = replace(TINY, steps=1_000_000, log_every=3)
    with launch(tmp_path, "-m", "softdiff_ext", "train", str(run), *as_flags(endless, tmp_path / "endless.yaml")) as process:
        while not checkpoint_paths(run / "checkpoints"):
            assert process.poll() is None, process.communicate()
            time.sleep(0.005)
        process.send_signal(how)
        _, errors = process.communicate()
    done = load_checkpoint(checkpoint_paths(run / "checkpoints")[-1], ()).step
    assert done % endless.log_every == 0  # where they agree
    assert errors.count(f"softdiff: stopped after step {done}; continue with: softdiff train {run} --resume\n") == 1


def test_a_command_that_is_repeated_begins_goes_on_and_has_ended(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = as_flags(replace(TINY, steps=4), tmp_path / "tiny.yaml")
    run = str(tmp_path / "run")
    assert main(["train", run, *flags, "--auto-resume"]) == 0
    assert main(["train", run, *flags, "--auto-resume", "--steps", "8"]) == 0
    assert main(["train", run, *flags, "--auto-resume", "--steps", "8"]) == 0
    assert main(["train", run, *flags]) == 2
    assert "exists and is not empty" in capsys.readouterr().err
    assert main(["train", run, *flags, "--auto-resume", "--seed", "5"]) == 2
    assert "resume: --seed is 5 but was 0" in capsys.readouterr().err
    train(TINY, tmp_path / "whole")
    assert same_bits(tmp_path / "run", tmp_path / "whole")


def test_two_trainers_in_one_folder_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = tmp_path / "run"
    train(replace(TINY, steps=4), run)
    with sole_trainer(run), pytest.raises(RuntimeError, match="run is in use: another process is training in it"):
        train(TINY, run, resume=True)
    with monkeypatch.context() as patch:  # it had looked for checkpoints before the other one saved the first
        patch.setattr("softdiff_ext.training.loop.last_of", lambda *arguments: None)
        with pytest.raises(RuntimeError, match="run was changed by another process meanwhile: give the command again"):
            train(TINY, run, resume=True)
    assert [path.name for path in checkpoint_paths(run / "checkpoints")] == ["step-00000004"]
    assert train(TINY, run, resume=True) == TINY.steps


def test_batches_that_do_not_divide_and_engines_of_launchers_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(
        ValueError, match="batch_size must be a multiple of 1 processes times gradient_accumulation = 3, got 16"
    ):
        train(replace(TINY, gradient_accumulation=3), tmp_path / "run")
    with pytest.raises(ValueError, match="gradient_accumulation = 32, got 16"):
        train(replace(TINY, gradient_accumulation=32), tmp_path / "run")
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    with pytest.raises(ValueError, match=r"ACCELERATE_USE_FSDP is set, .* give --parallel fsdp"):
        train(TINY, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_launch_whose_restarts_may_fail_is_told_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHELASTIC_MAX_RESTARTS", "3")
    Group()
    monkeypatch.setenv("TORCHELASTIC_USE_AGENT_STORE", "True")
    with pytest.warns(UserWarning, match="set TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1"):
        Group()
    monkeypatch.setenv("TORCHELASTIC_MAX_RESTARTS", "0")
    Group()


def test_processes_that_see_different_disks_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    group = Group()
    group.agree(7, "run")
    monkeypatch.setattr(group, "gather", lambda found: torch.cat([found, torch.zeros_like(found)]))
    with pytest.raises(RuntimeError, match=r"found different checkpoints of run, of steps 7, 0: .* all machines share"):
        group.agree(7, "run")


def test_how_a_run_is_computed_may_change_and_recomputing_changes_no_bit(alone: Path, tmp_path: Path) -> None:
    train(replace(TINY, steps=4), tmp_path / "run")
    train(replace(TINY, activation_checkpointing=True, parallel="fsdp"), tmp_path / "run", resume=True)
    assert same_bits(tmp_path / "run", alone / "plain")


def test_recomputed_activations_drop_out_the_same_values(tmp_path: Path) -> None:
    few = replace(LONG, steps=5)
    for name, recompute in (("kept", False), ("recomputed", True)):
        train(replace(few, activation_checkpointing=recompute), tmp_path / name)
    assert same_bits(tmp_path / "kept", tmp_path / "recomputed")


@pytest.mark.filterwarnings("ignore")  # of the compiler, about code of diffusers and torch
def test_a_compiled_network_learns_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = []

    def compile_forward(forward: Callable[..., Any], **options: Any) -> Any:
        compiled.append(forward)
        return original(forward, backend="aot_eager", **options)  # all of it but the code generator, which takes a minute

    original = torch.compile
    monkeypatch.setattr(torch, "compile", compile_forward)
    small = replace(TINY, steps=3, network=replace(TINY.network, channels=(8,)))
    train(small, tmp_path / "plain")
    train(replace(small, compile=True), tmp_path / "compiled")
    assert len(compiled) == 3  # down, the middle, up
    np.testing.assert_allclose(curve(tmp_path / "compiled"), curve(tmp_path / "plain"), rtol=ROUNDING)
    assert last(tmp_path / "compiled")["model"].keys() == last(tmp_path / "plain")["model"].keys()


def test_16_bits_learn_nearly_the_same(alone: Path, tmp_path: Path) -> None:
    train(replace(TINY, mixed_precision="bf16"), tmp_path / "bfloat")
    wanted = curve(alone / "plain")
    assert 0.0 < np.abs(curve(tmp_path / "bfloat") / wanted - 1.0).max() < 10 * 2.0**-8  # a dozen layers, each rounded once
    half = curve(alone / "half")
    assert 0.0 < abs(half[0] / wanted[0] - 1.0) < 10 * 2.0**-11
    assert half[-1] < min(2.0 * wanted[-1], 0.5 * half[0])  # it learns; the first steps may be left out until the scale fits
    for run in (tmp_path / "bfloat", alone / "half"):
        assert all(tensor.dtype == torch.float32 for tensor in last(run)["model"].values())


def test_half_precision_scales_the_loss_on_all_processes_alike(pair: Path) -> None:
    """Not as one process would: an image's gradient, by the mean over a smaller part, is larger before it is averaged."""
    plain, sharded = (last(pair / name)["optimizer"] for name in ("half ddp", "half fsdp"))
    assert (
        1.0 < float(plain["scaler.scale"]) < 2.0**16
    )  # a few steps were left out, by both processes, or their weights differed
    for name in ("scaler.scale", "scaler._growth_tracker"):
        assert float(plain[name]) == float(sharded[name])
    np.testing.assert_allclose(curve(pair / "half fsdp"), curve(pair / "half ddp"), rtol=10 * 2.0**-11)


def test_the_loss_scale_is_saved(alone: Path, tmp_path: Path) -> None:
    train(replace(HALF, steps=4), tmp_path / "run")
    train(HALF, tmp_path / "run", resume=True)
    assert same_bits(tmp_path / "run", alone / "half")
    weight = nn.Parameter(torch.zeros(3))
    optimizer = torch.optim.Adam([weight])
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    scaler.scale(weight.sum()).backward()
    scaler.step(optimizer)
    scaler.update()
    saved = checkpoints.Checkpoint(1, {}, (1, 1, 1, 1), {"optimizer": optimizer_tensors(optimizer, scaler)})
    other = torch.amp.GradScaler("cpu", init_scale=4.0)
    restore_optimizer(optimizer, saved, other)
    assert other.state_dict() == scaler.state_dict()
    bare = replace(saved, tensors={"optimizer": optimizer_tensors(optimizer)})
    with pytest.raises(ValueError, match="it was trained without a loss scale"):
        restore_optimizer(optimizer, bare, other)


def test_gradients_are_clipped_by_their_joint_norm() -> None:
    wide, narrow = nn.Parameter(torch.zeros(2, dtype=torch.float64)), nn.Parameter(torch.zeros(1))
    wide.grad, narrow.grad = torch.tensor([3.0, 4.0], dtype=torch.float64), torch.tensor([12.0])
    assert float(clip_gradients([wide, narrow, nn.Parameter(torch.zeros(1))], 6.5)) == pytest.approx(13.0)
    assert wide.grad.tolist() == pytest.approx([1.5, 2.0])
    assert narrow.grad.tolist() == pytest.approx([6.0])


def test_a_step_turns_no_tensor_into_a_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a GPU each such look would wait until all work is done; only what is logged is looked at."""
    looks = 0

    def counting(name: str) -> None:
        original = getattr(Tensor, name)

        def look(self: Tensor, *arguments: Any) -> Any:
            nonlocal looks
            looks += 1
            return original(self, *arguments)

        monkeypatch.setattr(Tensor, name, look)

    for name in ("item", "tolist", "__float__"):
        counting(name)
    counts = []
    for steps in (4, 12):
        looks = 0
        train(replace(TINY, steps=steps, log_every=100, checkpoint_every=100), tmp_path / f"{steps}")
        counts.append(looks)
    assert counts[0] == counts[1] > 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs the device that is always full")
def test_a_full_disk_is_named_by_whatever_is_written_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run, flags = tmp_path / "run", as_flags(TINY, tmp_path / "tiny.yaml")

    def full_file(_: Path, mode: str, **options: Any) -> IO[Any]:
        return open("/dev/full", mode, **options)

    with monkeypatch.context() as patch:
        patch.setattr("softdiff_ext.training.log.open", full_file, raising=False)
        assert main(["train", str(run), *flags]) == 2
    assert capsys.readouterr().err.splitlines()[-1] == f"softdiff: {run}/log.jsonl: No space left on device"

    room, write_event = [4], RecordWriter.write

    def full_events(writer: RecordWriter, event: bytes) -> None:
        room[0] -= 1
        if room[0] < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write_event(writer, event)

    with monkeypatch.context() as patch:  # pytest turns what is left to the thread's own traceback into a failure
        patch.setattr(RecordWriter, "write", full_events)
        assert main(["train", str(tmp_path / "events"), *as_flags(LONG, tmp_path / "long.yaml")]) == 2
    error = capsys.readouterr().err
    assert error.splitlines()[-1] == f"softdiff: {tmp_path}/events/tensorboard: No space left on device"
    assert "Traceback" not in error

    train(TINY, tmp_path / "whole")
    with monkeypatch.context() as patch:
        patch.setattr("softdiff_ext.training.files.open", full_file, raising=False)
        assert main(["sample", str(tmp_path / "whole"), "--count", "2", "--steps", "2", "--out", str(tmp_path / "s")]) == 2
    assert capsys.readouterr().err.splitlines()[-1] == f"softdiff: {tmp_path}/s.npy: No space left on device"
    assert not list(tmp_path.glob("*s.*"))


def test_a_full_disk_leaves_the_last_checkpoint_and_one_clear_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run, flags = tmp_path / "run", as_flags(TINY, tmp_path / "tiny.yaml")
    write = checkpoints.write_and_sync

    def full(path: Path, content: bytes) -> None:
        if "step-00000008" in str(path) and path.name.startswith("ema"):
            write(path, content[:100])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        write(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "write_and_sync", full)
        assert main(["train", str(run), *flags]) == 2
    message = capsys.readouterr().err.splitlines()[-1]
    assert message == (
        f"softdiff: checkpoint: {run}/checkpoints/step-00000008 cannot be written: No space left on device; "
        "the last whole checkpoint is step-00000004"
    )
    assert os.listdir(run / "checkpoints") == ["step-00000004"]  # nothing of the other is left in the way
    assert main(["train", str(run), "--resume"]) == 0
    train(TINY, tmp_path / "whole")
    assert same_bits(run, tmp_path / "whole")

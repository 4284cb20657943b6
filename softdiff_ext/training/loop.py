"""The training loop. It is plain PyTorch: copy it into your own project and change what you like."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from softdiff_ext.processes import Process
from softdiff_ext.processes.draws import BatchDraws
from softdiff_ext.training.checkpoints import (
    Checkpoint,
    Tensors,
    checkpoint_paths,
    load_checkpoint,
    optimizer_tensors,
    restore_module,
    restore_optimizer,
    save_checkpoint,
)
from softdiff_ext.training.config import TrainConfig, config_from_dict, load_config
from softdiff_ext.training.data import load_images, make_batches, skip_report
from softdiff_ext.training.ema import EMA
from softdiff_ext.training.engine import Engine, Means, clip_gradients, whole
from softdiff_ext.training.files import write_file
from softdiff_ext.training.interrupt import StopRequest
from softdiff_ext.training.lock import sole_trainer
from softdiff_ext.training.network import build_network
from softdiff_ext.training.preview import CPU, HELD_OUT_IMAGES, draw_samples, held_out_loss
from softdiff_ext.training.progress import TrainingProgress
from softdiff_ext.training.randomness import generator, stream_seed
from softdiff_ext.training.record import Record

FIT_IMAGES = 10_000  # a power spectrum or a start distribution needs no more, and what a process keeps is in each checkpoint


def train(config: TrainConfig, run: Path, resume: bool = False, stop: StopRequest | None = None) -> int:
    """Train a network and keep everything about it in the folder `run`.

    Every random number is a pure function of the seed, the step and the place of the image in its batch, so a run that was
    killed and resumed ends on the CPU, with as many processes and threads, with the same bits as an unbroken one; with
    another number of processes or parts it goes on with the same numbers to rounding, but for dropout, which each process and
    part draws for itself. Ctrl-C, SIGTERM or SIGHUP (the terminal was closed) saves a checkpoint and returns early.

    Args:
        config: all options.
        run: its folder, empty or not there; takes config.yaml, log.jsonl, checkpoints/, samples/ and tensorboard/.
        resume: continue from the last checkpoint in `run`; the saved options must be those of `config`, but for `steps` and
            those that say how the run is computed.
        stop: holds the signal that ended it, where one did.

    Returns:
        The number of steps done: config.steps, or fewer when it was asked to stop.

    Raises:
        ValueError: an option, the data or a checkpoint is unusable; raised before anything is written.
        FileExistsError: `run` is not empty and resume is False.
        FloatingPointError: the loss is not finite any more.
        OSError: a checkpoint cannot be written; the one before is whole.
        RuntimeError: several processes were started but do not know each other, or each other's disk, or another one trains
            in `run`.
    """
    engine = Engine(config)
    if engine.main:
        check_run_folder(config, run, resume)

    train_images, held_out = load_images(config.data, config.mode, config.images)
    train_images = train_images.to(engine.device)
    batches = make_batches(train_images, engine.part, config.seed, engine.rank, engine.world)
    unseen = held_out.some(HELD_OUT_IMAGES, "held-out")
    torch.manual_seed(config.seed)
    process = config.build_process().to(engine.device)
    network = build_network(config.network, train_images.shape)
    ema = EMA(network, config.ema_decay)

    checkpoint = last_of(config, run, (len(train_images), *train_images.shape)) if resume else None
    start = 0 if checkpoint is None else checkpoint.step
    engine.agree(start, run)  # all have read before the first one writes
    if checkpoint is None:
        process.fit(train_images.some(FIT_IMAGES, "fit"))
    else:
        for name, module in (("model", network), ("ema", ema.model), ("process", process)):
            restore_module(module, checkpoint, name)
    model = engine.trainable(network)
    engine.place(ema.model)
    weights, schedule = list(network.parameters()), list(process.parameters())  # only learned schedules have any
    groups = [{"params": parameters} for parameters in (weights, schedule) if parameters]
    optimizer = torch.optim.Adam(groups, lr=config.learning_rate, fused=True)
    if checkpoint is not None:
        restore_optimizer(optimizer, checkpoint, engine.scaler)
    state = State(config, (len(train_images), *train_images.shape), network, ema.model, optimizer, engine.scaler, process)
    del checkpoint  # each process has read all of it

    means, parts = Means(), config.gradient_accumulation
    with (
        begin(config, run, start) if engine.main else nullcontext(),
        TrainingProgress(start, config.steps, config.batch_size, engine.main) as progress,
        Record(run, start, config.batch_size, engine.main) as record,
        stop or StopRequest() as stopped,
    ):
        if skipped := skip_report(train_images, held_out):
            progress.say(skipped)
        done = start
        for step in range(start, config.steps):
            for group in optimizer.param_groups:
                group["lr"] = config.learning_rate_at(step)
            for part in range(parts):
                torch.manual_seed(stream_seed(config.seed, "dropout", step * parts + part, engine.rank))
                first = (part * engine.world + engine.rank) * engine.part  # place in the batch of all processes and parts
                draws = BatchDraws(generator(CPU, config.seed, "loss", step), first, config.batch_size)
                with engine.gradients(model, last=part == parts - 1):
                    loss, details = process.loss(partial(engine.call, model), batches(step * parts + part), draws)
                    engine.scaler.scale(loss / parts).backward()  # type: ignore[no-untyped-call]
                means.add({"loss": loss, **details})
            for parameter in schedule:  # what is around the network averages the gradients of the network only
                assert parameter.grad is not None
                parameter.grad = engine.mean(parameter.grad)
            engine.scaler.unscale_(optimizer)
            gradient_norm = clip_gradients([*weights, *schedule], config.clip)
            engine.scaler.step(optimizer)
            engine.scaler.update()
            optimizer.zero_grad()
            ema.update(step)

            done = step + 1
            last = done == config.steps
            progress.advance(done)
            if done % config.log_every == 0 or last:
                scalars = means.take(engine)  # waits for the device: not each step
                if not math.isfinite(scalars["loss"]):
                    raise FloatingPointError(f"loss is {scalars['loss']} after step {done}: lower --learning-rate or --clip")
                progress.loss(done, scalars["loss"])
                record.scalars(done, {**scalars, "gradient_norm": float(gradient_norm)})
            if done % config.sample_every == 0 or last:
                with record.pause():
                    images = draw_samples(engine, process, ema.model, train_images.shape)
                    record.samples(done, images, held_out_loss(engine, process, ema.model, unseen))
            asked = signal_of_any(engine, stopped.signal, done, config.log_every)
            if done % config.checkpoint_every == 0 or last or asked:
                with record.pause():
                    saved = state.checkpoint(done, keep=engine.main)
                    if engine.main:
                        save_checkpoint(run / "checkpoints", saved, config.keep)
                    engine.wait()
            if asked:
                stopped.signal = asked
                break
    return done


@dataclass(frozen=True)
class State:
    """Everything that changes while training; with the step number it determines the rest of the run."""

    config: TrainConfig
    images: tuple[int, int, int, int]
    model: nn.Module
    ema: nn.Module
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    process: Process

    def checkpoint(self, step: int, keep: bool = True) -> Checkpoint:
        """What to save. Shards are put together, so all processes must call this; only where `keep` the tensors are kept."""
        parts = {
            "model": self.model.state_dict(),
            "ema": self.ema.state_dict(),
            "optimizer": optimizer_tensors(self.optimizer, self.scaler),
            "process": self.process.state_dict(),
        }
        tensors = {name: collected(part.items(), keep) for name, part in parts.items()}
        return Checkpoint(step, self.config.to_dict(), self.images, tensors)


def collected(tensors: Iterable[tuple[str, Tensor]], keep: bool) -> Tensors:
    """The tensors whole and on the CPU, one at a time: a device need not hold them all."""
    kept = {}
    for name, tensor in tensors:
        full = whole(tensor)
        if keep:
            kept[name] = full.detach().cpu()
    return kept


def last_of(config: TrainConfig, run: Path, images: tuple[int, int, int, int]) -> Checkpoint | None:
    """The last checkpoint of a run that `config` and the images continue, verified; None where there is none yet."""
    paths = checkpoint_paths(run / "checkpoints")
    if not paths:
        return None
    checkpoint = load_checkpoint(paths[-1])
    if checkpoint.step > config.steps:
        raise ValueError(f"resume: {run} has done {checkpoint.step} steps already, more than the {config.steps} asked for")
    config.check_continues(config_from_dict(checkpoint.config), paths[-1])
    if checkpoint.images != images:
        raise ValueError(
            f"resume: {paths[-1]} was trained on images {list(checkpoint.images)}, the data are now {list(images)}"
        )
    return checkpoint


def check_run_folder(config: TrainConfig, run: Path, resume: bool) -> None:
    """Refuse to write over a run, or to continue one as another."""
    if resume:
        config.check_continues(load_config(run / "config.yaml"), run)
    elif run.exists() and (not run.is_dir() or any(run.iterdir())):
        raise FileExistsError(f"run folder {run} exists and is not empty: continue it with --resume, or choose another")


@contextmanager
def begin(config: TrainConfig, run: Path, start: int) -> Iterator[None]:
    """Around training: nobody else trains in the folder, and it has the options."""
    with sole_trainer(run):
        found = [int(path.name.rpartition("-")[2]) for path in checkpoint_paths(run / "checkpoints")]
        if max(found, default=0) != start:
            raise RuntimeError(f"run folder {run} was changed by another process meanwhile: give the command again")
        write_file(run / "config.yaml", config.to_yaml().encode())
        yield


def signal_of_any(engine: Engine, own: int, done: int, every: int) -> int:
    """The signal that asks to stop after this step, 0 for none. All processes must agree, and asking costs a wait."""
    if engine.world == 1:
        return own
    if done % every:
        return 0
    return int(engine.gather(torch.tensor([own], device=engine.device)).max())

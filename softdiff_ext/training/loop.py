"""The training loop. It is plain PyTorch: copy it into your own project and change what you like."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from softdiff_ext.processes import Process
from softdiff_ext.training.checkpoints import (
    Checkpoint,
    checkpoint_paths,
    load_checkpoint,
    optimizer_tensors,
    restore_module,
    restore_optimizer,
    save_checkpoint,
)
from softdiff_ext.training.config import TrainConfig, config_from_dict, load_config
from softdiff_ext.training.data import Batches, Images, load_images
from softdiff_ext.training.ema import EMA
from softdiff_ext.training.files import write_file
from softdiff_ext.training.interrupt import stop_request
from softdiff_ext.training.network import build_network
from softdiff_ext.training.progress import TrainingProgress
from softdiff_ext.training.randomness import generator, permutation, stream_seed
from softdiff_ext.training.record import Record

FIT_IMAGES = 10_000  # a power spectrum or a start distribution needs no more, and what a process keeps is in each checkpoint


def train(config: TrainConfig, run: Path, resume: bool = False) -> int:
    """Train a network and keep everything about it in the folder `run`.

    Every random number is a pure function of (seed, step, process), so a run that was killed and resumed ends on the CPU,
    with as many processes and threads, with the same bits as an unbroken one. Ctrl-C or SIGTERM saves a checkpoint and
    returns early.

    Args:
        config: all options.
        run: its folder, empty or not there; config.yaml, log.jsonl, checkpoints/, samples/ and tensorboard/ are written into it.
        resume: continue from the last checkpoint in `run`; the saved options must be those of `config`, but for `steps`.

    Returns:
        The number of steps done: config.steps, or fewer when it was asked to stop.

    Raises:
        ValueError: an option, the data or a checkpoint is unusable; raised before anything is written.
        FileExistsError: `run` is not empty and resume is False.
        FloatingPointError: the loss is not finite any more.
        RuntimeError: several processes were started but do not know each other.
    """
    accelerator = Accelerator(mixed_precision=config.mixed_precision)
    refuse_separate_processes(accelerator)
    device, rank, world = accelerator.device, accelerator.process_index, accelerator.num_processes
    if accelerator.is_main_process:
        check_run_folder(config, run, resume)

    train_images, held_out = load_images(config.data, config.mode)
    train_images = train_images.to(device)
    batches = Batches(train_images, config.batch_size, config.seed, rank, world)
    torch.manual_seed(config.seed)
    process = config.build_process().to(device)
    network = build_network(config.network, train_images.shape)
    ema = EMA(network, config.ema_decay)
    ema.model.to(device)
    model = accelerator.prepare(network)
    schedule = list(process.parameters())  # of a learned schedule: other families have none
    parameters = [*model.parameters(), *schedule]
    optimizer = torch.optim.Adam(parameters, lr=config.learning_rate, fused=True)
    state = State(config, (len(train_images), *train_images.shape), network, ema.model, optimizer, process)
    start = state.restore_or_begin(run, resume, train_images)
    accelerator.wait_for_everyone()  # all have read before the first one writes
    if accelerator.is_main_process:
        write_file(run / "config.yaml", config.to_yaml().encode())

    losses: list[Tensor] = []
    with (
        TrainingProgress(start, config.steps, config.batch_size * world, accelerator.is_main_process) as progress,
        Record(run, start, config.batch_size * world, accelerator.is_main_process) as record,
        stop_request() as stop,
    ):
        done = start
        for step in range(start, config.steps):
            for group in optimizer.param_groups:
                group["lr"] = config.learning_rate_at(step)
            torch.manual_seed(stream_seed(config.seed, "dropout", step, rank))
            draws = generator(device, config.seed, "loss", step, rank)

            loss, details = process.loss(model, batches(step), generator=draws)
            accelerator.backward(loss)
            for parameter in schedule:  # the wrapper around the network averages the gradients of the network only
                parameter.grad = accelerator.reduce(parameter.grad, "mean")
            gradient_norm = accelerator.clip_grad_norm_(parameters, config.clip)
            optimizer.step()
            optimizer.zero_grad()
            ema.update(step)

            done = step + 1
            last = done == config.steps
            losses.append(loss.detach())
            progress.advance(done)
            if done % config.log_every == 0 or last:
                mean_loss = float(accelerator.reduce(torch.stack(losses).mean(), "mean"))  # waits for the device: not each step
                losses.clear()
                if not math.isfinite(mean_loss):
                    raise FloatingPointError(f"loss is {mean_loss} after step {done}: lower --learning-rate or --clip")
                progress.loss(done, mean_loss)
                record.scalars(done, {"loss": mean_loss, "gradient_norm": float(gradient_norm), **details})
            if done % config.sample_every == 0 or last:
                record.samples(done, config, process, ema.model, held_out)
            stopping = should_stop(accelerator, stop.asked, done, config.log_every)
            if done % config.checkpoint_every == 0 or last or stopping:
                if accelerator.is_main_process:
                    save_checkpoint(run / "checkpoints", state.checkpoint(done), config.keep)
                accelerator.wait_for_everyone()
            if stopping:
                break
    accelerator.end_training()
    return done


@dataclass(frozen=True)
class State:
    """Everything that changes while training; with the step number it determines the rest of the run."""

    config: TrainConfig
    images: tuple[int, int, int, int]
    model: nn.Module
    ema: nn.Module
    optimizer: torch.optim.Optimizer
    process: Process

    def checkpoint(self, step: int) -> Checkpoint:
        tensors = {
            "model": dict(self.model.state_dict()),
            "ema": dict(self.ema.state_dict()),
            "optimizer": optimizer_tensors(self.optimizer),
            "process": dict(self.process.state_dict()),
        }
        return Checkpoint(step, self.config.to_dict(), self.images, tensors)

    def restore_or_begin(self, run: Path, resume: bool, images: Images) -> int:
        """Load the last checkpoint, or fit the process where there is none; returns the number of steps done."""
        paths = checkpoint_paths(run / "checkpoints") if resume else []
        if not paths:
            self.process.fit(images.floats(permutation(len(images), "fit")[:FIT_IMAGES]))
            return 0
        path = paths[-1]
        checkpoint = load_checkpoint(path)
        if checkpoint.step > self.config.steps:
            raise ValueError(
                f"resume: {run} has done {checkpoint.step} steps already, more than the {self.config.steps} asked for"
            )
        self.config.check_continues(config_from_dict(checkpoint.config), path)
        if checkpoint.images != self.images:
            raise ValueError(
                f"resume: {path} was trained on images {list(checkpoint.images)}, the data are now {list(self.images)}"
            )
        restore_module(self.model, checkpoint, "model")
        restore_module(self.ema, checkpoint, "ema")
        restore_module(self.process, checkpoint, "process")
        restore_optimizer(self.optimizer, checkpoint)
        return checkpoint.step


def check_run_folder(config: TrainConfig, run: Path, resume: bool) -> None:
    """Refuse to write over a run, or to continue one as another."""
    if resume:
        config.check_continues(load_config(run / "config.yaml"), run)
    elif run.exists() and (not run.is_dir() or any(run.iterdir())):
        raise FileExistsError(f"run folder {run} exists and is not empty: continue it with --resume, or choose another")


def refuse_separate_processes(accelerator: Accelerator) -> None:
    """torchrun on a machine without GPU starts processes that accelerate leaves alone: each would train the whole run."""
    started = int(os.environ.get("WORLD_SIZE", "1"))
    if started != accelerator.num_processes:
        raise RuntimeError(
            f"{started} processes were started, but accelerate sees {accelerator.num_processes}, so each would train alone: "
            "set ACCELERATE_USE_CPU=true to train on CPUs with torchrun"
        )


def should_stop(accelerator: Accelerator, asked: bool, done: int, every: int) -> bool:
    """Whether to stop after this step: all processes must agree, and asking each other costs a wait, so not at each step."""
    if accelerator.num_processes == 1:
        return asked
    if done % every:
        return False
    return bool(accelerator.reduce(torch.tensor(float(asked), device=accelerator.device), "sum") > 0)

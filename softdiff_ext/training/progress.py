"""What a person sees while a run trains: a live bar in a terminal, now and then a line in a log file."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from types import TracebackType

import psutil
import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

_SECONDS_BETWEEN_LINES = 10.0


class _ImagesPerSecond(ProgressColumn):
    def __init__(self, images_per_step: int) -> None:
        super().__init__()
        self.images_per_step = images_per_step

    def render(self, task: Task) -> Text:
        return Text(f"{(task.speed or 0.0) * self.images_per_step:,.0f} images/s", style="progress.data.speed")


def memory() -> str:
    """Memory in use: the largest of this process's tensors so far on a GPU, or all of this process where there is none."""
    if torch.cuda.is_available():
        return f"GPU {torch.cuda.max_memory_allocated() / 2**30:.1f} GiB"
    return f"{psutil.Process().memory_info().rss / 2**30:.1f} GiB"


class TrainingProgress:
    """Shows step, loss, images/s, the time left and the memory in use, on standard error.

    Args:
        start, steps: steps done before and in all.
        images_per_step: over all processes.
        visible: False on all processes but one.
    """

    def __init__(self, start: int, steps: int, images_per_step: int, visible: bool = True) -> None:
        self.console = Console(stderr=True, quiet=not visible)
        self.start, self.steps, self.images_per_step = start, steps, images_per_step
        self.begun = self.last_line = time.monotonic()
        self.bar = Progress(
            TextColumn("training"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("loss {task.fields[loss]}"),
            _ImagesPerSecond(images_per_step),
            TimeRemainingColumn(),
            TextColumn("left"),
            TextColumn("{task.fields[memory]}"),
            console=self.console,
            expand=True,
            disable=not (visible and self.console.is_terminal),
        )
        self.task = self.bar.add_task("training", total=steps, completed=start, loss="-", memory="")

    def __enter__(self) -> TrainingProgress:
        self.bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.bar.stop()

    def advance(self, step: int) -> None:
        """`step` steps are done."""
        self.bar.update(self.task, completed=step)

    def loss(self, step: int, loss: float) -> None:
        """The mean loss since the last call, after `step` steps."""
        used = memory()
        self.bar.update(self.task, loss=f"{loss:.4g}", memory=used)
        now = time.monotonic()
        if self.console.is_terminal or (now - self.last_line < _SECONDS_BETWEEN_LINES and step < self.steps):
            return
        self.last_line = now
        speed = (step - self.start) / max(now - self.begun, 1e-9)
        left = time.strftime("%H:%M:%S", time.gmtime((self.steps - step) / speed))
        line = f"step {step}/{self.steps}  loss {loss:.4g}  {speed * self.images_per_step:,.0f} images/s  {left} left  {used}"
        self.console.print(line, highlight=False, soft_wrap=True)

    def say(self, message: str) -> None:
        """A line above the bar."""
        self.console.print(message, highlight=False, soft_wrap=True, markup=False)


class ImageBar:
    """Counts images on standard error, one thing after the other; in a log file only what it is told to say.

    Args:
        visible: False on all processes but one.
    """

    def __init__(self, visible: bool = True) -> None:
        self.console = Console(stderr=True, quiet=not visible)
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("images"),
            TimeRemainingColumn(),
            TextColumn("left"),
            console=self.console,
            expand=True,
            transient=True,
            disable=not (visible and self.console.is_terminal),
        )

    def __enter__(self) -> ImageBar:
        self.bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.bar.stop()

    def begin(self, what: str, count: int) -> Callable[[int], None]:
        """Show `what` with `count` images in place of what was shown before; call the result with the number of those done."""
        for task in self.bar.task_ids:
            self.bar.remove_task(task)
        return partial(self.bar.advance, self.bar.add_task(what, total=count))

    def say(self, message: str) -> None:
        """A line above the bar."""
        self.console.print(message, highlight=False, soft_wrap=True, markup=False)

"""What a run leaves for people to look at: a log of its numbers, TensorBoard curves and sheets of samples."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from types import TracebackType

from tensorboard.summary.writer.event_file_writer import _AsyncWriterThread
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from softdiff_ext.training.figures import image_sheet, save_png
from softdiff_ext.training.files import errors_name
from softdiff_ext.training.log import StepLog


class Record:
    """Writes run/log.jsonl, run/tensorboard and run/samples; does nothing where `writes` is False.

    Args:
        run: folder of the run.
        start: steps done before.
        images_per_step: over all processes.
        writes: whether this process is the one that writes.
    """

    def __init__(self, run: Path, start: int, images_per_step: int, writes: bool) -> None:
        self.run, self.images_per_step = run, images_per_step
        self.log = StepLog(run, start) if writes else None
        self.writer = SummaryWriter(run / "tensorboard", purge_step=start + 1) if writes else None
        self.step, self.since = start, time.monotonic()
        self.hook = threading.excepthook

    def __enter__(self) -> Record:
        threading.excepthook = self._in_thread
        return self

    def _in_thread(self, failure: threading.ExceptHookArgs) -> None:
        """TensorBoard's thread writes its file; it raises its error in this thread too, which says it in a line."""
        if not (isinstance(failure.exc_value, OSError) and isinstance(failure.thread, _AsyncWriterThread)):
            self.hook(failure)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        threading.excepthook = self.hook
        if not self.writer or not self.log:
            return
        # a full disk refuses what is left as well, and that error would take the place of the one that names the file
        with suppress(OSError) if isinstance(error, OSError) else nullcontext():
            self.log.close()
            self.writer.close()

    def scalars(self, step: int, values: Mapping[str, float | Tensor]) -> None:
        """One point of each curve of the group "train", and the images/s of the steps since the last call."""
        now = time.monotonic()
        speed = (step - self.step) * self.images_per_step / max(now - self.since, 1e-9)
        self.step, self.since = step, now
        if self.writer and self.log:
            points = {name: float(value) for name, value in values.items()} | {"images_per_second": speed}
            self.log.add(step, points)
            with errors_name(self.run / "tensorboard"):
                for name, value in points.items():
                    self.writer.add_scalar(f"train/{name}", value, step)

    @contextmanager
    def pause(self) -> Iterator[None]:
        """Around what is no training: images/s leave it out."""
        begun = time.monotonic()
        yield
        self.since += time.monotonic() - begun

    def samples(self, step: int, images: Tensor, held_out_loss: float) -> None:
        """A sheet of samples [N, C, H, W], and the loss on images never trained on."""
        if self.writer and self.log:
            sheet = image_sheet(images)
            save_png(self.run / "samples" / f"step-{step:08d}.png", sheet)
            with errors_name(self.run / "tensorboard"):
                self.writer.add_image("samples", sheet, step)
                self.writer.add_scalar("held_out/loss", held_out_loss, step)
            self.log.add(step, {"held_out_loss": held_out_loss})

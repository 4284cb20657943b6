"""Signals that would end a run are noted, and a run whose terminal is gone still saves itself; see test_training.py too."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import pytest

from softdiff_ext.training.checkpoints import checkpoint_paths, load_checkpoint
from softdiff_ext.training.interrupt import StopRequest

ENDLESS = "--network.channels 8 8 --network.blocks 1 --network.attention --batch-size 8 --sample-count 2 --sample-steps 2"
STEPS = 1_000_000
INTO_TERMINAL = """
import os, sys
os.open(os.ttyname(0), os.O_RDWR)  # a session without a terminal takes the first that it opens
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""


def test_what_is_noted_and_what_acts() -> None:
    with StopRequest() as stop:
        assert stop.signal == 0
        for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGHUP, signal.SIGHUP, signal.SIGINT):
            os.kill(os.getpid(), number)
        assert stop.signal == signal.SIGTERM  # the first
        with pytest.raises(KeyboardInterrupt):  # a second Ctrl-C is meant
            os.kill(os.getpid(), signal.SIGINT)
    assert stop.signal == signal.SIGTERM
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] == [
        *(signal.default_int_handler, signal.SIG_DFL, signal.SIG_DFL)
    ]


@contextmanager
def handled(number: signal.Signals, handler: object) -> Iterator[None]:
    before = signal.signal(number, handler)  # type: ignore[arg-type]
    try:
        yield
    finally:
        signal.signal(number, before)


def test_what_was_ignored_or_handled_stays_so() -> None:
    heard: list[int] = []

    def hear(number: int, _: FrameType | None) -> None:
        heard.append(number)

    with handled(signal.SIGHUP, signal.SIG_IGN), handled(signal.SIGTERM, hear):  # nohup, and a program around this one
        with StopRequest() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            assert stop.signal == 0
            os.kill(os.getpid(), signal.SIGTERM)
            assert stop.signal == signal.SIGTERM
        assert heard == []
        os.kill(os.getpid(), signal.SIGTERM)
        assert heard == [signal.SIGTERM]
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN


@pytest.mark.parametrize("seen_in", ["a terminal", "a pipe"])
def test_a_run_whose_terminal_is_closed_saves_itself(tmp_path: Path, seen_in: str) -> None:
    """What it prints then leads nowhere: to a terminal that is gone, or to a `tee` that went with it."""
    run, checkpoints = tmp_path / "run", tmp_path / "run" / "checkpoints"
    reader, writer = pty.openpty() if seen_in == "a terminal" else os.pipe()
    words = ["-m", "softdiff_ext", "train", str(run), *ENDLESS.split(), "--steps", str(STEPS), "--checkpoint-every", "5"]
    with subprocess.Popen(
        [sys.executable, *(["-c", INTO_TERMINAL] if seen_in == "a terminal" else []), *words],
        stdin=writer if seen_in == "a terminal" else subprocess.DEVNULL,
        stdout=writer,
        stderr=writer,
        env={**os.environ, "OMP_NUM_THREADS": "1", "TERM": "xterm", "COLUMNS": "120"},
        cwd=tmp_path,
        start_new_session=True,
    ) as process:
        os.close(writer)
        shown = b""
        while not checkpoint_paths(checkpoints):
            assert process.poll() is None, shown
            if select.select([reader], [], [], 0.005)[0]:
                shown += os.read(reader, 1 << 16)
        os.close(reader)
        if seen_in == "a pipe":
            process.send_signal(signal.SIGHUP)  # for the terminal the kernel does
        begun = time.monotonic()
        process.wait()
    assert time.monotonic() - begun < 60
    assert process.returncode == 128 + signal.SIGHUP
    assert (b"training" in shown) == (seen_in == "a terminal")  # the bar
    last = load_checkpoint(checkpoint_paths(checkpoints)[-1], ())
    assert 5 <= last.step < STEPS

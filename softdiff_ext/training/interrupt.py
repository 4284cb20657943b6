"""Ctrl-C, SIGTERM and a closed terminal ask a run to stop after the step it is in, so that it can save itself."""

from __future__ import annotations

import os
import select
import signal
from threading import current_thread, main_thread
from types import FrameType, TracebackType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StopRequest:
    """While it is entered, signals that would end the process are noted instead; in the main thread only, which gets them.

    A second Ctrl-C acts as ever. SIGTERM and SIGHUP come twice without anybody insisting: from the kernel and the shell, or
    from a scheduler and a launcher. What the process was told to ignore (nohup) stays ignored.

    Attributes:
        signal: the first one that came, a number, which stays when it is left; 0 for none.
    """

    def __init__(self) -> None:
        self.signal = 0
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> StopRequest:
        if current_thread() is main_thread():
            handlers = {number: signal.getsignal(number) for number in SIGNALS}
            self._before = {number: was for number, was in handlers.items() if was not in (signal.SIG_IGN, None)}
        for number in self._before:
            signal.signal(number, self._ask)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if self.signal == signal.SIGHUP:
            leave_closed_outputs()

    def _ask(self, number: int, _: FrameType | None) -> None:
        self.signal = self.signal or number
        if number == signal.SIGINT:
            signal.signal(number, self._before[signal.SIGINT])
        if number == signal.SIGHUP:
            leave_closed_outputs()


def leave_closed_outputs() -> None:
    """Let standard output and error lead nowhere where the terminal or pipe they led to is closed: writing would fail."""
    for descriptor in (1, 2):
        poll = select.poll()
        poll.register(descriptor, 0)
        if poll.poll(0):  # an error or a hang-up: nothing else was asked for
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, descriptor)
            os.close(nowhere)

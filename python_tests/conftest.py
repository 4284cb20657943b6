"""Test set-up: the device fixture, the hypothesis profile, and CUDA tests: deselected, and counted, without a device."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from functools import lru_cache

import hypothesis
import pytest
import torch

from softdiff_ext import _C, reference

from .emulated import emulator  # noqa: F401  (a fixture)

# One set of examples for everybody: a failure seen once is seen again by the same command. No deadline: the machine is shared.
hypothesis.settings.register_profile("softdiff", derandomize=True, deadline=None, max_examples=40, database=None)
hypothesis.settings.load_profile("softdiff")


@pytest.fixture(scope="session", params=["cpu", pytest.param("cuda", marks=pytest.mark.cuda)])
def device(request: pytest.FixtureRequest) -> torch.device:
    return torch.device(request.param)


@pytest.fixture(scope="session", autouse=True)
def _matrices_of_the_reference_are_built_once() -> Iterator[None]:
    """The same few sides come thousands of times; of a side of 2100 the matrix takes longer than all that is done with it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reference, "dct_matrix", lru_cache(maxsize=64)(reference.dct_matrix))
        yield


@pytest.fixture(params=_C.available_isas())
def isa(request: pytest.FixtureRequest) -> Iterator[str]:
    """Each instruction set of this machine in turn."""
    chosen = _C.build_info()["isa"]
    _C.select_isa(request.param)
    yield request.param
    _C.select_isa(chosen)


def pytest_sessionstart() -> None:
    """What a suite in the background (nohup, a shell's &) is made to ignore, its tests of signals have to hear."""
    for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, handler)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if torch.cuda.is_available():
        return
    cuda = [item for item in items if item.get_closest_marker("cuda")]
    items[:] = [item for item in items if not item.get_closest_marker("cuda")]
    config.hook.pytest_deselected(items=cuda)


def pytest_report_header() -> str:
    found = torch.cuda.get_device_name() if torch.cuda.is_available() else "none (tests marked cuda are deselected: not run)"
    return f"torch {torch.__version__}, {torch.get_num_threads()} threads, CUDA device: {found}"

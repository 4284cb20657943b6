"""The CUDA kernels of square planes on the emulated device: the numbers of the CPU operators, and nobody in another's way.

The kernels of every other size have tests of their own (test_emulator_sizes.py).
"""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import softdiff_ext as sd
from softdiff_ext.rules import PREDICTIONS

from .emulated import Emulator, emulator, load, on_the_device
from .helpers import ARITHMETIC, UNIT_ROUNDOFF, Image, levels
from .operators import CORE, RULES, Operator, names, results

__all__ = ["emulator"]

SQUARES = (8, 16, 28, 32, 64, 128)
DTYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16)


def assert_same(got: Tensor, want: Tensor) -> None:
    """Both round once to the type; float32 arithmetic differs in the order of sums and in the exponential."""
    assert (got.shape, got.dtype, got.is_contiguous()) == (want.shape, want.dtype, True)
    bound = 2.0 * UNIT_ROUNDOFF[want.dtype] + 4.0 * ARITHMETIC[want.dtype]
    error = (got.double() - want.double()).norm().item()
    # float16: the smallest numbers have an absolute error
    assert error <= bound * want.double().norm().item() + (
        2.0**-24 * want.numel() ** 0.5 if want.dtype == torch.float16 else 0.0
    )


@st.composite
def squares(draw: st.DrawFn) -> Image:
    side = draw(st.sampled_from(SQUARES))
    shape = (draw(st.integers(1, 3)), draw(st.integers(1, 3)), side, side)
    layout = draw(st.sampled_from(["contiguous", "channels_last", "transposed", "sliced", "expanded"]))
    return Image(shape, draw(st.sampled_from(DTYPES)), layout, draw(st.integers(0, 999)))


@given(squares(), st.data(), st.integers(0, 2**31))
def test_blur_and_diffuse(image: Image, data: st.DataObject, order: int) -> None:
    pair = data.draw(levels(image.shape[0]))
    x, (_, t) = image.make(torch.device("cpu")), pair.make(torch.device("cpu"))
    drawn = data.draw(st.booleans())

    def run() -> list[Tensor]:
        noise = {"generator": torch.Generator().manual_seed(order)} if drawn else {"noise": image.make(x.device, 1)}
        return [sd.dct_blur(x, t.tau, t.floor), sd.diffuse(x, t, **noise), sd.dct(x), sd.idct(x), sd.soft_score_loss(x, -x, t)]

    want = run()
    with pytest.MonkeyPatch.context() as patch, on_the_device(patch) as device:
        device.begin(order)
        for got, wanted in zip(run(), want, strict=True):
            assert_same(got, wanted)
        device.assert_clean()
        assert device.report()["launches"] >= 6


@given(squares(), st.data(), st.sampled_from(sorted(RULES)), st.sampled_from(PREDICTIONS), st.integers(0, 2**31))
def test_steps(image: Image, data: st.DataObject, rule: str, prediction: str, order: int) -> None:
    cpu = torch.device("cpu")
    s, t = data.draw(levels(image.shape[0], noisy=True, floored=True)).make(cpu)
    z, output = image.make(cpu), image.make(cpu, 1)
    drawn = data.draw(st.booleans())

    def run() -> Tensor:
        noise = {"generator": torch.Generator().manual_seed(order)} if drawn else {"noise": image.make(cpu, 2)}
        return sd.step(z, output, s, t, RULES[rule], prediction, **noise)

    try:
        want = run()
    except ValueError as refused:  # the momentum rule where noise falls: the device cannot say so without a wait
        assert "sigma" in str(refused)  # noqa: PT017
        return
    # The terms of a step may cancel: what is compared is their size.
    scale = max(float(x.double().norm()) for x in (z, output, want))
    with pytest.MonkeyPatch.context() as patch, on_the_device(patch) as device:
        device.begin(order)
        got = run()
        device.assert_clean()
    if torch.isfinite(want).all():
        bound = 2.0 * UNIT_ROUNDOFF[want.dtype] + 16.0 * ARITHMETIC[want.dtype]
        error = (got.double() - want.double()).norm().item()
        assert error <= bound * scale + (2.0**-24 * want.numel() ** 0.5 if want.dtype == torch.float16 else 0.0)


@pytest.mark.parametrize("layout", ["contiguous", "channels_last", "transposed", "expanded"])
@pytest.mark.parametrize("drawn", [False, True], ids=["noise given", "noise drawn"])
@pytest.mark.parametrize("rule", ["markov", "momentum", "ddim 0.6"])
@pytest.mark.parametrize("shape", [(3, 2, 128, 128), (2, 3, 256, 256)], ids=str)
def test_halves(shape: tuple[int, ...], rule: str, drawn: bool, layout: str) -> None:
    """256, and 128 with several images, in several chunks of planes; all types of storage."""
    cpu, spread = torch.device("cpu"), 1.0 + torch.arange(shape[0], dtype=torch.float64) / shape[0]
    s, t = sd.Level(-0.1 * spread, 0.4 * spread, 0.2 * spread, 1e-3), sd.Level(-0.5 * spread, 2.0 * spread, 0.7 * spread, 1e-3)
    for dtype in DTYPES[1:]:
        z, output, noise = (Image(shape, dtype, layout, 3).make(cpu, i) for i in range(3))

        def run(z: Tensor = z, output: Tensor = output, noise: Tensor = noise) -> list[Tensor]:
            source = {"generator": torch.Generator().manual_seed(7)} if drawn else {"noise": noise}
            step = sd.step(z, output, s, t, RULES[rule], "v", **source)
            return [step, sd.diffuse(z, t, **source), sd.dct_blur(output, 2.0 * spread, 1e-2)]

        want = run()
        with pytest.MonkeyPatch.context() as patch, on_the_device(patch) as device:
            device.begin(5)
            got = run()
            device.assert_clean()
        for one, wanted in zip(got, want, strict=True):
            assert_same(one, wanted)


@pytest.mark.parametrize("op", CORE, ids=names(CORE))
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_results_and_gradients(op: Operator, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    def run() -> list[Tensor]:
        values = op.make((2, 3, 16, 16), dtype)
        wanted = [value.requires_grad_() for value in values]
        outs = results(op.call(*values))
        grads = torch.autograd.grad(sum(out.square().sum() for out in outs), wanted, allow_unused=True)
        return [*outs, *(grad for grad in grads if grad is not None)]

    want = run()
    with on_the_device(monkeypatch) as device:
        got = run()
        device.assert_clean()
    tolerance = {"rtol": 1e-11, "atol": 1e-11} if dtype == torch.float64 else {"rtol": 2e-4, "atol": 2e-4}
    for one, other in zip(got, want, strict=True):
        torch.testing.assert_close(one, other, **tolerance)


def test_the_order_of_threads_changes_nothing(emulator: Emulator) -> None:
    x = torch.randn(3, 2, 32, 32, generator=torch.Generator().manual_seed(0))
    s, t = sd.Level(-0.1, 0.5, 0.2, 1e-2), sd.Level(-0.4, 1.0, 0.6, 1e-2)
    results = []
    for order in range(4):
        emulator.begin(order)
        results.append(sd.step(x, x / 2, s, t, sd.Markov(), generator=torch.Generator().manual_seed(3)))
    assert all(torch.equal(results[0], result) for result in results)


FAULTS = {
    "none": None,
    "shared race": "races",
    "global race": "races",
    "block race": "races",
    "uninitialised shared": "uninitialised",
    "uninitialised global": "uninitialised",
    "past the end": "out_of_bounds",
    "before the start": "out_of_bounds",
    "write to an input": "out_of_bounds",
    "unwritten output": "unwritten",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_the_emulator_sees_what_is_wrong(fault: str) -> None:
    module = load()
    module.begin(0)
    module.run_fault(fault)
    report = module.report()
    seen = {key for key in ("races", "uninitialised", "out_of_bounds", "unwritten") if report[key] > 0}
    assert seen == ({FAULTS[fault]} if FAULTS[fault] else set()), report["first"]


def launches(emulator: Emulator, shape: tuple[int, ...], dtype: torch.dtype, case: str) -> list[tuple[str, int, int, int, int]]:
    """What a call would launch: nothing runs, and no memory is touched."""
    emulator.begin(dry=True)
    s, t = sd.Level(-0.1, 0.5, 0.2, 1e-2), sd.Level(-0.4, 1.0, 0.6, 1e-2)
    image = torch.empty(shape, dtype=dtype)
    if case == "blur":
        sd.dct_blur(image, 1.0)
    else:
        sd.posterior_sample(image, image, s, t, generator=torch.Generator().manual_seed(0))
    return [tuple(launch) for launch in emulator.report()["log"]]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", ["blur", "Markov"])
@pytest.mark.parametrize("side", SQUARES)
def test_launches_of_squares(side: int, case: str, dtype: torch.dtype, emulator: Emulator) -> None:
    (first, *more) = launches(emulator, (128, 3, side, side), dtype, case)
    kernel, blocks, threads, shared, _ = first
    if dtype == torch.float64:
        assert "square" not in kernel  # all sizes of doubles are the tile kernel's
        return
    if case == "Markov" and side == 128:
        assert "halves" in kernel  # two planes of 128 x 128 do not fit into shared memory
        return
    assert not more
    assert "square" in kernel
    planes = threads // side
    assert threads % side == 0
    assert threads <= 128
    assert blocks == -(-128 * 3 // planes)
    words = (2 if case == "Markov" else 1) * side * (side + 1)
    assert planes * words * (8 if dtype == torch.float64 else 4) <= shared <= 99 * 1024


def test_an_empty_batch_launches_nothing(emulator: Emulator) -> None:
    for shape in ((0, 3, 32, 32), (4, 0, 32, 32)):
        assert launches(emulator, shape, torch.float32, "blur") == []


@pytest.mark.parametrize("case", ["blur", "Markov"])
def test_more_than_two_to_the_31_elements(case: str, emulator: Emulator) -> None:
    """2^31 + 2^10 elements; nobody touches the memory."""
    ((kernel, blocks, threads, *_),) = launches(emulator, (2**21 + 1, 1, 32, 32), torch.float16, case)
    assert "square" in kernel
    assert blocks * (threads // 32) >= 2**21 + 1

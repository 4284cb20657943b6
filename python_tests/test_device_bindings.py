"""What lies between a call in Python and the kernels of a device: levels and seeds that stay there, layouts, gradients, errors.

Run over the emulated device (emulated.py), so without a GPU; what needs one is in test_cuda.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import softdiff_ext as sd
from softdiff_ext.ops import library, native

from .emulated import Emulator, load, on_the_device
from .helpers import DTYPES, LAYOUTS, Image, assert_same, randn
from .operators import CORE, Operator, names, results

SHAPE = (3, 2, 8, 8)
S, T = sd.Level(-0.1, 0.5, 0.2, 1e-3), sd.Level(-0.4, 2.0, 0.6, 1e-3)


@pytest.fixture(scope="module", autouse=True)
def built() -> None:
    """The module is compiled here, under the first test's clock only."""
    load()


def both(run: Callable[[], list[Tensor]], monkeypatch: pytest.MonkeyPatch) -> tuple[list[Tensor], list[Tensor], dict[str, Any]]:
    """The results on the CPU and on the device, and the device's report, which is clean."""
    want = run()
    with on_the_device(monkeypatch) as emulator:
        got = run()
        emulator.assert_clean()
        report = emulator.report()
    return got, want, report


def assert_all_same(got: list[Tensor], want: list[Tensor]) -> None:
    for a, b in zip(got, want, strict=True):
        assert_same(a, b)


def with_gradients(op: Operator, values: list[Tensor]) -> list[Tensor]:
    images = [value.clone().requires_grad_() if value.ndim == 4 else value for value in values]
    outs = results(op.call(*images))
    leaves = [image for image in images if image.ndim == 4]
    total = torch.stack([out.float().square().sum() for out in outs]).sum()
    return [*(out.detach() for out in outs), *torch.autograd.grad(total, leaves, materialize_grads=True)]


@pytest.mark.parametrize("fields", ["batch", "0-d"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("op", CORE, ids=names(CORE))
def test_operators_and_gradients(op: Operator, dtype: torch.dtype, fields: str, monkeypatch: pytest.MonkeyPatch) -> None:
    values = op.make(SHAPE, dtype, fields)
    got, want, report = both(lambda: with_gradients(op, values), monkeypatch)
    assert report["launches"] >= 2
    assert_all_same(got, want)


@pytest.mark.parametrize("op", CORE, ids=names(CORE))
def test_the_long_way(op: Operator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Checks in Python and packed levels, as where a compiler or a subclass looks at the call."""
    values = op.make(SHAPE, torch.float32)
    want = with_gradients(op, values)
    with on_the_device(monkeypatch) as emulator, monkeypatch.context() as patched:
        for operator in library.OPS.values():
            patched.setattr(operator, "quick", lambda *args: None)
        got = with_gradients(op, values)
        emulator.assert_clean()
        assert emulator.report()["launches"] >= 2
    assert_all_same(got, want)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(layout: str, monkeypatch: pytest.MonkeyPatch) -> None:
    x = Image((2, 3, 8, 8), torch.float32, layout, 1).make(torch.device("cpu"))
    gain = torch.rand(1, 3, 8, 8)

    def run() -> list[Tensor]:
        gradient = torch.autograd.grad(sd.spectral_filter(x, g := gain.clone().requires_grad_()).square().sum(), g)
        return [sd.dct(x), sd.dct(x, 1), sd.idct(x, 3), sd.dct_blur(x, 2.0), sd.soft_score_loss(x, x.flip(0), T), *gradient]

    got, want, _ = both(run, monkeypatch)
    assert_all_same(got, want)


LEVELS = {
    "numbers": lambda: (S, T),
    "float32 tensors": lambda: tuple(sd.Level(*(torch.full((3,), f, dtype=torch.float32) for f in level)) for level in (S, T)),
    "every second": lambda: tuple(sd.Level(*(torch.full((6,), f).double()[::2] for f in level)) for level in (S, T)),
    "a tensor and numbers": lambda: (
        S,
        sd.Level(T.log_a, torch.tensor([2.0, 3.0, 4.0], dtype=torch.float64), T.sigma, T.floor),
    ),
    "a batch of one": lambda: (S, sd.Level(T.log_a, torch.tensor(2.0), T.sigma, T.floor)),
}


@pytest.mark.parametrize("kind", LEVELS)
def test_kinds_of_levels(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    s, t = LEVELS[kind]()
    x, y = randn(SHAPE, 0, torch.float32), randn(SHAPE, 1, torch.float32)

    def run() -> list[Tensor]:
        leaf = x.clone().requires_grad_()
        outs = [
            sd.diffuse(leaf, t, noise=y),
            sd.step(leaf, y, s, t, sd.DDIM(0.5), "x", noise=y),
            sd.soft_score_loss(leaf, y, t),
        ]
        gradients = [torch.autograd.grad(out.square().sum(), leaf)[0] for out in outs]
        return [*(out.detach() for out in outs), *gradients, *sd.posterior(x, y, s, t)]

    got, want, _ = both(run, monkeypatch)
    assert_all_same(got, want)


def test_a_level_changed_after_the_call_does_not_change_the_gradient(emulator: Emulator) -> None:
    tau = torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64)
    x = randn(SHAPE, 0).requires_grad_()
    out, want = sd.dct_blur(x, tau), sd.dct_blur(randn(SHAPE, 1), tau.clone())
    tau.fill_(9.0)
    torch.testing.assert_close(torch.autograd.grad(out, x, randn(SHAPE, 1))[0], want, rtol=0, atol=0)


def test_gradients_of_levels(monkeypatch: pytest.MonkeyPatch) -> None:
    fields = torch.tensor([[-0.4, 2.0, 0.6, 1e-3], [-0.5, 1.0, 0.5, 1e-3], [-0.3, 3.0, 0.8, 1e-3]], dtype=torch.float64)
    x, y = randn(SHAPE, 0), randn(SHAPE, 1)

    def run() -> list[Tensor]:
        leaf = fields.clone().requires_grad_()
        t = sd.Level(*leaf.unbind(1))
        total = sd.diffuse(x, t, noise=y).square().sum() + sd.posterior_sample(x, y, S, t, noise=y).square().sum()
        return list(torch.autograd.grad(total + sd.soft_score_loss(x, y, t).sum(), leaf))

    got, want, report = both(run, monkeypatch)
    assert report["launches"] >= 3
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("dtype", DTYPES)
def test_noise_is_that_of_the_cpu(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = randn(SHAPE, 0, dtype), randn(SHAPE, 1, dtype)

    def run() -> list[Tensor]:
        generator = torch.Generator().manual_seed(3)
        torch.manual_seed(4)
        drawn = [sd.diffuse(x, T, generator=generator), sd.diffuse(x, T)]
        for rule in (sd.Markov(), sd.Momentum(), sd.DDIM(0.6), sd.Naive(0.3)):
            drawn += [sd.step(x, y, S, T, rule, "v", generator=generator), sd.step(x, y, S, T, rule, "v")]
        seeded = [sd.normal((5, 7, 3), seed, dtype=dtype) for seed in (0, 2**63 - 1, torch.tensor(11))]
        return [*drawn, *seeded, sd.normal((), 3, dtype=dtype), sd.normal((0, 3), 3, dtype=dtype)]

    got, want, _ = both(run, monkeypatch)
    assert_all_same(got, want)


def test_a_refused_call_draws_nothing(emulator: Emulator) -> None:
    x = randn(SHAPE, 0, torch.float32)
    generator = torch.Generator().manual_seed(5)
    before, before_global = generator.get_state(), torch.get_rng_state()
    out_of_order = sd.Level(-0.4, 9.0, 0.6, 1e-3)
    for given in (generator, None):
        with pytest.raises(ValueError, match=r"posterior_sample: s must not be blurrier than t, got tau_s = 9 and tau_t = 2"):
            sd.posterior_sample(x, x, out_of_order, T, generator=given)
        with pytest.raises(ValueError, match=r"step: prediction must be one of"):
            sd.step(x, x, S, T, sd.Markov(), "V", generator=given)
    assert torch.equal(generator.get_state(), before)
    assert torch.equal(torch.get_rng_state(), before_global)
    assert emulator.report()["launches"] == 0


def test_bad_arguments_are_named(emulator: Emulator) -> None:
    x = randn(SHAPE, 0, torch.float32)
    with pytest.raises(ValueError, match=r"dct_blur: tau must be a float or have shape \[\] or \[B\] = \[3\], got \[2\]"):
        sd.dct_blur(x, torch.ones(2))
    with pytest.raises(ValueError, match=r"dct_blur: tau must be"):
        sd.dct_blur(x, -1.0)
    with pytest.raises(ValueError, match=r"step: .*the momentum rule needs sigma_s <= sigma_t"):
        sd.step(x, x, sd.Level(-0.5, 1.0, 0.3), sd.Level(-3.0, 2.0, 0.03), sd.Momentum())
    with pytest.raises(TypeError, match=r"diffuse: noise must have the dtype of x"):
        sd.diffuse(x, T, noise=x.double())
    with pytest.raises(TypeError, match=r"native kernels take seeds that are an int, or an int64 tensor"):
        native.level_filter("", x, None, torch.tensor([1, 2]), (0.0, 1.0, 0.1, 0.0), 1)
    with pytest.raises(ValueError, match=r"wanted 1 or 3 of them, got 2"):
        native.level_filter("", x, None, None, torch.zeros(2, 4, dtype=torch.float64), 1)
    assert emulator.report()["launches"] == 0


@pytest.mark.parametrize("op", CORE, ids=names(CORE))
def test_an_empty_batch_launches_nothing(op: Operator, emulator: Emulator) -> None:
    for out in results(op.call(*op.make((0, 2, 8, 8), torch.float32))):
        assert out.numel() == 0
    assert emulator.report()["launches"] == 0


def test_the_report_sees_what_is_wrong(emulator: Emulator) -> None:
    """A barrier left out is a race; without one there is no use in a clean report."""
    x = randn(SHAPE, 0, torch.float32)
    emulator.begin(order_seed=1, dropped_barrier=0)
    sd.dct_blur(x, 2.0)
    assert emulator.report()["races"] > 0
    with pytest.raises(AssertionError, match="races"):
        emulator.assert_clean()
    emulator.begin(order_seed=1)
    sd.dct_blur(x, 2.0)
    emulator.assert_clean()


def test_threads_in_any_order_give_the_same_bits(emulator: Emulator) -> None:
    x = randn(SHAPE, 0, torch.float32)
    found = []
    for seed in (1, 2, 3):
        emulator.begin(order_seed=seed)
        found.append(sd.posterior_sample(x, x, S, T, generator=torch.Generator().manual_seed(1)))
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


def test_planes_that_32_bits_do_not_count_are_refused(emulator: Emulator) -> None:
    x = torch.zeros((1, 1, 1, 1), dtype=torch.float16).expand(1, 1, 50_000, 50_000)
    with pytest.raises(ValueError, match=r"plane has less than 2\^31 pixels, got 50000 x 50000"):
        sd.diffuse(x, sd.Level(sigma=0.5), generator=torch.Generator().manual_seed(0))
    with pytest.raises(ValueError, match=r"plane has less than 2\^31 pixels"):
        sd.dct_blur(x, 1.0)
    assert emulator.report()["launches"] == 0


def test_a_gain_that_is_spread_over_more_than_32_bits_is_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    spread = torch.empty(2**31 + 16).as_strided((6, 5), (2**31 // 5, 1))  # memory that is never touched takes none
    spread.copy_(torch.rand(6, 5))
    x = torch.randn(2, 1, 6, 5)
    want = sd.spectral_filter(x, spread.contiguous())
    with on_the_device(monkeypatch) as emulator:
        found = sd.spectral_filter(x, spread)
        emulator.assert_clean()
    torch.testing.assert_close(found, want)

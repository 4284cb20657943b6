"""What only a GPU can show: streams, graphs, no waiting, memory, several devices.

The operators' own tests run there as well, by the device fixture; here each is compared with the CPU once more, without further
packages.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor

import softdiff_ext as sd
from softdiff_ext import _C

from .helpers import DTYPES, LAYOUTS, Image, assert_same, randn
from .operators import CORE, Operator, names, results

pytestmark = pytest.mark.cuda

CUDA = torch.device("cuda")
SHAPE = (3, 2, 32, 32)
SIZES = (
    (2, 3, 1, 1),
    (2, 3, 8, 8),
    (5, 3, 28, 28),
    (2, 2, 64, 64),
    (1, 2, 128, 128),
    (2, 1, 12, 20),
    (2, 2, 13, 109),
    (1, 1, 256, 256),
)
S, T = sd.Level(-0.1, 0.5, 0.2, 1e-3), sd.Level(-0.4, 2.0, 0.6, 1e-3)


@pytest.fixture(autouse=True)
def kernels_are_compiled() -> None:
    assert _C.cuda_compiled, "the package was built without CUDA: this run would test the formulas of reference.py"


@pytest.fixture
def no_waiting() -> Iterator[None]:
    """torch raises where it would wait for the device."""
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    yield
    torch.cuda.set_sync_debug_mode("default")


def assert_as_cpu(got: Tensor, want: Tensor) -> None:
    assert got.device.type == "cuda"
    assert_same(got.cpu(), want)


def calls(x: Tensor, y: Tensor, s: sd.Level, t: sd.Level) -> dict[str, Callable[[], Tensor]]:
    """Every operator once, noise drawn where it can be."""
    return {
        "dct": lambda: sd.dct(x),
        "idct 3": lambda: sd.idct(x, 3),
        "dct_blur": lambda: sd.dct_blur(x, t.tau),
        "diffuse": lambda: sd.diffuse(x, t),
        "posterior_sample": lambda: sd.posterior_sample(x, y, s, t),
        "momentum_step": lambda: sd.momentum_step(x, y, s, t),
        "step": lambda: sd.step(x, y, s, t, sd.DDIM(0.5), "v"),
        "spectral_filter": lambda: sd.spectral_filter(x, y),
        "soft_score_loss": lambda: sd.soft_score_loss(x, y, t),
        "posterior": lambda: sd.posterior(x, y, s, t)[1],
        "normal": lambda: sd.normal(x.shape, 3, device=x.device),
    }


def on_device(level: sd.Level, batch: int, device: torch.device = CUDA) -> sd.Level:
    return sd.Level(*(torch.full((batch,), float(field), dtype=torch.float64, device=device) for field in level))


LENGTHS = (
    *range(1, 40),
    45,
    63,
    100,
    109,
    127,
    131,
    178,
    218,
    225,
    251,
    256,
    257,
    384,
    509,
    512,
    719,
    1000,
    1021,
    1024,
    2048,
    4099,
)
NAMES = tuple(calls(torch.empty(0), torch.empty(0), S, T))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SIZES, ids=str)
@pytest.mark.parametrize("op", CORE, ids=names(CORE))
def test_operators_are_those_of_the_cpu(op: Operator, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    values = op.make(shape, dtype)
    for got, want in zip(results(op.call(*[v.to(CUDA) for v in values])), results(op.call(*values)), strict=True):
        assert got.is_contiguous()
        assert_as_cpu(got, want)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("side", [8, 20, 64])
def test_layouts(layout: str, side: int) -> None:
    spec = Image((2, 3, side, side), torch.float32, layout, 1)
    x, there = spec.make(torch.device("cpu")), spec.make(CUDA)
    assert_as_cpu(sd.dct_blur(there, 2.0), sd.dct_blur(x, 2.0))
    assert_as_cpu(sd.dct(there, 1), sd.dct(x, 1))
    assert_as_cpu(sd.idct(there), sd.idct(x))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("side", LENGTHS)
def test_sides(side: int, dtype: torch.dtype) -> None:
    line, tall, wide = (randn(shape, side, dtype) for shape in ((3, 5, side), (2, 1, side, 36), (1, 2, 33, side)))
    assert_as_cpu(sd.dct(line.to(CUDA), 1), sd.dct(line, 1))
    assert_as_cpu(sd.idct(line.to(CUDA), 1), sd.idct(line, 1))
    for x in (tall, wide):
        assert_as_cpu(sd.dct(x.to(CUDA)), sd.dct(x))
        assert_as_cpu(sd.dct_blur(x.to(CUDA), 2.0), sd.dct_blur(x, 2.0))
        assert_as_cpu(sd.soft_score_loss(x.to(CUDA), x.to(CUDA) / 2, T), sd.soft_score_loss(x, x / 2, T))


@pytest.mark.parametrize("op", CORE, ids=names(CORE))
def test_gradients_are_those_of_the_cpu(op: Operator) -> None:
    values = op.make(SHAPE, torch.float64)

    def gradients(device: torch.device) -> list[Tensor]:
        leaves = [value.to(device).requires_grad_() for value in values]
        total = torch.stack([out.square().sum() for out in results(op.call(*leaves))]).sum()
        return list(torch.autograd.grad(total, leaves, materialize_grads=True))

    for got, want in zip(gradients(CUDA), gradients(torch.device("cpu")), strict=True):
        torch.testing.assert_close(got.cpu(), want, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("dtype", DTYPES)
def test_noise_is_that_of_the_cpu(dtype: torch.dtype) -> None:
    x = randn(SHAPE, 0, dtype)
    for seed in (0, 7, 2**63 - 1):
        want = sd.normal((5, 77), seed, dtype=dtype)
        assert_as_cpu(sd.normal((5, 77), seed, dtype=dtype, device="cuda"), want)
        assert_as_cpu(sd.normal((5, 77), torch.tensor(seed, device=CUDA), dtype=dtype, device="cuda"), want)
    for rule in (sd.Markov(), sd.Momentum(), sd.Naive(0.3)):
        got, want = (
            sd.step(image, image, S, T, rule, "v", generator=torch.Generator().manual_seed(5)) for image in (x.to(CUDA), x)
        )
        assert_as_cpu(got, want)


def test_generators_of_the_device() -> None:
    x = torch.zeros(SHAPE, device=CUDA)
    first, second = (sd.diffuse(x, T, generator=torch.Generator(CUDA).manual_seed(5)) for _ in range(2))
    assert torch.equal(first, second)
    torch.cuda.manual_seed(6)
    third, fourth = sd.diffuse(x, T), sd.diffuse(x, T)
    torch.cuda.manual_seed(6)
    assert torch.equal(third, sd.diffuse(x, T))
    assert not torch.equal(third, fourth)


def test_a_draw_moves_the_generator_on() -> None:
    """As torch's own draws do: a state that was kept gives the same noise again, and what is drawn in between other noise."""
    x = torch.zeros(SHAPE, device=CUDA)
    generator = torch.Generator(CUDA).manual_seed(2**64 - 1)
    state = generator.get_state()
    first = sd.diffuse(x, T, generator=generator)
    after = torch.randn(5, device=CUDA, generator=generator)
    generator.set_state(state)
    assert torch.equal(first, sd.diffuse(x, T, generator=generator))
    assert torch.equal(after, torch.randn(5, device=CUDA, generator=generator))
    generator.set_state(state)
    torch.randn(5, device=CUDA, generator=generator)
    assert not torch.equal(first, sd.diffuse(x, T, generator=generator))


def test_with_a_gradient_the_noise_is_the_same() -> None:
    x = torch.zeros(SHAPE, device=CUDA)
    drawn = [sd.diffuse(image, T, generator=torch.Generator(CUDA).manual_seed(5)) for image in (x, x.clone().requires_grad_())]
    assert torch.equal(drawn[0], drawn[1])


@pytest.mark.parametrize("name", NAMES)
def test_two_runs_are_bitwise_equal(name: str) -> None:
    x, y = (randn((7, 3, 40, 28), seed, torch.float32).to(CUDA) for seed in (0, 1))
    found = []
    for _ in range(2):
        torch.cuda.manual_seed(1)
        found.append(calls(x, y, S, T)[name]())
    assert torch.equal(found[0], found[1])


@pytest.mark.filterwarnings("ignore:Synchronization debug mode is a prototype")
@pytest.mark.parametrize("levels", ["numbers", "tensors"])
@pytest.mark.parametrize("name", NAMES)
def test_nothing_waits(name: str, levels: str, no_waiting: None) -> None:
    x, y = (torch.empty(SHAPE, device=CUDA).fill_(value) for value in (0.5, 0.25))
    pair = (S, T) if levels == "numbers" else (_filled(S), _filled(T))
    call = calls(x, y, *pair)[name]
    call()
    call()
    leaf = x.clone().requires_grad_()
    out = calls(leaf, y, *pair)[name]()
    if out.requires_grad:
        torch.autograd.grad(out.sum(), leaf)


def _filled(level: sd.Level) -> sd.Level:
    """Tensors made on the device: torch.full does not wait."""
    return on_device(level, SHAPE[0])


@pytest.mark.parametrize("side", [32, 20])
def test_the_current_stream(side: int) -> None:
    """The input is written late on a side stream: kernels on another one would read it too early."""
    x = torch.zeros(64, 3, side, side, device=CUDA)
    want = sd.dct_blur(torch.ones_like(x), 2.0)
    torch.cuda.synchronize()
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        torch.cuda._sleep(50_000_000)
        x.fill_(1.0)
        got = sd.dct_blur(x, 2.0)
        sd.soft_score_loss(x, x, T)
    stream.synchronize()
    torch.testing.assert_close(got, want)


@pytest.mark.parametrize("name", NAMES)
def test_graphs(name: str) -> None:
    """Captured and replayed: on new input and, where noise is drawn, with fresh noise each time."""
    x, y = (randn(SHAPE, seed, torch.float32).to(CUDA) for seed in (0, 1))
    call = calls(x, y, _filled(S), _filled(T))[name]
    call()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        out = call()
    replays = []
    for _ in range(2):
        graph.replay()
        replays.append(out.clone())
    draws = name in ("diffuse", "posterior_sample", "momentum_step", "step")
    assert torch.equal(replays[0], replays[1]) != draws
    if draws:
        assert not torch.equal(replays[0], call())
    else:
        x.mul_(2.0)
        graph.replay()
        torch.testing.assert_close(out, call())


def test_a_graph_of_a_size_seen_before_the_capture_only() -> None:
    x = torch.ones(2, 1, 174, 346, device=CUDA)  # sides that nothing else here has

    def captured() -> tuple[torch.cuda.CUDAGraph, Tensor]:
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            x.mul_(1.0)  # torch warns of graphs that are empty
            return graph, sd.dct_blur(x, 2.0)

    with pytest.raises(RuntimeError, match=r"cannot be made while a CUDA graph is being captured"):
        captured()
    sd.dct_blur(x, 2.0)
    graph, out = captured()
    graph.replay()
    torch.testing.assert_close(out, torch.ones_like(x))


@pytest.mark.parametrize("name", NAMES)
def test_only_results_are_allocated(name: str) -> None:
    """Memory that stays after a call is the result's; tables belong to the first call."""
    x, y = (randn(SHAPE, seed, torch.float32).to(CUDA) for seed in (0, 1))
    call = calls(x, y, S, T)[name]
    call()
    gc.collect()
    before = torch.cuda.memory_allocated()
    out = call()
    kept = torch.cuda.memory_allocated() - before
    assert kept <= -(-out.numel() * out.element_size() // 512) * 512
    del out
    assert torch.cuda.memory_allocated() == before


@pytest.mark.skipif(not torch.cuda.is_available() or torch.cuda.device_count() < 2, reason="needs two devices")
def test_a_device_that_is_not_the_current_one() -> None:
    other = torch.device("cuda", 1)
    x = randn(SHAPE, 0, torch.float32)
    for name, call in calls(x.to(other), x.to(other), S, T).items():
        out = call()
        assert out.device == other, name
        assert torch.cuda.current_device() == 0
    assert_as_cpu(sd.dct_blur(x.to(other), 2.0), sd.dct_blur(x, 2.0))
    with pytest.raises(ValueError, match=r"output must be on the device of z_t = cuda:1, got cuda:0"):
        sd.step(x.to(other), x.to(CUDA), S, T, sd.DDIM())


def test_partners_elsewhere() -> None:
    x, there = torch.zeros(SHAPE), torch.zeros(SHAPE, device=CUDA)
    with pytest.raises(ValueError, match=r"step: output must be on the device of z_t = cuda:0, got cpu"):
        sd.step(there, x, S, T, sd.DDIM())
    with pytest.raises(ValueError, match=r"step: output must be on the device of z_t = cpu, got cuda:0"):
        sd.step(x, there, S, T, sd.DDIM())
    with pytest.raises(ValueError, match=r"diffuse: noise must be on the device of x = cuda:0, got cpu"):
        sd.diffuse(there, T, noise=x)
    with pytest.raises(ValueError, match=r"spectral_filter: gain must be on the device of x = cuda:0, got cpu"):
        sd.spectral_filter(there, x)
    with pytest.raises(ValueError, match=r"dct_blur: tau must be on the device of the images = cuda:0, got cpu"):
        sd.dct_blur(there, torch.ones(SHAPE[0]))
    with pytest.raises(ValueError, match=r"dct_blur: tau must be on the device of the images = cpu, got cuda:0"):
        sd.dct_blur(x, torch.ones(SHAPE[0], device=CUDA))
    assert_as_cpu(sd.dct_blur(there + 1.0, torch.tensor(2.0)), sd.dct_blur(x + 1.0, 2.0))  # a 0-d tensor of the CPU is a number


def test_levels_out_of_range_are_named_where_they_are_numbers() -> None:
    x = torch.zeros(SHAPE, device=CUDA)
    with pytest.raises(ValueError, match=r"posterior_sample: s must not be blurrier than t, got tau_s = 9 and tau_t = 2"):
        sd.posterior_sample(x, x, sd.Level(-0.4, 9.0, 0.6, 1e-3), T)
    with pytest.raises(ValueError, match=r"dct_blur: tau must be finite and >= 0"):
        sd.dct_blur(x, -1.0)


@pytest.mark.parametrize("op", CORE, ids=names(CORE))
def test_empty_batches(op: Operator) -> None:
    for out in results(op.call(*[value.to(CUDA) for value in op.make((0, 2, 8, 8), torch.float32)])):
        assert out.numel() == 0
        assert out.device.type == "cuda"


def free_memory() -> int:
    gc.collect()
    torch.cuda.empty_cache()
    return torch.cuda.mem_get_info()[0]


@pytest.mark.parametrize("side", [32, 40])
def test_more_than_two_to_the_31_elements(side: int) -> None:
    batch = 2**31 // (side * side) + 3
    if free_memory() < 6 * batch * side * side:
        pytest.skip("needs 13 GB of free device memory")
    x = torch.zeros(batch, 1, side, side, dtype=torch.float16, device=CUDA)
    last = randn((1, 1, side, side), 0, torch.float16)
    x[-1] = last[0].to(CUDA)
    out = sd.dct_blur(x, 2.0)
    assert_as_cpu(out[-1:], sd.dct_blur(last, 2.0))
    assert not bool(out[: batch - 1].any())
    del x, out
    free_memory()


def test_noise_beyond_two_to_the_31() -> None:
    size = 2**31 + 1000
    if free_memory() < 3 * size:
        pytest.skip("needs 7 GB of free device memory")
    out = sd.normal((size,), 5, dtype=torch.float16, device=CUDA)
    mean, square = float(out[-(2**20) :].float().mean()), float(out[-(2**20) :].float().square().mean())
    assert abs(mean) < 0.006  # six standard errors of 2^20 numbers
    assert abs(square - 1.0) < 0.009
    del out
    free_memory()


def test_out_of_memory_leaves_nothing() -> None:
    x = torch.zeros(1, 1, 64, 64, device=CUDA)
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    huge = x.expand(2**27, 1, 64, 64)  # a result of 2 TB
    for call in (lambda: sd.dct_blur(huge, 2.0), lambda: sd.diffuse(huge, T), lambda: sd.dct(huge)):
        with pytest.raises(torch.OutOfMemoryError):
            call()
    assert torch.cuda.memory_allocated() == before
    assert not bool(sd.dct_blur(x, 2.0).any())


@pytest.mark.parametrize("op", CORE, ids=names(CORE))
def test_compiled_calls_are_the_same(op: Operator) -> None:
    torch.compiler.reset()
    values = [value.to(CUDA) for value in op.make((2, 2, 12, 8), torch.float32)]
    compiled = torch.compile(op.call, fullgraph=True, backend="aot_eager")
    for got, want in zip(results(compiled(*values)), results(op.call(*values)), strict=True):
        torch.testing.assert_close(got, want)


@pytest.mark.filterwarnings("ignore::UserWarning")  # torch.compile's advice on the card
def test_compiled_and_vmapped() -> None:
    x, y = (randn((4, *SHAPE), seed, torch.float32).to(CUDA) for seed in (0, 1))
    tau = torch.linspace(0.1, 2.0, 4, device=CUDA, dtype=torch.float64)
    want = torch.stack([sd.dct_blur(image, float(one)) for image, one in zip(x, tau, strict=True)])
    torch.testing.assert_close(torch.func.vmap(sd.dct_blur)(x, tau), want)

    def run(x: Tensor, y: Tensor) -> Tensor:
        return sd.step(sd.dct_blur(x, 2.0), y, S, T, sd.DDIM(), "v", noise=y)

    torch.testing.assert_close(torch.compile(run, fullgraph=True)(x[0], y[0]), run(x[0], y[0]))


def test_build_info_names_the_device() -> None:
    info = sd.build_info()
    assert info["cuda_compiled"]
    assert any(torch.cuda.get_device_name(0) in name for name in info["cuda_devices"])

"""sd.normal and the noise the operators draw themselves: the generator's numbers, their distribution, and what a seed means."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given
from hypothesis import strategies as st

import softdiff_ext as sd
from softdiff_ext import reference

from .helpers import DTYPES, UNIT_ROUNDOFF, randn

MILLION = 1 << 20


def draw(
    shape: tuple[int, ...], seed: int, dtype: torch.dtype = torch.float32, device: str | torch.device = "cpu"
) -> torch.Tensor:
    return sd.normal(shape, seed, dtype=dtype, device=device)


def test_the_generator_is_philox() -> None:
    """Known answers of the authors' own test file for philox4x32-10 (Random123, kat_vectors), counters of zero and all ones."""
    words = reference.philox(np.zeros(1, dtype=np.uint64), 0)[:, 0]
    assert [hex(word) for word in words] == ["0x6627e8d5", "0xe169c58d", "0xbc57ac4c", "0x9b00dbd8"]


@given(
    shape=st.lists(st.integers(0, 9), min_size=0, max_size=4).map(tuple)
    | st.sampled_from([(1,), (63,), (64,), (65,), (3, 3, 33, 31)]),
    seed=st.integers(0, 2**63 - 1),
    dtype=st.sampled_from(DTYPES),
)
def test_equals_the_reference(device: torch.device, shape: tuple[int, ...], seed: int, dtype: torch.dtype) -> None:
    got = draw(shape, seed, dtype, device).cpu()
    assert got.dtype == dtype
    assert got.shape == shape
    want = reference.normal(shape, seed, dtype=torch.float64)
    # float32 arithmetic inside: a radius of up to 6.7 and an angle of up to 2 pi carry a few units of 2^-24 each.
    bound = 1e-6 + (UNIT_ROUNDOFF[dtype] + 4 * 2.0**-24) * want.abs()
    assert bool(((got.double() - want).abs() <= bound).all())


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_same_numbers_for_any_thread_count(dtype: torch.dtype) -> None:
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = draw((3, 77, 1013), 5, dtype)
        for count in (2, 3):
            torch.set_num_threads(count)
            assert torch.equal(draw((3, 77, 1013), 5, dtype), one)
    finally:
        torch.set_num_threads(threads)


@pytest.mark.cuda
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_same_numbers_on_the_device(dtype: torch.dtype) -> None:
    cpu, cuda = draw((3, 77, 1013), 5, dtype), draw((3, 77, 1013), 5, dtype, "cuda").cpu()
    # Not to the last bit: the two log, sin and cos differ by a unit in the last place of float32.
    assert ((cpu - cuda).abs() <= 1e-6 + 2 * UNIT_ROUNDOFF[dtype] * cpu.abs()).all()


@pytest.mark.parametrize("size", [1, 15, 16, 63, 64, 65, 1000, 4097])
def test_a_longer_draw_starts_with_the_shorter(size: int) -> None:
    assert torch.equal(draw((5000,), 11)[:size], draw((size,), 11))
    assert torch.equal(draw((size, 2), 11).flatten(), draw((2 * size,), 11))


def test_moments() -> None:
    x = draw((MILLION,), 3).double()
    # Standard errors of the first four moments of n normal numbers; five of them.
    for power, want, spread in ((1, 0.0, 1.0), (2, 1.0, 2.0), (3, 0.0, 15.0), (4, 3.0, 96.0)):
        assert abs((x**power).mean().item() - want) < 5 * (spread / MILLION) ** 0.5


def test_tails() -> None:
    x = draw((4 * MILLION,), 4).abs()
    for deviations in (1.0, 2.0, 3.0, 4.0, 4.5, 5.0):
        count = int((x > deviations).sum())
        chance = 2 * scipy.stats.norm.sf(deviations)
        assert scipy.stats.binomtest(count, 4 * MILLION, chance).pvalue > 1e-5, f"{count} beyond {deviations}"
    assert 4.8 < x.max().item() < 6.8  # the largest of four million; 6.76 is what 32 bits reach


def test_kolmogorov_smirnov() -> None:
    for seed in range(4):
        assert scipy.stats.kstest(draw((1 << 17,), seed).double().numpy(), "norm").pvalue > 1e-4


def test_seeds_are_independent() -> None:
    n = 1 << 16
    seeds = [0, 1, 2, 3, 1 << 31, 1 << 32, (1 << 32) + 1, 1 << 40, (1 << 63) - 1]
    draws = torch.stack([draw((n,), seed).double() for seed in seeds])
    correlation = draws @ draws.T / n
    off = correlation - torch.diag(torch.diagonal(correlation))
    assert off.abs().max().item() < 5.5 / n**0.5


def test_neighbours_are_independent() -> None:
    x = draw((MILLION,), 9).double()
    for lag in (1, 2, 15, 16, 17, 32, 48, 64, 128, 1024):
        for power in (1, 2):
            y = x**power - (power - 1)
            assert abs((y[lag:] * y[:-lag]).mean().item()) < 5 * power / MILLION**0.5


LEVEL, CLEANER = sd.Level(-0.2, 1.0, 0.5), sd.Level(-0.1, 0.5, 0.2)
DRAWING: dict[str, Callable[..., torch.Tensor]] = {
    "diffuse": lambda x, **noise: sd.diffuse(x, LEVEL, **noise),
    "posterior_sample": lambda x, **noise: sd.posterior_sample(x, x, CLEANER, LEVEL, **noise),
    "momentum_step": lambda x, **noise: sd.momentum_step(x, x, CLEANER, LEVEL, **noise),
    "step": lambda x, **noise: sd.step(x, x, CLEANER, LEVEL, sd.Naive(), **noise),
}


@pytest.mark.parametrize("name", DRAWING)
def test_a_generator_state_gives_one_draw(device: torch.device, name: str) -> None:
    op = DRAWING[name]
    x = randn((2, 3, 8, 9), 0, torch.float32).to(device)
    generator = torch.Generator(device).manual_seed(8)
    first, second = op(x, generator=generator), op(x, generator=generator)
    assert not torch.equal(first, second)
    generator.manual_seed(8)
    assert torch.equal(op(x, generator=generator), first)
    assert torch.equal(op(x, generator=generator), second)
    assert not torch.equal(op(x, generator=torch.Generator(device).manual_seed(9)), first)


@pytest.mark.parametrize("name", DRAWING)
def test_without_a_generator_the_global_seed_rules(device: torch.device, name: str) -> None:
    op = DRAWING[name]
    x = randn((2, 3, 8, 9), 0, torch.float32).to(device)
    with torch.random.fork_rng():
        torch.manual_seed(21)
        first, second = op(x), op(x)
        torch.manual_seed(21)
        assert torch.equal(op(x), first)
        assert not torch.equal(first, second)


@pytest.mark.parametrize("name", DRAWING)
@pytest.mark.parametrize("dtype", DTYPES)
def test_drawn_noise_has_the_law_of_given_noise(device: torch.device, name: str, dtype: torch.dtype) -> None:
    op = DRAWING[name]
    x = randn((4, 3, 32, 32), 0, dtype).to(device)
    plain = op(x, noise=torch.zeros_like(x)).double()
    unit = op(torch.zeros_like(x), noise=randn(tuple(x.shape), 1, dtype).to(device)).double().std().item()
    drawn = op(x, generator=torch.Generator(device).manual_seed(1)).double() - plain
    count = drawn.numel()
    assert abs(drawn.mean().item()) < 5 * unit / count**0.5 + 4 * UNIT_ROUNDOFF[dtype]
    # Both standard deviations are estimates from `count` numbers (error 1 / sqrt(2 count) each), and are rounded.
    assert abs(drawn.std().item() / unit - 1) < 5 / count**0.5 + 8 * UNIT_ROUNDOFF[dtype]
    planes = drawn.reshape(12, -1)
    planes = planes / planes.norm(dim=1, keepdim=True)
    off = (planes @ planes.T).fill_diagonal_(0.0)
    assert off.abs().max().item() < 0.25  # no plane repeats another: 6 standard errors of white noise, blurred a little


@pytest.mark.parametrize("name", DRAWING)
def test_given_noise_draws_nothing(device: torch.device, name: str) -> None:
    x = randn((2, 3, 8, 9), 0, torch.float32).to(device)
    before = torch.get_rng_state()
    outs = [DRAWING[name](x, noise=x) for _ in range(2)]
    assert torch.equal(*outs)
    assert torch.equal(torch.get_rng_state(), before)


def test_bits_are_shared_by_the_smaller_types() -> None:
    wide = draw((999,), 2)
    for dtype, seed in itertools.product((torch.float16, torch.bfloat16), (2,)):
        assert torch.equal(draw((999,), seed, dtype), wide.to(dtype))

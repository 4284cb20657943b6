"""sd.normal and the noise the operators draw themselves: the generator's numbers, their distribution, and what a seed means."""

from __future__ import annotations

import itertools
import math
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


def philox_by_integers(counter: tuple[int, int, int, int], key: tuple[int, int]) -> tuple[int, int, int, int]:
    """Philox4x32-10 as the paper writes it, on Python's integers: section 4.3 and figure 3 of Salmon et al. 2011."""
    left, right, first, second = counter[1], counter[3], counter[0], counter[2]
    k0, k1 = key
    for _ in range(10):
        product0, product1 = first * 0xD2511F53, second * 0xCD9E8D57
        first, left = (product1 >> 32) ^ left ^ k0, product1 & 0xFFFFFFFF
        second, right = (product0 >> 32) ^ right ^ k1, product0 & 0xFFFFFFFF
        k0, k1 = (k0 + 0x9E3779B9) & 0xFFFFFFFF, (k1 + 0xBB67AE85) & 0xFFFFFFFF
    return first, left, second, right


KNOWN_ANSWERS = (
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
)
"""Of the authors' own test file for philox4x32-10 (Random123, kat_vectors)."""


@pytest.mark.parametrize(("counter", "key", "words"), KNOWN_ANSWERS)
def test_known_answers(counter: tuple[int, int, int, int], key: tuple[int, int], words: tuple[int, int, int, int]) -> None:
    assert philox_by_integers(counter, key) == words


@given(counter=st.integers(0, 2**64 - 1), seed=st.integers(0, 2**64 - 1))
def test_the_reference_is_philox(counter: int, seed: int) -> None:
    low = 0xFFFFFFFF
    words = reference.philox(np.array([counter], dtype=np.uint64), seed)[:, 0]
    assert tuple(map(int, words)) == philox_by_integers((counter & low, counter >> 32, 0, 0), (seed & low, seed >> 32))


def assert_close(got: torch.Tensor, want: torch.Tensor) -> None:
    """Each number within a few units in the last place: of itself (storage), and of the radius (the arithmetic)."""
    unit = min(UNIT_ROUNDOFF[got.dtype], UNIT_ROUNDOFF[torch.float32])  # float32 arithmetic for the three smaller types
    # The radius is at most 6.8 and three units off (-2 log u by two, which the root halves, the root, the product), sine and
    # cosine are three units of 1 off; the reference's angle of up to 2 pi adds four in float64.
    radius = 6.8
    assert bool(((got.double() - want).abs() <= UNIT_ROUNDOFF[got.dtype] * want.abs() + 6 * unit * radius).all())


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
    assert_close(got, want)


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_same_numbers_for_any_thread_count(isa: str, dtype: torch.dtype) -> None:
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = draw((3, 77, 1013), 5, dtype)
        for count in (2, 3):
            torch.set_num_threads(count)
            assert torch.equal(draw((3, 77, 1013), 5, dtype), one)
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_same_numbers_from_every_instruction_set(isa: str, dtype: torch.dtype) -> None:
    """Each against the float64 reference and so against each other: the last bits differ where there is no fused product."""
    assert_close(draw((MILLION // 4,), 6, dtype), reference.normal((MILLION // 4,), 6, dtype=torch.float64))


def test_float32_rounds_float64() -> None:
    assert_close(draw((MILLION,), 8), draw((MILLION,), 8, torch.float64))


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


# Statistics. Seeds are fixed, so a test passes or fails for good; FALSE_ALARM is the chance that a perfect generator would have
# failed a test when its seed was chosen. Tests of many numbers share it out among them (Bonferroni).
FALSE_ALARM = 1e-5


def deviations(comparisons: int) -> float:
    """How many standard errors each of `comparisons` sums of many numbers may be off, either way."""
    return float(scipy.stats.norm.isf(FALSE_ALARM / (2 * comparisons)))


def test_moments() -> None:
    n = 16 * MILLION
    x = draw((n,), 3).double()
    moment = {0: 1, **{k: math.prod(range(k - 1, 0, -2)) if k % 2 == 0 else 0 for k in range(1, 13)}}
    for power in range(1, 7):
        error = ((moment[2 * power] - moment[power] ** 2) / n) ** 0.5
        assert abs((x**power).mean().item() - moment[power]) < deviations(6) * error, power


def test_tails() -> None:
    n = 16 * MILLION
    x = draw((n,), 4)
    for sigma in (1, 2, 3, 4, 5):
        for count in (int((x > sigma).sum()), int((x < -sigma).sum())):
            assert scipy.stats.binomtest(count, n, scipy.stats.norm.sf(sigma)).pvalue > FALSE_ALARM / 10, f"{count} > {sigma}"
    # The radius word 0 makes 6.76. Of 16 million numbers the largest is below 5 with a chance of 7e-5.
    assert 5.0 < x.abs().max().item() < 6.77


def test_kolmogorov_smirnov() -> None:
    """The law of every word's numbers, and of radius and angle of the pairs, which Box-Muller could get wrong by a quadrant."""
    for seed in range(4):
        x = draw((MILLION,), seed).double().reshape(-1, 4, 16)
        radius, angle = torch.hypot(x[:, 0::2], x[:, 1::2]), torch.atan2(x[:, 1::2], x[:, 0::2])
        samples = [(x[:, k], "norm", ()) for k in range(4)]
        samples += [(radius, "rayleigh", ()), (angle, "uniform", (-np.pi, 2 * np.pi))]
        for sample, law, arguments in samples:
            result = scipy.stats.kstest(sample.flatten().numpy(), law, args=arguments)
            assert result.pvalue > FALSE_ALARM / (4 * len(samples)), (seed, law, result)


POWERS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {  # mean 0, variance 1 each
    "x": lambda x: x,
    "x^2": lambda x: (x**2 - 1) / 2**0.5,
    "sign": torch.sign,
    "|x|": lambda x: (x.abs() - (2 / np.pi) ** 0.5) / (1 - 2 / np.pi) ** 0.5,
}


def assert_uncorrelated(a: torch.Tensor, b: torch.Tensor) -> None:
    """Column i of a [n, p] against column j of b [n, p], i != j; both have mean 0 and variance 1."""
    n = a.shape[0]
    correlation = (a.T @ b / n).fill_diagonal_(0.0)
    assert correlation.abs().max().item() < deviations(correlation.numel()) / n**0.5


SEEDS = [0, 1, 2, 3, 4, 255, 256, 1 << 31, (1 << 31) + 1, 1 << 32, (1 << 32) + 1, 1 << 33, 1 << 40, (1 << 63) - 1, 0x9E3779B9]


@pytest.mark.parametrize("second", POWERS)
@pytest.mark.parametrize("first", POWERS)
def test_seeds_are_independent(first: str, second: str) -> None:
    """Neighbouring seeds, seeds with one half alike, and two halves swapped; 0x9E3779B9 is what Philox adds to its key."""
    draws = torch.stack([draw((MILLION // 4,), seed).double() for seed in SEEDS], dim=1)
    assert_uncorrelated(POWERS[first](draws), POWERS[second](draws))


@pytest.mark.parametrize("second", POWERS)
@pytest.mark.parametrize("first", POWERS)
def test_places_are_independent(first: str, second: str) -> None:
    """All pairs of places in two neighbouring blocks of 64: the words of a counter, and neighbouring counters."""
    x = draw((4 * MILLION,), 9).double().reshape(-1, 128)
    assert_uncorrelated(POWERS[first](x), POWERS[second](x))


def test_lags_are_independent() -> None:
    x = draw((MILLION,), 10).double()
    lags = (*range(1, 66), 127, 128, 129, 192, 256, 512, 1024, 4096, 16384, 65536)
    for name, power in POWERS.items():
        y = power(x)
        for lag in lags:
            n = MILLION - lag
            mean = (y[lag:] * y[:-lag]).mean().item()
            assert abs(mean) < deviations(len(lags) * len(POWERS)) / n**0.5, (name, lag)


@pytest.mark.parametrize("lag", [1, 8, 16, 32, 48, 64])
def test_pairs_fill_the_plane(lag: int) -> None:
    """Chi squared of two numbers at a lag on 16 x 16 cells of the same chance: dependence that no correlation shows."""
    cells = 16
    edges = torch.from_numpy(scipy.stats.norm.ppf(np.arange(1, cells) / cells))
    cell = torch.bucketize(draw((4 * MILLION,), 12).double(), edges)
    counts = torch.bincount(cell[lag:] * cells + cell[:-lag], minlength=cells**2).numpy()
    assert scipy.stats.chisquare(counts).pvalue > FALSE_ALARM


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

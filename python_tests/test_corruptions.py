"""Linear corruptions: adjoints, projections, gains, ends and accuracy of each."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import softdiff_ext as sd

from .helpers import randn
from .linear_corruptions import (
    CHANNELS,
    CORRUPTIONS,
    SIZE,
    SYMMETRIC,
    THRESHOLDS,
    dense,
    every,
    pinv,
    strengths,
)


@every
@given(fractions=st.lists(st.floats(0, 1), min_size=1, max_size=4), seed=st.integers(0, 99), scale=st.floats(-3, 3))
def test_corruptions_are_linear_and_their_adjoint_is_one(name: str, fractions: list[float], seed: int, scale: float) -> None:
    corruption, s, shape = CORRUPTIONS[name], strengths(name, fractions), (len(fractions), CHANNELS, SIZE, SIZE)
    x, y = randn(shape, seed), randn(shape, seed + 1000)
    together = corruption.apply(x + scale * y, s)
    torch.testing.assert_close(together, corruption.apply(x, s) + scale * corruption.apply(y, s), rtol=0, atol=1e-12)
    left, right = (corruption.apply(x, s) * y).sum((1, 2, 3)), (x * corruption.adjoint(y, s)).sum((1, 2, 3))
    # float64 sums of 192 products of numbers up to 4: 1e-16 * 192 * 16
    torch.testing.assert_close(left, right, rtol=0, atol=1e-12)
    one = torch.cat([corruption.apply(x[i : i + 1], s[i : i + 1]) for i in range(len(fractions))])
    torch.testing.assert_close(one, corruption.apply(x, s), rtol=0, atol=1e-12)


@every
def test_the_least_strength_is_nearly_the_identity(name: str) -> None:
    corruption = CORRUPTIONS[name]
    left = dense(corruption, float(corruption.candidates(256)[0])) - torch.eye(CHANNELS * SIZE * SIZE, dtype=torch.float64)
    assert float(left.abs().max()) < 2e-3  # blur of 0.01 pixels: lam sigma^2 / 2 = 2 pi^2 1e-4 / 2


@pytest.mark.parametrize("name", SYMMETRIC)
def test_maps_between_levels_are_gradients_of_convex_functions(name: str) -> None:
    """C_t C_s^+ symmetric and positive: what makes the coupled distance the Wasserstein distance."""
    i, j = (dense(CORRUPTIONS[name], float(s)) for s in strengths(name, [0.2, 0.7]))
    between = j @ pinv(i)
    torch.testing.assert_close(between, between.T, rtol=0, atol=1e-6)
    assert float(torch.linalg.eigvalsh(between).min()) > -1e-6


@pytest.mark.parametrize("name", SYMMETRIC)
def test_gains_of_a_diagonal_corruption_multiply(name: str) -> None:
    """Functions of C_s: the product of two filters is the filter of the products, and C_s that of its gains."""
    corruption = CORRUPTIONS[name]
    assert isinstance(corruption, sd.corruptions.Diagonal)
    s, t = strengths(name, [0.3, 0.6])
    x = randn((2, CHANNELS, SIZE, SIZE), 0)
    a, b = (corruption.gains(strength, x.shape, x.device) for strength in (s, t))
    assert float(torch.cat([a.flatten(), b.flatten()]).min()) >= 0
    assert float(torch.cat([a.flatten(), b.flatten()]).max()) <= 1
    torch.testing.assert_close(corruption.filter(corruption.filter(x, a), b), corruption.filter(x, a * b), rtol=0, atol=1e-12)
    torch.testing.assert_close(corruption.filter(x, torch.ones_like(a)), x, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ["centre mask", "random mask", "own mask"])
@given(s=st.floats(0, 1), t=st.floats(0, 1))
def test_masks_are_nested_projections(name: str, s: float, t: float) -> None:
    mask, x = CORRUPTIONS[name], randn((1, CHANNELS, SIZE, SIZE), 1)
    assert isinstance(mask, sd.NestedMask)
    torch.testing.assert_close(mask.apply(mask.apply(x, s), t), mask.apply(x, max(s, t)), rtol=0, atol=0)
    torch.testing.assert_close(mask.apply(x, s), x * mask.kept(s, (SIZE, SIZE)), rtol=0, atol=0)


def test_masks_end_where_they_should() -> None:
    for mask in (sd.NestedMask(), sd.NestedMask("random")):
        counts = [int(mask.kept(k / 64, (SIZE, SIZE)).sum()) for k in range(65)]
        assert counts == list(range(64, -1, -1))  # pixel after pixel
    left = sd.NestedMask().kept(0.25, (SIZE, SIZE))  # 16 of 64 pixels: the square of 4 x 4 in the middle
    assert not bool(left[2:6, 2:6].any())
    assert int(left.sum()) == 48
    assert torch.equal(sd.NestedMask(THRESHOLDS).kept(1.0, (SIZE, SIZE)), THRESHOLDS >= 1.0)
    orders = [sd.NestedMask("random", seed=seed).thresholds((5, 7)) for seed in (0, 0, 1)]
    assert torch.equal(orders[0], orders[1])
    assert not torch.equal(orders[0], orders[2])


def test_block_averages_are_block_means_at_their_levels() -> None:
    average, x = sd.BlockAverage((2, 4, 8)), randn((2, CHANNELS, 16, 24), 2)
    for level, side in enumerate((2, 4, 8), start=1):
        blocks = x.unfold(2, side, side).unfold(3, side, side).mean(dim=(-2, -1))
        wanted = blocks.repeat_interleave(side, 2).repeat_interleave(side, 3)
        torch.testing.assert_close(average.apply(x, level / 3), wanted, rtol=0, atol=1e-12)
        torch.testing.assert_close(average.apply(wanted, level / 3), wanted, rtol=0, atol=1e-12)  # a projection
    half = (average.apply(x, 1 / 3) + average.apply(x, 2 / 3)) / 2
    torch.testing.assert_close(average.apply(x, 0.5), half, rtol=0, atol=1e-12)


def test_grey_is_the_luminance() -> None:
    x = randn((2, 3, SIZE, SIZE), 3)
    luminance = 0.299 * x[:, 0] + 0.587 * x[:, 1] + 0.114 * x[:, 2]
    grey = sd.Grayscale().apply(x, 1.0)
    torch.testing.assert_close(grey, luminance[:, None].expand_as(x), rtol=0, atol=1e-12)
    torch.testing.assert_close(sd.Grayscale().apply(grey, 1.0), grey, rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@every
def test_smaller_types_keep_theirs_and_its_accuracy(name: str, dtype: torch.dtype) -> None:
    x, s = randn((2, CHANNELS, SIZE, SIZE), 4, dtype), strengths(name, [0.3, 0.8])
    level = sd.LinearLevel(CORRUPTIONS[name], s, 0.1)
    got, wanted = level.apply(x), level.apply(x.double())
    assert got.dtype == dtype
    # a mask only copies; the others add a few numbers up to 4, each rounded once more for maps that work in the type itself
    torch.testing.assert_close(got.double(), wanted, rtol=0, atol=20 * torch.finfo(dtype).eps)
    noise = randn(x.shape, 5, dtype)
    corrupted = sd.linear_diffuse(x, level, noise)
    assert corrupted.dtype == dtype
    torch.testing.assert_close(corrupted.double(), wanted + 0.1 * noise.double(), rtol=0, atol=24 * torch.finfo(dtype).eps)

"""Schedules: ends, identities that survive rounding, and the Wasserstein path against brute force."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from softdiff_ext import reference
from softdiff_ext.schedules import Cosine, geometric, interpolate, shortest_path, sin2_blur, w2_distances, w2_levels

ENDS = torch.tensor([0.0, 1.0], dtype=torch.float64)
TIMES = torch.linspace(0, 1, 101, dtype=torch.float64)


@given(st.floats(-20, -1), st.floats(1, 20))
def test_cosine_keeps_its_ends_and_is_variance_preserving(low: float, high: float) -> None:
    schedule = Cosine(low, high)
    # at a = e^-10 the angle is within 5e-5 of pi/2, so its rounding costs a relative 2^-53 * 1.57 / 5e-5 = 4e-12
    torch.testing.assert_close(schedule.logsnr(ENDS), torch.tensor([high, low], dtype=torch.float64), rtol=0, atol=2e-11)
    logsnr = schedule.logsnr(TIMES)
    assert bool((logsnr.diff() < 0).all())
    torch.testing.assert_close(schedule.log_a(TIMES), 0.5 * torch.nn.functional.logsigmoid(logsnr), rtol=1e-11, atol=0)
    torch.testing.assert_close(schedule.sigma(TIMES), torch.sigmoid(-logsnr).sqrt(), rtol=1e-11, atol=0)


def test_cosine_log_a_keeps_its_digits_where_a_rounds_to_one() -> None:
    log_a = Cosine(-10.0, 40.0).log_a(torch.zeros((), dtype=torch.float64))
    assert log_a.item() == pytest.approx(-0.5 * np.log1p(np.exp(-40.0)), rel=1e-12)
    assert log_a.item() != 0.0


@pytest.mark.parametrize(("low", "high"), [(1.0, 1.0), (2.0, -2.0), (float("nan"), 1.0), (-1.0, float("inf"))])
def test_cosine_refuses_bad_ends(low: float, high: float) -> None:
    with pytest.raises(ValueError, match="wanted finite logsnr_min < logsnr_max, got"):
        Cosine(low, high)


def test_blur_and_noise_schedules() -> None:
    t = torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64)
    torch.testing.assert_close(sin2_blur(t, 20.0), torch.tensor([0.0, 10.0, 20.0], dtype=torch.float64), rtol=0, atol=1e-14)
    t = torch.tensor([0.0, 0.125, 0.25, 0.7, 1.0], dtype=torch.float64)
    wanted = torch.tensor([0.01, 0.01 * 10**0.5, 0.1, 0.1, 0.1], dtype=torch.float64)
    torch.testing.assert_close(geometric(t, 0.01, 0.1, 0.25), wanted, rtol=1e-14, atol=0)


@given(st.integers(2, 40), st.integers(0, 99))
def test_interpolation_is_numpys(n: int, seed: int) -> None:
    nodes = np.random.default_rng(seed).normal(size=n)
    got = interpolate(TIMES, torch.from_numpy(nodes)).numpy()
    np.testing.assert_allclose(got, np.interp(TIMES.numpy(), np.linspace(0, 1, n), nodes), rtol=0, atol=1e-12)


def _lam(size: int) -> np.ndarray:
    return reference.eigenvalues((size, size)).numpy()


def test_w2_between_blurs_is_the_optimal_assignment() -> None:
    """The closed form needs the power spectrum only; brute force pairs the two point clouds at the least cost."""
    points = torch.rand(30, 1, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    power = (reference.dct(points) ** 2).mean(dim=(0, 1)).numpy()
    sigma_blur = np.array([0.01, 0.3, 0.8, 2.0])
    distances = w2_distances(power, _lam(4), sigma_blur)
    clouds = [reference.dct_blur(points, float(s**2 / 2)).flatten(1).numpy() for s in sigma_blur]
    for i, j in itertools.combinations(range(4), 2):
        cost = ((clouds[i][:, None] - clouds[j][None, :]) ** 2).sum(-1)
        rows, columns = linear_sum_assignment(cost)
        assert distances[i, j] == pytest.approx(np.sqrt(cost[rows, columns].mean()), rel=1e-9)
        assert distances[j, i] == pytest.approx(distances[i, j], rel=1e-12)


@given(st.integers(0, 999), st.integers(2, 8), st.floats(0.0, 1.0))
def test_shortest_path_beats_every_other(seed: int, n: int, longest: float) -> None:
    distances = np.triu(np.random.default_rng(seed).uniform(size=(n, n)), 1)
    distances += distances.T

    def length(path: tuple[int, ...]) -> float:
        hops = [distances[i, j] for i, j in itertools.pairwise(path)]
        return sum(hops) + 1e-6 * distances[0, -1] * len(hops) if max(hops) <= longest else np.inf

    inner = itertools.chain.from_iterable(itertools.combinations(range(1, n - 1), k) for k in range(n - 1))
    best = min(length((0, *nodes, n - 1)) for nodes in inner)
    path = shortest_path(distances, longest)
    if best == np.inf:
        assert path == []
    else:
        assert length(tuple(path)) == pytest.approx(best, rel=1e-12)


@pytest.mark.parametrize(("size", "last"), [(8, 2.0), (28, 10.0), (64, 23.0), (64, 128.0)])
@pytest.mark.parametrize("decay", [0.5, 1.0, 2.0])
def test_w2_levels_span_the_range_in_even_hops(size: int, last: float, decay: float) -> None:
    lam = _lam(size)
    power = 1.0 / (lam + lam[0, 1]) ** decay
    levels = w2_levels(power, lam, (0.01, last))
    assert len(levels) == 32
    assert (levels[0], levels[-1]) == pytest.approx((0.01, last), rel=1e-12)
    assert (np.diff(levels) > 0).all()
    hops = np.diag(w2_distances(power, lam, levels), 1)
    geometric_hops = np.diag(w2_distances(power, lam, np.geomspace(0.01, last, 32)), 1)
    assert hops.max() < 0.7 * geometric_hops.max()  # what the schedule is for; 0.22 to 0.6 in these cases
    assert hops.sum() <= geometric_hops.sum() * 1.01


@pytest.mark.parametrize("modes", [0, 1])
def test_w2_levels_of_degenerate_data(modes: int) -> None:
    """Constant images, and images of one wave: no NaN, both ends, increasing; the number of nodes may differ."""
    power = np.zeros((8, 8))
    power[0, 0], power[0, 1] = 1.0, modes
    levels = w2_levels(power, _lam(8), (0.01, 2.0))
    assert (levels[0], levels[-1]) == pytest.approx((0.01, 2.0), rel=1e-12)
    assert (np.diff(levels) > 0).all()

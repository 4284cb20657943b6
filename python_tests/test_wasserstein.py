"""Wasserstein schedules: distances against brute-force assignment, paths against every other, and what schedules they give."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment
from torch import Tensor

import softdiff_ext as sd
from softdiff_ext import reference
from softdiff_ext.wasserstein import (
    coupled_distances,
    path_of,
    shortest_path,
    w2_distances,
    w2_levels,
    w2_strengths,
)


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


def _digits_like(count: int, size: int = 4, channels: int = 1, seed: int = 0) -> Tensor:
    """Images whose pixels differ in law: no two directions are alike."""
    generator = torch.Generator().manual_seed(seed)
    draws = torch.rand(count, channels, size, size, dtype=torch.float64, generator=generator)
    return draws ** torch.linspace(0.3, 4.0, size, dtype=torch.float64) * 2 - 1


def _assignment(first: Tensor, second: Tensor) -> float:
    """The Wasserstein-2 distance between two point clouds of one size, by the Hungarian algorithm."""
    cost = (torch.cdist(first.flatten(1), second.flatten(1), compute_mode="donot_use_mm_for_euclid_dist") ** 2).numpy()
    rows, columns = linear_sum_assignment(cost)
    return float(np.sqrt(cost[rows, columns].mean()))


def _at(corruption: sd.Corruption, x: Tensor, strength: float) -> Tensor:
    return corruption.apply(x, torch.full((len(x),), strength, dtype=torch.float64))


ROTATION = sd.LinearMap(  # a quarter turn in pixel pairs at strength 1: neither symmetric nor nested
    lambda x, s: torch.cos(s * np.pi / 2)[:, None, None, None] * x + torch.sin(s * np.pi / 2)[:, None, None, None] * x.flip(-1),
    lambda y, s: torch.cos(s * np.pi / 2)[:, None, None, None] * y + torch.sin(s * np.pi / 2)[:, None, None, None] * y.flip(-1),
)
NESTED = {
    "blur": (sd.SpectralBlur((0.01, 2.0)), (0.01, 0.3, 0.8, 2.0), 1),
    "centre mask": (sd.NestedMask(), (0.0, 0.2, 0.7, 1.0), 1),
    "random mask": (sd.NestedMask("random", seed=3), (0.0, 0.2, 0.7, 1.0), 2),
    "block average": (sd.BlockAverage((2, 4)), (0.0, 0.3, 0.5, 0.8, 1.0), 1),
    "mean grey": (sd.Grayscale((0.25,) * 4), (0.0, 0.4, 1.0), 4),
}


@pytest.mark.parametrize("name", NESTED)
def test_coupled_distance_of_a_nested_corruption_is_the_optimal_assignment(name: str) -> None:
    corruption, strengths, channels = NESTED[name]
    points = _digits_like(40, channels=channels)
    distances = coupled_distances(corruption, points, np.array(strengths))
    for i, j in itertools.combinations(range(len(strengths)), 2):
        wanted = _assignment(_at(corruption, points, strengths[i]), _at(corruption, points, strengths[j]))
        assert wanted > 0.01
        assert distances[i, j] == pytest.approx(wanted, rel=1e-9)
        assert distances[j, i] == pytest.approx(distances[i, j], rel=1e-12)


def test_coupled_distances_of_blurs_are_the_power_spectrums() -> None:
    blur, points = sd.SpectralBlur((0.01, 2.0)), _digits_like(50, size=8)
    strengths = blur.candidates(9)
    power = (reference.dct(points) ** 2).mean(dim=(0, 1)).numpy()
    np.testing.assert_allclose(
        coupled_distances(blur, points, strengths), w2_distances(power, _lam(8), strengths), rtol=1e-9, atol=1e-12
    )


OTHERS = {"rotation": (ROTATION, 1), "grey": (sd.Grayscale((0.7, 0.2, 0.1)), 3)}


@pytest.mark.parametrize("name", OTHERS)
def test_coupled_distance_of_other_corruptions_is_the_assignment_between_near_strengths(name: str) -> None:
    corruption, channels = OTHERS[name]
    points, strengths = _digits_like(200, channels=channels), np.array([0.0, 0.2, 0.5, 1.0])
    distances = coupled_distances(corruption, points, strengths)
    for i, j in itertools.combinations(range(4), 2):
        wanted = _assignment(_at(corruption, points, strengths[i]), _at(corruption, points, strengths[j]))
        assert distances[i, j] >= wanted * (1 - 1e-9)
        if j == i + 1:
            assert distances[i, j] == pytest.approx(wanted, rel=1e-9)
    if corruption is ROTATION:  # images mirrored: a bound only, for the law has moved less than each image
        assert distances[0, 3] > 1.05 * _assignment(points, points.flip(-1))


@pytest.mark.parametrize("name", [*NESTED, *OTHERS])
def test_strengths_are_an_even_path_over_the_candidates(name: str) -> None:
    corruption, channels = OTHERS[name] if name in OTHERS else (NESTED[name][0], NESTED[name][2])
    points = _digits_like(100, size=8, channels=channels)
    strengths, candidates = w2_strengths(corruption, points, n_levels=12), corruption.candidates(256)
    assert len(strengths) == 12
    assert (np.diff(strengths) > 0).all()
    assert (strengths[0], strengths[-1]) == (candidates[0], candidates[-1])
    assert np.isin(strengths, candidates).all()
    hops = np.diag(coupled_distances(corruption, points, strengths), 1)
    shortest_longest = min(
        np.diag(coupled_distances(corruption, points, candidates[np.linspace(0, 255, 12).round().astype(int)]), 1).max(),
        np.diag(coupled_distances(corruption, points, np.geomspace(max(candidates[0], 1e-2), candidates[-1], 12)), 1).max(),
    )
    assert hops.max() < 1.02 * shortest_longest  # no hop longer than those of schedules that do not look at the data


def test_a_path_of_as_many_nodes_as_there_are_is_all_of_them() -> None:
    points = np.sort(np.random.default_rng(0).uniform(size=9))
    distances = np.sqrt(abs(points[:, None] - points[None, :]))  # a detour is longer, so only the cap makes nodes
    assert path_of(distances, 2) == [0, 8]
    assert len(path_of(distances, 9)) == len(path_of(distances, 100))


def test_useless_corruptions_are_refused() -> None:
    same = sd.LinearMap(lambda x, s: x, lambda y, s: y)
    with pytest.raises(ValueError, match="LinearMap: the strongest corruption must change the images by a finite distance"):
        w2_strengths(same, _digits_like(5))

    class Backwards(sd.NestedMask):
        def candidates(self, count: int) -> np.ndarray:
            return super().candidates(count)[::-1]

    with pytest.raises(ValueError, match=r"Backwards.candidates: must give 256 increasing numbers"):
        w2_strengths(Backwards(), _digits_like(5))

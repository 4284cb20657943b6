"""Distances against closed forms and definitions, nearest neighbours, and the classifier whose features the demo uses."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import sqrtm
from torch import Tensor

from softdiff_ext.evaluation.classifier import classify, train_classifier
from softdiff_ext.evaluation.metrics import frechet_distance, kernel_distance, nearest, precision_recall

# float64 eigen-decompositions of well-scaled matrices of width <= 6: errors of some 1e-15 times the trace, a square root of
# an eigenvalue near zero loses half the digits
TOLERANCE = {"rel": 1e-7, "abs": 1e-7}


def gaussian_set(mean: Tensor, covariance: Tensor, seed: int, count: int = 40) -> Tensor:
    """Features whose sample mean and unbiased sample covariance are exactly the given ones."""
    generator = torch.Generator().manual_seed(seed)
    raw = torch.randn(count, mean.numel(), dtype=torch.float64, generator=generator)
    raw -= raw.mean(dim=0)
    white = raw @ torch.linalg.inv(torch.linalg.cholesky(torch.atleast_2d(torch.cov(raw.T)))).T
    return mean + white @ torch.linalg.cholesky(covariance).T


def random_covariance(width: int, seed: int) -> Tensor:
    root = torch.randn(width, width, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return root @ root.T + 0.1 * torch.eye(width, dtype=torch.float64)


seeds = st.integers(0, 10**6)
widths = st.integers(1, 6)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(st.floats(-3, 3), st.floats(0.1, 4), st.floats(0.1, 4)), min_size=1, max_size=6), seeds)
def test_diagonal_gaussians_match_the_closed_form(axes: list[tuple[float, float, float]], seed: int) -> None:
    shift, std_1, std_2 = torch.tensor(axes, dtype=torch.float64).T
    first = gaussian_set(torch.zeros_like(shift), torch.diag(std_1**2), seed)
    second = gaussian_set(shift, torch.diag(std_2**2), seed + 1)
    expected = float((shift**2 + (std_1 - std_2) ** 2).sum())
    assert frechet_distance(first, second) == pytest.approx(expected, **TOLERANCE)


@settings(deadline=None, max_examples=40)
@given(widths, seeds)
def test_general_gaussians_match_scipy_matrix_square_root(width: int, seed: int) -> None:
    cov_1, cov_2 = random_covariance(width, seed), random_covariance(width, seed + 1)
    mean = torch.linspace(-1, 2, width, dtype=torch.float64)
    found = frechet_distance(gaussian_set(torch.zeros_like(mean), cov_1, seed), gaussian_set(mean, cov_2, seed + 1))
    cross = sqrtm((cov_1 @ cov_2).numpy()).trace().real
    assert found == pytest.approx(float(mean @ mean + cov_1.trace() + cov_2.trace()) - 2 * cross, **TOLERANCE)


@settings(deadline=None, max_examples=40)
@given(widths, seeds, st.floats(0.1, 10))
def test_symmetric_zero_on_itself_and_scales_with_the_square(width: int, seed: int, scale: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    first = torch.randn(23, width, dtype=torch.float64, generator=generator)
    second = torch.randn(31, width, dtype=torch.float64, generator=generator) + 0.5
    distance = frechet_distance(first, second)
    assert distance == pytest.approx(frechet_distance(second, first), **TOLERANCE)
    assert frechet_distance(scale * first, scale * second) == pytest.approx(scale**2 * distance, **TOLERANCE)
    assert frechet_distance(first, first.flip(0)) == pytest.approx(0.0, abs=TOLERANCE["abs"])
    assert distance > 1e-3


def test_dead_and_duplicate_features_are_harmless() -> None:
    first = torch.randn(50, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    singular = torch.cat([first, first[:, :1], torch.zeros(50, 1, dtype=torch.float64)], dim=1)
    shifted = singular + torch.tensor([0.0, 0.0, 2.0, 0.0, 1.0], dtype=torch.float64)
    assert frechet_distance(singular, shifted) == pytest.approx(5.0, **TOLERANCE)


def test_float32_features_are_measured_in_float64() -> None:
    # a float32 covariance of values near 1e4 has errors of some 1e2; the distance between the sets is 4
    first = (1e4 + torch.randn(1000, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0))).float()
    assert frechet_distance(first, first + 2) == pytest.approx(4.0, rel=1e-9)  # + 2 is exact here


@pytest.mark.parametrize(
    ("first", "second", "error", "message"),
    [
        (torch.zeros(4, 3), torch.zeros(4, 2), ValueError, "same width D, got 3 and 2"),
        (torch.zeros(4), torch.zeros(4, 2), ValueError, r"first must have shape \[N >= 2, D >= 1\], got \[4\]"),
        (torch.zeros(4, 2), torch.zeros(1, 2), ValueError, r"second must have shape \[N >= 2, D >= 1\], got \[1, 2\]"),
        (torch.zeros(4, 2), torch.full((4, 2), math.nan), ValueError, "second must be finite"),
        (
            torch.zeros(4, 2, dtype=torch.int64),
            torch.zeros(4, 2),
            TypeError,
            "first must be a floating tensor .* got torch.int64",
        ),
        ([[0.0]], torch.zeros(4, 2), TypeError, "first must be a floating tensor .* got list"),
    ],
)
def test_frechet_errors_name_argument_wanted_and_found(
    first: Tensor, second: Tensor, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=f"frechet_distance: .*{message}"):
        frechet_distance(first, second)


def test_nearest_finds_copies_at_distance_zero_and_known_offsets() -> None:
    references = torch.rand(50, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    order = torch.tensor([7, 0, 49])
    distance, index = nearest(references[order], references)
    assert index.tolist() == order.tolist()
    assert distance.tolist() == [0.0, 0.0, 0.0]
    distance, index = nearest(references[order] + 0.01, references)
    assert index.tolist() == order.tolist()
    torch.testing.assert_close(distance, torch.full((3,), 0.01), rtol=1e-4, atol=0)  # float32 rounding of x + 0.01


def test_nearest_of_nothing_is_empty() -> None:
    distance, index = nearest(torch.zeros(0, 1, 2, 2), torch.zeros(3, 1, 2, 2))
    assert distance.shape == index.shape == (0,)


def test_nearest_refuses_other_shapes_and_no_references() -> None:
    with pytest.raises(ValueError, match=r"nearest: references must have shape \[M >= 1, 1, 8, 8\], got \[5, 1, 8, 9\]"):
        nearest(torch.zeros(2, 1, 8, 8), torch.zeros(5, 1, 8, 9))
    with pytest.raises(ValueError, match=r"got \[0, 1, 8, 8\]"):
        nearest(torch.zeros(2, 1, 8, 8), torch.zeros(0, 1, 8, 8))


def bars(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Two classes that anyone can tell apart: a horizontal and a vertical bar, at a random place."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 2, (count,), generator=generator)
    images = torch.full((count, 1, 8, 8), -1.0)
    for image, label, place in zip(images, labels, torch.randint(1, 7, (count,), generator=generator), strict=True):
        image[0].movedim(int(label), 0)[place] = 1.0
    return images, labels


def test_classifier_learns_is_unsure_of_noise_and_repeats_itself() -> None:
    images, labels = bars(256, seed=0)
    held_out, held_out_labels = bars(128, seed=1)
    state = torch.get_rng_state()
    model = train_classifier(images, labels, epochs=6)
    assert torch.equal(torch.get_rng_state(), state)
    features, probabilities = classify(model, held_out)
    assert features.shape == (128, 64)
    torch.testing.assert_close(probabilities.sum(dim=1), torch.ones(128))
    assert (probabilities.argmax(dim=1) == held_out_labels).float().mean() > 0.97
    shuffled = held_out.flatten(1)[:, torch.randperm(64, generator=torch.Generator().manual_seed(2))].view_as(held_out)
    sure_of_nonsense = (classify(model, shuffled)[1].amax(dim=1) > 0.9).float().mean()
    assert sure_of_nonsense < 0.2 < (probabilities.amax(dim=1) > 0.9).float().mean()
    again = train_classifier(images, labels, epochs=6)
    assert torch.equal(classify(again, held_out)[1], probabilities)


def test_classifier_refuses_unequal_counts() -> None:
    with pytest.raises(ValueError, match=r"\[N >= 1, C, H, W\] and \[N\], got \[4, 1, 8, 8\] and \[3\]"):
        train_classifier(torch.zeros(4, 1, 8, 8), torch.zeros(3, dtype=torch.int64))


# --- kernel distance ---


def gaussian(count: int, width: int, seed: int, shift: float = 0.0, scale: float = 1.0) -> Tensor:
    draws = torch.Generator().manual_seed(seed)
    return torch.randn(count, width, dtype=torch.float64, generator=draws) * scale + shift


@given(st.integers(2, 9), widths, seeds)
def test_kernel_distance_of_all_features_is_the_double_sum_of_its_definition(n: int, width: int, seed: int) -> None:
    x, y = gaussian(n, width, seed), gaussian(n, width, seed + 1, shift=0.5)

    def k(a: Tensor, b: Tensor) -> float:
        return (float(a @ b) / width + 1.0) ** 3

    def within(z: Tensor) -> float:
        return sum(k(z[i], z[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))

    expected = within(x) + within(y) - 2 * sum(k(a, b) for a in x for b in y) / n**2
    found = kernel_distance(x, y, subsets=2, subset_size=n)
    assert found.mean == pytest.approx(expected, rel=1e-9, abs=1e-9)
    assert found.std == pytest.approx(0.0, abs=1e-7 * (1 + abs(expected)))
    assert kernel_distance(y, x, subsets=1, subset_size=n).mean == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_kernel_distance_by_parts_of_the_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    sets = gaussian(60, 4, 0), gaussian(90, 4, 1, shift=0.3)
    found = kernel_distance(*sets, subsets=7, subset_size=20)
    monkeypatch.setattr("softdiff_ext.evaluation.metrics._ROWS", 17)
    again = kernel_distance(*sets, subsets=7, subset_size=20)
    assert (again.mean, again.std) == pytest.approx((found.mean, found.std), rel=1e-9)
    assert kernel_distance(*sets, subsets=7, subset_size=20, seed=1).mean != again.mean


@pytest.mark.parametrize(("size", "subsets"), [(5, 4000), (750, 10)])
def test_kernel_distance_is_that_of_the_laws_however_few_features(size: int, subsets: int) -> None:
    # D = 1, x ~ N(0, s^2), y ~ N(c, s^2): E k(x, y) = E (xy + 1)^3 by the moments c, c^2 + s^2, c^3 + 3 c s^2
    c, s = 0.7, 0.5
    moments_x, moments_y = (0.0, s**2, 0.0), (c, c**2 + s**2, c**3 + 3 * c * s**2)

    def law(p: tuple[float, ...], q: tuple[float, ...]) -> float:
        return p[2] * q[2] + 3 * p[1] * q[1] + 3 * p[0] * q[0] + 1

    expected = law(moments_x, moments_x) + law(moments_y, moments_y) - 2 * law(moments_x, moments_y)
    sets = gaussian(1500, 1, 0, scale=s), gaussian(1500, 1, 1, shift=c, scale=s)
    found = kernel_distance(*sets, subsets=subsets, subset_size=size)
    # 1500 features know the law to some 5 %; a mean that counted i = j would be off by 40 % with 5 features
    assert found.mean == pytest.approx(expected, rel=0.15)
    assert found.subset_size == size


def test_kernel_distance_of_one_law_is_zero_within_its_spread() -> None:
    found = kernel_distance(gaussian(2000, 8, 0), gaussian(2000, 8, 1))
    assert found.subset_size == 1000
    assert abs(found.mean) < 3 * found.std


@pytest.mark.parametrize("measure", [frechet_distance, lambda x, y: kernel_distance(x, y).mean])
def test_distances_grow_with_corruption(measure: Callable[[Tensor, Tensor], float]) -> None:
    clean, others = gaussian(600, 6, 0), gaussian(600, 6, 1)
    for corrupted in (
        [others + shift for shift in (0.0, 0.3, 0.6, 1.2)],
        [others * scale for scale in (1.0, 1.3, 1.7, 2.5)],
        [others + noise * gaussian(600, 6, 2) for noise in (0.0, 0.6, 1.2, 2.4)],
    ):
        found = [measure(clean, features) for features in corrupted]
        assert found == sorted(found)
        assert found[-1] > 10 * abs(found[0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"subset_size": 1}, "subset_size must be from 2 to 4, the smaller of the sets, got 1"),
        ({"subset_size": 5}, "subset_size must be from 2 to 4, the smaller of the sets, got 5"),
        ({"subsets": 0}, "subsets must be at least 1, got 0"),
    ],
)
def test_kernel_distance_errors(options: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=f"kernel_distance: {message}"):
        kernel_distance(torch.zeros(4, 2), torch.zeros(6, 2), **options)
    with pytest.raises(ValueError, match="kernel_distance: first must be finite"):
        kernel_distance(torch.full((4, 2), math.inf), torch.zeros(6, 2))


# --- precision and recall ---


@given(st.integers(4, 12), st.integers(4, 12), widths, seeds, st.integers(1, 3))
def test_precision_and_recall_by_their_definition(n: int, m: int, width: int, seed: int, k: int) -> None:
    real, samples = gaussian(n, width, seed), gaussian(m, width, seed + 1, shift=0.8)

    def covered(points: Tensor, centres: Tensor) -> float:
        reach = [sorted(float((c - other).norm()) for other in centres)[k] for c in centres]
        return sum(any(float((p - c).norm()) <= r for c, r in zip(centres, reach, strict=True)) for p in points) / len(points)

    found = precision_recall(real, samples, k)
    assert found == pytest.approx((covered(samples, real), covered(real, samples)), abs=1e-9)
    assert precision_recall(samples, real, k) == pytest.approx(found[::-1], abs=1e-9)
    assert precision_recall(real, real.flip(0), k) == (1.0, 1.0)


def test_precision_and_recall_tell_lost_modes_from_bad_images() -> None:
    modes = torch.randint(0, 2, (1000, 1), generator=torch.Generator().manual_seed(0)) * 20.0
    real = gaussian(1000, 4, 1) + modes
    precision, recall = precision_recall(real, gaussian(1000, 4, 2))  # one of two modes
    assert precision > 0.9
    assert recall == pytest.approx(0.5, abs=0.06)
    precision, recall = precision_recall(real, gaussian(1000, 4, 3) * 9 + 10)  # both modes and all between
    assert precision < 0.2


def test_precision_and_recall_errors() -> None:
    with pytest.raises(ValueError, match=r"neighbours must be from 1 .* got 3 of 9 and 3 features"):
        precision_recall(torch.zeros(9, 2), torch.zeros(3, 2))
    with pytest.raises(ValueError, match="both sets must have the same width D, got 2 and 3"):
        precision_recall(torch.zeros(9, 2), torch.zeros(9, 3))

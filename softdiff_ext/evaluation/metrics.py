"""How good a set of samples is: distances between feature sets, precision and recall, nearest neighbours to see copies by."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

_ROWS = 1024  # rows of a matrix of distances at a time: all of it would not fit into memory


def frechet_distance(first: Tensor, second: Tensor) -> float:
    r"""Frechet distance between Gaussians fitted to two feature sets, squared as is usual (FID's formula).

    |m_1 - m_2|^2 + tr(S_1 + S_2 - 2 (S_1^{1/2} S_2 S_1^{1/2})^{1/2}), m the means, S the unbiased covariances. Computed in
    float64 with symmetric eigen-decompositions only, so that nearly singular covariances (dead features) give no complex
    or missing numbers.

    Args:
        first: features, [N, D], floating, N >= 2.
        second: features, [M, D], floating, M >= 2.
    Returns:
        The distance, >= 0, in squared feature units. It shrinks towards its limit as N and M grow: compare numbers of
        the same counts and the same features only.
    Raises:
        TypeError: a feature set is not a floating tensor.
        ValueError: a shape is wrong, the widths differ, or a feature is not finite.
    Source:
        Dowson and Landau 1982, The Frechet distance between multivariate normal distributions; Heusel et al. 2017.
    """
    check_features("frechet_distance", first=first, second=second)
    mean_1, cov_1 = _moments(first)
    mean_2, cov_2 = _moments(second)
    root_1 = _symmetric_root(cov_1)
    # eigvalsh of the symmetric product: the spectrum of S_1 S_2 without a non-symmetric matrix square root
    cross = torch.linalg.eigvalsh(root_1 @ cov_2 @ root_1).clamp_min(0.0).sqrt().sum()
    distance = (mean_1 - mean_2).square().sum() + cov_1.trace() + cov_2.trace() - 2.0 * cross
    return max(float(distance), 0.0)  # rounding may leave -1e-13 between equal sets


def _moments(features: Tensor) -> tuple[Tensor, Tensor]:
    wide = features.detach().double()
    return wide.mean(dim=0), torch.cov(wide.T).reshape(wide.shape[1], -1)


def _symmetric_root(matrix: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh(matrix)
    root: Tensor = (vectors * values.clamp_min(0.0).sqrt()) @ vectors.T
    return root


@dataclass(frozen=True)
class KernelDistance:
    """An estimate of the kernel distance.

    Args:
        mean, std: over the subsets; an unbiased mean may be slightly negative where the sets have one law.
        subset_size: features of each set in a subset.
    """

    mean: float
    std: float
    subset_size: int


def kernel_distance(
    first: Tensor, second: Tensor, subsets: int = 100, subset_size: int | None = None, seed: int = 0
) -> KernelDistance:
    r"""Kernel distance between two feature sets: the unbiased squared maximum mean discrepancy, averaged over random subsets.

    MMD^2 = mean_{i != j} k(x_i, x_j) + mean_{i != j} k(y_i, y_j) - 2 mean_{i, j} k(x_i, y_j), k(x, y) = (x . y / D + 1)^3.
    Unlike the Frechet distance its mean does not depend on how many features there are.

    Args:
        first: features, [N, D], floating, N >= 2.
        second: features, [M, D], floating, M >= 2.
        subsets: how many subsets of both sets are drawn, each without repetition.
        subset_size: features in each; None is 1000, or half of the smaller set, so that subsets differ and their spread says
            how sure the mean is.
        seed: names the subsets.
    Returns:
        Mean and standard deviation over the subsets, in feature units to the sixth power.
    Raises:
        TypeError, ValueError: a set is not as `frechet_distance` wants it, or subsets or subset_size is out of range.
    Source:
        Binkowski et al. 2018, Demystifying MMD GANs, section 4 (KID).
    """
    check_features("kernel_distance", first=first, second=second)
    smaller = min(len(first), len(second))
    size = min(1000, max(2, smaller // 2)) if subset_size is None else subset_size
    if not 2 <= size <= smaller:
        raise ValueError(
            f"kernel_distance: subset_size must be from 2 to {smaller}, the smaller of the sets, got {subset_size}"
        )
    if subsets < 1:
        raise ValueError(f"kernel_distance: subsets must be at least 1, got {subsets}")
    draws = torch.Generator().manual_seed(seed)
    x, y = first.detach().cpu().double(), second.detach().cpu().double()
    chosen_x, chosen_y = (torch.stack([_subset(len(features), size, draws) for _ in range(subsets)]) for features in (x, y))
    found = _within(x, chosen_x) + _within(y, chosen_y) - 2.0 * _between(x, y, chosen_x, chosen_y)
    return KernelDistance(float(found.mean()), float(found.std(correction=0)), size)


def _subset(count: int, size: int, draws: torch.Generator) -> Tensor:
    """`size` ones among `count` zeros, float64 [count]."""
    return torch.zeros(count, dtype=torch.float64).index_fill_(0, torch.randperm(count, generator=draws)[:size], 1.0)


def _within(x: Tensor, chosen: Tensor) -> Tensor:
    """Mean of k(x_i, x_j), i != j, over each subset, [subsets]."""
    size = chosen[0].sum()
    same = chosen @ (x.square().mean(dim=1) + 1.0) ** 3
    return (_between(x, x, chosen, chosen) * size**2 - same) / (size * (size - 1.0))


def _between(x: Tensor, y: Tensor, chosen_x: Tensor, chosen_y: Tensor) -> Tensor:
    """Mean of k(x_i, y_j) over each pair of subsets, [subsets]: 1_x^T K 1_y, by rows of K."""
    total = torch.zeros(len(chosen_x), dtype=torch.float64)
    for start in range(0, len(x), _ROWS):
        base = x[start : start + _ROWS] @ y.T / x.shape[1] + 1.0
        total += ((chosen_x[:, start : start + _ROWS] @ (base * base * base)) * chosen_y).sum(dim=1)
    return total / (chosen_x[0].sum() * chosen_y[0].sum())


def precision_recall(real: Tensor, samples: Tensor, neighbours: int = 3) -> tuple[float, float]:
    """Share of the samples that lie where real images do, and share of the real images that lie where samples do.

    "Where a set lies" is the union of balls around its features, each reaching to its `neighbours`-th nearest other one. Both
    shares grow with the number of features: compare numbers of the same counts only.

    Args:
        real: features, [N, D], floating, N > neighbours.
        samples: features, [M, D], floating, M > neighbours.
        neighbours: k.
    Returns:
        (precision, recall), each in [0, 1].
    Raises:
        TypeError, ValueError: a set is not as `frechet_distance` wants it, or has no more than `neighbours` features.
    Source:
        Kynkaanniemi et al. 2019, Improved Precision and Recall Metric for Assessing Generative Models, section 2.
    """
    check_features("precision_recall", real=real, samples=samples)
    if neighbours < 1 or min(len(real), len(samples)) <= neighbours:
        counts = f"{len(real)} and {len(samples)} features"
        raise ValueError(
            f"precision_recall: neighbours must be from 1 to one less than the features, got {neighbours} of {counts}"
        )
    sets = real.detach().float(), samples.detach().float()
    return _covered(sets[1], sets[0], neighbours), _covered(sets[0], sets[1], neighbours)


def _covered(points: Tensor, centres: Tensor, neighbours: int) -> float:
    """Share of the points that lie in a ball around one of the centres."""
    # each centre is its own nearest one, at distance 0
    reach = torch.cat([_distances(part, centres).kthvalue(neighbours + 1).values for part in torch.split(centres, _ROWS)])
    inside = [(_distances(part, centres) <= reach).any(dim=1) for part in torch.split(points, _ROWS)]
    return float(torch.cat(inside).double().mean())


def _distances(x: Tensor, y: Tensor) -> Tensor:
    # differences, not the expansion |a|^2 - 2ab + |b|^2, by which a point may come out at some distance from itself
    return torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist")


def check_features(caller: str, **sets: Tensor) -> None:
    """Raise TypeError or ValueError, naming the argument, unless each set is finite floating [N >= 2, D], one D."""
    for name, features in sets.items():
        if not isinstance(features, Tensor) or not features.is_floating_point():
            found = features.dtype if isinstance(features, Tensor) else type(features).__name__
            raise TypeError(f"{caller}: {name} must be a floating tensor [N, D], got {found}")
        if features.ndim != 2 or features.shape[0] < 2 or features.shape[1] < 1:
            raise ValueError(f"{caller}: {name} must have shape [N >= 2, D >= 1], got {list(features.shape)}")
        if not torch.isfinite(features).all():
            raise ValueError(f"{caller}: {name} must be finite, got NaN or infinity")
    widths = [features.shape[1] for features in sets.values()]
    if len(set(widths)) > 1:
        raise ValueError(f"{caller}: both sets must have the same width D, got {' and '.join(map(str, widths))}")


def nearest(images: Tensor, references: Tensor) -> tuple[Tensor, Tensor]:
    """For each image the closest reference in pixel space: distances and indices.

    Args:
        images: [N, ...], floating.
        references: [M, ...], the same shape behind the first dimension, M >= 1.
    Returns:
        (root of the mean squared pixel difference [N], index into references [N]).
    Raises:
        ValueError: the shapes behind the first dimension differ, or there is no reference.
    """
    if images.shape[1:] != references.shape[1:] or references.shape[0] < 1:
        wanted = ", ".join(["M >= 1", *map(str, images.shape[1:])])
        raise ValueError(f"nearest: references must have shape [{wanted}], got {list(references.shape)}")
    distance, index = _distances(images.flatten(1), references.flatten(1)).min(dim=1)  # exactly 0 for a copy
    return distance / images.shape[1:].numel() ** 0.5, index

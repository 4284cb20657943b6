"""How good a set of samples is: the Frechet distance between feature sets, and nearest neighbours to see copies by."""

from __future__ import annotations

import torch
from torch import Tensor


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
    for name, features in (("first", first), ("second", second)):
        if not isinstance(features, Tensor) or not features.is_floating_point():
            found = features.dtype if isinstance(features, Tensor) else type(features).__name__
            raise TypeError(f"frechet_distance: {name} must be a floating tensor [N, D], got {found}")
        if features.ndim != 2 or features.shape[0] < 2 or features.shape[1] < 1:
            raise ValueError(f"frechet_distance: {name} must have shape [N >= 2, D >= 1], got {list(features.shape)}")
        if not torch.isfinite(features).all():
            raise ValueError(f"frechet_distance: {name} must be finite, got NaN or infinity")
    if first.shape[1] != second.shape[1]:
        raise ValueError(f"frechet_distance: both sets must have the same width D, got {first.shape[1]} and {second.shape[1]}")
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
    # differences, not the expansion |a|^2 - 2ab + |b|^2: a copy must come out as exactly 0
    distances = torch.cdist(images.flatten(1), references.flatten(1), compute_mode="donot_use_mm_for_euclid_dist")
    distance, index = distances.min(dim=1)
    return distance / images.shape[1:].numel() ** 0.5, index

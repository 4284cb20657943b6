"""Which corruption strengths a process should pass: the shortest path between data laws in the Wasserstein-2 distance.

For a blur the distances come exactly from the power spectrum, for other linear corruptions from pairs of corrupted images.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from softdiff_ext.corruptions import Corruption

Array = npt.NDArray[np.float64]

LEVELS = 32
"""Nodes of the path (section on scheduling of the Soft Diffusion paper)."""

CANDIDATES = 256
"""Strengths to choose from (same section)."""

NUMBERS = 2**20
"""Images are taken for the estimate until they have this many numbers: 256 Gram rows of them are minutes on one core beyond."""


def w2_distances(power: Array, lam: Array, sigma_blur: Array) -> Array:
    """Wasserstein-2 distances between the laws of one data set under different blurs.

    W_ij^2 = sum_f P_f (d_i - d_j)^2 with d_i = exp(-lam sigma_blur_i^2 / 2). It is exact for any data, not only Gaussian: the
    map from the less to the more blurred image is symmetric positive definite, hence the gradient of a convex function, hence
    the optimal transport.

    Args:
        power: mean over the data of the squared DCT coefficients, any shape.
        lam: eigenvalues of the Laplacian, shape of power, 1/pixel^2.
        sigma_blur: blur std of each level in pixels, [n].
    Returns:
        Symmetric matrix of distances [n, n] in data units.
    """
    lost = -np.expm1(-lam.reshape(-1) * sigma_blur[:, None] ** 2 / 2)  # 1 - d: small blurs keep their digits in the Gram matrix
    return _from_gram((lost * power.reshape(-1)) @ lost.T)


def coupled_distances(corruption: Corruption, images: Tensor, strengths: Array) -> Array:
    """sqrt(mean |C_i x - C_j x|^2) over the images: the Wasserstein-2 distance if no cheaper pairing of them exists.

    Keeping each image with itself is one way to transport C_i x to C_j x. Where C_j C_i^+ is symmetric and positive
    semidefinite (every `Diagonal` corruption), hence the gradient of a convex function, none is cheaper for any data (Brenier).
    For other maps it is an upper bound. Between strengths as near as those of a schedule it is the distance between the samples
    too: each image's corruptions lie nearer to each other than to those of other images. Measured on 1000 digits: the optimal
    assignment keeps all images with themselves for turned, shifted and grey ones over up to half of the range of strengths,
    where the sliced distance times sqrt(D) is 8 % to 79 % too small.

    Args:
        corruption: the family of maps.
        images: the data, [N, C, H, W].
        strengths: increasing, [n].
    Returns:
        Symmetric matrix [n, n] in data units.
    """
    gram = np.zeros((len(strengths), len(strengths)))
    chunk = max(1, 2**15 // images[0].numel())  # 256 rows of 2^15 float64 numbers: 64 MB
    for part in torch.split(images.detach().cpu().double(), chunk):
        # the loss x - C_i x: small strengths keep their digits in the Gram matrix
        levels = torch.from_numpy(strengths)[:, None].expand(-1, len(part))
        lost = torch.stack([(part - corruption.apply(part, level)).flatten() for level in levels])
        gram += (lost @ lost.T).numpy()
    return _from_gram(gram / len(images))


def shortest_path(distances: Array, longest: float) -> list[int]:
    """Nodes of the shortest path from the first to the last node over edges i < j no longer than `longest`; [] if none."""
    per_edge = (
        1e-6 * distances[0, -1]
    )  # among paths of equal length, which rounding would choose from, the one with fewest edges
    edges = np.where(distances <= longest, distances + per_edge, np.inf)
    n = len(edges)
    cost, parent = np.full(n, np.inf), np.zeros(n, dtype=np.int64)
    cost[0] = 0.0
    for j in range(1, n):
        through = cost[:j] + edges[:j, j]
        parent[j] = np.argmin(through)
        cost[j] = through[parent[j]]
    if not np.isfinite(cost[-1]):
        return []
    path = [n - 1]
    while path[-1] != 0:
        path.append(int(parent[path[-1]]))
    return path[::-1]


def path_of(distances: Array, nodes: int) -> list[int]:
    """Shortest path of about `nodes` nodes over the hops that are no longer than some eps; eps is found by bisection.

    Without a longest hop the shortest path would be the single direct one.

    Args:
        distances: symmetric, [n, n].
        nodes: wanted, ends included, from 2 to n.
    Returns:
        Increasing indices from 0 to n - 1: as many as wanted, or the nearest number that any eps gives where the data allow no
        such path (all that changes, changes between two neighbours, for one).
    """
    low, high = float(np.diag(distances, 1).max()), float(distances[0, -1])
    # the smallest eps that connects all neighbours gives the most nodes, the largest distance the direct path
    best = min((shortest_path(distances, eps) for eps in (low, high)), key=lambda path: abs(len(path) - nodes))
    for _ in range(50):
        middle = (low + high) / 2
        path = shortest_path(distances, middle)
        if abs(len(path) - nodes) < abs(len(best) - nodes):
            best = path
        if len(path) == nodes or not low < middle < high:
            break
        low, high = (middle, high) if len(path) > nodes else (low, middle)
    return best


def w2_levels(
    power: Array, lam: Array, sigma_blur: tuple[float, float], n_levels: int = LEVELS, candidates: int = CANDIDATES
) -> Array:
    """Blur levels along the shortest Wasserstein path from clean to fully blurred data.

    Args:
        power, lam: as for `w2_distances`.
        sigma_blur: least and largest blur std in pixels, 0 < first < last.
        n_levels: nodes wanted, ends included, from 2 to candidates.
        candidates: log-spaced levels to choose from.
    Returns:
        Increasing blur std in pixels, both ends included; see `path_of` for how many.
    Source:
        Daras et al. 2023, Soft Diffusion, section on scheduling (256 candidates, 32 levels).
    """
    levels = np.geomspace(*sigma_blur, candidates)
    return levels[path_of(w2_distances(power, lam, levels), n_levels)]


def w2_strengths(corruption: Corruption, images: Tensor, n_levels: int = LEVELS, candidates: int = CANDIDATES) -> Array:
    """Strengths along the shortest Wasserstein path from the least to the most corrupted data, for any linear corruption.

    Args:
        corruption: its `candidates` are chosen from, by `coupled_distances`.
        images: the data, [N, C, H, W]; evenly spaced ones are taken where there are more than the estimate can use.
        n_levels: nodes wanted, ends included, from 2 to candidates.
        candidates: number of strengths to choose from.
    Returns:
        Increasing strengths, both ends included; see `path_of` for how many.
    Raises:
        ValueError: the candidates do not increase, or the corruption does not change the images.
    Source:
        Daras et al. 2023, Soft Diffusion, section on scheduling.
    """
    strengths = np.asarray(corruption.candidates(candidates), dtype=np.float64)
    if strengths.shape != (candidates,) or not bool((np.diff(strengths) > 0).all()):
        raise ValueError(f"{type(corruption).__name__}.candidates: must give {candidates} increasing numbers, got {strengths}")
    used = images[:: math.ceil(images.numel() / NUMBERS)]
    distances = coupled_distances(corruption, used, strengths)
    if not np.isfinite(distances).all() or distances[0, -1] == 0.0:
        raise ValueError(
            f"{type(corruption).__name__}: the strongest corruption must change the images by a finite distance, "
            f"got {distances[0, -1]}"
        )
    return np.asarray(strengths[path_of(distances, n_levels)], dtype=np.float64)


def _from_gram(gram: Array) -> Array:
    """Distances between vectors with these inner products."""
    squared = np.diag(gram)[:, None] + np.diag(gram)[None, :] - 2.0 * gram
    return np.asarray(np.sqrt(np.maximum(squared, 0.0)), dtype=np.float64)

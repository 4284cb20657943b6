"""Schedules: how much signal, noise and blur each time t in [0, 1] has; 0 is the cleanest time, 1 the most corrupted."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Cosine:
    """Cosine schedule with pinned ends: logsnr(t) = -2 ln tan(angle), where the angle is linear in t.

    angle(t) = A + B t with A = arctan(e^(-logsnr_max / 2)) and A + B = arctan(e^(-logsnr_min / 2)); a = cos(angle) and
    sigma = sin(angle), so a^2 + sigma^2 = 1 holds by construction and neither is ever formed as 1 minus the other.

    Args:
        logsnr_min: log signal-to-noise ratio ln(a^2 / sigma^2) at t = 1, in nats.
        logsnr_max: the same at t = 0; larger than logsnr_min.
    Raises:
        ValueError: an end is not finite, or logsnr_min >= logsnr_max.
    Source:
        Hoogeboom & Salimans 2023, Blurring Diffusion Models, appendix A; Nichol & Dhariwal 2021 for the cosine.
    """

    logsnr_min: float = -10.0
    logsnr_max: float = 10.0

    def __post_init__(self) -> None:
        ends = (self.logsnr_min, self.logsnr_max)
        if not (all(math.isfinite(end) for end in ends) and self.logsnr_min < self.logsnr_max):
            raise ValueError(f"Cosine: wanted finite logsnr_min < logsnr_max, got {self.logsnr_min} and {self.logsnr_max}")

    def angle(self, t: Tensor) -> Tensor:
        first, last = math.atan(math.exp(-self.logsnr_max / 2)), math.atan(math.exp(-self.logsnr_min / 2))
        return first + (last - first) * t

    def log_a(self, t: Tensor) -> Tensor:
        """ln a(t) = ln cos(angle), exact to rounding at both ends, also where a is 1 to many digits."""
        return -0.5 * torch.log1p(torch.tan(self.angle(t)) ** 2)

    def sigma(self, t: Tensor) -> Tensor:
        """Noise std sigma(t) = sin(angle)."""
        return torch.sin(self.angle(t))

    def logsnr(self, t: Tensor) -> Tensor:
        """ln(a^2 / sigma^2) in nats."""
        return -2.0 * torch.log(torch.tan(self.angle(t)))


def sin2_blur(t: Tensor, sigma_blur_max: float) -> Tensor:
    """Blur std sigma_blur_max sin^2(pi t / 2) in pixels (Hoogeboom & Salimans 2023, Blurring Diffusion Models)."""
    return sigma_blur_max * torch.sin(math.pi / 2 * t) ** 2


def geometric(t: Tensor, first: float, last: float, reached: float) -> Tensor:
    """first (last / first)^(t / reached) up to t = reached, constant after; reached is in (0, 1]."""
    return first * (last / first) ** torch.clamp(t / reached, max=1.0)


def interpolate(t: Tensor, nodes: Tensor) -> Tensor:
    """Piecewise linear function of t in [0, 1] through nodes [n], the first at t = 0 and the last at t = 1."""
    position = t * (len(nodes) - 1)
    left = position.floor().clamp(0, len(nodes) - 2).long()
    return torch.lerp(nodes[left], nodes[left + 1], position - left)


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
    gram = (lost * power.reshape(-1)) @ lost.T
    squared = np.diag(gram)[:, None] + np.diag(gram)[None, :] - 2.0 * gram
    return np.asarray(np.sqrt(np.maximum(squared, 0.0)), dtype=np.float64)


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


def w2_levels(power: Array, lam: Array, sigma_blur: tuple[float, float], n_levels: int = 32, candidates: int = 256) -> Array:
    """Blur levels along the shortest Wasserstein path from clean to fully blurred data.

    From `candidates` log-spaced levels, edges longer than some eps are dropped and the shortest path is taken; eps is found by
    bisection so that the path has n_levels nodes. Without the cap the shortest path would be the single direct edge.

    Args:
        power, lam: as for `w2_distances`.
        sigma_blur: least and largest blur std in pixels, 0 < first < last.
        n_levels: nodes wanted, ends included, from 2 to candidates.
        candidates: levels to choose from.
    Returns:
        Increasing blur std [n] in pixels, both ends included. n is n_levels, or the nearest number of nodes that any eps gives
        where the data allow no such path (all the power in one frequency, for one).
    Source:
        Daras et al. 2023, Soft Diffusion, section on scheduling (256 candidates, 32 levels).
    """
    levels = np.geomspace(*sigma_blur, candidates)
    distances = w2_distances(power, lam, levels)
    low, high = float(np.diag(distances, 1).max()), float(distances[0, -1])
    best = shortest_path(distances, low)  # the smallest eps that connects all neighbours: the most nodes
    for _ in range(50):
        middle = (low + high) / 2
        path = shortest_path(distances, middle)
        if abs(len(path) - n_levels) < abs(len(best) - n_levels):
            best = path
        if len(path) == n_levels or not low < middle < high:
            break
        low, high = (middle, high) if len(path) > n_levels else (low, middle)
    return levels[best]

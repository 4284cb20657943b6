"""A small Gaussian mixture, fitted by expectation-maximisation in float64."""

from __future__ import annotations

import math

import torch
from torch import Tensor

JITTER = 1e-6
"""Added to every variance: points in [-1, 1] that lie on a line or in one place still have a Cholesky factor."""


def fit_mixture(points: Tensor, components: int, iterations: int = 100) -> tuple[Tensor, Tensor, Tensor]:
    """Weights [M], means [M, D] and Cholesky factors of the covariances [M, D, D] of a Gaussian mixture, float64.

    Full covariances. The means start at points that are each as far as possible from those before (the first at the point
    nearest the mean), so the result depends on the points alone; one component is the closed-form fit.

    Args:
        points: [N, D], floating.
        components: M, from 1 to N.
        iterations: of expectation-maximisation, at most; it ends early when the log-likelihood stands still.
    Raises:
        ValueError: components is out of its range.
    Source:
        Dempster, Laird and Rubin 1977, Maximum likelihood from incomplete data via the EM algorithm.
    """
    x = points.double()
    count, dims = x.shape
    if not 1 <= components <= count:
        raise ValueError(f"components: must be from 1 to the number of points = {count}, got {components}")
    jitter = JITTER * torch.eye(dims, dtype=torch.float64, device=x.device)
    means = _spread_points(x, components)
    weights = torch.full((components,), 1.0 / components, dtype=torch.float64, device=x.device)
    factors = torch.linalg.cholesky(torch.cov(x.T, correction=0).reshape(dims, dims) + jitter).expand(components, dims, dims)
    before = -math.inf
    for _ in range(iterations):
        joint = weights.log() + log_density(x, means, factors)
        total = joint.logsumexp(dim=1, keepdim=True)
        share = (joint - total).exp()  # [N, M], of each point
        mass = share.sum(dim=0).clamp(min=1e-12)
        weights = mass / mass.sum()
        means = (share.T @ x) / mass[:, None]
        centred = x[:, None, :] - means
        factors = torch.linalg.cholesky(torch.einsum("nm,nmi,nmj->mij", share, centred, centred) / mass[:, None, None] + jitter)
        now = float(total.mean())
        if now - before < 1e-9:
            break
        before = now
    return weights, means, factors


def log_density(x: Tensor, means: Tensor, factors: Tensor) -> Tensor:
    """Log-density of points [N, D] under each Gaussian, [N, M]."""
    centred = (x[:, None, :] - means).movedim(0, -1)  # [M, D, N]
    whitened = torch.linalg.solve_triangular(factors, centred, upper=False)
    log_det = factors.diagonal(dim1=-2, dim2=-1).log().sum(dim=-1)
    density: Tensor = -0.5 * whitened.square().sum(dim=1).T - log_det - 0.5 * x.shape[1] * math.log(2 * math.pi)
    return density


def _spread_points(x: Tensor, count: int) -> Tensor:
    distance = (x - x.mean(dim=0)).square().sum(dim=1)
    chosen = [int(distance.argmin())]
    nearest = (x - x[chosen[0]]).square().sum(dim=1)
    while len(chosen) < count:
        chosen.append(int(nearest.argmax()))
        nearest = torch.minimum(nearest, (x - x[chosen[-1]]).square().sum(dim=1))
    return x[chosen]

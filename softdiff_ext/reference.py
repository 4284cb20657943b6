"""Every operator in a few plain lines of torch: the oracle of the tests, and the shortest documentation of what is computed.

Dense matrices in float64, no native code, differentiable to any order in every argument. The formulas are those of
docs/architecture.md; the operators in `softdiff_ext.ops` compute the same with fast transforms. The coefficients below are
also what gives those operators their gradient with respect to the fields of a Level.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from softdiff_ext.levels import Level
from softdiff_ext.rules import DDIM, Cold, Markov, Momentum, Naive, Rule


def dct_matrix(n: int, dtype: torch.dtype = torch.float64, device: torch.device | None = None) -> Tensor:
    """Orthonormal DCT-II matrix [n, n]: M[k, i] = c_k cos(pi (i + 1/2) k / n), c_0 = sqrt(1/n), c_k = sqrt(2/n)."""
    k = torch.arange(n, device=device)[:, None]
    i = torch.arange(n, device=device)[None, :]
    turn = (2 * i + 1) * k % (4 * n)  # reduced on integers: a large argument would cost digits of the cosine
    matrix = torch.cos(math.pi * turn.double() / (2 * n)) * math.sqrt(2.0 / n)
    return torch.where(k == 0, math.sqrt(1.0 / n), matrix).to(dtype)


def eigenvalues(size: Sequence[int], device: torch.device | None = None) -> Tensor:
    """Eigenvalues of the (negative) Laplacian, lam[m, n] = (pi m / H)^2 + (pi n / W)^2, float64 [H, W], in 1/pixel^2."""
    height, width = size
    rows = (math.pi / height * torch.arange(height, dtype=torch.float64, device=device)) ** 2
    columns = (math.pi / width * torch.arange(width, dtype=torch.float64, device=device)) ** 2
    return rows[:, None] + columns[None, :]


def dct(x: Tensor, ndim: int = 2) -> Tensor:
    """Orthonormal DCT-II over the last `ndim` dimensions."""
    return _transform(x, ndim, inverse=False)


def idct(u: Tensor, ndim: int = 2) -> Tensor:
    """Inverse of `dct` (orthonormal DCT-III)."""
    return _transform(u, ndim, inverse=True)


def _transform(x: Tensor, ndim: int, inverse: bool) -> Tensor:
    y = x.double()
    for dim in range(-ndim, 0):
        matrix = dct_matrix(x.shape[dim], device=x.device)
        y = torch.movedim(torch.movedim(y, dim, -1) @ (matrix if inverse else matrix.T), -1, dim)
    return y.to(x.dtype)


def spectral_filter(x: Tensor, gain: Tensor) -> Tensor:
    """V (gain . V^T x)."""
    return idct(gain.double() * dct(x.double())).to(x.dtype)


def column(value: float | Tensor, device: torch.device) -> Tensor:
    if isinstance(value, Tensor):
        return value.to(dtype=torch.float64, device=device).reshape(-1, 1, 1, 1)
    return torch.full((1, 1, 1, 1), value, dtype=torch.float64, device=device)  # as_tensor would wait for the device


def blur_gain(tau: float | Tensor, floor: float | Tensor, lam: Tensor) -> Tensor:
    """d = (1 - floor) exp(-lam tau) + floor, [1 or B, 1, H, W]."""
    low = column(floor, lam.device)
    return (1.0 - low) * torch.exp(-lam * column(tau, lam.device)) + low


def alpha(level: Level, lam: Tensor) -> Tensor:
    """Signal scale per frequency, alpha = a d, [1 or B, 1, H, W] float64."""
    return torch.exp(column(level.log_a, lam.device)) * blur_gain(level.tau, level.floor, lam)


def alpha_ratio(s: Level, t: Level, lam: Tensor) -> Tensor:
    """alpha_t / alpha_s without 0/0: a difference of exponents where there is no floor."""
    dev = lam.device
    floors = (column(s.floor, dev) > 0) | (column(t.floor, dev) > 0)
    d_s = torch.where(floors, blur_gain(s.tau, s.floor, lam), 1.0)
    d_t = blur_gain(t.tau, t.floor, lam)
    d_ts = torch.where(floors, d_t / d_s, torch.exp(-lam * (column(t.tau, dev) - column(s.tau, dev))))
    return torch.exp(column(t.log_a, dev) - column(s.log_a, dev)) * d_ts


def _sqrt(x: Tensor) -> Tensor:
    """Square root with the gradient 0 at 0 (and below, where rounding leaves it)."""
    positive = x > 0
    return torch.where(positive, torch.sqrt(torch.where(positive, x, 1.0)), 0.0)


def kappa_omega(s: Level, t: Level, rule: Rule, lam: Tensor) -> tuple[Tensor, Tensor]:
    """What the rule keeps of the old state and the std of its fresh noise; each broadcasts to [B, 1, H, W]."""
    dev = lam.device
    sigma_s, sigma_t = column(s.sigma, dev), column(t.sigma, dev)
    r = torch.where(sigma_t > 0, sigma_s / torch.where(sigma_t > 0, sigma_t, 1.0), 1.0)
    match rule:
        case Markov():
            ratio = alpha_ratio(s, t, lam)
            return ratio * r**2, sigma_s * _sqrt(1.0 - ratio**2 * r**2)
        case Momentum(exact=exact):
            return r**2, (sigma_s * _sqrt(1.0 - r**2) if exact else _sqrt(sigma_t**2 - sigma_s**2))
        case DDIM(eta=eta):
            return math.sqrt(1.0 - eta**2) * r, eta * sigma_s
        case Naive(std=std):
            return torch.zeros_like(r), (sigma_s if std is None else torch.full_like(sigma_s, std))
        case Cold():
            return torch.ones_like(r), torch.zeros_like(r)
    raise TypeError(f"unknown rule {rule!r}")


def step_coefficients(s: Level, t: Level, rule: Rule, prediction: str, lam: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(p, q, w) of u_s = p u_output + q u_t + w n; each broadcasts to [B, 1, H, W], float64."""
    kappa, omega = kappa_omega(s, t, rule, lam)
    ratio, alpha_s, alpha_t = alpha_ratio(s, t, lam), alpha(s, lam), alpha(t, lam)
    clean = alpha_s * (1.0 - kappa * ratio)  # alpha_s - kappa alpha_t: what multiplies the clean estimate u_hat
    sigma_t, a_t = column(t.sigma, lam.device), torch.exp(column(t.log_a, lam.device))
    if prediction == "x":
        return clean, kappa, omega
    if prediction == "eps":  # u_hat = (u_t - sigma_t u_output) / alpha_t
        return -(1.0 - kappa * ratio) / ratio * sigma_t, 1.0 / ratio, omega
    if prediction == "v":  # u_hat = (a_t u_t - sigma_t u_output) / (a_t alpha_t + sigma_t^2)
        scale = clean / (a_t * alpha_t + sigma_t**2)
        return -sigma_t * scale, kappa + a_t * scale, omega
    if prediction == "mean":  # u_output = alpha_s u_hat
        return 1.0 - kappa * ratio, kappa, omega
    raise ValueError(f"unknown prediction {prediction!r}")


def combine(terms: Sequence[tuple[Tensor | None, Tensor]]) -> Tensor:
    """V sum_i (gain_i . V^T image_i); terms without an image are left out."""
    parts = [gain * dct(image.double()) for image, gain in terms if image is not None]
    first = next(image for image, _ in terms if image is not None)
    return idct(sum(parts[1:], start=parts[0])).to(first.dtype)


def _lam(x: Tensor) -> Tensor:
    return eigenvalues((x.shape[-2], x.shape[-1]), device=x.device)


def dct_blur(x: Tensor, tau: float | Tensor, floor: float | Tensor = 0.0) -> Tensor:
    """V ((1 - floor) exp(-lam tau) + floor) V^T x."""
    return spectral_filter(x, blur_gain(tau, floor, _lam(x)))


def diffuse(x: Tensor, level: Level, noise: Tensor) -> Tensor:
    """V alpha V^T x + sigma noise."""
    blurred = spectral_filter(x.double(), alpha(level, _lam(x)))
    return (blurred + column(level.sigma, x.device) * noise.double()).to(x.dtype)


def posterior(z_t: Tensor, x_hat: Tensor, s: Level, t: Level) -> tuple[Tensor, Tensor]:
    """Mean [B, C, H, W] in pixels and variance [B, 1, H, W] per frequency of q(z_s | z_t, x_hat)."""
    p, q, w = step_coefficients(s, t, Markov(), "x", _lam(z_t))
    variance = (w**2).expand(z_t.shape[0], 1, *z_t.shape[-2:])
    return combine([(x_hat, p), (z_t, q)]), variance.to(accumulation_dtype(z_t.dtype))


def step(
    z_t: Tensor, output: Tensor, s: Level, t: Level, rule: Rule, prediction: str = "x", noise: Tensor | None = None
) -> Tensor:
    """V (p V^T output + q V^T z_t + w V^T noise)."""
    p, q, w = step_coefficients(s, t, rule, prediction, _lam(z_t))
    return combine([(output, p), (z_t, q), (noise, w)])


def soft_score_loss(x_hat: Tensor, x: Tensor, level: Level) -> Tensor:
    """sum_f alpha^2 (V^T (x_hat - x))^2 per sample, [B]."""
    weighted = alpha(level, _lam(x)) * dct(x_hat.double() - x.double())
    return (weighted**2).sum(dim=(1, 2, 3)).to(accumulation_dtype(x.dtype))


def accumulation_dtype(dtype: torch.dtype) -> torch.dtype:
    """float32 for the 16-bit storage types, else the type itself."""
    return torch.float32 if dtype in (torch.float16, torch.bfloat16) else dtype


def philox(counter: np.ndarray, seed: int) -> np.ndarray:
    """Philox4x32-10 (Salmon et al. 2011): four 32-bit words for each counter, uint64 [4, n]."""
    mask = np.uint64(0xFFFFFFFF)
    zero = np.zeros_like(counter)
    c = [counter & mask, counter >> np.uint64(32), zero, zero]
    key = [seed & 0xFFFFFFFF, (seed >> 32) & 0xFFFFFFFF]
    for _ in range(10):
        a, b = c[0] * np.uint64(0xD2511F53), c[2] * np.uint64(0xCD9E8D57)
        high_a, high_b = a >> np.uint64(32), b >> np.uint64(32)
        c = [high_b ^ c[1] ^ np.uint64(key[0]), b & mask, high_a ^ c[3] ^ np.uint64(key[1]), a & mask]
        key = [(key[0] + 0x9E3779B9) & 0xFFFFFFFF, (key[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return np.stack(c)


def normal(shape: Sequence[int], seed: int, *, dtype: torch.dtype = torch.float32) -> Tensor:
    """Standard normal numbers by Box-Muller from Philox words.

    Elements come in blocks of 64 = 4 words x 16 counters: element 64 b + 16 k + l is word k of counter 16 b + l; words 0, 1
    and words 2, 3 are the two pairs of Box-Muller (cosine first).
    """
    size = math.prod(shape)
    words = philox(np.arange(-(-size // 64) * 16, dtype=np.uint64), seed)
    uniform = (words.astype(np.float64) + 0.5) * 2.0**-32
    radius, angle = np.sqrt(-2.0 * np.log(uniform[0::2])), 2.0 * np.pi * uniform[1::2]
    pairs = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
    blocks = pairs.reshape(4, -1, 16).transpose(1, 0, 2).reshape(-1)
    return torch.from_numpy(blocks[:size].reshape(tuple(shape)).copy()).to(dtype)

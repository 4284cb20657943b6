"""A few calls of every operator, for compute-sanitizer: small images of every kind of kernel, in every dtype.

compute-sanitizer --tool memcheck --kernel-regex kns=run_phases python benchmarks/gpu_sanitize.py
"""

from __future__ import annotations

import torch

import softdiff_ext as sd

SHAPES = (
    (3, 2, 8, 8),
    (2, 3, 28, 28),
    (2, 1, 64, 64),
    (2, 1, 12, 20),
    (1, 2, 109, 7),
    (1, 1, 256, 40),
    (1, 1, 1, 1),
    (1, 1, 170, 180),
)  # the last one in panels
DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float64)


def run(device: torch.device) -> int:
    """The number of calls made."""
    calls = 0
    s, t = sd.Level(-0.1, 0.4, 0.2, 1e-3), sd.Level(-0.5, 2.0, 0.7, 1e-3)
    for shape in SHAPES:
        for dtype in DTYPES:
            x, y = (torch.zeros(shape, device=device, dtype=dtype).add_(value) for value in (0.5, -0.25))
            results = [
                sd.dct_blur(x, 2.0),
                sd.idct(sd.dct(x)),
                sd.dct(x, 1),
                sd.diffuse(x, t),
                sd.posterior_sample(x, y, s, t),
                sd.momentum_step(x, y, s, t),
                sd.step(x, y, s, t, sd.DDIM(0.5), "v"),
                sd.spectral_filter(x, y.abs().float() if dtype != torch.float64 else y.abs()),
                sd.soft_score_loss(x, y, t),
                sd.posterior(x, y, s, t)[1],
                sd.normal(shape, 3, dtype=dtype, device=device),
            ]
            assert all(bool(result.isfinite().all()) for result in results)
            calls += len(results)
    return calls


if __name__ == "__main__":
    print(f"{run(torch.device('cuda'))} calls")

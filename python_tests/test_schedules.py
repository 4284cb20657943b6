"""Schedules: ends, and identities that survive rounding."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from softdiff_ext.schedules import Cosine, geometric, interpolate, sin2_blur

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

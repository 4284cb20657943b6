"""Behaviour that deliberate breakage of the code once slipped past the other tests."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import softdiff_ext as sd
from softdiff_ext.training.ema import EMA


def test_a_pending_negation_is_carried_out() -> None:
    pairs = torch.randn(2, 3, 5, 8, dtype=torch.complex128, generator=torch.Generator().manual_seed(0))
    x = pairs.conj().imag
    assert x.is_neg()
    plain = -pairs.imag
    level = sd.Level(-0.1, 0.5, 0.2)
    for call in (
        sd.dct,
        lambda x: sd.dct_blur(x, 0.7),
        lambda x: sd.diffuse(x, level, noise=x),
        lambda x: sd.step(x, x, sd.Level(), level, sd.Markov(), noise=x),
        lambda x: sd.spectral_filter(x, torch.ones(8, dtype=torch.float64)),
        lambda x: sd.soft_score_loss(x, 2 * plain, level),
    ):
        torch.testing.assert_close(call(x), call(plain), rtol=0, atol=0)


@pytest.mark.parametrize("rule", [sd.Markov(), sd.DDIM(0.5)])
def test_drawn_noise_is_the_same_when_levels_ask_for_gradients(rule: sd.Markov) -> None:
    x = torch.linspace(-1, 1, 80, dtype=torch.float64).reshape(2, 1, 5, 8)

    def draw(sigma: float | Tensor) -> Tensor:
        levels = sd.Level(sigma=sigma), sd.Level(tau=0.5, sigma=0.8)
        return sd.step(x, x / 2, *levels, rule, generator=torch.Generator().manual_seed(1))

    wanting = torch.tensor(0.4, dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(draw(wanting).detach(), draw(0.4), rtol=1e-12, atol=1e-12)


def test_the_floored_soft_loss_weighs_what_the_blur_has_wiped_out() -> None:
    images = torch.rand(16, 1, 8, 8, generator=torch.Generator().manual_seed(2)) * 2 - 1

    def loss(weight_floor: float) -> float:
        process = sd.SoftDiffusion(sigma_blur=(0.01, 3.0), sigma=(0.1, 0.1), weight_floor=weight_floor)
        process.fit(images)
        return float(process.loss(lambda z, t: torch.zeros_like(z), images, torch.Generator().manual_seed(3))[0])

    assert loss(0.5) > 1.5 * loss(0.0)


def test_the_average_warms_up() -> None:
    network = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(network.weight)
    average = EMA(network, 0.9)
    nn.init.ones_(network.weight)
    expected = 0.0
    for step in range(200):
        average.update(step)
        expected += (1.0 - min(0.9, (1 + step) / (10 + step))) * (1.0 - expected)
        assert float(next(average.model.parameters())) == pytest.approx(expected, rel=1e-5)


def test_strong_blurs_leave_the_callers_subnormal_numbers_alone() -> None:
    """The kernels count subnormal numbers as 0 while they run, for speed; the thread's arithmetic is then as it was."""
    tiny = torch.tensor([1e-40])
    blurred = sd.dct_blur(torch.randn(2, 1, 64, 64), 200.0)
    assert float(tiny * 1.0) > 0.0
    subnormal = (blurred != 0) & (blurred.abs() < torch.finfo(torch.float32).tiny)
    assert not bool(subnormal.any())

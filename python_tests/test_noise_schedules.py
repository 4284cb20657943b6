"""Variance-preserving schedules: ends, slopes, DDPM's table, and what a learned schedule's gradient is the gradient of."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import softdiff_ext as sd
from softdiff_ext.learned_schedules import LearnedLinear, LearnedMonotone, LearnedSchedule
from softdiff_ext.schedules import Cosine, LinearBeta, LinearGamma, NoiseSchedule

TIMES = torch.linspace(0, 1, 101, dtype=torch.float64)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def wild(seed: int, learn_ends: bool = True) -> LearnedMonotone:
    """A monotone network far from the straight line it starts near."""
    schedule = LearnedMonotone(-9.0, 4.0, learn_ends=learn_ends, features=7, generator=seeded(seed))
    with torch.no_grad():
        schedule.straight.fill_(-0.05)
        schedule.inner.mul_(4.0)
        schedule.outer.mul_(10.0)
    return schedule


SCHEDULES: dict[str, NoiseSchedule] = {
    "cosine": Cosine(),
    "linear": LinearGamma(),
    "ddpm": LinearBeta(),
    "learned linear": LearnedLinear(),
    "learned network": LearnedMonotone(features=16, generator=seeded(0)),
    "wild network": wild(1),
}
every_schedule = pytest.mark.parametrize("schedule", [pytest.param(item, id=name) for name, item in SCHEDULES.items()])


@every_schedule
def test_gamma_grows_and_the_slope_is_its_derivative(schedule: NoiseSchedule) -> None:
    # off the entries of DDPM's table, where the slope jumps, and off 0, where its gamma is infinite
    t = ((torch.arange(997, dtype=torch.float64) + 0.3) / 997).requires_grad_()
    gamma = schedule.gamma(t)
    (slope,) = torch.autograd.grad(gamma.sum(), t)
    assert bool((gamma.diff() > 0).all())
    torch.testing.assert_close(schedule.slope(t), slope, rtol=1e-10, atol=0)


@every_schedule
def test_signal_and_noise_are_those_of_gamma(schedule: NoiseSchedule) -> None:
    t = TIMES[1:]
    gamma, instant = schedule.gamma(t), schedule.at(t)
    torch.testing.assert_close(schedule.log_a(t), 0.5 * torch.nn.functional.logsigmoid(-gamma), rtol=1e-10, atol=0)
    torch.testing.assert_close(schedule.sigma(t), torch.sigmoid(gamma).sqrt(), rtol=1e-10, atol=0)
    torch.testing.assert_close(schedule.logsnr(t), -gamma, rtol=0, atol=0)
    for name in ("log_a", "sigma", "gamma", "slope", "time"):
        torch.testing.assert_close(getattr(instant, name), getattr(schedule, name)(t), rtol=1e-12, atol=1e-12)
    assert schedule.gamma(t[3]).shape == ()


@given(st.floats(-20, -1), st.floats(1, 20), st.integers(0, 99))
def test_ends_are_pinned_whatever_the_weights(low: float, high: float, seed: int) -> None:
    ends = torch.tensor([0.0, 1.0], dtype=torch.float64)
    torch.testing.assert_close(LinearGamma(low, high).gamma(ends), torch.tensor([low, high], dtype=torch.float64))
    for kind in (LearnedLinear, LearnedMonotone):
        schedule = kind(low, high)
        with torch.no_grad():
            for name, weight in schedule.named_parameters():
                if name not in ("start", "width"):
                    weight.copy_(10.0 * torch.randn(weight.shape, dtype=torch.float64, generator=seeded(seed)))
        gamma = schedule.gamma(ends).detach()
        torch.testing.assert_close(gamma, torch.tensor([low, high], dtype=torch.float64), rtol=0, atol=1e-12)
        torch.testing.assert_close(schedule.time(ends).detach(), ends, rtol=0, atol=1e-14)


def test_learned_schedules_are_modules_inside_the_process() -> None:
    process = sd.VariationalDiffusion(wild(3), weighting="elbo")
    names = ["schedule.start", "schedule.width", "schedule.straight", "schedule.inner", "schedule.bias", "schedule.outer"]
    assert sorted(dict(process.named_parameters())) == sorted(names)
    other = sd.VariationalDiffusion(wild(4), weighting="elbo")
    other.load_state_dict(process.state_dict())
    assert torch.equal(other.schedule.gamma(TIMES), process.schedule.gamma(TIMES))
    fixed = wild(3, learn_ends=False)
    assert "start" not in dict(fixed.named_parameters())
    assert "start" in fixed.state_dict()
    assert sd.VariationalDiffusion().state_dict() == {}


@pytest.mark.parametrize("i", [1, 2, 3, 500, 999, 1000])
def test_ddpm_posterior_is_the_published_one(i: int) -> None:
    """Mean and variance by Ho et al.'s formulas from the betas, against the operator at the table's times; i counts from 1."""
    beta = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)
    abar = torch.cumprod(1 - beta, dim=0)
    before = abar[i - 2] if i > 1 else torch.ones((), dtype=torch.float64)
    mean_x = beta[i - 1] * before.sqrt() / (1 - abar[i - 1])
    mean_z = (1 - before) * (1 - beta[i - 1]).sqrt() / (1 - abar[i - 1])
    variance = beta[i - 1] * (1 - before) / (1 - abar[i - 1])
    process = sd.VariationalDiffusion(LinearBeta())
    x, z = (torch.randn(1, 1, 4, 4, dtype=torch.float64, generator=seeded(seed)) for seed in (0, 1))
    t, s = process.level(i / 1000), process.level((i - 1) / 1000)
    mean, var = sd.posterior(z, x, s, t)
    # 1 - abar loses 4 digits of 16 in the published form at the first entry
    torch.testing.assert_close(mean, mean_x * x + mean_z * z, rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(var, variance.expand(1, 1, 4, 4), rtol=1e-10, atol=1e-16)
    assert float(2 * torch.as_tensor(t.log_a)) == pytest.approx(float(abar[i - 1].log()), rel=1e-11)


def test_between_ddpms_entries_lies_the_process_of_constant_rate() -> None:
    schedule = LinearBeta(10, 0.1, 0.3)
    t = torch.tensor([0.0, 0.42, 0.45], dtype=torch.float64)
    beta = torch.linspace(0.1, 0.3, 10, dtype=torch.float64)
    entry = 0.5 * torch.log1p(-beta).cumsum(0)
    wanted = [0.0, float(entry[3] + 0.2 * (entry[4] - entry[3])), float((entry[3] + entry[4]) / 2)]
    assert schedule.log_a(t).tolist() == pytest.approx(wanted, rel=1e-12)
    assert float(schedule.sigma(t)[0]) == 0.0
    assert float(schedule.gamma(t)[0]) == -math.inf


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: LinearGamma(1.0, 1.0), "LinearGamma: wanted finite gamma_min < gamma_max, got 1.0 and 1.0"),
        (lambda: LearnedLinear(0.0, math.inf), "LearnedLinear: wanted finite gamma_min < gamma_max"),
        (lambda: LearnedMonotone(2.0, -2.0), "LearnedMonotone: wanted finite gamma_min < gamma_max"),
        (lambda: LearnedMonotone(features=0), "LearnedMonotone: features must be at least 1, got 0"),
        (lambda: LinearBeta(1), "LinearBeta: steps must be at least 2, got 1"),
        (lambda: LinearBeta(10, 0.2, 0.1), "LinearBeta: wanted 0 < beta_first <= beta_last < 1, got 0.2 and 0.1"),
        (lambda: LinearBeta(10, 0.2, 1.0), "LinearBeta: wanted 0 < beta_first <= beta_last < 1"),
    ],
)
def test_bad_schedules_are_refused(make: object, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        make()  # type: ignore[operator]


# What one loss call teaches a learned schedule.

X = torch.rand(6, 1, 4, 4, dtype=torch.float64, generator=seeded(9)) * 2 - 1
GRID = X.mul(8).round().div(8)
VALUES = torch.linspace(-1, 1, 17, dtype=torch.float64)


def net(z: Tensor, t: Tensor) -> Tensor:
    """Wrong in a way that depends on its input and its time, so that every path of the gradient counts."""
    return 0.7 * z * torch.cos(2.0 * t)[:, None, None, None] + 0.1 * z**2


def diffusion_bits(process: sd.VariationalDiffusion, seed: int) -> Tensor:
    """The diffusion term of each image with the draws of loss(), written out once more from the schedule's numbers."""
    first = torch.rand((), dtype=torch.float64, generator=(draws := seeded(seed)))
    t = (first + torch.arange(len(GRID), dtype=torch.float64) / len(GRID)) % 1.0
    eps = torch.randn(GRID.shape, dtype=torch.float64, generator=draws)
    gamma, slope, time = process.schedule.gamma(t), process.schedule.slope(t), process.schedule.time(t)
    z = torch.sigmoid(-gamma).sqrt()[:, None, None, None] * GRID + torch.sigmoid(gamma).sqrt()[:, None, None, None] * eps
    nats = 0.5 * slope * ((eps - net(z, time)) ** 2).sum(dim=(1, 2, 3))
    return nats / (16 * math.log(2))


def difference(process: sd.VariationalDiffusion, name: str, index: int, what: object, width: float = 1e-5) -> float:
    """Central finite difference of what() by one number of one parameter."""
    values = []
    with torch.no_grad():
        weight = dict(process.named_parameters())[name].view(-1)
        for sign in (1, -1):
            weight[index] += sign * width
            values.append(float(what()))  # type: ignore[operator]
            weight[index] -= sign * width
    return (values[0] - values[1]) / (2 * width)


def interior(schedule: LearnedSchedule) -> list[tuple[str, int]]:
    names = [name for name, _ in schedule.named_parameters() if name not in ("start", "width")]
    return [(f"schedule.{name}", i) for name in names for i in range(min(2, dict(schedule.named_parameters())[name].numel()))]


def test_the_interior_learns_to_lower_the_variance() -> None:
    """Its gradient is that of the mean of the squared diffusion terms, by finite differences; the mean itself is invariant."""
    process = sd.VariationalDiffusion(wild(5), weighting="elbo", values=VALUES)
    process.loss(net, GRID, seeded(3))[0].backward()
    for name, index in interior(process.schedule):
        wanted = difference(process, name, index, lambda: (diffusion_bits(process, 3) ** 2).mean())
        got = float(dict(process.named_parameters())[name].grad.view(-1)[index])
        assert got == pytest.approx(wanted, rel=1e-5), name
        assert abs(wanted) > 1e-6


@pytest.mark.parametrize("kind", ["network", "linear"])
@pytest.mark.parametrize("name", ["start", "width"])
def test_the_ends_learn_to_lower_the_bound(kind: str, name: str) -> None:
    schedule = wild(5) if kind == "network" else LearnedLinear(-9.0, 4.0)
    process = sd.VariationalDiffusion(schedule, weighting="elbo", values=VALUES)
    loss, terms = process.loss(net, GRID, seeded(3))
    loss.backward()
    wanted = difference(process, f"schedule.{name}", 0, lambda: process.loss(net, GRID, seeded(3))[0])
    assert float(getattr(schedule, name).grad) == pytest.approx(wanted, rel=1e-4)
    assert sorted(terms) == ["diffusion_bits", "prior_bits", "reconstruction_bits"]
    assert float(loss.detach()) == pytest.approx(sum(terms.values()))


def test_the_network_gets_the_gradient_of_the_bound_itself() -> None:
    process = sd.VariationalDiffusion(wild(5), weighting="elbo", values=VALUES)
    weight = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)

    def loss() -> Tensor:
        return process.loss(lambda z, t: weight * z * t[:, None, None, None], GRID, seeded(3))[0]

    (got,) = torch.autograd.grad(loss(), weight)
    with torch.no_grad():
        values = []
        for sign in (1, -1):
            weight += sign * 1e-5
            values.append(float(loss()))
            weight -= sign * 1e-5
    assert float(got) == pytest.approx((values[0] - values[1]) / 2e-5, rel=1e-6)


def test_in_discrete_time_the_interior_learns_by_the_bound() -> None:
    """With few steps the bound does depend on where they are."""
    process = sd.VariationalDiffusion(wild(5, learn_ends=False), weighting="elbo", steps=4, values=VALUES)
    process.loss(net, GRID, seeded(3))[0].backward()
    for name, index in interior(process.schedule):
        wanted = difference(process, name, index, lambda: process.loss(net, GRID, seeded(3))[0])
        assert float(dict(process.named_parameters())[name].grad.view(-1)[index]) == pytest.approx(wanted, rel=1e-5), name


def test_training_the_interior_lowers_the_variance() -> None:
    """A whole loop: a start far from the best, a fixed network, the plain optimiser; the spread over t falls."""
    process = sd.VariationalDiffusion(wild(5, learn_ends=False), weighting="elbo", values=VALUES)
    optimizer = torch.optim.Adam(process.parameters(), lr=0.05)

    def spread() -> tuple[float, float]:
        with torch.no_grad():
            bits = torch.stack([diffusion_bits(process, seed) for seed in range(200)])
        return float(bits.mean()), float(bits.std())

    before = spread()
    for seed in range(300):
        optimizer.zero_grad()
        process.loss(net, GRID, seeded(1000 + seed))[0].backward()
        optimizer.step()
    after = spread()
    assert after[1] < 0.7 * before[1]
    assert after[0] == pytest.approx(before[0], rel=0.15)  # the bound itself stays, to sampling error

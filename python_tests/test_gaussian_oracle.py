"""Whole samplers without a trained network: for Gaussian data the best network is linear, and so is every sampler.

With u_0 ~ N(0, P_f) the posterior mean is g u_t, g = P alpha / (alpha^2 P + sigma^2), so the second moment of each frequency
follows a recursion: v_s = (alpha_s g + kappa (1 - alpha_t g))^2 v_t + omega^2. kappa and omega are written out here once more
from the table of the rules, so that the test does not lean on the code under test.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor

import softdiff_ext as sd
from softdiff_ext import reference
from softdiff_ext.processes import BlurringDiffusion, Process, SoftDiffusion, VariationalDiffusion
from softdiff_ext.processes.draws import ImageDraws
from softdiff_ext.rules import Rule
from softdiff_ext.sampling import times
from softdiff_ext.schedules import LinearBeta, LinearGamma

SIZE = 8
LAM = reference.eigenvalues((SIZE, SIZE))
SHAPE = 1.0 / (1.0 + LAM) ** 2
POWER = SHAPE * 0.16**2 / SHAPE.mean()  # pixel std 0.16: images of this law stay within [-1, 1]
TRAINING = reference.idct(
    torch.randn(500, 1, SIZE, SIZE, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) * POWER.sqrt()
)

MAKERS = {
    "ddpm": lambda: VariationalDiffusion(LinearBeta(50, 1e-3, 0.2)),
    "vdm, v": lambda: VariationalDiffusion(LinearGamma(-10.0, 6.0), "v"),
    "blurring, eps": lambda: BlurringDiffusion(sigma_blur_max=2.0),
    "blurring, v": lambda: BlurringDiffusion(sigma_blur_max=2.0, prediction="v"),
    "blurring, x, no floor": lambda: BlurringDiffusion(sigma_blur_max=2.0, floor=0.0, prediction="x"),
    "soft": lambda: SoftDiffusion(sigma_blur=(0.01, 2.0)),
    "soft, constant noise": lambda: SoftDiffusion(sigma_blur=(0.01, 2.0), sigma=(0.05, 0.05)),
}
EXACT = (sd.Markov(), sd.Momentum(exact=True), sd.DDIM(), sd.DDIM(eta=0.5), sd.Naive())
RULES = (*EXACT, sd.Momentum(), sd.Cold(), sd.Naive(std=0.0625))
CASES = [
    pytest.param(name, rule, id=f"{name}-{rule}")
    for name in MAKERS
    for rule in RULES
    if name == "soft, constant noise" or rule not in (sd.Cold(), sd.Naive(std=0.0625))  # those two need constant noise
]


def make(name: str) -> Process:
    process = MAKERS[name]()
    process.fit(TRAINING)
    return process


def scalars(process: Process, t: float) -> tuple[float, Tensor, float]:
    """a, alpha per frequency and sigma at time t."""
    level = process.level(t)
    a, tau, floor = float(torch.as_tensor(level.log_a).exp()), float(level.tau), float(level.floor)
    return a, a * ((1 - floor) * torch.exp(-LAM * tau) + floor), float(level.sigma)


def gain(process: Process, t: float) -> Tensor:
    """g of E[u_0 | u_t] = g u_t."""
    _, alpha, sigma = scalars(process, t)
    return POWER * alpha / (alpha**2 * POWER + sigma**2)


def perfect(process: Process, z: Tensor, t: Tensor) -> Tensor:
    """What the best network answers, in the form that the process wants."""
    time = float(t[0])
    a, alpha, sigma = scalars(process, time)
    u_t = reference.dct(z.double())
    u_hat = gain(process, time) * u_t
    eps_hat = (u_t - alpha * u_hat) / sigma
    forms = {"eps": eps_hat, "v": a * eps_hat - sigma * u_hat, "x": u_hat}
    u = u_hat - u_t if isinstance(process, SoftDiffusion) else forms[process.prediction]
    return reference.idct(u).to(z.dtype)


def table(process: Process, rule: Rule, s: float, t: float) -> tuple[Tensor, Tensor]:
    """kappa and omega of the table of the rules."""
    _, alpha_s, sigma_s = scalars(process, s)
    _, alpha_t, sigma_t = scalars(process, t)
    r, ones = sigma_s / sigma_t, torch.ones_like(LAM)
    # without a floor alpha_s may underflow to 0 together with alpha_t: their ratio is then 0 for all that matters here
    ratio = torch.where(alpha_s > 0, alpha_t / torch.where(alpha_s > 0, alpha_s, 1.0), 0.0)
    match rule:
        case sd.Markov():
            return ratio * r**2, sigma_s * torch.sqrt(1 - (ratio * r) ** 2)
        case sd.Momentum(exact=False):
            return r**2 * ones, np.sqrt(max(sigma_t**2 - sigma_s**2, 0.0)) * ones
        case sd.Momentum(exact=True):
            return r**2 * ones, sigma_s * np.sqrt(max(1 - r**2, 0.0)) * ones
        case sd.DDIM(eta=eta):
            return np.sqrt(1 - eta**2) * r * ones, eta * sigma_s * ones
        case sd.Naive(std=std):
            return 0 * ones, (sigma_s if std is None else std) * ones
    return ones, 0 * ones  # Cold


def recursion(process: Process, rule: Rule, steps: int, v: Tensor) -> Tensor:
    """Second moment of the sampler's output, per frequency, from the second moment v of its start."""
    for t, s in pairwise(times(steps)):
        g, alpha_t = gain(process, t), scalars(process, t)[1]
        if s == 0.0:  # the last step returns the clean estimate
            return g**2 * v
        kappa, omega = table(process, rule, s, t)
        v = (scalars(process, s)[1] * g + kappa * (1 - alpha_t * g)) ** 2 * v + omega**2
    raise AssertionError("no last step")


def start(process: Process) -> Tensor:
    """Second moment of the prior: unit noise, or the training images themselves under the last level."""
    if isinstance(process, VariationalDiffusion):
        return torch.ones_like(LAM)
    _, alpha, sigma = scalars(process, 1.0)
    return alpha**2 * (reference.dct(TRAINING) ** 2).mean(dim=(0, 1)) + sigma**2


def basis(values: Tensor) -> Tensor:
    """The image whose DCT coefficients are `values`."""
    return reference.idct(values[None, None])


@pytest.mark.parametrize(("name", "rule"), CASES)
@pytest.mark.parametrize("steps", [5, 25])
def test_each_step_is_the_recursions(name: str, rule: Rule, steps: int) -> None:
    """The operator on a state of unit coefficients gives the step's gain, on unit noise its omega; chained, the variance."""
    process = make(name)
    unit, zero, v = basis(torch.ones_like(LAM)), basis(torch.zeros_like(LAM)), start(process)
    for t, s in pairwise(times(steps)[:-1]):
        level_s, level_t = process.level(s), process.level(t)
        output = process.output(lambda z, t: perfect(process, z, t), unit, torch.tensor([t], dtype=torch.float64))
        kept = sd.dct(sd.step(unit, output, level_s, level_t, rule, process.prediction, noise=zero))[0, 0]
        fresh = sd.dct(sd.step(zero, zero, level_s, level_t, rule, process.prediction, noise=unit))[0, 0]
        v = kept**2 * v + fresh**2
    last = times(steps)[-2]
    v = gain(process, last) ** 2 * v
    # float64, but the eps form divides by alpha >= 1e-3 and multiplies by it again; the variances span 1e-9 ... 1
    torch.testing.assert_close(v, recursion(process, rule, steps, start(process)), rtol=1e-7, atol=1e-12)


@pytest.mark.parametrize(("name", "rule"), CASES)
def test_sampler_has_the_recursions_variance(name: str, rule: Rule) -> None:
    """Real draws through process.sample: every frequency within sampling error of the exact second moment."""
    process, steps, count = make(name), 12, 4000
    samples = process.sample(
        lambda z, t: perfect(process, z, t), (count, 1, SIZE, SIZE), steps, rule, generator=torch.Generator().manual_seed(2)
    )
    ratio = (reference.dct(samples.double()) ** 2).mean(dim=(0, 1)) / recursion(process, rule, steps, start(process))
    # a second moment of `count` normal numbers has the relative std sqrt(2 / count) = 2.2 %; 4.5 of those for the largest of 64
    assert float((ratio - 1).abs().max()) < 4.5 * (2 / count) ** 0.5
    assert abs(float(ratio.mean()) - 1) < 4 * (2 / count / ratio.numel()) ** 0.5


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("rule", [sd.Markov(), sd.DDIM(), sd.Momentum(), sd.Momentum(exact=True)], ids=str)
def test_more_steps_come_closer_to_the_data(name: str, rule: Rule) -> None:
    """Total variance over that of the data, from 25 to 400 steps."""
    process = make(name)
    few, many = (float(recursion(process, rule, steps, start(process)).sum() / POWER.sum()) for steps in (25, 400))
    # what is left is the noise of the last steps, which their clean estimate drops: measured 0.95 (constant noise) to 1.02
    assert abs(many - 1) < 0.06
    assert abs(many - 1) < abs(few - 1) or abs(few - 1) < 0.03


@pytest.mark.parametrize(("ratio", "temperature"), [(1.0, 0.5), (1.25, 0.78), (2**0.5, 1.0)])
def test_naive_sampling_has_a_temperature(ratio: float, temperature: float) -> None:
    """A kappa = 0 step is a Langevin step with the noise omega in place of sqrt(2) sigma: variance times omega^2 / (2 sigma^2).

    It holds where the images are much stronger than the noise, however many the steps: Naive() loses half the variance.
    """
    sigma = 0.05
    process = SoftDiffusion(sigma_blur=(0.01, 2.0), sigma=(sigma, sigma))
    process.fit(TRAINING)
    out = recursion(process, sd.Naive(std=ratio * sigma), 1500, start(process))
    torch.testing.assert_close(
        out[:3, :3] / POWER[:3, :3], torch.full((3, 3), temperature, dtype=torch.float64), rtol=0.04, atol=0
    )


def test_stale_noise_is_why_cold_is_refused() -> None:
    """With noise that falls on the way, kappa = 1 keeps the first noise: far too much variance where images have little."""
    process = make("soft")
    worst = {rule: float((recursion(process, rule, 100, start(process)) / POWER).max()) for rule in (sd.Cold(), sd.Momentum())}
    assert worst[sd.Cold()] > 10
    assert worst[sd.Momentum()] < 1.2
    with pytest.raises(ValueError, match="Cold keeps all the noise of the old state, so it needs a constant sigma"):
        process.sample(lambda z, t: z, (1, 1, SIZE, SIZE), 100, sd.Cold())


def test_part_of_a_run_ends_at_its_level() -> None:
    """reverse() down to t > 0 gives images of that level: their second moment is the recursion's without its last step."""
    process = make("soft")
    chosen = [1.0, 0.8, 0.6, 0.5]
    v = start(process)
    for t, s in pairwise(chosen):
        kappa, omega = table(process, sd.Markov(), s, t)
        g = gain(process, t)
        v = (scalars(process, s)[1] * g + kappa * (1 - scalars(process, t)[1] * g)) ** 2 * v + omega**2
    generator = torch.Generator().manual_seed(3)
    z = process.prior((4000, 1, SIZE, SIZE), generator)
    z = process.reverse(lambda z, t: perfect(process, z, t), z, chosen, sd.Markov(), ImageDraws(generator))
    ratio = (reference.dct(z.double()) ** 2).mean(dim=(0, 1)) / v
    assert float((ratio - 1).abs().max()) < 4.5 * (2 / 4000) ** 0.5

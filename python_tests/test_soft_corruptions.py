"""Soft Diffusion with linear corruptions: the general path beside the native one, priors, fits, draws, and what is refused."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

import softdiff_ext as sd
from softdiff_ext.linear import check_linear_rule
from softdiff_ext.processes import SoftDiffusion
from softdiff_ext.rules import Rule

from .helpers import randn
from .linear_corruptions import (
    BLUR,
    CORRUPTIONS,
    FADE,
    GENERIC_BLUR,
    RULES,
    SIZE,
    THRESHOLDS,
    every,
    generator,
    images,
    soft,
)


@pytest.mark.parametrize("rule", [rule for rule in RULES[:-1] if rule != sd.Markov()], ids=str)
def test_the_process_by_the_general_path_is_the_native_one(rule: Rule) -> None:
    general, native = soft(GENERIC_BLUR), SoftDiffusion(sigma_blur=BLUR.sigma_blur)
    native.fit(images())
    general.nodes = native.nodes  # its own candidates are spaced evenly, not by factors
    start = native.prior((3, 1, SIZE, SIZE), generator(1))
    net = lambda z, t: 0.3 * z.roll(1, -1)  # noqa: E731
    a, b = (process.sample(net, start.shape, 9, rule, generator(2), start=start) for process in (general, native))
    torch.testing.assert_close(a, b, rtol=0, atol=1e-5)  # float32 over 9 steps
    (loss_a, _), (loss_b, _) = (process.loss(net, images(), generator(3)) for process in (general, native))
    torch.testing.assert_close(loss_a, loss_b, rtol=1e-5, atol=0)
    given_as_a_corruption = SoftDiffusion(corruption=BLUR)
    given_as_a_corruption.fit(images())
    c = given_as_a_corruption.sample(net, start.shape, 9, rule, generator(2), start=start)
    assert torch.equal(c, b)  # the very same kernels


@every
def test_a_network_that_knows_the_image_samples_it(name: str) -> None:
    channels = 3 if name == "grey" else 1
    process = SoftDiffusion(corruption=CORRUPTIONS[name])
    process.fit(images(channels=channels))
    x = images(1, channels)
    for rule in (sd.Momentum(), sd.Momentum(exact=True), sd.DDIM(), sd.Naive()):
        got = process.sample(lambda z, t: x - z, x.shape, 6, rule, generator(0))
        torch.testing.assert_close(got, x, rtol=0, atol=1e-6)
    loss, logged = process.loss(lambda z, t: x.expand_as(z) - z, x.expand(8, -1, -1, -1), generator(0))
    assert float(loss) < 1e-10
    assert set(logged) == {"weighted_mse", "corrupted_mse"}
    assert float(process.loss(lambda z, t: 0 * z, x.expand(8, -1, -1, -1), generator(0))[0]) > 1e-3


def test_levels_of_a_general_corruption_grow() -> None:
    process = soft(sd.NestedMask())
    level = process.linear_level(torch.linspace(0, 1, 101, dtype=torch.float64))
    assert bool((torch.as_tensor(level.strength).diff() >= 0).all())
    assert [float(process.linear_level(t).strength) for t in (0.0, 1.0)] == [0.0, 1.0]
    assert [float(process.linear_level(t).sigma) for t in (0.0, 0.25, 1.0)] == pytest.approx([0.01, 0.1, 0.1])


def test_priors_are_corrupted_training_images() -> None:
    quiet = {"sigma": (1e-7, 1e-6)}  # so little noise that the image shows
    average = soft(sd.BlockAverage((2, 4)), **quiet)
    drawn = average.prior((200, 1, SIZE, SIZE), generator(0))
    distance = torch.cdist(drawn.double().flatten(1), sd.BlockAverage((2, 4)).apply(images().double(), 1.0).flatten(1))
    assert float(distance.min(dim=1).values.max()) < 1e-4
    assert distance.argmin(dim=1).unique().numel() == 30  # each is left out of 200 draws with probability 0.1 %
    mask = soft(sd.NestedMask())
    assert mask.starts.shape == (1, 1, SIZE, SIZE)  # nothing is left of any image: one start serves
    noise = mask.prior((500, 1, SIZE, SIZE), generator(0))
    assert float(noise.std()) == pytest.approx(0.1, rel=0.02)
    assert abs(float(noise.mean())) < 3 * 0.1 / math.sqrt(500 * SIZE * SIZE)


def test_the_fit_travels_in_the_state_dict() -> None:
    fitted_one, loaded = soft(sd.BlockAverage((2, 4))), SoftDiffusion(corruption=sd.BlockAverage((2, 4)))
    loaded.load_state_dict(fitted_one.state_dict())
    assert torch.equal(fitted_one.prior((5, 1, SIZE, SIZE), generator(0)), loaded.prior((5, 1, SIZE, SIZE), generator(0)))
    with pytest.raises(ValueError, match=r"SoftDiffusion was fitted on images \[1, 8, 8\], got \[3, 8, 8\]"):
        loaded.prior((1, 3, SIZE, SIZE))


def test_the_gradient_of_the_masked_loss_reaches_the_network() -> None:
    process, x = soft(sd.NestedMask()), images(3).double()
    kernel = torch.randn(1, 1, 3, 3, dtype=torch.float64, generator=generator(5)).requires_grad_()

    def loss(weight: Tensor) -> Tensor:
        return process.loss(lambda z, t: torch.nn.functional.conv2d(z, weight, padding=1), x, generator(7))[0]

    assert torch.autograd.gradcheck(loss, (kernel,))


def test_looking_on_or_keeping_still_draws_nothing() -> None:
    process = soft(sd.NestedMask())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        before = torch.random.get_rng_state()
        process.advance(images(2), images(2), 0.4, 0.6, sd.DDIM())
        assert torch.equal(torch.random.get_rng_state(), before)
        process.advance(images(2), images(2), 0.4, 0.6, sd.Naive())
        assert not torch.equal(torch.random.get_rng_state(), before)


MASK = sd.NestedMask()
LEVELS = [sd.LinearLevel(MASK, 0.2, 0.1), sd.LinearLevel(MASK, 0.6, 0.2)]


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda: SoftDiffusion(corruption=object()), TypeError, "corruption must have apply, adjoint and candidates"),
        (lambda: sd.SpectralBlur((2.0, 1.0)), ValueError, "SpectralBlur: sigma_blur must be finite with 0 < first < last"),
        (lambda: sd.NestedMask("spiral"), ValueError, 'order must be "centre", "random" or a tensor, got \'spiral\''),
        (lambda: sd.NestedMask(-THRESHOLDS), ValueError, r"thresholds >= 0 of shape \[H, W\]"),
        (lambda: sd.NestedMask(THRESHOLDS).apply(randn((1, 1, 4, 4), 0), 0.5), ValueError, r"images \[8, 8\], got \[4, 4\]"),
        (lambda: sd.NestedMask().apply(images(2), 1.5), ValueError, r"NestedMask: strength must be in \[0, 1\], got 1.5"),
        (lambda: sd.BlockAverage((3, 4)), ValueError, r"each a multiple of the last, got \(3, 4\)"),
        (lambda: sd.BlockAverage(()), ValueError, r"blocks must grow from 2 or more"),
        (lambda: sd.BlockAverage((3,)).apply(images(2), 0.5), ValueError, "must be multiples of 3, got 8x8"),
        (lambda: sd.Grayscale((0.5, 0.4)), ValueError, r"weights must sum to 1, got \(0.5, 0.4\)"),
        (lambda: sd.Grayscale().apply(images(2), 0.5), ValueError, "images must have 3 channels, got 1"),
        (lambda: sd.LinearMap(FADE.apply, FADE.adjoint, (1.0, 0.0)), ValueError, "strengths must be finite with first < last"),
        (
            lambda: sd.LinearLevel(sd.LinearMap(lambda x, s: x[..., ::2], FADE.adjoint), 0.5).apply(images(2)),
            ValueError,
            r"LinearMap.apply: must keep the shape of its images = \[2, 1, 8, 8\], got \[2, 1, 8, 4\]",
        ),
        (lambda: soft(sd.NestedMask()).level(0.5), ValueError, "level: NestedMask is not diagonal in the DCT basis"),
        (
            lambda: check_linear_rule(sd.Markov(), FADE),
            ValueError,
            "rule: Markov needs the eigenvectors of the corruption.*LinearMap is known by what it does to images only",
        ),
        (
            lambda: soft(FADE).sample(lambda z, t: pytest.fail("the network ran"), (1, 1, SIZE, SIZE), 5, sd.Markov()),
            ValueError,
            "rule: Markov needs the eigenvectors",
        ),
        (
            lambda: soft(FADE).sample(lambda z, t: pytest.fail("the network ran"), (1, 1, SIZE, SIZE), 5, sd.Cold()),
            ValueError,
            "rule: Cold keeps all the noise",
        ),
        (
            lambda: sd.linear_step(images(2), images(2), LEVELS[1], LEVELS[0], sd.DDIM()),
            ValueError,
            "linear_step: s must not be stronger than t, but strength is 0.6 and 0.2",
        ),
        (
            lambda: sd.linear_step(images(2), images(2), replace(LEVELS[0], corruption=FADE), LEVELS[1], sd.DDIM()),
            ValueError,
            "s and t must have the same corruption",
        ),
        (lambda: sd.linear_step(images(2), images(2), sd.Level(), LEVELS[0], sd.DDIM()), TypeError, "s must be a LinearLevel"),
        (lambda: sd.linear_step(images(2), images(3), *LEVELS, sd.DDIM()), ValueError, "x_hat must have the shape of x_t"),
    ],
)
def test_what_is_refused(make: Callable[[], object], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        make()

"""The one reverse loop that every process shares, the times it visits, and which rules it may take."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from softdiff_ext.levels import Level
from softdiff_ext.ops import step
from softdiff_ext.rules import Cold, Momentum, Naive, Rule

Callback = Callable[[int, Tensor, Tensor], None]
"""Called as callback(index, z_t, x_hat) after each evaluation of the network, with what it saw and the image it saw in that."""

Noise = Callable[[int, Tensor], Tensor]
"""noise(index, like): the standard normal numbers of step `index`, shape, dtype and device of `like`."""


def uniform_times(steps: int, start: float = 1.0) -> list[float]:
    """`steps` equal steps from `start` down to 0: steps + 1 times."""
    _check_steps(steps, start)
    return [start * (steps - i) / steps for i in range(steps + 1)]


def quadratic_times(steps: int, start: float = 1.0) -> list[float]:
    """start (i / steps)^2 for i = steps ... 0: steps that shrink towards the clean image.

    Source: Song et al. 2020, Denoising Diffusion Implicit Models, appendix D.2 (there for few steps on CIFAR-10).
    """
    _check_steps(steps, start)
    return [start * ((steps - i) / steps) ** 2 for i in range(steps + 1)]


def times(steps: int | Sequence[float], start: float = 1.0) -> list[float]:
    """Times of a whole reverse run, from `start` down to 0: `steps` equal ones, or the list as given.

    Raises:
        TypeError: steps is neither an int nor a list of numbers.
        ValueError: fewer than one step; a list that does not fall strictly from `start` to 0.
    """
    if isinstance(steps, int) and not isinstance(steps, bool):
        return uniform_times(steps, start)
    if isinstance(steps, (bool, float, str)) or not isinstance(steps, Sequence):
        raise TypeError(f"steps: must be an int or a list of times, got {type(steps).__name__}")
    chosen = [float(t) for t in steps]
    falls = len(chosen) >= 2 and all(s < t for t, s in pairwise(chosen))
    if not falls or chosen[0] != start or chosen[-1] != 0.0:
        raise ValueError(f"steps: a list of times must fall strictly from {start:g} to 0, got {chosen}")
    return chosen


def _check_steps(steps: int, start: float) -> None:
    if isinstance(steps, bool) or not isinstance(steps, int):
        raise TypeError(f"steps: must be an int, got {type(steps).__name__}")
    if steps < 1:
        raise ValueError(f"steps: must be at least 1, got {steps}")
    if not 0.0 < start <= 1.0:
        raise ValueError(f"start: must be in (0, 1], got {start}")


def check_rule(rule: Rule, sigma: Sequence[float], process: str) -> None:
    """Refuse a rule that leaves the wrong noise at the levels it is to pass.

    A rule keeps kappa sigma_t of the old noise and adds omega, which together should make sigma_s. Cold keeps all and
    Naive(std) adds the same at every level, so both need a noise level that does not change on the way. Where there is no
    noise at all, r = sigma_s / sigma_t counts as 1, every kappa is right, and only a rule that adds noise is refused.

    Args:
        sigma: noise std of the levels at which a step starts; the last step ends in the clean estimate, whatever the rule.
        process: name of the process, for the message.
    Raises:
        TypeError: rule is not one of the package's rules.
        ValueError: the rule does not fit the noise levels; the text says why.
    """
    if not isinstance(rule, Rule):
        raise TypeError(f"rule: must be Markov, Momentum, DDIM, Naive or Cold, got {type(rule).__name__}")
    if max(sigma) == 0.0:
        if isinstance(rule, Naive) and rule.std:
            raise ValueError(f"rule: {rule!r} adds noise, but the levels of {process} have none (sigma = 0)")
        return
    if isinstance(rule, Momentum) and any(s > t * (1.0 + 1e-6) for t, s in pairwise(sigma)):
        raise ValueError(f"rule: {rule!r} takes noise away, but sigma of {process} grows on the way down")
    if math.isclose(max(sigma), min(sigma), rel_tol=1e-6):
        return
    reach = f"so it needs a constant sigma; that of {process} goes from {max(sigma):.3g} to {min(sigma):.3g} on the way"
    if isinstance(rule, Cold):
        raise ValueError(f"rule: Cold keeps all the noise of the old state, {reach}")
    if isinstance(rule, Naive) and rule.std is not None:
        raise ValueError(f"rule: {rule!r} adds the same noise at every level, {reach}")


def clean_estimate(z_t: Tensor, output: Tensor, level: Level, prediction: str) -> Tensor:
    """x_hat from a network's output: the step to the clean level that keeps nothing of z_t and adds no noise."""
    if prediction == "x":
        return output
    # a generator of its own: a step without noise should not move the caller's, nor torch's
    return step(z_t, output, Level(), level, Naive(std=0.0), prediction, generator=torch.Generator())


def reverse(
    predict: Callable[[Tensor, float], Tensor],
    advance: Callable[[int, Tensor, Tensor, float, float], Tensor],
    estimate: Callable[[Tensor, Tensor, float], Tensor],
    z: Tensor,
    chosen: Sequence[float],
    callback: Callback | None = None,
) -> Tensor:
    """Take z from time chosen[0] down the falling times; where they end at 0, the last step returns the clean estimate.

    Args:
        predict: predict(z, t), what the network makes of images z at time t.
        advance: advance(index, z, output, s, t), the step from t to s with that output.
        estimate: estimate(z, output, t), the clean images that the output tells of.
        z: images [B, C, H, W] at time chosen[0].
        callback: called after each of the len(chosen) - 1 evaluations of the network.
    Returns:
        Images at time chosen[-1], or clean images where that is 0.
    """
    for index, (t, s) in enumerate(pairwise(chosen)):
        output = predict(z, t)
        x_hat = estimate(z, output, t) if callback is not None or s == 0.0 else z
        if callback is not None:
            callback(index, z, x_hat)
        z = x_hat if s == 0.0 else advance(index, z, output, s, t)
    return z

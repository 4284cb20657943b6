"""The one reverse loop that every process shares: pure functions of a level(t) and a predict(z, t)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from softdiff_ext.levels import Level
from softdiff_ext.ops import step
from softdiff_ext.rules import Cold, Naive, Rule

Callback = Callable[[int, Tensor, Tensor], None]


def times(steps: int | Sequence[float]) -> list[float]:
    """Times of a whole reverse run, from 1 down to 0: `steps` equal ones, or the list as given.

    Raises:
        TypeError: steps is neither an int nor a list of numbers.
        ValueError: fewer than one step; a list that does not fall strictly from 1 to 0.
    """
    if isinstance(steps, int) and not isinstance(steps, bool):
        if steps < 1:
            raise ValueError(f"steps: must be at least 1, got {steps}")
        return [(steps - i) / steps for i in range(steps + 1)]
    if isinstance(steps, (bool, float, str)) or not isinstance(steps, Sequence):
        raise TypeError(f"steps: must be an int or a list of times, got {type(steps).__name__}")
    chosen = [float(t) for t in steps]
    if len(chosen) < 2 or chosen[0] != 1.0 or chosen[-1] != 0.0 or any(s >= t for t, s in pairwise(chosen)):
        raise ValueError(f"steps: a list of times must fall strictly from 1 to 0, got {chosen}")
    return chosen


def check_rule(rule: Rule, sigma: Sequence[float], process: str) -> None:
    """Refuse a rule that leaves the wrong noise at the levels it is to pass.

    A rule keeps kappa sigma_t of the old noise and adds omega, which together should make sigma_s. Cold keeps all and
    Naive(std) adds the same at every level, so both need a noise level that does not change on the way.

    Args:
        sigma: noise std of the levels at which a step starts; the last step ends in the clean estimate, whatever the rule.
        process: name of the process, for the message.
    Raises:
        TypeError: rule is not one of the package's rules.
        ValueError: the rule does not fit the noise levels; the text says why.
    """
    if not isinstance(rule, Rule):
        raise TypeError(f"rule: must be Markov, Momentum, DDIM, Naive or Cold, got {type(rule).__name__}")
    if math.isclose(max(sigma), min(sigma), rel_tol=1e-6):
        return
    reach = f"so it needs a constant sigma; that of {process} goes from {max(sigma):.3g} to {min(sigma):.3g} on the way"
    if isinstance(rule, Cold):
        raise ValueError(f"rule: Cold keeps all the noise of the old state, {reach}")
    if isinstance(rule, Naive) and rule.std is not None:
        raise ValueError(f"rule: Naive(std={rule.std}) adds the same noise at every level, {reach}")


def clean_estimate(z_t: Tensor, output: Tensor, level: Level, prediction: str) -> Tensor:
    """x_hat from a network's output: the step to the clean level that keeps nothing of z_t and adds no noise."""
    if prediction == "x":
        return output
    # a generator of its own: a step without noise should not move the caller's, nor torch's
    return step(z_t, output, Level(), level, Naive(std=0.0), prediction, generator=torch.Generator())


def reverse(
    level: Callable[[float], Level],
    predict: Callable[[Tensor, Tensor], Tensor],
    prediction: str,
    rule: Rule,
    z: Tensor,
    chosen: Sequence[float],
    generator: torch.Generator | None = None,
    callback: Callback | None = None,
) -> Tensor:
    """Take z from time chosen[0] down the falling times; where they end at 0, the last step returns the clean estimate.

    Args:
        level: the corruption at a time.
        predict: output of a network for images z [B, C, H, W] at times t [B]; `prediction` says how to read it.
        z: images at time chosen[0].
        generator: source of the fresh noise.
        callback: called as callback(index, z_t, x_hat) after each of the len(chosen) - 1 evaluations of the network, with the
            images that it saw and the clean images that it saw in them.
    Returns:
        Images at time chosen[-1], or clean images where that is 0.
    """
    for index, (t, s) in enumerate(pairwise(chosen)):
        level_t = level(t)
        output = predict(z, torch.full((z.shape[0],), t, dtype=torch.float64, device=z.device))
        if callback is not None:
            callback(index, z, clean_estimate(z, output, level_t, prediction))
        if s == 0.0:
            return clean_estimate(z, output, level_t, prediction)
        z = step(z, output, level(s), level_t, rule, prediction, generator=generator)
    return z

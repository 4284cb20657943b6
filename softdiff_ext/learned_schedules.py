"""Noise schedules with parameters of their own, trained beside the network by the same loss."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from softdiff_ext.schedules import Instant, NoiseSchedule, check_ends


class LearnedSchedule(nn.Module, NoiseSchedule):
    """gamma(t) = start + |width| progress(t), where progress grows from 0 at t = 0 to 1 at t = 1.

    The bound on the likelihood depends on the ends, start and start + |width|, which the bound itself trains. It does not
    depend on the interior, the progress between them, which only changes how noisy the Monte Carlo estimate of the bound is.
    A network should see progress(t) as its time: then it means the same noise level while the schedule is learning.

    Args:
        gamma_min, gamma_max: first values of gamma at t = 0 and t = 1 in nats.
        learn_ends: train the ends; else they keep these values.
    Raises:
        ValueError: an end is not finite, or gamma_min >= gamma_max.
    """

    start: Tensor
    width: Tensor

    def __init__(self, gamma_min: float = -13.3, gamma_max: float = 5.0, learn_ends: bool = True) -> None:
        super().__init__()
        check_ends(type(self).__name__, "gamma_min", gamma_min, "gamma_max", gamma_max)
        self.learn_ends = learn_ends
        for name, value in (("start", gamma_min), ("width", gamma_max - gamma_min)):
            number = torch.tensor(value, dtype=torch.float64)
            if learn_ends:
                self.register_parameter(name, nn.Parameter(number))
            else:
                self.register_buffer(name, number)

    def progress(self, t: Tensor) -> Tensor:
        """progress(t) and its slope d progress / dt, stacked: [2, *t.shape], float64."""
        raise NotImplementedError

    def gamma(self, t: Tensor) -> Tensor:
        return self.gamma_of(self.progress(t)[0])

    def slope(self, t: Tensor) -> Tensor:
        return self.width.abs() * self.progress(t)[1]

    def gamma_of(self, progress: Tensor) -> Tensor:
        """gamma at a progress in [0, 1]."""
        return self.start + self.width.abs() * progress

    def time(self, t: Tensor) -> Tensor:
        return self.progress(t)[0]

    def at(self, t: Tensor, reweigh: Callable[[Tensor], Tensor] | None = None) -> Instant:
        """All of it at once; `reweigh` maps the gradient by progress and slope, [2, *t.shape], before the interior gets it."""
        progress = self.progress(t)
        if reweigh is not None and progress.requires_grad:
            progress.register_hook(reweigh)  # type: ignore[no-untyped-call]
        gamma = self.gamma_of(progress[0])
        log_a, log_sigma = 0.5 * F.logsigmoid(-gamma), 0.5 * F.logsigmoid(gamma)
        return Instant(log_a, torch.exp(log_sigma), gamma, self.width.abs() * progress[1], progress[0])


class LearnedLinear(LearnedSchedule):
    """gamma(t) = b + |w| t with both numbers learned; the arguments are those of `LearnedSchedule`.

    Source:
        The learned scalar schedule of the code of Kingma et al. 2021, Variational Diffusion Models.
    """

    def progress(self, t: Tensor) -> Tensor:
        return torch.stack([t, torch.ones_like(t)]).to(self.width.device)


class LearnedMonotone(LearnedSchedule):
    """A monotone network between two ends: raw(t) = |w_1| t + sum_j |w_3j| tanh(h_j(t) / 2) / features, normalised to [0, 1].

    h_j(t) = |w_2j| (2 t - 1) + b_j. Every weight counts by its absolute value, so raw grows. Kingma's code leaves gamma(0) and
    gamma(1) to drift with the weights; here progress = (raw(t) - raw(0)) / (raw(1) - raw(0)) keeps them at the ends.

    Args:
        gamma_min, gamma_max, learn_ends: as for `LearnedSchedule`.
        features: width of the hidden layer.
        generator: source of the first weights.
    Raises:
        ValueError: features is below 1, or the ends are bad.
    Source:
        Kingma et al. 2021, Variational Diffusion Models, appendix H.
    """

    def __init__(
        self,
        gamma_min: float = -13.3,
        gamma_max: float = 5.0,
        learn_ends: bool = True,
        features: int = 1024,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(gamma_min, gamma_max, learn_ends)
        if features < 1:
            raise ValueError(f"LearnedMonotone: features must be at least 1, got {features}")
        # The straight part starts with slope 1 and the bends small: training starts near the linear schedule.
        self.straight = nn.Parameter(torch.ones((), dtype=torch.float64))
        self.inner = nn.Parameter(torch.randn(features, dtype=torch.float64, generator=generator))
        self.bias = nn.Parameter(torch.randn(features, dtype=torch.float64, generator=generator))
        self.outer = nn.Parameter(torch.randn(features, dtype=torch.float64, generator=generator) / math.sqrt(features))

    def progress(self, t: Tensor) -> Tensor:
        t = t.to(self.width.device)
        ends = torch.tensor([0.0, 1.0], dtype=t.dtype, device=t.device)
        (first, last), _ = self._raw(ends)
        value, slope = self._raw(t)
        progress: Tensor = torch.stack([value - first, slope]) / (last - first)
        return progress

    def _raw(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """raw(t) and its slope."""
        h = self.inner.abs() * (2.0 * t[..., None] - 1.0) + self.bias
        gate, outer = torch.sigmoid(h), self.outer.abs() / len(self.outer)
        value = self.straight.abs() * t + (outer * (2.0 * gate - 1.0)).sum(-1)
        slope = self.straight.abs() + (4.0 * outer * self.inner.abs() * gate * (1.0 - gate)).sum(-1)
        return value, slope

"""Variational diffusion: DDPM and VDM, any variance-preserving schedule, fixed or learned, and exact bits per dimension."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from softdiff_ext import likelihood
from softdiff_ext.learned_schedules import LearnedSchedule
from softdiff_ext.levels import Level
from softdiff_ext.likelihood import BitsPerDimension, pixel_values, to_bits
from softdiff_ext.ops import diffuse
from softdiff_ext.ops.checks import check_images
from softdiff_ext.processes.base import Process, as_time, check_shape
from softdiff_ext.processes.draws import ImageDraws, Source, standard_normal, stratified_times
from softdiff_ext.processes.network import Model, call_network
from softdiff_ext.rules import Markov
from softdiff_ext.schedules import Cosine, Instant, NoiseSchedule

PREDICTIONS = ("eps", "v", "x")
WEIGHTINGS = ("mse", "elbo")
EVALUATIONS = 64
"""Times at which each image is looked at for the continuous bound, where nothing else is asked for."""


class VariationalDiffusion(Process):
    """z_t = a_t x + sigma_t eps with a_t^2 + sigma_t^2 = 1; the start is N(0, I), the default rule the exact posterior.

    Args:
        schedule: a_t and sigma_t. None is `Cosine()`; `LinearBeta()` is DDPM's table, `LinearGamma()` VDM's fixed schedule,
            `LearnedLinear()` and `LearnedMonotone()` have parameters, which belong in the optimiser: `process.parameters()`.
        prediction: what the network gives: "eps", the noise; "v" = a eps - sigma x; "x", the clean image.
        weighting: "mse", the mean squared error of what the network predicts (DDPM); "elbo", the bound on the bits per
            dimension (VDM), which is what learned schedules are trained by.
        steps: T of the discrete-time bound and loss; None is continuous time, or the length of a schedule that is a table.
        values: number of values L that a pixel can take, 2 (i + 1/2) / L - 1, or these values themselves, increasing; the
            bits per dimension and the ends of a learned schedule depend on it.
    Raises:
        TypeError: schedule is not a NoiseSchedule.
        ValueError: an argument is out of its range, or weighting does not go with the schedule.
    Source:
        Ho et al. 2020, Denoising Diffusion Probabilistic Models; Kingma et al. 2021, Variational Diffusion Models.

    Examples:
        >>> import torch, softdiff_ext as sd
        >>> process = sd.VariationalDiffusion()
        >>> round(float(process.level(torch.tensor([0.5])).sigma), 4)  # half of the variance is noise half of the way
        0.7071
        >>> network = lambda z, t: torch.zeros_like(z)  # yours, from images and times [B] in [0, 1]
        >>> loss, _ = process.loss(network, torch.rand(4, 1, 8, 8) * 2 - 1)
        >>> process.sample(network, (2, 1, 8, 8), steps=5).shape
        torch.Size([2, 1, 8, 8])
    """

    default_rule = Markov()
    values: Tensor

    def __init__(
        self,
        schedule: NoiseSchedule | None = None,
        prediction: str = "eps",
        weighting: str = "mse",
        steps: int | None = None,
        values: int | Sequence[float] | Tensor = 256,
    ) -> None:
        super().__init__()
        name = type(self).__name__
        schedule = Cosine() if schedule is None else schedule
        if not isinstance(schedule, NoiseSchedule):
            raise TypeError(f"{name}: schedule must be None or a NoiseSchedule, got {type(schedule).__name__}")
        if prediction not in PREDICTIONS:
            raise ValueError(f"{name}: prediction must be one of {PREDICTIONS}, got {prediction!r}")
        if weighting not in WEIGHTINGS:
            raise ValueError(f"{name}: weighting must be one of {WEIGHTINGS}, got {weighting!r}")
        if weighting == "mse" and isinstance(schedule, LearnedSchedule):
            raise ValueError(f'{name}: a learned schedule is trained by the bound, so weighting must be "elbo", got "mse"')
        if weighting == "elbo" and schedule.steps is not None:
            raise ValueError(
                f'{name}: {schedule!r} has no noise at t = 0, where the "elbo" weight of the error has no bound; use "mse"'
            )
        if steps is not None and (isinstance(steps, bool) or not isinstance(steps, int) or steps < 1):
            raise ValueError(f"{name}: steps must be None or an int >= 1, got {steps!r}")
        self.schedule, self.prediction, self.weighting = schedule, prediction, weighting
        self.steps = schedule.steps if steps is None else steps
        self.register_buffer("values", pixel_values(values, name), persistent=False)

    def level(self, t: float | Tensor) -> Level:
        time = as_time(t)
        return self._level(time, self.schedule.log_a(time), self.schedule.sigma(time))

    def prior(
        self,
        shape: Sequence[int],
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
        first: int = 0,
    ) -> Tensor:
        """Start images: N(0, I)."""
        return ImageDraws(generator, first).normal(check_shape(shape), device=device)

    def network_time(self, t: Tensor) -> Tensor:
        """t; beside a learned schedule how far gamma has come instead."""
        return self.schedule.time(t)

    def loss(self, model: Model, x: Tensor, generator: Source = None) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss that `weighting` names, at times that are stratified uniform on [0, 1), or on 1/steps ... 1.

        "mse": mean over batch and pixels of (target - output)^2; the target is what `prediction` names.

        "elbo": the bound in bits per dimension, less the terms without parameters. For a fixed schedule that is the diffusion
        term; where the ends of a learned one are trained, the reconstruction and prior terms are added. In continuous time
        the interior of a learned schedule gets the gradient of the mean of the squared diffusion terms of the images (in
        bits^2) instead: the bound does not depend on the interior, its variance does. A single backward pass gives all of it.
        """
        check_images(f"{type(self).__name__}.loss", "x", x)
        t = stratified_times(x.shape[0], generator, x.device)
        t = t if self.steps is None else (torch.floor(t * self.steps) + 1.0) / self.steps
        eps = standard_normal(x.shape, generator, x.device, x.dtype)
        if self.weighting == "mse":
            level = self.level(t)
            output = self.output(model, self._corrupt(x, level, eps), t)
            loss = torch.mean((self._target(x, eps, level) - output) ** 2)
            return loss, {f"{self.prediction}_mse": loss.detach()}
        terms = {"diffusion_bits": self._diffusion_bits(model, x, eps, t).mean()}
        if isinstance(self.schedule, LearnedSchedule) and self.schedule.learn_ends:
            fresh = standard_normal(x.shape, generator, x.device, x.dtype, draw=1)
            gamma_0 = self.schedule.gamma(torch.zeros((), dtype=torch.float64, device=x.device))
            terms["reconstruction_bits"] = to_bits(likelihood.grid_nats(x, gamma_0, fresh, self.values), x).mean()
            terms["prior_bits"] = self._prior_bits(x).mean()
        loss = torch.stack(list(terms.values())).sum().to(torch.promote_types(x.dtype, torch.float32))
        return loss, {name: term.detach() for name, term in terms.items()}

    def elbo(self, model: Model, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Upper bound on the bits per dimension of each image, float64 [B]: the total of `bits_per_dimension`."""
        return self.bits_per_dimension(model, x, generator).total

    @torch.no_grad()
    def bits_per_dimension(
        self,
        model: Model,
        x: Tensor,
        generator: torch.Generator | None = None,
        steps: int | None = None,
        evaluations: int | None = None,
    ) -> BitsPerDimension:
        """Upper bound on the bits per dimension of each image, by its terms. Noise is drawn, so each is an unbiased estimate.

        Where the schedule is a table, without noise at t = 0, the image is decoded from the network's estimate at t = 1/steps
        (a normal law with the variance of the posterior of the step above, cut into bins), as DDPM has it.

        Args:
            model: network as for `loss`, in evaluation mode.
            x: images [B, C, H, W] whose pixels are among `values`.
            generator: source of the noise.
            steps: T of the discrete-time bound; None is the process's own, which may be continuous time.
            evaluations: times at which the network sees each image, evenly spread from a random first one; None is all of the
                `steps` times, each once, or 64 for continuous time.
        Raises:
            TypeError: x is not a floating tensor.
            ValueError: x is not [B, C, H, W] or has pixels that are not among `values`, or an int is out of range.
        Source:
            Kingma et al. 2021, Variational Diffusion Models, section 4; Ho et al. 2020, section 3.3 and equation 13.
        """
        steps = self.steps if steps is None else steps
        decoded = self.schedule.steps is not None  # by the network, from the first entry of the table
        self._check_bound(x, steps, evaluations, 2 if decoded else 1)
        eps = standard_normal(x.shape, generator, x.device, x.dtype)
        if decoded:
            assert steps is not None
            reconstruction = self._decode(model, x, eps, steps)
        else:
            gamma_0 = self.schedule.gamma(torch.zeros((), dtype=torch.float64, device=x.device))
            reconstruction = likelihood.grid_nats(x, gamma_0, eps, self.values)
        first = 2 if decoded else 1
        count = None if steps is None else steps - first + 1
        draws = count if evaluations is None and count is not None else evaluations or EVALUATIONS
        start = stratified_times(1, generator, x.device)
        place = torch.arange(x.shape[0], dtype=torch.float64, device=x.device) / max(x.shape[0], 1)
        diffusion = torch.zeros(x.shape[0], dtype=torch.float64, device=x.device)
        for draw in range(draws):
            u = (start + (draw + place) / draws) % 1.0
            if steps is None or count is None:
                t, share = u, 1.0
            elif evaluations is None:
                t, share = torch.full_like(u, (first + draw) / steps), count / steps
            else:
                t, share = (torch.floor(u * count) + first) / steps, count / steps
            eps = standard_normal(x.shape, generator, x.device, x.dtype)
            diffusion += share * self._diffusion_bits(model, x, eps, t, steps) / draws
        return BitsPerDimension(to_bits(reconstruction, x), self._prior_bits(x), diffusion)

    def _diffusion_bits(self, model: Model, x: Tensor, eps: Tensor, t: Tensor, steps: int | None = None) -> Tensor:
        """The diffusion term in bits per dimension as the times t tell of it, [B]: T times the KL, or the continuous rate."""
        steps, schedule = self.steps if steps is None else steps, self.schedule
        bits: Tensor | None = None

        def reweigh(gradient: Tensor) -> Tensor:  # of the mean of the bits into that of the mean of their squares
            assert bits is not None
            return gradient * (2.0 * bits.detach())

        instant = schedule.at(t, reweigh) if isinstance(schedule, LearnedSchedule) and steps is None else schedule.at(t)
        level = self._level(t, instant.log_a, instant.sigma)
        output = call_network(model, self._corrupt(x, level, eps), instant.time)
        error, lam = self._coefficients(self._target(x, eps, level) - output)
        bits = to_bits(likelihood.weighted_nats(error, self._weight(instant, level, t, steps, lam)), x)
        return bits

    def _weight(self, instant: Instant, level: Level, t: Tensor, steps: int | None, lam: Tensor) -> Tensor:
        """What the squared error at times t weighs in twice the diffusion term, in nats."""
        if steps is None:
            rate = likelihood.gamma_rate(level, instant.slope, self._tau_slope(t), lam)
            return likelihood.rate_weight(level, rate, self.prediction, lam)
        s = (torch.round(t * steps) - 1.0) / steps  # from the index: t - 1/steps would leave a rounding error at 0
        before = self.schedule.at(s)
        cleaner = self._level(s, before.log_a, before.sigma)
        gaps = likelihood.gamma_step(cleaner, level, instant.gamma - before.gamma, lam)
        return steps * likelihood.step_weight(cleaner, level, gaps, self.prediction, lam)

    def _prior_bits(self, x: Tensor) -> Tensor:
        end = torch.ones((), dtype=torch.float64, device=x.device)
        last = self.schedule.at(end)
        u, lam = self._coefficients(x)
        return to_bits(likelihood.prior_nats(u, self._level(end, last.log_a, last.sigma), lam), x)

    def _decode(self, model: Model, x: Tensor, eps: Tensor, steps: int) -> Tensor:
        t = torch.full((x.shape[0],), 1.0 / steps, dtype=torch.float64, device=x.device)
        x_hat = self.denoise(model, self._corrupt(x, self.level(t), eps), t)
        first, second = (self.schedule.at(torch.tensor(i / steps, dtype=torch.float64)) for i in (1, 2))
        variance = -(first.sigma**2) * torch.expm1(first.gamma - second.gamma)
        return likelihood.discretised_normal_nats(x, x_hat, float(variance.sqrt()), self.values)

    def _check_bound(self, x: Tensor, steps: int | None, evaluations: int | None, least: int) -> None:
        if not isinstance(x, Tensor) or not x.is_floating_point():
            raise TypeError(f"x: must be a floating tensor, got {getattr(x, 'dtype', type(x).__name__)}")
        if x.ndim != 4:
            raise ValueError(f"x: must have shape [B, C, H, W], got {list(x.shape)}")
        for name, value, smallest in (("steps", steps, least), ("evaluations", evaluations, 1)):
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < smallest):
                raise ValueError(f"{name}: must be None or an int >= {smallest}, got {value!r}")
        likelihood.check_on_grid(x, self.values)

    # What blur changes: BlurringDiffusion overrides these four.

    def _level(self, t: Tensor, log_a: Tensor, sigma: Tensor) -> Level:
        return Level(log_a, torch.zeros_like(t), sigma, torch.zeros_like(t))

    def _tau_slope(self, t: Tensor) -> Tensor:
        """d tau / dt in pixel^2."""
        return torch.zeros_like(t)

    def _corrupt(self, x: Tensor, level: Level, eps: Tensor) -> Tensor:
        return diffuse(x, level, noise=eps)

    def _coefficients(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x in the basis in which the levels are diagonal, and the eigenvalues of that basis; pixels serve where all are 0."""
        return x, torch.zeros(1, 1, dtype=torch.float64, device=x.device)

    def _target(self, x: Tensor, eps: Tensor, level: Level) -> Tensor:
        if self.prediction == "eps":
            return eps
        return x if self.prediction == "x" else velocity(x, eps, level)


def velocity(x: Tensor, eps: Tensor, level: Level) -> Tensor:
    """v = a eps - sigma x of images [B, C, H, W] and their noise; the fields of the level are [B], or 0-d for all.

    Source:
        Salimans and Ho 2022, Progressive Distillation for Fast Sampling of Diffusion Models, section 4.
    """
    a, sigma = (
        torch.as_tensor(value).to(x.dtype).reshape(-1, 1, 1, 1)
        for value in (torch.exp(torch.as_tensor(level.log_a)), level.sigma)
    )
    return a * eps - sigma * x

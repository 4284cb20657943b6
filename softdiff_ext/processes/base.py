"""What every process is: levels over time, a start distribution, an objective, and one way to sample."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from softdiff_ext.levels import Level
from softdiff_ext.ops import diffuse, step
from softdiff_ext.processes.draws import ImageDraws, Source
from softdiff_ext.processes.network import Model, call_network
from softdiff_ext.rules import Markov, Rule
from softdiff_ext.sampling import Callback, Noise, check_rule, clean_estimate, reverse, times, uniform_times


class Process(nn.Module):
    """Base of the processes: a family is a level(t), a prior, a loss, and what its network predicts.

    A process holds no network. What fit() takes from the data lies in buffers, so `state_dict` saves it and `to` moves it.
    """

    prediction: str = "x"
    """How `step` reads what `output` returns: "x", "eps", "v" or "mean"."""

    default_rule: Rule = Markov()
    """The rule that `sample` uses where none is given."""

    FITTED: ClassVar[tuple[str, ...]] = ()
    """Buffers that fit() fills; the run that is loaded says how large they are."""

    def level(self, t: float | Tensor) -> Level:
        """Corruption at time t, a float or [B] in [0, 1]; float64 fields, 0-d for a float."""
        raise NotImplementedError

    def prior(
        self,
        shape: Sequence[int],
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
        first: int = 0,
    ) -> Tensor:
        """Start images [B, C, H, W] at t = 1, float32; the first of them is image `first` of the run (see ImageDraws)."""
        raise NotImplementedError

    def loss(self, model: Model, x: Tensor, generator: Source = None) -> tuple[Tensor, dict[str, Tensor]]:
        """Training loss for clean images x [B, C, H, W] in [-1, 1].

        Args:
            model: network, called as model(z, t) once.
            x: images.
            generator: source of the draws; a `BatchDraws` where x is a part of a larger batch.
        Returns:
            (a scalar to minimise, a mean over the images; numbers worth logging, 0-d and detached, on the device of x: turning
            one into a float waits for the device, so do it where it is logged and not at each step).
        """
        raise NotImplementedError

    def fit(self, images: Tensor) -> None:
        """Take from the data [N, C, H, W] in [-1, 1] what the prior or a schedule needs; here nothing."""
        check_images(self, images)

    def elbo(self, model: Model, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Bound on the bits per dimension of each image of x, [B], where the family defines one; an upper one: lower is better.

        Raises:
            NotImplementedError: this family has no likelihood.
        """
        raise NotImplementedError(f"{type(self).__name__} defines no likelihood, so it has no elbo")

    def network_time(self, t: Tensor) -> Tensor:
        """What the network is told at times t: the times themselves, or how far a learned schedule has come."""
        return t

    def output(self, model: Model, z_t: Tensor, t: Tensor) -> Tensor:
        """The network's answer in the form that `prediction` names."""
        return call_network(model, z_t, self.network_time(t))

    def signal(self, x: Tensor, t: float) -> Tensor:
        """Clean images x as they are at time t without the noise: the mean of q(z_t | x), [B, C, H, W]."""
        return diffuse(x, replace(self.level(t), sigma=0.0), noise=torch.zeros_like(x))

    def corrupt(self, x: Tensor, t: float | Tensor, noise: Tensor) -> Tensor:
        """z_t from clean images x [B, C, H, W] and standard normal noise of their shape; t is a float or [B]."""
        return diffuse(x, self.level(t), noise=noise)

    def advance(
        self,
        z_t: Tensor,
        output: Tensor,
        s: float,
        t: float,
        rule: Rule,
        noise: Tensor | None = None,
        prediction: str | None = None,
    ) -> Tensor:
        """One reverse step of `rule` from time t to s < t.

        Args:
            z_t: images at time t, [B, C, H, W].
            output: what `output()` returned, or clean images with prediction="x".
            noise: the fresh noise n; None draws it from torch's default generator, if the rule adds any.
            prediction: "x" where `output` is clean images; None, where it is the answer of the process's network.
        """
        # a step without noise should move nobody's numbers
        generator = torch.Generator() if noise is None and not rule.adds_noise else None
        meaning = self.prediction if prediction is None else prediction
        return step(z_t, output, self.level(s), self.level(t), rule, meaning, noise=noise, generator=generator)

    def estimate(self, z_t: Tensor, output: Tensor, t: float | Tensor) -> Tensor:
        """Clean images that the network's output tells of."""
        return clean_estimate(z_t, output, self.level(t), self.prediction)

    def denoise(self, model: Model, z_t: Tensor, t: float | Tensor) -> Tensor:
        """Clean estimate x_hat [B, C, H, W] of images z_t at time t, a float or [B]."""
        time = as_time(t, z_t.device).expand(z_t.shape[0])
        return self.estimate(z_t, self.output(model, z_t, time), time)

    def level_times(self, steps: int, start: float = 1.0) -> list[float]:
        """`steps` equal steps from `start` to 0; by the levels that the network was trained at, where there are such."""
        return uniform_times(steps, start)

    def check_rule(self, rule: Rule, chosen: Sequence[float]) -> None:
        """Raise where `rule` does not fit the levels at the falling times `chosen`: TypeError, ValueError with the reason."""
        check_rule(rule, [float(self.level(t).sigma) for t in chosen[:-1]], type(self).__name__)

    @torch.no_grad()
    def sample(
        self,
        model: Model,
        shape: Sequence[int],
        steps: int | Sequence[float],
        rule: Rule | None = None,
        generator: torch.Generator | None = None,
        callback: Callback | None = None,
        *,
        first: int = 0,
        start: Tensor | None = None,
        noise: Noise | None = None,
    ) -> Tensor:
        """Draw images: start from the prior at t = 1 and take the reverse steps of `rule` down to the clean estimate.

        Args:
            model: network as for `loss`, in evaluation mode; called once a step.
            shape: [B, C, H, W] of the images.
            steps: number of equal steps in t, or the times themselves, falling strictly from 1 to 0 (`quadratic_times`, ...). A
                network of a process with levels knows those only: there take a divisor of their number, or `level_times`.
            rule: Markov, Momentum, DDIM, Naive or Cold; None is the process's own (`default_rule`).
            generator: source of every draw; the same seed gives the same images.
            callback: called as callback(index, z_t, x_hat) after each evaluation of the network.
            first: index in the run of the first of these images. The draws of image i depend on the seed and i only, so a run
                may be cut into batches in any way: give each the same seed and its own `first`.
            start: images at t = 1 to start from, [B, C, H, W] = shape; None draws them from the prior.
            noise: noise(index, z) gives the fresh noise of step `index`, shape of z; None draws it. It is not asked where the
                rule adds none.
        Returns:
            Images [B, C, H, W], near [-1, 1] but not clipped, on the device of the network.
        Raises:
            ValueError: bad shape, steps, first or start, or a rule that does not fit the noise levels; nothing is computed
                before.
        """
        chosen, rule = times(steps), self.default_rule if rule is None else rule
        self.check_rule(rule, chosen)
        if start is not None and list(start.shape) != list(shape):
            raise ValueError(f"start: must have the shape asked for, {list(shape)}, got {list(start.shape)}")
        device = device_of(model)
        z = self.prior(shape, generator=generator, device=device, first=first) if start is None else start.to(device)
        return self.reverse(model, z, chosen, rule, ImageDraws(generator, first) if noise is None else noise, callback)

    @torch.no_grad()
    def reverse(
        self,
        model: Model,
        z: Tensor,
        chosen: Sequence[float],
        rule: Rule,
        noise: Noise | None = None,
        callback: Callback | None = None,
    ) -> Tensor:
        """Take images z at time chosen[0] down the falling times, which may end above 0; the part of `sample` after its checks.

        Args:
            noise: as for `sample`; None draws from torch's default generator.
        Returns:
            Images at time chosen[-1], clean ones where that is 0.
        """

        def predict(z_t: Tensor, t: float) -> Tensor:
            return self.output(model, z_t, torch.full((z_t.shape[0],), t, dtype=torch.float64, device=z_t.device))

        def advance(index: int, z_t: Tensor, output: Tensor, s: float, t: float) -> Tensor:
            fresh = noise(index, z_t) if noise is not None and rule.adds_noise else None
            return self.advance(z_t, output, s, t, rule, fresh)

        return reverse(predict, advance, self.estimate, z, chosen, callback)

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *args: Any) -> None:
        for name in self.FITTED:  # take the sizes of the run that is loaded: those of an unfitted process are zero
            if f"{prefix}{name}" in state_dict:
                current, loaded = getattr(self, name), state_dict[f"{prefix}{name}"]
                setattr(self, name, torch.empty(loaded.shape, dtype=current.dtype, device=current.device))
        super()._load_from_state_dict(state_dict, prefix, *args)


def as_time(t: float | Tensor, device: torch.device | None = None) -> Tensor:
    """t as a float64 tensor, 0-d or [B].

    Raises:
        ValueError: a time outside [0, 1] (looked at on the CPU only: on a GPU the look would stall the stream).
    """
    time = torch.as_tensor(t, dtype=torch.float64, device=device)
    if time.ndim > 1:
        raise ValueError(f"t: must be a float or have shape [B], got {list(time.shape)}")
    if time.device.type == "cpu" and not bool(((time >= 0.0) & (time <= 1.0)).all()):
        raise ValueError(f"t: must be in [0, 1], got {t}")
    return time


def check_images(process: Process, images: Tensor) -> None:
    """Raise unless images are finite floating [N, C, H, W] in [-1, 1] with N >= 1."""
    name = f"{type(process).__name__}.fit: images"
    if not isinstance(images, Tensor) or not images.is_floating_point():
        raise TypeError(f"{name} must be a floating tensor, got {getattr(images, 'dtype', type(images).__name__)}")
    if images.ndim != 4 or images.numel() == 0:
        raise ValueError(f"{name} must have shape [N, C, H, W] with N >= 1, got {list(images.shape)}")
    low, high = (float(end) for end in torch.aminmax(images))
    if not (low >= -1.0 and high <= 1.0):
        raise ValueError(f"{name} must lie in [-1, 1], got values from {low:.4g} to {high:.4g}")


def check_shape(shape: Sequence[int]) -> tuple[int, int, int, int]:
    """shape as four ints; raise TypeError, ValueError unless it is [B, C, H, W] with B >= 0 and the rest >= 1."""
    if not isinstance(shape, Sequence):
        raise TypeError(f"shape: must be [B, C, H, W], got {type(shape).__name__}")
    sizes = tuple(int(size) for size in shape)
    if len(sizes) != 4 or sizes[0] < 0 or min(sizes[1:]) < 1:
        raise ValueError(f"shape: must be [B, C, H, W], got {list(shape)}")
    return sizes[0], sizes[1], sizes[2], sizes[3]


def device_of(model: Model) -> torch.device | None:
    """Device of the first parameter of a network; None for a plain function."""
    parameter = next(model.parameters(), None) if isinstance(model, nn.Module) else None
    return None if parameter is None else parameter.device

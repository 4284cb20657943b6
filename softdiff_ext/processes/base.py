"""What every process is: levels over time, a start distribution, an objective, and one way to sample."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn

from softdiff_ext.levels import Level
from softdiff_ext.processes.network import Model, call_network
from softdiff_ext.rules import Markov, Rule
from softdiff_ext.sampling import Callback, check_rule, clean_estimate, reverse, times


class Process(nn.Module):
    """Base of the processes: a family is a level(t), a prior, a loss, and what its network predicts.

    A process holds no network. What fit() takes from the data lies in buffers, so `state_dict` saves it and `to` moves it.
    """

    prediction: str = "x"
    """How `step` reads what `output` returns: "x", "eps", "v" or "mean"."""

    default_rule: Rule = Markov()
    """The rule that `sample` uses where none is given."""

    def level(self, t: float | Tensor) -> Level:
        """Corruption at time t, a float or [B] in [0, 1]; float64 fields, 0-d for a float."""
        raise NotImplementedError

    def prior(
        self, shape: Sequence[int], generator: torch.Generator | None = None, device: torch.device | str | None = None
    ) -> Tensor:
        """Start images [B, C, H, W] at t = 1, float32."""
        raise NotImplementedError

    def loss(self, model: Model, x: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, dict[str, float]]:
        """Training loss for clean images x [B, C, H, W] in [-1, 1]: a scalar, and numbers worth logging."""
        raise NotImplementedError

    def fit(self, images: Tensor) -> None:
        """Take from the data [N, C, H, W] in [-1, 1] what the prior or a schedule needs; here nothing."""
        check_images(self, images)

    def output(self, model: Model, z_t: Tensor, t: Tensor) -> Tensor:
        """The network's answer in the form that `prediction` names."""
        return call_network(model, z_t, t)

    def denoise(self, model: Model, z_t: Tensor, t: float | Tensor) -> Tensor:
        """Clean estimate x_hat [B, C, H, W] of images z_t at time t, a float or [B]."""
        time = as_time(t, z_t.device).expand(z_t.shape[0])
        return clean_estimate(z_t, self.output(model, z_t, time), self.level(time), self.prediction)

    @torch.no_grad()
    def sample(
        self,
        model: Model,
        shape: Sequence[int],
        steps: int | Sequence[float],
        rule: Rule | None = None,
        generator: torch.Generator | None = None,
        callback: Callback | None = None,
    ) -> Tensor:
        """Draw images: start from the prior at t = 1 and take the reverse steps of `rule` down to the clean estimate.

        Args:
            model: network as for `loss`, in evaluation mode; called once a step.
            shape: [B, C, H, W] of the images.
            steps: number of equal steps in t, or the times themselves, falling strictly from 1 to 0.
            rule: Markov, Momentum, DDIM, Naive or Cold; None is the process's own (`default_rule`).
            generator: source of every draw; the same seed gives the same images.
            callback: called as callback(index, z_t, x_hat) after each evaluation of the network.
        Returns:
            Images [B, C, H, W], near [-1, 1] but not clipped, on the device of the network.
        Raises:
            ValueError: bad shape or steps, or a rule that does not fit the noise levels; nothing is computed before.
        """
        chosen, rule = times(steps), self.default_rule if rule is None else rule
        check_rule(rule, [float(self.level(t).sigma) for t in chosen[:-1]], type(self).__name__)
        z = self.prior(shape, generator=generator, device=_device_of(model))
        return reverse(self.level, partial(self.output, model), self.prediction, rule, z, chosen, generator, callback)


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
    """shape as four ints; raise unless it is [B, C, H, W] with B >= 0 and the rest >= 1."""
    sizes = tuple(int(size) for size in shape)
    if len(sizes) != 4 or sizes[0] < 0 or min(sizes[1:]) < 1:
        raise ValueError(f"shape: must be [B, C, H, W], got {list(shape)}")
    return sizes[0], sizes[1], sizes[2], sizes[3]


def _device_of(model: Model) -> torch.device | None:
    parameter = next(model.parameters(), None) if isinstance(model, nn.Module) else None
    return None if parameter is None else parameter.device

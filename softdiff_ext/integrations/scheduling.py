"""How a scheduler counts time, and its steps: everything of one that needs none of diffusers' base classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from operator import index as index_of
from typing import Any, ClassVar

import torch
from diffusers.utils.outputs import BaseOutput
from diffusers.utils.torch_utils import randn_tensor
from torch import Tensor

from softdiff_ext.integrations.options import rule_of
from softdiff_ext.learned_schedules import LearnedSchedule
from softdiff_ext.processes import Process, VariationalDiffusion
from softdiff_ext.processes.network import call_network
from softdiff_ext.processes.vdm import velocity
from softdiff_ext.rules import Rule

TIMESTEP_TYPES = ("discrete", "continuous")
Generators = torch.Generator | list[torch.Generator] | None


@dataclass
class SchedulerStep(BaseOutput):
    """What `step` returns.

    Args:
        prev_sample: images at the next, cleaner timestep, [B, C, H, W].
        pred_original_sample: the clean images that the network's output tells of, [B, C, H, W].
    """

    prev_sample: Tensor
    pred_original_sample: Tensor


class ProcessScheduling:
    """Timesteps, steps and corruption of a process, as diffusers' pipelines and training scripts ask for them.

    `config.num_train_timesteps` = T is the number of times that a network is trained at, t = 1/T ... 1. What it is told is,
    by `config.timestep_type`,

        "discrete"      the integer k = T t - 1, from 0 to T - 1, as diffusers counts
        "continuous"    the float 1000 t (beside a learned schedule 1000 times its progress), as this package's networks have it

    and a run goes down `times`, from t = 1 to t = 0; `timesteps` has all of them but the last.
    """

    order = 1
    PREDICTIONS: ClassVar[tuple[str, ...]] = ("sample",)
    """What `config.prediction_type` may be."""

    config: Any
    process: Process
    rule: Rule
    times: list[float]
    timesteps: Tensor
    num_inference_steps: int | None
    _begin_index: int | None

    def __len__(self) -> int:
        return int(self.config.num_train_timesteps)

    @property
    def begin_index(self) -> int | None:
        """Index of the timestep at which a run begins that does not begin with the first; None where nothing was set."""
        return self._begin_index

    def set_begin_index(self, begin_index: int = 0) -> None:
        """Say that the run begins at `timesteps[begin_index]`, as image-to-image pipelines do; `set_timesteps` forgets it.

        Raises:
            ValueError: there is no such timestep.
        """
        if not 0 <= begin_index < len(self.timesteps):
            raise ValueError(f"begin_index: must be from 0 to {len(self.timesteps) - 1}, got {begin_index}")
        self._begin_index = begin_index

    def set_timesteps(
        self,
        num_inference_steps: int | None = None,
        device: torch.device | str | None = None,
        timesteps: Sequence[float] | Tensor | None = None,
    ) -> None:
        """Choose the timesteps of a run.

        Args:
            num_inference_steps: number of equal steps from t = 1 to 0, at times that the network was trained at: of a process
                with levels at its levels, with `timestep_type="discrete"` at multiples of 1/T.
            device: where `timesteps` is put.
            timesteps: the timesteps themselves, falling; the step after the last of them ends at t = 0.
        Raises:
            TypeError: num_inference_steps is not an int.
            ValueError: both or neither of the two are given, there are more steps than trained times or less than one, the
                timesteps do not fall or are out of range, or the rule does not fit the noise at these times.
        """
        if (num_inference_steps is None) == (timesteps is None):
            raise ValueError("set_timesteps: give one of num_inference_steps and timesteps")
        if timesteps is None:
            steps = self._checked_steps(num_inference_steps)
            chosen = self.process.level_times(steps)
            if self.config.timestep_type == "discrete":
                # rounded half up: times that are 1/T or more apart stay apart
                chosen = [int(len(self) * t + 0.5) / len(self) for t in chosen]
            told = self._told(chosen[:-1])
        else:
            values = torch.as_tensor(timesteps, dtype=torch.float64).cpu()
            if values.ndim != 1 or len(values) < 1 or any(s >= t for t, s in pairwise(values.tolist())):
                raise ValueError(f"timesteps: must be a falling list of one or more, got {values.tolist()}")
            chosen = [*self._time(values, least=1e-6).tolist(), 0.0]
            discrete = self.config.timestep_type == "discrete"
            told = values.long() if discrete else values.float()
            if discrete and not torch.equal(told.double(), values):
                raise ValueError(f'timesteps: must be whole numbers with timestep_type="discrete", got {values.tolist()}')
        self.process.check_rule(self.rule, chosen)
        self._place(chosen, told, device)
        self.num_inference_steps = len(told)

    def scale_model_input(self, sample: Tensor, timestep: float | Tensor | None = None) -> Tensor:
        """The network sees the images as they are."""
        return sample

    def step(
        self,
        model_output: Tensor,
        timestep: float | Tensor,
        sample: Tensor,
        generator: Generators = None,
        return_dict: bool = True,
        variance_noise: Tensor | None = None,
    ) -> SchedulerStep | tuple[Tensor, Tensor]:
        """One reverse step, from a timestep to the next cleaner one of `set_timesteps`; after the last to the clean estimate.

        Args:
            model_output: what the network said of `sample` at `timestep`, in the form of `config.prediction_type`.
            timestep: one of `timesteps`, or any other that the network knows.
            sample: images at `timestep`, [B, C, H, W].
            generator: source of the fresh noise, where the rule adds any: one, or a list with one for each image.
            return_dict: whether to return a `SchedulerStep`, or the tuple of its two fields.
            variance_noise: the fresh noise itself, shape of sample, instead of a generator.
        Raises:
            TypeError: model_output is not a tensor.
            ValueError: `set_timesteps` was not called, timestep is out of range or before `begin_index`, shapes differ, or a
                list of generators is not one for each image.
        """
        t, s = self._span(timestep)
        if isinstance(generator, list) and len(generator) != len(sample):
            raise ValueError(f"generator: must be one, or one for each of {len(sample)} images, got {len(generator)}")

        def network(z_t: Tensor, time: Tensor) -> Tensor:
            return model_output

        time = torch.full((len(sample),), t, dtype=torch.float64, device=sample.device)
        if self._speaks_as_process:
            output, meaning = self.process.output(network, sample, time), None
            x_hat = self.process.estimate(sample, output, t)
        else:
            output, meaning = call_network(network, sample, time), "x"
            x_hat = output
        if s == 0.0:
            previous = x_hat
        else:
            noise = variance_noise if self.rule.adds_noise else None
            if self.rule.adds_noise and noise is None:
                noise = randn_tensor(sample.shape, generator=generator, device=sample.device, dtype=sample.dtype)
            previous = self.process.advance(sample, output, s, t, self.rule, noise, meaning)
        return SchedulerStep(previous, x_hat) if return_dict else (previous, x_hat)

    def add_noise(self, original_samples: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """Corrupt clean images to their timesteps as the process does: blur, scale and noise.

        Args:
            original_samples: clean images in [-1, 1], [B, C, H, W].
            noise: standard normal, shape and dtype of the images; Cold Diffusion has no use for it.
            timesteps: [B], or one for all.
        Raises:
            TypeError: timesteps are no integers, or are some although config.timestep_type is "continuous".
            ValueError: a shape does not fit, or a timestep is out of range.
        """
        return self.process.corrupt(original_samples, self._times_for(original_samples, timesteps), noise)

    def prior(
        self,
        shape: Sequence[int],
        generator: Generators = None,
        device: torch.device | str | None = None,
        first: int = 0,
    ) -> Tensor:
        """Start images at t = 1, float32 [B, C, H, W]; with a list of generators, image i is the first of generator i."""
        if not isinstance(generator, list):
            return self.process.prior(shape, generator, device, first)
        return torch.cat([self.process.prior((1, *shape[1:]), one, device) for one in generator])

    def _set_up(self, process: Process, init_noise_sigma: float) -> None:
        """The rest of a scheduler's __init__, whose arguments are in `config` by now."""
        options, name = self.config, type(self).__name__
        count = options.num_train_timesteps
        if isinstance(count, bool) or not isinstance(count, int) or count < 1:
            raise ValueError(f"{name}: num_train_timesteps must be an int >= 1, got {count!r}")
        for argument, allowed in (("prediction_type", self.PREDICTIONS), ("timestep_type", TIMESTEP_TYPES)):
            if options[argument] not in allowed:
                raise ValueError(f"{name}: {argument} must be one of {', '.join(allowed)}, got {options[argument]!r}")
        self.process = process.requires_grad_(False)
        self.rule = rule_of(options.rule, options.eta, options.noise_std, process)
        self.init_noise_sigma = init_noise_sigma
        self._begin()
        process.check_rule(self.rule, self.times)

    def _begin(self) -> None:
        """What follows from the state of the process; all the trained times are the timesteps, as before `set_timesteps`."""
        chosen = [k / len(self) for k in range(len(self), -1, -1)]
        self.alphas_cumprod = self._alphas_cumprod(torch.tensor(chosen[-2::-1], dtype=torch.float64))
        self._place(chosen, self._told(chosen[:-1]), None)
        self.num_inference_steps = None

    def _alphas_cumprod(self, t: Tensor) -> Tensor:
        """a_t^2 at the times t: what is left of the mean of an image."""
        return torch.ones(len(t))

    @property
    def _speaks_as_process(self) -> bool:
        """Whether the network's output is what the network of the process gives; else it is clean images."""
        return bool(self.config.prediction_type == "residual")

    def _place(self, chosen: list[float], told: Tensor, device: torch.device | str | None) -> None:
        self.times, self.timesteps, self._begin_index = chosen, told.to(device), None
        self._index = {value: index for index, value in enumerate(told.tolist())}

    def _told(self, chosen: list[float]) -> Tensor:
        """The timesteps of times."""
        t = torch.tensor(chosen, dtype=torch.float64)
        if self.config.timestep_type == "discrete":
            return torch.round(t * len(self)).long() - 1
        return 1000.0 * self.process.network_time(t).float()

    def _time(self, values: Tensor, least: float = 0.0) -> Tensor:
        """The times of timesteps; looks at their range on the CPU only."""
        discrete = self.config.timestep_type == "discrete"
        first, last = (0.0, len(self) - 1.0) if discrete else (least, 1000.0)
        if values.device.type == "cpu" and not bool(((values >= first) & (values <= last)).all()):
            raise ValueError(f"timesteps: must be from {first:g} to {last:g}, got {values.tolist()}")
        return (values.double() + 1.0) / len(self) if discrete else self._time_told(values.double() / 1000.0)

    def _time_told(self, told: Tensor) -> Tensor:
        """The inverse of `process.network_time`."""
        return told

    def _times_for(self, images: Tensor, timesteps: Tensor) -> Tensor:
        values = torch.as_tensor(timesteps, device=images.device)
        if values.ndim > 1 or values.numel() not in (1, len(images)):
            raise ValueError(f"timesteps: must be one, or have shape [{len(images)}], got {list(values.shape)}")
        discrete = self.config.timestep_type == "discrete"
        if discrete == values.is_floating_point():  # times in [0, 1] for discrete timesteps would hardly corrupt, unnoticed
            wanted = 'integers with timestep_type="discrete"' if discrete else 'floats, 1000 t, with timestep_type="continuous"'
            raise TypeError(f"timesteps: must be {wanted}, got {values.dtype}")
        return self._time(values).reshape(-1).expand(len(images))

    def _span(self, timestep: float | Tensor) -> tuple[float, float]:
        """The time of a timestep, and the next one."""
        if self.num_inference_steps is None:
            raise ValueError("step: call set_timesteps first; it says where a step ends")
        if isinstance(timestep, Tensor) and timestep.numel() != 1:
            raise ValueError(f"timestep: must be one number, got shape {list(timestep.shape)}")
        value = float(timestep)
        index = self._index.get(value)
        if index is None and self.config.timestep_type == "discrete" and not value.is_integer():
            raise ValueError(f'timestep: must be a whole number with timestep_type="discrete", got {value}')
        if index is None:
            t = float(self._time(torch.tensor(value, dtype=torch.float64), least=1e-6))
            s = next(time for time in self.times if time < t)
        else:
            t, s = self.times[index], self.times[index + 1]
        if self._begin_index is not None and t > self.times[self._begin_index]:
            raise ValueError(
                f"step: the run begins at timestep {self.timesteps[self._begin_index].item():g} "
                f"(begin_index {self._begin_index}), got {value:g}"
            )
        return t, s

    def _checked_steps(self, steps: Any) -> int:
        if isinstance(steps, bool) or not hasattr(steps, "__index__"):  # numpy's integers have it too
            raise TypeError(f"num_inference_steps: must be an int, got {type(steps).__name__}")
        count = index_of(steps)
        if not 1 <= count <= len(self):
            raise ValueError(f"num_inference_steps: must be from 1 to num_train_timesteps = {len(self)}, got {count}")
        return count


class VariancePreservingScheduling(ProcessScheduling):
    """Of the processes with a_t^2 + sigma_t^2 = 1, which start from pure noise."""

    PREDICTIONS = ("epsilon", "sample", "v_prediction")
    MEANING: ClassVar[dict[str, str]] = {"epsilon": "eps", "sample": "x", "v_prediction": "v"}
    """Names of `config.prediction_type` and `process.prediction`."""

    process: VariationalDiffusion

    def get_velocity(self, sample: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """What a network with prediction_type="v_prediction" learns: a_t noise - sigma_t sample.

        Args:
            sample: clean images, [B, C, H, W].
            noise, timesteps: as for `add_noise`.
        """
        return velocity(sample, noise, self.process.level(self._times_for(sample, timesteps)))

    @property
    def _speaks_as_process(self) -> bool:
        return True

    def _alphas_cumprod(self, t: Tensor) -> Tensor:
        return torch.exp(2.0 * torch.as_tensor(self.process.level(t).log_a)).float()

    def _time_told(self, told: Tensor) -> Tensor:
        if not isinstance(self.process.schedule, LearnedSchedule):
            return told
        low, high = torch.zeros_like(told), torch.ones_like(told)
        for _ in range(60):  # progress only grows with t; 60 halvings reach the last bit of a time
            middle = (low + high) / 2
            short = self.process.network_time(middle) < told
            low, high = torch.where(short, middle, low), torch.where(short, high, middle)
        return high

"""Schedulers of diffusers for the five families: they are to its pipelines and training scripts what `DDPMScheduler` is.

A scheduler holds a process and asks it for everything: `add_noise` is its corruption, `step` its reverse step, whose last
one returns the clean estimate. So a run of a scheduler is `process.sample` to the last bit, given the same random numbers.

model_index.json keeps the path of this module, so its classes never move.
"""

# mypy: disable-error-code="no-untyped-call, untyped-decorator"
# diffusers leaves its classes' methods and register_to_config without types

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, TypeVar

from diffusers import SchedulerMixin  # looked for in this module when a pipeline is loaded
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.schedulers.scheduling_utils import SCHEDULER_CONFIG_NAME
from huggingface_hub import hf_hub_download
from torch import Tensor

from softdiff_ext.integrations.options import schedule_of
from softdiff_ext.integrations.pipelines import SoftdiffPipeline
from softdiff_ext.integrations.scheduling import ProcessScheduling, SchedulerStep, VariancePreservingScheduling
from softdiff_ext.integrations.state import FORMAT, KEY, STATE_NAME, check_config, read_state, write_state
from softdiff_ext.learned_schedules import LearnedSchedule
from softdiff_ext.processes import (
    BlurringDiffusion,
    ColdDiffusion,
    InverseHeatDissipation,
    Process,
    SoftDiffusion,
    VariationalDiffusion,
)

__all__ = [
    "BlurringDiffusionScheduler",
    "ColdDiffusionScheduler",
    "IHDMScheduler",
    "SchedulerStep",
    "SoftDiffusionScheduler",
    "SoftdiffPipeline",
    "VDMScheduler",
]

S = TypeVar("S", bound="ProcessScheduler")
HUB_OPTIONS = ("cache_dir", "force_download", "local_files_only", "revision", "token")


class ProcessScheduler(ProcessScheduling, SchedulerMixin, ConfigMixin):
    """What the five schedulers share: saving, loading, and what a process takes from the data.

    scheduler_config.json has the arguments of the class. What `fit` took from the data (blurred images to start from, the
    schedule of Soft Diffusion), and the weights of a learned schedule, lie beside it in scheduler_state.safetensors.

    The arguments that every class has:

        num_train_timesteps     times that a network is trained at
        prediction_type         what it gives: "epsilon", "v_prediction", "sample" (clean images), or "residual", which is what
                                this package's networks of IHDM and Soft Diffusion give
        rule                    "default", which is the published one of the family, "markov", "momentum", "momentum-exact",
                                "ddim", "naive" or "cold"
        eta, noise_std          of rule="ddim" and rule="naive": DDIM(eta), Naive(noise_std)
        timestep_type           "discrete" or "continuous": how timesteps count (see `ProcessScheduling`)
    """

    _compatibles: list[str] = []  # noqa: RUF012  declared by diffusers

    def fit(self: S, images: Tensor) -> S:
        """Take from training images [N, C, H, W] in [-1, 1] what the start of a run needs; returns the scheduler.

        VDM and Blurring Diffusion start from noise and need nothing.
        """
        self.process.fit(images)
        self._begin()
        return self

    def with_rule(self: S, rule: str, eta: float | None = None, noise_std: float | None = None) -> S:
        """A scheduler that differs in its rule only: `from_config` would leave behind what `fit` took from the data."""
        other: S = type(self).from_config(self.config, rule=rule, eta=eta, noise_std=noise_std)
        return other._adopt(self.process)

    @classmethod
    def from_config(cls, config: Any = None, return_unused_kwargs: bool = False, **kwargs: Any) -> Any:
        """A scheduler from a configuration, not fitted.

        Raises:
            ValueError: another class wrote the configuration, or a newer version of this package.
        """
        if isinstance(config, dict):
            check_config(cls, config)
        return super().from_config(config, return_unused_kwargs, **kwargs)

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: Any = None,
        subfolder: str | None = None,
        return_unused_kwargs: bool = False,
        **kwargs: Any,
    ) -> Any:
        """A scheduler from a folder or a repository of the Hub, with what it was fitted to.

        Raises:
            ValueError: as `from_config`, or the file with the state is missing or damaged.
        """
        loaded = super().from_pretrained(pretrained_model_name_or_path, subfolder, return_unused_kwargs, **kwargs)
        scheduler = loaded[0] if return_unused_kwargs else loaded
        if (checksum := dict(scheduler.config.get(KEY, {})).get("state")) is not None:
            hub = {name: kwargs[name] for name in HUB_OPTIONS if name in kwargs}
            path = _state_path(pretrained_model_name_or_path, subfolder, hub)
            read_state(scheduler.process, path, checksum)
            scheduler._begin()
        return loaded

    def save_config(self, save_directory: str | os.PathLike[str], push_to_hub: bool = False, **kwargs: Any) -> None:
        """Write the configuration, and beside it the state of a scheduler that has any; `save_pretrained` calls this."""
        checksum = write_state(self.process, Path(save_directory))
        self.register_to_config(**{KEY: {"format": FORMAT, "state": checksum}})
        super().save_config(save_directory, push_to_hub, **kwargs)

    def _set_up(self, process: Process, init_noise_sigma: float) -> None:
        # diffusers takes what was given by position for defaults, and from_config would leave it behind
        self.register_to_config(_use_default_values=[])
        super()._set_up(process, init_noise_sigma)

    def _adopt(self: S, process: Process) -> S:
        """Take over the state of a process of the same kind."""
        self.process.load_state_dict(process.state_dict())
        self._begin()
        return self


def _state_path(where: Any, subfolder: str | None, hub: dict[str, Any]) -> Path:
    """Where the state lies beside the configuration that diffusers reads for these arguments."""
    if os.path.isfile(where):
        return Path(where).parent / STATE_NAME
    if not os.path.isdir(where):
        return Path(hf_hub_download(str(where), STATE_NAME, subfolder=subfolder, **hub))
    inside = Path(where, subfolder or "")
    return (inside if (inside / SCHEDULER_CONFIG_NAME).is_file() else Path(where)) / STATE_NAME


class VDMScheduler(VariancePreservingScheduling, ProcessScheduler):
    """DDPM and VDM: z_t = a_t x + sigma_t eps, from N(0, I); see `VariationalDiffusion`. The default is ancestral sampling.

    With schedule="ddpm" its numbers are those of `DDPMScheduler(timestep_spacing="trailing", clip_sample=False)`.

    Args:
        schedule: "cosine", "ddpm", "linear" (VDM's), "learned-linear" or "learned-monotone"; the learned ones only with
            timestep_type="continuous", because they tell the network how far they have come instead of the time.
        logsnr_min, logsnr_max: ends of the schedule at t = 1 and t = 0 in nats; None is its own, published ones.
        beta_start, beta_end: of schedule="ddpm".
    The others are those of `ProcessScheduler`.
    """

    process: VariationalDiffusion

    @register_to_config
    def __init__(
        self,
        num_train_timesteps: int = 1000,
        schedule: str = "cosine",
        logsnr_min: float | None = None,
        logsnr_max: float | None = None,
        beta_start: float = 1e-4,
        beta_end: float = 0.02,
        prediction_type: str = "epsilon",
        rule: str = "default",
        eta: float | None = None,
        noise_std: float | None = None,
        timestep_type: str = "discrete",
    ) -> None:
        noise = schedule_of(schedule, (logsnr_min, logsnr_max), num_train_timesteps, (beta_start, beta_end))
        learned = isinstance(noise, LearnedSchedule)
        if learned and timestep_type != "continuous":
            raise ValueError(f'VDMScheduler: schedule="{schedule}" needs timestep_type="continuous", got {timestep_type!r}')
        prediction = self.MEANING.get(prediction_type, "eps")  # `_set_up` refuses what is not in there
        self._set_up(VariationalDiffusion(noise, prediction, "elbo" if learned else "mse"), 1.0)


class BlurringDiffusionScheduler(VariancePreservingScheduling, ProcessScheduler):
    """Blurring Diffusion: noise and blur together, from N(0, I); see `BlurringDiffusion`. The default rule is its posterior.

    Args:
        sigma_blur_max: largest blur in pixels; 20 is published for images of 32 to 128 pixels.
        floor, logsnr_min, logsnr_max, block: as for `BlurringDiffusion`.
    The others are those of `ProcessScheduler`.
    """

    @register_to_config
    def __init__(
        self,
        num_train_timesteps: int = 1000,
        sigma_blur_max: float = 20.0,
        floor: float = 1e-3,
        logsnr_min: float = -10.0,
        logsnr_max: float = 10.0,
        block: int | None = None,
        prediction_type: str = "epsilon",
        rule: str = "default",
        eta: float | None = None,
        noise_std: float | None = None,
        timestep_type: str = "discrete",
    ) -> None:
        prediction = self.MEANING.get(prediction_type, "eps")
        process = BlurringDiffusion(sigma_blur_max, floor, logsnr_min, logsnr_max, prediction, block=block)
        self._set_up(process, 1.0)


class IHDMScheduler(ProcessScheduler):
    """Inverse Heat Dissipation: blur with a little constant noise, from blurred training images; see `InverseHeatDissipation`.

    The default rule is the published one, the blurred estimate with fresh noise of std delta. `fit` comes before a run.

    Args:
        num_train_timesteps: number of blur levels K.
        sigma_blur_min, sigma_blur_max: blur of levels 1 and K in pixels.
        sigma, delta: noise std in training and in sampling, images in [-1, 1]; the published ones, which are half as large
            for images in [0, 1].
    The others are those of `ProcessScheduler`.
    """

    PREDICTIONS = ("sample", "residual")

    @register_to_config
    def __init__(
        self,
        num_train_timesteps: int = 200,
        sigma_blur_min: float = 0.5,
        sigma_blur_max: float = 24.0,
        sigma: float = 0.02,
        delta: float = 0.025,
        prediction_type: str = "sample",
        rule: str = "default",
        eta: float | None = None,
        noise_std: float | None = None,
        timestep_type: str = "discrete",
    ) -> None:
        process = InverseHeatDissipation(num_train_timesteps, (sigma_blur_min, sigma_blur_max), sigma, delta)
        self._set_up(process, process.delta)


class SoftDiffusionScheduler(ProcessScheduler):
    """Soft Diffusion: blur with little, growing noise, from blurred training images; see `SoftDiffusion`.

    The default rule is the momentum sampler. `fit` comes before training too: the schedule of the blur is that of the data.

    Args:
        sigma_blur_min, sigma_blur_max: blur at t = 0 and t = 1 in pixels.
        sigma_min, sigma_max: noise std at t = 0, and from t = 0.25 on, images in [-1, 1].
    The others are those of `ProcessScheduler`.
    """

    PREDICTIONS = ("sample", "residual")

    @register_to_config
    def __init__(
        self,
        num_train_timesteps: int = 1000,
        sigma_blur_min: float = 0.01,
        sigma_blur_max: float = 23.0,
        sigma_min: float = 0.01,
        sigma_max: float = 0.10,
        prediction_type: str = "sample",
        rule: str = "default",
        eta: float | None = None,
        noise_std: float | None = None,
        timestep_type: str = "discrete",
    ) -> None:
        self._set_up(SoftDiffusion((sigma_blur_min, sigma_blur_max), (sigma_min, sigma_max)), float(sigma_max))


class ColdDiffusionScheduler(ProcessScheduler):
    """Cold Diffusion: blur without noise, from an image of one colour or blurred training images; see `ColdDiffusion`.

    The default rule is algorithm 2. `fit` comes before a run.

    Args:
        num_train_timesteps: number of blur levels K.
        sigma_blur_min, sigma_blur_max: blur of levels 1 and K in pixels.
        start, components, start_noise: how runs start: `prior`, `components` and `start_noise` of `ColdDiffusion`.
    The others are those of `ProcessScheduler`.
    """

    @register_to_config
    def __init__(
        self,
        num_train_timesteps: int = 200,
        sigma_blur_min: float = 0.5,
        sigma_blur_max: float = 24.0,
        start: str = "mixture",
        components: int = 1,
        start_noise: float = 0.002,
        prediction_type: str = "sample",
        rule: str = "default",
        eta: float | None = None,
        noise_std: float | None = None,
        timestep_type: str = "discrete",
    ) -> None:
        blur = (sigma_blur_min, sigma_blur_max)
        process = ColdDiffusion(num_train_timesteps, blur, start, components, start_noise)
        self._set_up(process, process.start_noise if start == "mixture" else 0.0)

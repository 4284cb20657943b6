"""The scheduler of a process: its settings as a configuration, and what it took from the data."""

from __future__ import annotations

from typing import Any

from softdiff_ext.corruptions import SpectralBlur
from softdiff_ext.integrations.diffusers import (
    BlurringDiffusionScheduler,
    ColdDiffusionScheduler,
    IHDMScheduler,
    ProcessScheduler,
    SoftDiffusionScheduler,
    VDMScheduler,
)
from softdiff_ext.integrations.options import name_of
from softdiff_ext.learned_schedules import LearnedMonotone
from softdiff_ext.processes import (
    BlurringDiffusion,
    ColdDiffusion,
    InverseHeatDissipation,
    Process,
    SoftDiffusion,
    VariationalDiffusion,
)
from softdiff_ext.processes.blur_levels import BlurLevels
from softdiff_ext.schedules import Cosine, LinearBeta, LinearGamma

MEANING = {"eps": "epsilon", "x": "sample", "v": "v_prediction"}
"""Names of `process.prediction` and `config.prediction_type`."""


def scheduler_of(process: Process) -> ProcessScheduler:
    """The scheduler that runs a process with its network: fitted as it is, and telling the network the times it knows.

    Args:
        process: of any family; Soft Diffusion with the spectral blur.
    Returns:
        A scheduler with timestep_type="continuous".
    Raises:
        ValueError: the process has a part that no scheduler's configuration describes.
    """
    if isinstance(process, BlurringDiffusion):
        kind, options = _blurring(process)
    elif isinstance(process, VariationalDiffusion):
        kind, options = _variational(process)
    elif isinstance(process, BlurLevels):
        kind, options = _levels(process)
    elif isinstance(process, SoftDiffusion) and isinstance(process.corruption, SpectralBlur):
        blur, sigma = process.corruption.sigma_blur, process.sigma
        kind, options = SoftDiffusionScheduler, {"prediction_type": "residual"}
        options |= {"sigma_blur_min": blur[0], "sigma_blur_max": blur[1], "sigma_min": sigma[0], "sigma_max": sigma[1]}
    else:
        corruption = getattr(process, "corruption", None)
        what = type(process).__name__ + (f" with {type(corruption).__name__}" if corruption is not None else "")
        raise ValueError(f"process: no scheduler describes {what}")
    return kind(**options, timestep_type="continuous")._adopt(process)


def _blurring(process: BlurringDiffusion) -> tuple[type[ProcessScheduler], dict[str, Any]]:
    schedule = process.schedule
    assert isinstance(schedule, Cosine)
    return BlurringDiffusionScheduler, {
        "sigma_blur_max": process.sigma_blur_max,
        "floor": process.floor,
        "logsnr_min": schedule.logsnr_min,
        "logsnr_max": schedule.logsnr_max,
        "block": process.block,
        "prediction_type": MEANING[process.prediction],
    }


def _variational(process: VariationalDiffusion) -> tuple[type[ProcessScheduler], dict[str, Any]]:
    schedule = process.schedule
    options: dict[str, Any] = {"schedule": name_of(schedule), "prediction_type": MEANING[process.prediction]}
    if isinstance(schedule, LinearBeta):
        options |= {"num_train_timesteps": schedule.steps, "beta_start": schedule.beta_first, "beta_end": schedule.beta_last}
    if isinstance(schedule, Cosine):
        options |= {"logsnr_min": schedule.logsnr_min, "logsnr_max": schedule.logsnr_max}
    if isinstance(schedule, LinearGamma):
        options |= {"logsnr_min": -schedule.gamma_max, "logsnr_max": -schedule.gamma_min}
    if isinstance(schedule, LearnedMonotone) and schedule.inner.shape != LearnedMonotone().inner.shape:
        raise ValueError(f"process: a scheduler's LearnedMonotone has the default features, got {len(schedule.inner)}")
    return VDMScheduler, options


def _levels(process: BlurLevels) -> tuple[type[ProcessScheduler], dict[str, Any]]:
    first, last = process.sigma_blur
    options: dict[str, Any] = {"num_train_timesteps": process.levels, "sigma_blur_min": first, "sigma_blur_max": last}
    if isinstance(process, InverseHeatDissipation):
        return IHDMScheduler, options | {"sigma": process.sigma, "delta": process.delta, "prediction_type": "residual"}
    assert isinstance(process, ColdDiffusion)
    return ColdDiffusionScheduler, options | {
        "start": process.start,
        "components": process.components,
        "start_noise": process.start_noise,
    }

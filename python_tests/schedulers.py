"""What the tests of the diffusers integration share: a small scheduler of every family, its rules, and a run of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from diffusers.utils.torch_utils import randn_tensor
from torch import Tensor

from softdiff_ext.integrations.diffusers import (
    BlurringDiffusionScheduler,
    ColdDiffusionScheduler,
    IHDMScheduler,
    ProcessScheduler,
    SoftDiffusionScheduler,
    VDMScheduler,
)

SHAPE = (3, 2, 8, 6)
FAMILIES: dict[str, tuple[type[ProcessScheduler], dict[str, Any]]] = {
    "vdm": (VDMScheduler, {"num_train_timesteps": 60}),
    "ddpm": (VDMScheduler, {"num_train_timesteps": 60, "schedule": "ddpm"}),
    "blurring": (BlurringDiffusionScheduler, {"num_train_timesteps": 60, "sigma_blur_max": 3.0}),
    "blocks": (BlurringDiffusionScheduler, {"num_train_timesteps": 60, "block": 2, "prediction_type": "v_prediction"}),
    "ihdm": (IHDMScheduler, {"num_train_timesteps": 12, "sigma_blur_max": 5.0}),
    "ihdm-residual": (IHDMScheduler, {"num_train_timesteps": 12, "sigma_blur_max": 5.0, "prediction_type": "residual"}),
    "soft": (SoftDiffusionScheduler, {"num_train_timesteps": 60, "sigma_blur_max": 5.0}),
    "soft-residual": (SoftDiffusionScheduler, {"num_train_timesteps": 60, "prediction_type": "residual"}),
    "cold": (ColdDiffusionScheduler, {"num_train_timesteps": 12, "sigma_blur_max": 5.0}),
    "cold-images": (ColdDiffusionScheduler, {"num_train_timesteps": 12, "sigma_blur_max": 5.0, "start": "images"}),
}
ANY_RULE: list[dict[str, Any]] = [
    {"rule": "default"},
    {"rule": "markov"},
    {"rule": "momentum"},
    {"rule": "momentum-exact"},
    {"rule": "ddim"},
    {"rule": "ddim", "eta": 0.5},
    {"rule": "naive"},
]
CONSTANT_NOISE: list[dict[str, Any]] = [{"rule": "naive", "noise_std": 0.03}, {"rule": "cold"}]
"""Rules for the families whose noise is the same at every level."""


def rules_of(family: str) -> list[dict[str, Any]]:
    if family.startswith("ihdm"):
        return ANY_RULE + CONSTANT_NOISE
    return ANY_RULE + CONSTANT_NOISE[1:] if family.startswith("cold") else ANY_RULE


CASES = [
    pytest.param(family, rule, id="-".join([family, *(str(value) for value in rule.values())]))
    for family in FAMILIES
    for rule in rules_of(family)
]


def images(count: int = 20) -> Tensor:
    """Something like photographs: smooth, in [-1, 1]."""
    noise = torch.randn((count, *SHAPE[1:]), generator=torch.Generator().manual_seed(5))
    return torch.tanh(noise + 2.0 * noise.mean(dim=(2, 3), keepdim=True))


def unfitted(family: str, **options: Any) -> ProcessScheduler:
    kind, defaults = FAMILIES[family]
    return kind(**{**defaults, **options})


def build(family: str, **options: Any) -> ProcessScheduler:
    return unfitted(family, **options).fit(images())


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def network(z: Tensor, timestep: Tensor) -> Tensor:
    """A stand-in whose answer depends on what it is told."""
    return 0.5 * z * torch.cos(timestep / 300.0).to(z.dtype).reshape(-1, 1, 1, 1) + 0.1 * z.flip(-1)


def run(scheduler: ProcessScheduler, z: Tensor, source: Any = None, since: int = 0) -> Tensor:
    for timestep in scheduler.timesteps[since:]:
        z = scheduler.step(network(z, timestep), timestep, z, generator=source).prev_sample
    return z


def in_thousandths(z: Tensor, t: Tensor) -> Tensor:
    """The stand-in as a model of this package, told 1000 t."""
    return network(z, 1000.0 * t)


def noise_of(source: torch.Generator) -> Callable[[int, Tensor], Tensor]:
    """Noise for `process.sample` as a scheduler draws it from `source`."""
    return lambda index, like: randn_tensor(like.shape, source, dtype=like.dtype)


def refuse_network(*arguments: object) -> None:
    """Stands in for socket.connect: saving and loading need no network."""
    raise AssertionError("something wants to reach a network")


def public(scheduler: ProcessScheduler) -> dict[str, Any]:
    return {name: value for name, value in scheduler.config.items() if not name.startswith("_")}

"""A pipeline that starts where its scheduler's process starts, be that noise or blurred training images."""

# mypy: disable-error-code="no-untyped-call"
# diffusers leaves the methods of its classes without types

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from diffusers.pipelines.pipeline_utils import DiffusionPipeline, ImagePipelineOutput
from diffusers.utils.torch_utils import randn_tensor
from torch import Tensor

from softdiff_ext.processes import ImageDraws

FORMAT = 1
OUTPUT_TYPES = ("pil", "np", "pt")
LOADER_NAME = "pipeline.py"
LOADER = """\
# DiffusionPipeline.from_pretrained(FOLDER, custom_pipeline="pipeline", trust_remote_code=True) finds the class here.
from softdiff_ext.integrations.diffusers import SoftdiffPipeline  # pip install "softdiff-ext[diffusers]"

__all__ = ["SoftdiffPipeline"]
"""
"""Beside a saved pipeline: diffusers looks for classes in itself and in files of this name only."""


class SoftdiffPipeline(DiffusionPipeline):
    """Unconditional images from a network and a scheduler.

    With a scheduler of this package images start from the prior of its process, and those of one generator are those of
    `process.sample`: image i depends on the generator's seed and i only, whatever the batch. diffusers' own schedulers
    start from their noise, as in diffusers' pipelines.

    Args:
        unet: network whose output has the shape of its input (UNet2DModel).
        scheduler: one of `softdiff_ext.integrations.diffusers`, or of diffusers.
        format_version: of the folder that the pipeline was loaded from.
    Raises:
        TypeError: unet or scheduler is something else.
        ValueError: a newer version of this package wrote the folder, or unet does not know the size of its images.
    """

    model_cpu_offload_seq = "unet"  # type: ignore[assignment]  # declared as None by diffusers

    def __init__(self, unet: Any, scheduler: Any, format_version: int = FORMAT) -> None:
        super().__init__()
        if format_version != FORMAT:
            raise ValueError(
                f"SoftdiffPipeline: was saved in format {format_version}, this softdiff_ext reads format {FORMAT}: install the "
                f"one that saved it, or a newer one"
            )
        for name, part, wanted in (("unet", unet, ("config", "dtype")), ("scheduler", scheduler, ("set_timesteps", "step"))):
            if not all(hasattr(part, attribute) for attribute in wanted):
                raise TypeError(f"SoftdiffPipeline: {name} must have {' and '.join(wanted)}, got {type(part).__name__}")
        if unet.config.sample_size is None:
            raise ValueError("SoftdiffPipeline: unet must have config.sample_size, the size of the images, got None")
        self.register_modules(unet=unet, scheduler=scheduler)
        self.register_to_config(format_version=format_version)

    def save_pretrained(self, save_directory: str | os.PathLike[str], *arguments: Any, **options: Any) -> None:
        """Write the parts as diffusers does, and beside them the file by which `DiffusionPipeline` finds this class."""
        Path(save_directory).mkdir(parents=True, exist_ok=True)
        Path(save_directory, LOADER_NAME).write_text(LOADER)  # before the rest: that may push the folder to the Hub
        super().save_pretrained(save_directory, *arguments, **options)

    @torch.no_grad()
    def __call__(
        self,
        batch_size: int = 1,
        generator: torch.Generator | list[torch.Generator] | None = None,
        num_inference_steps: int | None = None,
        output_type: str = "pil",
        return_dict: bool = True,
        *,
        first: int = 0,
        start: Tensor | None = None,
    ) -> Any:
        """Draw images.

        Args:
            batch_size: number of images.
            generator: source of every draw: one, or a list with one for each image.
            num_inference_steps: steps of the run; None is all the times that the network was trained at.
            output_type: "pil", or "np" [B, H, W, C] or "pt" [B, C, H, W] in [0, 1].
            return_dict: whether to return an `ImagePipelineOutput`, or the tuple of its field.
            first: index in a run of the first image, for a run that is cut into batches: give each the same seed.
            start: images to start from, [B, C, H, W]; None draws them.
        Raises:
            ValueError: an argument is out of its range, or shapes do not fit. Nothing is computed before.
        """
        if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
            raise ValueError(f"batch_size: must be an int >= 1, got {batch_size!r}")
        if output_type not in OUTPUT_TYPES:
            raise ValueError(f"output_type: must be one of {', '.join(OUTPUT_TYPES)}, got {output_type!r}")
        if isinstance(generator, list) and len(generator) != batch_size:
            raise ValueError(f"generator: must be one, or one for each of {batch_size} images, got {len(generator)}")
        size = self.unet.config.sample_size
        shape = (batch_size, self.unet.config.in_channels, *((size, size) if isinstance(size, int) else size))
        if start is not None and tuple(start.shape) != shape:
            raise ValueError(f"start: must have shape {list(shape)}, got {list(start.shape)}")
        self.scheduler.set_timesteps(len(self.scheduler) if num_inference_steps is None else num_inference_steps)

        z = self._start(shape, generator, first) if start is None else start
        z = z.to(device=self._execution_device, dtype=self.unet.dtype)
        noise = self._noise(generator, first)
        for index, timestep in enumerate(self.progress_bar(self.scheduler.timesteps)):
            output = self.unet(self.scheduler.scale_model_input(z, timestep), timestep).sample
            z = self.scheduler.step(output, timestep, z, **noise(index, z)).prev_sample

        images: Any = (z / 2 + 0.5).clamp(0, 1)
        if output_type != "pt":
            images = images.float().cpu().permute(0, 2, 3, 1).numpy()
        if output_type == "pil":
            images = self.numpy_to_pil(images)
        self.maybe_free_model_hooks()
        return ImagePipelineOutput(images=images) if return_dict else (images,)

    def _noise(self, generator: Any, first: int) -> Callable[[int, Tensor], dict[str, Any]]:
        """What `step` is given as noise for the step of an index: numbers for each image, or the generator."""
        if not hasattr(self.scheduler, "prior"):
            return lambda index, z: {"generator": generator}
        draws = [ImageDraws(one) for one in generator] if isinstance(generator, list) else [ImageDraws(generator, first)]
        last = len(self.scheduler.timesteps) - 1

        def noise(index: int, z: Tensor) -> dict[str, Any]:
            if index == last or not self.scheduler.rule.adds_noise:
                return {}
            parts = zip(draws, z.chunk(len(draws)), strict=True)
            return {"variance_noise": torch.cat([draw(index, part) for draw, part in parts])}

        return noise

    def _start(self, shape: tuple[int, ...], generator: Any, first: int) -> Tensor:
        if hasattr(self.scheduler, "prior"):
            start: Tensor = self.scheduler.prior(shape, generator, first=first)
            return start
        noise: Tensor = randn_tensor(shape, generator=generator, dtype=self.unet.dtype) * self.scheduler.init_noise_sigma
        return noise

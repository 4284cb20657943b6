"""Cold Diffusion with blur: a corruption without any noise, and a network that gives the clean image."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from softdiff_ext.ops import dct_blur
from softdiff_ext.processes.base import check_images, check_shape
from softdiff_ext.processes.blur_levels import BlurLevels
from softdiff_ext.processes.draws import ImageDraws, Source
from softdiff_ext.processes.mixture import fit_mixture
from softdiff_ext.processes.network import Model
from softdiff_ext.processes.spectra import spectra_of
from softdiff_ext.rules import Cold
from softdiff_ext.schedules import as_number

PRIORS = ("mixture", "images")


class ColdDiffusion(BlurLevels):
    """u_k = V exp(-lam tau_k) V^T x without noise; the network gives x_hat = R(u_k, k), trained with the L1 distance.

    Levels are log-spaced in the blur, t = k / K. Both published samplers are rules: algorithm 1, D(R(u_k), k - 1), is
    Naive(std=0.0), and algorithm 2, u_k - D(R(u_k), k) + D(R(u_k), k - 1), is Cold(), the default.

    Args:
        levels: K.
        sigma_blur: blur std of levels 1 and K in pixels. With prior="mixture" the last should leave little but the mean of
            each channel: about the side of the image.
        prior: how runs start. "mixture", as published: an image of one colour, from a Gaussian mixture over the channel means
            of the training images, plus a little noise. "images": a training image at the blur of level K.
        components: Gaussians in the mixture; 1 is published.
        start_noise: std of the noise on a start of prior="mixture", >= 0; 0.002 breaks the symmetry of a constant image
            as published, 0 is "perfect symmetry".
    Raises:
        TypeError, ValueError: an argument is of the wrong kind or out of its range.
    Source:
        Bansal et al. 2022, Cold Diffusion: Inverting Arbitrary Image Transforms Without Noise. The blur here is the exact one
        of the heat equation (half-sample symmetric border); theirs is a chain of truncated convolutions, whose last kernel
        falls short of its nominal width.

    Examples:
        >>> import torch, softdiff_ext as sd
        >>> process = sd.ColdDiffusion(levels=10, sigma_blur=(0.5, 8.0))
        >>> process.fit(torch.rand(20, 1, 8, 8) * 2 - 1)
        >>> network = lambda z, t: z  # a network that gives back what it sees leaves the start as it is
        >>> process.sample(network, (2, 1, 8, 8), steps=10).shape
        torch.Size([2, 1, 8, 8])
    """

    prediction = "x"
    default_rule = Cold()
    FITTED: ClassVar[tuple[str, ...]] = (*BlurLevels.FITTED, "weights", "means", "factors")
    weights: Tensor
    means: Tensor
    factors: Tensor

    def __init__(
        self,
        levels: int = 200,
        sigma_blur: tuple[float, float] = (0.5, 24.0),
        prior: str = "mixture",
        components: int = 1,
        start_noise: float = 0.002,
    ) -> None:
        super().__init__(levels, sigma_blur, sigma=0.0)
        if prior not in PRIORS:
            raise ValueError(f"ColdDiffusion: prior must be one of {PRIORS}, got {prior!r}")
        if isinstance(components, bool) or not isinstance(components, int) or components < 1:
            raise ValueError(f"ColdDiffusion: components must be an int >= 1, got {components!r}")
        if not 0.0 <= as_number("ColdDiffusion", "start_noise", start_noise) < math.inf:
            raise ValueError(f"ColdDiffusion: start_noise must be finite and >= 0, got {start_noise}")
        self.start, self.components, self.start_noise = prior, components, float(start_noise)
        for name, ndim in (("weights", 1), ("means", 2), ("factors", 3)):  # of the mixture: [M], [M, C], [M, C, C]
            self.register_buffer(name, torch.empty((0,) * ndim, dtype=torch.float64))

    @torch.no_grad()
    def fit(self, images: Tensor) -> None:
        """Take from images [N, C, H, W] in [-1, 1] what the start needs: channel means, or blurred coefficients."""
        if self.start == "images":
            super().fit(images)
            return
        check_images(self, images)
        device = self.weights.device
        self.power = spectra_of(images, self.sigma_blur[1])[2].to(device)
        fitted = fit_mixture(images.detach().cpu().double().mean(dim=(2, 3)), self.components)
        self.weights, self.means, self.factors = (value.to(device) for value in fitted)

    def prior(
        self,
        shape: Sequence[int],
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
        first: int = 0,
    ) -> Tensor:
        """Start images at level K, see the argument `prior` of the class."""
        count, channels, height, width = check_shape(shape)
        draws = ImageDraws(generator, first)
        if self.start == "images":
            self.check_fitted((channels, height, width))
            return self.blurred_images(count, draws, device)
        if self.weights.numel() == 0:
            raise RuntimeError("ColdDiffusion: call fit(images) first; it starts from the channel means of training images")
        if channels != self.means.shape[1]:
            raise ValueError(f"shape: ColdDiffusion was fitted on {self.means.shape[1]} channels, got {list(shape)}")
        mixture = [value.cpu() for value in (self.weights, self.means, self.factors)]
        uniform = draws.choices(2**52, count).double() / 2**52
        chosen = torch.searchsorted(mixture[0].cumsum(0)[:-1].contiguous(), uniform, right=True)
        offset = torch.einsum("nij,nj->ni", mixture[2][chosen], draws.normal((count, channels), draw=1).double())
        colour = (mixture[1][chosen] + offset).float()[:, :, None, None].expand(count, channels, height, width)
        return (colour + self.start_noise * draws.normal(colour.shape, draw=2)).to(device or self.means.device)

    def loss(self, model: Model, x: Tensor, generator: Source = None) -> tuple[Tensor, dict[str, Tensor]]:
        """Mean over batch and pixels of |R(u_k, k) - x|; k is uniform on 1 .. K, stratified over the batch."""
        k = self.random_levels(x.shape[0], generator, x.device)
        t = k / self.levels
        loss = torch.mean(torch.abs(self.output(model, dct_blur(x, self.level(t).tau), t) - x))
        return loss, {"l1": loss.detach()}

"""Inverse Heat Dissipation: blur with a little constant noise, undone level by level."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from softdiff_ext.likelihood import BitsPerDimension, check_on_grid, pixel_values, to_bits
from softdiff_ext.ops import dct, dct_blur, diffuse, eigenvalues, spectral_filter
from softdiff_ext.processes.base import as_time, check_shape, device_of
from softdiff_ext.processes.blur_levels import BlurLevels
from softdiff_ext.processes.draws import ImageDraws, Source, noise_source, stratified_times
from softdiff_ext.processes.ihdm_presets import PRESETS
from softdiff_ext.processes.network import Model
from softdiff_ext.rules import Naive, Rule
from softdiff_ext.schedules import as_number


class InverseHeatDissipation(BlurLevels):
    """u_k = V exp(-lam tau_k) V^T x + sigma eps; the network takes u_k to the mean of the next sharper level k - 1.

    Levels are log-spaced in the blur, t = k / K, level 0 is the clean image. The network predicts the residual: mu = u_k + f,
    which should be V exp(-lam tau_{k-1}) V^T x. The default rule is the published sampler, mu plus noise of std delta; the
    last mu is returned without noise. The start is a blurred training image with noise of std delta, the density that the
    likelihood uses too.

    sigma and delta are in the unit of this package's images, which span [-1, 1]. The published sigma = 0.01, delta = 0.0125 are
    for images in [0, 1] and are 0.02 and 0.025 here: `preset` converts them.

    Args:
        levels: K.
        sigma_blur: blur std of levels 1 and K in pixels; (0.5, 24) is published for 32 pixels.
        sigma: std of the noise that training adds, > 0.
        delta: std of the noise that sampling adds, > 0. 1.25 sigma is published; docs/methods.md tells what it does to the
            variance of the samples ("The temperature law"), and which rules have no such parameter.
        reduction: "sum" over the pixels of an image, as published, or "mean": the loss and its gradient C H W times smaller.
        values: number of values L that a pixel can take, 2 (i + 1/2) / L - 1, or these values themselves, equally spaced; the
            bits per dimension depend on it, nothing else.
    Raises:
        TypeError, ValueError: an argument is of the wrong kind or out of its range.
    Source:
        Rissanen et al. 2022, Generative Modelling with Inverse Heat Dissipation, and the authors' code; unlike that code,
        training includes level K, the first that the sampler meets.

    Examples:
        >>> import torch, softdiff_ext as sd
        >>> process = sd.InverseHeatDissipation(levels=10, sigma_blur=(0.5, 4.0))
        >>> process.fit(torch.rand(20, 1, 8, 8) * 2 - 1)  # the training images, for the starts
        >>> network = lambda z, t: torch.zeros_like(z)
        >>> process.sample(network, (2, 1, 8, 8), steps=10).shape
        torch.Size([2, 1, 8, 8])
    """

    prediction = "mean"
    REDUCTIONS: ClassVar[tuple[str, ...]] = ("sum", "mean")
    values: Tensor

    def __init__(
        self,
        levels: int = 200,
        sigma_blur: tuple[float, float] = (0.5, 24.0),
        sigma: float = 0.01,
        delta: float = 0.0125,
        reduction: str = "sum",
        values: int | Sequence[float] | Tensor = 256,
    ) -> None:
        super().__init__(levels, sigma_blur, sigma)
        for name, value in (("sigma", sigma), ("delta", delta)):
            if not 0.0 < as_number("InverseHeatDissipation", name, value) < math.inf:
                raise ValueError(f"InverseHeatDissipation: {name} must be finite and > 0, got {value}")
        if reduction not in self.REDUCTIONS:
            raise ValueError(f"InverseHeatDissipation: reduction must be one of {self.REDUCTIONS}, got {reduction!r}")
        self.register_buffer("values", pixel_values(values, type(self).__name__), persistent=False)
        gaps = self.values.diff()
        if float(gaps.max() - gaps.min()) > 1e-6 * float(gaps.mean()):
            raise ValueError(f"InverseHeatDissipation: values must be equally spaced, got {values}")
        self.delta, self.reduction = float(delta), reduction
        self.default_rule = Naive(std=self.delta)

    @classmethod
    def preset(cls, name: str) -> InverseHeatDissipation:
        """The published configuration for a data set, by its name in `ihdm_presets.PRESETS`, for images in [-1, 1]."""
        if name not in PRESETS:
            raise ValueError(f"preset: must be one of {', '.join(PRESETS)}, got {name!r}")
        chosen = PRESETS[name]
        return cls(chosen.levels, chosen.sigma_blur, chosen.sigma, chosen.delta)

    def prior(
        self,
        shape: Sequence[int],
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
        first: int = 0,
    ) -> Tensor:
        """Start images: randomly chosen training images at the blur of level K, with noise of std delta."""
        self.check_fitted()
        count, *image = check_shape(shape)
        self.check_fitted((image[0], image[1], image[2]))
        draws = ImageDraws(generator, first)
        blurred = self.blurred_images(count, draws, device)
        return blurred + self.delta * draws.normal(blurred.shape, draw=1, device=blurred.device)

    def output(self, model: Model, z_t: Tensor, t: Tensor) -> Tensor:
        """The mean of the level below t: z_t plus the residual that the network predicts."""
        return z_t + super().output(model, z_t, t)

    def loss(self, model: Model, x: Tensor, generator: Source = None) -> tuple[Tensor, dict[str, Tensor]]:
        """Squared error of the mean, ||V exp(-lam tau_{k-1}) V^T x - mu(u_k, k)||^2, summed over pixels, mean over the batch.

        With reduction="mean" it is the mean over pixels too. k is uniform on 1 .. K, stratified over the batch.

        The two blurred images come from `diffuse` and `dct_blur`: with the transforms, the gains and the noise inside one pass
        over the image each, they take 0.4 of the time of one dct, two products with explicit gains and two idct (measured
        at 32 and 128 pixels), though those share the forward transform.
        """
        k = self.random_levels(x.shape[0], generator, x.device)
        u_k = diffuse(x, self.level(k / self.levels), **noise_source(x, generator))
        target = dct_blur(x, self.level((k - 1.0) / self.levels).tau)
        error = (target - self.output(model, u_k, k / self.levels)) ** 2
        mean = torch.mean(error)
        summed = error.sum() / max(x.shape[0], 1)
        return summed if self.reduction == "sum" else mean, {"mean_mse": mean.detach()}

    def elbo(self, model: Model, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Upper bound on the bits per dimension of each image, float64 [B]: the total of `bits_per_dimension`."""
        return self.bits_per_dimension(model, x, generator).total

    @torch.no_grad()
    def bits_per_dimension(
        self, model: Model, x: Tensor, generator: torch.Generator | None = None, evaluations: int | None = None
    ) -> BitsPerDimension:
        """Upper bound on the bits per dimension of each image, by its terms, for the published chain with std delta.

        The image is made continuous by noise that is uniform over its bin, y = x + width (U - 1/2), and with mu_k the network's
        mean from level k and D = C H W,

            -ln p(y) <= L_K + sum_{k=2..K} KL_k + L_0
            L_0  = |y - mu_1|^2 / (2 delta^2) + D ln(delta sqrt(2 pi))                                 (reconstruction)
            KL_k = [D (sigma^2 / delta^2 - 1 + 2 ln(delta / sigma)) + |F_{k-1} y - mu_k|^2 / delta^2] / 2      (diffusion)
            L_K  = ln N - ln sum_i exp(-KL(N(F_K y, sigma^2) || N(F_K x_i, delta^2)))                     (prior)

        The sum in L_K is over all N training images given to `fit`, in float64, by the coefficients that survive level K: those
        left out differ by less than `SURVIVES` times an image.

        Args:
            model: network as for `loss`, in evaluation mode; called K times, or `evaluations` + 1 times.
            x: images [B, C, H, W] whose pixels are among `values`.
            generator: source of the noise.
            evaluations: how many of the levels 2 .. K each image is looked at, stratified and random; None is all.
        Raises:
            RuntimeError: fit() was not called.
            TypeError, ValueError: x is not a floating tensor of the fitted shape on the grid of `values`, or evaluations is
                below 1.
        Source:
            Rissanen et al. 2022, section 3 and appendix; their code sums the levels 1 .. K - 1 instead of 2 .. K.
        """
        if not isinstance(x, Tensor) or not x.is_floating_point():
            raise TypeError(f"x: must be a floating tensor, got {getattr(x, 'dtype', type(x).__name__)}")
        _, *image = check_shape(x.shape)
        self.check_fitted((image[0], image[1], image[2]))
        check_on_grid(x, self.values)
        if evaluations is not None and (isinstance(evaluations, bool) or not isinstance(evaluations, int) or evaluations < 1):
            raise ValueError(f"evaluations: must be None or an int >= 1, got {evaluations!r}")
        dim, ratio = math.prod(image), self.sigma / self.delta
        width = float(self.values[1] - self.values[0])
        uniform = torch.rand(x.shape, generator=generator, device=generator.device if generator else x.device).to(x.device)
        y = x + width * (uniform - 0.5)
        spread = dim * (ratio**2 - 1.0 - 2.0 * math.log(ratio))  # twice the KL of two normal laws with the same mean
        steps = self.levels - 1
        draws = steps if evaluations is None else min(evaluations, steps)
        total = torch.zeros(x.shape[0], dtype=torch.float64, device=x.device)
        for draw in range(draws):
            k = torch.full_like(total, 2.0 + draw)
            if draws < steps:
                place = (stratified_times(x.shape[0], generator, x.device) + draw) * (steps / draws)
                k = (2.0 + place.floor()).clamp(max=self.levels)
            total += 0.5 * (spread + self._squared_error(model, y, k, generator) / self.delta**2) * (steps / draws)
        last = 0.5 * self._squared_error(model, y, torch.ones_like(total), generator) / self.delta**2
        reconstruction = last + dim * (math.log(self.delta * math.sqrt(2.0 * math.pi)) - math.log(width))
        return BitsPerDimension(to_bits(reconstruction, x), to_bits(self._start_nats(y, spread), x), to_bits(total, x))

    def _squared_error(self, model: Model, y: Tensor, k: Tensor, generator: torch.Generator | None) -> Tensor:
        """|F_{k-1} y - mu(u_k, k)|^2 with a fresh u_k, float64 [B]."""
        t = k / self.levels
        mean = self.output(model, diffuse(y, self.level(t), generator=generator), t)
        sharper = dct_blur(y, self.level((k - 1.0) / self.levels).tau)
        return (sharper - mean).double().square().sum(dim=(1, 2, 3))

    def _start_nats(self, y: Tensor, spread: float) -> Tensor:
        """L_K of `bits_per_dimension`, float64 [B]."""
        lam = eigenvalues(y.shape[-2:]).to(y.device)
        gain = torch.exp(-lam * self.sigma_blur[1] ** 2 / 2)
        u = (dct(y.double()) * gain)[..., self.kept.to(y.device)].flatten(1)
        training = self.coefficients.to(y.device).double().flatten(1)
        distance = torch.cat([torch.cdist(part, training) ** 2 for part in torch.split(u, 256)])
        return math.log(len(training)) - torch.logsumexp(-0.5 * (spread + distance / self.delta**2), dim=1)

    def mean_at(self, mean: Tensor, s: float, t: float | Tensor) -> Tensor:
        """V exp(-lam tau_s) V^T x_hat from the network's answer at time t, which is the mean at p = t - 1 / K.

        A step of one level needs nothing. A shorter one blurs further. A longer one has to sharpen, and where the answer's
        gain d_p = exp(-lam tau_p) leaves less of the data's power P than the noise, there is nothing to sharpen. So the image
        is estimated as a Wiener filter does it, u_hat = d_p P / (d_p^2 P + sigma^2) u_mean, and blurred to s.
        """
        level_p, level_s = self.level((as_time(t) - 1.0 / self.levels).clamp(min=0.0)), self.level(s)
        tau_p, tau_s = (torch.as_tensor(level.tau, device=mean.device).reshape(-1, 1, 1, 1) for level in (level_p, level_s))
        if not isinstance(t, Tensor) and abs(float(tau_p - tau_s)) <= 1e-9 * float(tau_s):
            return mean
        lam = eigenvalues(mean.shape[-2:]).to(mean.device)
        d_p, power = torch.exp(-lam * tau_p), self._power_of(mean)
        sharper = torch.exp(-lam * tau_s) * d_p * power / (d_p**2 * power + self.sigma**2)
        return spectral_filter(mean, torch.where(tau_s >= tau_p, torch.exp(-lam * (tau_s - tau_p)), sharper))

    def _power_of(self, x: Tensor) -> Tensor:
        self.check_fitted((x.shape[1], x.shape[2], x.shape[3]))
        return self.power.to(x.device)

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
        """One reverse step of `rule`; the network's mean is taken to the level of s by `mean_at` first."""
        return super().advance(z_t, self.mean_at(output, s, t) if prediction is None else output, s, t, rule, noise, prediction)

    def estimate(self, z_t: Tensor, output: Tensor, t: float | Tensor) -> Tensor:
        """Clean images: the network's mean, sharpened as `mean_at` does; at level 1 the mean itself."""
        return self.mean_at(output, 0.0, t)

    @torch.no_grad()
    def interpolate(
        self,
        model: Model,
        shape: Sequence[int],
        steps: int | Sequence[float],
        rule: Rule | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """A path of images between two samples: linear in the start, spherical in the noise of each step.

        Args:
            model, steps, rule: as for `sample`.
            shape: [B, C, H, W]; the B images lie evenly on the path, the first and the last are the two samples that
                `sample(model, [2, C, H, W], ...)` draws from the same seed.
            generator: source of the two starts and their noise.
        Returns:
            Images [B, C, H, W].
        Source:
            Rissanen et al. 2022, section on interpolation, as their code does it: cos(a) n_1 + sin(a) n_2, a from 0 to pi / 2.
        """
        count, *image = check_shape(shape)
        ends = self.prior((2, *image), generator, device_of(model))
        share = torch.linspace(0.0, 1.0, count, dtype=torch.float64, device=ends.device).reshape(-1, 1, 1, 1)
        # float64: cos(pi / 2) is then below float32's rounding, and the last image has the second sample's noise alone
        draws, cos, sin = ImageDraws(generator), torch.cos(share * (math.pi / 2)), torch.sin(share * (math.pi / 2))

        def noise(index: int, like: Tensor) -> Tensor:
            one, other = draws.normal((2, *image), index, like.device).unbind()
            mixed: Tensor = cos.to(like.dtype) * one + sin.to(like.dtype) * other
            return mixed

        return self.sample(model, shape, steps, rule, start=torch.lerp(ends[:1], ends[1:], share.float()), noise=noise)

"""What is measured: the operators, what each is compared with, and what its answer should be."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
import twins
from peer import Peer
from peers import usable
from torch import Generator, Tensor
from torch_peers import Matmul

import softdiff_ext as sd
from softdiff_ext import reference

OURS, COPY, CLONE, TWIN = "softdiff_ext", "copy_", "clone", "torch twin"
# Ours, timed beside a step, or beside forward and backward: what their parts take; beside 16-bit images: float32 ones.
BLUR, TWO_BLURS, NOISE, WIDE = "dct_blur", "dct_blur of two", "normal", "ours in float32"
# Beside forward and backward: those of torch's simplest operator, and the operator on two images. The rest is autograd's own.
BOTH_NEG, TWO_NEGS = "neg, forward + backward", "neg of two"
YARDSTICKS = (COPY, CLONE, BLUR, TWO_BLURS, NOISE, WIDE, BOTH_NEG, TWO_NEGS)  # candidates that do something else than the case
SHAPES = (
    (128, 3, 32, 32),
    (128, 3, 64, 64),
    (32, 3, 128, 128),
    (16, 3, 256, 256),
    (4, 3, 512, 512),
    (512, 1, 28, 28),
    (8, 3, 218, 178),
)
QUICK_SHAPES = ((8, 3, 32, 32), (16, 1, 28, 28))
SWEEP_SIZES = (8, 16, 32, 37, 45, 64, 109, 127, 128, 225, 256, 257, 509, 512, 1024)
LINES = ((4096, 256), (16384, 37), (16384, 28), (65536, 8))  # 1-D
VOLUMES = ((8, 1, 32, 32, 32), (4, 1, 37, 45, 28))  # 3-D
NOISE_SIZES = (1 << 16, 1 << 22)


@dataclass
class Operand:
    """One set of images; `out` is memory for a copy."""

    x: Tensor
    z: Tensor
    out: Tensor

    @classmethod
    def random(cls, shape: tuple[int, ...], dtype: torch.dtype) -> Operand:
        return cls(torch.randn(shape).to(dtype), torch.randn(shape).to(dtype), torch.empty(shape, dtype=dtype).fill_(0))

    def rows(self, index: list[int]) -> Operand:
        return Operand(self.x[index], self.z[index], self.out[index])

    def zeros(self) -> Operand:
        return Operand(torch.zeros_like(self.x), torch.zeros_like(self.z), self.out)

    @property
    def bytes(self) -> int:
        """Of what a one-image operator reads and writes."""
        return 2 * self.x.numel() * self.x.element_size()


Call = Callable[[Operand, "Generator | None"], "Tensor | tuple[Tensor, ...]"]


@dataclass
class Case:
    """One operator on one shape.

    calls: candidate -> function of an operand and the generator that noise comes from (None: torch's default one).
    want: the answer without its noise in float64, for the samples with the given indices; None where all is noise.
    noise_std: std of the noise per frequency (or one number), float64, for those samples; None where there is no noise.
    images: how many images are transformed, the result's inverse transform counted.
    """

    group: str
    operator: str
    shape: tuple[int, ...]
    dtype: torch.dtype
    calls: dict[str, Call]
    want: Callable[[Operand, list[int]], Tensor] | None
    noise_std: Callable[[list[int]], Tensor] | None = None
    images: int = 2

    def __post_init__(self) -> None:
        self.calls[COPY] = lambda o, g: o.out.copy_(o.x)
        self.calls[CLONE] = lambda o, g: o.x.clone()


def taus(batch: int) -> Tensor:
    """A heat time for each sample."""
    return torch.linspace(0.1, 2.1, batch, dtype=torch.float64)


def of_filter(peers: list[Peer], gain: Tensor) -> dict[str, Call]:
    functions = {peer.name: peer.filter(gain) for peer in peers}
    return {name: (lambda o, g, f=f: f(o.x)) for name, f in functions.items()}


def blur(shape: tuple[int, ...], threads: int, dtype: torch.dtype = torch.float32, leave_out: tuple[str, ...] = ()) -> Case:
    """dct_blur with a heat time for each sample, against every peer; 16-bit peers convert and compute in float32.

    Beside 16-bit images the same of float32 ones.
    """
    tau, lam = taus(shape[0]), reference.eigenvalues(shape[2:])
    wide = reference.accumulation_dtype(dtype)
    gain = reference.blur_gain(tau, 0.0, lam).to(wide)
    calls = {OURS: lambda o, g: sd.dct_blur(o.x, tau)}
    if wide != dtype:
        x = torch.randn(shape)
        calls[WIDE] = lambda o, g: sd.dct_blur(x, tau)
    for peer in usable(shape, wide, threads, leave_out=leave_out):
        function = peer.filter(gain)
        if wide == dtype:
            calls[peer.name] = lambda o, g, f=function: f(o.x)
        else:
            calls[peer.name] = lambda o, g, f=function: f(o.x.float()).to(dtype)
    return Case("blur", "dct_blur", shape, dtype, calls, lambda o, i: reference.dct_blur(o.x.double(), tau[i]))


def backward(shape: tuple[int, ...], threads: int) -> Case:
    """dct_blur forward and backward, against the differentiable peers; beside it a blur, a blur of each of two images, and what
    autograd itself takes."""
    tau, lam = taus(shape[0]), reference.eigenvalues(shape[2:])
    gain = reference.blur_gain(tau, 0.0, lam).float()
    absent = ("ducc0", "scipy.fft", "OpenCV", "FFTW", "torch.compile")
    functions = {peer.name: peer.filter(gain) for peer in usable(shape, torch.float32, threads, leave_out=absent)}
    functions[OURS] = lambda x: sd.dct_blur(x, tau)

    def both(function: Callable[[Tensor], Tensor]) -> Call:
        def call(o: Operand, g: Generator | None) -> Tensor:
            x = o.x.detach().requires_grad_()
            return torch.autograd.grad(function(x), x, o.z)[0]

        return call

    calls = {name: both(functions[name]) for name in [OURS, *(name for name in functions if name != OURS)]}
    calls[BLUR] = lambda o, g: sd.dct_blur(o.x, tau)
    calls[TWO_BLURS] = lambda o, g: (sd.dct_blur(o.x, tau), sd.dct_blur(o.z, tau))
    calls[BOTH_NEG] = both(torch.neg)
    calls[TWO_NEGS] = lambda o, g: (torch.neg(o.x), torch.neg(o.z))
    want = lambda o, i: reference.dct_blur(o.z.double(), tau[i])  # noqa: E731 - the blur is its own transpose
    return Case("backward", "dct_blur, forward + backward", shape, torch.float32, calls, want, images=4)


def transforms(shape: tuple[int, ...], threads: int, ndim: int = 2) -> Iterator[Case]:
    """dct and idct, over 1, 2 or 3 dimensions."""
    peers = usable(shape, torch.float32, threads, ndim, leave_out=("torch.compile",))
    suffix = "" if ndim == 2 else f" {ndim}-D"
    for name, ours in (("dct", sd.dct), ("idct", sd.idct)):
        calls: dict[str, Call] = {OURS: lambda o, g, f=ours: f(o.x, ndim)}
        functions = {peer.name: getattr(peer, name) for peer in peers}
        for peer, function in functions.items():
            calls[peer] = lambda o, g, f=function: f(o.x)
        plain = getattr(reference, name)
        want = lambda o, i, f=plain: f(o.x.double(), ndim)  # noqa: E731
        yield Case("transform", name + suffix, shape, torch.float32, calls, want, images=1)


def map_filter(shape: tuple[int, ...], threads: int) -> Case:
    """spectral_filter with a map [B, 1, H, W] that is no product of rows and columns."""
    torch.manual_seed(1)
    gain = torch.rand(shape[0], 1, *shape[2:])
    peers = usable(shape, torch.float32, threads, leave_out=("torch.compile", "torch-dct"))
    calls = {OURS: lambda o, g: sd.spectral_filter(o.x, gain), **of_filter(peers, gain)}
    want = lambda o, i: reference.spectral_filter(o.x.double(), gain[i].double())  # noqa: E731
    return Case("filter", "spectral_filter", shape, torch.float32, calls, want)


def sampler(
    name: str,
    shape: tuple[int, ...],
    calls: dict[str, Call],
    want: Callable[[Operand, list[int]], Tensor],
    noise_std: Callable[[list[int]], Tensor] | None = None,
    images: int = 2,
) -> Case:
    """A step between levels, and beside it what its parts take: a blur of as many images, and as many numbers of noise."""
    tau, seeds = taus(shape[0]), iter(range(1 << 62))
    calls[BLUR] = lambda o, g: sd.dct_blur(o.x, tau)
    if noise_std:
        calls[NOISE] = lambda o, g: sd.normal(shape, next(seeds))
    return Case("sampler", name, shape, torch.float32, calls, want, noise_std, images)


def corrupt(shape: tuple[int, ...], threads: int) -> Case:
    """diffuse with a level for each sample, noise drawn."""
    tau, lam = taus(shape[0]), reference.eigenvalues(shape[2:])
    level = sd.Level(-0.1 * tau, tau, 0.1 + 0.2 * tau, torch.full_like(tau, 1e-3))

    def part(index: list[int]) -> sd.Level:
        return sd.Level(*(value[index] for value in level.tensors))

    twin = twins.diffuse(Matmul(shape, torch.float32, threads), level)
    calls = {OURS: lambda o, g: sd.diffuse(o.x, level, generator=g), TWIN: lambda o, g: twin(o.x, g)}
    want = lambda o, i: reference.spectral_filter(o.x.double(), reference.alpha(part(i), lam))  # noqa: E731
    std = lambda i: reference.column(part(i).sigma, lam.device)  # noqa: E731
    return sampler("diffuse", shape, calls, want, std)


S, T = sd.Level(-0.05, 0.5, 0.3, 1e-3), sd.Level(-0.2, 1.0, 0.57, 1e-3)
STEPS: dict[str, tuple[sd.Rule, str, int]] = {  # name -> rule, prediction, images transformed
    "posterior_sample": (sd.Markov(), "x", 3),
    "momentum_step": (sd.Momentum(), "x", 2),
    "step Markov eps": (sd.Markov(), "eps", 3),
    "step Markov v": (sd.Markov(), "v", 3),
    "step Momentum exact": (sd.Momentum(exact=True), "x", 2),
    "step DDIM x": (sd.DDIM(), "x", 2),
    "step DDIM eps": (sd.DDIM(), "eps", 3),
    "step DDIM eta 0.5": (sd.DDIM(eta=0.5), "x", 2),
    "step Naive": (sd.Naive(), "x", 2),
    "step Cold": (sd.Cold(), "x", 2),
}


def reverse_step(name: str, shape: tuple[int, ...], threads: int) -> Case:
    """One reverse step between two levels, noise drawn."""
    rule, prediction, images = STEPS[name]
    twin = twins.step(Matmul(shape, torch.float32, threads), S, T, rule, prediction)
    calls: dict[str, Call] = {OURS: lambda o, g: sd.step(o.z, o.x, S, T, rule, prediction, generator=g)}
    if name == "posterior_sample":
        calls[OURS] = lambda o, g: sd.posterior_sample(o.z, o.x, S, T, generator=g)
    if name == "momentum_step":
        calls[OURS] = lambda o, g: sd.momentum_step(o.z, o.x, S, T, generator=g)
    calls[TWIN] = lambda o, g: twin(o.x, o.z, g)
    omega = reference.step_coefficients(S, T, rule, prediction, reference.eigenvalues(shape[2:]))[2]
    want = lambda o, i: reference.step(o.z.double(), o.x.double(), S, T, rule, prediction)  # noqa: E731
    noisy = bool((omega > 0).any())
    return sampler(name, shape, calls, want, (lambda i: omega) if noisy else None, images)


def given_noise(name: str, shape: tuple[int, ...], threads: int) -> Case:
    """diffuse or momentum_step with noise that the caller has: one image more to read."""
    torch.manual_seed(2)
    noise, matmul = torch.randn(shape), Matmul(shape, torch.float32, threads)
    if name == "diffuse":
        twin = twins.diffuse(matmul, T)
        calls: dict[str, Call] = {OURS: lambda o, g: sd.diffuse(o.x, T, noise=noise), TWIN: lambda o, g: twin(o.x, g, noise)}
        want = lambda o, i: reference.diffuse(o.x.double(), T, noise[i].double())  # noqa: E731
    else:
        rule, prediction, _ = STEPS["momentum_step"]
        step = twins.step(matmul, S, T, rule, prediction)
        calls = {OURS: lambda o, g: sd.momentum_step(o.z, o.x, S, T, noise=noise), TWIN: lambda o, g: step(o.x, o.z, g, noise)}
        want = lambda o, i: reference.step(o.z.double(), o.x.double(), S, T, rule, prediction, noise[i].double())  # noqa: E731
    return sampler(f"{name}, noise given", shape, calls, want)


def loss(shape: tuple[int, ...], threads: int) -> Case:
    """soft_score_loss: two images in, one number a sample out."""
    twin = twins.soft_score_loss(Matmul(shape, torch.float32, threads), T)
    calls = {OURS: lambda o, g: sd.soft_score_loss(o.x, o.z, T), TWIN: lambda o, g: twin(o.x, o.z)}
    want = lambda o, i: reference.soft_score_loss(o.x.double(), o.z.double(), T)  # noqa: E731
    return Case("loss", "soft_score_loss", shape, torch.float32, calls, want, images=1)


def normal(size: int, threads: int) -> Case:
    """Noise alone, against torch's generator and numpy's fastest."""
    random, seeds = np.random.Generator(np.random.SFC64(0)), iter(range(1 << 62))
    calls: dict[str, Call] = {
        OURS: lambda o, g: sd.normal((size,), next(seeds) if g is None else g.initial_seed()),
        "torch.randn": lambda o, g: torch.randn(size, generator=g),
        "numpy SFC64": lambda o, g: torch.from_numpy(random.standard_normal(size, dtype=np.float32)),
    }
    return Case("noise", "normal", (size,), torch.float32, calls, None, lambda i: torch.ones(()), images=0)


def training(shape: tuple[int, ...], threads: int) -> Case:
    """Input and target of one step of heat-dissipation training, a level for each sample (Rissanen et al. 2022)."""
    sigma = 0.01
    widths = torch.exp(torch.linspace(np.log(0.5), np.log(24.0), 201, dtype=torch.float64))
    k = torch.arange(shape[0]) * 7 % 200 + 1
    tau, less = widths[k] ** 2 / 2, widths[k - 1] ** 2 / 2
    single, single_less = tau.float(), less.float()
    level = sd.Level(tau=tau, sigma=sigma)

    calls: dict[str, Call] = {
        OURS: lambda o, g: (sd.diffuse(o.x, level, generator=g), sd.dct_blur(o.x, less)),
        "torch FFT": lambda o, g: twins.training_batch(o.x, single, single_less, sigma, g),
    }

    def want(o: Operand, i: list[int]) -> Tensor:
        return torch.stack([reference.dct_blur(o.x.double(), tau[i]), reference.dct_blur(o.x.double(), less[i])], dim=1)

    def std(i: list[int]) -> Tensor:
        return torch.tensor([sigma, 0.0], dtype=torch.float64).view(1, 2, 1, 1, 1)

    return Case("training", "IHDM batch", shape, torch.float32, calls, want, std, images=4)


def sweep(shape: tuple[int, ...], threads: int) -> Case:
    """dct_blur on as many planes of one size as make a fixed number of pixels: the plot."""
    case = blur(shape, threads, leave_out=("torch.compile",))
    case.group = "sweep"
    return case

"""One reverse step of any sampler with any prediction, and the two that have names of their own."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.compiler import is_dynamo_compiling

from softdiff_ext import _C, reference
from softdiff_ext.levels import Level
from softdiff_ext.ops import native
from softdiff_ext.ops.checks import check_generator, check_images, check_level, check_rule, check_same
from softdiff_ext.ops.filter import filter_sum
from softdiff_ext.ops.library import Operator, fold_batch, traced, unfold_batch
from softdiff_ext.ops.native import Packed
from softdiff_ext.ops.noise import draw_seed, noise_like, same_noise, seed_source
from softdiff_ext.ops.transform import idct
from softdiff_ext.rules import Markov, Momentum, Rule

_MARKOV, _MOMENTUM = Markov(), Momentum()  # making one takes as long as a torch.empty


def step(
    z_t: Tensor,
    output: Tensor,
    s: Level,
    t: Level,
    rule: Rule,
    prediction: str = "x",
    noise: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """One reverse step from level t to the cleaner level s: u_s = (alpha_s - kappa alpha_t) u_hat + kappa u_t + omega n.

    Args:
        z_t: corrupted images at level t, [B, C, H, W], floating, any strides.
        output: what the network gave, shape and dtype of z_t.
        s: cleaner level; Level() is the clean image.
        t: noisier level.
        rule: Markov(), Momentum(), DDIM(), Naive() or Cold(): what kappa and omega are.
        prediction: what `output` is: "x" clean image, "eps" noise, "v" velocity a_t eps - sigma_t x, "mean" C_s x_hat.
        noise: n, in pixel space, shape and dtype of z_t; None draws it inside the kernel.
        generator: where the seed of drawn noise comes from; None is torch's default generator.
    Returns:
        z_s, shape and dtype of z_t, contiguous.
    Raises:
        TypeError: a tensor is not floating or dtypes differ, s or t is not a Level, rule not a Rule.
        ValueError: shapes or devices differ, prediction is unknown, a value of s or t is out of range, s is noisier or blurrier
            than t, or "eps" is used without a floor to divide by.
    Note:
        Differentiable to any order in z_t, output, noise and the fields of s and t. Drawn noise is drawn in the DCT basis where
        omega depends on frequency (Markov), which has the same law and saves a transform: it equals noise = idct(normal(..)).
    Source:
        docs/architecture.md has the table of rules with their papers.

    Examples:
        >>> import torch, softdiff_ext as sd
        >>> x = torch.rand(2, 3, 8, 8)
        >>> s, t = sd.Level(tau=1.0, sigma=0.1), sd.Level(tau=2.0, sigma=0.2)
        >>> z_t = sd.diffuse(x, t)
        >>> z_s = sd.step(z_t, x, s, t, sd.DDIM())  # x stands for what a network makes of z_t
        >>> clean = sd.step(z_t, x, sd.Level(), t, sd.DDIM())  # at the clean level nothing but the estimate is left
        >>> torch.allclose(clean, x, atol=1e-5)
        True
    """
    return _checked("step", z_t, "output", output, s, t, rule, prediction, noise, generator)


def posterior_sample(
    z_t: Tensor, x_hat: Tensor, s: Level, t: Level, noise: Tensor | None = None, generator: torch.Generator | None = None
) -> Tensor:
    """Draw z_s from q(z_s | z_t, x_hat), the Gaussian posterior of the Markov chain: `step` with Markov() and prediction "x".

    Source:
        Hoogeboom and Salimans 2022, Blurring Diffusion Models, section 3.

    Examples:
        >>> import torch, softdiff_ext as sd
        >>> s, t = sd.Level(sigma=0.1), sd.Level(sigma=0.2)
        >>> z_t, x_hat = torch.rand(2, 1, 4, 4), torch.zeros(2, 1, 4, 4)
        >>> draws = [torch.Generator().manual_seed(0) for _ in range(2)]
        >>> a = sd.posterior_sample(z_t, x_hat, s, t, generator=draws[0])
        >>> torch.equal(a, sd.step(z_t, x_hat, s, t, sd.Markov(), generator=draws[1]))
        True
    """
    return _checked("posterior_sample", z_t, "x_hat", x_hat, s, t, _MARKOV, "x", noise, generator)


def momentum_step(
    x_t: Tensor,
    x_hat: Tensor,
    s: Level,
    t: Level,
    noise: Tensor | None = None,
    generator: torch.Generator | None = None,
    exact: bool = False,
) -> Tensor:
    """Soft Diffusion's momentum sampler: `step` with Momentum(exact) and prediction "x".

    Source:
        Daras et al. 2023, Soft Diffusion, algorithm 2.

    Examples:
        >>> import torch, softdiff_ext as sd
        >>> s, t = sd.Level(tau=1.0, sigma=0.1), sd.Level(tau=2.0, sigma=0.1)
        >>> x_t, x_hat = torch.rand(2, 1, 8, 8), torch.rand(2, 1, 8, 8)
        >>> x_s = sd.momentum_step(x_t, x_hat, s, t)  # the noise stays as it is, so no new one is drawn: Cold Diffusion's step
        >>> torch.allclose(x_s, x_t + sd.dct_blur(x_hat, 1.0) - sd.dct_blur(x_hat, 2.0), atol=1e-6)
        True
    """
    rule = _MOMENTUM if exact is False else Momentum(exact)
    return _checked("momentum_step", x_t, "x_hat", x_hat, s, t, rule, "x", noise, generator, state="x_t")


def posterior(z_t: Tensor, x_hat: Tensor, s: Level, t: Level) -> tuple[Tensor, Tensor]:
    """Mean and variance of q(z_s | z_t, x_hat) for the Markov chain with the marginals of the levels.

    With r = sigma_s / sigma_t and alpha_ts = alpha_t / alpha_s: u_mean = alpha_s (1 - alpha_ts^2 r^2) u_hat + alpha_ts r^2 u_t,
    variance = sigma_s^2 (1 - alpha_ts^2 r^2).

    Args:
        z_t: corrupted images at level t, [B, C, H, W].
        x_hat: clean images or their estimate, shape and dtype of z_t.
        s: cleaner level.
        t: noisier level.
    Returns:
        The mean in pixels, [B, C, H, W] in the dtype of z_t, and the variance of each DCT coefficient, [B, 1, H, W], float32
        for 16-bit inputs, else in the dtype of z_t.
    Raises:
        TypeError, ValueError: as `step`.
    Note:
        Differentiable to any order in z_t, x_hat and the fields of s and t.
    Source:
        Hoogeboom and Salimans 2022, Blurring Diffusion Models, section 3 (there in precision form).

    Examples:
        >>> import torch, softdiff_ext as sd
        >>> s, t = sd.Level(sigma=1.0), sd.Level(sigma=2.0)  # no blur: r^2 = 1/4, so 3/4 of x_hat and 1/4 of z_t
        >>> mean, variance = sd.posterior(torch.ones(1, 1, 2, 2), torch.zeros(1, 1, 2, 2), s, t)
        >>> mean
        tensor([[[[0.2500, 0.2500],
                  [0.2500, 0.2500]]]])
        >>> variance.unique()
        tensor([0.7500])
    """
    _check_arguments("posterior", "z_t", z_t, "x_hat", x_hat, s, t, Markov(), "x", None)
    mean = _run("posterior", z_t, x_hat, s, t, Markov(), "x", None, None)
    tracing = traced((z_t, x_hat, *s.tensors, *t.tensors))
    by_torch = tracing or (torch.is_grad_enabled() and (s.requires_grad or t.requires_grad))
    if by_torch or not native.native(z_t):
        omega = reference.step_coefficients(s, t, Markov(), "x", native.lam_of(z_t))[2]
        variance = omega.square().expand(z_t.shape[0], 1, *z_t.shape[-2:]).to(reference.accumulation_dtype(z_t.dtype))
        return mean, variance.contiguous()
    packed_s, packed_t = (native.pack(level, z_t.device, False) for level in (s, t))
    return mean, native.step_variance("posterior", packed_s, packed_t, Markov.code, 0.0, "x", z_t)


def _checked(
    op: str,
    z_t: Tensor,
    name: str,
    output: Tensor,
    s: Level,
    t: Level,
    rule: Rule,
    prediction: str,
    noise: Tensor | None,
    generator: torch.Generator | None,
    state: str = "z_t",
) -> Tensor:
    known = isinstance(s, Level) and isinstance(t, Level) and isinstance(rule, Rule) and z_t is not None and output is not None
    if known and not is_dynamo_compiling():
        seed_from = seed_source(noise, generator)
        quick = _step.quick(op, output, z_t, noise, seed_from, s.fields, t.fields, rule.code, rule.parameter, prediction)
        if quick is not None:
            return quick
    _check_arguments(op, state, z_t, name, output, s, t, rule, prediction, noise)
    check_generator(op, noise, generator)
    seed = None
    if noise is None:
        tracing = traced((z_t, output, *s.tensors, *t.tensors))
        if not tracing:
            native.check_step_values(op, s, t, rule, prediction, z_t)  # a refused call draws nothing
        seed = draw_seed(generator, tracing, z_t)
    return _run(op, z_t, output, s, t, rule, prediction, noise, seed)


def _check_arguments(
    op: str,
    state: str,
    z_t: Tensor,
    name: str,
    output: Tensor,
    s: Level,
    t: Level,
    rule: Rule,
    prediction: str,
    noise: Tensor | None,
) -> None:
    check_images(op, state, z_t)
    check_same(op, state, z_t, name, output)
    check_level(op, "s", s, z_t)
    check_level(op, "t", t, z_t)
    check_rule(op, rule, prediction)
    if noise is not None:
        check_same(op, state, z_t, "noise", noise)


def _run(
    op: str,
    z_t: Tensor,
    output: Tensor,
    s: Level,
    t: Level,
    rule: Rule,
    prediction: str,
    noise: Tensor | None,
    seed: int | Tensor | None,
) -> Tensor:
    tracing = traced((z_t, output, noise, *s.tensors, *t.tensors))
    if torch.is_grad_enabled() and (s.requires_grad or t.requires_grad):
        if not tracing:
            native.check_step_values(op, s, t, rule, prediction, z_t)
        if seed is not None:
            noise = noise_like(z_t, seed)
            noise = idct(noise) if isinstance(rule, Markov) else noise
        p, q, w = reference.step_coefficients(s, t, rule, prediction, native.lam_of(z_t))
        return filter_sum((output, p), (z_t, q), (noise, w))
    packed_s, packed_t = (native.pack(level, z_t.device, tracing) for level in (s, t))
    return _step(op, output, z_t, noise, seed, packed_s, packed_t, rule.code, rule.parameter, prediction)


def _forward(
    op: str,
    output: Tensor | None,
    z_t: Tensor | None,
    noise: Tensor | None,
    seed: int | Tensor | None,
    s: Packed,
    t: Packed,
    rule: int,
    parameter: float,
    prediction: str,
) -> Tensor:
    like = next(x for x in (output, z_t, noise) if x is not None)
    seed = native.seed_for(like, seed)
    if native.native(like):
        return native.step(op, output, z_t, noise, seed, s, t, rule, parameter, prediction)
    if seed is not None:
        noise = native.normal(tuple(like.shape), seed, like.dtype, like.device)
        noise = reference.idct(noise) if rule == Markov.code else noise
    coefficients = reference.step_coefficients(
        native.unpack(s), native.unpack(t), native.rule_of(rule, parameter), prediction, native.lam_of(like)
    )
    return reference.combine(list(zip((output, z_t, noise), coefficients, strict=True)))


def _fake(op: str, output: Tensor | None, z_t: Tensor | None, noise: Tensor | None, *rest: Any) -> Tensor:
    like = next(x for x in (output, z_t, noise) if x is not None)
    return torch.empty_like(like, memory_format=torch.contiguous_format)


def _setup(ctx: Any, inputs: Any, output: Tensor) -> None:
    op, _, _, _, _, s, t, rule, parameter, prediction = inputs
    if isinstance(s, Tensor) or isinstance(t, Tensor):
        ctx.save_for_backward(*(level if isinstance(level, Tensor) else None for level in (s, t)))
        s, t = (None if isinstance(level, Tensor) else level for level in (s, t))
    ctx.constants = op, s, t, rule, parameter, prediction


def _backward(ctx: Any, grad: Tensor) -> Any:
    op, s, t, rule, parameter, prediction = ctx.constants
    if s is None or t is None:
        s, t = (saved if level is None else level for saved, level in zip(ctx.saved_tensors, (s, t), strict=True))
    # Each term is self-adjoint, so its gradient is the step with that term alone.
    grads: list[Tensor | None] = [None, None, None]
    for i in range(3):
        if ctx.needs_input_grad[1 + i]:
            alone = [grad if j == i else None for j in range(3)]
            grads[i] = _step(op, *alone, None, s, t, rule, parameter, prediction)
    return None, *grads, None, None, None, None, None, None


def _vmap(info: Any, in_dims: tuple[int | None, ...], *args: Any) -> Any:
    folded, batch = fold_batch(info, in_dims, args, ".iiisll...")
    if folded[4] is not None and info.randomness == "same":
        noise = same_noise(info, folded[1], folded[4])
        folded[3], folded[4] = idct(noise) if folded[7] == Markov.code else noise, None
    return unfold_batch(info, _step(*folded), batch)


_step = Operator(
    "step(str op, Tensor? output, Tensor? z_t, Tensor? noise, Tensor? seed, Tensor s, Tensor t, int rule, float parameter, "
    "str prediction) -> Tensor",
    _C.step,
    _forward,
    _fake,
    _setup,
    _backward,
    _vmap,
)

"""Bad input: the error names operator, argument, what was wanted and found, and comes before anything is computed or drawn."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import softdiff_ext as sd

from .helpers import randn

X = randn((8, 3, 6, 5), 0, torch.float32)
S, T = sd.Level(-0.1, 0.5, 0.2, 1e-3), sd.Level(-0.4, 2.0, 0.6, 1e-3)
NAN, INF = float("nan"), float("inf")


def f64(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def step(z: Any = X, output: Any = X, s: Any = S, t: Any = T, rule: Any = None, prediction: Any = "x", **noise: Any) -> Tensor:
    return sd.step(z, output, s, t, sd.Markov() if rule is None else rule, prediction, **(noise or {"noise": X}))


PAIRED: dict[str, Callable[..., Any]] = {
    "posterior": lambda z=X, x_hat=X, s=S, t=T: sd.posterior(z, x_hat, s, t),
    "posterior_sample": lambda z=X, x_hat=X, s=S, t=T: sd.posterior_sample(z, x_hat, s, t, noise=X),
    "momentum_step": lambda z=X, x_hat=X, s=S, t=T: sd.momentum_step(z, x_hat, s, t, noise=X),
    "step": lambda z=X, x_hat=X, s=S, t=T: step(z, x_hat, s, t),
}
IMAGE: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "spectral_filter": ("x", lambda x: sd.spectral_filter(x, torch.ones(6, 5))),
    "dct_blur": ("x", lambda x: sd.dct_blur(x, 1.0)),
    "diffuse": ("x", lambda x: sd.diffuse(x, T)),
    "posterior": ("z_t", lambda x: PAIRED["posterior"](x)),
    "posterior_sample": ("z_t", lambda x: PAIRED["posterior_sample"](x)),
    "momentum_step": ("x_t", lambda x: PAIRED["momentum_step"](x)),
    "step": ("z_t", lambda x: PAIRED["step"](x)),
    "soft_score_loss": ("x_hat", lambda x: sd.soft_score_loss(x, X, T)),
}


def refused(call: Callable[[], Any], kind: type[Exception] | tuple[type[Exception], ...], *parts: str) -> None:
    """The call fails with an error whose text has every part, in this order."""
    with pytest.raises(kind, match=".*".join(re.escape(part) for part in parts)):
        call()


@pytest.mark.parametrize("name", IMAGE)
@pytest.mark.parametrize("shape", [(), (5,), (6, 5), (3, 6, 5), (1, 8, 3, 6, 5)], ids=str)
def test_images_have_four_dimensions(name: str, shape: tuple[int, ...]) -> None:
    argument, call = IMAGE[name]
    refused(lambda: call(torch.zeros(shape)), ValueError, f"{name}: {argument} must", "[B, C, H, W]", "got", str(list(shape)))


@pytest.mark.parametrize("name", ["dct", "idct"])
def test_transforms_need_their_dimensions(name: str) -> None:
    op = getattr(sd, name)
    refused(lambda: op(torch.zeros(4)), ValueError, f"{name}: ", "2", "got", "[4]")
    refused(lambda: op(torch.zeros(4, 4), 3), ValueError, f"{name}: ", "3", "got", "[4, 4]")
    for ndim in (0, 4, -1):
        refused(lambda ndim=ndim: op(X, ndim), ValueError, f"{name}: ndim must be 1, 2 or 3", "got", str(ndim))
    for ndim in (2.0, "2", None):
        refused(lambda ndim=ndim: op(X, ndim), (TypeError, ValueError), f"{name}: ndim must be 1, 2 or 3", "got")


@pytest.mark.parametrize("name", ["dct", "idct", *IMAGE])
@pytest.mark.parametrize("dtype", [torch.int64, torch.uint8, torch.bool, torch.complex64, torch.float8_e4m3fn])
def test_images_are_floating(name: str, dtype: torch.dtype) -> None:
    argument, call = IMAGE.get(name, ("x" if name == "dct" else "u", getattr(sd, name)))
    refused(lambda: call(torch.zeros(X.shape).to(dtype)), TypeError, f"{name}: {argument} must", "got", str(dtype))


@pytest.mark.parametrize("name", ["dct", "idct", *IMAGE])
@pytest.mark.parametrize("value", [None, 1.0, X.numpy(), [1.0]], ids=lambda v: type(v).__name__)
def test_images_are_tensors(name: str, value: Any) -> None:
    argument, call = IMAGE.get(name, ("x" if name == "dct" else "u", getattr(sd, name)))
    refused(lambda: call(value), TypeError, f"{name}: {argument} must", "got", type(value).__name__)


@pytest.mark.parametrize("name", ["dct", "idct", *IMAGE])
@pytest.mark.parametrize("shape", [(8, 3, 0, 5), (8, 3, 6, 0)], ids=str)
def test_images_have_pixels(name: str, shape: tuple[int, ...]) -> None:
    argument, call = IMAGE.get(name, ("x" if name == "dct" else "u", getattr(sd, name)))
    refused(lambda: call(torch.zeros(shape)), ValueError, f"{name}: ", argument, ">= 1", "got", str(list(shape)))


SECOND: dict[str, tuple[str, Callable[[Tensor], Any]]] = {
    "posterior": ("x_hat", lambda y: PAIRED["posterior"](X, y)),
    "posterior_sample": ("x_hat", lambda y: PAIRED["posterior_sample"](X, y)),
    "momentum_step": ("x_hat", lambda y: PAIRED["momentum_step"](X, y)),
    "step": ("output", lambda y: PAIRED["step"](X, y)),
    "soft_score_loss": ("x", lambda y: sd.soft_score_loss(X, y, T)),
}
NOISE: dict[str, Callable[[Tensor], Any]] = {
    "diffuse": lambda n: sd.diffuse(X, T, noise=n),
    "posterior_sample": lambda n: sd.posterior_sample(X, X, S, T, noise=n),
    "momentum_step": lambda n: sd.momentum_step(X, X, S, T, noise=n),
    "step": lambda n: step(noise=n),
}
BESIDE = [(name, argument, call) for name, (argument, call) in SECOND.items()] + [(n, "noise", c) for n, c in NOISE.items()]


@pytest.mark.parametrize(("name", "argument", "call"), BESIDE, ids=[f"{n}-{a}" for n, a, _ in BESIDE])
def test_tensors_beside_the_first_match_it(name: str, argument: str, call: Callable[[Any], Any]) -> None:
    shape = str(list(X.shape))
    refused(lambda: call(X[:1]), ValueError, f"{name}: {argument} must", shape, "got", "[1, 3, 6, 5]")
    refused(lambda: call(X[:, :, :, :4]), ValueError, f"{name}: {argument} must", shape, "got", "[8, 3, 6, 4]")
    refused(lambda: call(X[0]), ValueError, f"{name}: {argument} must", shape, "got", "[3, 6, 5]")
    refused(lambda: call(X.double()), TypeError, f"{name}: {argument} must", "torch.float32", "got", "torch.float64")
    refused(lambda: call(X.to("meta")), ValueError, f"{name}: {argument} must", "cpu", "got", "meta")
    refused(lambda: call(3.0), TypeError, f"{name}: {argument} must", "got", "float")


def test_gains_broadcast_and_match() -> None:
    for shape in ((4,), (5, 6), (2, 6, 5), (7, 1, 6, 5), (1, 8, 3, 6, 5)):
        gain = torch.ones(shape)
        refused(
            lambda gain=gain: sd.spectral_filter(X, gain),
            ValueError,
            "spectral_filter: gain must",
            "[8, 3, 6, 5]",
            "got",
            str(list(shape)),
        )
    refused(
        lambda: sd.spectral_filter(X, torch.ones(6, 5).long()), TypeError, "spectral_filter: gain must", "got", "torch.int64"
    )
    refused(
        lambda: sd.spectral_filter(X, torch.ones(6, 5, device="meta")),
        ValueError,
        "spectral_filter: gain must",
        "cpu",
        "got",
        "meta",
    )
    refused(lambda: sd.spectral_filter(X, 2.0), TypeError, "spectral_filter: gain must", "got", "float")


def test_blur_times() -> None:
    text = "dct_blur: tau must be a float or have shape [] or [B] = [8], got [3]"
    refused(lambda: sd.dct_blur(X, f64(1.0, 2.0, 3.0)), ValueError, text)
    refused(
        lambda: sd.dct_blur(X, torch.ones(8, 1)),
        ValueError,
        "dct_blur: tau must be a float or have shape [] or [B] = [8], got [8, 1]",
    )
    for bad in (-1.0, NAN, INF, -1e-300):
        refused(lambda bad=bad: sd.dct_blur(X, bad), ValueError, "dct_blur: tau must be finite and >= 0", "got", f"{bad:g}")
        refused(
            lambda bad=bad: sd.dct_blur(X, f64(bad)[0]), ValueError, "dct_blur: tau must be finite and >= 0", "got", f"{bad:g}"
        )
        tensor = torch.ones(8, dtype=torch.float64)
        tensor[5] = bad
        refused(
            lambda tensor=tensor: sd.dct_blur(X, tensor), ValueError, "dct_blur: tau must be finite and >= 0", "got", f"{bad:g}"
        )
    refused(lambda: sd.dct_blur(X, torch.ones(8, dtype=torch.int64)), TypeError, "dct_blur: tau must", "got", "torch.int64")
    refused(lambda: sd.dct_blur(X, torch.ones(8, device="meta")), ValueError, "dct_blur: tau must", "cpu", "got", "meta")
    for wrong in ("1.0", None, [1.0]):
        refused(lambda wrong=wrong: sd.dct_blur(X, wrong), TypeError, "dct_blur: tau must", "got", type(wrong).__name__)
    for floor in (-0.1, 1.0, 2.0, NAN, INF):
        refused(
            lambda floor=floor: sd.dct_blur(X, 1.0, floor), ValueError, "dct_blur: floor must be in [0, 1)", "got", f"{floor:g}"
        )


FIELDS = {"tau": (-1.0, NAN, INF), "sigma": (-0.5, NAN, INF), "floor": (-0.1, 1.0, NAN), "log_a": (NAN, INF, -INF)}
BAD_FIELDS = [(field, value) for field, values in FIELDS.items() for value in values]


@pytest.mark.parametrize(("field", "value"), BAD_FIELDS)
def test_level_numbers(field: str, value: float) -> None:
    refused(lambda: sd.Level(**{field: value}), ValueError, f"Level: {field} must be", "got", f"{value:g}")


def test_level_types() -> None:
    refused(lambda: sd.Level(tau="1"), TypeError, "Level: tau must be a float", "got", "str")
    refused(lambda: sd.Level(sigma=True), TypeError, "Level: sigma must be a float", "got", "bool")
    refused(
        lambda: sd.Level(tau=torch.ones(3, dtype=torch.int32)), TypeError, "Level: tau must be a float", "got", "torch.int32"
    )
    refused(lambda: sd.Level(tau=torch.ones(3, 1)), ValueError, "Level: tau must", "[B]", "got", "[3, 1]")


LEVELLED: dict[str, tuple[str, Callable[[sd.Level], Any]]] = {
    "diffuse": ("level", lambda level: sd.diffuse(X, level, noise=X)),
    "soft_score_loss": ("level", lambda level: sd.soft_score_loss(X, X, level)),
    **{name: ("t", lambda level, name=name: PAIRED[name](t=level)) for name in PAIRED},
}


@pytest.mark.parametrize("name", LEVELLED)
@pytest.mark.parametrize(("field", "value"), BAD_FIELDS)
def test_numbers_inside_level_tensors(name: str, field: str, value: float) -> None:
    argument, call = LEVELLED[name]
    good = {"log_a": -0.4, "tau": 2.0, "sigma": 0.6, "floor": 1e-3}
    tensor = torch.full((8,), good[field], dtype=torch.float64)
    tensor[3] = value
    refused(
        lambda: call(sd.Level(**{**good, field: tensor})),
        ValueError,
        f"{name}: {argument}.{field} must be",
        "got",
        f"{value:g}",
    )


@pytest.mark.parametrize("name", LEVELLED)
def test_levels_fit_the_batch(name: str) -> None:
    argument, call = LEVELLED[name]
    level = sd.Level(-0.4, torch.full((3,), 2.0), 0.6, 1e-3)
    refused(lambda: call(level), ValueError, f"{name}: {argument}.tau must", "[B] = [8]", "got", "[3]")
    for wrong in (0.5, None, (0.0, 1.0, 0.1, 0.0)):
        refused(lambda wrong=wrong: call(wrong), TypeError, f"{name}: {argument} must be a Level", "got", type(wrong).__name__)
    meta = sd.Level(-0.4, torch.full((8,), 2.0, device="meta"), 0.6, 1e-3)
    refused(lambda: call(meta), ValueError, f"{name}: {argument}.tau must", "cpu", "got", "meta")


def _tensor_level(level: sd.Level) -> sd.Level:
    return sd.Level(*[torch.full((8,), float(value), dtype=torch.float64) for value in level])


@pytest.mark.parametrize("name", PAIRED)
@pytest.mark.parametrize("convert", [lambda level: level, _tensor_level], ids=["floats", "tensors"])
def test_s_is_the_cleaner_level(name: str, convert: Callable[[sd.Level], sd.Level]) -> None:
    call = PAIRED[name]
    blurrier, noisier = sd.Level(-0.1, 3.0, 0.2, 1e-3), sd.Level(-0.4, 0.5, 0.7, 1e-3)
    lower = sd.Level(-0.1, 0.5, 0.2, 1e-4)
    blurry, noisy = f"{name}: s must not be blurrier than t", f"{name}: s must not be noisier than t"
    refused(lambda: call(s=convert(blurrier), t=convert(T)), ValueError, blurry, "tau_s = 3", "tau_t = 2")
    refused(lambda: call(s=convert(noisier), t=convert(T)), ValueError, noisy, "sigma / a", "1.04", "0.89")
    refused(lambda: call(s=convert(lower), t=convert(T)), ValueError, f"{name}: the floor of t must not", "0.0001", "0.001")
    mixed = sd.Level(-0.1, torch.tensor([0.5] * 7 + [9.0], dtype=torch.float64), 0.2, 1e-3)
    refused(lambda: call(s=mixed, t=convert(T)), ValueError, blurry, "tau_s = 9", "tau_t = 2", "sample 7")


def test_rules_and_predictions() -> None:
    for rule in ("markov", None, sd.Markov, 3):
        refused(lambda rule=rule: sd.step(X, X, S, T, rule, noise=X), TypeError, "step: rule must be", "Markov", "got")
    for prediction in ("x0", "", "V"):
        refused(
            lambda p=prediction: step(prediction=p),
            ValueError,
            "step: prediction must be",
            "'x', 'eps', 'v'",
            "got",
            repr(prediction),
        )
    refused(lambda: step(prediction=None), (TypeError, ValueError), "step: prediction must be", "got")
    for eta in (-0.1, 1.1, NAN):
        refused(lambda eta=eta: sd.DDIM(eta=eta), ValueError, "DDIM: eta must be in [0, 1]", "got", f"{eta:g}")
    for std in (-0.1, NAN, INF):
        refused(lambda std=std: sd.Naive(std=std), ValueError, "Naive: std must be", "got", f"{std:g}")
    refused(lambda: sd.Momentum(exact=1), TypeError, "Momentum: exact must be a bool", "got", "int")


@pytest.mark.parametrize("convert", [lambda level: level, _tensor_level], ids=["floats", "tensors"])
def test_noise_predictions_need_a_floor_under_blur(convert: Callable[[sd.Level], sd.Level]) -> None:
    s, t = sd.Level(-0.1, 0.5, 0.2), sd.Level(-0.4, 2.0, 0.6)
    refused(
        lambda: step(s=convert(s), t=convert(t), prediction="eps"),
        ValueError,
        "step: prediction 'eps' needs a floor > 0",
        "got",
        "tau_t = 2",
    )
    sharp_s, sharp_t = sd.Level(-0.1, 0.0, 0.2), sd.Level(-0.4, 0.0, 0.6)  # without blur nothing is divided by a vanishing gain
    assert step(s=convert(sharp_s), t=convert(sharp_t), prediction="eps").isfinite().all()


def test_rules_and_predictions_that_divide_by_zero() -> None:
    s, t = sd.Level(tau=1.0), sd.Level(tau=2.0)
    refused(lambda: step(s=s, t=t, prediction="v"), ValueError, "step: prediction 'v' needs sigma_t > 0 or a floor > 0", "got")
    louder, quieter = sd.Level(-0.5, 1.0, 0.3), sd.Level(-3.0, 2.0, 0.03)  # cleaner by its scale, though its sigma is larger
    for rule in (sd.Momentum(), sd.Momentum(exact=True)):
        refused(
            lambda rule=rule: step(s=louder, t=quieter, rule=rule), ValueError, "step: the momentum rule needs", "0.3", "0.03"
        )


def test_normal_arguments() -> None:
    def draw(shape: Any = (2, 3), seed: Any = 0, dtype: Any = torch.float32, device: Any = "cpu") -> Tensor:
        return sd.normal(shape, seed, dtype=dtype, device=device)

    refused(lambda: draw(shape=(2, -1)), ValueError, "normal: shape must", "got", "-1")
    refused(lambda: draw(seed=1.5), TypeError, "normal: seed must be an int", "got", "float")
    refused(lambda: draw(dtype=torch.int64), TypeError, "normal: dtype must", "got", "torch.int64")
    for size in ((3,), (2, 3, 4), (0, 3), (2, -1)):
        refused(lambda size=size: sd.eigenvalues(size), ValueError, "eigenvalues: size must be (H, W)", "got")


def test_a_refused_call_draws_and_changes_nothing() -> None:
    x, out_of_order = X.clone(), sd.Level(-0.4, 9.0, 0.6, 1e-3)
    generator = torch.Generator().manual_seed(5)
    before, before_global = generator.get_state(), torch.get_rng_state()
    for name in ("posterior_sample", "momentum_step"):
        refused(lambda name=name: getattr(sd, name)(x, x, out_of_order, T, generator=generator), ValueError, f"{name}: ")
        refused(lambda name=name: getattr(sd, name)(x, x, out_of_order, T), ValueError, f"{name}: ")
    refused(lambda: sd.diffuse(x, sd.Level(tau=f64(-1.0)[0]), generator=generator), ValueError, "diffuse: ")
    assert torch.equal(x, X)
    assert torch.equal(generator.get_state(), before)
    assert torch.equal(torch.get_rng_state(), before_global)


def test_generators() -> None:
    refused(lambda: sd.diffuse(X, T, generator=7), TypeError, "diffuse: generator must be a torch.Generator", "got", "int")
    refused(
        lambda: sd.diffuse(X, T, noise=X, generator=torch.Generator()),
        ValueError,
        "diffuse: ",
        "noise or generator",
        "got both",
    )

"""Processes: levels, start images, losses, estimates, one way to call networks, and what is refused."""

from __future__ import annotations

import math
from collections.abc import Callable
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

import softdiff_ext as sd
from softdiff_ext import reference
from softdiff_ext.processes import BlurringDiffusion, Process, SoftDiffusion
from softdiff_ext.processes.draws import stratified_times
from softdiff_ext.processes.network import call_network, unwrap
from softdiff_ext.rules import Rule
from softdiff_ext.sampling import times
from softdiff_ext.schedules import LinearBeta, LinearGamma

SIZE = 8


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images(n: int, size: int = SIZE, channels: int = 1, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.rand(n, channels, size, size, dtype=dtype, generator=seeded(0)) * 2 - 1


def blurring(prediction: str = "eps", sigma_blur_max: float = 2.0) -> BlurringDiffusion:
    return BlurringDiffusion(sigma_blur_max, prediction=prediction)


def soft(sigma_blur_max: float = 2.0, size: int = SIZE, channels: int = 1, weight_floor: float = 0.0) -> SoftDiffusion:
    process = SoftDiffusion(sigma_blur=(0.01, sigma_blur_max), weight_floor=weight_floor)
    process.fit(images(20, size, channels))
    return process


MAKERS: dict[str, Callable[[], Process]] = {
    "blurring eps": blurring,
    "blurring v": lambda: blurring("v"),
    "blurring x": lambda: blurring("x"),
    "ddpm": lambda: sd.VariationalDiffusion(LinearBeta(100)),
    "vdm": lambda: sd.VariationalDiffusion(LinearGamma(-10.0, 5.0), "v"),
    "soft": soft,
}
every_process = pytest.mark.parametrize("process", [pytest.param(make(), id=name) for name, make in MAKERS.items()])


def knows(process: Process, x: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
    """A network that knows the image: its answer is exact for any z."""

    def answer(z: Tensor, t: Tensor) -> Tensor:
        if isinstance(process, SoftDiffusion):
            return x - z
        level = process.level(t.double())
        sigma, a = (torch.as_tensor(value).reshape(-1, 1, 1, 1) for value in (level.sigma, torch.as_tensor(level.log_a).exp()))
        blurred = reference.diffuse(
            x.double(), sd.Level(level.log_a, level.tau, 0.0, level.floor), torch.zeros_like(x).double()
        )
        eps = (z.double() - blurred) / sigma
        return {"eps": eps, "v": a * eps - sigma * x, "x": x.expand_as(z)}[process.prediction].to(z.dtype)

    return answer


@every_process
@given(t=st.floats(0, 1))
def test_a_level_is_the_same_from_a_float_and_from_a_tensor(process: Process, t: float) -> None:
    one, batch = process.level(t), process.level(torch.tensor([t, 0.5], dtype=torch.float64))
    for a, b in zip(one, batch, strict=True):
        assert isinstance(a, Tensor)
        assert isinstance(b, Tensor)
        assert (a.dtype, b.dtype, a.shape, b.shape) == (torch.float64, torch.float64, (), (2,))
        assert a == b[0]


@every_process
def test_levels_only_grow(process: Process) -> None:
    level = process.level(torch.linspace(0, 1, 1001, dtype=torch.float64))
    log_a, tau, sigma, _ = (torch.as_tensor(value) for value in level)
    assert bool((log_a.diff() <= 0).all())
    assert bool((tau.diff() >= 0).all())
    assert bool((sigma.diff() >= 0).all())


def test_ends_of_the_levels() -> None:
    first, last = (blurring(sigma_blur_max=20.0).level(t) for t in (0.0, 1.0))
    assert (float(first.tau), float(last.tau)) == pytest.approx((0.0, 200.0))
    for level, logsnr in ((first, 10.0), (last, -10.0)):
        assert 2 * float(level.log_a) - 2 * math.log(float(level.sigma)) == pytest.approx(logsnr, rel=1e-12)
        assert float(level.floor) == 1e-3
    process = soft(2.0)
    assert [float(process.level(t).tau) for t in (0.0, 1.0)] == pytest.approx([0.5e-4, 2.0])
    assert [float(process.level(t).sigma) for t in (0.0, 0.25, 1.0)] == pytest.approx([0.01, 0.1, 0.1])


@every_process
@pytest.mark.parametrize("t", [-0.1, 1.5, float("nan"), torch.tensor([0.5, 1.5])])
def test_times_out_of_range_are_refused(process: Process, t: float | Tensor) -> None:
    with pytest.raises(ValueError, match=r"t: must be in \[0, 1\], got"):
        process.level(t)


@given(st.integers(1, 33), st.integers(0, 99))
def test_stratified_times_fill_every_stratum(batch: int, seed: int) -> None:
    t = stratified_times(batch, seeded(seed), torch.device("cpu"))
    assert t.dtype == torch.float64
    assert bool(((t >= 0) & (t < 1)).all())
    gaps = torch.cat([t.sort().values, t.min()[None] + 1]).diff()
    torch.testing.assert_close(gaps, torch.full_like(gaps, 1 / batch))


def test_soft_prior_is_a_blurred_training_image_with_noise() -> None:
    training = images(12, channels=2)
    process = SoftDiffusion(sigma_blur=(0.01, 1.0), sigma=(1e-7, 1e-6))  # so little noise that the image shows
    process.fit(training)
    drawn = process.prior((300, 2, SIZE, SIZE), seeded(0))
    distance = torch.cdist(drawn.double().flatten(1), reference.dct_blur(training.double(), 0.5).flatten(1))
    assert float(distance.min(dim=1).values.max()) < 2e-4  # noise 1e-6 * sqrt(128), the dropped gains < 1e-6 and float32
    assert distance.argmin(dim=1).unique().numel() == 12  # each of 12 images is left out of 300 draws with probability 5e-11
    noise = soft().prior((400, 1, SIZE, SIZE), seeded(1)) - soft().prior((400, 1, SIZE, SIZE), seeded(1))
    assert float(noise.abs().max()) == 0.0


def test_soft_prior_noise_is_that_of_the_last_level() -> None:
    process = SoftDiffusion(sigma_blur=(0.01, 2.0), sigma=(0.01, 0.1))
    process.fit(torch.full((3, 1, SIZE, SIZE), 0.5))
    noise = process.prior((500, 1, SIZE, SIZE), seeded(0)) - 0.5
    assert float(noise.std()) == pytest.approx(0.1, rel=0.02)  # 32000 numbers: the std has a relative std of 0.4 %


@every_process
def test_prior_and_loss_and_sample_follow_their_generator(process: Process) -> None:
    x, shape = images(6), (6, 1, SIZE, SIZE)
    net = lambda z, t: 0.1 * z  # noqa: E731
    for draw in (
        lambda seed: process.prior(shape, seeded(seed)),
        lambda seed: process.loss(net, x, seeded(seed))[0],
        lambda seed: process.sample(net, shape, 6, generator=seeded(seed)),
    ):
        assert torch.equal(draw(3), draw(3))
        assert not torch.equal(draw(3), draw(4))


@every_process
def test_the_loss_of_a_perfect_network_is_zero(process: Process) -> None:
    x = images(16)
    loss, logged = process.loss(knows(process, x), x, seeded(0))
    assert loss.shape == ()
    assert float(loss) < 1e-8  # float32: relative 1e-7, eps up to 1 / sigma = 150 times that, squared
    assert logged
    assert all(value.shape == () and not value.requires_grad for value in logged.values())
    assert float(process.loss(knows(process, 0.5 * x), x, seeded(0))[0]) > 1e-3


def test_blurring_loss_is_the_mean_squared_error_of_the_noise() -> None:
    """An answer of zero leaves E eps^2 = 1, E v^2 = a^2 + sigma^2 x^2, or x^2."""
    x, net = images(500), lambda z, t: torch.zeros_like(z)
    t = torch.linspace(0, 1, 2001, dtype=torch.float64)
    level = blurring().level(t)
    a2, s2 = float((2 * torch.as_tensor(level.log_a)).exp().mean()), float((torch.as_tensor(level.sigma) ** 2).mean())
    power = float((x**2).mean())
    for prediction, wanted in (("eps", 1.0), ("v", a2 + s2 * power), ("x", power)):
        loss, logged = blurring(prediction).loss(net, x, seeded(1))
        assert float(loss) == pytest.approx(wanted, rel=0.03)  # 32000 numbers: relative std 0.8 %
        assert logged == {f"{prediction}_mse": pytest.approx(float(loss))}


@pytest.mark.parametrize("floor", [0.0, 0.1])
def test_soft_loss_is_the_weighted_blurred_error(floor: float) -> None:
    """An estimate that is wrong by e at one frequency: the loss is E (sigma_max / sigma)^2 d^2 e^2 / (C H W)."""
    process, x = soft(weight_floor=floor), images(512, channels=1)
    wave = torch.zeros(1, 1, SIZE, SIZE)
    wave[..., 1, 2] = 3.0
    wrong = reference.idct(wave)
    level = process.level((torch.arange(4096, dtype=torch.float64) + 0.5) / 4096)
    lam = reference.eigenvalues((SIZE, SIZE))[1, 2]
    gain = (1 - floor) * torch.exp(-lam * torch.as_tensor(level.tau)) + floor
    weighted = (0.1 / torch.as_tensor(level.sigma)) ** 2 * gain**2 * 9.0 / SIZE**2
    loss, logged = process.loss(lambda z, t: x + wrong - z, x, seeded(0))
    assert float(loss) == pytest.approx(float(weighted.mean()), rel=0.02)  # 512 strata of a weight that goes from 100 to 1
    assert float(logged["weighted_mse"]) == pytest.approx(float(loss))
    assert logged["corrupted_mse"] < logged["weighted_mse"]


@every_process
def test_the_gradient_of_the_loss_is_right(process: Process) -> None:
    x = images(3, dtype=torch.float64)
    kernel = torch.randn(1, 1, 3, 3, dtype=torch.float64, generator=seeded(5)).requires_grad_()

    def loss(weight: Tensor) -> Tensor:
        return process.loss(lambda z, t: nn.functional.conv2d(z, weight, padding=1), x, seeded(7))[0]

    assert torch.autograd.gradcheck(loss, (kernel,))


@every_process
def test_denoise_returns_the_clean_estimate(process: Process) -> None:
    x = images(4)
    t = torch.tensor([0.05, 0.3, 0.6, 0.99], dtype=torch.float64)
    z = reference.diffuse(x, process.level(t), torch.randn(x.shape, generator=seeded(2)))
    # float32 through a division by alpha >= a floor = 7e-6 in the v and eps forms; near t = 1 that is 1e-7 / 7e-6
    torch.testing.assert_close(process.denoise(knows(process, x), z, t), x, rtol=0, atol=0.05)
    torch.testing.assert_close(process.denoise(knows(process, x[:1]), z[:1], 0.05), x[:1], rtol=0, atol=1e-4)


RULES = [sd.Markov(), sd.Momentum(), sd.Momentum(exact=True), sd.DDIM(), sd.DDIM(eta=0.7), sd.Naive()]


@pytest.mark.parametrize("rule", RULES, ids=str)
@pytest.mark.parametrize(("size", "steps"), [(32, 5), (32, 200), (64, 5), (64, 50)])
@pytest.mark.parametrize("family", ["blurring", "soft"])
def test_a_network_that_knows_the_image_samples_it_at_extreme_blur(family: str, size: int, steps: int, rule: Rule) -> None:
    process = blurring(sigma_blur_max=128.0) if family == "blurring" else soft(128.0, size)
    x = images(1, size)
    got = process.sample(knows(process, x), (1, 1, size, size), steps, rule, seeded(0))
    # float32; the last of 5 steps of the eps form divides by the floor 1e-3
    torch.testing.assert_close(got, x, rtol=0, atol=2e-3)


@every_process
def test_callback_sees_each_step(process: Process) -> None:
    seen: list[tuple[int, Tensor, Tensor]] = []
    got = process.sample(
        lambda z, t: 0.3 * z, (2, 1, SIZE, SIZE), 7, generator=seeded(0), callback=lambda *step: seen.append(step)
    )
    assert [index for index, _, _ in seen] == list(range(7))
    assert torch.equal(seen[0][1], process.prior((2, 1, SIZE, SIZE), seeded(0)))
    assert torch.equal(seen[-1][2], got)
    again = process.sample(lambda z, t: 0.3 * z, (2, 1, SIZE, SIZE), [(7 - i) / 7 for i in range(8)], generator=seeded(0))
    assert torch.equal(again, got)
    assert not got.requires_grad


@every_process
def test_looking_on_changes_nothing(process: Process) -> None:
    """The callback's estimates draw nothing, neither from the generator nor from torch's own numbers."""

    def draw(callback: Callable[[int, Tensor, Tensor], None] | None) -> Tensor:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return process.sample(lambda z, t: 0.3 * z, (2, 1, SIZE, SIZE), 5, callback=callback)

    assert torch.equal(draw(None), draw(lambda index, z, x_hat: None))


@pytest.mark.parametrize(
    ("steps", "error", "text"),
    [
        (0, ValueError, "steps: must be at least 1, got 0"),
        ([1.0, 0.5], ValueError, "must fall strictly from 1 to 0"),
        ([0.9, 0.0], ValueError, "must fall strictly from 1 to 0"),
        ([1.0, 0.5, 0.5, 0.0], ValueError, "must fall strictly from 1 to 0"),
        ([1.0], ValueError, "must fall strictly from 1 to 0"),
        (2.5, TypeError, "must be an int or a list of times, got float"),
        (True, TypeError, "must be an int or a list of times, got bool"),
        ("10", TypeError, "must be an int or a list of times, got str"),
    ],
)
def test_bad_steps_are_refused(steps: object, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        times(steps)  # type: ignore[arg-type]


def test_times_of_equal_steps() -> None:
    assert times(4) == [1.0, 0.75, 0.5, 0.25, 0.0]


@every_process
@pytest.mark.parametrize(
    ("rule", "error", "text"),
    [
        (sd.Cold(), ValueError, "Cold keeps all the noise of the old state, so it needs a constant sigma; that of"),
        (sd.Naive(std=0.1), ValueError, r"Naive\(std=0.1\) adds the same noise at every level, so it needs a constant sigma"),
        ("markov", TypeError, "rule: must be Markov, Momentum, DDIM, Naive or Cold, got str"),
    ],
)
def test_bad_rules_are_refused_before_the_network_runs(process: Process, rule: Rule, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        process.sample(lambda z, t: pytest.fail("the network ran"), (1, 1, SIZE, SIZE), 10, rule)


@pytest.mark.parametrize("shape", [(2, 8, 8), (2, 0, 8, 8), (-1, 1, 8, 8)])
def test_bad_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"shape: must be \[B, C, H, W\]"):
        blurring().prior(shape)
    with pytest.raises(ValueError, match=r"shape: must be \[B, C, H, W\]"):
        soft().prior(shape)


def test_no_images_asked_for_are_none_given() -> None:
    for process in (blurring(), soft()):
        assert process.sample(lambda z, t: z, (0, 1, SIZE, SIZE), 3).shape == (0, 1, SIZE, SIZE)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: BlurringDiffusion(-1.0), "sigma_blur_max must be finite and >= 0, got -1.0"),
        (lambda: BlurringDiffusion(float("nan")), "sigma_blur_max must be finite and >= 0, got nan"),
        (lambda: BlurringDiffusion(floor=0.0), 'floor must be in .0, 1., and above 0 for prediction="eps", got 0.0'),
        (lambda: BlurringDiffusion(floor=1.0, prediction="x"), "floor must be in"),
        (lambda: BlurringDiffusion(prediction="mean"), "prediction must be one of .*, got 'mean'"),
        (lambda: BlurringDiffusion(logsnr_min=3.0, logsnr_max=1.0), "wanted finite logsnr_min < logsnr_max, got 3.0 and 1.0"),
        (lambda: SoftDiffusion(sigma_blur=(2.0, 1.0)), "sigma_blur must be finite with 0 < first < last, got"),
        (lambda: SoftDiffusion(sigma=(0.0, 0.1)), "sigma must be finite with 0 < first <= last, got"),
        (lambda: SoftDiffusion(weight_floor=1.0), "weight_floor must be in .0, 1., got 1.0"),
        (lambda: SoftDiffusion((0.01, 2.0), corruption=sd.NestedMask()), "give sigma_blur or a corruption, got"),
    ],
)
def test_bad_options_are_refused(make: Callable[[], Process], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        make()


@pytest.mark.parametrize(
    ("bad", "error", "text"),
    [
        (torch.zeros(0, 1, 8, 8), ValueError, r"fit: images must have shape \[N, C, H, W\] with N >= 1, got \[0, 1, 8, 8\]"),
        (torch.zeros(4, 8, 8), ValueError, "fit: images must have shape"),
        (torch.full((1, 1, 8, 8), 255.0), ValueError, r"fit: images must lie in \[-1, 1\], got values from 255 to 255"),
        (torch.full((1, 1, 8, 8), float("nan")), ValueError, r"fit: images must lie in \[-1, 1\]"),
        (torch.zeros(1, 1, 8, 8, dtype=torch.uint8), TypeError, "fit: images must be a floating tensor, got torch.uint8"),
        ([[0.0]], TypeError, "fit: images must be a floating tensor, got list"),
    ],
)
def test_bad_images_are_refused(bad: Tensor, error: type[Exception], text: str) -> None:
    for process in (blurring(), SoftDiffusion()):
        with pytest.raises(error, match=text):
            process.fit(bad)


def test_soft_diffusion_says_what_it_lacks() -> None:
    process = SoftDiffusion()
    for use in (
        lambda: process.level(0.5),
        lambda: process.prior((1, 1, 8, 8)),
        lambda: process.loss(lambda z, t: z, images(1)),
    ):
        with pytest.raises(RuntimeError, match=r"SoftDiffusion: call fit\(images\) first"):
            use()
    with pytest.raises(ValueError, match=r"SoftDiffusion was fitted on images \[1, 8, 8\], got \[3, 8, 8\]"):
        soft().prior((1, 3, SIZE, SIZE))


def test_what_fit_took_travels_in_the_state_dict() -> None:
    fitted, loaded = soft(), SoftDiffusion(sigma_blur=(0.01, 2.0))
    loaded.load_state_dict(fitted.state_dict())
    assert torch.equal(fitted.prior((5, 1, SIZE, SIZE), seeded(0)), loaded.prior((5, 1, SIZE, SIZE), seeded(0)))
    assert float(fitted.level(0.4).tau) == float(loaded.level(0.4).tau)
    with pytest.raises(RuntimeError, match="nodes"):
        SoftDiffusion().load_state_dict({})
    assert blurring().state_dict() == {}


class Recorder(nn.Module):
    """A network that keeps the times it was called with."""

    def forward(self, z: Tensor, t: Tensor) -> Tensor:
        self.times = t
        return z


class DiffusersRecorder(Recorder):
    """The same, wearing the package name and the output of diffusers."""

    __module__ = "diffusers.models.fake"

    def forward(self, z: Tensor, t: Tensor) -> SimpleNamespace:  # type: ignore[override]
        return SimpleNamespace(sample=super().forward(z, t))


def compiled(net: nn.Module) -> nn.Module:
    return torch.compile(net, backend="eager")


@pytest.mark.parametrize("wrap", [lambda net: net, nn.DataParallel, torch.optim.swa_utils.AveragedModel, compiled])
@pytest.mark.parametrize(("kind", "scale"), [(Recorder, 1.0), (DiffusersRecorder, 1000.0)])
def test_networks_are_called_in_their_own_unit_of_time(
    wrap: Callable[[nn.Module], nn.Module], kind: type[Recorder], scale: float
) -> None:
    net, t = wrap(kind()), torch.tensor([0.25, 0.5], dtype=torch.float64)
    inner = unwrap(net)
    assert type(inner) is kind
    if wrap is not compiled:  # running it takes seconds and is not what is tested
        assert torch.equal(call_network(net, images(2), t), images(2))
        assert torch.equal(inner.times, scale * t.float())


def test_a_users_own_wrapper_is_left_alone() -> None:
    class Mine(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.module = DiffusersRecorder()

        def forward(self, z: Tensor, t: Tensor) -> Tensor:
            output: Tensor = self.module(z, 500 * t).sample
            return output

    net, t = Mine(), torch.tensor([0.25, 0.5], dtype=torch.float64)
    assert torch.equal(call_network(net, images(2), t), images(2))
    assert torch.equal(net.module.times, 500 * t.float())


def test_bad_answers_of_a_network_are_refused() -> None:
    t = torch.zeros(2, dtype=torch.float64)
    with pytest.raises(ValueError, match=r"model: output must have the shape of its input \[2, 1, 8, 8\], got \[2, 3, 8, 8\]"):
        call_network(lambda z, t: z.expand(-1, 3, -1, -1), images(2), t)
    with pytest.raises(TypeError, match="model: must return a tensor, got tuple"):
        call_network(lambda z, t: (z,), images(2), t)


def test_sixteen_bit_answers_serve_float32_images() -> None:
    z = images(2)
    assert call_network(lambda z, t: z.bfloat16(), z, torch.zeros(2)).dtype == torch.float32

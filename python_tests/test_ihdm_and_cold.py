"""Inverse Heat Dissipation and Cold Diffusion: levels, losses, starts, likelihood, interpolation, and what is refused."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import softdiff_ext as sd
from softdiff_ext import reference
from softdiff_ext.processes import ColdDiffusion, InverseHeatDissipation
from softdiff_ext.processes.ihdm_presets import PRESETS
from softdiff_ext.processes.mixture import fit_mixture, log_density
from softdiff_ext.sampling import times

SIZE, VALUES = 8, [i / 8 - 1 for i in range(17)]
SHAPE = (3, 1, SIZE, SIZE)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def scans(n: int, channels: int = 1, seed: int = 0) -> Tensor:
    """Images on a grid of 17 values."""
    return torch.randint(0, 17, (n, channels, SIZE, SIZE), generator=seeded(seed)).float() / 8 - 1


def ihdm(levels: int = 10, sigma: float = 0.05, delta: float = 0.0625, reduction: str = "sum") -> InverseHeatDissipation:
    process = InverseHeatDissipation(levels, (0.3, 4.0), sigma, delta, reduction, VALUES)
    process.fit(scans(30))
    return process


def cold(prior: str = "mixture", channels: int = 1, components: int = 1, start_noise: float = 0.002) -> ColdDiffusion:
    process = ColdDiffusion(10, (0.3, 8.0), prior, components, start_noise)
    process.fit(scans(60, channels))
    return process


def gives(mean: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
    """A network of Inverse Heat Dissipation whose mean is `mean` whatever it sees."""
    return lambda z, t: mean - z


def test_levels_are_log_spaced_with_a_clean_one_before() -> None:
    process = ihdm(levels=10)
    tau = [float(process.level(k / 10).tau) for k in range(11)]
    wanted = [0.0] + [(0.3 * (4.0 / 0.3) ** ((k - 1) / 9)) ** 2 / 2 for k in range(1, 11)]
    assert tau == pytest.approx(wanted, rel=1e-12)
    assert [float(process.level(t).sigma) for t in (0.0, 1e-3, 0.1, 1.0)] == [0.0, 0.05, 0.05, 0.05]
    assert float(cold().level(0.5).sigma) == 0.0
    between = float(process.level(0.25).tau)
    assert between == pytest.approx(math.sqrt(tau[2] * tau[3]), rel=1e-12)


def test_runs_by_trained_levels() -> None:
    process = ihdm(levels=10)
    assert process.level_times(10) == sd.uniform_times(10)
    assert process.level_times(1000, 0.5) == [0.5, 0.4, 0.3, 0.2, 0.1, 0.0]
    assert process.level_times(4) == [1.0, 0.8, 0.5, 0.2, 0.0]  # 7.5 and 2.5 go to the even of their neighbours
    assert process.level_times(1, 0.37) == [0.37, 0.0]


@pytest.mark.parametrize("make", [ihdm, cold])
def test_training_sees_every_level_from_the_first_to_the_last(make: Callable[[], InverseHeatDissipation]) -> None:
    process, seen = make(), []
    process.loss(lambda z, t: (seen.append(t), 0 * z)[1], scans(100), seeded(0))
    levels = torch.bincount((seen[0] * 10).round().long(), minlength=11).tolist()
    assert levels == [0, *[10] * 10]  # stratified: a hundred images are ten of each level, K included


def test_the_loss_is_the_error_of_the_next_sharper_image() -> None:
    """Against dense matrices: the mean of level k - 1, and an input with the blur of level k and noise of std sigma."""
    x, process, seen = scans(10), ihdm(), []
    constant = torch.full_like(x, 0.25)
    loss, logged = process.loss(lambda z, t: (seen.append((z, t)), constant - z)[1], x, seeded(0))
    z, t = seen[0]
    tau = [0.0] + [(0.3 * (4.0 / 0.3) ** ((k - 1) / 9)) ** 2 / 2 for k in range(1, 11)]
    k = (t * 10).round().long().tolist()
    sharper = reference.dct_blur(x.double(), torch.tensor([tau[i - 1] for i in k], dtype=torch.float64))
    assert float(loss) == pytest.approx(float(((sharper - 0.25) ** 2).sum() / 10), rel=1e-5)
    assert float(logged["mean_mse"]) == pytest.approx(float(loss) / SIZE**2, rel=1e-5)
    mean = ihdm(reduction="mean").loss(gives(constant), x, seeded(0))[0]
    assert float(mean) == pytest.approx(float(logged["mean_mse"]), rel=1e-5)
    blurred = reference.dct_blur(x.double(), torch.tensor([tau[i] for i in k], dtype=torch.float64))
    assert float((z - blurred).std()) == pytest.approx(0.05, rel=0.1)  # 640 numbers: 2.8 %


def test_the_start_is_a_blurred_training_image_with_noise_of_std_delta() -> None:
    process = InverseHeatDissipation(10, (0.3, 1.0), 1e-6, 1e-6)  # so little noise that the image shows
    training = scans(12, channels=2)
    process.fit(training)
    drawn = process.prior((300, 2, SIZE, SIZE), seeded(0))
    distance = torch.cdist(drawn.double().flatten(1), reference.dct_blur(training.double(), 0.5).flatten(1))
    assert float(distance.min(dim=1).values.max()) < 2e-4  # noise 1e-6 * sqrt(128), the dropped gains < 1e-6 and float32
    assert distance.argmin(dim=1).unique().numel() == 12
    flat = InverseHeatDissipation(10, (0.3, 4.0), 0.05, 0.0625)
    flat.fit(torch.full((3, 1, SIZE, SIZE), 0.5))
    assert float((flat.prior((500, 1, SIZE, SIZE), seeded(0)) - 0.5).std()) == pytest.approx(0.0625, rel=0.02)


def test_the_published_sampler() -> None:
    """mu plus delta noise at each level, and the last mu as it is."""
    process, mean = ihdm(), 0.1 * scans(3, seed=5)
    got = process.sample(gives(mean), SHAPE, 10, generator=seeded(0))
    assert torch.equal(got, mean - 0 * mean) or float((got - mean).abs().max()) < 1e-6
    seen: list[Tensor] = []
    noise = sd.ImageDraws(seeded(3))
    process.sample(lambda z, t: (seen.append(z), mean - z)[1], SHAPE, 10, noise=noise, generator=seeded(0))
    torch.testing.assert_close(seen[4], mean + 0.0625 * noise(3, mean), rtol=0, atol=1e-6)


def test_bits_per_dimension_are_the_dense_sum() -> None:
    """Every term against float64 matrices, for a network whose mean does not depend on what it sees."""
    process, x, constant = ihdm(), scans(4, seed=9), 0.25
    bits = process.bits_per_dimension(gives(torch.full((4, 1, SIZE, SIZE), constant)), x, seeded(1))
    y = (x + (torch.rand(x.shape, generator=seeded(1)) - 0.5) / 8).double()
    tau = [0.0] + [(0.3 * (4.0 / 0.3) ** ((k - 1) / 9)) ** 2 / 2 for k in range(1, 11)]
    dim, s2, d2 = SIZE**2, 0.05**2, 0.0625**2
    errors = [((reference.dct_blur(y, tau[k - 1]) - constant) ** 2).sum(dim=(1, 2, 3)) for k in range(1, 11)]
    spread = dim * (s2 / d2 - 1 + math.log(d2 / s2))
    diffusion = sum(0.5 * (spread + error / d2) for error in errors[1:])
    reconstruction = errors[0] / (2 * d2) + 0.5 * dim * math.log(2 * math.pi * d2) - dim * math.log(1 / 8)
    training = reference.dct_blur(scans(30).double(), tau[10]).flatten(1)
    kl = 0.5 * (spread + torch.cdist(reference.dct_blur(y, tau[10]).flatten(1), training) ** 2 / d2)
    prior = math.log(30) - torch.logsumexp(-kl, dim=1)
    scale = dim * math.log(2)
    for term, wanted in ((bits.diffusion, diffusion), (bits.reconstruction, reconstruction), (bits.prior, prior)):
        torch.testing.assert_close(term * scale, wanted, rtol=2e-5, atol=1e-6)  # the images are float32
    torch.testing.assert_close(process.elbo(gives(torch.full(x.shape, constant)), x, seeded(1)), bits.total)


def test_a_few_levels_estimate_the_sum_of_all() -> None:
    process, x = ihdm(levels=40), scans(200, seed=9)
    net = gives(torch.full(x.shape, 0.25))
    exact, some = (process.bits_per_dimension(net, x, seeded(1), evaluations).diffusion.mean() for evaluations in (None, 7))
    assert float(some) == pytest.approx(float(exact), rel=0.02)


def test_the_start_term_is_above_the_monte_carlo_divergence() -> None:
    """L_K bounds KL(q(u_K | x) || start) from above; the divergence itself from 4000 draws in all 64 dimensions."""
    process, x = ihdm(sigma=0.2, delta=0.25), scans(3, seed=9)
    bound = process._start_nats(x, SIZE**2 * (0.8**2 - 1 - 2 * math.log(0.8)))
    tau, training = 8.0, reference.dct_blur(scans(30).double(), 8.0).flatten(1)
    for i in range(3):
        centre = reference.dct_blur(x[i : i + 1].double(), tau).flatten(1)
        z = centre + 0.2 * torch.randn(4000, SIZE**2, dtype=torch.float64, generator=seeded(i))
        log_q = -0.5 * ((z - centre) ** 2).sum(1) / 0.2**2 - SIZE**2 * math.log(0.2)
        log_p = torch.logsumexp(-0.5 * torch.cdist(z, training) ** 2 / 0.25**2, 1) - SIZE**2 * math.log(0.25) - math.log(30)
        divergence = log_q - log_p
        error = float(divergence.std()) / 4000**0.5
        assert float(divergence.mean()) - 3 * error <= float(bound[i])
        assert float(bound[i]) < float(divergence.mean()) + 3.0  # and it is no trivial bound: nats of 64 dimensions


def test_interpolation_goes_from_one_sample_to_another() -> None:
    process = ihdm()
    net = lambda z, t: -0.1 * z  # noqa: E731
    path, seen = process.interpolate(net, (5, 1, SIZE, SIZE), 10, generator=seeded(0)), []
    ends = process.sample(net, (2, 1, SIZE, SIZE), 10, generator=seeded(0))
    torch.testing.assert_close(path[[0, -1]], ends, rtol=0, atol=1e-6)
    process.interpolate(lambda z, t: (seen.append(z), 0 * z - z)[1], (3, 1, SIZE, SIZE), 10, generator=seeded(0))
    middle, (one, other) = seen[3][1], seen[3][[0, 2]]  # mean 0, so what is left is delta times the noise
    torch.testing.assert_close(middle, (one + other) / 2**0.5, rtol=0, atol=1e-6)
    first = process.prior((2, 1, SIZE, SIZE), seeded(0))
    torch.testing.assert_close(seen[0][1], first.mean(dim=0), rtol=0, atol=1e-6)


def test_one_start_and_shared_noise() -> None:
    """Same start, own noise: different images. Same start and shared noise: the same image."""
    process, net = ihdm(), lambda z, t: -0.1 * z
    start = process.prior((1, 1, SIZE, SIZE), seeded(0)).expand(4, -1, -1, -1)
    many = process.sample(net, start.shape, 10, generator=seeded(1), start=start)
    assert float((many - many[:1]).abs().amax(dim=(1, 2, 3))[1:].min()) > 1e-3
    shared = process.sample(net, start.shape, 10, start=start, noise=sd.ImageDraws(seeded(1), shared=True))
    assert torch.equal(shared, shared[:1].expand_as(shared))


def test_times_along_the_wasserstein_path() -> None:
    """Steps of nearly equal distance between the blurred data, which equal steps of t are not."""
    process = InverseHeatDissipation(50, (0.02, 4.0))
    process.fit(reference.dct_blur(scans(30).double(), 0.5).float())
    lam, power = reference.eigenvalues((SIZE, SIZE)), process.power

    def distances(chosen: list[float]) -> Tensor:
        d = [torch.exp(-lam * torch.as_tensor(process.level(t).tau)) for t in chosen[:-1]]
        return torch.stack([((a - b) ** 2 * power).sum().sqrt() for a, b in zip(d[1:], d[:-1], strict=True)])

    chosen = process.w2_times(10)
    assert len(chosen) == 11
    assert chosen == times(chosen)  # falls from 1 to 0
    assert chosen[-2] == pytest.approx(1 / 50)
    uneven = [float(distances(c).max() / distances(c).mean()) for c in (chosen, [1 - i / 10 for i in range(11)])]
    assert uneven[0] < 1.3
    assert uneven[1] > 1.6
    assert ColdDiffusion(10, (0.3, 8.0)).power.numel() == 0
    assert len(cold().w2_times(6)) == 7
    with pytest.raises(ValueError, match="steps: must be an int >= 2, of 2 levels or more, got 1 of 50"):
        process.w2_times(1)
    with pytest.raises(RuntimeError, match=r"call fit\(images\) first; the path is that of the data"):
        ColdDiffusion().w2_times(5)


def test_presets_are_the_published_ones_for_images_from_minus_one_to_one() -> None:
    process = InverseHeatDissipation.preset("cifar10")
    assert (process.levels, process.sigma_blur, process.sigma, process.delta) == (200, (0.5, 24.0), 0.02, 0.025)
    assert all(InverseHeatDissipation.preset(name).levels == PRESETS[name].levels for name in PRESETS)
    with pytest.raises(ValueError, match=r"preset: must be one of mnist, .*, got 'imagenet'"):
        InverseHeatDissipation.preset("imagenet")


def test_algorithm_2_is_exact_for_a_corruption_that_adds() -> None:
    """D(x, s) = x + s e: algorithm 2 gives D(x, s) for any network, algorithm 1 only for a perfect one.

    By the step in its kappa = 1 form with the corruption put in by hand, and with the blur for a network that is off by a
    constant colour, which the blur passes: the error cancels.
    """
    x, e, wrong = scans(2).double(), scans(2, seed=3).double(), scans(2, seed=4).double()
    z, estimate = x + 1.0 * e, wrong
    for t, s in zip((1.0, 0.75, 0.5, 0.25), (0.75, 0.5, 0.25, 0.0), strict=True):
        z = z - (estimate + t * e) + (estimate + s * e)
    torch.testing.assert_close(z, x)
    process, seen = cold(), []
    blurred = sd.dct_blur(x, process.level(1.0).tau)
    process.sample(lambda z, t: (seen.append(z), x + 0.7)[1], x.shape, 10, sd.Cold(), start=blurred)
    for index, z in enumerate(seen):
        torch.testing.assert_close(z, sd.dct_blur(x, process.level(1 - index / 10).tau), rtol=0, atol=1e-12)
    seen.clear()
    process.sample(lambda z, t: (seen.append(z), x + 0.7)[1], x.shape, 10, sd.Naive(std=0.0), start=blurred)
    assert float((seen[3] - sd.dct_blur(x, process.level(0.7).tau)).mean()) == pytest.approx(0.7)


def test_cold_loss_is_the_mean_absolute_error() -> None:
    x = scans(10)
    loss, logged = cold().loss(lambda z, t: torch.full_like(z, 0.25), x, seeded(0))
    assert float(loss) == pytest.approx(float((x - 0.25).abs().mean()), rel=1e-6)
    assert logged == {"l1": pytest.approx(float(loss))}


def test_the_mixture_start_is_a_colour_with_the_law_of_the_means() -> None:
    process = cold(channels=3, start_noise=0.0)
    start = process.prior((4000, 3, SIZE, SIZE), seeded(0)).double()
    assert float((start - start.mean(dim=(2, 3), keepdim=True)).abs().max()) < 1e-6
    colours, training = start.mean(dim=(2, 3)), scans(60, 3).double().mean(dim=(2, 3))
    std = training.std(dim=0)
    assert float(((colours.mean(dim=0) - training.mean(dim=0)) / std).abs().max()) < 4 / 4000**0.5
    torch.testing.assert_close(
        torch.cov(colours.T), torch.cov(training.T, correction=0), rtol=0.1, atol=0.05 * float(std[0] ** 2)
    )
    noisy = cold(channels=3, start_noise=0.1).prior((400, 3, SIZE, SIZE), seeded(0))
    assert float((noisy - noisy.mean(dim=(2, 3), keepdim=True)).std()) == pytest.approx(0.1, rel=0.03)


def test_expectation_maximisation_finds_two_clusters() -> None:
    centres = torch.tensor([[-0.5, 0.0], [0.5, 0.3]], dtype=torch.float64)
    points = torch.cat(
        [centres[i] + 0.05 * torch.randn(n, 2, dtype=torch.float64, generator=seeded(i)) for i, n in ((0, 300), (1, 100))]
    )
    weights, means, factors = fit_mixture(points, 2)
    order = means[:, 0].argsort()
    torch.testing.assert_close(weights[order], torch.tensor([0.75, 0.25], dtype=torch.float64))
    torch.testing.assert_close(means[order], centres, rtol=0, atol=0.02)
    torch.testing.assert_close(
        factors.diagonal(dim1=1, dim2=2), torch.full((2, 2), 0.05, dtype=torch.float64), rtol=0.25, atol=0
    )
    one = torch.distributions.MultivariateNormal(means[0], scale_tril=factors[0])
    torch.testing.assert_close(log_density(points, means, factors)[:, 0], one.log_prob(points))
    with pytest.raises(ValueError, match="components: must be from 1 to the number of points = 3, got 4"):
        fit_mixture(points[:3], 4)


def test_cold_may_start_from_blurred_training_images() -> None:
    process, training = cold("images"), reference.dct_blur(scans(60).double(), 32.0).flatten(1)
    drawn = process.prior((20, 1, SIZE, SIZE), seeded(0)).double().flatten(1)
    assert float(torch.cdist(drawn, training).min(dim=1).values.max()) < 1e-4


@pytest.mark.parametrize("make", [ihdm, cold, lambda: cold("images", components=1)])
def test_what_fit_took_travels_in_the_state_dict(make: Callable[[], InverseHeatDissipation | ColdDiffusion]) -> None:
    fitted = make()
    loaded = (
        ColdDiffusion(10, (0.3, 8.0), fitted.start) if isinstance(fitted, ColdDiffusion)
        else InverseHeatDissipation(10, (0.3, 4.0), 0.05, 0.0625)
    )  # fmt: skip
    loaded.load_state_dict(fitted.state_dict())
    assert torch.equal(fitted.prior(SHAPE, seeded(0)), loaded.prior(SHAPE, seeded(0)))


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda: InverseHeatDissipation(0), ValueError, "InverseHeatDissipation: levels must be at least 1, got 0"),
        (lambda: InverseHeatDissipation(2.0), TypeError, "levels must be an int, got float"),  # type: ignore[arg-type]
        (lambda: InverseHeatDissipation(10, (2.0, 1.0)), ValueError, "sigma_blur must be finite with 0 < first < last"),
        (lambda: InverseHeatDissipation(sigma_blur=2.0), TypeError, "sigma_blur must be two numbers .*, got float"),  # type: ignore[arg-type]
        (lambda: ColdDiffusion(sigma_blur=(1, 2, 3)), ValueError, "ColdDiffusion: sigma_blur must be two numbers .*, got 3"),  # type: ignore[arg-type]
        (lambda: InverseHeatDissipation(delta="1"), TypeError, "delta must be a number, got str"),  # type: ignore[arg-type]
        (lambda: InverseHeatDissipation(sigma=0.0), ValueError, "sigma must be finite and > 0, got 0.0"),
        (lambda: InverseHeatDissipation(delta=math.nan), ValueError, "delta must be finite and > 0, got nan"),
        (lambda: InverseHeatDissipation(reduction="max"), ValueError, "reduction must be one of .*, got 'max'"),
        (lambda: InverseHeatDissipation(values=[-1.0, 0.0, 0.9]), ValueError, "values must be equally spaced"),
        (lambda: ColdDiffusion(prior="noise"), ValueError, "prior must be one of .*, got 'noise'"),
        (lambda: ColdDiffusion(components=0), ValueError, "components must be an int >= 1, got 0"),
        (lambda: ColdDiffusion(start_noise=-1.0), ValueError, "start_noise must be finite and >= 0, got -1.0"),
        (lambda: InverseHeatDissipation().prior(SHAPE), RuntimeError, r"call fit\(images\) first"),
        (lambda: ColdDiffusion().prior(SHAPE), RuntimeError, r"ColdDiffusion: call fit\(images\) first"),
        (lambda: ihdm().prior((1, 3, 8, 8)), ValueError, r"was fitted on images \[1, 8, 8\], got \[3, 8, 8\]"),
        (lambda: cold().prior((1, 3, 8, 8)), ValueError, r"was fitted on 1 channels, got \[1, 3, 8, 8\]"),
        (lambda: cold().elbo(lambda z, t: z, scans(1)), NotImplementedError, "ColdDiffusion defines no likelihood"),
        (lambda: ihdm().elbo(lambda z, t: z, scans(1) + 0.03), ValueError, "x: pixels must be among the 17 values"),
        (lambda: cold().level_times(0), ValueError, "steps: must be at least 1, got 0"),
        (
            lambda: ihdm().bits_per_dimension(lambda z, t: z, scans(1), None, 2.5),  # type: ignore[arg-type]
            ValueError,
            "evaluations: must be None or an int >= 1, got 2.5",
        ),
        (
            lambda: ihdm().bits_per_dimension(lambda z, t: z, scans(1), None, 0),
            ValueError,
            "evaluations: must be None or an int",
        ),
        (lambda: cold().sample(lambda z, t: z, SHAPE, 5, sd.Naive(std=0.1)), ValueError, r"levels of ColdDiffusion have none"),
    ],
)
def test_bad_input_is_refused(make: Callable[[], object], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        make()

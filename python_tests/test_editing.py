"""Image to image: where a run starts, what stays as it was, and paths between images, for every process that can."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import softdiff_ext as sd
from softdiff_ext.editing import _starting_time
from softdiff_ext.processes import Process
from softdiff_ext.processes.blur_levels import BlurLevels

SIZE = 8
SHAPE = (3, 1, SIZE, SIZE)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images(count: int = 3) -> Tensor:
    return torch.rand(count, 1, SIZE, SIZE, generator=generator()) * 2 - 1


MAKERS: dict[str, Callable[[], Process]] = {
    "soft blur": lambda: sd.SoftDiffusion(sigma_blur=(0.01, 2.0)),
    "soft mask": lambda: sd.SoftDiffusion(corruption=sd.NestedMask()),
    "soft blocks": lambda: sd.SoftDiffusion(corruption=sd.BlockAverage((2, 4))),
    "blurring": lambda: sd.BlurringDiffusion(sigma_blur_max=2.0),
    "blurring, blocks": lambda: sd.BlurringDiffusion(sigma_blur_max=2.0, block=4),
    "variational": lambda: sd.VariationalDiffusion(),
    "ihdm": lambda: sd.InverseHeatDissipation(levels=20, sigma_blur=(0.3, 2.0), sigma=0.02, delta=0.025),
    "cold": lambda: sd.ColdDiffusion(levels=20, sigma_blur=(0.3, 2.0)),
}
every = pytest.mark.parametrize("name", MAKERS)


def fitted(name: str) -> Process:
    process = MAKERS[name]()
    process.fit(images(20))
    return process


def knows(process: Process, x: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
    """A network whose clean estimate is x, whatever it sees."""

    def answer(z: Tensor, t: Tensor) -> Tensor:
        if isinstance(process, sd.SoftDiffusion):
            return x - z
        if process.prediction == "x":
            return x
        if isinstance(process, sd.InverseHeatDissipation):
            return process.signal(x, max(float(t[0]) - 1.0 / process.levels, 0.0)) - z
        level = process.level(float(t[0]))
        return (z - process.signal(x, float(t[0]))) / float(level.sigma)

    return answer


@every
@pytest.mark.parametrize("start", [0.3, 1.0])
def test_restoring_starts_at_the_level_of_the_images(name: str, start: float) -> None:
    """The network first sees the corrupted image under the scale and noise of that level, and its last word is the result."""
    process, x, seen = fitted(name), images(), []
    net = knows(process, x)

    def network(z: Tensor, t: Tensor) -> Tensor:
        seen.append((z, float(t[0])))
        return net(z, t)

    steps = round(20 * start) if isinstance(process, BlurLevels) else 4
    got = sd.restore(process, network, x, t=start, steps=steps, generator=generator(1))
    assert [t for _, t in seen] == pytest.approx([start * (steps - i) / steps for i in range(steps)])
    # float32; the noise form divides by the floor 1e-3 of the blur
    torch.testing.assert_close(got, x, rtol=0, atol=2e-3)
    level = process.linear_level(start) if isinstance(process, sd.SoftDiffusion) else process.level(start)
    scale = float(torch.as_tensor(getattr(level, "log_a", 0.0)).exp())
    noise = sd.ImageDraws(generator(1)).normal(x.shape)
    torch.testing.assert_close(seen[0][0], scale * x + float(level.sigma) * noise, rtol=0, atol=1e-6)
    again = sd.restore(process, net, x, t=start, steps=steps, generator=generator(1))
    assert torch.equal(got, again)


@pytest.mark.parametrize("name", ["soft blur", "blurring", "blurring, blocks", "ihdm", "cold"])
@pytest.mark.parametrize("sigma_blur", [0.4, 1.3, 2.0])
def test_the_starting_time_has_the_blur_of_the_images(name: str, sigma_blur: float) -> None:
    process = fitted(name)
    t = _starting_time(process, None, sigma_blur, None)
    assert float(process.level(t).tau) == pytest.approx(sigma_blur**2 / 2, rel=1e-9)


def test_the_starting_time_has_the_strength_of_the_images() -> None:
    process = fitted("soft blocks")
    assert isinstance(process, sd.SoftDiffusion)
    assert float(process.linear_level(_starting_time(process, None, None, 0.5)).strength) == pytest.approx(0.5, rel=1e-12)
    assert _starting_time(process, None, None, 1.0) == pytest.approx(1.0)


@every
@pytest.mark.parametrize("how", ["inpaint", "restore"])
def test_known_pixels_are_kept_exactly(name: str, how: str) -> None:
    process, x = fitted(name), images()
    known = sd.NestedMask().kept(0.25, (SIZE, SIZE))
    net = lambda z, t: 0.2 * z.roll(1, -1)  # noqa: E731  a network that is wrong everywhere
    if how == "inpaint":
        got, other = (
            sd.inpaint(process, net, torch.where(known, x, hidden), known, steps=5, generator=generator())
            for hidden in (9.0, -9.0)
        )
        assert torch.equal(got, other)  # what was hidden has no influence
    else:
        got = sd.restore(process, net, x * known, t=0.6, steps=5, generator=generator(), known=known)
    assert torch.equal(got[..., known], x[..., known])
    assert not torch.equal(got[..., ~known], x[..., ~known])


def test_the_known_pixels_reach_the_others_through_the_state() -> None:
    """A network that copies the pixel to the left fills a hole from its rim only if the rim is in what it sees."""
    process, x = fitted("soft mask"), torch.full(SHAPE, 0.7)
    mask = sd.NestedMask()
    known = mask.kept(0.25, (SIZE, SIZE))
    got = sd.restore(
        process,
        lambda z, t: z.roll(1, -1) - z,
        x * known,
        strength=0.25,
        steps=20,
        rule=sd.Momentum(exact=True),
        generator=generator(),
        known=known,
    )
    assert float((got[:, :, 3, 2] - 0.7).abs().max()) < 0.1


@every
def test_interpolation_ends_at_its_two_images(name: str) -> None:
    process, (first, second) = fitted(name), images(2)
    states: list[Tensor] = []

    def network(z: Tensor, t: Tensor) -> Tensor:
        states.append(z)
        return 0.1 * z

    path = sd.interpolate(process, network, first, second, 5, t=0.5, steps=3, generator=generator(2))
    assert path.shape == (5, 1, SIZE, SIZE)
    ends = process.signal(torch.stack([first, second]), 0.5)
    sigma = float((process.linear_level(0.5) if isinstance(process, sd.SoftDiffusion) else process.level(0.5)).sigma)
    one, other = sd.ImageDraws(generator(2)).normal((2, 1, SIZE, SIZE))
    wanted = 0.75 * ends[0] + 0.25 * ends[1] + sigma * (0.9238795 * one + 0.3826834 * other)  # cos, sin of pi / 8
    torch.testing.assert_close(states[0][1], wanted, rtol=0, atol=1e-5)
    torch.testing.assert_close(states[0][0], ends[0] + sigma * one, rtol=0, atol=1e-5)
    torch.testing.assert_close(states[0][4], ends[1] + sigma * other, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["ihdm", "cold"])
@pytest.mark.parametrize(
    ("start", "steps", "levels"),
    [(0.3, 50, [6, 5, 4, 3, 2, 1]), (0.28, 50, [5.6, 5, 4, 3, 2, 1]), (0.28, 3, [5.6, 4, 2]), (0.02, 9, [0.4])],
)
def test_a_process_with_levels_goes_on_by_those_that_were_trained(
    name: str, start: float, steps: int, levels: list[float]
) -> None:
    process, seen = fitted(name), []
    sd.restore(process, lambda z, t: (seen.append(float(t[0])), 0.0 * z)[1], images(), t=start, steps=steps)
    assert [20 * t for t in seen] == pytest.approx(levels)


@pytest.mark.parametrize("rule", [sd.Markov(), sd.DDIM()])
def test_known_pixels_go_through_the_blocks(rule: sd.DDIM | sd.Markov) -> None:
    """With a network that is right, the images it sees have the law of their level, block by block, known pixels or not."""
    process, x, states = fitted("blurring, blocks"), images(), {}
    net = knows(process, x)
    for known in (None, torch.arange(SIZE) % 2 == 0):
        seen = states[known is None] = []
        sd.restore(
            process,
            lambda z, t, seen=seen: (seen.append(z), net(z, t))[1],
            process.signal(x, 0.6) if known is None else torch.where(known, x, process.signal(x, 0.6)),
            t=0.6,
            steps=4,
            rule=rule,
            generator=generator(3),
            known=known,
        )
    # Markov carries a share of the first state on; all else of the later ones is the clean estimate and the same noise
    carried = states[False][0] - states[True][0]
    assert float(carried.abs().max()) > 0.1
    for t, with_known, without in zip((0.45, 0.3, 0.15), states[False][1:], states[True][1:], strict=True):
        kept = process.advance(carried, 0 * carried, t, 0.6, rule, torch.zeros_like(x), prediction="x")
        torch.testing.assert_close(with_known - without, kept, rtol=0, atol=2e-3)  # float32, and the floor as above


NET = lambda z, t: pytest.fail("the network ran")  # noqa: E731
COLD = fitted("cold")


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (
            lambda: sd.restore(COLD, NET, images()),
            ValueError,
            r"give exactly one of t, sigma_blur and strength, got \[\]",
        ),
        (lambda: sd.restore(COLD, NET, images(), t=0.5, sigma_blur=1.0), ValueError, r"got \['sigma_blur', 't'\]"),
        (lambda: sd.restore(COLD, NET, images(), t=0.0), ValueError, r"t: must be in \(0, 1\], got 0.0"),
        (
            lambda: sd.restore(COLD, NET, images(), sigma_blur=3.0),
            ValueError,
            r"sigma_blur must be in \(0, 2\], got 3.0",
        ),
        (
            lambda: sd.restore(COLD, NET, images(), strength=0.5),
            ValueError,
            "strength is SoftDiffusion's, ColdDiffusion",
        ),
        (
            lambda: sd.restore(fitted("soft mask"), NET, images(), sigma_blur=1.0),
            ValueError,
            "is not diagonal in the DCT",
        ),
        (lambda: sd.restore(fitted("blurring"), NET, images(), t=0.5, rule=sd.Cold()), ValueError, "Cold keeps all the noise"),
        (lambda: sd.inpaint(COLD, NET, images(), torch.ones(8, 8)), TypeError, "known: must be a bool tensor"),
        (lambda: sd.inpaint(COLD, NET, images(), torch.ones(7, 8) > 0), ValueError, "known: must broadcast"),
        (lambda: sd.interpolate(COLD, NET, images()[0], images(), 3, t=0.5), ValueError, "one shape"),
        (lambda: sd.interpolate(COLD, NET, *images(2), 1, t=0.5), ValueError, "count must be at least 2, got 1"),
    ],
)
def test_what_is_refused_before_the_network_runs(make: Callable[[], object], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        make()

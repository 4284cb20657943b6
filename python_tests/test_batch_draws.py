"""A loss in parts: the mean of equal parts of a batch is the loss of the batch, whoever computes them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import softdiff_ext as sd
from softdiff_ext.corruptions import Grayscale
from softdiff_ext.learned_schedules import LearnedLinear
from softdiff_ext.processes.draws import BatchDraws, standard_normal, stratified_times

PROCESSES = {
    "vdm": lambda: sd.VariationalDiffusion(prediction="v"),
    "vdm by the bound": lambda: sd.VariationalDiffusion(LearnedLinear(), weighting="elbo"),
    "ihdm": lambda: sd.InverseHeatDissipation(levels=20, sigma_blur=(0.5, 4.0)),
    "blurring": lambda: sd.BlurringDiffusion(sigma_blur_max=4.0, prediction="v"),
    "soft": lambda: sd.SoftDiffusion(sigma_blur=(0.01, 4.0)),
    "soft of another corruption": lambda: sd.SoftDiffusion(corruption=Grayscale()),
    "cold": lambda: sd.ColdDiffusion(levels=20, sigma_blur=(0.5, 4.0)),
}


def draws(first: int = 0, total: int = 12, seed: int = 3) -> BatchDraws:
    return BatchDraws(torch.Generator().manual_seed(seed), first, total)


def network(z: Tensor, t: Tensor) -> Tensor:
    return torch.tanh(z) * (1.0 + t[:, None, None, None])


@pytest.mark.parametrize("name", PROCESSES)
@pytest.mark.parametrize("parts", [2, 3])
def test_the_mean_of_equal_parts_is_the_loss_of_the_batch(name: str, parts: int) -> None:
    x = torch.rand(12, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    process = PROCESSES[name]()
    process.fit(x)
    whole, details = process.loss(network, x, draws())
    size = 12 // parts
    losses = [process.loss(network, x[i : i + size], draws(i)) for i in range(0, 12, size)]
    mean = torch.stack([loss for loss, _ in losses]).mean()
    torch.testing.assert_close(mean, whole, rtol=3e-6, atol=0)  # float32 sums of 2304 terms, split in another way
    for detail, value in details.items():
        assert value.shape == ()
        assert not value.requires_grad
        part = torch.stack([numbers[detail] for _, numbers in losses]).mean()
        torch.testing.assert_close(part, value, rtol=3e-6, atol=0)
    other, _ = process.loss(network, x, draws(seed=4))
    assert abs(float(other.detach() / whole.detach()) - 1.0) > 1e-4  # so it is the draws that agree


def test_the_times_of_a_batch_are_evenly_spread_and_those_of_its_parts() -> None:
    device = torch.device("cpu")
    times = stratified_times(12, draws(), device)
    torch.testing.assert_close(times.sort().values.diff(), torch.full((11,), 1 / 12, dtype=torch.float64))
    assert torch.equal(times[5:9], stratified_times(4, draws(5), device))
    starts = torch.stack([stratified_times(1, draws(seed=seed), device)[0] for seed in range(400)])
    assert float(starts.min()) >= 0.0
    assert float(starts.max()) < 1.0
    # uniform: mean 1/2 and variance 1/12 within 4 standard errors
    assert abs(float(starts.mean()) - 0.5) < 4 / (12 * 400) ** 0.5
    assert abs(float(starts.var()) - 1 / 12) < 4 * (1 / 180 / 400) ** 0.5


def test_an_image_keeps_its_noise_and_shares_it_with_no_other_draw() -> None:
    shape = (4, 1, 8, 8)
    device = torch.device("cpu")
    noise = standard_normal(shape, draws(2), device)
    assert torch.equal(noise[1:], standard_normal((3, 1, 8, 8), draws(3), device))
    assert torch.equal(noise, standard_normal(shape, draws(2, total=99), device))
    assert not torch.equal(noise, standard_normal(shape, draws(2), device, draw=1))
    assert standard_normal(shape, draws(2), device, torch.float64).dtype == torch.float64


def test_images_outside_the_batch_are_refused() -> None:
    process, x = sd.BlurringDiffusion(), torch.zeros(4, 1, 8, 8)
    with pytest.raises(ValueError, match="total: images 9 to 12 are not in a batch of 12"):
        process.loss(network, x, draws(9))
    with pytest.raises(ValueError, match="total: must be an int >= first = 5, got 4"):
        draws(5, total=4)
    with pytest.raises(ValueError, match="first: must be an int >= 0, got -1"):
        draws(-1)

"""Schedulers of diffusers as files and configurations: what is saved, what is loaded, and what is refused."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDPMScheduler
from diffusers.utils.torch_utils import randn_tensor
from safetensors.torch import load_file

import softdiff_ext as sd
from softdiff_ext.integrations.conversion import scheduler_of
from softdiff_ext.integrations.diffusers import (
    IHDMScheduler,
    SoftDiffusionScheduler,
    VDMScheduler,
)
from softdiff_ext.integrations.state import STATE_NAME
from softdiff_ext.schedules import NoiseSchedule

from .schedulers import (
    CASES,
    FAMILIES,
    SHAPE,
    build,
    generator,
    images,
    in_thousandths,
    noise_of,
    public,
    refuse_network,
    run,
    unfitted,
)


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.socket.connect", refuse_network)


# ---- configuration, saving and loading


@pytest.mark.parametrize(("family", "rule"), CASES)
def test_saved_and_loaded_it_is_the_same_to_the_last_bit(family: str, rule: dict[str, Any], tmp_path: Path) -> None:
    scheduler = build(family, **rule)
    scheduler.save_pretrained(tmp_path / "scheduler")
    saved = json.loads((tmp_path / "scheduler" / "scheduler_config.json").read_text())
    assert saved["_class_name"] == type(scheduler).__name__
    loaded = [type(scheduler).from_pretrained(tmp_path / "scheduler"), type(scheduler).from_pretrained(tmp_path, "scheduler")]
    loaded.append(type(scheduler).from_pretrained(tmp_path / "scheduler" / "scheduler_config.json"))
    scheduler.set_timesteps(4)
    start = scheduler.prior(SHAPE, generator(1))
    want = run(scheduler, start, generator(2))
    for other in loaded:
        assert public(other) == public(scheduler) == {name: saved[name] for name in public(scheduler)}
        other.set_timesteps(4)
        assert torch.equal(other.prior(SHAPE, generator(1)), start)
        assert torch.equal(run(other, start, generator(2)), want)
        for name, tensor in scheduler.process.state_dict().items():
            assert torch.equal(other.process.state_dict()[name], tensor)
            assert other.process.state_dict()[name].dtype == tensor.dtype


def test_from_the_hub_both_files_are_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scheduler, fetched = build("soft"), []
    scheduler.save_pretrained(tmp_path / "scheduler")

    def fetch(repository: str, filename: str, *, subfolder: str, revision: str, **options: Any) -> str:
        fetched.append((repository, filename, revision))
        return str(tmp_path / subfolder / filename)

    for module in ("diffusers.configuration_utils", "softdiff_ext.integrations.diffusers"):
        monkeypatch.setattr(f"{module}.hf_hub_download", fetch)
    loaded = SoftDiffusionScheduler.from_pretrained("someone/blurry", "scheduler", revision="v1")
    assert fetched == [("someone/blurry", name, "v1") for name in ("scheduler_config.json", STATE_NAME)]
    assert torch.equal(loaded.prior(SHAPE, generator(1)), scheduler.prior(SHAPE, generator(1)))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_configuration_is_the_arguments(family: str) -> None:
    scheduler = build(family, rule="ddim", eta=0.25)
    kind = type(scheduler)
    assert json.loads(scheduler.to_json_string())["eta"] == 0.25
    assert set(public(scheduler)) == set(inspect.signature(kind.__init__).parameters) - {"self"}
    again = kind.from_config(scheduler.config, eta=0.75)
    by_position = kind(30).with_rule("default")  # diffusers itself takes 30 for a default that need not be kept
    assert len(by_position) == 30
    assert (again.config.eta, again.rule.parameter, scheduler.config.eta) == (0.75, 0.75, 0.25)
    assert {**public(again), "eta": 0.25} == public(scheduler)
    extra, unused = kind.from_config(scheduler.config, return_unused_kwargs=True, colour="blue")
    assert unused["colour"] == "blue"
    assert public(extra) == public(scheduler)
    with pytest.raises(AttributeError, match=f"'{kind.__name__}' object has no attribute 'does_not_exist'"):
        _ = scheduler.does_not_exist
    assert scheduler.compatibles == []
    assert (scheduler.order, len(scheduler)) == (1, scheduler.config.num_train_timesteps)
    assert 0.0 <= scheduler.init_noise_sigma <= 1.0


@pytest.mark.parametrize("family", FAMILIES)
def test_another_rule_keeps_what_was_fitted(family: str) -> None:
    scheduler = build(family)
    other = scheduler.with_rule("ddim", eta=0.5)
    assert (other.config.rule, other.config.eta, scheduler.config.rule) == ("ddim", 0.5, "default")
    assert torch.equal(other.prior(SHAPE, generator(1)), scheduler.prior(SHAPE, generator(1)))


def test_only_what_was_fitted_makes_a_file(tmp_path: Path) -> None:
    build("vdm").save_pretrained(tmp_path / "vdm")
    assert [path.name for path in (tmp_path / "vdm").iterdir()] == ["scheduler_config.json"]
    folder = tmp_path / "soft"
    build("soft").save_pretrained(folder)
    assert set(load_file(folder / STATE_NAME)) == {"nodes", "kept", "coefficients", "starts"}
    unfitted("soft").save_pretrained(folder)  # not fitted, over the other
    assert not (folder / STATE_NAME).exists()
    with pytest.raises(RuntimeError, match="call fit"):
        SoftDiffusionScheduler.from_pretrained(folder).prior(SHAPE)


@pytest.mark.parametrize("schedule", ["learned-linear", "learned-monotone"])
def test_learned_schedules_tell_the_network_their_progress(schedule: str, tmp_path: Path) -> None:
    scheduler = VDMScheduler(schedule=schedule, timestep_type="continuous")
    with torch.no_grad():
        for parameter in scheduler.process.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator(), dtype=parameter.dtype)
    scheduler.save_pretrained(tmp_path)
    loaded = VDMScheduler.from_pretrained(tmp_path)
    loaded.set_timesteps(4)
    progress = loaded.process.network_time(torch.tensor(loaded.times[:-1], dtype=torch.float64))
    assert torch.equal(loaded.timesteps, 1000.0 * progress.float())
    start = loaded.prior(SHAPE, generator(1))
    want = scheduler.process.sample(in_thousandths, SHAPE, 4, start=start, noise=noise_of(generator(2)))
    assert torch.equal(run(loaded, start, generator(2)), want)
    trained = torch.arange(1, 1001, dtype=torch.float64) / 1000
    assert torch.equal(loaded.alphas_cumprod, torch.exp(2.0 * scheduler.process.level(trained).log_a).float())
    # the time that a timestep of a run means is the time of that run
    clean, noise = images(3), randn_tensor(SHAPE, generator(3))
    direct = scheduler.process.corrupt(clean, torch.full((3,), loaded.times[2], dtype=torch.float64), noise)
    torch.testing.assert_close(loaded.add_noise(clean, noise, loaded.timesteps[2].repeat(3)), direct, atol=1e-5, rtol=0)


# ---- bad input, refused with its name


@pytest.mark.parametrize(
    ("family", "options", "message"),
    [
        ("vdm", {"rule": "cold"}, "Cold keeps all the noise"),
        ("blurring", {"rule": "naive", "noise_std": 0.1}, "adds the same noise at every level"),
        ("soft", {"rule": "cold"}, "Cold keeps all the noise"),
        ("cold", {"rule": "naive", "noise_std": 0.1}, "have none"),
        ("vdm", {"rule": "euler"}, "rule: must be one of default, markov, .* got 'euler'"),
        ("vdm", {"eta": 0.5}, 'eta: goes with rule="ddim" only, got 0.5 with rule="default"'),
        ("ihdm", {"rule": "ddim", "noise_std": 0.5}, 'noise_std: goes with rule="naive" only'),
        ("vdm", {"rule": "ddim", "eta": 2.0}, r"eta must be in \[0, 1\], got 2.0"),
        ("vdm", {"prediction_type": "flow"}, "prediction_type must be one of epsilon, sample, v_prediction, got 'flow'"),
        (
            "ihdm",
            {"prediction_type": "epsilon"},
            "IHDMScheduler: prediction_type must be one of sample, residual, got 'epsilon'",
        ),
        ("cold", {"timestep_type": "float"}, "timestep_type must be one of discrete, continuous, got 'float'"),
        ("vdm", {"num_train_timesteps": 0}, "num_train_timesteps must be an int >= 1, got 0"),
        ("vdm", {"num_train_timesteps": 10.0}, "num_train_timesteps must be an int >= 1, got 10.0"),
        ("vdm", {"schedule": "sigmoid"}, "schedule: must be one of cosine, ddpm, .* got 'sigmoid'"),
        ("ddpm", {"logsnr_min": -3.0}, 'schedule="ddpm" is given by its betas'),
        ("vdm", {"schedule": "learned-linear"}, "needs timestep_type=\"continuous\", got 'discrete'"),
    ],
)
def test_bad_options_are_refused_at_once(family: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        unfitted(family, **options)


def test_bad_timesteps_are_refused() -> None:
    scheduler = VDMScheduler()
    for arguments, message in (
        ({}, "give one of num_inference_steps and timesteps"),
        ({"num_inference_steps": 3, "timesteps": [5, 3]}, "give one of num_inference_steps and timesteps"),
        ({"num_inference_steps": 0}, "must be from 1 to num_train_timesteps = 1000, got 0"),
        ({"num_inference_steps": 1001}, "must be from 1 to num_train_timesteps = 1000, got 1001"),
        ({"timesteps": []}, "must be a falling list"),
        ({"timesteps": [5, 5]}, "must be a falling list"),
        ({"timesteps": [1000, 3]}, "must be from 0 to 999"),
        ({"timesteps": [5.5, 3]}, "must be whole numbers"),
    ):
        with pytest.raises(ValueError, match=message):
            scheduler.set_timesteps(**arguments)
    with pytest.raises(TypeError, match="num_inference_steps: must be an int, got float"):
        scheduler.set_timesteps(5.0)
    with pytest.raises(TypeError, match="num_inference_steps: must be an int, got bool"):
        scheduler.set_timesteps(True)
    assert scheduler.num_inference_steps is None
    soft = unfitted("soft")
    soft.set_timesteps(3)
    with pytest.raises(RuntimeError, match="call fit"):
        run(soft, images(3))


def test_bad_steps_are_refused() -> None:
    scheduler, z = build("blurring"), images(3)
    with pytest.raises(ValueError, match="call set_timesteps first"):
        scheduler.step(z, 59, z)
    scheduler.set_timesteps(3)
    for arguments, message in (
        ((z, 60, z), "timesteps: must be from 0 to 59, got 60"),
        ((z, -1, z), "timesteps: must be from 0 to 59, got -1"),
        ((z, 20.5, z), 'timestep: must be a whole number with timestep_type="discrete", got 20.5'),
        ((z, torch.tensor([5, 3, 1]), z), r"timestep: must be one number, got shape \[3\]"),
        ((z[:2], 59, z), r"output must have the shape of its input \[3, 2, 8, 6\], got \[2, 2, 8, 6\]"),
        ((z, 59, z, [generator(), generator()]), "must be one, or one for each of 3 images, got 2"),
    ):
        with pytest.raises(ValueError, match=message):
            scheduler.step(*arguments)
    with pytest.raises(TypeError, match="model: must return a tensor, got NoneType"):
        scheduler.step(None, 59, z)


def test_bad_corruptions_are_refused() -> None:
    scheduler, z = build("soft"), images(3)
    with pytest.raises(ValueError, match="timesteps: must be from 0 to 59"):
        scheduler.add_noise(z, z, torch.tensor([0, 60, 2]))
    with pytest.raises(ValueError, match=r"timesteps: must be one, or have shape \[3\], got \[2\]"):
        scheduler.add_noise(z, z, torch.tensor([0, 1]))
    with pytest.raises(ValueError, match="noise must have the shape of"):
        scheduler.add_noise(z, z[:2], torch.tensor(0))
    with pytest.raises(TypeError, match=r'must be integers with timestep_type="discrete", got torch\.float32'):
        scheduler.add_noise(z, z, torch.rand(3))  # times in [0, 1], as some scripts draw them, would leave the images clean
    smooth = build("soft", timestep_type="continuous")
    with pytest.raises(TypeError, match="timesteps: must be floats, 1000 t"):
        smooth.add_noise(z, z, torch.tensor([5, 6, 7]))
    with pytest.raises(ValueError, match="images must lie in"):
        IHDMScheduler().fit(3.0 * images())


def test_what_another_class_or_version_saved_is_refused(tmp_path: Path) -> None:
    build("soft").save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="saved by SoftDiffusionScheduler, which is not the IHDMScheduler"):
        IHDMScheduler.from_pretrained(tmp_path)
    with pytest.raises(ValueError, match="saved by DDPMScheduler, which is not the VDMScheduler"):
        VDMScheduler.from_config(json.loads(DDPMScheduler().to_json_string()))
    with pytest.raises(ValueError, match=r"VDMScheduler has no beta_schedule, .*: it is the configuration of another class"):
        VDMScheduler.from_config(DDPMScheduler().config)
    path = tmp_path / "scheduler_config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps({**config, "_softdiff": {**config["_softdiff"], "format": 2}, "shiny": True}))
    with pytest.raises(ValueError, match="was saved in format 2, this softdiff_ext reads format 1"):
        SoftDiffusionScheduler.from_pretrained(tmp_path)


def test_a_damaged_or_missing_state_is_refused(tmp_path: Path) -> None:
    build("soft").save_pretrained(tmp_path)
    content = (tmp_path / STATE_NAME).read_bytes()
    (tmp_path / STATE_NAME).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(ValueError, match=r"scheduler_state\.safetensors is damaged"):
        SoftDiffusionScheduler.from_pretrained(tmp_path)
    (tmp_path / STATE_NAME).unlink()
    with pytest.raises(ValueError, match=r"scheduler_state\.safetensors cannot be read: No such file"):
        SoftDiffusionScheduler.from_pretrained(tmp_path)
    config = json.loads((tmp_path / "scheduler_config.json").read_text())
    build("cold").save_pretrained(tmp_path / "cold")
    (tmp_path / STATE_NAME).write_bytes((tmp_path / "cold" / STATE_NAME).read_bytes())
    config["_softdiff"] = json.loads((tmp_path / "cold" / "scheduler_config.json").read_text())["_softdiff"]
    (tmp_path / "scheduler_config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="does not fit SoftDiffusion"):
        SoftDiffusionScheduler.from_pretrained(tmp_path)


# ---- a process as a scheduler


def test_a_process_becomes_its_scheduler() -> None:
    processes = [
        sd.VariationalDiffusion(sd.LinearGamma(-6.0, 3.0), "v"),
        sd.VariationalDiffusion(sd.LinearBeta(500, 1e-3, 0.03), "x"),
        sd.VariationalDiffusion(sd.Cosine(-5.0, 6.0)),
        sd.VariationalDiffusion(sd.LearnedMonotone(-5.0, 3.0), weighting="elbo"),
        sd.BlurringDiffusion(4.0, 1e-2, -5.0, 6.0, "v", block=2),
        sd.InverseHeatDissipation(9, (0.4, 5.0), 0.03, 0.04),
        sd.SoftDiffusion((0.1, 4.0), (0.02, 0.2)),
        sd.ColdDiffusion(9, (0.4, 5.0), components=2),
        sd.ColdDiffusion(9, (0.4, 5.0), "images"),
    ]
    for process in processes:
        process.fit(images())
        scheduler = scheduler_of(process)
        again = type(scheduler).from_config(scheduler.config)._adopt(process)
        times = torch.linspace(0.1, 1.0, 7, dtype=torch.float64)
        for field, want in zip(again.process.level(times), process.level(times), strict=True):
            assert torch.equal(torch.as_tensor(field), torch.as_tensor(want))
        assert scheduler.rule == process.default_rule
        scheduler.set_timesteps(4)
        start = scheduler.prior(SHAPE, generator(1))
        assert torch.equal(start, process.prior(SHAPE, generator(1)))
        times, noise = process.level_times(4), noise_of(generator(2))
        want = process.sample(in_thousandths, SHAPE, times, start=start, noise=noise)
        assert torch.equal(run(scheduler, start, generator(2)), want)


def test_what_no_configuration_describes_is_refused() -> None:
    for process, message in (
        (sd.SoftDiffusion(corruption=sd.NestedMask()), "no scheduler describes SoftDiffusion with NestedMask"),
        (sd.VariationalDiffusion(sd.LearnedMonotone(features=8), weighting="elbo"), "has the default features, got 8"),
        (sd.VariationalDiffusion(Quadratic()), "no configuration describes Quadratic"),
    ):
        with pytest.raises(ValueError, match=message):
            scheduler_of(process)


class Quadratic(NoiseSchedule):
    """A schedule of one's own."""

"""The command line: what a person types, the one line they get when it cannot be done, and what is left on disk."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import softdiff_ext as sd
from softdiff_ext.cli import main
from softdiff_ext.commands.arguments import collect
from softdiff_ext.commands.train import SECTIONS, options_of, parse_train
from softdiff_ext.training.config import TrainConfig, config_from_dict, load_config
from softdiff_ext.training.data import SOURCES
from softdiff_ext.training.network import build_network
from softdiff_ext.training.options import PROCESSES
from softdiff_ext.training.presets import preset_names, read_config
from softdiff_ext.training.sampling import RULES

NETWORK = ["--network.channels", "8", "8", "--network.blocks", "1", "--network.attention"]
SMALL = [*NETWORK, "--batch-size", "8", "--sample-count", "2", "--sample-steps", "2"]
BLURRING = ["--process", "blurring", "--blurring.sigma-blur-max", "3", "--blurring.prediction", "v"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cli") / "run"
    assert main(["train", str(folder), *BLURRING, *SMALL, "--steps", "6", "--checkpoint-every", "4"]) == 0
    return folder


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line that a refused command prints."""
    capsys.readouterr()
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("softdiff: ")
    assert captured.err.count("\n") == 1
    return captured.err


def test_train_keeps_its_options(run: Path) -> None:
    text = (run / "config.yaml").read_text()
    assert "sigma_blur_max: 3.0" in text
    assert "prediction: v" in text
    assert "soft:" not in text  # the options of the other process say nothing about this run
    assert (run / "checkpoints" / "step-00000006" / "manifest.json").is_file()


def test_train_refuses_an_existing_run_and_contradictions(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "exists and is not empty: continue it with --resume" in refused(capsys, "train", str(run), *SMALL)
    message = refused(capsys, "train", str(run), "--resume", "--seed", "4", "--blurring.floor", "0.01")
    assert "resume: --blurring.floor is 0.01 but was 0.001; --seed is 4 but was 0" in message
    assert main(["train", str(run), "--resume", *BLURRING]) == 0  # the same options given again are no contradiction


def test_train_refuses_bad_values_and_options_of_another_process(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    new = str(tmp_path / "new")
    assert "config: batch_size must be an integer >= 1, got 0" in refused(capsys, "train", new, "--batch-size", "0")
    message = refused(capsys, "train", new, "--soft.sigma", "0.1", "0.2")
    assert "options of soft were given, but process is blurring" in message
    assert "data must be one of" in refused(capsys, "train", new, "--data", "mnist")
    assert f"did you mean folder:{tmp_path}?" in refused(capsys, "train", new, "--data", str(tmp_path))
    assert "did you mean arrays:a.npz?" in refused(capsys, "train", new, "--data", "a.npz")
    assert "npm install emoji-datasource-google" in refused(capsys, "train", new, "--data", f"emoji:{new}")
    assert "Debian: dataset-fashion-mnist" in refused(capsys, "train", new, "--data", f"fashion-mnist:{new}")
    assert "attention must be levels 0..1 of the 2 in channels" in refused(capsys, "train", new, "--network.channels", "8", "8")
    assert "not the folder of a run" in refused(capsys, "train", new, "--resume")
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--step", "3"], "unknown option --step; did you mean --steps?"),
        (["--sigma-blur-max", "3"], "unknown option --sigma-blur-max; did you mean --blurring.sigma-blur-max?"),
        (["--no-steps"], "unknown option --no-steps; did you mean --steps?"),
        (["-s", "3"], "unknown option -s; softdiff train --help lists all"),
        (["--zzz"], "unknown option --zzz; softdiff train --help lists all"),
        (["--process", "hot"], "--process wants one of vdm, ihdm, blurring, soft, cold, got 'hot'"),
        (["--process", "sofd"], "got 'sofd'; did you mean soft?"),
        (["--steps", "many"], "--steps wants an integer, got 'many'"),
        (["--steps"], "--steps wants an integer, got nothing"),
        (["--steps="], "--steps wants an integer, got ''"),
        (["--blurring.block", "8.5"], "--blurring.block wants an integer or none, got '8.5'"),
        (["--soft.sigma", "0.1"], "--soft.sigma wants 2 numbers, got '0.1'"),
        (["--network.channels", "8", "x"], "--network.channels wants integers, got '8 x'"),
        (["--resume=yes"], "--resume takes no value, got 'yes'"),
        (["again"], "'again' is one argument too many"),
        (["--config", "digit"], "digit is neither a file nor a preset; did you mean digits?"),
        (["--config", "zzz"], "zzz is neither a file nor a preset; presets are "),
    ],
)
def test_a_slip_gets_one_line_with_the_nearest_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert message in refused(capsys, "train", str(tmp_path / "new"), *arguments)
    assert not any(tmp_path.iterdir())


def test_a_missing_run_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert "RUN is missing: softdiff train RUN ..." in refused(capsys, "train", "--steps", "3")
    assert "RUN is missing: softdiff sample RUN ..." in refused(capsys, "sample")


def test_values_are_read_in_every_form(tmp_path: Path) -> None:
    words = ["--steps=7", "--batch_size", "3", "--blurring.logsnr-min", "-8.5", "--network.attention", "--blurring.block=none"]
    run, config, resume = parse_train([*words, "--network.channels", "8", "16", "--resume", "--no-resume", "--", str(tmp_path)])
    assert (run, resume, config.steps, config.batch_size) == (tmp_path, False, 7, 3)
    assert (config.network.channels, config.network.attention) == ((8, 16), ())
    assert (config.blurring.logsnr_min, config.blurring.block) == (-8.5, None)


def help_of(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as exit_:
        raise SystemExit(main([*arguments, "--help"]))
    assert exit_.value.code == 0
    return capsys.readouterr().out


def test_every_option_is_a_flag_and_is_shown_with_its_process(capsys: pytest.CaptureFixture[str]) -> None:
    shown = {name: help_of(capsys, "train", "--process", name) for name in PROCESSES}
    for option in collect(options_of(TrainConfig())):
        family = option.name.partition(".")[0]
        for name, text in shown.items():
            assert (f"{option.flag} " in text) == (family == name or family not in PROCESSES), option.flag
        assert option.text.endswith("."), option.flag  # every option says what it means
    listed = {name for names in SECTIONS.values() for name in names}
    assert listed == {option.name for option in collect(options_of(TrainConfig())) if "." not in option.name} - {"run"}
    assert max(len(line) for text in shown.values() for line in text.splitlines()) <= 104


def test_help_breaks_lines_where_the_terminal_does(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    lines = [line.rstrip() for line in help_of(capsys, "export").splitlines()]
    assert lines[0] == "softdiff export RUN DIR"  # it has no options
    assert "or blurring also with diffusers' DDPMPipeline." in lines  # the docstring breaks within
    assert not any(" None " in help_of(capsys, command) for command in ("train", "evaluate"))  # people type none


def test_help_shows_the_values_of_a_preset(capsys: pytest.CaptureFixture[str]) -> None:
    assert "[20000]" in help_of(capsys, "train")
    assert f"[{read_config('digits').steps}]" in help_of(capsys, "train", "--config", "digits")
    assert "--count N" in help_of(capsys, "sample")


PRESETS = {
    "digits": (1, 8, 8),
    "fashion-mnist": (1, 28, 28),
    "emoji-64": (3, 64, 64),
    "cifar10": (3, 32, 32),
    "celeba-64": (3, 64, 64),
}


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_builds_its_process_and_network(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    config = read_config(name)
    assert config_from_dict(config.to_dict()) == config
    config.build_process()
    with torch.device("meta"):  # shapes alone: the largest has hundreds of MB of weights
        network = build_network(config.network, PRESETS[name])
        assert sum(parameter.numel() for parameter in network.parameters()) > 100_000
    kind = config.data.partition(":")[0]
    config.images.check_source(kind, config.data)
    assert kind in {source.partition(":")[0] for source in SOURCES}
    described = preset_names()[name]
    assert described[0].isalnum()
    assert name in help_of(capsys, "train")


def test_presets_are_those_that_are_tested() -> None:
    assert set(preset_names()) == set(PRESETS)


def test_a_preset_trains_and_flags_come_before_it(tmp_path: Path) -> None:
    arguments = ["--config", "digits", "--steps", "2", "--sample-count", "2", "--sample-steps", "2"]
    assert main(["train", str(tmp_path / "run"), *arguments]) == 0
    wanted = replace(read_config("digits"), steps=2, sample_count=2, sample_steps=2)
    assert load_config(tmp_path / "run" / "config.yaml") == wanted


def test_a_config_file_of_your_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = tmp_path / "own.yaml"
    own.write_text("process: soft\nsteps: 5\n")
    _, config, _ = parse_train([str(tmp_path / "run"), f"--config={own}", "--soft.sigma", "0.1", "0.2"])
    assert (config.process, config.steps, config.soft.sigma) == ("soft", 5, (0.1, 0.2))
    own.write_text("network:\n  chanels: [8]\n")
    assert "own.yaml: unknown option chanels in NetworkOptions; did you mean channels?" in refused(
        capsys, "train", str(tmp_path / "run"), "--config", str(own)
    )
    own.write_text("steps: 0\n")
    assert "own.yaml: config: steps must be an integer >= 1" in refused(
        capsys, "train", str(tmp_path / "run"), "--config", str(own)
    )
    message = refused(capsys, "train", str(tmp_path / "run"), "--config", "digits", "--resume")
    assert "a run goes on with the options it began with: leave --config out" in message
    assert [path.name for path in tmp_path.iterdir()] == ["own.yaml"]


def test_sample_writes_a_sheet_and_an_array(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["sample", str(run), "--count", "5", "--steps", "3", "--rule", "ddim", "--seed", "7"]
    assert main([*options, "--out", str(tmp_path / "a.b")]) == 0
    assert capsys.readouterr().out.split() == [str(tmp_path / "a.b.png"), str(tmp_path / "a.b.npy")]
    images = np.load(tmp_path / "a.b.npy", allow_pickle=False)
    assert images.shape == (5, 1, 8, 8)
    assert images.dtype == np.float32
    with Image.open(tmp_path / "a.b.png") as sheet:
        assert sheet.size == (3 * 34 + 2, 2 * 34 + 2)
        pixels = np.asarray(sheet)
    first = np.round((np.clip(images[0, 0], -1, 1) + 1) * 127.5).repeat(4, 0).repeat(4, 1)
    assert np.array_equal(pixels[2:34, 2:34, 0], first)

    before = (tmp_path / "a.b.npy").read_bytes()
    assert "a.b.png exists: give --overwrite, or another --out" in refused(capsys, *options, "--out", str(tmp_path / "a.b"))
    assert main([*options, "--out", str(tmp_path / "a.b"), "--overwrite"]) == 0
    assert (tmp_path / "a.b.npy").read_bytes() == before  # the same seed gives the same images
    assert main([*options[:-1], "8"]) == 0
    assert not np.array_equal(np.load(run / "samples" / "step-00000006-seed-8.npy"), images)


def test_sample_refuses(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = ["--out", str(tmp_path / "x")]
    assert "count must be >= 1, got 0" in refused(capsys, "sample", str(run), "--count", "0", *out)
    assert "steps must be >= 1, got 0" in refused(capsys, "sample", str(run), "--steps", "0", *out)
    assert "seed must be >= 0, got -1" in refused(capsys, "sample", str(run), "--seed", "-1", *out)
    assert "Cold keeps all the noise" in refused(capsys, "sample", str(run), "--rule", "cold", *out)
    assert "nowhere does not exist" in refused(capsys, "sample", str(tmp_path / "nowhere"), *out)
    assert not any(tmp_path.iterdir())


def test_sample_refuses_a_damaged_checkpoint(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "run" / "checkpoints" / "step-00000006"
    path.mkdir(parents=True)
    for file in (run / "checkpoints" / "step-00000006").iterdir():
        (path / file.name).write_bytes(file.read_bytes())
    (path / "ema.safetensors").write_bytes(b"\0" * 100)
    assert "ema.safetensors is damaged: wanted" in refused(capsys, "sample", str(tmp_path / "run"))
    assert not (tmp_path / "run" / "samples").exists()


def test_rules_have_names() -> None:
    assert {type(rule) for rule in RULES.values() if rule} == {sd.Markov, sd.Momentum, sd.DDIM, sd.Naive, sd.Cold}


def test_unknown_commands_and_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert "unknown command 'trian'; did you mean softdiff train?" in refused(capsys, "trian")
    assert "unknown command 'zzz'; commands are train, sample, " in refused(capsys, "zzz")
    assert "info takes no options, got --all" in refused(capsys, "info", "--all")
    for arguments in ([], ["--help"], ["info", "--help"]):
        assert main(arguments) == 0
        assert "usage: softdiff" in capsys.readouterr().out


def test_without_extras_info_works_and_train_names_the_extra(tmp_path: Path) -> None:
    code = """
import sys
sys.modules.update(dict.fromkeys(["PIL", "accelerate", "diffusers", "rich", "safetensors", "psutil", "tensorboard", "yaml"]))
from softdiff_ext.cli import main
assert main(["info"]) == 0
sys.exit(main(["train", "new"]))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert "torch" in done.stdout
    assert done.stderr.count("\n") == 1
    assert 'not installed here: pip install "softdiff-ext[train]"' in done.stderr
    assert not any(tmp_path.iterdir())

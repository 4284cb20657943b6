"""Checkpoints: whole or not there, verified when read, never unpickled; files written atomically; the moving average."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import resource
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from softdiff_ext.training import files
from softdiff_ext.training.checkpoints import (
    PARTS,
    Checkpoint,
    checkpoint_paths,
    last_checkpoint,
    load_checkpoint,
    optimizer_tensors,
    restore_module,
    restore_optimizer,
    save_checkpoint,
)
from softdiff_ext.training.ema import EMA


def make(step: int = 3) -> Checkpoint:
    generator = torch.Generator().manual_seed(step)
    tensors = {
        part: {
            "strided": torch.randn(3, 4, generator=generator).T,
            "scalar": torch.tensor(float(step)),
            "wide": torch.randn(2, dtype=torch.float64, generator=generator),
            "empty": torch.empty(0, 5),
        }
        for part in PARTS
    }
    return Checkpoint(step, {"data": "digits", "network": {"channels": [8, 8]}}, (100, 1, 8, 8), tensors)


def test_what_is_saved_comes_back(tmp_path: Path) -> None:
    saved = make()
    save_checkpoint(tmp_path, saved, keep=1)
    loaded = load_checkpoint(tmp_path / "step-00000003")
    assert (loaded.step, loaded.config, loaded.images) == (saved.step, saved.config, saved.images)
    assert loaded.shape == (1, 8, 8)
    for part in PARTS:
        assert loaded.tensors[part].keys() == saved.tensors[part].keys()
        for name, tensor in saved.tensors[part].items():
            assert loaded.tensors[part][name].dtype == tensor.dtype
            assert torch.equal(loaded.tensors[part][name], tensor)
    assert set(load_checkpoint(tmp_path / "step-00000003", ["ema"]).tensors) == {"ema"}


def test_the_last_ones_are_kept(tmp_path: Path) -> None:
    for step in (5, 20, 100_000_000, 100_000_001):  # the last two have nine digits: order by number, not by name
        save_checkpoint(tmp_path / "checkpoints", make(step), keep=2)
    assert [path.name for path in checkpoint_paths(tmp_path / "checkpoints")] == ["step-100000000", "step-100000001"]
    assert last_checkpoint(tmp_path).name == "step-100000001"
    with pytest.raises(ValueError, match="nowhere does not exist"):
        last_checkpoint(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="holds no checkpoint"):
        last_checkpoint(tmp_path / "checkpoints")


def test_a_crash_while_saving_leaves_the_old_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_checkpoint(tmp_path, make(1), keep=1)

    def crash(*_: object) -> None:
        raise OSError("no space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", crash)
        with pytest.raises(OSError, match="no space"):
            save_checkpoint(tmp_path, make(2), keep=1)
    assert [path.name for path in checkpoint_paths(tmp_path)] == ["step-00000001"]
    load_checkpoint(tmp_path / "step-00000001")
    save_checkpoint(tmp_path, make(2), keep=1)  # clears what the crash left
    assert sorted(os.listdir(tmp_path)) == ["step-00000002"]


def test_a_file_that_cannot_grow_leaves_the_old_checkpoint(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, make(1), keep=1)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300, before[1]))  # bytes: the system itself refuses more, as on a full disk
    try:
        with pytest.raises(OSError, match=r"step-00000002 cannot be written: File too large; the last whole .* step-00000001"):
            save_checkpoint(tmp_path, make(2), keep=1)
        with pytest.raises(OSError, match="there is no earlier checkpoint"):
            save_checkpoint(tmp_path / "new", make(2), keep=1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert sorted(os.listdir(tmp_path)) == ["new", "step-00000001"]
    load_checkpoint(tmp_path / "step-00000001")


@pytest.mark.parametrize("part", PARTS)
def test_damaged_tensors_are_refused(tmp_path: Path, part: str) -> None:
    save_checkpoint(tmp_path, make(), keep=1)
    path = tmp_path / "step-00000003" / f"{part}.safetensors"
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[-1] ^= 1
    path.write_bytes(flipped)
    with pytest.raises(ValueError, match=rf"{part}\.safetensors is damaged: its SHA-256"):
        load_checkpoint(path.parent)
    path.write_bytes(whole[:-1])
    with pytest.raises(ValueError, match=rf"{part}\.safetensors is damaged: wanted {len(whole)} bytes, got {len(whole) - 1}"):
        load_checkpoint(path.parent)
    path.unlink()
    with pytest.raises(ValueError, match=rf"{part}\.safetensors cannot be read: No such file"):
        load_checkpoint(path.parent)


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text[: len(text) // 2],
        lambda text: text.replace('"format": 1', '"format": 2'),
        lambda text: text.replace('"step": 3', '"step": "three"'),
        lambda text: text.replace('"sha256"', '"md5"'),
        lambda text: "[]",
        lambda text: "",
    ],
)
def test_a_damaged_manifest_is_refused(tmp_path: Path, change: object) -> None:
    save_checkpoint(tmp_path, make(), keep=1)
    path = tmp_path / "step-00000003" / "manifest.json"
    path.write_text(change(path.read_text()))  # type: ignore[operator]
    with pytest.raises(ValueError, match=r"manifest\.json is damaged or missing"):
        load_checkpoint(path.parent)


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, make(), keep=1)
    folder = tmp_path / "step-00000003"

    class Trap:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, (str(tmp_path / "sprung"),)

    content = pickle.dumps(Trap())
    (folder / "ema.safetensors").write_bytes(content)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"]["ema.safetensors"] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ValueError, match=r"ema\.safetensors is no safetensors file"):
        load_checkpoint(folder)
    assert not (tmp_path / "sprung").exists()


def test_tensors_of_another_network_are_refused() -> None:
    checkpoint = replace(make(), tensors={"ema": nn.Linear(3, 4).state_dict(), "optimizer": {"0.exp_avg": torch.zeros(4, 3)}})
    with pytest.raises(ValueError, match=r"ema\.safetensors does not fit this run: .*size mismatch"):
        restore_module(nn.Linear(3, 5), checkpoint, "ema")
    optimizer = torch.optim.Adam(nn.Linear(3, 5).parameters())
    with pytest.raises(ValueError, match=r"optimizer\.safetensors does not fit this run: no parameter for 0\.exp_avg \[4, 3\]"):
        restore_optimizer(optimizer, checkpoint)


def test_an_optimizer_continues_as_if_never_saved(tmp_path: Path) -> None:
    def steps(model: nn.Linear, optimizer: torch.optim.Optimizer, count: int) -> None:
        for _ in range(count):
            model(torch.ones(2, 3)).square().sum().backward()
            optimizer.step()
            optimizer.zero_grad()

    torch.manual_seed(0)
    model = nn.Linear(3, 4)
    optimizer = torch.optim.Adam(model.parameters(), fused=True)
    steps(model, optimizer, 3)
    tensors = {**make().tensors, "model": model.state_dict(), "optimizer": optimizer_tensors(optimizer)}
    save_checkpoint(tmp_path, replace(make(), tensors=tensors), keep=1)
    loaded = load_checkpoint(tmp_path / "step-00000003")
    twin = nn.Linear(3, 4)
    twin_optimizer = torch.optim.Adam(twin.parameters(), fused=True)
    restore_module(twin, loaded, "model")
    restore_optimizer(twin_optimizer, loaded)
    steps(model, optimizer, 3)
    steps(twin, twin_optimizer, 3)
    assert torch.equal(model.weight, twin.weight)
    assert torch.equal(model.bias, twin.bias)


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "new" / "config.yaml"
    files.write_file(path, b"old")

    def crash(*_: object) -> None:
        raise OSError("power cut")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", crash)
        with pytest.raises(OSError, match="power cut"):
            files.write_file(path, b"newer")
    assert path.read_bytes() == b"old"
    files.write_file(path, b"new")
    assert path.read_bytes() == b"new"
    assert os.listdir(path.parent) == ["config.yaml"]


def test_the_average_follows_its_formula() -> None:
    model = nn.BatchNorm1d(2)
    ema = EMA(model, decay=0.3)
    expected = model.weight.detach().double().clone()
    for n in range(8):
        with torch.no_grad():
            model.weight.add_(n + 1.0)
            model.running_mean.fill_(n)  # type: ignore[union-attr, operator]
        ema.update(n)
        decay = min(0.3, (1 + n) / (10 + n))  # 0.1, 0.18, 0.25, then 0.3
        expected = decay * expected + (1 - decay) * model.weight.detach().double()
    torch.testing.assert_close(ema.model.weight.double(), expected, rtol=1e-6, atol=0)  # eight float32 steps
    assert ema.model.running_mean.tolist() == [7.0, 7.0]
    assert not ema.model.weight.requires_grad
    with pytest.raises(ValueError, match=r"EMA: decay must be in \[0, 1\), got 1\.0"):
        EMA(model, 1.0)

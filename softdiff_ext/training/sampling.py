"""Images from a run folder: the averaged weights of its last checkpoint, a PNG sheet and an array."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import torch

from softdiff_ext.rules import DDIM, Cold, Markov, Momentum, Naive, Rule
from softdiff_ext.sampling import quadratic_times
from softdiff_ext.training.checkpoints import last_checkpoint, load_checkpoint
from softdiff_ext.training.figures import image_sheet, save_png
from softdiff_ext.training.files import write_file
from softdiff_ext.training.group import Group
from softdiff_ext.training.randomness import generator
from softdiff_ext.training.runs import load_run

RULES: dict[str, Rule | None] = {
    "default": None,
    "markov": Markov(),
    "momentum": Momentum(),
    "momentum-exact": Momentum(exact=True),
    "ddim": DDIM(),
    "naive": Naive(),
    "cold": Cold(),
}
"""The samplers by name; None is the process's own."""

BATCH = 64
"""Images that a process draws at once. Runs of any number of processes cut the same batches, so their images are equal bits."""


def sample_run(
    run: Path,
    count: int = 64,
    steps: int = 100,
    rule: Rule | None = None,
    seed: int = 0,
    out: Path | None = None,
    overwrite: bool = False,
    quadratic: bool = False,
    batch: int = BATCH,
) -> tuple[Path, Path]:
    """Draw `count` images from the last checkpoint of `run`, on a GPU where there is one, shared out over the processes.

    Args:
        run: folder of a training run.
        count, steps, seed: number of images, sampler steps (of a process with levels at most as many as these), and the name
            of the random numbers.
        rule: the sampler; None: that of the process.
        out: the files without suffix; None: run/samples/step-XXXXXXXX-seed-SEED.
        overwrite: replace files that exist.
        quadratic: take steps that shrink towards the image instead of equal ones.
        batch: images that a process draws at once. The images do not depend on it, but for rounding.

    Returns:
        The PNG sheet and the .npy file, float32 [count, C, H, W], near [-1, 1] and not clipped; the first process writes them.

    Raises:
        ValueError: count, steps or batch is below 1, the run has no checkpoint, or it is damaged.
        FileExistsError: a file is there already and overwrite is False.
        RuntimeError: several processes were started but do not know each other.
    """
    for name, value, least in (("count", count, 1), ("steps", steps, 1), ("seed", seed, 0), ("batch", batch, 1)):
        if value < least:
            raise ValueError(f"sample: {name} must be >= {least}, got {value}")
    path = last_checkpoint(run)
    stem = run / "samples" / f"{path.name}-seed-{seed}" if out is None else out
    sheet, array = stem.with_name(f"{stem.name}.png"), stem.with_name(f"{stem.name}.npy")
    for file in (sheet, array):
        if file.exists() and not overwrite:
            raise FileExistsError(f"sample: {file} exists: give --overwrite, or another --out")

    group = Group()
    shape = load_checkpoint(path, ()).shape
    process, network = load_run(run, group.device)
    chosen = quadratic_times(steps) if quadratic else process.level_times(steps)
    images = []
    for begin in range(0, count, batch * group.world):
        first = begin + batch * group.rank
        size = max(0, min(batch, count - first))
        part = torch.zeros(batch, *shape, device=group.device)  # all processes gather tensors of one shape
        if size:
            draws = generator(torch.device("cpu"), seed, "sample")
            part[:size] = process.sample(network, (size, *shape), chosen, rule, generator=draws, first=first)
        gathered = group.gather(part)[: count - begin]
        if group.main:
            images.append(gathered.cpu())
    if group.main:
        drawn = torch.cat(images)
        content = io.BytesIO()
        np.save(content, drawn.numpy(), allow_pickle=False)
        write_file(array, content.getvalue())
        save_png(sheet, image_sheet(drawn))
    group.wait()  # so that the files are there wherever this returns
    return sheet, array

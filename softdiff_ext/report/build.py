"""From a run folder to its page: what the run left, a few images drawn from its last checkpoint, and their neighbours."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from pathlib import Path

import torch
from torch import Tensor, nn

import softdiff_ext
from softdiff_ext.processes import Process
from softdiff_ext.report.charts import Curve, chart
from softdiff_ext.report.films import Film, forward_film, reverse_film, training_film
from softdiff_ext.report.neighbours import nearest
from softdiff_ext.report.page import Section, neighbour_list, page, player, table
from softdiff_ext.report.quality import quality_tables
from softdiff_ext.report.threads import threads_for
from softdiff_ext.rules import Rule
from softdiff_ext.training.checkpoints import Checkpoint, last_checkpoint, load_checkpoint
from softdiff_ext.training.config import TrainConfig, config_from_dict
from softdiff_ext.training.data import ImageSet, load_images
from softdiff_ext.training.files import write_file
from softdiff_ext.training.log import read_log
from softdiff_ext.training.randomness import generator
from softdiff_ext.training.runs import load_run

FAMILIES = {
    "vdm": "Variational diffusion",
    "ihdm": "Inverse Heat Dissipation",
    "blurring": "Blurring Diffusion",
    "soft": "Soft Diffusion",
    "cold": "Cold Diffusion",
}
REVERSE, FORWARD = "Reverse path: how an image is made", "Forward process: how an image is lost"
MOST_IMAGES = 64


@dataclass(frozen=True)
class RunFacts:
    """A run as it is read: its folder, options, last checkpoint, process and network."""

    run: Path
    config: TrainConfig
    checkpoint: Checkpoint
    process: Process
    network: nn.Module
    device: torch.device


def open_run(run: Path) -> RunFacts:
    """Read a run, on a GPU where there is one; raises ValueError as `load_run` does."""
    checkpoint = load_checkpoint(last_checkpoint(run), ())
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    process, network = load_run(run, device)
    return RunFacts(run, config_from_dict(checkpoint.config), checkpoint, process, network, device)


def draw(
    facts: RunFacts, images: int, steps: int, rule: Rule | None, seed: int, most_frames: int | None = None
) -> tuple[Film, Tensor]:
    """Images of a run and the film of their making, which are the same in whatever picture: see `reverse_film`."""
    channels, height, width = facts.checkpoint.shape
    draws = generator(facts.device, seed, "report")
    with threads_for(images * facts.config.network.channels[0] * height * width):
        shape = (images, channels, height, width)
        return reverse_film(facts.process, facts.network, shape, steps, rule, draws, most_frames)


def write_report(
    run: Path, out: Path | None = None, images: int = 8, steps: int | None = None, rule: Rule | None = None, seed: int = 0
) -> Path:
    """Write one HTML page about a run that needs nothing but itself: curves, samples, both paths to play, neighbours.

    Args:
        run: folder of a training run with a checkpoint.
        out: the file, replaced if it exists; None: run/report.html.
        images: how many are drawn, 1 to 64.
        steps, rule, seed: of the sampler; None: those of the run's sample grids, and that of the process.

    Returns:
        The file.

    Raises:
        ValueError: an argument is out of its range, or the run has no checkpoint or a damaged one.
    """
    for name, value, least, most in (("images", images, 1, MOST_IMAGES), ("seed", seed, 0, None), ("steps", steps, 1, None)):
        if value is not None and (value < least or (most is not None and value > most)):
            raise ValueError(f"report: {name} must be {f'in {least}..{most}' if most else f'>= {least}'}, got {value}")
    facts = open_run(run)
    config = facts.config
    steps = config.sample_steps if steps is None else steps
    reverse, samples = draw(facts, images, steps, rule, seed)
    forward, neighbours = image_sections(facts, samples)
    sections = [
        Section("reverse", REVERSE, player("reverse", REVERSE, reverse, len(reverse.labels) - 1)),
        forward,
        training_section(facts),
        curve_section(run),
        quality_section(run),
        *neighbours,
        Section(
            "config",
            "Configuration",
            f'<details class="card"><summary>All options: config.yaml</summary><pre>{escape(config.to_yaml())}</pre></details>',
        ),
    ]
    closing = (
        f"<p>Written by <code>softdiff report {escape(str(run))}</code>, softdiff_ext {escape(softdiff_ext.__version__)}, "
        f"torch {escape(torch.__version__)}. More training: <code>softdiff train {escape(str(run))} --resume --steps N</code>. "
        f"More images: <code>softdiff sample {escape(str(run))}</code>.</p>"
    )
    html = page(run.resolve().name, lead(facts), fact_list(facts, steps, rule, seed), sections, closing)
    out = run / "report.html" if out is None else out
    write_file(out, html.encode())
    return out


def lead(facts: RunFacts) -> str:
    """The run in a sentence."""
    count, channels, height, width = facts.checkpoint.images
    colours = {1: "grey", 3: "colour", 4: "transparent"}.get(channels, f"{channels}-channel")
    number = f"{count:,} " if count else ""
    return f"{FAMILIES[facts.config.process]}, trained on {number}{colours} images of {height}x{width} pixels."


def fact_list(facts: RunFacts, steps: int, rule: Rule | None, seed: int) -> dict[str, str]:
    """What one wants to know first."""
    config = facts.config
    parameters = sum(parameter.numel() for parameter in facts.network.parameters())
    sampler = str(rule or facts.process.default_rule).removesuffix("()")
    rate = f"{config.learning_rate:g}" + (", falling linearly" if config.decay == "linear" else "")
    return {
        "Data": config.data,
        "Network": f"U-Net, {parameters / 1e6:.2f} million parameters, channels {'-'.join(map(str, config.network.channels))}",
        "Training": f"{facts.checkpoint.step:,} of {config.steps:,} steps of {config.batch_size} images",
        "Learning rate": rate,
        "Samples": f"{steps} steps of {sampler}, averaged weights, seed {seed}",
    }


def image_sections(facts: RunFacts, samples: Tensor) -> tuple[Section, list[Section]]:
    """The forward process, and the neighbours of samples, which both need the training images: without them only a note."""
    try:
        train, held_out = load_images(facts.config.data, facts.config.mode, facts.config.images)
    except (ImportError, OSError, ValueError) as error:
        missing = f'<p class="note">The images of this run cannot be read here: {escape(str(error))}</p>'
        return Section("forward", FORWARD, missing), []
    chosen = train.some(len(samples), "report").to(facts.device)
    film = forward_film(facts.process, chosen, generator(facts.device, facts.config.seed, "report-forward"))
    return Section("forward", FORWARD, player("forward", FORWARD, film, 0)), [neighbour_section(samples, train, held_out)]


def neighbour_section(samples: Tensor, train: ImageSet, held_out: ImageSet) -> Section:
    found = nearest(samples, train, held_out)
    typical = (
        f" For scale: the median held-out image is {found.held_out:.3f} from its nearest training image, these samples "
        f"{float(found.distances[:, 0].median()):.3f}; samples far below that would be copies."
        if found.held_out is not None
        else ""
    )
    words = (
        f'<p class="note">Each sample beside the nearest of {found.compared:,} training images, with the root mean square '
        f"difference over the pixels (black to white is 2).{typical}</p>"
    )
    return Section("neighbours", "Nearest training images", words + neighbour_list(samples, found))


def training_section(facts: RunFacts) -> Section:
    film = training_film(facts.run, facts.config.sample_count, facts.checkpoint.shape)
    if film is None:
        body = '<p class="note">This run has left no sample sheets yet.</p>'
    else:
        body = player("training", "Samples over the steps of training", film, len(film.labels) - 1)
    return Section("training", "Samples while it learned", body)


def curve_section(run: Path) -> Section:
    curves = read_log(run)

    def curve(name: str, title: str, style: str = "line") -> Curve:
        return Curve(title, *curves.get(name, ([], [])), style=style)

    charts: list[tuple[str, str, list[Curve]]] = [
        ("loss-chart", "Loss", [curve("loss", "training"), curve("held_out_loss", "held out", "dots")]),
        ("speed-chart", "Images a second", [curve("images_per_second", "images/s")]),
        ("gradient-chart", "Norm of the gradient", [curve("gradient_norm", "norm")]),
    ]
    drawn = "".join(
        f'<div class="card">{chart(identity, title, group)}</div>'
        for identity, title, group in charts
        if any(c.steps for c in group)
    )
    missing = '<p class="note">This run has no log.jsonl; its curves are in its folder tensorboard.</p>'
    return Section("curves", "Curves", f'<div class="charts">{drawn}</div>' if drawn else missing)


def quality_section(run: Path) -> Section:
    tables = quality_tables(run)
    comparisons = [t for t in tables if len(t.columns) > 2]
    body = "".join(f'<div class="card">{table(t.caption, t.columns, t.rows)}</div>' for t in comparisons)
    singles = "".join(f'<div class="card">{table(t.caption, t.columns, t.rows)}</div>' for t in tables if t not in comparisons)
    missing = f'<p class="note">Not measured yet: <code>softdiff evaluate {escape(str(run))}</code></p>'
    return Section("quality", "Quality", body + (f'<div class="charts">{singles}</div>' if singles else "") or missing)

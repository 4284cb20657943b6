"""What benchmarks/families.py measured, as the Markdown of benchmarks/results/families.md and docs/methods.md.

python benchmarks/families_table.py [RESULTS] [DOCS]      (writes both anew from RESULTS/families.json; measures nothing)
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from softdiff_ext.schedules import Cosine
from softdiff_ext.training.files import write_file

RESULTS = Path(__file__).parent / "results"
DOCS = Path(__file__).parent.parent / "docs"
BEGIN, END = "<!-- families: written by benchmarks/families.py -->", "<!-- end of families -->"


def markdown(result: dict[str, Any]) -> str:
    """The matrix, the refusals, the curves and the bits as Markdown."""
    families = result["families"]
    labels = result["rules"]
    held_out = result["held_out"]
    lines = [
        f"Frechet distance of {result['samples']} samples in {result['sampler_steps']} steps (in brackets the share of samples "
        f"the classifier is sure of). Held-out scans: **{held_out['frechet_distance']}** ({held_out['sure_share']:.0%}). "
        f"{result['train_steps']} training steps each. The family's own rule is bold.",
        "",
        "| family | " + " | ".join(f"`{label}`" for label in labels) + " |",
        "|---|" + "---|" * len(labels),
    ]
    reasons: dict[str, int] = {}
    for name, family in families.items():
        own = next(iter(family["few"])).split(",")[0] if family["few"] else ""
        cells = []
        for label in labels:
            if label in family["refused"]:
                number = reasons.setdefault(family["refused"][label].removeprefix("rule: "), len(reasons) + 1)
                cells.append(f"refused ({number})")
            else:
                row = family["rules"][label]
                mark = "**" if label == own else ""
                cells.append(f"{mark}{row['frechet_distance']}{mark} ({row['sure_share']:.0%})")
        lines.append(f"| {family['title']} (`{name}`) | " + " | ".join(cells) + " |")
    lines += [""] + [f"({number}) {reason}" + "  " for reason, number in reasons.items()]
    lines += ["", "Frechet distance against the number of steps:", ""]
    counts = list(dict.fromkeys(key.split(", ")[1] for family in families.values() for key in family["few"]))
    lines += ["| family, rule | " + " | ".join(counts) + " |", "|---|" + "---|" * len(counts)]
    for family in families.values():
        for label in dict.fromkeys(key.split(", ")[0] for key in family["few"]):
            row = [family["few"].get(f"{label}, {count}", {}).get("frechet_distance", "") for count in counts]
            lines.append(f"| {family['title']}, `{label}` | " + " | ".join(map(str, row)) + " |")
    lines += ["", "Upper bounds on the bits per dimension of the held-out scans (17 values a pixel):", ""]
    lines += ["| family | trained by | total | reconstruction | prior | diffusion |", "|---|---|---|---|---|---|"]
    for family in families.values():
        if family["bits_per_dimension"]:
            terms = family["bits_per_dimension"]
            row = [f"{terms[name]:.3f}" for name in ("total", "reconstruction", "prior", "diffusion")]
            lines.append(f"| {family['title']} | {training_of(family['training'])} | " + " | ".join(row) + " |")
    return "\n".join(lines) + "\n"


def training_of(training: dict[str, Any]) -> str:
    """What a network learned by, and the noise that its bits depend on."""
    options = training[training["process"]]
    loss = "the bound" if options.get("weighting") == "elbo" else "squared error"
    if "levels" in options:
        return f"{loss}; {options['levels']} levels, sigma {options['sigma']:g}"
    ends = (options.get("logsnr_min", Cosine.logsnr_min), options.get("logsnr_max", Cosine.logsnr_max))
    return f"{loss}; {options.get('schedule', 'cosine')} schedule" + (
        f", log-SNR {ends[0]:g} to {ends[1]:g}" if options.get("schedule", "cosine") == "cosine" else ""
    )


def include(text: str, document: Path) -> None:
    """Put the text between the marks in a Markdown document."""
    before, _, rest = document.read_text("utf-8").partition(BEGIN)
    if not rest:
        raise ValueError(f"{document} has no line {BEGIN}")
    after = rest.partition(END)[2]
    write_file(document, f"{before}{BEGIN}\n\n{text}\n{END}{after}".encode())


def write(result: dict[str, Any], results: Path, docs: Path | None) -> str:
    """The text, after writing it to results/families.md and into docs/methods.md where `docs` is given."""
    text = markdown(result)
    write_file(results / "families.md", text.encode())
    if docs is not None:
        include(text, docs / "methods.md")
    return text


if __name__ == "__main__":
    folders = [Path(argument) for argument in sys.argv[1:]]
    read, docs = folders or (RESULTS, DOCS)
    write(json.loads((read / "families.json").read_text("utf-8")), read, docs)

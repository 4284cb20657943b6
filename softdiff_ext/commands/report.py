"""`softdiff report`: flags in, one page out, and the reverse path as a moving picture where it is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from softdiff_ext.commands.arguments import Run, parse
from softdiff_ext.commands.sample import RuleName
from softdiff_ext.report import write_report
from softdiff_ext.report.movies import find_encoder, write_gif, write_mp4
from softdiff_ext.training.sampling import RULES


def run_report(arguments: Sequence[str]) -> int:
    """Returns the exit code."""

    def options(
        run: Run,
        out: Path | None = None,
        images: int = 8,
        steps: int | None = None,
        rule: RuleName = "default",
        seed: int = 0,
        gif: bool = False,
        mp4: bool = False,
    ) -> list[Path]:
        """Write one HTML page about a run: curves, samples, both paths to play, nearest neighbours, quality.

        The page needs no network and no other file: open it, send it, keep it.

        Args:
            run: Run folder.
            out: The page, replaced if it exists; RUN/report.html where not given.
            images: How many images are drawn.
            steps: Sampler steps; those of the run's sample grids where not given.
            rule: Sampler; default is that of the process.
            seed: Names the random numbers.
            gif: Write the reverse path as a moving picture too, beside the page.
            mp4: The same as a film, smaller; needs the extra softdiff-ext[movie].
        """
        page = run / "report.html" if out is None else out
        if mp4:
            find_encoder()
        written = [write_report(run, page, images, steps, RULES[rule], seed)]
        if gif:
            written.append(write_gif(run, page.with_suffix(".gif"), steps=steps, rule=RULES[rule], seed=seed))
        if mp4:
            written.append(write_mp4(run, page.with_suffix(".mp4"), steps=steps, rule=RULES[rule], seed=seed))
        return written

    for path in parse(options, "report", arguments):
        print(f"{path}  {path.stat().st_size / 1e6:.1f} MB")
    return 0

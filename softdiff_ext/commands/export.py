"""`softdiff export`: two paths in, one call out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from softdiff_ext.commands.arguments import Positional, Run, parse
from softdiff_ext.integrations.export import export_run


def run_export(arguments: Sequence[str]) -> int:
    """Returns the exit code."""

    def options(run: Run, folder: Annotated[Path, Positional("DIR")]) -> Path:
        """Write the averaged weights of a run's last checkpoint as a pipeline folder of diffusers.

        Load it with SoftdiffPipeline.from_pretrained(DIR) of softdiff_ext.integrations.diffusers; a run of vdm or blurring also
        with diffusers' DDPMPipeline.

        Args:
            run: Run folder.
            folder: Folder to make; one that exists is refused.
        """
        return export_run(run, folder)

    print(parse(options, "export", arguments))
    return 0

"""One page about a run, complete in itself: `write_report`. Below it: films (frames to play), charts, and the page."""

from __future__ import annotations

from softdiff_ext.report.build import write_report

__all__ = ["write_report"]

"""The commands of the command line, one file each; cli.py imports the one that is asked for."""

import softdiff_ext.training  # noqa: F401  its extra is theirs too, and the error for a missing one names it

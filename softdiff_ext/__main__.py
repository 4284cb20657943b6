"""`python -m softdiff_ext` is the command `softdiff`."""

import sys

from softdiff_ext.cli import main

sys.exit(main())

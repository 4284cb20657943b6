"""`python -m softdiff_ext` is the command `softdiff`."""

import sys

from softdiff_ext.cli import main

if __name__ == "__main__":
    sys.exit(main())

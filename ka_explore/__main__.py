"""``python -m ka_explore``: the command line."""

import sys

from ka_explore.cli import main

if __name__ == "__main__":
    sys.exit(main())

"""`python -m mpserve` is `mpserve`."""

from __future__ import annotations

import sys

from mpserve.cli import main

if __name__ == "__main__":
    sys.exit(main())

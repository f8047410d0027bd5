"""What this process holds open, for the tests that look for leaks."""

from __future__ import annotations

import gc
import os


def open_descriptors() -> list[str]:
    """The numbers of all open descriptors, when those are closed that nobody holds any more.

    What an earlier test has left in reference cycles would else be closed at any time, and look like a
    change that this one made.
    """
    gc.collect()
    return sorted(os.listdir("/proc/self/fd"))

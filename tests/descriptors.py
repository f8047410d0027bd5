"""What this process holds open, for the tests that look for leaks."""

from __future__ import annotations

import os


def open_descriptors() -> set[str]:
    """The numbers of all open descriptors.

    Compare with `<=`: what an earlier test has left in reference cycles may be closed at any time. (To
    collect it here would cost more than the tests: pytest itself is a large heap.)
    """
    return set(os.listdir("/proc/self/fd"))

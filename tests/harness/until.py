"""Waiting for what nothing announces: one looks, and looks again."""

from __future__ import annotations

import time
from collections.abc import Callable

LOOK = 0.005  # seconds between two looks


def until(condition: Callable[[], bool], seconds: float = 30.0) -> bool:
    """Whether `condition` came true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(LOOK)
    return True

"""How many tests run side by side."""

from __future__ import annotations

import pytest

from mpserve.processors import usable_processors

SIDE_BY_SIDE = 2  # for each processor
ENOUGH = 24  # however many processors there are: each process imports all the tests


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """What `-n auto` comes to: the tests wait for processes and for timers more than they compute."""
    return min(SIDE_BY_SIDE * usable_processors(), ENOUGH)

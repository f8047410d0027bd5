"""What all tests share: how many run side by side, and a stage for a batch."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from mpserve.processors import usable_processors
from tests.stage import Stage, raised

SIDE_BY_SIDE = 2  # for each processor
ENOUGH = 24  # however many processors there are: each process imports all the tests


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """What `-n auto` comes to: the tests wait for processes and for timers more than they compute."""
    return min(SIDE_BY_SIDE * usable_processors(), ENOUGH)


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    """A batch that knows two heads, and all that it deals with."""
    with raised(tmp_path, monkeypatch) as stage:
        yield stage

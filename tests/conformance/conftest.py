"""The levels of requirements as markers: `pytest -m must`."""

from __future__ import annotations

import pytest

from tests.conformance.case import Level


def pytest_configure(config: pytest.Config) -> None:
    for level in Level:
        name = level.name.lower()
        config.addinivalue_line("markers", f"{name}: a requirement of the level {level.value}")

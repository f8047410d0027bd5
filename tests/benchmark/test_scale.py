"""How connections spread over workers, in words."""

from __future__ import annotations

import pytest

from loadtests.benchmark.scale import describe


@pytest.mark.parametrize(
    ("held", "workers", "expected"),
    [
        pytest.param({10: 0, 11: 3, 12: 5}, 2, "5 + 3", id="the master holds none"),
        pytest.param({10: 8, 11: 0}, 1, "8", id="the second process is no worker"),
        pytest.param({10: 8}, 1, "8", id="one process is master and worker"),
        pytest.param({10: 0, 11: 0, 12: 8}, 2, "8 + 0", id="a worker without any"),
        pytest.param({10: 8, 11: 0}, 4, "threads", id="fewer processes than workers"),
    ],
)
def test_connections_of_each_worker(held: dict[int, int], workers: int, expected: str) -> None:
    assert expected == describe(held, 10, workers)

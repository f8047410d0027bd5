"""Records of runs that never were, for the rooms that only look at them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from loadtests.faults import Kind
from loadtests.record import LogCount, Record, Row, Second, Worker

PAGE = Row("page", 600, 0, 6_000_000, {0.5: 590, 9.0: 10}, {0.6: 590, 90.0: 10}, {200: 600})
AGAIN = Row("revalidation", 400, 0, 0, {0.2: 400}, {0.2: 400}, {304: 380, 200: 20})
WORKERS = (
    Worker(101, 0.06, 12.0, 20, (20 << 20, 21 << 20), (15, 15)),
    Worker(102, 0.04, 8.0, 15, (20 << 20, 22 << 20), (15, 19)),
)
SECONDS = tuple(
    Second(float(at), 40, 100.0 + at, 0, 0.5, 9.0 + at, server_cpu=1.0) for at in range(1, 11)
)
GOOD = Record(
    scenario="browse",
    shape="",
    target="http://127.0.0.1:8000",
    command="loadtest browse",
    began=1_763_640_000.0,
    duration=10.0,
    users_wanted=40,
    users_peak=40,
    rows=(PAGE, AGAIN),
    seconds=SECONDS,
    connections=40,
    client_busy=(20.0,) * 10,
    client_lag=(1.0,) * 10,
    workers=WORKERS,
    log=LogCount({200: 620, 304: 380}, {200: 620, 304: 380}, 0),
    environment={"kernel": "Linux"},
)


def run(**changes: Any) -> Record:
    """A good run, but for these values."""
    return replace(GOOD, **changes)


def with_faults(kind: Kind, count: int = 1, **changes: Any) -> Record:
    """A run with faults of one kind."""
    faults = {(kind.value, "page"): count}
    return run(faults=faults, rows=(replace(PAGE, failures=count), AGAIN), **changes)

"""Results to draw from."""

from __future__ import annotations

from dataclasses import replace

from loadtests.slowhttp.honest import Latency
from loadtests.slowhttp.results import Results, Row
from loadtests.slowhttp.stuck import Stuck

ALONE = Latency(2400, 0, 0.3, 0.9, 4.0)
HELD = Row("mpserve", "slow heads", 4000, ALONE, replace(ALONE, p99=1.7), True, 0.061)
WORSE = replace(HELD, server="nginx", beside=replace(ALONE, p99=2.7, failed=1))
STUCK = Stuck(500, 159_700.0, 4_100.0, 0)


def results() -> Results:
    """One attack and the stuck readers, of two servers."""
    return Results(
        "2026-11-25 16:00 UTC",
        "./scripts/slowhttp",
        {"processor": "one of many"},
        {"workers": "2"},
        {"mpserve": "0.1.0", "nginx": "1.22.1"},
        [HELD, WORSE],
        {"mpserve": STUCK, "nginx": replace(STUCK, kernel=3_400_000.0)},
        ["a note"],
    )

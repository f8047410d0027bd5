"""The scenarios, as data: who takes part, how many, how long, and what the server is started with.

What a scenario does, and why, stands in the docstring of its file in loadtests/scenarios/.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass, field
from pathlib import Path

SCENARIOS_DIRECTORY = Path(__file__).parent / "scenarios"

# Time-outs for the scenarios that wait for them, short enough to be waited for (seconds). A slow reader must not
# look like one that has stopped: the kernel buffers, so the server sees the slowest take nothing for seconds.
SHORT_TIMEOUTS = {"header": 3.0, "keepalive": 5.0, "send": 10.0}


@dataclass(frozen=True, slots=True)
class Scenario:
    """One row of the catalogue."""

    name: str
    users: dict[str, int]  # user class → weight
    count: int  # users, unless told otherwise
    seconds: float  # unless told otherwise
    shape: str = "smoke"
    timeouts: dict[str, float] = field(
        default_factory=dict
    )  # that a server of ours is started with
    kills: bool = False  # the run kills workers, so it needs a server of its own

    @property
    def module(self) -> Path:
        """The file that describes it."""
        return SCENARIOS_DIRECTORY / f"{self.name.replace('-', '_').replace('404', 'missing')}.py"

    @property
    def description(self) -> str:
        """The docstring of its file."""
        return ast.get_docstring(ast.parse(self.module.read_text(encoding="utf-8"))) or ""

    @property
    def summary(self) -> str:
        """The first sentence of its description."""
        return " ".join(self.description.split("\n\n")[0].split())


# Shares of a site's visitors, with some who mean no good.
MIX = {
    "BrowseUser": 50,
    "ColdUser": 8,
    "VideoSeekUser": 8,
    "DownloadUser": 2,
    "PipelineUser": 6,
    "SlowReaderUser": 6,
    "SlowHeaderUser": 4,
    "ChurnUser": 8,
    "MissingUser": 4,
    "ProbeUser": 4,
}
# Every kind of user, and enough of each that a run of half a minute sees it at work.
ONE_OF_EACH = {
    "BrowseUser": 6,
    "ColdUser": 3,
    "VideoSeekUser": 2,
    "DownloadUser": 1,
    "PipelineUser": 2,
    "SlowReaderUser": 2,
    "SlowHeaderUser": 2,
    "ChurnUser": 3,
    "MissingUser": 2,
    "ProbeUser": 1,
}

_ROWS = (
    Scenario("smoke", ONE_OF_EACH, 24, 25, "smoke", SHORT_TIMEOUTS),
    Scenario("browse", {"BrowseUser": 1}, 60, 30),
    Scenario("cold", {"ColdUser": 1}, 40, 30),
    Scenario("video-seek", {"VideoSeekUser": 1}, 16, 30),
    Scenario("download", {"DownloadUser": 1}, 4, 30),
    Scenario("pipeline", {"PipelineUser": 1}, 24, 30),
    Scenario(
        "slow-reader", {"SlowReaderUser": 9, "ProbeUser": 1}, 100, 40, "smoke", SHORT_TIMEOUTS
    ),
    Scenario(
        "slow-header", {"SlowHeaderUser": 9, "ProbeUser": 1}, 100, 40, "smoke", SHORT_TIMEOUTS
    ),
    Scenario("churn", {"ChurnUser": 1}, 40, 30),
    Scenario("404-storm", {"MissingUser": 1}, 40, 30),
    Scenario("mixed", MIX, 100, 60, "smoke", SHORT_TIMEOUTS),
    Scenario("soak", MIX, 40, 1800, "soak", SHORT_TIMEOUTS),
    Scenario("chaos", MIX, 60, 40, "smoke", SHORT_TIMEOUTS, kills=True),
)
SCENARIOS = {row.name: row for row in _ROWS}
DEFAULT = "smoke"

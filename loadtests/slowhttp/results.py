"""The results: measured once, kept as JSON, and shown from there as often as one likes."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from loadtests import kept
from loadtests.slowhttp.honest import Latency
from loadtests.slowhttp.stuck import Stuck

SHAPE: Final = 1  # of the JSON
WORSE: Final = (
    2.0  # an honest client's 99th percentile beside an attack may be so many times that alone
)
STUCK_LIMIT: Final = 200_000  # octets that a stuck reader may cost


@dataclass(frozen=True, slots=True)
class Row:
    """One attack on one server."""

    server: str
    attack: str
    connected: int  # connections, when the attacker had begun all of his or at the end
    alone: Latency
    beside: Latency
    available: bool  # by the attacker's own probe
    busy: float  # processors that the server used meanwhile

    @property
    def served(self) -> bool:
        """Whether everybody honest was answered."""
        return self.available and not self.beside.failed and self.beside.requests > 0

    @property
    def held(self) -> bool:
        """Whether the honest client was answered, and in time."""
        return self.served and self.beside.p99 <= WORSE * self.alone.p99


@dataclass(slots=True)
class Results:
    """One run."""

    taken: str
    command: str
    machine: dict[str, str]
    settings: dict[str, str]
    versions: dict[str, str]
    rows: list[Row] = field(default_factory=list)
    stuck: dict[str, Stuck] = field(default_factory=dict)  # by server
    notes: list[str] = field(default_factory=list)

    def proved(self, server: str) -> bool:
        """Whether this server kept everything that is promised."""
        rows = [row.held for row in self.rows if row.server == server]
        stuck = self.stuck.get(server)
        return all(rows) and (stuck is None or (stuck.together < STUCK_LIMIT and not stuck.cut))


def save(results: Results, path: Path) -> None:
    """Write the results, whole or not at all."""
    kept.save(results, SHAPE, path)


def load(path: Path) -> Results:
    """The results that `save` wrote; ShapeError when it was something else."""
    said = kept.load(SHAPE, path)
    rows = [row_of(row) for row in said.pop("rows")]
    stuck = {server: Stuck(**values) for server, values in said.pop("stuck").items()}
    return Results(**said, rows=rows, stuck=stuck)


def row_of(said: dict[str, Any]) -> Row:
    """A row as it stands in the JSON."""
    figures = {name: Latency(**said[name]) for name in ("alone", "beside")}
    return Row(**{**said, **figures})

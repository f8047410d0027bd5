"""The results: values that are measured once, kept as JSON, and drawn from as often as one likes."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from loadtests import kept
from loadtests.reliability.counts import OF_ACCEPTED, Latency, Loss

SHAPE = 1  # of the JSON


@dataclass(frozen=True, slots=True)
class Row:
    """One action against one server."""

    server: str
    action: str
    deeds: int  # how many times
    seconds: float
    fresh: int
    answered: int
    reused: int
    reused_answered: int
    turned_away: int
    idle_ends: int
    held: int  # connections of the workers that the run killed
    losses: dict[str, int]
    late: float  # milliseconds that the load itself was late, at worst
    latency: Latency | None  # of fresh connections begun while it was done
    problems: list[str]  # what the server did not do
    examples: list[str]

    def lost(self, kind: Loss) -> int:
        """How many requests were lost in this way."""
        return self.losses.get(kind.value, 0)

    @property
    def lost_in_all(self) -> int:
        """Every request that has no right answer."""
        return sum(self.losses.values())

    @property
    def unexcused(self) -> int:
        """The losses beyond what the killed workers had accepted."""
        accepted = sum(self.lost(kind) for kind in OF_ACCEPTED)
        return self.lost_in_all - min(accepted, self.held)

    @property
    def proved(self) -> bool:
        """Did the server do what it was asked, and lose nothing that it could keep?"""
        return not self.problems and not self.unexcused and self.answered > 0 and self.deeds > 0


@dataclass(slots=True)
class Results:
    """One run."""

    taken: str
    command: str
    machine: dict[str, str]
    settings: dict[str, str]
    versions: dict[str, str]
    rows: list[Row] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def find(self, server: str, action: str) -> Row | None:
        """The row of this action against this server."""
        wanted = (server, action)
        return next((row for row in self.rows if (row.server, row.action) == wanted), None)

    def actions(self) -> list[str]:
        """The actions that were run, in order."""
        return list(dict.fromkeys(row.action for row in self.rows))

    def servers(self) -> list[str]:
        """The servers, in order."""
        return list(dict.fromkeys(row.server for row in self.rows))


def save(results: Results, path: Path) -> None:
    """Write the results, whole or not at all."""
    kept.save(results, SHAPE, path)


def load(path: Path) -> Results:
    """The results that `save` wrote; ShapeError when it was something else."""
    said = kept.load(SHAPE, path)
    rows = [
        Row(**{**row, "latency": row["latency"] and Latency(**row["latency"])})
        for row in said.pop("rows")
    ]
    return Results(**said, rows=rows)

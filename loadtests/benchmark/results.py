"""The results: values that are measured once, kept as JSON, and drawn from as often as one likes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from loadtests import kept

SHAPE = 1  # of the JSON; results of another shape are not compared
OURS = "mpserve"
FLOOR = "floor"
PYTHON_FLOOR = "floor in Python"
FLOORS = (FLOOR, PYTHON_FLOOR)  # no servers, but what one cannot do without
BEFORE = "mpserve-before"  # as it was at another commit
TRUSTING = "mpserve-1s"  # which believes for a second what it has seen of a file, as lighttpd does
KIN = (BEFORE, TRUSTING)  # they are not among the others, of which one is the best

WRK = "wrk"
SATURATE = "saturate"  # quicker than the servers, so that they are what sets the pace
CLIENTS = (WRK, SATURATE)

# Shares of a measurement beyond which it says more about the machine than about the server.
MUCH_WAITING = 0.1
MUCH_SOFTIRQ = 0.05
# The same for a client that is to set no pace: beyond it the server was not at its limit.
MUCH_SPARE = 0.1


@dataclass(frozen=True, slots=True)
class Sample:
    """One server, one workload, one round."""

    processor_us: float  # of the server, user and system, per request
    user_share: float  # the user's part of it
    rate: float  # requests per second
    p50_us: float
    p99_us: float
    octets: float  # received by the client per request
    client_share: float  # of its processor that the client used
    waited_share: float  # of the time, that the server was ready to run and could not
    softirq_share: float  # of the server's processor time, spent by the kernel's thread on top
    # How far the processors of server and client lay apart, before or after (see `distance`); 0: not measured.
    distance_ns: float = 0.0

    @property
    def spare_share(self) -> float:
        """Of the time, that the server had nothing to do (where it is one process with one thread)."""
        return 1 - self.processor_us * self.rate / 1e6 - self.waited_share


@dataclass(frozen=True, slots=True)
class Timed:
    """All rounds of one server in one workload, by one client."""

    workload: str
    logged: bool
    server: str
    samples: tuple[Sample, ...]
    client: str = WRK  # as long as there was no other, it was not told

    def middle(self, name: str) -> float:
        """The median over the rounds of one figure."""
        return float(median(getattr(sample, name) for sample in self.samples))

    @property
    def spread(self) -> float:
        """How far the rounds lie apart: (largest − smallest) / median of processor time."""
        values = [sample.processor_us for sample in self.samples]
        return (max(values) - min(values)) / median(values)


@dataclass(frozen=True, slots=True)
class Table:
    """A measurement with columns of its own."""

    name: str
    title: str
    explanation: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str | float, ...], ...]


@dataclass(slots=True)
class Results:
    """One run."""

    taken: str
    machine: dict[str, str]
    settings: dict[str, str]
    versions: dict[str, str]  # of the servers, in the order in which they are shown
    timed: list[Timed] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def find(self, workload: str, logged: bool, server: str, client: str = WRK) -> Timed | None:
        wanted = (workload, logged, server, client)
        for row in self.timed:
            if (row.workload, row.logged, row.server, row.client) == wanted:
                return row
        return None

    def workloads(self, logged: bool, client: str = WRK) -> list[str]:
        """The workloads that were timed by `client`, in order."""
        rows = (row for row in self.timed if (row.logged, row.client) == (logged, client))
        return list(dict.fromkeys(row.workload for row in rows))

    def ratio(self, workload: str, logged: bool, client: str = WRK) -> float | None:
        """Our processor time over that of the best of the others, in this run."""
        others = [name for name in self.versions if name not in (OURS, *FLOORS, *KIN)]
        return self._over(others, workload, logged, client)

    def change(self, workload: str, logged: bool, client: str = WRK) -> float | None:
        """Our processor time over what it was before, in this run."""
        return self._over([BEFORE], workload, logged, client)

    def _over(
        self, servers: Iterable[str], workload: str, logged: bool, client: str
    ) -> float | None:
        """Our processor time over that of the best of `servers`."""
        ours = self.find(workload, logged, OURS, client)
        found = [self.find(workload, logged, server, client) for server in servers]
        times = [row.middle("processor_us") for row in found if row is not None]
        return ours.middle("processor_us") / min(times) if ours and times else None

    def take_over(self, earlier: Results) -> None:
        """Keep what `earlier` has and this run has not measured, and say which is which.

        Ratios stay those of one run: all servers of a workload are measured together, by each client.
        """
        again = {(row.workload, row.logged, row.client) for row in self.timed}
        named = {table.name for table in self.tables}
        what = sorted({workload for workload, _, _ in again} | named)
        kept = [row for row in earlier.timed if (row.workload, row.logged, row.client) not in again]
        self.timed = kept + self.timed
        self.tables = [table for table in earlier.tables if table.name not in named] + self.tables
        self.notes = [*earlier.notes, *self.notes]
        self.versions = earlier.versions | self.versions
        self.settings = earlier.settings
        self.note(f"taken again, {self.taken}: {', '.join(what)}")
        self.taken = earlier.taken

    def note(self, text: str) -> None:
        """Keeps a remark for the report, once."""
        if text not in self.notes:
            self.notes.append(text)


def save(results: Results, path: Path) -> None:
    """Writes the results, whole or not at all."""
    kept.save(results, SHAPE, path)


def load(path: Path) -> Results:
    """The results that `save` wrote; ShapeError when it was something else."""
    said = kept.load(SHAPE, path)
    said["timed"] = [
        Timed(**{**row, "samples": tuple(Sample(**sample) for sample in row["samples"])})
        for row in said["timed"]
    ]
    said["tables"] = [
        Table(**{**row, "columns": tuple(row["columns"]), "rows": tuples(row["rows"])})
        for row in said["tables"]
    ]
    return Results(**said)


def tuples(rows: Iterable[Sequence[str | float]]) -> tuple[tuple[str | float, ...], ...]:
    return tuple(tuple(row) for row in rows)

"""All that is known about one run: the values that the verdict judges and the report draws. No clock, no Locust."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from loadtests.faults import Kind
from loadtests.histogram import Histogram, merged


@dataclass(frozen=True, slots=True)
class Row:
    """The requests of one name."""

    name: str
    requests: int
    failures: int
    octets: int  # of content
    service: Histogram  # from the first octet sent to the last received
    due: Histogram  # from the moment the visit was due
    statuses: dict[int, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Second:
    """One interval of about a second, as the master saw it."""

    at: float  # seconds since the start, at the end of the interval
    users: int
    rate: float  # requests per second
    failures: int
    p50: float | None
    p99: float | None
    server_cpu: float | None = None  # percent of one processor, all workers together
    event: str = ""  # what the run did to the server in this interval


@dataclass(frozen=True, slots=True)
class Held:
    """What one process has at a moment."""

    pss: int  # octets; what it shares with others counts in parts
    fds: int
    threads: int


@dataclass(frozen=True, slots=True)
class Worker:
    """One worker process of the server, from the first look at it to the last."""

    pid: int
    cpu: float  # seconds of processor time
    connections: float  # the mean of what it held, look by look
    connections_peak: int
    rss: tuple[int, int]  # octets, when warm and at the end
    fds: tuple[int, int]  # open descriptors, at the beginning and at the end
    fate: str = ""  # "killed by the run", or "vanished" when it ended without our doing
    course: tuple[Held, ...] = ()  # at the beginning, after each quarter of the run, and at the end


@dataclass(frozen=True, slots=True)
class LogCount:
    """What the server's access log and the clients say about the same run: status → answers."""

    lines: dict[int, int]
    answers: dict[int, int]
    unfinished: int  # requests that the log may, but need not, have a line for

    @property
    def difference(self) -> int:
        """How many lines are missing, or are there and should not be, whatever became of the unfinished."""
        statuses = self.lines.keys() | self.answers.keys()
        surplus = {s: self.lines.get(s, 0) - self.answers.get(s, 0) for s in statuses}
        missing = -sum(count for count in surplus.values() if count < 0)
        unasked = sum(count for count in surplus.values() if count > 0)
        return missing + max(0, unasked - self.unfinished)


@dataclass(frozen=True, slots=True)
class Record:
    """One run."""

    scenario: str
    shape: str
    target: str
    command: str
    began: float  # epoch seconds
    duration: float  # seconds
    users_wanted: int
    users_peak: int
    rows: tuple[Row, ...]
    seconds: tuple[Second, ...] = ()
    faults: dict[tuple[str, str], int] = field(default_factory=dict)  # (kind, name) → how many
    exceptions: tuple[str, ...] = ()  # of the scenario itself: a bug of the harness
    examples: tuple[str, ...] = ()
    connections: int = 0
    client_processes: int = 1
    client_processes_lost: int = 0  # that did not live to report
    client_busy: tuple[float, ...] = ()  # percent of one processor
    client_lag: tuple[float, ...] = ()  # milliseconds
    workers: tuple[Worker, ...] | None = None  # None: not a server of ours
    excused: int = 0  # connections that workers held when the run killed them
    log: LogCount | None = None
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def requests(self) -> int:
        """All requests of the run."""
        return sum(row.requests for row in self.rows)

    @property
    def failures(self) -> int:
        """All requests of the run that failed."""
        return sum(row.failures for row in self.rows)

    @property
    def whole(self) -> Row:
        """All rows as one."""
        return joined("everything", self.rows)

    def count(self, kind: Kind) -> int:
        """The faults of this kind."""
        return sum(count for (each, _), count in self.faults.items() if each == kind.value)

    def as_json(self) -> dict[str, Any]:
        """Plain values, for whoever wants to compute something of their own."""
        plain = asdict(self)
        plain["faults"] = [
            {"kind": kind, "name": name, "count": count}
            for (kind, name), count in sorted(self.faults.items())
        ]
        return plain


def joined(name: str, rows: tuple[Row, ...]) -> Row:
    """Several rows as one."""
    statuses: dict[int, int] = {}
    for row in rows:
        for status, count in row.statuses.items():
            statuses[status] = statuses.get(status, 0) + count
    return Row(
        name=name,
        requests=sum(row.requests for row in rows),
        failures=sum(row.failures for row in rows),
        octets=sum(row.octets for row in rows),
        service=merged(row.service for row in rows),
        due=merged(row.due for row in rows),
        statuses=statuses,
    )

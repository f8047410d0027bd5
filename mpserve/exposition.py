"""What the scoreboard says, in the words of those who watch: Prometheus' text format, and JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from mpserve.scoreboard import BOUNDS, CLASSES, DURATIONS, METHODS, State

Numbers = Mapping[str, int]
Labels = Mapping[str, str]

CONNECTION_STATES: Final = ("reading", "sending", "idle", "lingering")
WORKER_STATES: Final = tuple(state for state in State if state is not State.FREE)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The server at one moment."""

    version: str
    phase: str  # of its life, in lower case
    ready: bool  # whether new connections should be sent here
    healthy: bool  # whether the master has no need of somebody who replaces it
    refusal: str  # why the last reload or upgrade has failed; nothing if it has not
    pid: int  # of the master
    started: float  # epoch seconds
    uptime: float  # seconds
    listeners: tuple[str, ...]  # URLs
    totals: Numbers  # every counter of the scoreboard, over all workers that ever were
    workers: tuple[Numbers, ...]  # the rows of those that live

    @property
    def answers(self) -> int:
        """How many requests have been answered."""
        return sum(self.totals.get(name, 0) for name in DURATIONS)

    def connections(self, state: str) -> int:
        """How many connections are in that state, as of each worker's last heartbeat."""
        return sum(row.get(state, 0) for row in self.workers)


class Sample(NamedTuple):
    """One line of a family: what follows its name, its labels, its value."""

    suffix: str
    labels: Labels
    value: float


class Family(NamedTuple):
    """A metric: samples that share a name, a type and an explanation."""

    name: str
    kind: str  # "counter", "gauge" or "histogram"
    explanation: str
    samples: tuple[Sample, ...]


# name, the counter of the scoreboard, the explanation
COUNTED: Final = (
    (
        "mpserve_response_content_bytes_total",
        "octets",
        "Octets of content that were sent, heads aside.",
    ),
    ("mpserve_connections_accepted_total", "accepted", "Connections that were accepted."),
    (
        "mpserve_connections_accepted_foreign_total",
        "accepted_foreign",
        "Those of them that were another worker's, who was busy.",
    ),
    (
        "mpserve_connections_shed_total",
        "shed",
        "Connections that were told 503, for want of descriptors or memory.",
    ),
    (
        "mpserve_connections_gave_way_total",
        "gave_way",
        "Idle connections that were closed for those that came.",
    ),
    (
        "mpserve_responses_stalled_total",
        "stalled",
        "Responses that were cut because the client took nothing of them for --send-timeout.",
    ),
    (
        "mpserve_responses_changed_total",
        "files_changed",
        "Responses that were cut because their file shrank or was overwritten meanwhile.",
    ),
    (
        "mpserve_log_lines_dropped_total",
        "log_dropped",
        "Lines of the access log for which there was no room.",
    ),
    ("mpserve_worker_restarts_total", "restarts", "Workers that died unasked."),
    ("mpserve_file_cache_hits_total", "cache_hits", "Lookups that the file cache answered."),
    ("mpserve_file_cache_misses_total", "cache_misses", "Lookups that went to the file system."),
    ("mpserve_memo_misses_total", "memo_misses", "Requests whose answer was made anew."),
)


def families(now: Snapshot) -> Iterator[Family]:
    """Every metric. The label values are all known beforehand: no client can add one."""
    yield gauge("mpserve_build_info", "Which version runs.", {"version": now.version}, 1)
    yield gauge(
        "mpserve_start_time_seconds", "When the master began, in epoch seconds.", {}, now.started
    )
    yield gauge("mpserve_ready", "Whether new connections should be sent here.", {}, int(now.ready))
    yield gauge(
        "mpserve_last_reload_successful",
        "Whether the last reload or upgrade took place; 1 before the first.",
        {},
        int(not now.refusal),
    )
    yield Family(
        "mpserve_requests_total",
        "counter",
        "Requests that were answered, by method and by class of the status.",
        tuple(answers(now.totals)),
    )
    yield Family(
        "mpserve_request_duration_seconds",
        "histogram",
        "From the turn in which a head was complete to the last octet that the kernel took.",
        tuple(durations(now.totals)),
    )
    for name, cell, explanation in COUNTED:
        yield counter(name, explanation, now.totals.get(cell, 0))
    hits = max(0, now.answers - now.totals.get("memo_misses", 0))
    yield counter("mpserve_memo_hits_total", "Requests whose answer was given again.", hits)
    yield from gauges(now)


def gauges(now: Snapshot) -> Iterator[Family]:
    """What is true now, and may be less a moment later."""
    yield Family(
        "mpserve_connections",
        "gauge",
        "Open connections by what they wait for.",
        tuple(Sample("", {"state": state}, now.connections(state)) for state in CONNECTION_STATES),
    )
    states = Counter(row.get("state", 0) for row in now.workers)
    yield Family(
        "mpserve_workers",
        "gauge",
        "Worker processes by what they do.",
        tuple(Sample("", {"state": each.name.lower()}, states[each]) for each in WORKER_STATES),
    )
    slots: Counter[int] = Counter()
    for row in now.workers:
        slots[row.get("slot", 0)] += row.get("connections", 0)
    yield Family(
        "mpserve_worker_connections",
        "gauge",
        "Open connections by worker.",
        tuple(Sample("", {"worker": str(slot)}, slots[slot]) for slot in sorted(slots)),
    )


def answers(totals: Numbers) -> Iterator[Sample]:
    """The requests of each method and class."""
    for method in METHODS:
        for group in CLASSES:
            number = totals.get(f"answers_{method}_{group}", 0)
            yield Sample("", {"method": method, "status": group}, number)


def durations(totals: Numbers) -> Iterator[Sample]:
    """The buckets of the histogram, each with all that the ones before it hold, and their sum."""
    number = 0
    for name, bound in zip(DURATIONS, (*BOUNDS, float("inf")), strict=True):
        number += totals.get(name, 0)
        label = "+Inf" if bound == float("inf") else f"{bound:g}"
        yield Sample("_bucket", {"le": label}, number)
    yield Sample("_sum", {}, totals.get("duration_ns", 0) / 1e9)
    yield Sample("_count", {}, number)


def counter(name: str, explanation: str, value: int) -> Family:
    """A counter without labels."""
    return Family(name, "counter", explanation, (Sample("", {}, value),))


def gauge(name: str, explanation: str, labels: Labels, value: float) -> Family:
    """A gauge of one sample."""
    return Family(name, "gauge", explanation, (Sample("", labels, value),))


def encode(shown: Iterable[Family]) -> bytes:
    """The families in Prometheus' text format, version 0.0.4."""
    lines: list[str] = []
    for family in shown:
        lines.append(f"# HELP {family.name} {family.explanation}")
        lines.append(f"# TYPE {family.name} {family.kind}")
        lines += (
            f"{family.name}{each.suffix}{labelled(each.labels)} {each.value}"
            for each in family.samples
        )
    return "".join(f"{line}\n" for line in lines).encode()


def labelled(labels: Labels) -> str:
    """Labels as they stand behind a name. No value of ours has a quote, a backslash or a line feed."""
    pairs = ",".join(f'{name}="{value}"' for name, value in labels.items())
    return f"{{{pairs}}}" if pairs else ""


def status_of(now: Snapshot) -> dict[str, Any]:
    """The snapshot for programs that read JSON."""
    return {
        "version": now.version,
        "phase": now.phase,
        "ready": now.ready,
        "refusal": now.refusal,
        "pid": now.pid,
        "started": now.started,
        "uptime": round(now.uptime, 3),
        "listeners": list(now.listeners),
        "requests": now.answers,
        "connections": {state: now.connections(state) for state in CONNECTION_STATES},
        "totals": {name: value for name, value in now.totals.items() if not hidden(name)},
        "workers": [worker_of(row) for row in now.workers],
    }


def worker_of(row: Numbers) -> dict[str, Any]:
    """One worker for programs that read JSON."""
    known = {each.value: each.name.lower() for each in State}
    shown: dict[str, Any] = {name: value for name, value in row.items() if not hidden(name)}
    shown["state"] = known.get(row.get("state", 0), "unknown")
    shown["requests"] = sum(row.get(name, 0) for name in DURATIONS)
    return shown


def hidden(name: str) -> bool:
    """Whether a number is one of many that are shown as their sum."""
    return name.startswith("within_")

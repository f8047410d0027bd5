"""What a client counts beyond Locust's statistics. One tally per process; the master adds up those of its workers."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from loadtests.faults import Fault
from loadtests.histogram import Histogram, bucket, merged

EXAMPLES = (
    20  # details of faults that are kept: enough to see what is wrong, however long it stays so
)


@dataclass(slots=True)
class Tally:
    """Counts since the start of a run, or since the last `take`."""

    # (name of the request, status) → answers received to their end. A server's log has a line for each.
    answers: Counter[tuple[str, int]] = field(default_factory=Counter)
    # Requests whose answer nobody received to its end, given up or cut off. The log may have a line for each.
    unfinished: int = 0
    faults: Counter[tuple[str, str]] = field(default_factory=Counter)  # (kind, name of the request)
    examples: list[str] = field(default_factory=list)
    connections: int = 0
    # Name of the request → time since the visit was due, not since it began: a client that falls behind its
    # schedule because answers are slow would otherwise leave out the very requests that would have waited.
    due: dict[str, Histogram] = field(default_factory=dict)
    busy: list[float] = field(default_factory=list)  # percent of one processor, second by second
    lag: list[float] = field(
        default_factory=list
    )  # ms that the client's loop woke too late, second by second

    def answered(self, name: str, status: int) -> None:
        """Count one answer received to its end."""
        self.answers[name, status] += 1

    def timed(self, name: str, milliseconds: float) -> None:
        """Count the time of one answer since its visit was due."""
        histogram = self.due.setdefault(name, {})
        place = bucket(milliseconds)
        histogram[place] = histogram.get(place, 0) + 1

    def failed(self, name: str, fault: Fault) -> None:
        """Count one fault."""
        self.faults[fault.kind.value, name] += 1
        if len(self.examples) < EXAMPLES:
            self.examples.append(f"{name}: {fault.kind.value}: {fault.detail}")

    def statuses(self) -> Counter[int]:
        """Status → answers, over all names."""
        total: Counter[int] = Counter()
        for (_, status), count in self.answers.items():
            total[status] += count
        return total

    def add(self, other: Tally) -> None:
        """Take over the counts of another tally."""
        self.answers.update(other.answers)
        self.unfinished += other.unfinished
        self.faults.update(other.faults)
        self.examples.extend(other.examples[: EXAMPLES - len(self.examples)])
        self.connections += other.connections
        for name, histogram in other.due.items():
            self.due[name] = merged((self.due.get(name, {}), histogram))
        self.busy.extend(other.busy)
        self.lag.extend(other.lag)

    def clear(self) -> None:
        """Begin anew."""
        empty = Tally()
        for name in Tally.__slots__:
            setattr(self, name, getattr(empty, name))

    def take(self) -> dict[str, Any]:
        """The counts as plain values for a message to the master; they begin anew here."""
        message = {
            "answers": [[*key, count] for key, count in self.answers.items()],
            "unfinished": self.unfinished,
            "faults": [[*key, count] for key, count in self.faults.items()],
            "examples": self.examples,
            "connections": self.connections,
            "due": {name: list(histogram.items()) for name, histogram in self.due.items()},
            "busy": self.busy,
            "lag": self.lag,
        }
        self.clear()
        return message


def received(message: dict[str, Any]) -> Tally:
    """The tally that a worker has put into a message."""
    return Tally(
        answers=Counter({(name, status): count for name, status, count in message["answers"]}),
        unfinished=message["unfinished"],
        faults=Counter({(kind, name): count for kind, name, count in message["faults"]}),
        examples=list(message["examples"]),
        connections=message["connections"],
        due={name: dict(map(tuple, histogram)) for name, histogram in message["due"].items()},
        busy=list(message["busy"]),
        lag=list(message["lag"]),
    )

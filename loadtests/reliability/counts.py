"""What became of every request, by kind. Pure: the words that results, report and client share."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum


class Loss(Enum):
    """Why a request has no right answer."""

    REFUSED = "refused"
    BEFORE = "ended before the request"
    AFTER = "ended after the request"
    REUSED = "lost on a reused connection"
    TIMED_OUT = "timed out"
    WRONG = "wrong answer"


# A killed worker takes with it what it had accepted: these kinds, and no others.
OF_ACCEPTED = (Loss.BEFORE, Loss.AFTER, Loss.REUSED)


@dataclass(slots=True)
class Counts:
    """What one load has seen: everything that adds up."""

    fresh: int = 0  # connections begun for one request each
    answered: int = 0  # of them
    reused: int = 0  # requests sent on a connection that had carried one before
    reused_answered: int = 0
    turned_away: int = 0  # refused after the server was told to stop: that is its right
    idle_ends: int = 0  # a reused connection ended while nothing was asked: nothing is lost by it
    late: float = (
        0.0  # seconds that the load itself was late, at worst: no latency is truer than that
    )
    losses: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)
    began: array[float] = field(default_factory=lambda: array("d"))  # monotonic, of fresh ones
    took: array[float] = field(default_factory=lambda: array("d"))  # seconds, beside it

    def lose(self, kind: Loss, detail: str) -> None:
        """Count a loss, and keep the first few to be looked at."""
        self.losses[kind.value] += 1
        if len(self.examples) < 5:
            self.examples.append(f"{kind.value}: {detail}")

    def add(self, other: Counts) -> None:
        """Add what another load has seen."""
        for name in ("fresh", "answered", "reused", "reused_answered", "turned_away", "idle_ends"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.late = max(self.late, other.late)
        self.losses.update(other.losses)
        self.examples = (self.examples + other.examples)[:5]
        self.began.extend(other.began)
        self.took.extend(other.took)

    def during(self, windows: Sequence[tuple[float, float]]) -> list[float]:
        """Seconds that the fresh connections took that began within one of the windows, sorted."""
        pairs = sorted(zip(self.began, self.took, strict=True))
        chosen: list[float] = []
        place = 0
        for begin, end in sorted(windows):
            while place < len(pairs) and pairs[place][0] < begin:
                place += 1
            while place < len(pairs) and pairs[place][0] < end:
                chosen.append(pairs[place][1])
                place += 1
        return sorted(chosen)


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds that fresh connections took, from connect to the end of the answer."""

    samples: int
    p50: float
    p99: float
    p999: float
    worst: float


def latency(seconds: Sequence[float]) -> Latency | None:
    """The latency of sorted times; None without any."""
    if not seconds:
        return None
    last = len(seconds) - 1
    ranks = (seconds[min(last, int(share * len(seconds)))] for share in (0.5, 0.99, 0.999))
    return Latency(len(seconds), *(round(1000 * each, 3) for each in (*ranks, seconds[last])))


def total(counts: Iterable[Counts]) -> Counts:
    """All of them in one."""
    made = Counts()
    for each in counts:
        made.add(each)
    return made

"""How many users at which second. Pure; loadtests/shapes.py gives these plans to Locust."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeAlias

from loadtests.histogram import percentile
from loadtests.record import Second

RAMP = 3.0  # seconds in which the users of a run come, if it is not shorter than four times that
FASTEST = 100.0  # users per second: beyond it Locust warns, with reason
STEPS = 8

# (seconds since the start, seconds in all, users at most) → (users, users to add or remove per second)
Plan: TypeAlias = Callable[[float, float, int], tuple[int, float]]


def smoke(_: float, seconds: float, users: int) -> tuple[int, float]:
    """Everybody comes within three seconds and stays: does it work at all?"""
    return users, _rate(users / min(RAMP, seconds / 4))


def steps(at: float, seconds: float, users: int) -> tuple[int, float]:
    """Eight stairs of equal height: where does more load begin to cost latency? The report looks for the knee."""
    stair = min(STEPS, int(at / seconds * STEPS) + 1)
    return max(1, round(users * stair / STEPS)), _rate(users / STEPS)


def spike(at: float, seconds: float, users: int) -> tuple[int, float]:
    """A tenth of the users, then suddenly all, then a tenth again: does it come back to where it was?"""
    within = seconds / 3 <= at < 2 * seconds / 3
    return users if within else max(1, users // 10), _rate(users / 2)


def soak(_: float, seconds: float, users: int) -> tuple[int, float]:
    """A slow ramp over a tenth of the time, then steady: what grows that should not?"""
    return users, min(FASTEST, max(0.1, users / max(RAMP, seconds / 10)))


def _rate(users_per_second: float) -> float:
    return min(FASTEST, max(1.0, users_per_second))


PLANS: dict[str, Plan] = {"smoke": smoke, "steps": steps, "spike": spike, "soak": soak}


@dataclass(frozen=True, slots=True)
class Stair:
    """What was measured while the number of users stood still."""

    users: int
    rate: float  # requests per second
    p99: float | None


# A stair on which users wait this much longer than on the first is beyond the knee, and so is one on which
# less than half of the added users' requests arrive.
KNEE_LATENCY = 4.0
KNEE_SHARE = 0.5


def stairs(seconds: Sequence[Second]) -> list[Stair]:
    """The plateaus of a run, in their order. The second in which the number of users changed belongs to none."""
    groups: list[list[Second]] = []
    for previous, current in pairwise(seconds):
        if current.users != previous.users or not current.users:
            groups.append([])
        elif groups:
            groups[-1].append(current)
    return [_stair(group) for group in groups if group]


def _stair(group: Sequence[Second]) -> Stair:
    tails = {second.p99: 1 for second in group if second.p99 is not None}
    return Stair(
        group[0].users, sum(second.rate for second in group) / len(group), percentile(tails, 0.5)
    )


def knee(found: Sequence[Stair]) -> Stair | None:
    """The last stair before latency or throughput gave way; None when neither did."""
    for place, (lower, higher) in enumerate(pairwise(found)):
        first = found[0].p99
        slow = first is not None and higher.p99 is not None and higher.p99 > KNEE_LATENCY * first
        wanted = lower.rate * higher.users / lower.users - lower.rate
        short = higher.rate - lower.rate < KNEE_SHARE * wanted
        if higher.users > lower.users and (slow or short):
            return found[place]
    return None

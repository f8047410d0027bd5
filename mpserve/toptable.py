"""What `mpserve top` shows: two readings of a server become a table that is as wide as the terminal."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from mpserve.scoreboard import DURATIONS, State

Numbers = Mapping[str, int]

UNITS: Final = "KMGTPE"
GAP: Final = "  "
UNKNOWN: Final = "-"


@dataclass(frozen=True, slots=True)
class Reading:
    """One process at one moment."""

    pid: int
    role: str  # "master", or "w" and the number of the slot
    cpu: float | None  # seconds of processor time so far; None where it cannot be read
    pss: int | None  # octets, with its part of what is shared
    numbers: Numbers  # its row of the scoreboard; of the master, the totals

    @property
    def requests(self) -> int:
        """How many requests it has answered."""
        return sum(self.numbers.get(name, 0) for name in DURATIONS)


@dataclass(frozen=True, slots=True)
class View:
    """A server at one moment: its master, then its workers."""

    at: float  # monotonic seconds
    uptime: float  # seconds
    processes: tuple[Reading, ...]

    @property
    def master(self) -> Reading:
        """The first of its processes."""
        return self.processes[0]

    @property
    def workers(self) -> tuple[Reading, ...]:
        """The others."""
        return self.processes[1:]

    def of(self, pid: int) -> Reading | None:
        """The reading of that process, if there was one."""
        return next((each for each in self.processes if each.pid == pid), None)


class Line(NamedTuple):
    """A process in two readings, `seconds` apart; the earlier one may be missing."""

    now: Reading
    before: Reading | None
    seconds: float

    def rate(self, value: Callable[[Reading], float | None]) -> float | None:
        """How much of it came in a second."""
        if self.before is None or self.seconds <= 0:
            return None
        new, old = value(self.now), value(self.before)
        return None if new is None or old is None else max(0.0, new - old) / self.seconds


class Column(NamedTuple):
    """A column: where the terminal is narrow, those of a higher rank are left out first."""

    title: str
    width: int
    rank: int
    text: Callable[[Line], str]
    of_master: bool = True  # whether it says anything of the master


def number(name: str) -> Callable[[Line], str]:
    """The text of a number of the row."""
    return lambda line: str(line.now.numbers.get(name, 0))


def summed(prefix: str, suffix: str) -> Callable[[Line], str]:
    """The text of all numbers whose names begin and end so, together."""
    return lambda line: str(
        sum(
            value
            for name, value in line.now.numbers.items()
            if name.startswith(prefix) and name.endswith(suffix)
        )
    )


def cpu(line: Line) -> str:
    """Its part of one processor, in percent."""
    share = line.rate(lambda reading: reading.cpu)
    return UNKNOWN if share is None else f"{share * 100:.1f}"


def pss(line: Line) -> str:
    """Its memory."""
    return UNKNOWN if line.now.pss is None else size(line.now.pss)


def requests_rate(line: Line) -> str:
    """Requests in a second."""
    rate = line.rate(lambda reading: reading.requests)
    return UNKNOWN if rate is None else f"{rate:.0f}"


def octets_rate(line: Line) -> str:
    """Octets of content in a second."""
    rate = line.rate(lambda reading: reading.numbers.get("octets", 0))
    return UNKNOWN if rate is None else size(rate)


def mean_time(line: Line) -> str:
    """Milliseconds that an answer took, on the average of all there were."""
    if not line.now.requests:
        return UNKNOWN
    return f"{line.now.numbers.get('duration_ns', 0) / line.now.requests / 1e6:.2f}"


COLUMNS: Final = (
    Column("PROCESS", 7, 0, lambda line: line.now.role),
    Column("PID", 7, 0, lambda line: str(line.now.pid)),
    Column("STATE", 8, 0, lambda line: state_of(line.now)),
    Column("GEN", 3, 3, number("generation"), of_master=False),
    Column("CPU%", 6, 0, cpu),
    Column("PSS", 6, 0, pss),
    Column("CONN", 6, 0, number("connections")),
    Column("IDLE", 6, 2, number("idle")),
    Column("SENDING", 7, 2, number("sending")),
    Column("REQ/S", 8, 0, requests_rate),
    Column("BYTES/S", 8, 0, octets_rate),
    Column("REQUESTS", 11, 1, lambda line: str(line.now.requests)),
    Column("BYTES", 7, 1, lambda line: size(line.now.numbers.get("octets", 0))),
    Column("MEAN MS", 7, 2, mean_time),
    Column("2XX", 11, 2, summed("answers_", "_2xx")),
    Column("3XX", 11, 2, summed("answers_", "_3xx")),
    Column("4XX", 9, 2, summed("answers_", "_4xx")),
    Column("5XX", 7, 2, summed("answers_", "_5xx")),
    Column("ACCEPTED", 10, 3, number("accepted")),
    Column("STALLED", 7, 3, number("stalled")),
)
# These stand at the left of their columns; all else is a number.
LEFT: Final = frozenset({"PROCESS", "STATE"})


def table(before: View | None, now: View, width: int, height: int) -> list[str]:
    """The lines to show, no longer than `width`, no more than `height`."""
    columns = fitting(width)
    seconds = 0.0 if before is None else now.at - before.at
    rows = [Line(each, before.of(each.pid) if before else None, seconds) for each in now.processes]
    shown = [headline(now, width), "", GAP.join(aligned(each, each.title) for each in columns)]
    shown += [GAP.join(cell(each, row) for each in columns) for row in rows]
    if len(shown) > height:
        rest = len(shown) - height + 1
        shown[height - 1 :] = [f"… and {rest} more"]
    return [line[:width].rstrip() for line in shown]


def headline(now: View, width: int) -> str:
    """The server in one line; what finds no room at its end is left out."""
    totals = now.master
    parts = [
        f"mpserve {totals.pid}",
        f"up {duration(now.uptime)}",
        plural(len(now.workers), "worker"),
        plural(totals.numbers.get("connections", 0), "connection"),
        plural(totals.requests, "request"),
        plural(totals.numbers.get("restarts", 0), "restart"),
        plural(totals.numbers.get("log_dropped", 0), "dropped log line"),
    ]
    line = parts[0]
    for part in parts[1:]:
        if len(line) + len(GAP) + len(part) > width:
            break
        line += GAP + part
    return line


def fitting(width: int) -> list[Column]:
    """The columns for which there is room: each rank whole, as long as the ranks before it are."""
    chosen: list[Column] = []
    for rank in range(1 + max(each.rank for each in COLUMNS)):
        more = [each for each in COLUMNS if each.rank <= rank]
        if rank and sum(each.width for each in more) + len(GAP) * (len(more) - 1) > width:
            break
        chosen = more
    return chosen


def cell(column: Column, line: Line) -> str:
    """What stands in the column."""
    if line.now.role == "master" and not column.of_master:
        return aligned(column, "")
    return aligned(column, column.text(line))


def aligned(column: Column, text: str) -> str:
    """`text` as wide as its column."""
    return text.ljust(column.width) if column.title in LEFT else text.rjust(column.width)


def state_of(reading: Reading) -> str:
    """What a process is doing."""
    if reading.role == "master":
        return "total"
    value = reading.numbers.get("state", 0)
    return next((state.name.lower() for state in State if state.value == value), "unknown")


def size(octets: float) -> str:
    """A number of octets in at most six columns: 0, 999, 1.0K, 23.4M."""
    if octets < 1000:
        return f"{octets:.0f}"
    for unit in UNITS:
        octets /= 1024
        if octets < 999.95:
            return f"{octets:.1f}{unit}"
    return f"{octets:.0f}{UNITS[-1]}"


def duration(seconds: float) -> str:
    """A time in its two largest units."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def plural(count: int, noun: str) -> str:
    """A number of things."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def for_programs(before: View | None, now: View) -> dict[str, Any]:
    """The same as values."""
    seconds = 0.0 if before is None else now.at - before.at
    return {
        "pid": now.master.pid,
        "uptime": round(now.uptime, 3),
        "seconds": round(seconds, 3),
        "processes": [
            process_for_programs(Line(each, before.of(each.pid) if before else None, seconds))
            for each in now.processes
        ],
    }


def process_for_programs(line: Line) -> dict[str, Any]:
    """One process as values; None where one is not known."""
    now = line.now
    share = line.rate(lambda reading: reading.cpu)
    return {
        "process": now.role,
        "pid": now.pid,
        "state": state_of(now),
        "cpu_percent": None if share is None else round(share * 100, 1),
        "pss": now.pss,
        "requests": now.requests,
        "requests_per_second": line.rate(lambda reading: reading.requests),
        "bytes_per_second": line.rate(lambda reading: reading.numbers.get("octets", 0)),
        "numbers": dict(now.numbers),
    }

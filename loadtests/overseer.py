"""Sees a run from outside, in the process that judges it: looks every second, adds up, ends with the verdict."""

from __future__ import annotations

import json
import platform
import random
import shlex
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from loadtests import chaos, report
from loadtests.histogram import Histogram, difference, merged, percentile
from loadtests.record import LogCount, Record, Row, Second
from loadtests.serverlog import count_statuses
from loadtests.tally import Tally
from loadtests.verdict import Outcome, Rule, Verdict, judge
from loadtests.watch import Watch

if TYPE_CHECKING:  # importing Locust changes the whole process; whoever looks at a run need not
    from locust.stats import RequestStats, StatsEntry

LOG_PATIENCE = 5.0  # seconds for the server to write what it has to say
LOG_LOOK = 0.05  # seconds between two looks at the log
PROGRESS = 5.0  # seconds between two lines for the person who waits


@dataclass(frozen=True, slots=True)
class Commission:
    """What the overseer is told before a run."""

    scenario: str
    shape: str
    target: str
    users: int
    rules: tuple[Rule, ...]
    server_pid: int | None = None
    server_log: Path | None = None
    kills: bool = False
    report: Path | None = None
    record: Path | None = None
    notes: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class _State:
    """What the last look has seen, to see the next one's difference."""

    at: float = 0.0
    requests: int = 0
    failures: int = 0
    times: dict[float, int] = field(default_factory=dict)


class Overseer:
    """One run after the other, from `begin` to `conclude`."""

    def __init__(
        self, commission: Commission, stats: Callable[[], RequestStats], say: Callable[[str], None]
    ) -> None:
        self.commission = commission
        self.tally = Tally()
        self.running = False
        self._stats = stats
        self._say = say
        self._watch = self._new_watch()
        self._chaos = self._new_chaos()
        self._seconds: list[Second] = []
        self._state = _State()
        self._began = (0.0, 0.0)  # epoch, monotonic
        self._duration = 0.0
        self._log_offset = 0
        self._last_strike = 0.0
        self._last_line = -PROGRESS

    def begin(self) -> None:
        """A run begins."""
        self.tally.clear()
        self._seconds.clear()
        self._state = _State()
        self._began = (time.time(), time.monotonic())
        self._last_strike, self._last_line = 0.0, -PROGRESS
        self._chaos = self._new_chaos()
        if self._watch is not None:
            self._watch.begin()
        log = self.commission.server_log
        self._log_offset = log.stat().st_size if log is not None and log.exists() else 0
        self.running = True
        where = self.commission.target
        self._say(
            f"{self.commission.scenario} against {where}, up to {self.commission.users} users"
        )

    def look(self, users: int) -> None:
        """A moment has passed: note what changed in it."""
        at = time.monotonic() - self._began[1]
        event = self._strike(at)
        second = self._note(at, users, event)
        if event:
            self._say(f"{at:5.0f} s  {event}")
        if at - self._last_line >= PROGRESS:
            self._last_line = at
            self._say(_progress(second))

    def end(self, users: int) -> None:
        """The run is over: no user begins anything new."""
        if self.running:
            if self._chaos is not None:
                self._chaos.relent()
            self._duration = time.monotonic() - self._began[1]
            self._note(self._duration, users, "")
            self.running = False

    def conclude(
        self, exceptions: Iterable[str] = (), processes: int = 1, lost_processes: int = 0
    ) -> Verdict:
        """Judge the run that has ended, and write the reports."""
        record = self._record(tuple(exceptions), processes, lost_processes)
        verdict = judge(record, self.commission.rules)
        for line in (*_table(record), *_faults(record), *verdict.lines()):
            self._say(line)
        self._write(record, verdict)
        return verdict

    def _new_watch(self) -> Watch | None:
        pid = self.commission.server_pid
        return None if pid is None else Watch(pid)

    def _new_chaos(self) -> chaos.Chaos | None:
        if not self.commission.kills or self._watch is None:
            return None
        return chaos.Chaos(self._watch, random.Random(self.commission.scenario))

    def _strike(self, at: float) -> str:
        if self._chaos is None:
            return ""
        self._chaos.relent()
        if at - self._last_strike < chaos.INTERVAL:
            return ""
        self._last_strike = at
        return self._chaos.strike()

    def _note(self, at: float, users: int, event: str) -> Second:
        total = self._stats().total
        state = _State(at, total.num_requests, total.num_failures, _histogram(total.response_times))
        before, self._state = self._state, state
        length = max(0.001, at - before.at)
        times = difference(state.times, before.times)
        used = None if self._watch is None else self._watch.look()
        second = Second(
            at=round(at, 2),
            users=users,
            rate=max(0, state.requests - before.requests) / length,
            failures=max(0, state.failures - before.failures),
            p50=percentile(times, 0.5),
            p99=percentile(times, 0.99),
            server_cpu=None if used is None else 100 * used / length,
            event=event,
        )
        self._seconds.append(second)
        return second

    def _record(self, exceptions: tuple[str, ...], processes: int, lost_processes: int) -> Record:
        if self._watch is not None:
            self._watch.look()
        log = (
            self._await_log()
        )  # before the tally is read: aborted requests may still be on their way
        tally = self.tally
        return Record(
            scenario=self.commission.scenario,
            shape=self.commission.shape,
            target=self.commission.target,
            command=shlex.join(sys.argv),
            began=self._began[0],
            duration=self._duration,
            users_wanted=self.commission.users,
            users_peak=max((second.users for second in self._seconds), default=0),
            rows=tuple(_rows(self._stats(), tally)),
            seconds=tuple(self._seconds),
            faults=dict(tally.faults),
            exceptions=exceptions,
            examples=tuple(tally.examples),
            connections=tally.connections,
            client_processes=processes,
            client_processes_lost=lost_processes,
            client_busy=tuple(tally.busy),
            client_lag=tuple(tally.lag),
            workers=None if self._watch is None else self._watch.workers(),
            excused=0 if self._chaos is None else self._chaos.excused,
            log=log,
            environment={**_environment(), **self.commission.notes},
        )

    def _await_log(self) -> LogCount | None:
        """What the log says, as soon as it agrees with the clients, or when no more can be expected."""
        path = self.commission.server_log
        # A killed worker takes the lines with it that it had not written yet.
        if path is None or self.commission.kills:
            return None
        deadline = time.monotonic() + LOG_PATIENCE
        while True:
            lines = count_statuses(path, self._log_offset)
            count = LogCount(dict(lines), dict(self.tally.statuses()), self.tally.unfinished)
            if not count.difference or time.monotonic() > deadline:
                return count
            time.sleep(LOG_LOOK)

    def _write(self, record: Record, verdict: Verdict) -> None:
        if self.commission.record is not None:
            text = json.dumps(record.as_json(), indent=1)
            self.commission.record.write_text(text, encoding="utf-8")
        if self.commission.report is not None:
            self.commission.report.write_text(report.page(record, verdict), encoding="utf-8")
            self._say(f"report: {self.commission.report}")


def exit_status(verdict: Verdict | None) -> int:
    """The status that a process ends with; a run that never began proves nothing."""
    return Outcome.INVALID.value if verdict is None else verdict.outcome.value


def _rows(stats: RequestStats, tally: Tally) -> Iterable[Row]:
    """One row per name; Locust has one per name and method."""
    statuses: dict[str, Counter[int]] = {}
    for (name, status), count in tally.answers.items():
        statuses.setdefault(name, Counter())[status] += count
    entries: dict[str, list[StatsEntry]] = {}
    for entry in stats.entries.values():
        entries.setdefault(entry.name, []).append(entry)
    for name, same in sorted(entries.items()):
        yield Row(
            name=name,
            requests=sum(entry.num_requests for entry in same),
            failures=sum(entry.num_failures for entry in same),
            octets=sum(entry.total_content_length for entry in same),
            service=merged(_histogram(entry.response_times) for entry in same),
            due=tally.due.get(name, {}),
            statuses=dict(statuses.get(name, {})),
        )


def _histogram(times: Mapping[int, int]) -> Histogram:
    """Locust annotates whole milliseconds; loadtests/common.py gives it fractions."""
    return {float(time): count for time, count in times.items()}


def _environment() -> dict[str, str]:
    return {
        "kernel": f"{platform.system()} {platform.release()}",
        "processor": _processor(),
        "Python of the client": platform.python_version(),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.machine()
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{len(models)} x {models[0]}" if models else platform.machine()


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:g}"


def _progress(second: Second) -> str:
    return (
        f"{second.at:5.0f} s  {second.users:4} users  {second.rate:8,.0f}/s  "
        f"p50 {_ms(second.p50):>5} ms  p99 {_ms(second.p99):>5} ms  {second.failures} failed"
    )


def _table(record: Record) -> Iterable[str]:
    rows = [*record.rows, record.whole] if record.rows else []
    width = max((len(row.name) for row in rows), default=0)
    yield f"{'':{width}}  requests  failed       /s   p50 ms   p99 ms  p99.9 ms"
    for row in rows:
        times = (percentile(row.service, share) for share in (0.5, 0.99, 0.999))
        p50, p99, p999 = map(_ms, times)
        rate = row.requests / record.duration if record.duration else 0.0
        yield (
            f"{row.name:{width}}  {row.requests:8}  {row.failures:6} {rate:8,.1f} "
            f"{p50:>8} {p99:>8}  {p999:>8}"
        )


def _faults(record: Record) -> Iterable[str]:
    for (kind, name), count in sorted(record.faults.items()):
        yield f"{count} x {kind}: {name}"
    yield from (f"for example: {example}" for example in record.examples[:5])
    yield from (f"a bug of the scenario: {text}" for text in record.exceptions[:3])

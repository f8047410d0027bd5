"""PASS, FAIL or INVALID: what was measured against what thresholds.toml wants. Pure: a record in, results out.

A rule belongs to one of three classes, and they are asked in this order:

- sound: was every octet and every message right? One that is missed is FAIL, whatever state the client was in.
- valid: may the other numbers be believed? One that is missed makes the run INVALID.
- good: was the server good enough? One that is missed is FAIL.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, StrEnum
from pathlib import Path
from typing import Any, TypeAlias

from loadtests.faults import Kind
from loadtests.histogram import percentile
from loadtests.record import Record, Row, joined

MEBIBYTE = 1024 * 1024
MICRO = 1_000_000
DEFAULT = "default"  # the table whose rules hold for every scenario that says nothing else
SHAPE = "shape-"  # a table of this and the name of a shape has the last word


class Outcome(Enum):
    """The end of a run, with the exit status that says it."""

    PASS = 0
    FAIL = 1
    INVALID = 3


class Class(StrEnum):
    """What it means when a rule is missed."""

    SOUND = "sound"
    VALID = "valid"
    GOOD = "good"


class ThresholdError(Exception):
    """A table of thresholds that makes no sense; one sentence for the person who wrote it."""


@dataclass(frozen=True, slots=True)
class Measure:
    """One number that a run has, or has not."""

    class_: Class
    unit: str
    at_most: bool  # else at least
    of: Callable[[Record], float | None]
    of_row: Callable[[Record, Row], float | None] | None = (
        None  # where it makes sense for one name too
    )


Measured: TypeAlias = float | None


def _of_rows(measure: Callable[[Record, Row], Measured]) -> Callable[[Record], Measured]:
    return lambda record: measure(record, record.whole)


def _percentile(share: float) -> Callable[[Record, Row], Measured]:
    return lambda _, row: percentile(row.service, share)


def _due(share: float) -> Callable[[Record, Row], Measured]:
    return lambda _, row: percentile(row.due, share)


def _rate(record: Record, row: Row) -> Measured:
    return row.requests / record.duration if record.duration else None


def _throughput(record: Record, row: Row) -> Measured:
    return row.octets / MEBIBYTE / record.duration if record.duration else None


def _failing(_: Record, row: Row) -> Measured:
    return 100 * row.failures / row.requests if row.requests else None


def _revalidated(_: Record, row: Row) -> Measured:
    answers = sum(row.statuses.values())
    return 100 * row.statuses.get(304, 0) / answers if answers else None


def _revalidated_by_all(record: Record) -> Measured:
    rows = tuple(row for row in record.rows if "revalidat" in row.name)
    return _revalidated(record, joined("revalidated", rows))


def _lost(record: Record) -> Measured:
    """Connections that ended before the answer did, beyond those of the workers that the run killed."""
    return max(0, record.count(Kind.LOST) - record.excused)


def _vanished(record: Record) -> Measured:
    if record.workers is None:
        return None
    return sum(worker.fate == "vanished" for worker in record.workers)


def _users(record: Record) -> Measured:
    return 100 * record.users_peak / record.users_wanted if record.users_wanted else None


def _high(samples: tuple[float, ...]) -> Measured:
    """What nine of ten samples stay below: one hiccup spoils no run."""
    return sorted(samples)[int(0.9 * (len(samples) - 1))] if samples else None


def _server_cpu(record: Record) -> Measured:
    if not record.workers or not record.requests:
        return None
    return MICRO * sum(worker.cpu for worker in record.workers) / record.requests


def _growth(which: Callable[[Any], tuple[int, int]], unit: int) -> Callable[[Record], Measured]:
    def of(record: Record) -> Measured:
        steady = [worker for worker in record.workers or () if not worker.fate]
        changes = [which(worker)[1] - which(worker)[0] for worker in steady]
        return max(changes) / unit if changes else None

    return of


def _count(kind: Kind) -> Callable[[Record], Measured]:
    return lambda record: record.count(kind)


def _log_difference(record: Record) -> Measured:
    return None if record.log is None else record.log.difference


def _row_measure(unit: str, of: Callable[[Record, Row], Measured], *, at_most: bool) -> Measure:
    return Measure(Class.GOOD, unit, at_most, _of_rows(of), of)


# The names that thresholds.toml may use.
MEASURES: dict[str, Measure] = {
    "wrong_octets": Measure(Class.SOUND, "", True, _count(Kind.OCTETS)),
    "wrong_framing": Measure(Class.SOUND, "", True, _count(Kind.FRAMING)),
    "wrong_answers": Measure(Class.SOUND, "", True, _count(Kind.ANSWER)),
    "lost": Measure(Class.SOUND, "", True, _lost),
    "refused": Measure(Class.SOUND, "", True, _count(Kind.REFUSED)),
    "vanished_workers": Measure(Class.SOUND, "", True, _vanished),
    "harness_errors": Measure(Class.VALID, "", True, lambda record: len(record.exceptions)),
    "requests": Measure(Class.VALID, "", False, lambda record: record.requests),
    "lost_clients": Measure(Class.VALID, "", True, lambda record: record.client_processes_lost),
    "users_percent": Measure(Class.VALID, "%", False, _users),
    "client_cpu_percent": Measure(Class.VALID, "%", True, lambda record: _high(record.client_busy)),
    "client_lag_ms": Measure(Class.VALID, "ms", True, lambda record: _high(record.client_lag)),
    "log_difference": Measure(Class.VALID, "", True, _log_difference),
    "timed_out": Measure(Class.GOOD, "", True, _count(Kind.TIMEOUT)),
    "failed_percent": _row_measure("%", _failing, at_most=True),
    "p50_ms": _row_measure("ms", _percentile(0.5), at_most=True),
    "p99_ms": _row_measure("ms", _percentile(0.99), at_most=True),
    "p999_ms": _row_measure("ms", _percentile(0.999), at_most=True),
    "due_p99_ms": _row_measure("ms", _due(0.99), at_most=True),
    "per_second": _row_measure("/s", _rate, at_most=False),
    "mib_per_second": _row_measure("MiB/s", _throughput, at_most=False),
    "revalidated_percent": Measure(Class.GOOD, "%", False, _revalidated_by_all, _revalidated),
    "server_cpu_us": Measure(Class.GOOD, "µs", True, _server_cpu),
    "rss_growth_mib": Measure(
        Class.GOOD, "MiB", True, _growth(lambda worker: worker.rss, MEBIBYTE)
    ),
    "fds_growth": Measure(Class.GOOD, "", True, _growth(lambda worker: worker.fds, 1)),
}


@dataclass(frozen=True, slots=True)
class Rule:
    """A measure and its bound, for the whole run or for the requests of one name."""

    measure: str
    bound: float
    row: str = ""

    @property
    def class_(self) -> Class:
        """What it means when it is missed."""
        return MEASURES[self.measure].class_

    def measured(self, record: Record) -> Measured:
        """The number of this run; None where the run has none."""
        measure = MEASURES[self.measure]
        if not self.row:
            return measure.of(record)
        rows = tuple(row for row in record.rows if row.name == self.row)
        assert measure.of_row is not None, "such a rule is refused when it is read"
        return measure.of_row(record, rows[0]) if rows else None

    def apply(self, record: Record) -> Result:
        """The rule, with what this run measured."""
        measured = self.measured(record)
        if measured is None:
            return Result(self, None, met=True)
        at_most = MEASURES[self.measure].at_most
        return Result(
            self, measured, met=measured <= self.bound if at_most else measured >= self.bound
        )


@dataclass(frozen=True, slots=True)
class Result:
    """A rule and what came of it. What could not be measured counts as met, and says so."""

    rule: Rule
    measured: Measured
    met: bool

    @property
    def word(self) -> str:
        """One word for the line."""
        if self.measured is None:
            return "-"
        if self.met:
            return "ok"
        return "INVALID" if self.rule.class_ is Class.VALID else "FAIL"

    @property
    def wanted(self) -> str:
        """The bound, as people read it."""
        sign = "≤" if MEASURES[self.rule.measure].at_most else "≥"
        return f"{sign} {_number(self.rule.bound)}"

    @property
    def shown(self) -> str:
        """The measured number, as people read it."""
        unit = MEASURES[self.rule.measure].unit
        return (
            "not measured" if self.measured is None else f"{_number(self.measured)} {unit}".strip()
        )

    @property
    def name(self) -> str:
        """What was measured."""
        return f"{self.rule.measure} of {self.rule.row}" if self.rule.row else self.rule.measure


@dataclass(frozen=True, slots=True)
class Verdict:
    """The outcome, and why."""

    outcome: Outcome
    results: tuple[Result, ...]

    def lines(self) -> list[str]:
        """One line per rule, then the outcome."""
        width = max((len(result.name) for result in self.results), default=0)
        rows = [
            f"{result.word:7}  {result.name:{width}}  {result.shown:>14}  wanted {result.wanted}"
            for result in self.results
        ]
        return [*rows, f"{self.outcome.name}{self.because}"]

    @property
    def because(self) -> str:
        """The rules that decided."""
        word = self.outcome.name
        missed = [result.name for result in self.results if result.word == word]
        return f": {', '.join(missed)}" if missed else ""


def _number(value: float) -> str:
    return f"{value:.0f}" if value == int(value) or abs(value) >= 100 else f"{value:.3g}"


def judge(record: Record, rules: tuple[Rule, ...]) -> Verdict:
    """The verdict on a run."""
    results = tuple(rule.apply(record) for rule in rules)
    missed = {result.rule.class_ for result in results if not result.met}
    return Verdict(_outcome(missed), results)


def _outcome(missed: set[Class]) -> Outcome:
    if Class.SOUND in missed:
        return Outcome.FAIL
    if Class.VALID in missed:
        return Outcome.INVALID
    return Outcome.FAIL if Class.GOOD in missed else Outcome.PASS


def read_rules(path: Path, scenario: str, shape: str = "") -> tuple[Rule, ...]:
    """The rules for a run: the default table, overridden by the scenario's, and that by the shape's."""
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ThresholdError(f"{path}: {error}") from error
    try:
        return rules(tables, scenario, shape)
    except ThresholdError as error:
        raise ThresholdError(f"{path}: {error}") from error


def rules(tables: dict[str, Any], scenario: str, shape: str = "") -> tuple[Rule, ...]:
    """The rules for a run from tables that have been read. In the order of MEASURES, then row by row."""
    chosen: dict[tuple[str, str], Rule | None] = {}
    for table in (DEFAULT, scenario, f"{SHAPE}{shape}"):
        content = tables.get(table, {})
        if not isinstance(content, dict):
            raise ThresholdError(f"{table!r} is not a table")
        chosen |= _table(table, content)
    order = {name: place for place, name in enumerate(MEASURES)}
    kept = (rule for rule in chosen.values() if rule is not None)
    return tuple(sorted(kept, key=lambda rule: (rule.row, order[rule.measure])))


def _table(
    table: str, content: dict[str, Any], row: str = ""
) -> dict[tuple[str, str], Rule | None]:
    """(row, measure) → its rule, or None where the rule of an earlier table shall not hold."""
    found: dict[tuple[str, str], Rule | None] = {}
    for key, value in content.items():
        if isinstance(value, dict) and not row:
            found |= _table(f"{table}.{key}", value, key)
        else:
            found[row, key] = _rule(table, key, value, row)
    return found


def _rule(table: str, key: str, value: object, row: str) -> Rule | None:
    if key not in MEASURES:
        raise ThresholdError(
            f"[{table}] {key}: there is no such measure; there are {', '.join(MEASURES)}"
        )
    if row and MEASURES[key].of_row is None:
        raise ThresholdError(f"[{table}] {key} is a measure of a whole run")
    if value is False and MEASURES[key].class_ is not Class.SOUND:
        return None
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise ThresholdError(f"[{table}] {key} wants a number, or false where no rule shall hold")
    return Rule(key, value, row)

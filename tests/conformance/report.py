"""What a run found, for the terminal and for docs/conformance.md."""

from __future__ import annotations

import datetime as dt
import platform
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tests.conformance.case import Case, Level, Outcome, Result
from tests.harness.reader import Defect


@dataclass(frozen=True, slots=True)
class Column:
    """One server of the comparison."""

    name: str
    version: str
    results: Sequence[Result]


@dataclass(frozen=True, slots=True)
class Count:
    """How many requirements are met, of those that apply."""

    met: int
    applicable: int

    def __str__(self) -> str:
        return f"{self.met}/{self.applicable}" if self.applicable else "–"


def count(results: Iterable[Result], level: Level, section: str | None = None) -> Count:
    """How many requirements of this level are met; in one section, or in all."""
    counted = [
        result.outcome
        for result in results
        if result.case.level is level and section in (None, result.case.section)
    ]
    met = counted.count(Outcome.MET)
    return Count(met, met + counted.count(Outcome.UNMET))


def conforms(results: Sequence[Result]) -> bool:
    """Is every MUST met that applies, and was no framing defect seen?"""
    must = count(results, Level.MUST)
    return must.met == must.applicable and not any(result.framing for result in results)


def summary(results: Sequence[Result]) -> str:
    """One line."""
    must, should = (count(results, level) for level in Level)
    left_out = sum(result.outcome is Outcome.NOT_APPLICABLE for result in results)
    defects = sum(result.framing for result in results)
    return (
        f"MUST {must}, SHOULD {should}"
        f"{f', {left_out} do not apply' if left_out else ''}"
        f"{f', framing defects in {defects}' if defects else ''}"
    )


def print_list(cases: Iterable[Case]) -> None:
    for case in cases:
        print(f"{case.level.value:6} {case}")


def print_results(name: str, results: Sequence[Result]) -> None:
    """What was not met, what was left out, and the sum."""
    for result in results:
        if result.outcome is Outcome.UNMET:
            mark = ", framing" if result.framing else ""
            print(f"  {result.case.level.value}{mark}: {result.case}\n      {result.why}")
    left_out = sorted(
        {result.why for result in results if result.outcome is Outcome.NOT_APPLICABLE}
    )
    for why in left_out:
        number = sum(result.why == why for result in results)
        print(f"  {number} left out: {why}")
    for defect in Defect:
        number = sum(defect in result.noted for result in results)
        if number:
            print(f"  met on the way in {number} cases: {defect.value}")
    print(f"  {name}: {summary(results)}")


# docs/conformance.md


def document(columns: Sequence[Column]) -> str:
    """The whole document."""
    cases = [result.case for result in columns[0].results]
    parts = [
        INTRODUCTION.format(count=len(cases), date=dt.datetime.now(dt.UTC).date()),
        circumstances(columns),
        "## What MUST be\n",
        table(columns, cases, Level.MUST),
        "## What SHOULD be\n",
        table(columns, cases, Level.SHOULD),
        "## What is not met\n",
        *map(unmet, columns),
    ]
    return "\n".join(parts)


def circumstances(columns: Sequence[Column]) -> str:
    servers = ", ".join(f"{each.name} {each.version}" for each in columns)
    machine = f"{platform.system()} {platform.release()}, Python {platform.python_version()}"
    return f"Servers: {servers}; on {machine}.\n"


LONGEST = 120  # characters of what came instead


INTRODUCTION = """\
<!-- Written by ./scripts/conformance --compare; changes by hand are lost. -->
# Conformance

{count} cases put a static server to what RFC 9110 and RFC 9112 ask of an origin server for static
content. Each quotes its requirement; each was shown to fail with a server that violates it. Where
the RFC leaves a choice every legal answer passes, and a requirement about something that a server
need not do (ranges, entity tags, persistent connections) is counted only where the server does it.

A cell says how many requirements are met, of those that apply. The rules are the same for all; every
server ran alone, with the smallest configuration that serves a directory (tests/harness/peers.py).

    ./scripts/conformance                                        mpserve, with one and three workers
    ./scripts/conformance --target http://HOST:PORT --root DIR   a server of yours, which serves DIR,
                                                                 made by ./scripts/make-corpus DIR
    ./scripts/conformance --compare                              this document

Made on {date}.
"""


def table(columns: Sequence[Column], cases: Sequence[Case], level: Level) -> str:
    """Section × server, for one level."""
    sections = {case.section: case.title for case in cases if case.level is level}
    lines = [
        row(["Section", *(each.name for each in columns)]),
        row(["---", *("---:" for _ in columns)]),
    ]
    for section, title in sections.items():
        cells = (str(count(each.results, level, section)) for each in columns)
        lines.append(row([f"{section} {title}", *cells]))
    totals = (f"**{count(each.results, level)}**" for each in columns)
    lines.append(row(["**all**", *totals]))
    if level is Level.MUST:
        defects = (str(sum(result.framing for result in each.results)) for each in columns)
        lines.append(row(["cases with a framing defect", *defects]))
    return "\n".join(lines) + "\n"


def row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def unmet(column: Column) -> str:
    """The requirements that one server does not meet, and what it did instead."""
    groups: dict[tuple[str, str, str], list[Result]] = {}
    for result in column.results:
        if result.outcome is Outcome.UNMET:
            case = result.case
            groups.setdefault((case.level.value, case.number, case.name), []).append(result)
    lines = [f"### {column.name} {column.version}\n", *map(group, groups.values())]
    return "\n".join(lines if groups else [*lines, "Nothing."]) + "\n"


def group(results: Sequence[Result]) -> str:
    """One requirement, the situations in which it is not met, and what came in the first of them."""
    case = results[0].case
    rows = "; ".join(result.case.row for result in results)
    where = f" ({rows})" if rows else ""
    number = f"{case.level.value} {case.number}" if case.section != "practice" else "practice"
    return f"- {number}: {escaped(case.name + where)} – {escaped(results[0].why[:LONGEST])}"


def escaped(text: str) -> str:
    """Text that Markdown leaves as it is."""
    for mark in "\\`*_<>|[]":
        text = text.replace(mark, "\\" + mark)
    return text

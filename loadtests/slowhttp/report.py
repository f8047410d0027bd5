"""The results as Markdown, for the terminal and for docs/reliability.md."""

from __future__ import annotations

from typing import Final

from loadtests.benchmark.report import table, tidy
from loadtests.reliability.report import circumstances, milliseconds
from loadtests.slowhttp.results import Results, Row

COLUMNS: Final = (
    "attack",
    "server",
    "connected",
    "requests",
    "failed",
    "p99 alone",
    "p99 beside it",
    "times",
    "worst alone",
    "worst beside it",
    "server's processors",
)
STUCK_COLUMNS: Final = (
    "stuck readers",
    "server",
    "kB in the kernel",
    "kB in processes",
    "kB together",
    "ended early",
)


def cells(row: Row) -> list[str]:
    """One attack on one server, as a line of the table."""
    alone, beside = row.alone, row.beside
    times = f"{beside.p99 / alone.p99:.1f}" if alone.p99 else ""
    failed = str(beside.failed) if row.available else f"{beside.failed}, and the attacker's probe"
    return [
        row.attack,
        row.server,
        f"{row.connected:,}",
        f"{beside.requests + beside.failed:,}",
        failed,
        milliseconds(alone.p99),
        milliseconds(beside.p99),
        times,
        milliseconds(alone.worst),
        milliseconds(beside.worst),
        f"{row.busy:.2f}",
    ]


def stuck_rows(results: Results) -> list[list[str]]:
    """The readers that take nothing, a line for each server."""
    return [
        [
            f"{stuck.readers:,}",
            server,
            *(f"{octets / 1000:.0f}" for octets in (stuck.kernel, stuck.process, stuck.together)),
            str(stuck.cut),
        ]
        for server, stuck in results.stuck.items()
    ]


def in_order(results: Results) -> list[Row]:
    """The rows, those of one attack together."""
    attacks = list(dict.fromkeys(row.attack for row in results.rows))
    return sorted(results.rows, key=lambda row: attacks.index(row.attack))


def markdown(results: Results) -> str:
    """Everything that was measured; times in milliseconds."""
    lines = [*circumstances(results), ""]
    if results.rows:
        lines += [*table(COLUMNS, [cells(row) for row in in_order(results)]), ""]
    if results.stuck:
        lines += [*table(STUCK_COLUMNS, stuck_rows(results)), ""]
    lines += [f"- {note}" for note in results.notes]
    return tidy("\n".join(lines))

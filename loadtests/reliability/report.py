"""The report: the results as Markdown, for the terminal and for docs/reliability.md."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from loadtests.benchmark.report import table, tidy
from loadtests.reliability.actions import ACTIONS
from loadtests.reliability.counts import Loss
from loadtests.reliability.results import Results, Row

COLUMNS = (
    "action",
    "server",
    "times",
    "fresh",
    "refused",
    "before",
    "after",
    "timed out",
    "wrong",
    "reused",
    "lost of them",
    "held by the killed",
    "lost beyond",
)
LATENCY = ("action", "server", "samples", "p50", "p99", "p99.9", "worst", "client late", "command")


class Account(Protocol):
    """What any run tells of how it came about."""

    command: str
    taken: str
    machine: dict[str, str]
    versions: dict[str, str]
    settings: dict[str, str]


def title_of(action: str) -> str:
    return ACTIONS[action].title if action in ACTIONS else action


def in_order(results: Results) -> list[Row]:
    """The rows, those of one action together."""
    found = [
        results.find(server, action) for action in results.actions() for server in results.servers()
    ]
    return [row for row in found if row is not None]


def loss_cells(row: Row) -> list[str]:
    """What one action did to one server, as a line of the first table."""
    fresh = (Loss.REFUSED, Loss.BEFORE, Loss.AFTER, Loss.TIMED_OUT, Loss.WRONG)
    numbers = [
        row.deeds,
        row.fresh,
        *(row.lost(kind) for kind in fresh),
        row.reused,
        row.lost(Loss.REUSED),
        row.held,
    ]
    beyond = "not done" if row.problems else f"{row.unexcused:,}"
    return [title_of(row.action), row.server, *(f"{number:,}" for number in numbers), beyond]


def latency_cells(row: Row) -> list[str]:
    """How long fresh connections took meanwhile, as a line of the second table."""
    command = f"`--only {row.action} --server {row.server}`"
    if row.latency is None:
        return [title_of(row.action), row.server, "0", "", "", "", "", "", command]
    found = row.latency
    times = (found.p50, found.p99, found.p999, found.worst, row.late)
    samples = f"{found.samples:,}"
    return [title_of(row.action), row.server, samples, *map(milliseconds, times), command]


def milliseconds(value: float) -> str:
    """As many digits as mean something: 0.31, 4.2, 790."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 1 else f"{value:.2f}"


def verdict(results: Results, server: str) -> str:
    """What the rows of one server come to, in one sentence."""
    rows = [row for row in results.rows if row.server == server]
    fresh, reused = sum(row.fresh for row in rows), sum(row.reused for row in rows)
    beyond = sum(row.unexcused for row in rows)
    kept = f"{server} lost {beyond:,} of {fresh:,} fresh connections and {reused:,} requests on reused ones"
    failed = [f"{row.action} ({'; '.join(row.problems)})" for row in rows if row.problems]
    not_done = f" It did not do: {', '.join(failed)}." if failed else ""
    return f"{kept}, beyond what its killed workers had accepted.{not_done}"


def circumstances(results: Account) -> Iterator[str]:
    """The machine, the servers and the settings, as a list."""
    versions = ", ".join(f"{name} {version}".strip() for name, version in results.versions.items())
    yield f"- command: `{results.command}`"
    yield f"- taken: {results.taken}"
    yield from (f"- {name}: {value}" for name, value in results.machine.items())
    yield f"- servers: {versions}"
    yield from (f"- {name}: {value}" for name, value in results.settings.items())


def examples(results: Results) -> Iterator[str]:
    """The first losses in detail, of those that no killed worker explains."""
    for row in results.rows:
        if row.unexcused:
            yield from (f"- {row.server}, {row.action}: {example}" for example in row.examples[:2])


def markdown(results: Results) -> str:
    """Everything that was measured."""
    rows = in_order(results)
    lines = [
        *circumstances(results),
        "",
        *(f"{verdict(results, server)}\n" for server in results.servers()),
        "### Requests sent and lost",
        "",
        *table(COLUMNS, [loss_cells(row) for row in rows]),
        "",
        "### Fresh connections meanwhile, in milliseconds",
        "",
        *table(LATENCY, [latency_cells(row) for row in rows]),
        "",
    ]
    if shown := list(examples(results)):
        lines += ["### For example", "", *shown, ""]
    if results.notes:
        lines += ["### Notes of the run", "", *(f"- {note}" for note in results.notes), ""]
    return tidy("\n".join(lines))

"""The report: the results as Markdown, for the terminal and for docs/performance.md."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from loadtests.benchmark.distance import FAR
from loadtests.benchmark.results import (
    FLOORS,
    MUCH_SOFTIRQ,
    MUCH_WAITING,
    OURS,
    Results,
    Table,
    Timed,
)
from loadtests.benchmark.workloads import WORKLOADS

GOAL = 0.95  # of the best of the others, in every workload

# What is said of a run that compares with another commit.
TOLD_OF_CHANGE = ("taken", "processor", "before", "rounds", "each")

Cell = Callable[[Timed], str]
Ratios = dict[str, Callable[[str, bool], float | None]]


def title_of(workload: str) -> str:
    return WORKLOADS[workload].title if workload in WORKLOADS else workload


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A Markdown table whose columns stand under each other; all but the first to the right."""
    widths = [max(map(len, column)) for column in zip(columns, *rows, strict=True)]

    def line(cells: Sequence[str]) -> str:
        first, *others = zip(cells, widths, strict=True)
        padded = [first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others)]
        return f"| {' | '.join(padded)} |"

    first, *others = widths
    rule = [f"|{'-' * (first + 2)}", *(f"{'-' * (width + 1)}:" for width in others)]
    return [line(columns), f"{'|'.join(rule)}|", *map(line, rows)]


def shown(results: Results) -> list[str]:
    """The servers in the order of the columns: the floors, the others, and ours beside its ratio."""
    others = [name for name in results.versions if name not in (*FLOORS, OURS)]
    return [
        name
        for name in (*FLOORS, *others, OURS)
        if any(row.server == name for row in results.timed)
    ]


def matrix(results: Results, logged: bool, cell: Cell, ratios: Ratios | None = None) -> list[str]:
    """A line per workload, a column per server; what stands in them is the business of `cell`."""
    ratios = ratios or {}
    servers = shown(results)
    servers = [
        s for s in servers if any(r.server == s and r.logged == logged for r in results.timed)
    ]
    rows = []
    for workload in results.workloads(logged):
        found = [results.find(workload, logged, server) for server in servers]
        cells = [cell(row) if row else "" for row in found]
        extra = [ratio_text(of(workload, logged)) for of in ratios.values()]
        rows.append([title_of(workload), *cells, *extra])
    return table(["workload", *servers, *ratios], rows)


def ratios_of(results: Results) -> Ratios:
    """The ratios that there are: to the best of the others, and to what we were before."""
    known: Ratios = {"ratio": results.ratio, "to before": results.change}
    return {
        name: of
        for name, of in known.items()
        if any(of(row.workload, row.logged) is not None for row in results.timed)
    }


def ratio_text(ratio: float | None) -> str:
    return "" if ratio is None else f"{ratio:.2f}"


def processor_cell(row: Timed) -> str:
    return figure(row.middle("processor_us"))


def change(results: Results) -> str:
    """What a request costs beside what it cost at another commit, as a paragraph and a table."""
    said = {"taken": results.taken, **results.machine, **results.settings}
    told = "; ".join(f"{name}: {value}" for name, value in said.items() if name in TOLD_OF_CHANGE)
    rows = matrix(results, False, processor_cell, {"to before": results.change})
    return "\n".join([f"µs per request, access log off. {told}.", "", *rows, ""])


def rate_cell(row: Timed) -> str:
    return f"{row.middle('rate'):,.0f}"


def latency_cell(row: Timed) -> str:
    return f"{row.middle('p50_us'):,.0f} / {row.middle('p99_us'):,.0f}"


def spread_cell(row: Timed) -> str:
    return f"{row.spread:.0%}"


def figure(value: float) -> str:
    """Three digits that mean something."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def verdict(results: Results) -> str:
    """What the ratios come to, in one sentence; "" where there are none."""
    ratios = {
        (workload, logged): ratio
        for logged in (False, True)
        for workload in results.workloads(logged)
        if (ratio := results.ratio(workload, logged)) is not None
    }
    if not ratios:
        return ""
    good = sum(ratio <= GOAL for ratio in ratios.values())
    (workload, logged), worst = max(ratios.items(), key=lambda item: item[1])
    where = title_of(workload) + (", logged" if logged else "")
    return (
        f"{OURS} spends at most {GOAL:.2f} of the processor time of the best of the others in"
        f" {good} of {len(ratios)} workloads; its highest ratio is {worst:.2f} ({where})."
    )


def table_lines(measured: Table) -> list[str]:
    rows = [[text(value) for value in row] for row in measured.rows]
    return [
        f"### {measured.title}",
        "",
        measured.explanation,
        "",
        *table(measured.columns, rows),
        "",
    ]


def text(value: str | float) -> str:
    if isinstance(value, str):
        return value
    return f"{value:,.0f}" if value == int(value) else f"{value:,}"


def timed_lines(results: Results) -> Iterator[str]:
    for logged, what in ((False, "access log off"), (True, "access log to a file, for everyone")):
        if not results.workloads(logged):
            continue
        yield f"### Processor time per request, µs ({what})"
        yield ""
        yield from matrix(results, logged, processor_cell, ratios_of(results))
        yield ""
        yield f"### Requests per second ({what})"
        yield ""
        yield from matrix(results, logged, rate_cell)
        yield ""
        yield f"### Latency p50 / p99, µs ({what})"
        yield ""
        yield from matrix(results, logged, latency_cell)
        yield ""
        yield f"### Spread of the rounds' processor time ({what})"
        yield ""
        yield from matrix(results, logged, spread_cell)
        yield ""


def circumstances(results: Results) -> Iterator[str]:
    """The machine, the servers and the settings, as a list."""
    versions = ", ".join(f"{name} {version}".strip() for name, version in results.versions.items())
    yield f"- taken: {results.taken}"
    yield from (f"- {name}: {value}" for name, value in results.machine.items())
    yield f"- servers: {versions}"
    yield from (f"- {name}: {value}" for name, value in results.settings.items())


def doubts(results: Results) -> Iterator[str]:
    """What makes measurements say more about the machine than about the servers."""
    samples = [sample for row in results.timed for sample in row.samples]
    kinds = (
        (MUCH_WAITING, "waited_share", "other work held the server's processor for"),
        (MUCH_SOFTIRQ, "softirq_share", "the kernel's own network thread took, beside the server,"),
    )
    for much, name, what in kinds:
        shares = [share for sample in samples if (share := getattr(sample, name)) > much]
        if shares:
            yield (
                f"in {len(shares)} of {len(samples)} measurements {what} more than {much:.0%},"
                f" up to {max(shares):.0%}"
            )
    distances = [sample.distance_ns for sample in samples if sample.distance_ns]
    least = min(distances, default=0.0)
    if far := [each for each in distances if each > FAR * least]:
        yield (
            f"in {len(far)} of {len(samples)} measurements the processors of server and client lay further apart"
            f" than in the others: {max(far):,.0f} ns there and back instead of {least:,.0f}"
        )


def markdown(results: Results) -> str:
    """Everything that was measured."""
    lines = [*circumstances(results), "", verdict(results), "", *timed_lines(results)]
    for measured in results.tables:
        lines += table_lines(measured)
    if notes := [*results.notes, *doubts(results)]:
        lines += ["### Notes of the run", "", *(f"- {note}" for note in notes), ""]
    return tidy("\n".join(lines))


def tidy(markdown_text: str) -> str:
    """Without doubled blank lines, and ending in one newline."""
    while "\n\n\n" in markdown_text:
        markdown_text = markdown_text.replace("\n\n\n", "\n\n")
    return markdown_text.strip("\n") + "\n"

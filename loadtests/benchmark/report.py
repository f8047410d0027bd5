"""The report: the results as Markdown, for the terminal and for docs/performance.md."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from loadtests.benchmark.distance import FAR
from loadtests.benchmark.results import (
    CLIENTS,
    FLOORS,
    MUCH_SOFTIRQ,
    MUCH_SPARE,
    MUCH_WAITING,
    OURS,
    SATURATE,
    WRK,
    Results,
    Table,
    Timed,
)
from loadtests.benchmark.workloads import WORKLOADS

GOAL = 0.95  # of the best of the others, in every workload

# What is said of a run that compares with another commit.
TOLD_OF_CHANGE = ("taken", "processor", "before", "rounds", "each")

Cell = Callable[[Timed], str]
Ratios = dict[str, Callable[[str, bool, str], float | None]]

# What the tables of a client say of it.
SAID_OF = {WRK: "", SATURATE: "server at its limit, "}


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


def matrix(
    results: Results,
    logged: bool,
    cell: Cell,
    ratios: Ratios | None = None,
    client: str = WRK,
) -> list[str]:
    """A line per workload, a column per server; what stands in them is the business of `cell`."""
    ratios = ratios or {}
    measured = {row.server for row in results.timed if (row.logged, row.client) == (logged, client)}
    servers = [server for server in shown(results) if server in measured]
    rows = []
    for workload in results.workloads(logged, client):
        found = [results.find(workload, logged, server, client) for server in servers]
        cells = [cell(row) if row else "" for row in found]
        extra = [ratio_text(of(workload, logged, client)) for of in ratios.values()]
        rows.append([title_of(workload), *cells, *extra])
    return table(["workload", *servers, *ratios], rows)


def ratios_of(results: Results, client: str = WRK) -> Ratios:
    """The ratios that there are: to the best of the others, and to what we were before."""
    known: Ratios = {"ratio": results.ratio, "to before": results.change}
    rows = [row for row in results.timed if row.client == client]
    return {
        name: of
        for name, of in known.items()
        if any(of(row.workload, row.logged, client) is not None for row in rows)
    }


def ratio_text(ratio: float | None) -> str:
    return "" if ratio is None else f"{ratio:.2f}"


def processor_cell(row: Timed) -> str:
    return figure(row.middle("processor_us"))


def change(results: Results) -> str:
    """What a request costs beside what it cost at another commit, as a paragraph and a table for each client."""
    said = {"taken": results.taken, **results.machine, **results.settings}
    told = "; ".join(f"{name}: {value}" for name, value in said.items() if name in TOLD_OF_CHANGE)
    lines = []
    for client in clients_of(results):
        ratios: Ratios = {"to before": results.change}
        rows = matrix(results, False, processor_cell, ratios, client)
        lines += [f"µs per request, {SAID_OF[client]}access log off. {told}.", "", *rows, ""]
    return "\n".join(lines)


def clients_of(results: Results) -> list[str]:
    """The clients that something was timed by."""
    return [name for name in CLIENTS if any(row.client == name for row in results.timed)]


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
    """What the ratios come to, in a sentence for each client; "" where there are none."""
    of_wrk, of_saturate = (ratios_by(results, client) for client in CLIENTS)
    goal = f"spends at most {GOAL:.2f} of the processor time of the best of the others in"
    quicker = "With a client that is quicker than the servers"
    sentences = []
    if of_wrk:
        sentences.append(f"{OURS} {goal} {sum_of(of_wrk, ' workloads')}")
    if of_saturate and of_wrk:
        sentences.append(f"{quicker} it is {sum_of(of_saturate)}")
    elif of_saturate:
        sentences.append(f"{quicker} {OURS} {goal} {sum_of(of_saturate, ' workloads')}")
    return " ".join(sentences)


def ratios_by(results: Results, client: str) -> dict[str, float]:
    """Title of the workload → ratio, as `client` found it."""
    return {
        title_of(workload) + (", logged" if logged else ""): ratio
        for logged in (False, True)
        for workload in results.workloads(logged, client)
        if (ratio := results.ratio(workload, logged, client)) is not None
    }


def sum_of(ratios: dict[str, float], what: str = "") -> str:
    """How many reach the goal, and which is the highest."""
    good = sum(ratio <= GOAL for ratio in ratios.values())
    where, worst = max(ratios.items(), key=lambda item: item[1])
    return f"{good} of {len(ratios)}{what}; its highest ratio is {worst:.2f} ({where})."


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
    for client in clients_of(results):
        for logged, log in (
            (False, "access log off"),
            (True, "access log to a file, for everyone"),
        ):
            if results.workloads(logged, client):
                yield from tables_by(results, logged, client, SAID_OF[client] + log)


def tables_by(results: Results, logged: bool, client: str, what: str) -> Iterator[str]:
    """Everything that `client` timed."""
    tables: tuple[tuple[str, Cell, Ratios], ...] = (
        ("Processor time per request, µs", processor_cell, ratios_of(results, client)),
        ("Requests per second", rate_cell, {}),
        ("Latency p50 / p99, µs", latency_cell, {}),
        ("Spread of the rounds' processor time", spread_cell, {}),
    )
    for title, cell, ratios in tables:
        yield f"### {title} ({what})"
        yield ""
        yield from matrix(results, logged, cell, ratios, client)
        yield ""


def circumstances(results: Results) -> Iterator[str]:
    """The machine, the servers and the settings, as a list."""
    versions = ", ".join(f"{name} {version}".strip() for name, version in results.versions.items())
    # The client that the machine is described with is wrk; the others are of this program's own version.
    others = [name for name in clients_of(results) if name != WRK]
    yield f"- taken: {results.taken}"
    for name, value in results.machine.items():
        yield f"- {name}: {', '.join([value, *others]) if name == 'client' else value}"
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
    yield from limits_missed(results)


def limits_missed(results: Results) -> Iterator[str]:
    """Where the client that is to be quicker than the servers was not."""
    rows = [row for row in results.timed if row.client == SATURATE]
    spare = [(row, sample.spare_share) for row in rows for sample in row.samples]
    if much := [(row, share) for row, share in spare if share > MUCH_SPARE]:
        where = dict.fromkeys(title_of(row.workload) for row, _ in much)
        yield (
            f"in {len(much)} of {len(spare)} measurements by {SATURATE} the server was not at its limit, but had more"
            f" than {MUCH_SPARE:.0%} of the time to spare, up to {max(share for _, share in much):.0%}:"
            f" {', '.join(where)}"
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

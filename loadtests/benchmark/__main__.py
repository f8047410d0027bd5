"""scripts/benchmark: measures mpserve beside other servers, and writes down what came out."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from loadtests.benchmark import (
    calls,
    client,
    cold,
    documents,
    fairness,
    floor,
    kin,
    machine,
    memory,
    network,
    report,
    saturate,
    scale,
    slots,
    timed,
    tree,
)
from loadtests.benchmark.distance import Distance
from loadtests.benchmark.results import (
    BEFORE,
    CLIENTS,
    FLOOR,
    OURS,
    PYTHON_FLOOR,
    SATURATE,
    TRUSTING,
    WRK,
    Results,
    Table,
    load,
    save,
)
from loadtests.benchmark.workloads import WORKLOADS
from loadtests.console import end, end_in_order, names, refuse_unknown, say, write_documents
from loadtests.kept import ShapeError
from tests.harness import peers

OTHERS = ("nginx", "nginx-cache", "lighttpd", "h2o")
TABLES: dict[str, Callable[[timed.Bench], Table]] = {
    "calls": calls.run,
    "memory": memory.run,
    "fairness": fairness.run,
    "scale": scale.run,
    "slots": slots.run,
    "cold": cold.run,
}
COMMAND = "benchmark"


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="scripts/benchmark",
        description="Processor time per request of mpserve and of other servers, side by side.",
        epilog=f"Workloads: {', '.join(WORKLOADS)}. Further measurements: {', '.join(TABLES)}.",
    )
    add = made.add_argument
    add("--compare", type=names, default=list(OTHERS), metavar="SERVER,…", help="the others")
    add("--python", metavar="PROGRAM", help="that runs mpserve (the distribution's, if it can)")
    add("--before", metavar="COMMIT", help="measure mpserve as it was then, too")
    add("--only", type=names, metavar="WORKLOAD,…", help="instead of all timed workloads")
    add(
        "--client", type=names, default=list(CLIENTS), metavar="CLIENT,…", help=" or ".join(CLIENTS)
    )
    add("--logged", action="store_true", help="with an access log to a file, for everyone")
    add("--full", action="store_true", help="log off and log on, and the further measurements")
    add("--rounds", type=int, default=3, metavar="N", help="interleaved rounds (3)")
    add("--seconds", type=int, default=4, metavar="S", help="of each measurement (4)")
    add("--warm-up", type=int, default=1, metavar="S", help="seconds before it, not counted (1)")
    add("--retakes", type=int, default=2, metavar="N", help="where the machine disturbed (2)")
    add(
        "--patience", type=float, default=600, metavar="S", help="to wait for near processors (600)"
    )
    add("--connections", type=int, default=64, metavar="N", help="of the client (64)")
    add("--json", type=Path, metavar="FILE", help="keep the results here")
    add("--again", action="store_true", help="keep what FILE has of everything else")
    add("--docs", action="store_true", help="write docs/performance.* from docs/performance.json")
    add("--check", action="store_true", help="with --docs: write nothing, fail if they differ")
    return made


def present(wanted: list[str], results: Results) -> tuple[str, ...]:
    """The servers that are installed; the others are named in the notes."""
    for name in wanted:
        if not peers.available(name):
            results.note(f"{name} is not installed and is left out")
    return tuple(name for name in wanted if peers.available(name))


def floors(python: str, home: Path, results: Results) -> dict[str, floor.Program]:
    """Those that can be made; a note where that in C cannot."""
    in_c = floor.compile_into(home)
    if in_c is None:
        results.note("there is no C compiler: the floor in C is left out, and that of the fairness")
    made = {FLOOR: in_c} if in_c else {}
    return {**made, PYTHON_FLOOR: floor.in_python(python, home)}


def clients(wanted: list[str], home: Path, results: Results) -> tuple[client.Client, ...]:
    """Those that the timed workloads are measured with; wrk where there is no other, and a note."""
    quick = saturate.compile_into(home) if SATURATE in wanted else None
    if SATURATE in wanted and quick is None:
        results.note(f"there is no C compiler: {SATURATE} is left out, {WRK} measures alone")
    found = [client.WRK] if WRK in wanted or quick is None else []
    return (*found, quick) if quick else tuple(found)


def settings(
    options: argparse.Namespace, processors: machine.Processors, where: str
) -> dict[str, str]:
    """How it was measured, in words."""
    before = {"before": options.before} if options.before else {}
    return {
        **before,
        "rounds": f"{options.rounds}, interleaved, a fresh server for each; medians are shown",
        "each": f"{options.seconds} s after {options.warm_up} s of warm-up",
        "connections": str(options.connections),
        "workers": "1",
        "placement": str(processors),
        "network": where,
    }


@contextmanager
def places() -> Iterator[tuple[Path, Path]]:
    """Where the tree is to be made, and a directory for everything else, also of the servers (see `peers`).

    Sites lie where names seldom come and go. So nothing comes and goes beside the tree, or above it.
    """
    before = tempfile.tempdir
    with tempfile.TemporaryDirectory(prefix="mpserve-benchmark-") as folder:
        home = Path(folder, "home")
        home.mkdir()
        for each in (Path(folder), home):
            each.chmod(0o755)  # for the workers of servers that give up root
        tempfile.tempdir = str(home)
        try:
            yield Path(folder, "root"), home
        finally:
            tempfile.tempdir = before


def measure(options: argparse.Namespace) -> Results:
    """The whole run. Raises KinError."""
    processors = machine.processors()
    python = kin.interpreter(options.python)
    results = Results(
        machine.now(),
        machine.describe(f"wrk {client.version()}", kin.describe(python)),
        settings(options, processors, network.leave_for_own()),
        {},
    )
    results.notes += machine.disturbance()
    with places() as (root, home):
        kin.introduce(python, options.before, home)
        before = [BEFORE] if options.before else []
        servers = present(list(dict.fromkeys([OURS, *before, *options.compare])), results)
        results.versions.update({name: peers.version_of(name) for name in servers})
        say("making the tree")
        tree.make(root)
        programs = floors(python, home, results)
        results.versions.update(dict.fromkeys(programs, ""))
        bench = timed.Bench(
            root=root,
            home=home,
            servers=servers,
            processors=processors,
            distance=Distance(processors, options.patience),
            connections=options.connections,
            rounds=options.rounds,
            seconds=options.seconds,
            warm_up=options.warm_up,
            retakes=options.retakes,
            results=results,
            say=say,
            floors=programs,
            clients=clients(options.client, home, results),
        )
        run_all(bench, options)
    return results


def run_all(bench: timed.Bench, options: argparse.Namespace) -> None:
    """Everything that was asked for; what is there so far is kept after each step."""
    for logged in (False, True) if options.full else (options.logged,):
        for name in options.only or WORKLOADS:
            if name in WORKLOADS:
                say(f"{WORKLOADS[name].title}{', logged' if logged else ''}")
                timed.run(bench, WORKLOADS[name], logged=logged)
                keep(bench.results, options.json)
    for name in options.only or (TABLES if options.full else ()):
        if name in TABLES:
            say(name)
            bench.results.tables.append(TABLES[name](bench))
            keep(bench.results, options.json)


def keep(results: Results, path: Path | None) -> None:
    if path:
        save(results, path)


def main() -> int:
    options = parser().parse_args()
    end_in_order()
    try:
        if options.docs:
            source, outdated = documents.JSON, documents.outdated
            return write_documents(
                COMMAND, source, outdated, check=options.check, kept_by="--full --json"
            )
        refuse_unknown(COMMAND, "servers", options.compare, (*peers.PEERS, TRUSTING))
        refuse_unknown(COMMAND, "workloads", options.only or (), (*WORKLOADS, *TABLES))
        refuse_unknown(COMMAND, "clients", options.client, CLIENTS)
        client.find()
        earlier = load(options.json) if options.again and options.json else None
        results = measure(options)
        if earlier is not None:
            results.take_over(earlier)
            results.timed.sort(key=lambda row: (row.logged, list(WORKLOADS).index(row.workload)))
            results.tables.sort(key=lambda table: list(TABLES).index(table.name))
            keep(results, options.json)
    except (client.ClientError, documents.FrameError, kin.KinError, ShapeError) as error:
        end(COMMAND, str(error))
    except KeyboardInterrupt:
        return 130
    print(report.markdown(results), end="")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

"""scripts/reliability: does everything to a server that a server must bear, and counts what clients lose by it."""

from __future__ import annotations

import argparse
import shlex
import sys
import tempfile
import time
from pathlib import Path

from loadtests.benchmark import machine
from loadtests.benchmark.documents import FrameError
from loadtests.benchmark.results import OURS
from loadtests.console import end, end_in_order, names, refuse_unknown, say, write_documents
from loadtests.kept import ShapeError
from loadtests.launch import positive
from loadtests.reliability import documents, report, run
from loadtests.reliability.actions import ACTIONS
from loadtests.reliability.results import Results, save
from loadtests.reliability.subject import SUBJECTS
from mpserve.witness import KEPT_AFTER
from tests.harness import peers

COMMAND = "reliability"
# Seconds until nobody has reason any more to ask a file anew for each answer because it has just been made.
SETTLING = KEPT_AFTER + 1.0


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="scripts/reliability",
        description="Fault after fault under load, and what clients lose by it.",
        epilog=f"Actions: {', '.join(ACTIONS)}. Exit status: 0, or 1 if mpserve lost what it could keep.",
    )
    add = made.add_argument
    add(
        "--server",
        type=names,
        default=list(SUBJECTS),
        metavar="NAME,…",
        help=f"of {SUBJECTS.keys()}",
    )
    add("--only", type=names, default=list(ACTIONS), metavar="ACTION,…", help="instead of all")
    add(
        "--connections",
        type=positive,
        default=100_000,
        metavar="N",
        help="for each action (100000)",
    )
    add("--rate", type=positive, default=5500, metavar="N", help="of them begun per second (5500)")
    add("--reused", type=positive, default=48, metavar="N", help="connections asking again (48)")
    add("--workers", type=positive, default=3, metavar="N", help="of the server (3)")
    add("--json", type=Path, metavar="FILE", help="keep the results here")
    add("--docs", action="store_true", help="write docs/reliability.* from docs/reliability.json")
    add("--check", action="store_true", help="with --docs: write nothing, fail if they differ")
    return made


def measure(options: argparse.Namespace) -> Results:
    """The whole run."""
    described = machine.describe(client="plain sockets, 2 processes")
    command = shlex.join(["./scripts/reliability", *sys.argv[1:]])
    results = Results(machine.now(), command, described, settings(options), {})
    results.notes += machine.disturbance()
    with tempfile.TemporaryDirectory(prefix="mpserve-reliability-") as folder:
        Path(folder).chmod(0o755)  # for the workers of servers that give up root
        root = Path(folder, "root")
        run.make_root(root)
        time.sleep(SETTLING)
        plan = run.Plan(root, options.connections, options.rate, options.reused, 2, options.workers)
        for server in options.server:
            measure_server(results, plan, server, options)
    return results


def measure_server(
    results: Results, plan: run.Plan, server: str, options: argparse.Namespace
) -> None:
    """Every action against one server; what is there so far is kept after each."""
    recipe = SUBJECTS[server].recipe
    if not peers.available(recipe):
        results.notes.append(f"{server} is not installed and is left out")
        return
    results.versions[server] = peers.version_of(recipe)
    for name in options.only:
        row = run.run(plan, server, ACTIONS[name])
        results.rows.append(row)
        lost = ", ".join(f"{count} {kind}" for kind, count in row.losses.items()) or "nothing lost"
        excused = f" ({row.held} held by killed workers)" if row.held else ""
        say(
            f"{server:8} {name:9} {row.deeds:3} times  {row.fresh:7} fresh  {row.reused:7} reused"
            f"  {lost}{excused}  {row.seconds:.0f} s"
        )
        for problem in row.problems:
            say(f"  not done: {problem}")
        if options.json:
            save(results, options.json)


def settings(options: argparse.Namespace) -> dict[str, str]:
    """How it was measured, in words."""
    return {
        "fresh": f"{options.connections:,} connections for each action, {options.rate:,} begun per second",
        "reused": f"{options.reused} connections that ask again and again",
        "workers": str(options.workers),
    }


def main() -> int:
    options = parser().parse_args()
    end_in_order()
    try:
        if options.docs:
            source, outdated = documents.JSON, documents.outdated
            return write_documents(COMMAND, source, outdated, check=options.check)
        refuse_unknown(COMMAND, "servers", options.server, SUBJECTS)
        refuse_unknown(COMMAND, "actions", options.only, ACTIONS)
        results = measure(options)
    except (FrameError, ShapeError, peers.PeerError) as error:
        end(COMMAND, str(error))
    except KeyboardInterrupt:
        return 130
    print(report.markdown(results), end="")
    return 0 if all(row.proved for row in results.rows if row.server == OURS) else 1


if __name__ == "__main__":
    raise SystemExit(main())

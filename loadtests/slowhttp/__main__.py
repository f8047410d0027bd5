"""scripts/slowhttp: an honest client beside clients that are slow on purpose, of mpserve and of nginx."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import tempfile
from pathlib import Path
from typing import Final

from loadtests.benchmark import machine
from loadtests.benchmark.documents import FrameError
from loadtests.benchmark.results import OURS
from loadtests.console import end, end_in_order, names, refuse_unknown, say, write_documents
from loadtests.kept import ShapeError
from loadtests.launch import positive
from loadtests.slowhttp import attack, documents, report, stuck
from loadtests.slowhttp.attack import ATTACKS
from loadtests.slowhttp.measure import attack_one, make_root
from loadtests.slowhttp.results import Results, save
from tests.harness import peers

SERVERS: Final = (OURS, "nginx")
STUCK: Final = "stuck readers"
CASES: Final = (*ATTACKS, STUCK)
COMMAND: Final = "slowhttp"


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(
        prog="scripts/slowhttp",
        description="slowhttptest's four attacks, and readers that take nothing.",
        epilog=f"Cases: {', '.join(CASES)}. Exit status: 0, or 1 if mpserve did not hold.",
    )
    add = made.add_argument
    add("--server", type=names, default=list(SERVERS), metavar="NAME,…", help="of mpserve, nginx")
    add("--only", type=names, default=list(CASES), metavar="CASE,…", help="instead of all")
    add("--connections", type=positive, default=4000, help="of the attacker (4000)")
    add("--readers", type=positive, default=500, help="that are stuck (500)")
    add("--seconds", type=positive, default=15, help="for each figure (15)")
    add("--workers", type=positive, default=2, help="of the server (2)")
    add("--json", type=Path, metavar="FILE", help="keep the results here")
    add("--docs", action="store_true", help="write docs/reliability.md from docs/slowhttp.json")
    add("--check", action="store_true", help="with --docs: write nothing, fail if it differs")
    return made


def settings(options: argparse.Namespace) -> dict[str, str]:
    """How it was measured, in words."""
    return {
        "attacker": f"slowhttptest, {options.connections:,} connections, {attack.RATE:,} begun per second,"
        " at the lowest priority",
        "honest client": f"a fresh connection for each request, {options.seconds} s for each figure",
        "workers": str(options.workers),
    }


def measure(options: argparse.Namespace) -> Results:
    """The whole run."""
    described = machine.describe(client="plain sockets, 1 process")
    command = shlex.join(["./scripts/slowhttp", *sys.argv[1:]])
    results = Results(machine.now(), command, described, settings(options), {})
    results.notes += machine.disturbance()
    with tempfile.TemporaryDirectory(prefix="mpserve-slowhttp-") as folder:
        os.chmod(folder, 0o755)  # for the workers of servers that give up root
        root = make_root(Path(folder))
        for case in options.only:
            for server in options.server:
                measure_case(results, root, server, case, options)
                if options.json:
                    save(results, options.json)
    return results


def missing_for(server: str, case: str) -> str | None:
    """The program that is not here, and without which this cannot be measured."""
    if not peers.available(server):
        return server
    if case == STUCK:
        return None if stuck.installed() else stuck.PROGRAM
    return None if attack.installed() else attack.PROGRAM


def measure_case(
    results: Results, root: Path, server: str, case: str, options: argparse.Namespace
) -> None:
    """One case against one server, started for it alone."""
    if missing := missing_for(server, case):
        if (note := f"{missing} is not installed: what needs it is left out") not in results.notes:
            results.notes.append(note)
        return
    results.versions[server] = peers.version_of(server)
    with peers.start(server, root, workers=options.workers) as peer:
        if case == STUCK:
            cost = stuck.measure(peer.port, peer.pids, options.readers)
            results.stuck[server] = cost
            say(f"{case:14} {server:8} {cost.together / 1000:.0f} kB for each")
            return
        row = attack_one(peer, server, case, options.connections, options.seconds)
    results.rows.append(row)
    say(
        f"{case:14} {server:8} p99 alone {row.alone.p99:.3f} ms, beside {row.beside.p99:.3f} ms,"
        f" failed {row.beside.failed} of {row.beside.requests + row.beside.failed},"
        f" available: {'yes' if row.available else 'no'}, {row.busy:.2f} processors"
    )


def main() -> int:
    """Do what the command line says; the exit status."""
    options = parser().parse_args()
    end_in_order()
    try:
        if options.docs:
            source, outdated = documents.JSON, documents.outdated
            return write_documents(COMMAND, source, outdated, check=options.check)
        refuse_unknown(COMMAND, "servers", options.server, SERVERS)
        refuse_unknown(COMMAND, "cases", options.only, CASES)
        results = measure(options)
    except (FrameError, ShapeError, peers.PeerError) as error:
        end(COMMAND, str(error))
    except KeyboardInterrupt:
        return 130
    print(report.markdown(results), end="")
    return 0 if results.proved(OURS) else 1


if __name__ == "__main__":
    raise SystemExit(main())

"""The command that puts a running server to the suite, or one server after the other.

Exit status: 0 when every MUST that applies is met and no framing defect was seen, 1 when not, 2 for
bad use. A comparison is a measurement, not a test: it is 0 whatever the servers do.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from tests.conformance import report
from tests.conformance.case import Case, Outcome, Result, cases
from tests.conformance.target import Target, Unusable
from tests.harness import corpus, peers
from tests.harness.server import REPOSITORY, Server, ServerError

JOBS = 8  # cases at a time; most of a case is waiting
TIMEOUT = 2.0  # seconds
DOCUMENT = REPOSITORY / "docs" / "conformance.md"
PEERS = "nginx,lighttpd,caddy,h2o,apache2,http.server"

MET, UNMET, BAD_USE = 0, 1, 2


class BadUse(Exception):
    """One sentence for whoever called."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says; the exit status."""
    try:
        options = parse(arguments)
        chosen = choose(options.only)
        if options.list:
            report.print_list(chosen)
            return MET
        if options.compare is not None:
            return compare(options.compare, chosen, options)
        if options.target is not None:
            return put_to_it(given_target(options), chosen)
        return put_mpserve_to_it(chosen, options)
    except (BadUse, Unusable, ServerError, corpus.CorpusError, peers.PeerError) as error:
        print(f"conformance: {error}", file=sys.stderr)
        return BAD_USE


def known() -> argparse.ArgumentParser:
    """All that may be said."""
    parser = argparse.ArgumentParser(
        prog="conformance",
        description="Put a static server to RFC 9110 and RFC 9112. Without --target and --compare:"
        " mpserve as it stands here, with one worker and with three.",
        epilog="Exit status: 0 if every MUST that applies is met and no framing defect was seen,"
        " 1 if not, 2 for bad use.",
    )
    add = parser.add_argument
    add("--target", metavar="URL", help="a server that runs already and serves the corpus")
    add(
        "--root",
        metavar="DIR",
        type=Path,
        help="the tree that --target serves, made by ./scripts/make-corpus DIR;"
        " cases that change files need it",
    )
    add(
        "--strict-static",
        action="store_true",
        help="ask of --target what is asked of mpserve: never chunked, ETag and Accept-Ranges on"
        " files, nosniff",
    )
    add(
        "--compare",
        metavar="NAMES",
        nargs="?",
        const=PEERS,
        help=f"start each of these that is installed, and write {DOCUMENT.name} [{PEERS}]",
    )
    add("--output", metavar="FILE", type=Path, default=DOCUMENT, help="where --compare writes to")
    add("--only", metavar="TEXT", help="run the cases that have this in their number or name")
    add("--list", action="store_true", help="list the cases, and run none")
    add(
        "--timeout",
        metavar="SECONDS",
        type=positive,
        default=TIMEOUT,
        help=f"how long to wait for an answer [{TIMEOUT:g}]",
    )
    return parser


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """What is said, where it makes sense. Raises BadUse."""
    options = known().parse_args(arguments)
    if options.target is not None and options.compare is not None:
        raise BadUse("--target and --compare are two ways to use this; take one")
    if options.target is None and (options.root is not None or options.strict_static):
        raise BadUse("--root and --strict-static are about a --target, and there is none")
    return options


def positive(text: str) -> float:
    value = float(text)
    if value <= 0:
        raise argparse.ArgumentTypeError("must be more than 0")
    return value


def choose(text: str | None) -> tuple[Case, ...]:
    chosen = tuple(case for case in cases() if text is None or text.lower() in str(case).lower())
    if not chosen:
        raise BadUse(f"no case has {text!r} in its number or name; --list lists them")
    return chosen


def given_target(options: argparse.Namespace) -> Target:
    """The server that the command line names."""
    found = urlsplit(options.target if "//" in options.target else f"//{options.target}")
    try:
        port = found.port or 80
    except ValueError as error:
        raise BadUse(f"{options.target} is no URL: {error}") from error
    if found.scheme not in ("", "http") or not found.hostname or found.path not in ("", "/"):
        raise BadUse(f"{options.target} is not of the form http://HOST:PORT")
    if options.root is not None:
        corpus.check(options.root, load=False)
    return Target(
        found.hostname,
        port,
        options.root,
        timeout=options.timeout,
        strict_static=options.strict_static,
    )


# Running cases.


def run(target: Target, chosen: Sequence[Case]) -> list[Result]:
    """The results of the cases, in their order. Raises Unusable."""
    facts = target.facts  # before the rest: it says whether the target can be put to it at all
    assert facts
    with ThreadPoolExecutor(JOBS) as pool:
        return list(pool.map(lambda case: run_one(case, target), chosen))


def run_one(case: Case, target: Target) -> Result:
    try:
        return case.run(target)
    except Exception as error:  # noqa: BLE001 - an answer that a case did not think of is no end
        return Result(case, Outcome.UNMET, f"the case broke: {error!r}")


def put_to_it(target: Target, chosen: Sequence[Case]) -> int:
    """Run the cases against one server and say how it went; the exit status."""
    results = run(target, chosen)
    report.print_results(str(target), results)
    return MET if report.conforms(results) else UNMET


def put_mpserve_to_it(chosen: Sequence[Case], options: argparse.Namespace) -> int:
    worst = MET
    with fresh_corpus() as root:
        for workers in ("1", "3"):
            with Server(root, "--workers", workers, "--access-log", "off") as server:
                print(f"mpserve with {workers} worker{'s' if workers != '1' else ''}:")
                target = Target(
                    "127.0.0.1",
                    server.port,
                    root,
                    timeout=options.timeout,
                    strict_static=True,
                )
                worst = max(worst, put_to_it(target, chosen))
    return worst


@contextmanager
def fresh_corpus() -> Iterator[Path]:
    """A corpus of our own, which goes in the end."""
    with tempfile.TemporaryDirectory(prefix="conformance-") as name:
        root = Path(name) / "corpus"
        corpus.make(root, load=False)
        Path(name).chmod(0o755)  # a server may have given up root
        yield root


# Comparing servers.


def compare(names: str, chosen: Sequence[Case], options: argparse.Namespace) -> int:
    """Put mpserve and each of the named servers to the suite, and write the document."""
    wanted = ["mpserve", *(name.strip() for name in names.split(",") if name.strip())]
    for name in wanted:
        peers.recipe_of(name)
    columns = []
    for name in dict.fromkeys(wanted):
        if not peers.available(name):
            print(f"{name}: not installed, skipped")
            continue
        columns.append(measure(name, chosen, options.timeout, print))
    options.output.parent.mkdir(exist_ok=True)
    options.output.write_text(report.document(columns), encoding="utf-8")
    print(f"written: {options.output}")
    return MET


def measure(
    name: str, chosen: Sequence[Case], timeout: float, say: Callable[[str], None]
) -> report.Column:
    """Start a server of this name and put it to the suite, under the same rules as all others."""
    with fresh_corpus() as root, peers.start(name, root) as peer:
        target = Target(peer.host, peer.port, root, timeout=timeout)
        results = run(target, chosen)
        column = report.Column(name, peer.version, results)
        say(f"{name} {peer.version}: {report.summary(results)}")
        return column

"""`scripts/loadtest`: start the server if none is given, start Locust, and end with its verdict. No Locust here."""

from __future__ import annotations

import argparse
import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NoReturn

from loadtests.catalogue import DEFAULT, SCENARIOS, Scenario
from loadtests.client import Client, Target, TargetError, check_corpus, parse_target
from loadtests.plan import PLANS
from loadtests.tally import Tally
from loadtests.verdict import Outcome, ThresholdError, read_rules
from tests.harness import corpus
from tests.harness.server import REPOSITORY, Server, ServerError

LOCUSTFILE = REPOSITORY / "loadtests" / "locustfile.py"
THRESHOLDS = REPOSITORY / "loadtests" / "thresholds.toml"
REPORTS = REPOSITORY / "build" / "loadtest"
BAD_USE = 2
STOP_TIMEOUT = 10  # seconds for users to finish what they have begun
_VERDICTS = frozenset(outcome.value for outcome in Outcome)
_TIME = re.compile(r"(?:(?P<h>\d+)h)?(?:(?P<m>\d+)m)?(?:(?P<s>\d+)s?)?")


class UsageError(Exception):
    """Bad input; one sentence for the person who gave it."""


def seconds(text: str) -> float:
    """The seconds of `90`, `90s`, `2m`, `1h30m`. Raises UsageError."""
    found = _TIME.fullmatch(text)
    parts = {name: int(value) for name, value in found.groupdict("0").items()} if found else {}
    total = parts.get("h", 0) * 3600 + parts.get("m", 0) * 60 + parts.get("s", 0)
    if not total:
        raise UsageError(f"{text!r} is no time: 30s, 2m and 1h30m are")
    return float(total)


def positive(text: str) -> int:
    """A whole number of at least one."""
    if not text.isascii() or not text.isdigit() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number of at least 1")
    return int(text)


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one sentence, without repeating how to use it."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(message)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = _Parser(
        prog="loadtest",
        usage="loadtest [SCENARIO] [-u USERS] [-t TIME] [OPTIONS] [-- OPTIONS OF LOCUST]",
        description="Put a static file server under load and check every octet it sends.",
        epilog="Exit status: 0 PASS, 1 FAIL, 3 INVALID (the load was not what it should be), 2 bad use.",
    )
    add = parser.add_argument
    add(
        "scenario",
        nargs="?",
        default=DEFAULT,
        metavar="SCENARIO",
        help=f"one of --list [{DEFAULT}]",
    )
    add("-u", "--users", type=positive, metavar="USERS", help="users at most [the scenario's own]")
    add("-t", "--time", metavar="TIME", help="30s, 2m, 1h30m [the scenario's own]")
    add("--shape", choices=sorted(PLANS), help="how users come and go over that time")
    add("--target", metavar="URL", help="a running server that serves a corpus [one is started]")
    add("--root", metavar="DIR", help="a corpus to serve [one is made, and removed again]")
    add(
        "--workers",
        type=positive,
        metavar="N",
        help="worker processes of the server that is started",
    )
    add(
        "--processes",
        type=positive,
        metavar="N",
        help="worker processes of Locust, beside its master",
    )
    add("--html", metavar="FILE", help="where the report goes [build/loadtest/SCENARIO.html]")
    add("--json", metavar="FILE", help="all numbers of the run")
    add("--thresholds", metavar="FILE", default=str(THRESHOLDS), help="what PASS wants")
    add("--list", action="store_true", help="the scenarios, and what each is about")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; its exit status."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    ours, beyond = _split(words)
    try:
        options = parser().parse_args(ours)
        if options.list:
            print(catalogue())
            return 0
        return _run(options, _scenario(options.scenario), beyond)
    except (UsageError, TargetError, ThresholdError, corpus.CorpusError, ServerError) as error:
        print(f"loadtest: {error}", file=sys.stderr)
        return BAD_USE


def _split(words: list[str]) -> tuple[list[str], list[str]]:
    """Our words, and those behind `--`, which are Locust's."""
    place = words.index("--") if "--" in words else len(words)
    return words[:place], words[place + 1 :]


def catalogue() -> str:
    """The scenarios, one paragraph each."""
    return "\n".join(map(_paragraph, SCENARIOS.values()))


def _paragraph(row: Scenario) -> str:
    head = f"{row.name}  ({row.count} users, {row.seconds:.0f} s, shape {row.shape})"
    return f"{head}\n{textwrap.indent(textwrap.fill(row.summary, 90), '    ')}"


def _scenario(name: str) -> Scenario:
    if name not in SCENARIOS:
        raise UsageError(f"there is no scenario {name!r}; there are {', '.join(SCENARIOS)}")
    return SCENARIOS[name]


def _run(options: argparse.Namespace, scenario: Scenario, beyond: list[str]) -> int:
    users = scenario.count if options.users is None else options.users
    time = scenario.seconds if options.time is None else seconds(options.time)
    shape = options.shape or scenario.shape
    # To complain before anything is started.
    read_rules(Path(options.thresholds), scenario.name, shape)
    command = [*_locust(), "--scenario", scenario.name, "--shape", shape]
    command += ["--users", str(users), "--run-time", f"{time:.0f}", *_files(options, scenario)]
    if options.processes:
        command += ["--processes", str(options.processes)]
    with ExitStack() as stack:
        if options.target is not None:
            return _against(options, scenario, [*command, *beyond])
        return _with_server(options, scenario, [*command, *beyond], stack)


def _locust() -> list[str]:
    return [
        *(sys.executable, "-m", "locust", "--locustfile", str(LOCUSTFILE), "--headless"),
        *("--stop-timeout", str(STOP_TIMEOUT), "--own-summary", "--loglevel", "WARNING"),
    ]


def _files(options: argparse.Namespace, scenario: Scenario) -> list[str]:
    """The options that name files, which must not be understood from another directory than ours."""
    html = Path(options.html) if options.html else REPORTS / f"{scenario.name}.html"
    if not options.html:
        REPORTS.mkdir(parents=True, exist_ok=True)
    words = [
        "--report",
        str(_writable(html)),
        "--thresholds",
        str(Path(options.thresholds).resolve()),
    ]
    if options.json:
        words += ["--record", str(_writable(Path(options.json)))]
    return words


def _writable(path: Path) -> Path:
    if not path.absolute().parent.is_dir() or path.is_dir():
        raise UsageError(f"{path} cannot be written")
    return path.resolve()


def _against(options: argparse.Namespace, scenario: Scenario, command: list[str]) -> int:
    """Against a server that runs already."""
    if scenario.kills:
        raise UsageError(
            f"{scenario.name} kills workers, so it needs a server of its own: no --target"
        )
    if options.workers is not None:
        raise UsageError("--workers is for a server that is started here, not for a --target")
    if options.root is not None:
        corpus.check(options.root)
    target = parse_target(options.target)
    server = _look_at(target)
    return _call([*command, "--host", options.target, "--note", f"server={server}"])


def _with_server(
    options: argparse.Namespace, scenario: Scenario, command: list[str], stack: ExitStack
) -> int:
    """Against a server of our own, which ends with us."""
    place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="loadtest-")))
    root = Path(options.root) if options.root is not None else place / "corpus"
    if options.root is None:
        corpus.make(root)
    else:
        corpus.check(root)
    log = place / "access.log"
    server = stack.enter_context(Server(root.resolve(), *_settings(options, scenario, log)))
    _look_at(parse_target(server.url, ours=True))
    timeouts = ",".join(f"{name}={value:g}" for name, value in scenario.timeouts.items())
    status = _call(
        [
            *(*command, "--host", server.url, "--server-pid", str(server.pid)),
            *("--server-log", str(log), "--server-timeouts", timeouts),
            *("--note", f"server={shlex.join(server.command[1:])}"),
        ]
    )
    server.stop()
    return _judge_server(server, status)


def _settings(options: argparse.Namespace, scenario: Scenario, log: Path) -> list[str]:
    # Two at least: what goes wrong between workers does not show with one.
    workers = max(2, os.cpu_count() or 1) if options.workers is None else options.workers
    timeouts = (
        word
        for name, value in scenario.timeouts.items()
        for word in (f"--{name}-timeout", f"{value:g}")
    )
    return ["--workers", str(workers), "--access-log", str(log), "--log-format", "json", *timeouts]


def _judge_server(server: Server, status: int) -> int:
    """A server that leaves a traceback or does not stop in order has failed, whatever its answers were."""
    if server.returncode == 0 and "Traceback" not in server.stderr:
        return status
    print(f"FAIL: the server ended with {server.returncode}:\n{server.stderr}", file=sys.stderr)
    return Outcome.FAIL.value


def _look_at(target: Target) -> str:
    """Raise TargetError unless there is a server that serves the corpus; what it calls itself."""
    return check_corpus(Client(target, Tally())) or "unnamed"


def _call(command: list[str]) -> int:
    """Run Locust to its end; the exit status that its verdict means."""
    with subprocess.Popen(command, cwd=REPOSITORY) as locust:
        try:
            status = _wait(locust)
        finally:
            if locust.poll() is None:
                locust.terminate()
    if status in _VERDICTS or status == BAD_USE:
        return status
    print(f"loadtest: Locust ended with status {status}", file=sys.stderr)
    return Outcome.INVALID.value


def _wait(locust: subprocess.Popen[bytes]) -> int:
    # Ctrl-C reaches Locust too, which then stops its users and gives its verdict.
    try:
        return locust.wait()
    except KeyboardInterrupt:
        return locust.wait()


def program() -> NoReturn:
    """The command as a process: TERM unwinds it, so that nothing that it has started outlives it."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    sys.exit(main())


if __name__ == "__main__":
    program()

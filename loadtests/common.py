"""What every scenario shares: finer buckets, the options, the tally, and what happens when. Imported first.

In a distributed run this module is loaded by the master and by every worker: workers count, the master adds
up, watches the server, judges and reports. Importing Locust has made `time.sleep` and every socket cooperative.
"""

from __future__ import annotations

import logging
import sys
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import locust.stats
from locust import events
from locust.env import Environment
from locust.runners import LocalRunner, MasterRunner, Runner, WorkerRunner

from loadtests.ask import Memory
from loadtests.catalogue import SCENARIOS, Scenario
from loadtests.client import Client, TargetError, check_corpus, parse_target
from loadtests.console import say
from loadtests.histogram import bucket
from loadtests.overseer import Commission, Overseer, exit_status
from loadtests.plan import PLANS
from loadtests.shapes import PlannedShape
from loadtests.tally import Tally, received
from loadtests.verdict import ThresholdError, read_rules
from loadtests.watch import Busyness

# Locust rounds to whole milliseconds; a static file takes a tenth of one. Its own reports become finer too.
locust.stats.bucket_response_time = bucket  # type: ignore[assignment]  # annotated for whole ones

THRESHOLDS = Path(__file__).parent / "thresholds.toml"
BAD_USE = 2
# The clients' side of a distributed run reports every three seconds.
LOOK, LOOK_AT_WORKERS = 1.0, 3.0
FINISH_PATIENCE = 10.0  # seconds beyond Locust's stop time-out
MESSAGE = "mpserve"  # under which a worker's report holds its tally


@dataclass(slots=True)
class Process:
    """The state of this load-generating process."""

    tally: Tally = field(default_factory=Tally)
    memory: Memory = field(default_factory=Memory)
    stopping: bool = False  # the run is over: nobody begins anything long
    users: int = 0  # made so far; each takes the next number for its dice
    overseer: Overseer | None = None
    awaited: int = 0  # workers that were there when the run began
    finished: int = 0  # and those that have nothing left to do


PROCESS = Process()


def give_up(why: str) -> NoReturn:
    """End the process for bad use, with one sentence."""
    say(f"loadtest: {why}")
    sys.exit(BAD_USE)


def add_options(parser: ArgumentParser) -> None:
    """The options beyond Locust's own. The master's reach the workers by themselves."""
    group = parser.add_argument_group("mpserve", "What the load tests of mpserve add")
    option = group.add_argument
    option("--scenario", default="", metavar="NAME", help=f"one of {', '.join(SCENARIOS)}")
    option("--shape", default="", metavar="NAME", help=f"one of {', '.join(PLANS)}")
    option("--thresholds", default=str(THRESHOLDS), metavar="FILE", help="what PASS wants")
    option("--report", default="", metavar="FILE", help="write the report, one HTML page")
    option("--record", default="", metavar="FILE", help="write all numbers, JSON")
    option("--server-pid", type=int, metavar="PID", help="the master, for a server of ours")
    option("--server-log", default="", metavar="FILE", help="its access log")
    option("--server-timeouts", default="", metavar="NAME=SECONDS,...", help="its time-outs")
    option("--own-summary", action="store_true", help="leave out Locust's tables")
    option("--note", action="append", default=[], metavar="NAME=TEXT", help="for the report")


def on_init(environment: Environment, runner: Runner, **_: Any) -> None:
    """Everything is known and nothing has begun: choose, check, and give up while it is cheap."""
    options = environment.parsed_options
    assert options is not None
    if isinstance(runner, WorkerRunner):
        runner.register_message("finish", on_finish, concurrent=True)
        return
    if options.own_summary:
        logging.getLogger("locust.stats_logger").setLevel(logging.WARNING)
    scenario = _scenario(options.scenario, options.user_classes)
    if options.scenario:
        _choose_users(environment, scenario)
    if options.shape:
        _choose_shape(environment, options)
    if scenario.kills and options.server_pid is None:
        give_up(
            f"{scenario.name} kills workers, so it needs a server of its own: ./scripts/loadtest"
        )
    if options.headless:
        _check_target(environment, options)
    if isinstance(runner, MasterRunner):
        runner.register_message("finished", on_finished)
    PROCESS.overseer = Overseer(
        _commission(environment, options, scenario), lambda: environment.stats, say
    )
    if isinstance(runner, LocalRunner):
        PROCESS.overseer.tally = PROCESS.tally


def _scenario(name: str, user_classes: Sequence[str]) -> Scenario:
    """The scenario chosen. Without a choice Locust takes every user class, which is what `mixed` is about."""
    if name and name not in SCENARIOS:
        give_up(f"there is no scenario {name!r}; there are {', '.join(SCENARIOS)}")
    if not name and user_classes:
        return Scenario(" and ".join(sorted(user_classes)), {}, count=1, seconds=0)
    return SCENARIOS[name or "mixed"]


def _choose_users(environment: Environment, scenario: Scenario) -> None:
    known = {user.__name__: user for user in environment.user_classes}
    environment.user_classes[:] = [known[name] for name in scenario.users if name in known]
    for user in environment.user_classes:
        user.weight = scenario.users[user.__name__]


def _choose_shape(environment: Environment, options: Namespace) -> None:
    if options.shape not in PLANS:
        give_up(f"there is no shape {options.shape!r}; there are {', '.join(PLANS)}")
    shape = PlannedShape(options.shape, options.num_users or 1, options.run_time or 60)
    shape.runner = environment.runner
    environment.shape_class = shape
    # The shape ends the run; Locust's own clock would cut it off within its last second.
    options.run_time = None


def _check_target(environment: Environment, options: Namespace) -> None:
    if not environment.host:
        give_up("no target: give one by --host http://HOST:PORT, or use ./scripts/loadtest")
    try:
        target = parse_target(environment.host)
        if not options.server_log:  # else whoever started the server has looked already
            check_corpus(Client(target, Tally()))
    except TargetError as error:
        give_up(str(error))


def _commission(environment: Environment, options: Namespace, scenario: Scenario) -> Commission:
    try:
        rules = read_rules(Path(options.thresholds), scenario.name, options.shape)
    except ThresholdError as error:
        give_up(str(error))
    return Commission(
        scenario=scenario.name,
        shape=options.shape,
        target=environment.host or "-",
        users=options.num_users or 1,
        rules=rules,
        server_pid=options.server_pid,
        server_log=Path(options.server_log) if options.server_log else None,
        kills=scenario.kills,
        report=Path(options.report) if options.report else None,
        record=Path(options.record) if options.record else None,
        notes=dict(note.split("=", 1) for note in options.note if "=" in note),
    )


def on_test_start(environment: Environment, **_: Any) -> None:
    """Users are about to come."""
    PROCESS.stopping = False
    PROCESS.memory = Memory()
    PROCESS.tally.clear()
    runner = environment.runner
    assert runner is not None
    PROCESS.finished = PROCESS.awaited = 0
    if isinstance(runner, MasterRunner):
        PROCESS.awaited = runner.worker_count
    if PROCESS.overseer is not None:
        PROCESS.overseer.begin()
        interval = LOOK_AT_WORKERS if isinstance(runner, MasterRunner) else LOOK
        runner.greenlet.spawn(_oversee, runner, PROCESS.overseer, interval)
    if not isinstance(runner, MasterRunner):
        runner.greenlet.spawn(_watch_self)


def _oversee(runner: Runner, overseer: Overseer, interval: float) -> None:
    while overseer.running:
        time.sleep(interval)
        if overseer.running:
            overseer.look(runner.user_count)


def _watch_self() -> None:
    """Note second by second how busy this process is and how late its loop."""
    busyness = Busyness()
    while not PROCESS.stopping:
        asleep = time.monotonic()
        time.sleep(1)
        PROCESS.tally.lag.append(max(0.0, 1000 * (time.monotonic() - asleep - 1)))
        PROCESS.tally.busy.append(busyness.look())


def on_report_to_master(data: dict[str, Any], **_: Any) -> None:
    """A worker adds its tally to its report."""
    data[MESSAGE] = PROCESS.tally.take()


def on_worker_report(data: dict[str, Any], **_: Any) -> None:
    """The master adds it to its own."""
    if PROCESS.overseer is not None and MESSAGE in data:
        PROCESS.overseer.tally.add(received(data[MESSAGE]))


def on_test_stopping(environment: Environment, **_: Any) -> None:
    """The time is over. In a distributed run the workers are given theirs to finish what they have begun."""
    PROCESS.stopping = True
    runner, options = environment.runner, environment.parsed_options
    if PROCESS.overseer is not None and runner is not None:
        PROCESS.overseer.end(runner.user_count)
    if isinstance(runner, MasterRunner) and options is not None and options.headless:
        # Locust's own `quit` waits half a second for the last reports, however long the users take.
        _finish_workers(runner, environment.stop_timeout + FINISH_PATIENCE)


def _finish_workers(runner: MasterRunner, patience: float) -> None:
    runner.send_message("finish")
    deadline = time.monotonic() + patience
    while PROCESS.finished < runner.worker_count and time.monotonic() < deadline:
        time.sleep(0.05)


def on_finish(environment: Environment, **_: Any) -> None:
    """A worker lets its users finish, and says when that is done."""
    assert environment.runner is not None
    environment.runner.stop()
    environment.runner.send_message("finished")


def on_finished(**_: Any) -> None:
    """The master hears of it."""
    PROCESS.finished += 1


def on_test_stop(environment: Environment, **_: Any) -> None:
    """With the web page the process lives on, so it is judged here."""
    if PROCESS.overseer is not None and environment.web_ui is not None:
        assert environment.runner is not None
        environment.runner.greenlet.spawn(_conclude_later, environment, PROCESS.overseer)


def _conclude_later(environment: Environment, overseer: Overseer) -> None:
    if isinstance(environment.runner, MasterRunner):
        time.sleep(LOOK_AT_WORKERS + 1)  # the last reports of the workers are on their way
    _conclude(environment, overseer)


def on_quitting(environment: Environment, **_: Any) -> None:
    """The process ends, with the status that the verdict says."""
    if PROCESS.overseer is None or environment.web_ui is not None:
        return
    environment.process_exit_code = _conclude(environment, PROCESS.overseer)


def _conclude(environment: Environment, overseer: Overseer) -> int:
    runner = environment.runner
    assert runner is not None
    # With the web page workers live on, and nobody asks them.
    lost = 0 if environment.web_ui else PROCESS.awaited - PROCESS.finished
    exceptions = [f"{row['msg']}\n{row['traceback']}" for row in runner.exceptions.values()]
    return exit_status(overseer.conclude(exceptions, max(1, PROCESS.awaited), lost))


_LISTENERS: tuple[tuple[Any, Callable[..., object]], ...] = (
    (events.init_command_line_parser, add_options),
    (events.init, on_init),
    (events.test_start, on_test_start),
    (events.report_to_master, on_report_to_master),
    (events.worker_report, on_worker_report),
    (events.test_stopping, on_test_stopping),
    (events.test_stop, on_test_stop),
    (events.quitting, on_quitting),
)
for _hook, _listener in _LISTENERS:
    _hook.add_listener(_listener)

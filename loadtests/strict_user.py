"""The Locust user of every scenario: raw sockets, the strict reader, and a schedule that no slow answer shifts."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence

from locust import User
from locust.env import Environment

from loadtests.ask import Ask, Validators, let_others_run, validators
from loadtests.client import Client, Target, parse_target
from loadtests.common import PROCESS
from loadtests.faults import Fault
from tests.harness.reader import Answer

SHORT = 0.5  # seconds that nobody minds to wait when a run is over


class StrictUser(User):
    """A user whose task is one visit, due every `period` seconds.

    Visits are due by the clock: a visit that took too long is followed by the next at once, none is left out.
    Each answer's time counts twice in the report: from the sending of its request, and from the moment when
    its visit was due, as somebody would feel it who did not wait for others.
    """

    abstract = True
    period = 1.0  # seconds

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        options = environment.parsed_options
        self.server_is_ours = bool(options and options.server_pid)
        self.timeouts = server_timeouts(options.server_timeouts if options else "")
        self.target = self._target()
        PROCESS.users += 1
        worker = getattr(environment.runner, "worker_index", 0)
        self.random = random.Random(f"{type(self).__name__} {worker} {PROCESS.users}")
        self.client = self.new_client()
        self._due = time.monotonic() + self.random.random() * self.period
        self._late = 0.0  # milliseconds by which this visit began after it was due

    def _target(self) -> Target:
        if not self.host:
            raise ValueError("no target: give one by --host http://HOST:PORT")
        return parse_target(self.host, ours=self.server_is_ours)

    def on_start(self) -> None:
        """Not everybody at once."""
        self._sleep_until_due()

    def on_stop(self) -> None:
        """The user leaves."""
        self.client.close()

    def wait_time(self) -> float:
        """Seconds until the next visit is due."""
        self._due += self.period
        wait = self._due - time.monotonic()
        self._late = max(0.0, -wait * 1000)
        return max(0.0, wait)

    def new_client(self, *, source: str | None = None, receive_buffer: int | None = None) -> Client:
        """A client of this user's target that counts where all count."""
        return Client(
            self.target,
            PROCESS.tally,
            PROCESS.memory,
            source=source,
            receive_buffer=receive_buffer,
        )

    @property
    def leaving(self) -> bool:
        """Is the run over, so that nothing long should begin?"""
        return PROCESS.stopping

    def pause(self, seconds: float) -> bool:
        """Sleep for so long, or until the run is over. False then."""
        until = time.monotonic() + seconds
        while not self.leaving and (left := until - time.monotonic()) > 0:
            time.sleep(min(left, SHORT))
        return not self.leaving

    def ask(self, ask: Ask, client: Client | None = None) -> Answer | None:
        """One request; its answer, or None where it failed. Counted either way."""
        began = time.perf_counter()
        try:
            answer = (client or self.client).ask(ask)
        except Fault as fault:
            self.fail(ask.name, ask.method, fault)
            return None
        self.succeed(ask, answer, began)
        return answer

    def taste(
        self, ask: Ask, enough: int, client: Client | None = None, rate: float | None = None
    ) -> bool:
        """Read about `enough` octets of an answer, at most `rate` per second, and leave. Is all well so far?

        How long that took says nothing of the server, so it is counted without a time.
        """
        pace = let_others_run if rate is None else lambda octets: self.pause(octets / rate)
        try:
            (client or self.client).taste(ask, enough, pace)
        except Fault as fault:
            self.fail(ask.name, ask.method, fault)
            return False
        self.fire(ask.name, ask.method, None, enough)
        return True

    def ask_at_once(self, asks: Sequence[Ask]) -> bool:
        """Several requests in one piece. Did all their answers come, in order?"""
        began = time.perf_counter()
        place = 0
        try:
            sent = self.client.send(asks)
            for place, ask in enumerate(asks):
                answer = self.client.read(ask, sent, outstanding=len(asks) - place - 1)
                self.succeed(ask, answer, began)
        except Fault as fault:
            self.fail(asks[place].name, asks[place].method, fault)
            return False
        return True

    def first_look(self, ask: Ask) -> Validators | None:
        """Ask, and keep what a cache would keep; None where it failed."""
        answer = self.ask(ask)
        return None if answer is None else validators(answer.head)

    def succeed(self, ask: Ask, answer: Answer, began: float) -> None:
        """Count an answer that is as it should be."""
        took = 1000 * (time.perf_counter() - began)
        PROCESS.tally.timed(ask.name, took + self._late)
        length = ask.expected_length(answer.status)
        self.fire(ask.name, ask.method, took, len(answer.content) if length is None else length)

    def fail(self, name: str, method: str, fault: Fault) -> None:
        """Count a fault."""
        PROCESS.tally.failed(name, fault)
        self.fire(name, method, None, 0, fault)

    def fire(
        self, name: str, method: str, took: float | None, octets: int, fault: Fault | None = None
    ) -> None:
        """Tell Locust of one request."""
        self.environment.events.request.fire(
            request_type=method,
            name=name,
            response_time=took,
            response_length=octets,
            exception=fault,
            context={},
        )

    def _sleep_until_due(self) -> None:
        time.sleep(max(0.0, self._due - time.monotonic()))


def server_timeouts(text: str) -> dict[str, float]:
    """`header=3,keepalive=4` as a dictionary."""
    pairs = (each.partition("=") for each in text.split(",") if each)
    return {name: float(value) for name, _, value in pairs}

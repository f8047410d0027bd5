"""Clients that open a connection and do not get on with it: a head that comes octet by octet, a head that
stops half way, a connection that is never used, one that stays idle after a request.

Hundreds of them cost a worker nothing but descriptors, if it ends them in time: 408 where a head has begun,
without a word where none has (asked for only where the time-outs are known: of a server that the run has
started). The probe beside them tells whether anybody else feels it.
"""

from __future__ import annotations

import time

from locust import task

from loadtests.ask import Ask
from loadtests.client import Client
from loadtests.faults import Fault, Kind
from loadtests.strict_user import SHORT, StrictUser
from tests.harness.corpus import TREE

PATIENCE = 6.0  # seconds that a client stays where nothing is known of the server's time-outs
SLACK = 3.0  # seconds beyond a time-out: a server may look only once in a while
BETWEEN_OCTETS = 0.25  # seconds


class SlowHeaderUser(StrictUser):
    """A client that wastes the server's time."""

    period = 8.0

    @task
    def waste(self) -> None:
        """One of four ways."""
        way = self.random.choice(
            (self.octet_by_octet, self.half_a_head, self.never_used, self.idle_after_a_request)
        )
        name = way.__name__.replace("_", " ")
        client = self.new_client()
        try:
            way(name, client)
        except Fault as fault:
            self.fail(name, "GET", fault)
        else:
            self.fire(name, "GET", None, 0)
        finally:
            client.close()

    def octet_by_octet(self, name: str, client: Client) -> None:
        """A head that would be complete long after the header time-out, though it never stands still."""
        sock = client.connect()
        deadline = time.monotonic() + self._limit("header")
        for octet in self._head(client) * 2:
            if self.leaving or time.monotonic() > deadline:
                break
            if client.wait_for_word(BETWEEN_OCTETS):
                break
            try:
                sock.sendall(bytes((octet,)))
            except OSError:
                break  # ended meanwhile; what was said before that can still be read
        self._expect(name, client, deadline, wanted=408)

    def half_a_head(self, name: str, client: Client) -> None:
        """A head that stops."""
        head = self._head(client)
        client.connect().sendall(head[: len(head) // 2])
        self._expect(name, client, time.monotonic() + self._limit("header"), wanted=408)

    def never_used(self, name: str, client: Client) -> None:
        """A connection without a word."""
        client.connect()
        self._expect(name, client, time.monotonic() + self._limit("header"), wanted=None)

    def idle_after_a_request(self, name: str, client: Client) -> None:
        """A connection that is kept, and not used again."""
        file = TREE[b"sizes/999.bin"]
        client.ask(Ask(name, file.url, file=file))
        if client.connected:  # a worker that retires keeps none
            self._expect(name, client, time.monotonic() + self._limit("keepalive"), wanted=None)

    def _limit(self, name: str) -> float:
        """How long the server may wait, or we do."""
        return self.timeouts[name] + SLACK if name in self.timeouts else PATIENCE

    def _head(self, client: Client) -> bytes:
        fields = (("X-Reason", "this takes its time"),)
        return Ask("", "/", fields=fields).octets(client.target.authority)[:-4]

    def _hear(self, client: Client, deadline: float) -> bool:
        """Does the server say something before the deadline, or end the connection? Asks on while the run lasts."""
        while not client.wait_for_word(min(SHORT, max(0.01, deadline - time.monotonic()))):
            if self.leaving or time.monotonic() > deadline:
                return False
        return True

    def _expect(self, name: str, client: Client, deadline: float, *, wanted: int | None) -> None:
        """The server ends the connection in time, with or without a last answer. Raises Fault."""
        if not self._hear(client, deadline):
            client.tally.unfinished += 1
            if self.timeouts and not self.leaving:
                raise Fault(Kind.TIMEOUT, f"{name}: the connection is still open")
            return
        status = client.last_word(name)
        if status is None and wanted is not None:
            client.tally.unfinished += 1
        if not self.timeouts or status == wanted:
            return
        # Without an answer it may have been the death of a worker, which is excused elsewhere.
        kind = Kind.LOST if status is None else Kind.ANSWER
        raise Fault(kind, f"{name}: ended with {status} instead of {wanted}")

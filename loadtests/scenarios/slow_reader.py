"""Readers of one to 64 kilobytes a second with hardly any buffer, and some that stop reading altogether.

Each of them holds an answer of 64 MiB open. A worker must go on serving the others meanwhile, keep none of
that content in memory, and end a connection that takes nothing for longer than the send time-out (which is
known, and asked for, only of a server that the run has started). The probe beside them tells what it costs.
"""

from __future__ import annotations

from locust import task

from loadtests.ask import Ask
from loadtests.client import Client
from loadtests.faults import Fault, Kind
from loadtests.strict_user import StrictUser
from tests.harness.corpus import DOWNLOAD, KIB, MIB, TREE
from tests.harness.reader import Silent

SECONDS = 6  # that a slow reader stays
RATES = (1, 4, 16, 64)  # KiB per second
SMALL_BUFFER = 8 * KIB
SLACK = 3.0  # seconds beyond a time-out: a server may look only once in a while
# More than the kernel may hold of an answer when the server gives up on its reader.
ON_ITS_WAY = 16 * MIB


class SlowReaderUser(StrictUser):
    """Somebody behind a bad line."""

    period = 8.0

    @task
    def read_slowly(self) -> None:
        """Read a part of something large, or stop in the middle of it."""
        if "send" in self.timeouts and self.random.random() < 0.2:
            self.stop_reading(self.timeouts["send"] + SLACK)
            return
        rate = self.random.choice(RATES) * KIB
        client = self.new_client(receive_buffer=SMALL_BUFFER)
        file = TREE[DOWNLOAD]
        self.taste(Ask("slow reader", file.url, file=file), rate * SECONDS, client, rate)

    def stop_reading(self, seconds: float) -> None:
        """Take nothing for longer than the server waits, and see that the answer does not go on."""
        file = TREE[DOWNLOAD]
        ask = Ask("stopped reading", file.url, file=file)
        client = self.new_client(receive_buffer=SMALL_BUFFER)
        try:
            client.send((ask,))
            client.tally.unfinished += 1
            if not self.pause(seconds):
                return
            received = _rest(client)
        except Fault as fault:
            self.fail(ask.name, ask.method, fault)
            return
        finally:
            client.close()
        if received < ON_ITS_WAY:
            self.fire(ask.name, ask.method, None, received)
            return
        detail = f"the answer went on although nothing was read for {seconds:g} s"
        self.fail(ask.name, ask.method, Fault(Kind.ANSWER, detail))


def _rest(client: Client) -> int:
    """How many octets come until the connection ends, or until it is clear that it does not."""
    received = 0
    while received < ON_ITS_WAY:
        try:
            piece = client.reader.raw()
        except Silent as error:
            raise Fault(
                Kind.TIMEOUT, "nothing more came, and the connection stayed open"
            ) from error
        if not piece:
            break
        received += len(piece)
    return received

"""A connection for each request, ended by the client, by the server, or by a reset.

Accepting is work of another kind than answering: many short connections show a listener that is not shared
evenly, descriptors that stay behind, a server that closes before its last octets are sent. The clients come
from many addresses of 127.0.0.0/8, because one has ports for a few hundred connections per second only.
"""

from __future__ import annotations

from locust import task

from loadtests.ask import Ask
from loadtests.client import Client
from loadtests.strict_user import StrictUser
from tests.harness.corpus import SIZES, TREE, File

LARGEST = 20_000
SOURCES = range(2, 250)


class ChurnUser(StrictUser):
    """A client that keeps nothing, such as a health check or a script that calls curl."""

    period = 0.1

    @task
    def come_and_go(self) -> None:
        """One connection."""
        size = self.random.choice([size for size in SIZES if size <= LARGEST])
        leave = self.random.choice((self._closed_by_client, self._closed_by_server, self._reset))
        source = f"127.0.0.{self.random.choice(SOURCES)}" if self.target.loopback else None
        leave(self.new_client(source=source), TREE[b"sizes/%d.bin" % size])

    def _closed_by_client(self, client: Client, file: File) -> None:
        self.ask(Ask("closed by the client", file.url, file=file), client)
        client.close()

    def _reset(self, client: Client, file: File) -> None:
        self.ask(Ask("reset by the client", file.url, file=file), client)
        client.reset()

    def _closed_by_server(self, client: Client, file: File) -> None:
        """The server is asked to close, must say that it will, and must do so when all is sent."""
        fields = (("Connection", "close"),)
        self.ask(
            Ask("closed by the server", file.url, fields=fields, file=file, closing=True), client
        )

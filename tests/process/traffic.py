"""Clients that keep asking while something is done to the server, and what they lost."""

from __future__ import annotations

import http.client
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from tests.harness.running import Running
from tests.harness.server import Server

TIMEOUT = 20.0  # seconds


class Traffic(Running):
    """Threads that ask on fresh connections, and threads that keep theirs; every failure is noted."""

    def __init__(self, server: Server, *, fresh: int = 3, kept: int = 3) -> None:
        self._port = server.port
        self._stop = threading.Event()
        self._counting = threading.Lock()
        self._threads = [threading.Thread(target=self._ask_anew) for _ in range(fresh)]
        self._threads += [threading.Thread(target=self._keep_asking) for _ in range(kept)]
        self.lost: list[str] = []
        self.answered = 0

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _ask_anew(self) -> None:
        while not self._stop.is_set():
            connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=TIMEOUT)
            self._ask(connection)
            connection.close()

    def _keep_asking(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=TIMEOUT)
        while not self._stop.is_set():
            # One that the server has announced to close is opened anew by the library itself.
            if not self._ask(connection):
                connection.close()
        connection.close()

    def _ask(self, connection: http.client.HTTPConnection) -> bool:
        try:
            connection.request("GET", "/hello.txt")
            response = connection.getresponse()
            content = response.read()
        except (OSError, http.client.HTTPException) as error:
            self.lost.append(repr(error))
            return False
        if (response.status, content) != (200, b"hello\n"):
            self.lost.append(f"{response.status} {content!r}")
        with self._counting:
            self.answered += 1
        return True


def refused(port: int) -> bool:
    """Whether nobody listens at `port`."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT).close()
    except ConnectionRefusedError:
        return True
    return False


@contextmanager
def downloading(server: Server) -> Iterator[socket.socket]:
    """A client that has begun to read a large file, and holds its worker in place."""
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.settimeout(TIMEOUT)
        client.connect(("127.0.0.1", server.port))
        client.sendall(b"GET /big HTTP/1.0\r\n\r\n")
        assert client.recv(1000).startswith(b"HTTP/1.1 200 ")
        yield client


def rest(client: socket.socket) -> int:
    """How many octets come until the end."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    total = 0
    while more := client.recv(1 << 20):
        total += len(more)
    return total

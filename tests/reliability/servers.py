"""Servers that do one thing wrong, in a thread: what a load must notice and name."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from loadtests.reliability.client import Load, Order
from loadtests.reliability.counts import Counts

CONTENT = b"the content\n"
HEAD = b"HTTP/1.1 200 OK\r\nDate: Wed, 25 Nov 2026 12:00:00 GMT\r\nContent-Length: %d\r\n%s\r\n"
ANSWER = HEAD % (len(CONTENT), b"") + CONTENT
LAST_ANSWER = HEAD % (len(CONTENT), b"Connection: close\r\n") + CONTENT

Conduct = Callable[[socket.socket], None]


def reset(sock: socket.socket) -> None:
    """End a connection by a reset."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


@contextmanager
def serving(conduct: Conduct) -> Iterator[tuple[str, int]]:
    """A server that treats its connections so, each in a thread of its own."""
    listener = socket.create_server(("127.0.0.1", 0))
    threads = []

    def treat(sock: socket.socket) -> None:
        with sock, suppress(OSError):
            conduct(sock)

    def serve() -> None:
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            threads.append(threading.Thread(target=treat, args=(sock,)))
            threads[-1].start()

    threads.append(threading.Thread(target=serve))
    threads[0].start()
    address: tuple[str, int] = listener.getsockname()
    try:
        yield address
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join()
        listener.close()


def load_of(
    address: tuple[str, int], *, fresh: int = 1, reused: int = 0, stopping: bool = False
) -> Counts:
    """What a load of so many connections counts."""
    order = Order(0, address, "/", CONTENT, fresh, 200.0, reused)
    return Load(order, lambda: stopping).run()

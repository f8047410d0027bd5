"""The crowd of the fairness measurement: greedy downloads without end, and readers as slow as a bad line.

A process of its own. Prints "ready" when everyone has had octets, and one line of JSON when its standard
input ends.
usage: python -m loadtests.benchmark.crowd HOST PORT DOWNLOADS SLOW
"""

from __future__ import annotations

import json
import select
import socket
import sys
import time

from loadtests.benchmark.tree import HUGE
from loadtests.benchmark.workloads import Ask

GULP = 1 << 20
SIP = 8192  # octets a slow reader takes at a time
PAUSE = 0.25  # seconds between its sips
GROUPS = 10  # slow readers take turns, so that their reads spread over the pause
# The connection ends with the file; the next download then begins on a new one.
HEAD = Ask(f"/{HUGE}", None, ("Connection: close",)).head()


class Crowd:
    """All of them in one loop: a download reads whenever it can, a slow reader when its turn comes."""

    def __init__(self, host: str, port: int, downloads: int, slow: int) -> None:
        self.at = (host, port)
        self.space = bytearray(GULP)
        self.poller = select.epoll()
        self.downloads: dict[int, socket.socket] = {}
        self.octets = 0
        self.cut = 0  # slow readers whose connection the server ended
        for _ in range(downloads):
            self.begin_download()
        self.slow = [self.connect() for _ in range(slow)]
        self.group = 0
        self.next_sip = time.monotonic()

    def connect(self) -> socket.socket:
        """A connection that has asked for the huge file and had its first octet."""
        # The receive buffer is left to the kernel, as clients do: slow is the line, not the socket.
        sock = socket.create_connection(self.at)
        sock.sendall(HEAD)
        sock.recv(1)
        sock.setblocking(False)
        return sock

    def begin_download(self) -> None:
        sock = self.connect()
        self.downloads[sock.fileno()] = sock
        self.poller.register(sock, select.EPOLLIN)

    def turn(self) -> None:
        """Everything that is ready, and the next sip when it is time for one."""
        for fd, _ in self.poller.poll(max(0.0, self.next_sip - time.monotonic())):
            self.gulp(fd)
        if time.monotonic() >= self.next_sip:
            self.next_sip += PAUSE / GROUPS
            self.sip()

    def gulp(self, fd: int) -> None:
        # MSG_TRUNC lets the kernel drop the octets: a download costs the client next to nothing.
        try:
            n = self.downloads[fd].recv_into(self.space, GULP, socket.MSG_TRUNC)
        except BlockingIOError:
            return
        except ConnectionError:
            n = 0
        if n == 0:
            self.poller.unregister(fd)
            self.downloads.pop(fd).close()
            self.begin_download()
        self.octets += n

    def sip(self) -> None:
        """One group of the slow readers takes what a bad line would have brought."""
        for sock in self.slow[self.group :: GROUPS]:
            try:
                if not sock.recv(SIP):
                    self.replace(sock)
            except BlockingIOError:
                continue
            except ConnectionError:
                self.replace(sock)
        self.group = (self.group + 1) % GROUPS

    def replace(self, sock: socket.socket) -> None:
        self.cut += 1
        sock.close()
        self.slow[self.slow.index(sock)] = self.connect()


def told_to_stop() -> bool:
    """Has standard input ended?"""
    return bool(select.select([sys.stdin], [], [], 0)[0])


def main() -> None:
    host, port, downloads, slow = sys.argv[1], *map(int, sys.argv[2:5])
    crowd = Crowd(host, port, downloads, slow)
    print("ready", flush=True)
    crowd.octets, began = 0, time.monotonic()
    while not told_to_stop():
        crowd.turn()
    seconds = time.monotonic() - began
    print(json.dumps({"octets_per_second": crowd.octets / seconds, "cut": crowd.cut}))


if __name__ == "__main__":
    main()

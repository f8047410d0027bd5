"""A visitor who asks for one KiB again and again, at times of his own, and notes how long each answer takes.

A process of its own, started by `fairness` with a high priority: it has to see the server's delays, not those
of the other clients beside it. Prints one line of JSON.
usage: python -m loadtests.benchmark.probe HOST PORT SECONDS
"""

from __future__ import annotations

import json
import random
import select
import socket
import sys
import time
from collections import deque

from loadtests.benchmark import processes
from loadtests.benchmark.tree import SIZES, content
from loadtests.benchmark.workloads import WORKLOADS

RATE = 500.0  # requests per second, at random intervals
CONNECTIONS = 16
# The last line of the content, which says its place: an answer is whole when it has come.
END = content("hot.html", SIZES["hot.html"])[-80:]


class Probe:
    """Open loop: a request is due when its time has come, whether or not the last one was answered."""

    def __init__(self, host: str, port: int, seconds: float) -> None:
        self.head = WORKLOADS["hot"].asks()[0].head()
        self.idle = deque(socket.create_connection((host, port)) for _ in range(CONNECTIONS))
        self.due: deque[float] = deque()  # when requests without a connection became due
        self.asked: dict[socket.socket, float] = {}
        self.received: dict[socket.socket, bytes] = {}
        self.random = random.Random(1)
        self.next_at = time.monotonic()
        self.until = self.next_at + seconds
        self.taken: list[float] = []

    def run(self) -> list[float]:
        """Seconds from due to answered, of every request."""
        while True:
            now = time.monotonic()
            while self.next_at <= now and self.next_at < self.until:
                self.due.append(now)
                self.next_at += self.random.expovariate(RATE)
            self.ask()
            if now >= self.until and not self.asked and not self.due:
                return self.taken
            patience = max(0.0, self.next_at - now) if now < self.until else 1.0
            for sock in select.select(list(self.asked), [], [], patience)[0]:
                self.receive(sock)

    def ask(self) -> None:
        while self.due and self.idle:
            sock = self.idle.popleft()
            self.asked[sock] = self.due.popleft()
            self.received[sock] = b""
            sock.sendall(self.head)

    def receive(self, sock: socket.socket) -> None:
        data = sock.recv(65536)
        if not data:
            raise ConnectionError("the server closed a connection of the probe")
        self.received[sock] += data
        if self.received[sock].endswith(END):
            self.taken.append(time.monotonic() - self.asked.pop(sock))
            self.idle.append(sock)


def percentile(values: list[float], share: float) -> float:
    """The smallest value that at least this share of the values does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def main() -> None:
    host, port, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
    first = processes.put_first([0])
    taken = Probe(host, port, seconds).run()
    said = {
        "answers": len(taken),
        "p50_us": percentile(taken, 0.5) * 1e6,
        "p99_us": percentile(taken, 0.99) * 1e6,
        "max_us": max(taken) * 1e6,
        "urgent": first,
    }
    print(json.dumps(said))


if __name__ == "__main__":
    main()

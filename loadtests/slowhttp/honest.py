"""The honest client: a small file on a fresh connection, again and again, and how long each took."""

from __future__ import annotations

import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

PAUSE: Final = 0.005  # seconds between two requests
PATIENCE: Final = 10.0  # seconds that it waits for an answer
REQUEST: Final = b"GET /small HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Latency:
    """What the honest client met; in milliseconds."""

    requests: int
    failed: int
    p50: float
    p99: float
    worst: float


def latency(port: int, seconds: float) -> Latency:
    """Ask for so long."""
    times: list[float] = []
    failed = 0
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        begun = time.monotonic()
        try:
            heard = ask(port)
        except OSError:
            heard = b""
        if heard.startswith(b"HTTP/1.1 200 "):
            times.append(1000 * (time.monotonic() - begun))
        else:
            failed += 1
        time.sleep(PAUSE)
    return summary(times, failed)


def ask(port: int) -> bytes:
    """One answer."""
    heard = b""
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as client:
        client.sendall(REQUEST)
        while more := client.recv(65536):
            heard += more
    return heard


def summary(times: Sequence[float], failed: int) -> Latency:
    """The figures of these times, in milliseconds."""
    ordered = sorted(times) or [0.0]

    def share(part: float) -> float:
        return round(ordered[min(len(ordered) - 1, int(part * len(ordered)))], 3)

    return Latency(len(times), failed, share(0.5), share(0.99), round(ordered[-1], 3))

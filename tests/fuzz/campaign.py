"""Case after case against one server, and what was wrong with its answers, its log or its descriptors."""

from __future__ import annotations

import contextlib
import os
import random
import socket
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import cast

from tests.fuzz import mutate
from tests.harness.reader import Closed, Faulty, Reader
from tests.harness.server import Server

PATIENCE = (
    20.0  # seconds: longer than any limit of the server for a client that has said all it will
)
LOOK_EVERY = 500  # cases
# What the caches keep open: files that are served from their descriptors, the directories on the way to them, from the
# top on, and an inotify instance.
KEPT_OPEN = 16
HONEST = b"GET /hello.txt HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Finding:
    """A case, and what came of it. `number` and the seed make it again."""

    number: int
    what: str
    octets: bytes


@dataclass(slots=True)
class Campaign:
    """What has been tried, and what was found."""

    seed: int
    cases: int = 0
    statuses: Counter[int] = field(default_factory=Counter)  # of the answers
    findings: list[Finding] = field(default_factory=list)


class Played:
    """Octets that were received before, for a reader that wants a socket."""

    def __init__(self, octets: bytes) -> None:
        self.rest = octets

    def settimeout(self, _seconds: float) -> None:
        """Nothing has to be waited for."""

    def recv_into(self, block: memoryview) -> int:
        """The next of them."""
        count = min(len(block), len(self.rest))
        block[:count] = self.rest[:count]
        self.rest = self.rest[count:]
        return count


def statuses(sent: bytes, heard: bytes) -> list[int]:
    """The statuses of the answers that `heard` is. Raises Faulty where it is anything else."""
    found = []
    while heard:
        head, _, behind = heard.partition(b"\r\n\r\n")
        # Nothing of what is served begins like an answer: this is one to HEAD.
        without = behind.startswith(b"HTTP/1.") or (not behind and b"HEAD" in sent)
        reader = Reader(cast("socket.socket", Played(heard)))
        answer = reader.read(b"HEAD" if without else b"GET")
        found.append(answer.status)
        heard = heard[len(head) + 4 + len(answer.content) :]
    return found


def exchange(port: int, octets: bytes, dice: random.Random) -> bytes:
    """All that the server says to `octets`, which arrive in one piece or two. Raises TimeoutError."""
    heard = bytearray()
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as client:
        with contextlib.suppress(
            ConnectionError
        ):  # it has closed in the middle: what it said counts
            place = dice.choice((0, dice.randrange(len(octets) + 1)))
            client.sendall(octets[:place])
            client.sendall(octets[place:])
            client.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionError):
            while more := client.recv(1 << 18):
                heard += more
    return bytes(heard)


def descriptors(server: Server) -> dict[int, int]:
    """How many files each worker has open."""
    return {pid: len(os.listdir(f"/proc/{pid}/fd")) for pid in server.workers()}


def run(server: Server, seed: int, numbers: Iterator[int], seconds: float) -> Campaign:
    """Try cases until the numbers or the seconds are over."""
    campaign = Campaign(seed)
    requests = mutate.corpus()
    exchange(server.port, HONEST, random.Random(0))  # it opens what it keeps open
    before = descriptors(server)
    end = time.monotonic() + seconds
    for number in numbers:
        if time.monotonic() > end or len(campaign.findings) > 20:
            break
        octets = mutate.case(seed, number, requests)
        try_one(campaign, server, number, octets)
        if campaign.cases % LOOK_EVERY == 0:
            look_at(campaign, server, number, before)
    look_at(campaign, server, -1, before)
    return campaign


def try_one(campaign: Campaign, server: Server, number: int, octets: bytes) -> None:
    """One case."""
    campaign.cases += 1
    heard = b""
    try:
        heard = exchange(server.port, octets, random.Random(number))  # to be repeated
        campaign.statuses.update(statuses(octets, heard))
    except TimeoutError:
        campaign.findings.append(Finding(number, "no end within the time", octets))
    except (Faulty, Closed) as fault:
        campaign.findings.append(Finding(number, f"{fault}: {heard[-300:]!r}", octets))


def settled(now: dict[int, int], before: dict[int, int]) -> bool:
    """Whether the same workers have no more open than they had, but for what they keep."""
    return now.keys() == before.keys() and all(
        count <= before[pid] + KEPT_OPEN for pid, count in now.items()
    )


def look_at(campaign: Campaign, server: Server, number: int, before: dict[int, int]) -> None:
    """Whether the workers live, keep no more open than they did, and complain of nothing of their own."""
    for word in ("Traceback", "a bug"):
        if word in server.stderr:
            campaign.findings.append(Finding(number, f"{word}: {server.stderr[-3000:]}", b""))
            return
    end = time.monotonic() + PATIENCE
    # What was opened for a client is closed a moment later; what the caches hold is bounded.
    while not settled(now := descriptors(server), before):
        if time.monotonic() > end:
            campaign.findings.append(Finding(number, f"open files: {before} became {now}", b""))
            break
        time.sleep(0.05)
    honest = exchange(server.port, HONEST, random.Random(0))  # as above
    if not honest.endswith(b"\r\n\r\nhello\n"):
        campaign.findings.append(Finding(number, f"an honest client heard {honest!r}", HONEST))

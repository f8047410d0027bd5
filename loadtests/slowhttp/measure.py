"""One attack on one server, and the honest client before it and beside it."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Final

from loadtests.benchmark.processes import spent
from loadtests.slowhttp.attack import command, ramp, under_attack
from loadtests.slowhttp.honest import latency
from loadtests.slowhttp.results import Row
from tests.harness.peers import Peer

LONG_AGO: Final = 1_000_000_000  # epoch seconds: nothing has just changed
LARGE: Final = 16 << 20  # octets of the file that slow readers ask for
ESTABLISHED: Final = "01"  # a state, in the kernel's table


def make_root(folder: Path) -> Path:
    """Fill it with what is asked for."""
    for name, content in (("small", b"hello\n"), ("large", bytes(LARGE))):
        path = folder / name
        path.write_bytes(content)
        os.utime(path, (LONG_AGO, LONG_AGO))
    return folder


def attack_one(peer: Peer, server: str, attack: str, connections: int, seconds: float) -> Row:
    """The honest client alone, then as long while all connections of the attacker are there."""
    alone = latency(peer.port, seconds)
    held = seconds + 1
    line = command(attack, peer.port, connections, held)
    with under_attack(line, ramp(connections) + held) as outcome:
        time.sleep(ramp(connections))
        reached = connections_at(peer.port)
        before, begun = spent(peer.pids()), time.monotonic()
        beside = latency(peer.port, seconds)
        reached = max(reached, connections_at(peer.port))
        used = (spent(peer.pids()) - before).busy / (time.monotonic() - begun)
    return Row(server, attack, reached, alone, beside, outcome.available, round(used, 3))


def connections_at(port: int) -> int:
    """How many connections are open at `port` of the loopback interface, on the server's side."""
    lines = Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]
    fields = [line.split() for line in lines]
    return sum(each[1].endswith(f":{port:04X}") and each[3] == ESTABLISHED for each in fields)

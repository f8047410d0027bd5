"""Memory: a worker after the hot workload, and what each idle connection adds to it."""

from __future__ import annotations

import resource
import socket
import time

from loadtests.benchmark import client, processes, wire
from loadtests.benchmark.results import Table
from loadtests.benchmark.timed import Bench
from loadtests.benchmark.workloads import WORKLOADS
from tests.harness import peers

IDLE = 10_000
REST = 2.0  # seconds after the last connection, for what a server does in its spare time


def run(bench: Bench) -> Table:
    """A row per server."""
    count = min(IDLE, room_for_files() - 200)
    if count < IDLE:
        bench.remark(f"memory: the limit of open files leaves room for {count:,} connections only")
    rows = []
    for name in bench.servers:
        try:
            rows.append((name, *measure(bench, name, count)))
        except (client.ClientError, peers.PeerError, wire.Differs, OSError) as error:
            bench.remark(f"{name} is left out of memory: {error}")
    return Table(
        "memory",
        "Memory",
        "Proportional set size after the hot workload, of the largest process and of all of them; then the"
        f" growth of all of them, divided by the {count:,} connections that were opened, asked one request"
        " each and were left idle. The kernel's memory for sockets is not in it.",
        ("server", "worker, KiB", "all processes, KiB", "bytes per idle connection"),
        tuple(rows),
    )


def room_for_files() -> int:
    """Raises this process's limit of open files as far as it goes; that limit."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def measure(bench: Bench, name: str, count: int) -> tuple[float, float, float]:
    """KiB of the largest process, KiB of all, bytes per idle connection."""
    hot = WORKLOADS["hot"]
    with bench.start(name) as peer:
        heads, answer = wire.verify(peer.host, peer.port, hot)
        client.run(peer.url, bench.load(hot, heads), bench.seconds, bench.processors.client or None)
        time.sleep(REST)
        sizes = [processes.proportional_size([pid]) for pid in peer.pids()]
        idle = [visit(peer, heads[0], answer) for _ in range(count)]
        try:
            time.sleep(REST)
            grown = processes.proportional_size(peer.pids()) - sum(sizes)
            kept = sum(is_open(sock) for sock in idle)
        finally:
            for sock in idle:
                sock.close()
    if kept < count:
        raise wire.Differs(f"it closed {count - kept} of {count} idle connections")
    return round(max(sizes) / 1024), round(sum(sizes) / 1024), round(grown / count)


def visit(peer: peers.Peer, head: bytes, expected: wire.Answer) -> socket.socket:
    """A connection that has had one answer and stays."""
    one = wire.Wire(peer.host, peer.port)
    if one.ask(head).content != expected.content:
        raise wire.Differs("another answer to an idle connection")
    return one.sock


def is_open(sock: socket.socket) -> bool:
    sock.setblocking(False)
    try:
        return sock.recv(1) != b""
    except BlockingIOError:
        return True
    except OSError:
        return False

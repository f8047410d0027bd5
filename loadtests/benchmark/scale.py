"""Scale: more workers on the processors there are, and how connections spread over them."""

from __future__ import annotations

import time

from loadtests.benchmark import client, processes, wire
from loadtests.benchmark.results import Table
from loadtests.benchmark.timed import Bench
from loadtests.benchmark.workloads import WORKLOADS
from tests.harness import peers

WORKERS = (1, 2, 4)
CONNECTIONS = (64, 8)
SETTLE = 2.0  # seconds at most until the connections of wrk stand, or have ended
STABLE = 0.25  # seconds without a change that count as rest


def run(bench: Bench) -> Table:
    """Rows per server, number of workers and number of connections."""
    rows = []
    for name in bench.servers:
        for workers in WORKERS:
            for connections in CONNECTIONS:
                try:
                    row = (name, workers, connections, *measure(bench, name, workers, connections))
                except (client.ClientError, peers.PeerError, wire.Differs) as error:
                    bench.remark(f"{name} with {workers} workers is left out of scale: {error}")
                    continue
                bench.say(f"  {row}")
                rows.append(row)
    return Table(
        "scale",
        "Scale",
        "The hot workload with more workers. Server and client are not pinned here and share all processors,"
        " so the rates say how well they get along, not how fast a server alone would be. The last column is"
        " how many of the connections each worker had, where workers are processes.",
        ("server", "workers", "connections", "requests/s", "µs per request", "spread over workers"),
        tuple(rows),
    )


def measure(bench: Bench, name: str, workers: int, connections: int) -> tuple[float, float, str]:
    """Requests per second, processor time per request, connections of each worker."""
    hot = WORKLOADS["hot"]
    with peers.start(name, bench.root, workers=workers) as peer:
        heads, _ = wire.verify(peer.host, peer.port, hot)
        load = bench.load(hot, heads, connections=connections, threads=2)
        client.run(peer.url, load, bench.warm_up, None)
        resting = await_rest(peer)
        before = processes.spent(resting)
        started = client.start(peer.url, load, bench.seconds, None)
        held = await_connections(resting, connections)
        counted = client.finish(started)
        if peer.pids() != list(resting):
            raise client.ClientError("processes of the server came or went")
        used = processes.spent(resting) - before
    client.check(counted, hot.status)
    spread = describe(held, peer.process.pid, workers)
    return round(counted.rate), round(used.busy / counted.requests * 1e6, 2), spread


def await_rest(peer: peers.Peer) -> dict[int, int]:
    """Process → the sockets it holds, once all workers are there and all connections have ended."""
    deadline = time.monotonic() + SETTLE
    now: dict[int, int] = {}
    while time.monotonic() < deadline:
        before, now = now, {pid: processes.sockets(pid) for pid in peer.pids()}
        if now == before:
            break
        time.sleep(STABLE)
    return now


def await_connections(resting: dict[int, int], wanted: int) -> dict[int, int]:
    """The connections each process holds, once all of them have been accepted."""
    deadline = time.monotonic() + SETTLE
    while True:
        held = {pid: processes.sockets(pid) - sockets for pid, sockets in resting.items()}
        if sum(held.values()) == wanted or time.monotonic() > deadline:
            return held
        time.sleep(0.02)


def describe(held: dict[int, int], first: int, workers: int) -> str:
    """Connections per worker, the busiest first; a word where the workers are threads."""
    others = [count for pid, count in held.items() if pid != first]
    each = others if any(others) else [held[first]]
    if len(each) != workers:
        return "threads"
    return " + ".join(str(count) for count in sorted(each, reverse=True))

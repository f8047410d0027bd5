"""Slots: what it costs that every worker polls the listening sockets of all of them, and what that buys.

Beside mpserve as it is stands one whose workers poll their own slot alone (see `polling`).
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from itertools import product
from statistics import median

from loadtests.benchmark import client, kin, polling, stopped, timed, wire
from loadtests.benchmark.machine import Processors
from loadtests.benchmark.results import OURS, Table
from loadtests.benchmark.timed import Bench
from loadtests.benchmark.workloads import WORKLOADS
from loadtests.reliability.subject import NotDone
from tests.harness import peers

WORKERS = (1, 2, 4, 8)
POLLED = {OURS: "all", kin.OWN_SLOT: "its own"}
TIMED = ("close", "hot")
THREADS = 2  # of the client
LATE = 50.0  # milliseconds of its lateness that are worth a word
CALLS = 3  # digits after the point of what is counted per request
EXPLANATION = (
    "What it costs that each worker polls the listening sockets of all of them, beside an mpserve whose workers poll"
    " their own alone: processor time of all processes per request in two workloads (median; the lowest and the"
    " highest of the rounds; with one worker there is one slot, and a difference is chance). Then what accepting"
    " takes beside one accept4, per request of *close*: epoll_ctl, calls of accept4 that found nobody, and wake-ups in"
    " which nobody was accepted, counted inside the workers in a measurement of their own. Server and client share all"
    f" processors. At last what it buys: one worker is stopped for {stopped.HELD:g} seconds, while"
    f" {stopped.RATE:.0f} clients a second come, each with one request; held up is who waited for it to go on."
)
COLUMNS = (
    *("workers", "slots polled", "close, µs", "hot, µs"),
    *("epoll_ctl per request", "accept4 in vain", "wake-ups in vain"),
    *("p99 beside a stopped worker, ms", "held up", "lost"),
)
FAILURES = (client.ClientError, peers.PeerError, wire.Differs, NotDone)

Case = tuple[int, str]  # workers, server
Cells = tuple[str | float, ...]


def run(bench: Bench) -> Table:
    """A row per number of workers, and per server."""
    # On one processor no two workers would ever want the same connection.
    free = dataclasses.replace(bench, processors=Processors(frozenset(), frozenset()))
    times = take_times(free)
    rows = []
    for workers, name in product(WORKERS, POLLED):
        costs = (told(times[workload, (workers, name)]) for workload in TIMED)
        row = (
            workers,
            POLLED[name],
            *costs,
            *calls(free, workers, name),
            *fate(free, workers, name),
        )
        bench.say(f"  {row}")
        rows.append(row)
    return Table(
        "slots",
        "Polling every slot",
        EXPLANATION,
        COLUMNS,
        tuple(rows),
    )


def take_times(bench: Bench) -> dict[tuple[str, Case], list[float]]:
    """Processor time per request of every round, the servers beside one another in each."""
    times: dict[tuple[str, Case], list[float]] = defaultdict(list)
    for turn, workload, workers in product(range(bench.rounds), TIMED, WORKERS):
        for name in timed.rotated(list(POLLED), turn):
            try:
                sample = one_round(bench, workload, workers, name)
            except FAILURES as error:
                bench.remark(f"a round of {name} with {workers} workers does not count: {error}")
                continue
            bench.say(f"  {workload:6} {workers} {name:17} {sample:6.2f} µs")
            times[workload, (workers, name)].append(sample)
    return times


def one_round(bench: Bench, workload: str, workers: int, name: str) -> float:
    """Processor time per request, in microseconds."""
    with bench.start(name, workers=workers) as peer:
        load = verified(bench, peer, workload)
        return timed.measure(bench, WORKLOADS[workload], peer, load).processor_us


def verified(bench: Bench, peer: peers.Peer, workload: str) -> client.Load:
    """What wrk is to do, where the server answers it right."""
    heads, _ = wire.verify(peer.host, peer.port, WORKLOADS[workload])
    return bench.load(WORKLOADS[workload], heads, threads=THREADS)


def told(times: list[float]) -> str:
    """The median, and how far the rounds lie apart; nothing where no round counts."""
    if not times:
        return ""
    return f"{median(times):.1f} ({min(times):.1f}–{max(times):.1f})"


def calls(bench: Bench, workers: int, name: str) -> Cells:
    """What accepting takes per request of `close`, beside accept4."""
    counts = bench.home / kin.COUNTS
    polling.clear(counts, workers)
    try:
        with bench.start(name + kin.COUNTED, workers=workers) as peer:
            load = verified(bench, peer, "close")
            client.run(peer.url, load, bench.warm_up, None)
            before = polling.read(counts)
            counted = client.run(peer.url, load, bench.seconds, None)
            after = polling.read(counts)
        client.check(counted, WORKLOADS["close"].status)
    except FAILURES as error:
        bench.remark(f"what {name} with {workers} workers does to accept is not counted: {error}")
        return ("", "", "")
    return per_request({name: after[name] - before[name] for name in after}, counted.requests)


def per_request(counts: dict[str, int], requests: int) -> Cells:
    """The cells of the columns about system calls."""
    # To be the last in the queue of those who wait at a socket is to leave it, and to come again.
    made = (2 * counts[polling.POLLED], counts[polling.EMPTY], counts[polling.IN_VAIN])
    return tuple(round(count / requests, CALLS) for count in made)


def fate(bench: Bench, workers: int, name: str) -> Cells:
    """p99 and losses while one of several workers is stopped."""
    if workers == 1:
        return ("", "", "")
    try:
        with bench.start(name, workers=workers) as peer:
            seen = stopped.measure(peer)
    except FAILURES as error:
        bench.remark(f"{name} with {workers} workers, one of them stopped: {error}")
        return ("", "", "")
    if seen.late_ms > LATE:
        bench.remark(f"the clients beside a stopped worker were late by {seen.late_ms:.0f} ms")
    return (round(seen.p99_ms, 1), f"{seen.held_up:.0%}", seen.lost)

"""Slots: what it costs that every worker polls the listening sockets of all of them, and what that buys.

Beside mpserve as it is stands one whose workers poll their own slot alone (see `polling`).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import product
from statistics import median

from loadtests.benchmark import client, kin, polling, scale, stopped, timed, wire
from loadtests.benchmark.machine import Processors
from loadtests.benchmark.results import OURS, Table
from loadtests.benchmark.timed import Bench
from loadtests.benchmark.workloads import WORKLOADS
from loadtests.reliability.subject import NotDone
from tests.harness import peers

WORKERS = (1, 2, 4, 8)
POLLED = {OURS: "all", kin.OWN_SLOT: "its own"}
CLOSE, HOT = TIMED = ("close", "hot")
THREADS = 2  # of the client
LATE = 50.0  # milliseconds of its lateness that are worth a word
CALLS = 3  # digits after the point of what is counted per request
EXPLANATION = (
    "What it costs that each worker polls the listening sockets of all of them, beside an mpserve whose workers poll"
    " their own alone: processor time of all processes per request in two workloads (median; the lowest and the"
    " highest of the rounds; with one worker there is one slot, and a difference is chance), and how many connections"
    " each worker had in *hot* (of the round in the middle). Then what accepting takes beside one accept4, per request"
    " of *close*: epoll_ctl, calls of accept4 that found nobody, and wake-ups in which nobody was accepted, counted"
    " inside the workers in a measurement of their own. Server and client share all"
    f" processors. At last what it buys: one worker is stopped for {stopped.HELD:g} seconds, while"
    f" {stopped.RATE:.0f} clients a second come, each with one request; held up is who waited for it to go on."
)
COLUMNS = (
    *("workers", "slots polled", "close, µs", "hot, µs", "spread over workers"),
    *("epoll_ctl per request", "accept4 in vain", "wake-ups in vain"),
    *("p99 beside a stopped worker, ms", "held up", "lost"),
)
FAILURES = (client.ClientError, peers.PeerError, wire.Differs, NotDone)

Cells = tuple[str | float, ...]


@dataclass(slots=True)
class Rounds:
    """What one server with so many workers has taken."""

    times: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in TIMED})
    spreads: list[str] = field(default_factory=list)  # of the connections in `hot`


def run(bench: Bench) -> Table:
    """A row per number of workers, and per server."""
    # On one processor no two workers would ever want the same connection.
    free = replace(bench, processors=Processors(frozenset(), frozenset()))
    taken = take_times(free)
    rows = []
    for workers, name in product(WORKERS, POLLED):
        rounds = taken[workers, name]
        costs = (*map(told, rounds.times.values()), middle(rounds.spreads))
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


def take_times(bench: Bench) -> dict[tuple[int, str], Rounds]:
    """(workers, server) → what its rounds took; the servers stand beside one another in each."""
    taken = {(workers, name): Rounds() for workers, name in product(WORKERS, POLLED)}
    for turn, workload, workers in product(range(bench.rounds), TIMED, WORKERS):
        for name in timed.rotated(list(POLLED), turn):
            try:
                microseconds, spread = one_round(bench, workload, workers, name)
            except FAILURES as error:
                bench.remark(f"a round of {name} with {workers} workers does not count: {error}")
                continue
            bench.say(f"  {workload:6} {workers} {name:17} {microseconds:6.2f} µs  {spread}")
            rounds = taken[workers, name]
            rounds.times[workload].append(microseconds)
            rounds.spreads += [spread] if spread[:1].isdigit() else []
    return taken


def one_round(bench: Bench, workload: str, workers: int, name: str) -> tuple[float, str]:
    """Processor time per request, in microseconds, and in `hot` how the connections spread."""
    if workload == HOT:
        return scale.measure(bench, name, workers, bench.connections)[1:]
    with bench.start(name, workers=workers) as peer:
        load = closing_load(bench, peer)
        return timed.measure(bench, WORKLOADS[CLOSE], peer, load).processor_us, ""


def closing_load(bench: Bench, peer: peers.Peer) -> client.Load:
    """What wrk is to do in `close`, where the server answers it right."""
    heads, _ = wire.verify(peer.host, peer.port, WORKLOADS[CLOSE])
    return bench.load(WORKLOADS[CLOSE], heads, threads=THREADS)


def told(times: list[float]) -> str:
    """The median, and how far the rounds lie apart; nothing where no round counts."""
    if not times:
        return ""
    return f"{median(times):.1f} ({min(times):.1f}–{max(times):.1f})"


def middle(spreads: list[str]) -> str:
    """That in which the busiest worker had neither the most nor the fewest; nothing where there is none."""
    ordered = sorted(spreads, key=lambda spread: int(spread.partition(" ")[0]))
    return ordered[len(ordered) // 2] if ordered else ""


def calls(bench: Bench, workers: int, name: str) -> Cells:
    """What accepting takes per request of `close`, beside accept4."""
    counts = bench.home / kin.COUNTS
    polling.clear(counts, workers)
    try:
        with bench.start(name + kin.COUNTED, workers=workers) as peer:
            load = closing_load(bench, peer)
            client.run(peer.url, load, bench.warm_up, None)
            before = polling.read(counts)
            counted = client.run(peer.url, load, bench.seconds, None)
            after = polling.read(counts)
        client.check(counted, WORKLOADS[CLOSE].status)
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

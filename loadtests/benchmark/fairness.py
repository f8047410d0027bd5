"""Fairness: what a small request has to wait while one worker is busy with greedy and with slow clients."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, TypeAlias

from loadtests.benchmark import floor, processes, wire
from loadtests.benchmark.results import FLOOR, OURS, Table
from loadtests.benchmark.timed import Bench, Running, rotated
from loadtests.benchmark.tree import HUGE
from loadtests.benchmark.workloads import WORKLOADS
from tests.harness import peers

DOWNLOADS = 50
SLOW = 500
SECONDS = 6
PROJECT = Path(__file__).parents[2]
START_LIMIT = 60.0  # seconds for everyone in the crowd to have an octet


# p99 alone and beside the crowd, µs; MB/s.
Figures: TypeAlias = tuple[float, float, float]


class Unfair(Exception):
    """The measurement could not be made."""


def run(bench: Bench) -> Table:
    """A row per server, of medians: a host that stops for ten milliseconds is a p99 of its own."""
    bring_into_memory(bench.root / HUGE)  # else the first server is alone in waiting for the disk
    ways = {name: partial(measure, bench, name) for name in bench.servers}
    if FLOOR in bench.floors:
        ways = {FLOOR: partial(measure_floor, bench), **ways}
    taken: dict[str, list[Figures]] = {name: [] for name in ways}
    for turn in range(bench.rounds):
        for name in rotated(list(ways), turn):
            try:
                taken[name].append(ways[name]())
                bench.say(f"  {name:12} {row_of(taken[name][-1:])}")
            except (Unfair, peers.PeerError, subprocess.TimeoutExpired) as error:
                bench.remark(f"a round of {name} in fairness does not count: {error}")
    return Table(
        "fairness",
        "Fairness",
        f"Medians of {bench.rounds} rounds. p99 of a 1 KiB request, alone and while {DOWNLOADS} clients download"
        f" 1 GiB and {SLOW} more read 32 KB/s each, from one worker. The requests come at random times, 500 a second,"
        f" whether or not the last one was answered. {FLOOR}: the crowd is {OURS}'s, and the requests are answered by"
        " the smallest C loop, which goes before all else on its processor: what is left is the way there and back,"
        " and what the kernel does not interrupt on it.",
        ("server", "p99 alone, µs", "p99 beside the crowd, µs", "times", "downloads, MB/s"),
        tuple((name, *row_of(figures)) for name, figures in taken.items() if figures),
    )


def row_of(rounds: list[Figures]) -> tuple[float, float, float, float]:
    """Of each figure the median, and how many times as long it takes beside the crowd."""
    alone, beside, rate = map(median, zip(*rounds, strict=True))
    return round(alone), round(beside), round(beside / alone, 1), round(rate)


def bring_into_memory(path: Path) -> None:
    """Read the file, to nowhere."""
    with path.open("rb", buffering=0) as file:
        while file.read(1 << 20):
            pass


def measure(bench: Bench, name: str) -> Figures:
    """p99 alone, p99 beside the crowd, and the crowd's MB/s."""
    with bench.start(name) as peer:
        return compare(bench, peer, peer)


def measure_floor(bench: Bench) -> Figures:
    """The same where the small requests have nothing to do with the server that is busy."""
    with bench.start(OURS) as peer:
        _, answer = wire.verify(peer.host, peer.port, WORKLOADS["hot"])
        cpus = bench.processors.server or None
        with floor.start(bench.floors[FLOOR], answer, closing=False, cpus=cpus) as asked:
            if not processes.put_first(asked.pids()):
                raise Unfair("no right to let it go first")
            return compare(bench, peer, asked)


def compare(bench: Bench, busy: Running, asked: Running) -> Figures:
    """What the probe sees of `asked` alone and beside the crowd of `busy`."""
    probe(bench, asked, 1)
    alone = probe(bench, asked, SECONDS)
    with crowd(bench, busy) as others:
        probe(bench, asked, 1)
        beside = probe(bench, asked, SECONDS)
        said = stop(others)
    if said["cut"]:
        raise Unfair(f"it ended the connection of {said['cut']} slow readers")
    if not beside["urgent"]:
        bench.remark(
            "fairness: the probe shares its processor with the crowd (no right to go first)"
        )
    return alone["p99_us"], beside["p99_us"], said["octets_per_second"] / 1e6


def command(module: str, *arguments: str) -> list[str]:
    """The command line of a client of ours."""
    return [sys.executable, "-m", f"loadtests.benchmark.{module}", *arguments]


def probe(bench: Bench, asked: Running, seconds: int) -> dict[str, Any]:
    """What the probe saw in so many seconds."""
    with peers.placed(bench.processors.client or None):
        done = subprocess.run(
            command("probe", asked.host, str(asked.port), str(seconds)),
            capture_output=True,
            text=True,
            check=False,
            cwd=PROJECT,
            timeout=seconds + START_LIMIT,
        )
    if done.returncode != 0:
        raise Unfair(f"the probe failed: {done.stderr.strip()[-200:]}")
    said: dict[str, Any] = json.loads(done.stdout)
    return said


@contextmanager
def crowd(bench: Bench, busy: Running) -> Iterator[subprocess.Popen[str]]:
    """The crowd at work: everyone in it has had an octet."""
    arguments = (busy.host, str(busy.port), str(DOWNLOADS), str(SLOW))
    with peers.placed(bench.processors.client or None):
        process = subprocess.Popen(
            command("crowd", *arguments),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=PROJECT,
        )
    with process:
        try:
            assert process.stdout is not None
            if process.stdout.readline() != "ready\n":
                raise Unfair("the crowd did not come together")
            yield process
        finally:
            process.kill()


def stop(process: subprocess.Popen[str]) -> dict[str, Any]:
    """Sends the crowd home; what it says of itself."""
    output, _ = process.communicate(timeout=START_LIMIT)
    said: dict[str, Any] = json.loads(output)
    return said

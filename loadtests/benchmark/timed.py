"""The timed workloads: interleaved rounds, a fresh server and a warm-up for each, and a measurement by each client.

A server is started anew for every round because two starts of one program differ: where its memory lies is
worth a few per cent. The median over rounds is then one over starts, too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Protocol, TypeVar

from loadtests.benchmark import client, floor, processes, wire
from loadtests.benchmark.distance import Distance
from loadtests.benchmark.machine import Processors
from loadtests.benchmark.results import MUCH_WAITING, OURS, Results, Sample, Timed
from loadtests.benchmark.workloads import Workload
from tests.harness import peers

# wrk counts the octets of answers that its last second cut off, too.
OCTETS_TOLERANCE = 0.02

T = TypeVar("T")


class Running(Protocol):
    """A server while it is measured."""

    @property
    def host(self) -> str: ...
    @property
    def port(self) -> int: ...
    @property
    def url(self) -> str: ...
    def pids(self) -> list[int]: ...


Starter = Callable[[], AbstractContextManager[Running]]


@dataclass(frozen=True, slots=True)
class Agreed:
    """What a server was asked and has answered right before it is timed."""

    heads: list[bytes]
    answer: wire.Answer


@dataclass(slots=True)
class Bench:
    """What all measurements of a run share."""

    root: Path  # the tree that is served
    home: Path  # a directory for everything else
    servers: tuple[str, ...]
    processors: Processors
    distance: Distance
    connections: int
    rounds: int
    seconds: int
    warm_up: int
    retakes: int
    results: Results
    say: Callable[[str], None]
    floors: dict[str, floor.Program]
    clients: tuple[client.Client, ...] = (client.WRK,)  # of the timed workloads

    def remark(self, text: str) -> None:
        """Says it now, and keeps it for the report."""
        self.say(f"  note: {text}")
        self.results.note(text)

    def start(self, name: str, *, logged: bool = False, workers: int = 1) -> peers.Peer:
        """The server `name`, on the processor of the servers."""
        log = self.home / "access.log" if logged else None
        if log:
            log.unlink(missing_ok=True)
        cpus = self.processors.server or None
        return peers.start(name, self.root, workers=workers, access_log=log, cpus=cpus)

    def load(
        self, workload: Workload, heads: list[bytes], *, connections: int = 0, threads: int = 1
    ) -> client.Load:
        """What a client is to do for `workload`; the heads lie in a file of their own."""
        path = self.home / "heads"
        path.write_bytes(b"".join(heads * workload.depth))
        connections = connections or self.connections
        return client.Load(
            path, connections, workload.depth, workload.counted, threads, workload.closing
        )


def run(bench: Bench, workload: Workload, *, logged: bool) -> None:
    """Times one workload on all servers that answer it alike, and adds it to the results."""
    agreed = agree(bench, workload)
    starters: dict[str, Starter] = {
        name: partial(bench.start, name, logged=logged) for name in agreed
    }
    if agreed and not logged:
        given = agreed.get(OURS) or next(iter(agreed.values()))
        for name, program in bench.floors.items():
            if program.can_stand_for(given.answer, closing=workload.closing):
                agreed[name] = given
                starters[name] = partial(
                    floor.start,
                    program,
                    given.answer,
                    closing=workload.closing,
                    cpus=bench.processors.server or None,
                )
    taken: dict[tuple[str, str], list[Sample]] = {
        (by.name, name): [] for by in bench.clients for name in starters
    }
    for turn in range(bench.rounds):
        for name in rotated(list(starters), turn):
            counting = attempt(bench, workload, agreed[name], name, starters[name])
            for by, sample in counting.items():
                taken[by, name].append(sample)
    bench.results.timed += [
        Timed(workload.name, logged, name, tuple(samples), by)
        for (by, name), samples in taken.items()
        if samples
    ]


def agree(bench: Bench, workload: Workload) -> dict[str, Agreed]:
    """The servers that give the workload's answers; those that do not are noted and left out."""
    agreed = {}
    for name in bench.servers:
        try:
            with bench.start(name) as peer:
                agreed[name] = Agreed(*wire.verify(peer.host, peer.port, workload))
        except (wire.Differs, peers.PeerError) as error:
            bench.remark(f"{name} is left out of {workload.name}: {error}")
    return agreed


def rotated(names: list[T], turn: int) -> list[T]:
    """The names in an order that begins with another one each turn: nobody is always the first."""
    at = turn % len(names) if names else 0
    return names[at:] + names[:at]


def attempt(
    bench: Bench, workload: Workload, agreed: Agreed, name: str, start: Starter
) -> dict[str, Sample]:
    """By each client one measurement that counts, or a note why there is none.

    It is taken again when other work held the server's processor meanwhile, or when server and client did not lie
    near each other. Which of the tries counts depends on that alone, not on what the server did in it.
    """
    tries: dict[str, list[Sample]] = {by.name: [] for by in bench.clients}
    problems: dict[str, str] = {}
    for _ in range(1 + bench.retakes):
        wanted = [by for by in bench.clients if not any(is_good(bench, s) for s in tries[by.name])]
        if not wanted:
            break
        for by, outcome in one_try(bench, workload, agreed, wanted, start).items():
            if isinstance(outcome, Sample):
                tell(bench, name, by, outcome)
                tries[by].append(outcome)
            else:
                problems[by] = str(outcome)
    for by, problem in problems.items():
        if not tries[by]:
            bench.remark(f"a round of {name} in {workload.name} by {by} does not count: {problem}")
    return {by: best(bench, taken) for by, taken in tries.items() if taken}


def one_try(
    bench: Bench,
    workload: Workload,
    agreed: Agreed,
    wanted: Sequence[client.Client],
    start: Starter,
) -> dict[str, Sample | Exception]:
    """What each client measures of one start of the server, or why it cannot."""
    load = bench.load(workload, agreed.heads)
    outcomes: dict[str, Sample | Exception] = {}
    try:
        with start() as server:
            warm_up(bench, server, load)
            for by in wanted:
                outcomes[by.name] = measure_between(bench, workload, agreed, server, load, by)
    except (client.ClientError, peers.PeerError) as error:
        return {by.name: error for by in wanted}
    return outcomes


def is_good(bench: Bench, sample: Sample) -> bool:
    """Whether nothing disturbed it."""
    return sample.waited_share <= MUCH_WAITING and bench.distance.is_near(sample.distance_ns)


def best(bench: Bench, tries: Sequence[Sample]) -> Sample:
    """The one that was disturbed least."""
    return min(
        tries,
        key=lambda each: (not bench.distance.is_near(each.distance_ns), each.waited_share),
    )


def tell(bench: Bench, name: str, by: str, sample: Sample) -> None:
    """A line on the terminal about one try."""
    doubt = f"  waited {sample.waited_share:.0%}" if sample.waited_share > MUCH_WAITING else ""
    if not bench.distance.is_near(sample.distance_ns):
        doubt += f"  {sample.distance_ns:.0f} ns apart"
    bench.say(
        f"  {name:15} {by:8} {sample.processor_us:8.2f} µs  {sample.rate:9,.0f}/s"
        f"  client {sample.client_share:4.0%}{doubt}"
    )


def measure(bench: Bench, workload: Workload, server: Running, load: client.Load) -> Sample:
    """Warms the server up, and measures it with wrk."""
    warm_up(bench, server, load)
    return measure_warm(bench, workload, server, load, client.WRK)


def warm_up(bench: Bench, server: Running, load: client.Load) -> None:
    client.run(server.url, load, bench.warm_up, bench.processors.client or None)


def measure_between(
    bench: Bench,
    workload: Workload,
    agreed: Agreed,
    server: Running,
    load: client.Load,
    by: client.Client,
) -> Sample | client.ClientError:
    """Measures it as soon as the processors lie near each other, and looks whether they still do after it."""
    before = bench.distance.settle()
    try:
        sample = measure_warm(bench, workload, server, load, by)
        check_octets(sample, len(agreed.answer.octets))
    except client.ClientError as error:
        return error
    return replace(sample, distance_ns=max(before, bench.distance.now()))


def measure_warm(
    bench: Bench, workload: Workload, server: Running, load: client.Load, by: client.Client
) -> Sample:
    """Loads the server while its processor time is counted."""
    pids = server.pids()
    # In a container the kernel's threads may not be seen; then nothing is said of them.
    threads = processes.softirq_threads()
    kernel = [threads[n] for n in bench.processors.server if n in threads]
    before, before_kernel = processes.spent(pids), processes.spent(kernel)
    counted = client.run(server.url, load, bench.seconds, bench.processors.client or None, by)
    if server.pids() != pids:
        raise client.ClientError("processes of the server came or went")
    used, used_kernel = processes.spent(pids) - before, processes.spent(kernel) - before_kernel
    client.check(counted, workload.status)
    return Sample(
        processor_us=used.busy / counted.requests * 1e6,
        user_share=used.user / used.busy,
        rate=counted.rate,
        p50_us=counted.p50_us,
        p99_us=counted.p99_us,
        octets=counted.octets / counted.requests,
        client_share=counted.busy / counted.seconds,
        waited_share=used.waited / counted.seconds,
        softirq_share=used_kernel.busy / used.busy,
    )


def check_octets(sample: Sample, expected: int) -> None:
    """ClientError when the answers that were timed are not as long as the one that was verified."""
    if abs(sample.octets - expected) > OCTETS_TOLERANCE * expected:
        raise client.ClientError(
            f"answers of {sample.octets:.0f} octets, where {expected} were verified"
        )

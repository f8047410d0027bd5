"""Results as a run would leave them, small enough to reckon with in the head, and a bench for short runs."""

from __future__ import annotations

import sys
from pathlib import Path

from loadtests.benchmark import floor
from loadtests.benchmark.distance import Distance
from loadtests.benchmark.machine import processors
from loadtests.benchmark.results import FLOOR, PYTHON_FLOOR, SATURATE, Results, Sample, Table, Timed
from loadtests.benchmark.timed import Bench
from loadtests.benchmark.workloads import WORKLOADS


def sample(processor_us: float, rate: float = 1000.0) -> Sample:
    return Sample(
        processor_us=processor_us,
        user_share=0.25,
        rate=rate,
        p50_us=100.0,
        p99_us=900.0,
        octets=1200.0,
        client_share=0.5,
        waited_share=0.0,
        softirq_share=0.0,
    )


def timed(workload: str, server: str, *microseconds: float, logged: bool = False) -> Timed:
    return Timed(workload, logged, server, tuple(map(sample, microseconds)))


def at_limit(workload: str, server: str, *microseconds: float, logged: bool = False) -> Timed:
    """By the quick client, beside which the server has no time to spare."""
    samples = tuple(sample(us, rate=1e6 / us) for us in microseconds)
    return Timed(workload, logged, server, samples, SATURATE)


def results() -> Results:
    """Two workloads unlogged and one logged; lighttpd is the best of the others in all of them."""
    return Results(
        taken="2026-01-02 03:04 UTC",
        machine={"processor": "Example 1, 2 processors", "kernel": "Linux 6.1"},
        settings={"rounds": "3"},
        versions={"mpserve": "0.1", "nginx": "1.22.1", "lighttpd": "1.4.69", "floor": ""},
        timed=[
            timed("hot", "mpserve", 7.0, 7.2, 7.7),
            timed("hot", "nginx", 14.0, 14.0, 14.0),
            timed("hot", "lighttpd", 8.0, 8.0, 8.0),
            timed("hot", "floor", 5.0, 5.0, 5.0),
            timed("close", "mpserve", 33.0),
            timed("close", "nginx", 40.0),
            timed("close", "lighttpd", 30.0),
            timed("close", "floor", 20.0),
            timed("hot", "mpserve", 8.1, logged=True),
            timed("hot", "lighttpd", 9.0, logged=True),
        ],
        tables=[
            Table(
                "memory",
                "Memory",
                "Bytes.",
                ("server", "bytes per idle connection"),
                (("mpserve", 855), ("lighttpd", 3967)),
            )
        ],
        notes=["h2o is not installed and is left out"],
    )


def by_both() -> Results:
    """The same with two workloads measured by the quick client, too; lighttpd is the better one there."""
    taken = results()
    taken.machine["client"] = "wrk 4.1"
    taken.timed += [
        at_limit("hot", "lighttpd", 7.0),
        at_limit("hot", "mpserve", 7.7),
        at_limit("missing", "nginx", 9.0),
        at_limit("missing", "mpserve", 6.3),
        at_limit("hot", "lighttpd", 8.0, logged=True),
        at_limit("hot", "mpserve", 7.2, logged=True),
    ]
    return taken


def bench(tmp_path: Path, *servers: str, floors: bool = False) -> Bench:
    """A bench with a small tree, for measurements of one second."""
    root, home = tmp_path / "root", tmp_path / "home"
    root.mkdir()
    home.mkdir()
    content = WORKLOADS["hot"].asks()[0].content
    assert content is not None
    (root / "hot.html").write_bytes(content)
    return Bench(
        root=root,
        home=home,
        servers=servers,
        processors=processors(),
        distance=Distance(processors(), 0.0),
        connections=4,
        rounds=1,
        seconds=1,
        warm_up=1,
        retakes=0,
        results=Results("", {}, {}, {}),
        say=lambda _: None,
        floors={FLOOR: compiled(home), PYTHON_FLOOR: floor.in_python(sys.executable, home)}
        if floors
        else {},
    )


def compiled(home: Path) -> floor.Program:
    program = floor.compile_into(home)
    assert program is not None
    return program

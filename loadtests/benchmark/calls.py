"""Where our time goes: user and system time per request, and the system calls that make up the latter.

The functions of Python are not counted one by one: a tracer costs each call several times what the call does,
and then names the function with the most calls, not the dearest one.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from loadtests.benchmark import client, timed, wire
from loadtests.benchmark.results import OURS, Table
from loadtests.benchmark.timed import Bench
from loadtests.benchmark.workloads import WORKLOADS, Workload
from tests.harness import peers

LEAST = 0.005  # calls per request below which a call is not worth a word


def run(bench: Bench) -> Table:
    """A row per workload."""
    rows = []
    if shutil.which("strace") is None:
        bench.remark(
            "strace is missing: the system calls are left out (Debian: apt install strace)"
        )
    else:
        for workload in WORKLOADS.values():
            try:
                rows.append(row(bench, workload))
            except (wire.Differs, client.ClientError, peers.PeerError) as error:
                bench.remark(f"{workload.name} is left out of calls: {error}")
    return Table(
        "calls",
        f"Where the time of {OURS} goes",
        "Microseconds of processor time per request in the program (user) and in the kernel (system), and the"
        " system calls per request, counted by strace in a measurement of their own.",
        ("workload", "user, µs", "system, µs", "system calls per request"),
        tuple(rows),
    )


def row(bench: Bench, workload: Workload) -> tuple[str | float, ...]:
    """What one workload takes."""
    with bench.start(OURS) as server:
        heads, _ = wire.verify(server.host, server.port, workload)
        load = bench.load(workload, heads)
        sample = timed.measure(bench, workload, server, load)
        report = bench.home / "calls"
        with traced(server.pids(), report):
            counted = client.run(server.url, load, bench.seconds, bench.processors.client or None)
    user = sample.processor_us * sample.user_share
    calls = parse(report.read_text(encoding="utf-8"))
    return (
        workload.title,
        round(user, 1),
        round(sample.processor_us - user, 1),
        describe(calls, counted.requests),
    )


@contextmanager
def traced(pids: Sequence[int], report: Path) -> Iterator[None]:
    """The system calls of these processes are counted meanwhile; then the counts lie in `report`."""
    command = ["strace", "-f", "-c", "-o", str(report)]
    for pid in pids:
        command += ["-p", str(pid)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            for _ in pids:  # a line for each that it has attached to
                if "attached" not in (line := process.stderr.readline()):
                    raise client.ClientError(f"strace does not attach: {line.strip()}")
            yield
        finally:
            process.send_signal(signal.SIGINT)


def parse(text: str) -> dict[str, int]:
    """How often each system call was made, from the table that `strace -c` writes."""
    calls = {}
    for line in text.splitlines():
        # % time, seconds, usecs/call, calls, errors where there were any, name
        words = line.split()
        if len(words) >= 5 and words[3].isdigit() and words[-1] != "total":
            calls[words[-1]] = int(words[3])
    return calls


def describe(calls: Mapping[str, int], requests: int) -> str:
    """The calls per request, the most frequent first."""
    shares = sorted(((count / requests, name) for name, count in calls.items()), reverse=True)
    return ", ".join(f"{name} {share:.2f}" for share, name in shares if share >= LEAST)

"""Cold start: the time from the birth of the process to the first octet of its first answer."""

from __future__ import annotations

import shutil
from pathlib import Path
from statistics import median

from loadtests.benchmark import tree
from loadtests.benchmark.results import Table
from loadtests.benchmark.timed import Bench
from tests.harness import peers

WORKERS = 4
STARTS = 5
WIDE = 200_000


def run(bench: Bench) -> Table:
    """A row per server."""
    wide = bench.home / "wide"
    tree.make_wide(wide, WIDE)
    rows = []
    for name in bench.servers:
        try:
            rows.append((name, first_octet(name, bench.root), first_octet(name, wide)))
        except peers.PeerError as error:
            bench.remark(f"{name} is left out of cold: {error}")
    shutil.rmtree(wide)
    return Table(
        "cold",
        "Cold start",
        f"Milliseconds from the start of the process, with {WORKERS} workers, to the first octet of its first"
        f" answer, the median of {STARTS} starts: with the benchmark's tree, and with one of {WIDE:,} files.",
        ("server", "tree of the benchmark, ms", f"tree of {WIDE:,} files, ms"),
        tuple(rows),
    )


def first_octet(name: str, root: Path) -> float:
    """The median over starts, in milliseconds."""
    times = []
    for _ in range(STARTS):
        with peers.start(name, root, workers=WORKERS) as peer:
            times.append(peer.first_byte - peer.started)
    return round(median(times) * 1000, 1)

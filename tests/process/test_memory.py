"""Workers that run out of memory: what is answered meanwhile, and who takes their place."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import psutil
import pytest

from tests.harness.until import until
from tests.process.conftest import Serve, get
from tests.process.traffic import Traffic

pytestmark = pytest.mark.slow

HELLO = b"hello\n"
ENTRIES = 1000
# What a worker may still get (octets): enough for small answers, and not for the list of so many entries.
LEFT = 256 * 1024


@pytest.fixture
def many(root: Path) -> Path:
    """A directory whose listing takes megabytes."""
    directory = root / "many"
    directory.mkdir()
    for number in range(ENTRIES):
        (directory / f"{number:0200}").touch()
    return root


def starve(pid: int) -> None:
    """Let process `pid` have hardly any more memory."""
    process = psutil.Process(pid)
    _, hard = process.rlimit(psutil.RLIMIT_AS)
    process.rlimit(psutil.RLIMIT_AS, (process.memory_info().vms + LEFT, hard))


def test_a_worker_without_memory_says_so_and_is_replaced_and_nothing_is_lost(
    serve: Serve, many: Path
) -> None:
    server = serve("--workers", "2", "--listing", "--access-log", "off")
    victim, sibling = server.workers()
    with Traffic(server, fresh=1, kept=1) as traffic:
        starve(victim)
        statuses: Counter[int] = Counter()
        while victim in server.workers():
            assert sum(statuses.values()) < 1000
            statuses[get(server, "/many/").status] += 1
        answered = traffic.answered
        assert until(lambda: traffic.answered > answered + 50)
    after = {get(server, "/many/").status for _ in range(20)}

    assert traffic.lost == []
    assert set(statuses) <= {200, 503}
    assert statuses[503] >= 3
    assert after == {200}
    assert sibling in server.workers()
    assert len(re.findall("it cannot get memory", server.stderr)) == 1

"""A disk that does not answer: who asks for what is on it waits, and nobody else does."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from tests.harness.slowdisk import SlowDisk, can_mount
from tests.harness.until import until
from tests.process.conftest import Serve, content, get

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not can_mount(), reason="to mount a file system of our own takes root"),
]

HELLO = b"hello\n"
FILES = {"small": b"small\n", "large": b"large\n" * 50_000}


@pytest.fixture
def disk(root: Path) -> Iterator[SlowDisk]:
    place = root / "slow"
    place.mkdir()
    with SlowDisk(place, FILES) as disk:
        yield disk


@pytest.mark.parametrize("name", FILES)
def test_a_lookup_on_a_stuck_disk_holds_nobody_else_up(
    serve: Serve, disk: SlowDisk, name: str
) -> None:
    server = serve("--workers", "1", "--access-log", "off")
    disk.hold()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(content, server, f"/slow/{name}")
        try:
            assert disk.asked.wait(10)
            meanwhile = [content(server, "/hello.txt") for _ in range(10)]
            answered = waiting.done()
        finally:
            disk.release()

        assert waiting.result(10) == FILES[name]
    assert meanwhile == [HELLO] * 10
    assert not answered


def test_what_is_missing_on_a_slow_disk_is_missing_when_it_has_answered(
    serve: Serve, disk: SlowDisk
) -> None:
    server = serve("--workers", "1", "--access-log", "off")

    assert get(server, "/slow/none").status == 404
    assert content(server, "/slow/small") == FILES["small"]
    assert content(server, "/slow/small") == FILES["small"]
    assert disk.asked.is_set() is False


def test_the_thread_that_waited_for_the_disk_ends_when_nobody_wants_one(
    serve: Serve, disk: SlowDisk
) -> None:
    server = serve("--workers", "1", "--access-log", "off")
    (worker,) = map(psutil.Process, server.workers())
    disk.hold()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(content, server, "/slow/small")
        try:
            assert disk.asked.wait(10)
            threads = worker.num_threads()
        finally:
            disk.release()
        assert waiting.result(10) == FILES["small"]

    assert threads > 1
    assert until(lambda: worker.num_threads() == 1)
    assert content(server, "/slow/large") == FILES["large"]

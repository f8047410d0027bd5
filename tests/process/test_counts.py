"""The figures are exact: what the clients have counted is what /metrics says, whatever becomes of the workers."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.harness.server import Server
from tests.harness.until import until
from tests.process.conftest import Serve
from tests.process.traffic import Traffic

pytestmark = pytest.mark.slow

ANSWERED = "mpserve_request_duration_seconds_count"


def figures(path: Path) -> dict[str, float]:
    """The samples without labels at an admin address, as Prometheus reads them; none while nobody is there."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(20)
        try:
            client.connect(str(path))
            client.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
            with closing(client.makefile("rb")) as stream:
                text = stream.read().partition(b"\r\n\r\n")[2].decode()
        except OSError:  # it is just being opened anew
            return {}
    families = text_string_to_metric_families(text)
    return {
        sample.name: sample.value
        for family in families
        for sample in family.samples
        if not sample.labels
    }


def has_asked(traffic: Traffic) -> bool:
    return traffic.answered >= 20


def has_counted(path: Path, answered: int) -> bool:
    """Whether as many answers have been counted by now, and no more."""
    return figures(path).get(ANSWERED) == answered


def changes(server: Server) -> Iterator[str]:
    """Everything that replaces workers, one after the other, each begun when the one before is over."""
    actions = (
        (signal.SIGHUP, "generation 2 serves"),
        (signal.SIGUSR2, "generation 3 serves"),
        (signal.SIGTTOU, "one worker less: 1"),
        (signal.SIGTTIN, "one worker more: 2"),
        (signal.SIGHUP, "generation 4 serves"),
        (signal.SIGUSR2, "generation 5 serves"),
    )
    for number, said in actions:
        server.signal(number)
        server.wait_for_line(said)
        yield said


def test_under_load_no_change_takes_a_count_along_or_counts_one_twice(
    serve: Serve, tmp_path: Path
) -> None:
    path = tmp_path / "admin"
    server = serve("--workers", "2", "--admin", f"unix:{path}")
    seen = [0.0]
    with Traffic(server) as traffic:
        for _ in changes(server):
            seen.append(figures(path).get(ANSWERED, seen[-1]))

    assert [] == traffic.lost
    assert until(partial(has_counted, path, traffic.answered))
    assert seen == sorted(seen)
    assert seen[-1] > seen[1]
    assert figures(path)["mpserve_worker_restarts_total"] == 0


def test_what_killed_workers_have_counted_outlives_an_upgrade(serve: Serve, tmp_path: Path) -> None:
    path = tmp_path / "admin"
    server = serve("--workers", "2", "--admin", f"unix:{path}")
    answered = 0
    for count in (1, 2):
        with Traffic(server) as traffic:
            assert until(partial(has_asked, traffic))
        answered += traffic.answered
        assert [] == traffic.lost
        # An answer is counted when it has gone, and the client may be sooner than that.
        assert until(partial(has_counted, path, answered))
        for pid in server.workers():
            os.kill(pid, signal.SIGKILL)
        server.wait_for_line(r"worker \d \(pid \d+\) died", 2 * count)
        server.signal(signal.SIGUSR2)
        server.wait_for_line(r"generation \d+ serves", count)

    assert until(partial(has_counted, path, answered))
    assert figures(path)["mpserve_worker_restarts_total"] == 4

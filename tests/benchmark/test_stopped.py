"""A worker is stopped for a while only, and what clients saw meanwhile is summed up."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import psutil
import pytest

from loadtests.benchmark import stopped
from loadtests.benchmark.stopped import LEAST, Seen
from loadtests.reliability.counts import Counts, Loss
from loadtests.reliability.subject import NotDone
from tests.harness.until import until


@pytest.fixture
def process() -> Iterator[psutil.Process]:
    """One that waits for its standard input to end."""
    command = [sys.executable, "-S", "-c", "input()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL) as child:
        yield psutil.Process(child.pid)


def goes_on(process: psutil.Process) -> bool:
    return until(lambda: process.status() != psutil.STATUS_STOPPED)


@pytest.mark.slow
def test_it_goes_on_by_itself(monkeypatch: pytest.MonkeyPatch, process: psutil.Process) -> None:
    monkeypatch.setattr(stopped, "HELD", 0.0)
    with stopped.one_stopped([process.pid]):
        by_itself = goes_on(process)

    assert by_itself


@pytest.mark.slow
def test_it_goes_on_when_the_measurement_fails(
    monkeypatch: pytest.MonkeyPatch, process: psutil.Process
) -> None:
    monkeypatch.setattr(stopped, "HELD", 3600.0)

    def fail() -> None:
        with stopped.one_stopped([process.pid]):
            assert until(lambda: process.status() == psutil.STATUS_STOPPED)
            raise NotDone

    with pytest.raises(NotDone):
        fail()
    assert goes_on(process)


def test_what_the_clients_saw_is_summed_up() -> None:
    counts = Counts(late=0.002)
    counts.took.extend([LEAST, 0.001, 0.002, 0.003])
    counts.lose(Loss.AFTER, "reset")

    assert Seen(p99_ms=1000 * LEAST, held_up=0.25, lost=1, late_ms=2.0) == stopped.seen(counts)


def test_when_nobody_is_answered_there_is_nothing_to_sum_up() -> None:
    with pytest.raises(NotDone, match="an answer"):
        stopped.seen(Counts())

"""What becomes of connections while one of the workers is stopped, as a stuck disk would stop it."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psutil

from loadtests.benchmark.workloads import WORKLOADS
from loadtests.chaos import wait_until_stopped
from loadtests.reliability.client import Load, Order
from loadtests.reliability.counts import Counts, latency
from loadtests.reliability.subject import NotDone, until
from tests.harness import peers
from tests.harness.server import workers_of

RATE = 500.0  # connections per second, a request on each
SECONDS = 1.0  # in which they come
# How long the worker is stopped. Less than two seconds, after which its master would ask it for a traceback.
HELD = 1.5
# Whoever waits for it, waits so long at least.
LEAST = HELD - SECONDS


@dataclass(frozen=True, slots=True)
class Seen:
    """By those who came meanwhile."""

    p99_ms: float
    held_up: float  # the share of them that waited for the stopped worker
    lost: int
    late_ms: float  # how late they themselves were, at worst: no latency is truer than that


def measure(peer: peers.Peer) -> Seen:
    """Stop one of the workers, and have clients come. NotDone when that fails."""
    master = peer.process.pid
    # It says where it listens when every worker is ready.
    until(lambda: b"http://" in peer.complaints.read_bytes(), "the word that it is ready")
    with one_stopped(workers_of(master)):
        return seen(Load(order(peer.host, peer.port)).run())


@contextmanager
def one_stopped(pids: list[int]) -> Iterator[None]:
    """The first of the processes does nothing for a while, and goes on by itself."""
    pid = pids[0]
    os.kill(pid, signal.SIGSTOP)
    relief = threading.Timer(HELD, os.kill, (pid, signal.SIGCONT))
    try:
        wait_until_stopped(psutil.Process(pid))
        relief.start()
        yield
        relief.join()
    finally:
        relief.cancel()
        os.kill(pid, signal.SIGCONT)


def order(host: str, port: int) -> Order:
    """Clients who come by the clock, whatever becomes of those before them."""
    (ask,) = WORKLOADS["hot"].asks()
    assert ask.content is not None
    fresh = int(RATE * SECONDS)
    return Order(0, (host, port), ask.target, ask.content, fresh, RATE, reused=0)


def seen(counts: Counts) -> Seen:
    """The sum of it. NotDone when nobody was answered."""
    taken = latency(sorted(counts.took))
    if taken is None:
        raise NotDone("an answer while a worker was stopped")
    held_up = sum(each >= LEAST for each in counts.took) / taken.samples
    return Seen(taken.p99, held_up, sum(counts.losses.values()), 1000 * counts.late)

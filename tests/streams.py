"""Real pipes, terminals, sockets, full disks and forks, for the tests of what writes logs."""

from __future__ import annotations

import fcntl
import os
import pty
import resource
import select
import socket
import subprocess
import traceback
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

# A worker of pytest-xdist has a thread of its own, which these forks neither use nor need.
forks = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


class FakeClock:
    """A clock that stands still until it is told to move."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


@dataclass
class Ends:
    """The two ends of something that carries octets; reading does not block."""

    reader: int
    writer: int

    def __post_init__(self) -> None:
        os.set_blocking(self.reader, False)

    def hang_up(self) -> None:
        """Close the reading end."""
        if self.reader >= 0:
            os.close(self.reader)
        self.reader = -1

    def close(self) -> None:
        self.hang_up()
        os.close(self.writer)

    def read(self) -> bytes:
        """What has arrived."""
        read = bytearray()
        try:
            while octets := os.read(self.reader, 65536):
                read += octets
        except BlockingIOError:
            pass
        return bytes(read)

    def read_exactly(self, length: int) -> bytes:
        """Wait until `length` octets have arrived, and be content with less after ten seconds."""
        read = b""
        while len(read) < length and select.select([self.reader], [], [], 10)[0]:
            read += self.read()
        return read


def pipe(size: int | None = None) -> Ends:
    """A pipe that holds `size` octets."""
    ends = Ends(*os.pipe())
    if size is not None:
        fcntl.fcntl(ends.writer, fcntl.F_SETPIPE_SZ, size)
    return ends


def terminal() -> Ends:
    """A terminal that changes nothing of what is written to it."""
    ends = Ends(*pty.openpty())
    tty.setraw(ends.writer)
    return ends


def stream_socket() -> Ends:
    """A pair of connected sockets."""
    far, near = socket.socketpair()
    return Ends(far.detach(), near.detach())


@contextmanager
def standing_as(number: int, fd: int) -> Iterator[None]:
    """Let `fd` be the standard stream `number` for a while."""
    saved = os.dup(number)
    os.dup2(fd, number)
    try:
        yield
    finally:
        os.dup2(saved, number)
        os.close(saved)


@contextmanager
def disk_of(octets: int) -> Iterator[Callable[[], None]]:
    """A disk on which no file grows beyond `octets`, until what is yielded is called."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def grow() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    resource.setrlimit(resource.RLIMIT_FSIZE, (octets, hard))
    try:
        yield grow
    finally:
        grow()


@contextmanager
def small_filesystem(at: Path, octets: int) -> Iterator[Path]:
    """A tmpfs of `octets`; the test is skipped where none may be mounted."""
    at.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={octets}", "none", str(at)]
    try:
        mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        mounted = False
    if not mounted:
        pytest.skip("a tmpfs cannot be mounted here")
    try:
        yield at
    finally:
        if at.is_mount():  # the test may have taken it away
            subprocess.run(["umount", str(at)], check=True)


def fork(work: Callable[[], object]) -> int:
    """A child that does `work` and ends; its process id."""
    child = os.fork()
    if child:
        return child
    try:
        work()
    except BaseException:  # noqa: BLE001  the child must end here, come what may
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def ended_well(*children: int) -> bool:
    """Wait for the children; has each ended without an exception?"""
    statuses = [os.waitpid(child, 0)[1] for child in children]
    return not any(statuses)

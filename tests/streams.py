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


@contextmanager
def pipe(size: int | None = None) -> Iterator[tuple[int, int]]:
    """The reading end, which does not block, and the writing end of a pipe that holds `size` octets."""
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    if size is not None:
        fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, size)
    with closing(reader, writer):
        yield reader, writer


@contextmanager
def terminal() -> Iterator[tuple[int, int]]:
    """The far end, which does not block, of a terminal that changes nothing of what is written, and its end."""
    far, near = pty.openpty()
    tty.setraw(near)
    os.set_blocking(far, False)
    with closing(far, near):
        yield far, near


@contextmanager
def stream_socket() -> Iterator[tuple[int, int]]:
    """The two ends of a connected socket; the first does not block."""
    far, near = socket.socketpair()
    with far, near:
        far.setblocking(False)
        yield far.fileno(), near.fileno()


@contextmanager
def closing(*descriptors: int) -> Iterator[None]:
    """Close those that the test has not closed."""
    try:
        yield
    finally:
        for fd in descriptors:
            try:
                os.close(fd)
            except OSError:
                continue


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
    """A disk on which no file grows beyond `octets`, until the function that is yielded is called."""
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
        subprocess.run(["umount", str(at)], check=True)


def read_all(fd: int) -> bytes:
    """What waits in `fd`."""
    read = bytearray()
    while select.select([fd], [], [], 0)[0]:
        try:
            octets = os.read(fd, 65536)
        except BlockingIOError:
            break
        if not octets:
            break
        read += octets
    return bytes(read)


def fork(work: Callable[[], object]) -> int:
    """A child that does `work` and ends; its process id."""
    child = os.fork()
    if child:
        return child
    try:
        work()
    except BaseException:  # the child must end here, come what may
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def ended_well(child: int) -> bool:
    """Wait for the child; has it ended without an exception?"""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0

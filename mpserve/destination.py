"""Where the lines of a log go: a file, a pipe, a terminal or a socket.

Two promises are kept here. A write never waits for room: what would block comes back to the
caller. And lines stay whole, whichever worker writes them: a file gets its lines in one write,
everything else gets pieces of whole lines, small enough to be atomic, and a line that was torn
(by a disk that was full, a terminal that took only half) is ended before another one follows it.
"""

from __future__ import annotations

import os
import select
import stat
import sys
from collections.abc import Callable
from errno import EAGAIN, EBADF, ECONNRESET, ENOTCONN, EPIPE
from functools import partial
from mmap import mmap
from socket import MSG_DONTWAIT, MSG_NOSIGNAL, socket

STANDARD = "-"  # the name of a standard stream
STDOUT = 1
STDERR = 2

ANY_ROOM = sys.maxsize  # octets: a file keeps together whatever one write brings

# Nobody will ever read what is written there.
GONE = frozenset({EPIPE, ECONNRESET, ENOTCONN})

# O_NONBLOCK means nothing to a file; a pipe that is given by its path wants it.
_AT_PATH = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
_ANEW = os.O_WRONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
_NEWLINE = 0x0A

# The cells that the workers share (they are mapped before the fork):
_TORN = 0  # the process that owes the end of a line, or 0
_MOURNED = 1  # 1 once it has been said that the reader is gone
_CELLS = 2


class Destination:
    """An open descriptor that takes whole lines without waiting."""

    __slots__ = ("_close", "_put", "_rest", "_shared", "fd", "room")

    def __init__(
        self,
        fd: int,
        room: int,
        put: Callable[[bytes], int] | None = None,
        close: Callable[[], None] | None = None,
    ) -> None:
        self.fd = fd
        self.room = room  # octets that one write keeps together
        self._put = put or partial(os.write, fd)
        self._close = close or partial(os.close, fd)
        self._rest = b""  # the end of the line that this process has begun
        self._shared = memoryview(mmap(-1, 8 * _CELLS)).cast("q")

    def __repr__(self) -> str:
        return f"<Destination {self.fd} {len(self._rest)} octets unfinished>"

    @property
    def unfinished(self) -> bool:
        """Has this process begun a line that it could not finish?"""
        return bool(self._rest)

    def write(self, lines: bytes) -> tuple[bytes, OSError | None]:
        """Write whole lines. Returns the lines that were not begun, and what stood in the way.

        A line that was begun is kept here, and finished before any other.
        """
        begun = 0
        try:
            self._mend()
            while begun < len(lines):
                begun += self._put(lines[begun : self._piece_end(lines, begun)])
        except OSError as problem:
            return lines[self._keep_rest(lines, begun) :], problem
        return b"", None

    def mourn(self) -> bool:
        """True for the first of the processes that share this to find its reader gone."""
        first = not self._shared[_MOURNED]
        self._shared[_MOURNED] = 1
        return first

    def succeed(self, old: Destination) -> None:
        """Take the place of `old`, and share what is shared with those that still write to it."""
        self._shared = old._shared

    def close(self) -> None:
        """Close the descriptor. A line that is still torn is left for the next writer to end."""
        close, self._close = self._close, _closed
        close()

    def _piece_end(self, lines: bytes, start: int) -> int:
        """The end of the whole lines from `start` that fit into one write."""
        if len(lines) - start <= self.room:
            return len(lines)
        fitting = lines.rfind(b"\n", start, start + self.room) + 1
        return fitting or lines.index(b"\n", start) + 1

    def _keep_rest(self, lines: bytes, begun: int) -> int:
        """Keep the end of the line in which writing stopped; where the next line starts."""
        if begun == 0 or lines[begun - 1] == _NEWLINE:
            return begun
        stop = lines.index(b"\n", begun) + 1
        self._rest = lines[begun:stop]
        self._shared[_TORN] = os.getpid()
        return stop

    def _mend(self) -> None:
        """End the line that was torn: with its own end where we have it, else with a line feed."""
        # When a full disk has room again, the worker that tore a line is seldom the first to write.
        # So the others must know of it, or their next line would be glued to the stump.
        owner = self._shared[_TORN]
        if not owner:
            self._rest = b""  # what was ours has been ended by another
            return
        if owner != os.getpid() or not self._rest:
            self._put(b"\n")
            self._rest = b""
        while self._rest:
            self._rest = self._rest[self._put(self._rest) :]
        self._shared[_TORN] = 0


def _closed() -> None:
    """Closing twice does nothing: by then the number may belong to someone else."""


def named(name: str, number: int) -> Destination:
    """The file at a path or, for "-", the standard stream `number`; OSError if that fails."""
    return at_stream(number) if name == STANDARD else at_path(name)


def at_path(path: str) -> Destination:
    """The file (made when it is missing), named pipe or device at `path`."""
    return opened(os.open(path, _AT_PATH, 0o640))


def opened(fd: int) -> Destination:
    """What has been opened for this log alone, here or in another process. It is closed with the log."""
    return Destination(fd, _room(fd))


def at_stream(number: int) -> Destination:
    """Standard output or standard error, whatever stands behind it."""
    if {STDOUT: sys.__stdout__, STDERR: sys.__stderr__}[number] is None:
        # It was closed when the process began: by now the number may mean a client's socket.
        raise OSError(EBADF, os.strerror(EBADF))
    return at_descriptor(number)


def at_descriptor(number: int) -> Destination:
    """What is open as `number`. Its flags are never changed: others have them in common with us."""
    mode = os.fstat(number).st_mode
    if stat.S_ISSOCK(mode):
        return _at_socket(number)
    if stat.S_ISREG(mode):
        # A file never blocks, and whoever opened it decided where in it writing goes on.
        return Destination(os.dup(number), ANY_ROOM)
    try:
        # Another open file description of the same pipe or terminal has flags of its own.
        fd = os.open(f"/proc/self/fd/{number}", _ANEW)
    except OSError:
        return _at_polled(number)
    return opened(fd)


def _room(fd: int) -> int:
    """How much one write may hold and still not be mixed with another's (pipe(7), PIPE_BUF)."""
    return ANY_ROOM if stat.S_ISREG(os.fstat(fd).st_mode) else select.PIPE_BUF


def _at_socket(number: int) -> Destination:
    peer = socket(fileno=os.dup(number))

    def put(piece: bytes) -> int:
        return peer.send(piece, MSG_DONTWAIT | MSG_NOSIGNAL)

    return Destination(peer.fileno(), select.PIPE_BUF, put, peer.close)


def _at_polled(number: int) -> Destination:
    """For what cannot be opened anew: no /proc, no rights, or a pipe without a reader."""
    fd = os.dup(number)
    ready = select.poll()
    ready.register(fd, select.POLLOUT)

    # A pipe that polls as writable has room for PIPE_BUF octets, unless another process is quicker.
    def put(piece: bytes) -> int:
        if not ready.poll(0):
            raise BlockingIOError(EAGAIN, os.strerror(EAGAIN))
        return os.write(fd, piece)

    return Destination(fd, select.PIPE_BUF, put)

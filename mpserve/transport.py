"""Octets to and from one socket. What would block is a value; a peer that went away is `Disconnected`.

Content leaves by `sendfile`: the kernel moves it from the page cache to the socket and no octet of it
passes through Python. `FileSpan` says what goes out, this room says how.
"""

from __future__ import annotations

import _socket
import errno
import fcntl
import os
import socket
import struct
import termios
from collections.abc import Iterable
from enum import Enum
from typing import Final, NoReturn

from mpserve.protocol.message import FileSpan, OpenFile, Piece
from mpserve.readahead import is_cold

RECEIVE_SIZE: Final = 16384  # a head is rarely larger; what is longer comes in the next call

# What one sendfile call may take, and one connection before the others get their turn: with fifty
# downloads beside it, a small answer waits for fifty times this.
SENDFILE_SIZE: Final = 512 * 1024
TURN_SIZE: Final = 512 * 1024
# Up to so much content, a head that leaves at once is cheaper than one that waits for the file's first
# octets to share a segment with them (measured on loopback: 16 µs to 21 for 100 KiB, but 190 to 120 for 1 MiB).
ALONE_SIZE: Final = 256 * 1024

# Unsent octets that the socket of a fast client may hold, instead of `listeners.NOTSENT_LOWAT`: a file of
# 1 MiB then needs no second wake-up, which is a third of its cost. They are pages of the page cache.
WIDE_LOWAT: Final = 1024 * 1024
UNKNOWN: Final = -1  # octets in a socket that nobody has counted: nothing is less

BLOCKED: Final = None  # recv: nothing has arrived
EOF: Final = b""  # recv: the peer sends no more

# The peer, or the path to it, is gone. None of these is our fault, and none is worth a line in a log.
GONE: Final = frozenset(
    {
        errno.EPIPE,
        errno.ECONNRESET,
        errno.ECONNABORTED,
        errno.ETIMEDOUT,
        errno.ENOTCONN,
        errno.EHOSTUNREACH,
        errno.ENETUNREACH,
        errno.ENETDOWN,
        errno.ESHUTDOWN,
    }
)
# A file system whose files cannot be spliced: they are read and sent instead.
NO_SPLICE: Final = frozenset({errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP})


class Flush(Enum):
    """What became of an attempt to send."""

    DONE = "the queue is empty"
    WAITING = "the socket takes no more now"
    TURN_OVER = "there is more, and the others come first"
    COLD = "what comes next has to be read from the disk"


class Disconnected(Exception):
    """The peer went away."""


class Truncated(Exception):
    """The file ended before the announced length: the message cannot be completed (RFC 9112 §8)."""


class Overwritten(Exception):
    """The file has other octets than its validators stand for: the message must not be completed."""


class Transport:
    """A queue of pieces over one non-blocking socket. It owns the socket, and nothing else."""

    __slots__ = ("_copying", "_held", "_queue", "_socket", "sent", "wide")

    def __init__(self, sock: _socket.socket) -> None:
        self._socket = sock
        self._queue: list[Piece] | tuple[()] = ()  # an idle connection owns no queue
        self._copying = False  # this file cannot leave by sendfile
        self.wide = False  # the socket may hold WIDE_LOWAT unsent octets
        # Octets that it held when `drains` was last asked, if it has taken none since.
        self._held = UNKNOWN
        self.sent = 0  # octets the kernel took since the last `push`

    def __repr__(self) -> str:
        return f"<Transport {len(self._queue)} pieces waiting, {self.sent} octets sent>"

    def fileno(self) -> int:
        """The socket's descriptor."""
        return self._socket.fileno()

    def recv(self) -> bytes | None:
        """What has arrived: octets, EOF, or BLOCKED. Raises Disconnected."""
        try:
            return self._socket.recv(RECEIVE_SIZE)
        except BlockingIOError:
            return BLOCKED
        except OSError as error:
            raise_disconnected(error)

    def push(self, head: bytes, pieces: Iterable[Piece], sent: int = 0) -> None:
        """Queue one response: its head, and its content. What is in memory leaves in one call.

        `sent` octets of it have gone before.
        """
        queue: list[Piece] = [head]
        for piece in pieces:
            last = queue[-1]
            if type(piece) is bytes and type(last) is bytes:
                queue[-1] = last + piece
            else:
                queue.append(piece)
        self.sent = sent
        while sent > 0 and queue:
            gone = min(sent, len(queue[0]))
            sent -= gone
            if gone == len(queue[0]):
                del queue[0]
            else:
                queue[0] = after(queue[0], gone)
        self._queue = queue
        self._copying = False

    def flush(self) -> Flush:
        """Send until the queue is empty, the socket is full, the turn is over, or the disk would be waited for.

        Raises Disconnected, Truncated, Overwritten, or OSError when the file cannot be read.
        """
        budget = TURN_SIZE
        queue = self._queue or []
        if self.sent:  # time has passed since the validators were made
            for piece in queue:
                if type(piece) is FileSpan:
                    look_again(piece.file)
                    break
        while queue:
            if budget <= 0:
                return Flush.TURN_OVER
            piece = queue[0]
            if type(piece) is FileSpan and is_cold(first_of(piece)):
                return Flush.COLD
            taken = self._send(piece, more=len(queue) > 1 and len(queue[1]) > ALONE_SIZE)
            if taken is BLOCKED:
                return Flush.WAITING
            budget -= taken
            self.sent += taken
            self._held = UNKNOWN
            if taken == len(piece):
                del queue[0]
            else:
                queue[0] = after(piece, taken)
        self._queue = ()
        return Flush.DONE

    @property
    def cold(self) -> FileSpan:
        """What has to be read from the disk, when `flush` has said so."""
        queue = self._queue or [b""]
        piece = queue[0]
        assert type(piece) is FileSpan
        return first_of(piece)

    def widen(self) -> None:
        """Let the socket hold more: the client is fast."""
        if not self.wide and self._socket.family != socket.AF_UNIX:
            self.wide = True
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, WIDE_LOWAT)

    def drains(self) -> bool:
        """Whether a socket that is not writable holds less than when this was last asked since it was sent to.

        It is writable again only when much has gone. A peer that reads slowly makes progress before, and one
        that has stopped does not.
        """
        held: int = struct.unpack("i", fcntl.ioctl(self.fileno(), termios.TIOCOUTQ, bytes(4)))[0]
        before, self._held = self._held, held
        return held < before

    def finish_sending(self) -> None:
        """Say that no more will come, and go on receiving. Raises Disconnected."""
        try:
            self._socket.shutdown(socket.SHUT_WR)
        except OSError as error:
            raise_disconnected(error)

    def close(self) -> None:
        """Close; what the kernel has taken is still delivered."""
        self._queue = ()
        self._socket.close()

    def reset(self) -> None:
        """Close so that the peer sees an error, never a message that merely looks complete."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def _send(self, piece: Piece, *, more: bool) -> int | None:
        """Octets of `piece` that the kernel took; BLOCKED when it takes none now."""
        try:
            if type(piece) is FileSpan:
                return self._send_span(piece)
            # MSG_MORE: it waits for the first octets of the file and shares their segment.
            return self._socket.send(piece, socket.MSG_MORE if more else 0)  # type: ignore[arg-type]  # not a span
        except BlockingIOError:
            return BLOCKED
        except OSError as error:
            if error.errno in GONE:
                raise Disconnected from error
            raise

    def _send_span(self, span: FileSpan) -> int:
        if self._copying:
            return self._copy_span(span)
        count = min(len(span), SENDFILE_SIZE)
        try:
            taken = os.sendfile(self._socket.fileno(), span.file.fd, span.start, count)
        except OSError as error:
            if error.errno not in NO_SPLICE:
                raise
            self._copying = True
            return self._copy_span(span)
        if taken == 0:
            raise Truncated
        return taken

    def _copy_span(self, span: FileSpan) -> int:
        octets = os.pread(span.file.fd, min(len(span), RECEIVE_SIZE), span.start)
        if not octets:
            raise Truncated
        return self._socket.send(octets)


def look_again(file: OpenFile) -> None:
    """Raise Overwritten if `file`, whose sending has begun, was written to meanwhile and did not grow.

    One that grew has most often been appended to: what was promised is still there.
    """
    if file.sight is None:
        return
    _, _, size, mtime, _ = file.sight
    status = os.fstat(file.fd)
    if status.st_mtime_ns != mtime and status.st_size <= size:
        raise Overwritten


def first_of(span: FileSpan) -> FileSpan:
    """As much of `span` as one call sends."""
    return FileSpan(span.file, span.start, min(span.stop, span.start + SENDFILE_SIZE))


def after(piece: Piece, taken: int) -> Piece:
    """What is left of `piece` when its first `taken` octets have gone."""
    if type(piece) is FileSpan:
        return FileSpan(piece.file, piece.start + taken, piece.stop)
    return piece[taken:]  # type: ignore[index]  # not a span


def raise_disconnected(error: OSError) -> NoReturn:
    """Turn what the network does into `Disconnected`; let anything else be a bug."""
    if error.errno in GONE:
        raise Disconnected from error
    raise error

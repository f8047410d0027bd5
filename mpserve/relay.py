"""A queue of connections that one worker could not answer, for any worker that can.

Landlock's rules are about directories, not about their names. When the root is replaced, the workers that
are confined to the old one cannot read the new one, and none of them may answer that it is forbidden. They
put the connection here, with the octets that have not been answered, and a fresh worker takes it. Nothing
is lost, and the client only sees that it took a moment.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

# Octets that may wait with a connection: a head, and what came behind it.
LONGEST: Final = 128 * 1024
# Octets of memory for all that waits, if the system gives as much: room for thousands of short heads.
ROOM: Final = 4 * 1024 * 1024
SO_SNDBUFFORCE: Final = 32  # of <asm-generic/socket.h>


class Relay:
    """Made by the master before it forks: every worker has both ends, of every later image too."""

    def __init__(self, taking: socket.socket, giving: socket.socket) -> None:
        self._taking = taking
        self._giving = giving

    @classmethod
    def create(cls) -> Relay:
        """A queue in which nobody waits."""
        kind = socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
        taking, giving = socket.socketpair(socket.AF_UNIX, kind)
        giving.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, ROOM)
        with suppress(PermissionError):  # root alone may ask for more than net.core.wmem_max
            giving.setsockopt(socket.SOL_SOCKET, SO_SNDBUFFORCE, ROOM)
        return cls(taking, giving)

    @classmethod
    def adopt(cls, ends: Sequence[int]) -> Relay:
        """The queue that an earlier image of the master has made, by copies of its ends."""
        taking, giving = (socket.socket(fileno=os.dup(fd)) for fd in ends)
        return cls(taking, giving)

    @property
    def ends(self) -> list[int]:
        """The descriptors, for `adopt`."""
        return [self._taking.fileno(), self._giving.fileno()]

    def fileno(self) -> int:
        """What becomes readable when a connection waits."""
        return self._taking.fileno()

    def give(self, fd: int, octets: bytes) -> bool:
        """Leave the connection `fd` to another worker; whether there was room. Ours is to be closed."""
        if not 0 < len(octets) <= LONGEST:
            return False
        try:
            socket.send_fds(self._giving, [octets], [fd])
        except OSError:  # no room now, or too many descriptors are on their way
            return False
        return True

    def take(self) -> tuple[socket.socket, bytes] | None:
        """A connection, and its octets that have not been answered; None if none waits."""
        try:
            octets, fds, _, _ = socket.recv_fds(self._taking, LONGEST, 1)
        except BlockingIOError:
            return None
        if not fds:  # we had no descriptor to spare: the kernel has closed it
            return self.take()
        os.set_inheritable(fds[0], False)
        return socket.socket(fileno=fds[0]), octets

    def close(self) -> None:
        """Close both ends; the last to do so resets what waits."""
        self._taking.close()
        self._giving.close()

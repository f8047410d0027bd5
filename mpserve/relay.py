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
from dataclasses import dataclass
from typing import Final

# Octets that may wait with a connection: a head, and what came behind it.
LONGEST: Final = 128 * 1024
# Octets of memory for all that waits, if the system gives as much: room for thousands of short heads.
ROOM: Final = 4 * 1024 * 1024
# Where it gives a socket less, there are more of them: with the usual 208 KiB each, that is room for 1,300.
MOST_PAIRS: Final = 4
SO_SNDBUFFORCE: Final = 32  # of <asm-generic/socket.h>


class Relay:
    """Made by the master before it forks: every worker has both ends of every pair, of every later image too."""

    def __init__(self, pairs: Sequence[Pair]) -> None:
        self._pairs = pairs

    @classmethod
    def create(cls) -> Relay:
        """A queue in which nobody waits."""
        pairs = [pair()]
        room = pairs[0].room
        while room < ROOM and len(pairs) < MOST_PAIRS:
            pairs.append(pair())
            room += pairs[-1].room
        return cls(pairs)

    @classmethod
    def adopt(cls, ends: Sequence[int]) -> Relay:
        """The queue that an earlier image of the master has made, by copies of its ends."""
        socks = [socket.socket(fileno=os.dup(fd)) for fd in ends]
        return cls([Pair(*both) for both in zip(socks[::2], socks[1::2], strict=True)])

    @property
    def ends(self) -> list[int]:
        """The descriptors, for `adopt`."""
        return [end.fileno() for each in self._pairs for end in (each.taking, each.giving)]

    def __repr__(self) -> str:
        return f"<Relay of {len(self._pairs)}>"

    def filenos(self) -> list[int]:
        """What becomes readable when a connection waits."""
        return [each.taking.fileno() for each in self._pairs]

    def give(self, fd: int, octets: bytes) -> bool:
        """Leave the connection `fd` to another worker; whether there was room. Ours is to be closed."""
        if not 0 < len(octets) <= LONGEST:
            return False
        return any(each.give(fd, octets) for each in self._pairs)

    def take(self) -> tuple[socket.socket, bytes] | None:
        """A connection, and its octets that have not been answered; None if none waits."""
        for each in self._pairs:
            waiting = each.take()
            if waiting is not None:
                return waiting
        return None

    def close(self) -> None:
        """Close all ends; the last to do so resets what waits."""
        for each in self._pairs:
            each.taking.close()
            each.giving.close()


@dataclass(frozen=True, slots=True)
class Pair:
    """A queue as long as the kernel allows one socket."""

    taking: socket.socket
    giving: socket.socket

    @property
    def room(self) -> int:
        """Octets of memory for what waits in it."""
        # socket(7): the kernel doubles what it is asked for, and tells the double.
        return self.giving.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) // 2

    def give(self, fd: int, octets: bytes) -> bool:
        """As `Relay.give`."""
        try:
            socket.send_fds(self.giving, [octets], [fd])
        except OSError:  # no room now, or too many descriptors are on their way
            return False
        return True

    def take(self) -> tuple[socket.socket, bytes] | None:
        """As `Relay.take`."""
        try:
            octets, fds, _, _ = socket.recv_fds(self.taking, LONGEST, 1)
        except BlockingIOError:
            return None
        if not fds:  # we had no descriptor to spare: the kernel has closed it
            return self.take()
        os.set_inheritable(fds[0], False)
        return socket.socket(fileno=fds[0]), octets


def pair() -> Pair:
    """Two ends, with as much room as may be had."""
    kind = socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
    taking, giving = socket.socketpair(socket.AF_UNIX, kind)
    giving.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, ROOM)
    with suppress(PermissionError):  # root alone may ask for more than net.core.wmem_max
        giving.setsockopt(socket.SOL_SOCKET, SO_SNDBUFFORCE, ROOM)
    return Pair(taking, giving)

"""Who has connected, and has not been shown to us yet. Asked before the listening sockets are closed.

TCP_DEFER_ACCEPT holds a connection back until its first octets are there, for a second (see `listeners`). It
waits in no queue that can be asked for its length, but to the kernel it is half open, and sock_diag(7) tells which are.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable, Iterator
from typing import Final

# linux: netlink.h, sock_diag.h, inet_diag.h, tcp_states.h
NETLINK_SOCK_DIAG: Final = 4
SOCK_DIAG_BY_FAMILY: Final = 20
NLM_F_REQUEST_DUMP: Final = 0x301
NLMSG_ERROR: Final = 2
NLMSG_DONE: Final = 3
SYN_RECV: Final = 3

# struct nlmsghdr: length, type, flags, sequence number, port id
HEADER: Final = struct.Struct("=IHHII")
# struct inet_diag_req_v2: family, protocol, extensions, -, a bit for each state, and which sockets: all
REQUEST: Final = struct.Struct("=BBBxI48x")
# struct inet_diag_msg begins: family, state, timer, retransmissions, local port
ANSWER: Final = struct.Struct("!BBBBH")
ERRNO: Final = struct.Struct("=i")

# More than the kernel tells at once.
RECEIVE_SIZE: Final = 64 * 1024


class LastCall:
    """A socket to the kernel, opened early: a confined process may make none."""

    def __init__(self, listening: Iterable[socket.socket]) -> None:
        # By the family that their connections are listed under.
        self._ports: dict[int, set[int]] = {}
        for each in listening:
            if each.family != socket.AF_UNIX:
                self._ports.setdefault(each.family, set()).add(each.getsockname()[1])
        self._blind = False  # the kernel, or a unit of systemd, does not let us ask
        self._kernel: socket.socket | None = None
        if self._ports:
            try:
                self._kernel = line_to_the_kernel()
            except OSError:
                self._blind = True

    def __repr__(self) -> str:
        return f"<LastCall {self._ports}{' blind' if self._blind else ''}>"

    def is_awaited(self) -> bool:
        """Whether somebody may have connected whom `accept` does not give us yet."""
        if self._kernel is None:
            return self._blind
        try:
            return any(
                not ports.isdisjoint(half_open(self._kernel, family))
                for family, ports in self._ports.items()
            )
        except OSError:  # what is left of an answer may come to the next question
            self.close()
            self._blind = True
            return True

    def close(self) -> None:
        """Ask no more: nobody is awaited any more."""
        self._blind = False
        if self._kernel is not None:
            self._kernel.close()
            self._kernel = None


def line_to_the_kernel() -> socket.socket:
    """A socket that the kernel answers questions about sockets on. Raises OSError."""
    return socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_SOCK_DIAG)


def half_open(kernel: socket.socket, family: int) -> set[int]:
    """The ports here of all connections of `family` that wait for their client. Raises OSError.

    The kernel passes over the others: beside 113,000 that had just been closed it took 22 ms, and 288 to list all
    of them in /proc/net/tcp.
    """
    request = REQUEST.pack(family, socket.IPPROTO_TCP, 0, 1 << SYN_RECV)
    length = HEADER.size + len(request)
    kernel.send(HEADER.pack(length, SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST_DUMP, 0, 0) + request)
    found: set[int] = set()
    while True:
        for kind, body in messages(kernel.recv(RECEIVE_SIZE, socket.MSG_DONTWAIT)):
            if kind == NLMSG_DONE:
                return found
            if kind == NLMSG_ERROR:
                raise OSError(-ERRNO.unpack_from(body)[0], "sock_diag")
            found.add(ANSWER.unpack_from(body)[4])


def messages(octets: bytes) -> Iterator[tuple[int, bytes]]:
    """The messages of one answer: the kind of each, and what it says."""
    while octets:
        length, kind, _, _, _ = HEADER.unpack_from(octets)
        yield kind, octets[HEADER.size : length]
        octets = octets[(length + 3) & ~3 :]

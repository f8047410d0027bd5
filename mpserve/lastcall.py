"""Who has connected, and has not been shown to us yet. Asked before the listening sockets are closed.

TCP_DEFER_ACCEPT holds a connection back until its first octets are there, for a second (see `listeners`). It
waits in no queue that can be asked for its length, but the kernel's table of connections has it as half open.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
from collections.abc import Iterable
from typing import Final

# One for each family; a table that is missing (ProcSubset=pid of systemd) says nothing.
TABLES: Final = ("/proc/net/tcp", "/proc/net/tcp6")
# A table that is longer (octets, 150 for a connection) is that of a busy machine: somebody may well wait, and
# to read on would hold up those who are served.
LONGEST: Final = 256 * 1024
READ_SIZE: Final = 64 * 1024  # as much as the kernel makes at once, or more


def half_open_at(ports: Iterable[int]) -> re.Pattern[bytes]:
    """What finds the line of a connection to one of `ports` that waits for its client."""
    # proc(5): sl: local_address:port rem_address:port st; 03 is SYN_RECV.
    port = "|".join(f"{each:04X}" for each in sorted(ports))
    line = rf"^ *\d+: [0-9A-F]+:(?:{port}) [0-9A-F]+:[0-9A-F]{{4}} 03 "
    return re.compile(line.encode("ascii"), re.MULTILINE)


class LastCall:
    """The kernel's tables, opened early: a confined process may not open them."""

    def __init__(self, listening: Iterable[socket.socket]) -> None:
        ports = {each.getsockname()[1] for each in listening if each.family != socket.AF_UNIX}
        self._pattern = half_open_at(ports)
        self._tables: list[int] = []
        self._blind = False  # there is a table that we cannot read
        for path in TABLES if ports else ():
            try:
                self._tables.append(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
            except FileNotFoundError:  # of a kernel without IPv6
                self._blind = self._blind or path == TABLES[0]
            except OSError:
                self._blind = True

    def __repr__(self) -> str:
        return f"<LastCall {len(self._tables)} tables{' blind' if self._blind else ''}>"

    def is_awaited(self) -> bool:
        """Whether somebody may have connected whom `accept` does not give us yet."""
        return self._blind or any(map(self._is_awaited_in, self._tables))

    def close(self) -> None:
        """Close the tables: nobody is awaited any more."""
        self._blind = False
        while self._tables:
            os.close(self._tables.pop())

    def _is_awaited_in(self, table: int) -> bool:
        place = 0
        with contextlib.suppress(OSError):
            # The kernel gives whole lines.
            while piece := os.pread(table, READ_SIZE, place):
                place += len(piece)
                if place > LONGEST or self._pattern.search(piece):
                    return True
            return False
        return True

"""Which listening sockets a process polls, by the kernel's word."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

LISTENING = "0A"  # proc_net_tcp(5)


def listening_at(port: int) -> set[str]:
    """The inodes of the sockets that listen at a port of 127.0.0.1."""
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    rows = [line.split() for line in lines]
    return {row[9] for row in rows if row[1].endswith(f":{port:04X}") and row[3] == LISTENING}


def polled_by(pid: int, port: int) -> set[str]:
    """Those of them that are in the epoll of a process, by the kernel's word."""
    found = set()
    for info in Path(f"/proc/{pid}/fdinfo").iterdir():
        for number in re.findall(r"^tfd: +(\d+)", unless_gone(info.read_text), re.MULTILINE):
            link = unless_gone(partial(os.readlink, f"/proc/{pid}/fd/{number}"))
            found.add(link[len("socket:[") : -1])
    return found & listening_at(port)


def unless_gone(read: Callable[[], str]) -> str:
    """What `read` reads; "" where a connection has ended meanwhile."""
    try:
        return read()
    except FileNotFoundError:
        return ""

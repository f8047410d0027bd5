"""What goes on when new code has failed. Most of it takes real processes: see tests/process/test_upgrade.py."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

from mpserve.vigil import is_child, send


def test_a_child_is_one_until_it_has_been_reaped() -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    dead = is_child(child.pid)
    child.wait()

    assert (dead, is_child(child.pid), is_child(os.getpid())) == (True, False, False)


def test_logs_are_handed_on_by_their_names(tmp_path: Path) -> None:
    masters, workers = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    fd = os.open(tmp_path / "log", os.O_WRONLY | os.O_CREAT)
    with masters, workers:
        send(masters.fileno(), ["access"], [fd])
        names, fds, _, _ = socket.recv_fds(workers, 100, 2)
        os.write(fds[0], b"line")
    for each in (fd, *fds):
        os.close(each)

    assert (names, (tmp_path / "log").read_bytes()) == (b"access", b"line")


def test_whoever_takes_no_logs_holds_nobody_up() -> None:
    masters, workers = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    workers.close()
    with masters:
        send(masters.fileno(), ["access"], [masters.fileno()])
        send(masters.fileno(), [], [])

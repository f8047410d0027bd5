"""What this process and systemd tell each other: sd_notify(3), sd_listen_fds(3), the descriptor store.

A message is a datagram of lines NAME=VALUE. Whoever does not run under systemd has no socket to send it
to, and every message goes nowhere. No message ever fails or holds the server up.
"""

from __future__ import annotations

import array
import contextlib
import os
import socket
import time
from collections.abc import Mapping, MutableMapping
from typing import Final, NamedTuple

# sd_listen_fds(3): the first descriptor that is passed.
FIRST_PASSED: Final = 3
# sd_notify(3): "may consist of arbitrary ASCII characters except control characters or ':'. It may not
# be longer than 255 characters." A name that breaks the rule is ignored, and the descriptor is "stored".
LONGEST_NAME: Final = 255
# Seconds that a message may wait for room in the socket of a systemd that is busy.
SEND_TIMEOUT: Final = 1.0


class Passed(NamedTuple):
    """A descriptor that was open when this process began."""

    name: str
    fd: int


class Notifier:
    """The socket that NOTIFY_SOCKET names, and how often its other end wants to hear that we live."""

    __slots__ = ("_address", "_socket", "due", "interval")

    def __init__(self, address: str = "", interval: float | None = None) -> None:
        self._address = address
        self._socket: socket.socket | None = None
        self.interval = interval  # seconds between two signs of life; None: none are wanted
        self.due = None if interval is None else 0.0  # monotonic seconds: the next sign of life
        if address:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self._socket.settimeout(SEND_TIMEOUT)

    def __repr__(self) -> str:
        return f"<Notifier {self._address or 'nobody'!r} every {self.interval} s>"

    @property
    def heard(self) -> bool:
        """Whether there is somebody at the other end, who may keep what we have stored."""
        return self._socket is not None

    @classmethod
    def of(cls, environ: Mapping[str, str], pid: int) -> Notifier:
        """The notifier that systemd asks process `pid` for in this environment."""
        return cls(address_of(environ.get("NOTIFY_SOCKET", "")), watchdog_interval(environ, pid))

    def ready(self, status: str) -> None:
        """The service is up, or is up again after `reloading`."""
        self._send("READY=1", f"STATUS={one_line(status)}", "ERRNO=0")

    def refused(self, why: str, code: int) -> None:
        """What began with `reloading` has failed, with that errno, and the service is up as it was before."""
        # systemd knows no failure of a reload that a service could tell of. The number is there to be asked
        # for, by `systemctl show -P StatusErrno`, and goes when something has been READY.
        self._send("READY=1", f"STATUS={one_line(why)}", f"ERRNO={code}")

    def reloading(self) -> None:
        """A reload begins."""
        # Without the time stamp, `systemctl reload` of Type=notify-reload would wait for ever.
        self._send("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self, status: str) -> None:
        """The service begins to stop."""
        self._send("STOPPING=1", f"STATUS={one_line(status)}")

    def status(self, text: str) -> None:
        """One line for people, which `systemctl status` shows."""
        self._send(f"STATUS={one_line(text)}")

    def store(self, name: str, fd: int) -> None:
        """Have a copy of `fd` kept: whoever is started after us, even after a crash, gets it by `name`."""
        self._send("FDSTORE=1", f"FDNAME={name}", fd=fd)

    def unstore(self, name: str) -> None:
        """Have the copies of that name closed."""
        self._send("FDSTOREREMOVE=1", f"FDNAME={name}")

    def keep_alive(self, now: float, *, well: bool = True) -> None:
        """Give a sign of life, if it is time for one. Who is not `well` gives none, and is replaced."""
        if self.interval is not None and self.due is not None and self.due <= now:
            self.due = now + self.interval
            if well:
                self._send("WATCHDOG=1")

    def patience(self, seconds: float | None, now: float) -> float | None:
        """Seconds that one may wait who would wait `seconds`: until the next sign of life at most."""
        if self.due is None:
            return seconds
        due = max(0.0, self.due - now)
        return due if seconds is None else min(due, seconds)

    def close(self) -> None:
        """Say nothing any more."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send(self, *lines: str, fd: int | None = None) -> None:
        if self._socket is None:
            return
        message = "\n".join(lines).encode("utf-8", "backslashreplace")
        passed = []
        if fd is not None:
            passed = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]))]
        with contextlib.suppress(OSError):  # nobody listens, or nobody reads
            self._socket.sendmsg([message], passed, 0, self._address)


def address_of(text: str) -> str:
    """The socket address that NOTIFY_SOCKET names; "" where it is none of a kind we know."""
    if text.startswith("@"):  # the abstract name space: unix(7)
        return "\0" + text[1:]
    return text if text.startswith("/") else ""


def watchdog_interval(environ: Mapping[str, str], pid: int) -> float | None:
    """Seconds between two signs of life of process `pid`; None where none are wanted."""
    if environ.get("WATCHDOG_PID", str(pid)) != str(pid):
        return None  # another process is watched
    microseconds = number(environ.get("WATCHDOG_USEC", ""))
    # sd_watchdog_enabled(3): "a daemon sends a notification message … every half of the time"
    return microseconds / 2e6 if microseconds else None


def take_passed(environ: MutableMapping[str, str], pid: int) -> list[Passed]:
    """The descriptors that were passed to process `pid`. They and their variables end with it.

    A program that replaces this one keeps the environment and the process ID, but it would find other
    files at these numbers.
    """
    count = environ.pop("LISTEN_FDS", "")
    named = environ.pop("LISTEN_FDNAMES", "")
    if environ.pop("LISTEN_PID", "") != str(pid):
        return []
    fds = range(FIRST_PASSED, FIRST_PASSED + number(count))
    for fd in fds:
        os.set_inheritable(fd, False)
    names = named.split(":") if named else []
    names += ["unknown"] * (len(fds) - len(names))
    return [Passed(name, fd) for name, fd in zip(names, fds, strict=False)]


def number(text: str) -> int:
    """The number in a variable; 0 where there is none."""
    return int(text) if text.isascii() and text.isdigit() else 0


def one_line(text: str) -> str:
    """`text` as the value of a line."""
    return " ".join(text.split())

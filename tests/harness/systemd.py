"""systemd, as far as a service can tell: a notify socket, a store of descriptors, and how a service is started.

    with Systemd(tmp_path) as systemd:
        systemd.start("--workers", "2", root)
        systemd.wait_for("READY=1")

The descriptors that the service stores are kept under systemd's rules: a name that it would not take becomes
"stored", and a service that is started again gets them from descriptor 3 on.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Self

from tests.harness.server import REPOSITORY, workers_of

# fdname_is_valid() of systemd: printable ASCII without the colon, at most 255 characters.
VALID_NAME = re.compile(r"[\x20-\x39\x3b-\x7e]{0,255}")
TIMEOUT = 20.0  # seconds

# What systemd does between fork and exec: descriptors move to 3, 4, …, and the variables name them.
LAUNCH = """
import os, sys
fds = [int(word) for word in sys.argv[1].split(",") if word]
high = [os.dup2(fd, 200 + number) for number, fd in enumerate(fds)]
for number, fd in enumerate(high):
    os.dup2(fd, 3 + number, inheritable=True)
    os.close(fd)
if fds:
    os.environ["LISTEN_FDS"] = str(len(fds))
    os.environ["LISTEN_PID"] = str(os.getpid())
if os.environ.get("WATCHDOG_USEC"):
    os.environ["WATCHDOG_PID"] = str(os.getpid())
os.closerange(3 + len(fds), 300)
os.execv(sys.executable, [sys.executable, *sys.argv[2:]])
"""


class Systemd:
    """A service manager of one service."""

    def __init__(self, directory: Path, *, abstract: bool = False) -> None:
        path = str(directory / "notify")
        self.variable = f"@mpserve-test-{os.getpid()}-{id(self)}" if abstract else path
        self.address = f"\0{self.variable[1:]}" if abstract else path
        self.messages: list[dict[str, str]] = []
        self.kept: list[tuple[str, int]] = []
        self.process: subprocess.Popen[bytes] | None = None
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self.address)
        self._socket.settimeout(TIMEOUT)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *why: object) -> None:
        self.kill()
        for _, fd in self.kept:
            os.close(fd)
        self._socket.close()

    def start(
        self,
        *arguments: str,
        sockets: Mapping[str, socket.socket] | None = None,
        environment: Mapping[str, str] | None = None,
        program: Sequence[str] = ("-m", "mpserve"),
    ) -> None:
        """Start the service with the descriptors of its socket units and with those it has stored."""
        passed = [(name, sock.fileno()) for name, sock in (sockets or {}).items()] + self.kept
        fds = [fd for _, fd in passed]
        self.process = subprocess.Popen(
            [sys.executable, "-c", LAUNCH, ",".join(map(str, fds)), *program, *arguments],
            cwd=REPOSITORY,
            pass_fds=fds,
            env={
                **os.environ,
                "NOTIFY_SOCKET": self.variable,
                "LISTEN_FDNAMES": ":".join(name for name, _ in passed),
                **(environment or {}),
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def wait_for(self, line: str) -> dict[str, str]:
        """Take messages until one has that line; that one."""
        while True:
            message = self.receive()
            if line in (f"{key}={value}" for key, value in message.items()):
                return message

    def receive(self) -> dict[str, str]:
        """Take the next message, and do what it says of the store."""
        text, fds, _, _ = socket.recv_fds(self._socket, 65536, 16)
        message = dict(line.split("=", 1) for line in text.decode().splitlines())
        self.messages.append(message)
        name = message.get("FDNAME", "stored")
        if message.get("FDSTORE") == "1":
            valid = name if VALID_NAME.fullmatch(name) else "stored"
            for fd in fds:
                self._keep(valid, fd)
        if message.get("FDSTOREREMOVE") == "1":
            for kept in [each for each in self.kept if each[0] == name]:
                os.close(kept[1])
                self.kept.remove(kept)
        return message

    def _keep(self, name: str, fd: int) -> None:
        if any(os.path.sameopenfile(fd, other) for _, other in self.kept):
            os.close(fd)
        else:
            self.kept.append((name, fd))

    def said(self, key: str) -> list[str]:
        """Every value that came for `key`."""
        return [message[key] for message in self.messages if key in message]

    def kill(self) -> None:
        """End every process of the service at once, the master first."""
        if self.process is None:
            return
        workers = workers_of(self.process.pid)
        for pid in [self.process.pid, *workers]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()
        self.process = None

    def until(self, holds: Callable[[], bool]) -> None:
        """Take messages until that holds."""
        while not holds():
            self.receive()

"""The floors: floor.c, compiled on the spot, and the same in Python, answering with the octets that a server gave."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from loadtests.benchmark import compiler
from loadtests.benchmark.wire import Answer
from tests.harness.peers import placed
from tests.harness.recipes import HOST

SOURCE = Path(__file__).with_name("floor.c")
SCRIPT = Path(__file__).with_name("floor_in_python.py")
SMALL = 65536  # octets of an answer that leaves with one write, as in floor.c


@dataclass(frozen=True, slots=True)
class Running:
    """A floor that answers."""

    host: str
    port: int
    process: subprocess.Popen[bytes]

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    def pids(self) -> list[int]:
        return [self.process.pid]


@dataclass(frozen=True, slots=True)
class Program:
    """How a floor is started."""

    command: tuple[str, ...]
    home: Path  # a directory for what it is to answer
    small_only: bool  # it knows nothing but small answers on connections that stay

    def can_stand_for(self, answer: Answer, *, closing: bool) -> bool:
        """Whether it can give `answer`."""
        return not self.small_only or (len(answer.octets) <= SMALL and not closing)


def in_python(python: str, home: Path) -> Program:
    """The one that `python` runs."""
    return Program((python, str(SCRIPT)), home, small_only=True)


def compile_into(folder: Path) -> Program | None:
    """The one in C; None where there is no C compiler."""
    program = compiler.compile_into(folder, SOURCE)
    return Program((str(program),), folder, small_only=False) if program else None


@contextmanager
def start(
    program: Program, answer: Answer, *, closing: bool, cpus: Collection[int] | None
) -> Iterator[Running]:
    """A floor, answering every request with `answer`, for as long as the `with` lasts."""
    octets = program.home / "answer"
    octets.write_bytes(answer.octets)
    with listener() as sock, placed(cpus):
        number = sock.fileno()
        process = subprocess.Popen(
            [*program.command, str(number), str(octets), "1" if closing else "0"],
            pass_fds=(number,),
        )
        host, port = sock.getsockname()
    try:
        yield Running(host, port, process)
    finally:
        process.kill()
        process.wait()


def listener() -> socket.socket:
    """A listening socket as the other servers have it."""
    sock = socket.create_server((HOST, 0), backlog=4096)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setblocking(False)
    return sock

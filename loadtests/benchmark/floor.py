"""The floor: floor.c, compiled on the spot, answering with the octets that a server gave."""

from __future__ import annotations

import shutil
import socket
import subprocess
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from loadtests.benchmark.wire import Answer
from tests.harness.peers import placed
from tests.harness.recipes import HOST

SOURCE = Path(__file__).with_name("floor.c")


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


def compile_into(folder: Path) -> Path | None:
    """The program; None where there is no C compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        return None
    program = folder / "floor"
    subprocess.run([compiler, "-O2", "-o", str(program), str(SOURCE)], check=True)
    return program


@contextmanager
def start(
    program: Path, answer: Answer, *, closing: bool, cpus: Collection[int] | None
) -> Iterator[Running]:
    """The floor, answering every request with `answer`, for as long as the `with` lasts."""
    octets = program.with_name("answer")
    octets.write_bytes(answer.octets)
    with listener() as sock, placed(cpus):
        number = sock.fileno()
        process = subprocess.Popen(
            [str(program), str(number), str(octets), "1" if closing else "0"],
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

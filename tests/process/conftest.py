"""Real servers for real clients."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import shutil
import signal
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.harness.server import Server

Serve = Callable[..., Server]
REQUEST = b"GET /hello.txt HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A small tree, settled long ago."""
    root = tmp_path / "root"
    (root / "dir").mkdir(parents=True)
    (root / "hello.txt").write_bytes(b"hello\n")
    (root / "big").write_bytes(bytes(range(256)) * 16384)  # 4 MiB
    for path in (root / "hello.txt", root / "big"):
        os.utime(path, (1_000_000_000, 1_000_000_000))
    return root


@pytest.fixture
def public() -> Iterator[Path]:
    """A root that everybody can find.

    Every session of pytest takes from other users the right to look into the directory of all of them.
    """
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o755)
        root = Path(directory) / "root"
        root.mkdir(0o755)
        (root / "hello.txt").write_bytes(b"hello\n")
        yield root


@pytest.fixture
def serve(root: Path) -> Iterator[Serve]:
    """Start a server of `root` with these arguments; it is stopped at the end of the test."""
    with ExitStack() as running:

        def start(*arguments: str, at: Path | None = None) -> Server:
            return running.enter_context(Server(at or root, *arguments))

        yield start


def get(server: Server, path: str, **fields: str) -> http.client.HTTPResponse:
    """One GET on a connection of its own; the response has been read whole."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    try:
        connection.request("GET", path, headers={"Connection": "close", **fields})
        response = connection.getresponse()
        response.body = response.read()  # type: ignore[attr-defined]  # what the tests look at
        return response
    finally:
        connection.close()


def content(server: Server, path: str, **fields: str) -> bytes:
    """The content of one GET, whose status was 200 or 206."""
    response = get(server, path, **fields)
    assert response.status in (200, 206)
    body: bytes = response.body  # type: ignore[attr-defined]  # see get
    return body


# Without them, root may read only what the permissions say.
CAPABILITIES = "-dac_override,-dac_read_search"


def with_less_than_root(server: Server) -> Server:
    """`server`, which is to be started so that permissions count for it."""
    if os.geteuid() == 0:
        if shutil.which("setpriv") is None:
            pytest.skip("root may read everything, and there is no setpriv to take that away")
        less = ("setpriv", "--bounding-set", CAPABILITIES, "--inh-caps", CAPABILITIES)
        server.command = (*less, *server.command)
    return server


def watched_inodes(process: int) -> set[int]:
    """The inodes that a process has watched, by the kernel's account of its inotify instances."""
    found = set()
    for info in Path(f"/proc/{process}/fdinfo").iterdir():
        with contextlib.suppress(FileNotFoundError):  # it has been closed
            lines = info.read_text()
            found |= {
                int(inode, 16)
                for inode in re.findall(r"^inotify wd:\w+ ino:(\w+)", lines, re.MULTILINE)
            }
    return found


def connect(server: Server) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=10)


def answer(client: socket.socket) -> bytes:
    """One response without a large content, or what came of it."""
    octets = b""
    while b"\r\n\r\nhello\n" not in octets:
        more = client.recv(65536)
        if not more:
            break
        octets += more
    return octets


@contextmanager
def ignored(number: signal.Signals) -> Iterator[None]:
    """Ignore a signal for a while; who is started meanwhile does so too."""
    before = signal.signal(number, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(number, before)

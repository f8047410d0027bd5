"""Logs of a running server: renamed, cut off, on a full disk. No request suffers, and no line is lost for nothing."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import pytest

from tests.harness.server import Server
from tests.harness.until import until
from tests.process.conftest import Serve, content
from tests.streams import small_filesystem

pytestmark = pytest.mark.slow

CLIENTS = 4  # threads


class Asking:
    """Clients that ask for targets of which there is one each, until they are told to stop."""

    def __init__(self, server: Server) -> None:
        self._port = server.port
        self._numbers = count()
        self._stop = threading.Event()
        self.answered: list[str] = []  # targets
        self.lost: list[str] = []

    def ask(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=20)
        while not self._stop.is_set():
            target = f"/hello.txt?{next(self._numbers)}"
            try:
                connection.request("GET", target)
                answer = connection.getresponse().read()
            except (OSError, http.client.HTTPException) as error:
                self.lost.append(f"{target}: {error!r}")
                connection.close()
                continue
            assert answer == b"hello\n"
            self.answered.append(target)
        connection.close()

    def stop(self) -> None:
        self._stop.set()

    def goes_on(self, requests: int = 300) -> bool:
        """Wait until so many more requests have been answered."""
        goal = len(self.answered) + requests
        return until(lambda: len(self.answered) >= goal)


@contextmanager
def asking(server: Server) -> Iterator[Asking]:
    """Clients, for as long as the block takes."""
    clients = Asking(server)
    threads = [threading.Thread(target=clients.ask) for _ in range(CLIENTS)]
    for thread in threads:
        thread.start()
    try:
        yield clients
    finally:
        clients.stop()
        for thread in threads:
            thread.join()


def targets_in(*logs: Path) -> list[str]:
    """The targets in these logs of JSON; a line that is none is an error."""
    return [json.loads(line)["target"] for log in logs for line in log.read_text().splitlines()]


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    """A directory that only its owner may look into."""
    directory = tmp_path / "logs"
    directory.mkdir(0o700)
    return directory


def flags(logs: Path) -> list[str]:
    return [
        *("--workers", "3", "--log-format", "json", "--access-log", str(logs / "access")),
        *("--error-log", str(logs / "errors"), "--error-log-format", "json"),
    ]


# Workers without rights, where they can be made.
AS_NOBODY = ("--user", "nobody") if os.geteuid() == 0 else ()


@pytest.mark.parametrize("sandbox", ["off", "auto"])
def test_every_request_is_logged_once_however_often_the_log_is_renamed(
    serve: Serve, public: Path, logs: Path, sandbox: str
) -> None:
    server = serve(*flags(logs), "--sandbox", sandbox, *AS_NOBODY, at=public)
    before = server.workers()
    with asking(server) as clients:
        for number in range(1, 6):
            assert clients.goes_on()
            (logs / "access").rename(logs / f"access.{number}")
            server.signal(signal.SIGUSR1)
            assert until((logs / "access").exists)
        assert clients.goes_on()
    after = server.workers()
    server.stop()

    assert clients.lost == []
    assert sorted(clients.answered) == sorted(targets_in(*logs.glob("access*")))
    assert len(targets_in(logs / "access")) > 100  # the last file is in use, by all of them
    assert before == after


def has_open(pid: int, path: Path) -> bool:
    """Whether a process has the file open that is there now."""
    with contextlib.suppress(FileNotFoundError):  # it is not there yet, or no longer open
        wanted = path.stat()
        with os.scandir(f"/proc/{pid}/fd") as entries:
            return any(os.path.samestat(os.stat(entry.path), wanted) for entry in entries)
    return False


def test_the_error_log_of_workers_goes_on_in_the_new_file(
    serve: Serve, public: Path, logs: Path
) -> None:
    server = serve(*flags(logs), *AS_NOBODY, at=public)
    (logs / "errors").rename(logs / "errors.1")
    server.signal(signal.SIGUSR1)
    workers = server.workers()
    assert until(lambda: all(has_open(pid, logs / "errors") for pid in workers))
    # The master is gone, of which its workers tell.
    os.kill(server.pid, signal.SIGKILL)

    def told() -> set[int]:
        lines = (logs / "errors").read_text().splitlines()
        return {json.loads(line)["pid"] for line in lines if "the master is gone" in line}

    assert until(lambda: told() == set(workers))


def test_a_log_that_cannot_be_opened_anew_stays_in_use(serve: Serve, logs: Path) -> None:
    server = serve(*flags(logs))
    (logs / "access").rename(logs / "access.1")
    (logs / "access").mkdir()
    server.signal(signal.SIGUSR1)
    assert until(lambda: "the old file stays in use" in (logs / "errors").read_text())
    content(server, "/hello.txt?after")

    assert until(lambda: "/hello.txt?after" in targets_in(logs / "access.1"))


def test_a_log_that_is_cut_off_in_place_has_no_hole(serve: Serve, logs: Path) -> None:
    log, copy = logs / "access", logs / "access.1"
    server = serve(*flags(logs))
    with asking(server) as clients:
        assert clients.goes_on()
        shutil.copyfile(log, copy)  # as logrotate's copytruncate does
        os.truncate(log, 0)
        first = len(clients.answered)
        assert clients.goes_on()
    server.stop()

    assert clients.lost == []
    assert b"\0" not in log.read_bytes()
    # Of each client the line of one answer may have been written before the cut, and the client tells of it
    # later, perhaps when the others have had many.
    unlogged = set(clients.answered[first:]) - set(targets_in(log))
    assert len(unlogged) <= CLIENTS < len(clients.answered) - first
    assert len(set(targets_in(copy, log))) == len(targets_in(copy, log))


def test_a_full_disk_costs_lines_and_no_request(serve: Serve, tmp_path: Path) -> None:
    with small_filesystem(tmp_path / "disk", 64 * 1024) as disk:
        errors = tmp_path / "errors"
        ballast, log = disk / "ballast", disk / "access"
        ballast.write_bytes(b"x" * 40_000)
        flags = ("--access-log", str(log), "--log-format", "json", "--error-log", str(errors))
        server = serve("--workers", "2", *flags)
        with asking(server) as clients:
            assert until(lambda: "lines are being dropped" in errors.read_text())
            assert clients.goes_on()
            ballast.unlink()
            size = log.stat().st_size
            assert until(lambda: log.stat().st_size > size)
            os.truncate(log, 0)
            assert clients.goes_on(50)
        server.stop()
        text = log.read_text()

    dropped = [line for line in errors.read_text().splitlines() if "being dropped" in line]
    assert clients.lost == []
    assert len(dropped) <= 2  # one line a minute from each worker
    assert "No space left on device" in dropped[0]
    assert text.endswith("}\n")

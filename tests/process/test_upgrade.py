"""Upgrades in place: the same process, the same sockets, other code, and nobody notices."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.harness.server import REPOSITORY, Server
from tests.process.conftest import Serve, content
from tests.process.test_workers import REQUEST, answer, connect, until
from tests.process.traffic import Traffic

pytestmark = pytest.mark.slow


def upgrade(server: Server, count: int = 1) -> None:
    """Upgrade, and wait until the new generation serves."""
    server.signal(signal.SIGUSR2)
    server.wait_for_line(r"generation \d+ serves", count)


def listening(pid: int) -> set[str]:
    """The sockets that a process listens with, by their inodes."""
    with open(f"/proc/{pid}/net/tcp") as table:
        rows = [line.split() for line in table]
    inodes = {f"socket:[{row[9]}]" for row in rows if row[3] == "0A"}  # TCP_LISTEN
    links = [f"/proc/{pid}/fd/{fd}" for fd in os.listdir(f"/proc/{pid}/fd")]
    return {os.readlink(link) for link in links if os.path.islink(link)} & inodes


def test_upgrades_lose_nothing(serve: Serve) -> None:
    server = serve("--workers", "2")
    pid, sockets = server.pid, listening(server.pid)
    before = set(server.workers())
    with Traffic(server) as traffic:
        for count in (1, 2):
            upgrade(server, count)

    assert [] == traffic.lost
    assert traffic.answered > 50
    assert (pid, sockets) == (server.pid, listening(server.pid))
    assert until(lambda: len(server.workers()) == 2)
    assert before.isdisjoint(server.workers())


def test_an_upgraded_server_does_all_it_did_before(serve: Serve, tmp_path: Path) -> None:
    pid_file, path = tmp_path / "pid", tmp_path / "socket"
    server = serve(
        *("--workers", "2", "--pid-file", str(pid_file)),
        *("--bind", "127.0.0.1:0", "--bind", f"unix:{path}"),
    )
    upgrade(server)
    written = pid_file.read_text()
    server.signal(signal.SIGHUP)
    server.wait_for_line("generation 3 serves")
    victim = server.workers()[0]
    os.kill(victim, signal.SIGKILL)
    assert until(lambda: victim not in server.workers())
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        client.sendall(REQUEST)
        got = answer(client)
    served = content(server, "/hello.txt")
    server.stop()

    assert (got[-6:], served) == (b"hello\n", b"hello\n")
    assert written == f"{server.pid}\n"
    assert server.returncode == 0
    assert not pid_file.exists()
    assert not path.exists()


def test_an_idle_connection_outlives_the_upgrade(serve: Serve) -> None:
    server = serve("--workers", "1")
    with connect(server) as client:
        client.sendall(REQUEST)
        answers = [answer(client)]
        upgrade(server)
        client.sendall(REQUEST)
        answers.append(answer(client))

    assert all(got.endswith(b"hello\n") for got in answers)


def test_workers_of_an_upgraded_server_do_not_survive_it(serve: Serve) -> None:
    server = serve("--workers", "2")
    upgrade(server)
    workers = server.workers()
    os.kill(server.pid, signal.SIGKILL)

    assert until(lambda: not any(psutil.pid_exists(pid) for pid in workers))
    server.wait()


class Upgradable(Server):
    """A server that runs a copy of the code, which a test may spoil."""

    def __init__(self, root: Path, code: Path, *arguments: str) -> None:
        super().__init__(root, *arguments, environment={"PYTHONPATH": str(code)})
        self.command = (sys.executable, "-P", *self.command[1:])


@pytest.fixture
def code(tmp_path: Path) -> Path:
    """A copy of the code."""
    code = tmp_path / "code"
    shutil.copytree(REPOSITORY / "mpserve", code / "mpserve")
    return code


@pytest.fixture
def upgradable(root: Path, code: Path) -> Iterator[Server]:
    with Upgradable(root, code, "--workers", "2") as server:
        yield server


def spoil(code: Path, module: str, how: str) -> str:
    """Append `how` to a module; what was there before."""
    path = code / "mpserve" / module
    text = path.read_text()
    path.write_text(text + how)
    return text


@pytest.mark.parametrize(
    ("module", "how", "reason"),
    [
        pytest.param("respond.py", "\nimport nowhere\n", "nowhere", id="it cannot be imported"),
        pytest.param("cli.py", "\n)\n", "SyntaxError", id="it is no Python"),
        pytest.param(
            "config.py", "\ndef load(*_):\n    raise ConfigError('no')\n", "no", id="config"
        ),
    ],
)
def test_code_that_cannot_be_used_is_refused(
    upgradable: Server, code: Path, module: str, how: str, reason: str
) -> None:
    before = upgradable.workers()
    spoil(code, module, how)
    upgradable.signal(signal.SIGUSR2)
    upgradable.wait_for_line(f"not upgraded, what was served goes on: .*{reason}")

    assert content(upgradable, "/hello.txt") == b"hello\n"
    assert before == upgradable.workers()


BROKEN_MASTER = "\nMaster._set_up = None\n"
BROKEN_LATER = "\nMaster._take_signals = None\n"


@pytest.mark.parametrize("how", [BROKEN_MASTER, BROKEN_LATER])
def test_when_new_code_fails_the_old_workers_go_on(
    upgradable: Server, code: Path, how: str
) -> None:
    before = upgradable.workers()
    good = spoil(code, "master.py", how)
    upgradable.signal(signal.SIGUSR2)
    upgradable.wait_for_line("the new code failed, what was served goes on")
    assert until(lambda: set(before) == set(upgradable.workers()))
    with Traffic(upgradable) as traffic:
        (code / "mpserve" / "master.py").write_text(good)
        upgrade(upgradable)

    assert [] == traffic.lost
    assert until(lambda: len(upgradable.workers()) == 2)
    assert set(before).isdisjoint(upgradable.workers())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_server_whose_new_code_has_failed_can_be_stopped(
    upgradable: Server, code: Path, number: signal.Signals
) -> None:
    spoil(code, "master.py", BROKEN_MASTER)
    upgradable.signal(signal.SIGUSR2)
    upgradable.wait_for_line("the new code failed")
    upgradable.signal(number)

    assert upgradable.wait() == 0


def test_new_workers_that_do_not_come_up_leave_the_old_ones_alone(
    upgradable: Server, code: Path
) -> None:
    before = upgradable.workers()
    spoil(code, "worker.py", "\nWorker.run = None\n")
    upgradable.signal(signal.SIGUSR2)
    upgradable.wait_for_line("generation 2 did not come up")

    assert content(upgradable, "/hello.txt") == b"hello\n"
    assert until(lambda: set(before) == set(upgradable.workers()))

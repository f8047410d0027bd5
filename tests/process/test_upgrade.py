"""Upgrades in place: the same process, the same sockets, other code, and nobody notices."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from tests.harness.server import REPOSITORY, Server
from tests.harness.until import until
from tests.process.conftest import REQUEST, Serve, answer, connect, content, ignored
from tests.process.test_admin import admin_port, page, status
from tests.process.test_sandbox import needs_all
from tests.process.traffic import Traffic, downloading, refused, rest

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
    descriptors = psutil.Process(server.pid).num_fds()
    upgrade(server)
    written = pid_file.read_text()
    server.signal(signal.SIGHUP)
    server.wait_for_line("generation 3 serves")
    # One more may be the memory in which workers of the old image counted.
    assert until(lambda: psutil.Process(server.pid).num_fds() <= descriptors + 1)
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


def test_workers_of_the_old_code_hear_of_logs_that_are_opened_anew(
    serve: Serve, tmp_path: Path
) -> None:
    log = tmp_path / "access"
    server = serve("--workers", "1", "--access-log", str(log))
    with downloading(server) as client:
        upgrade(server)
        log.rename(tmp_path / "access.1")
        server.signal(signal.SIGUSR1)
        assert until(log.exists)
        rest(client)

    assert until(lambda: "GET /big" in log.read_text())


def test_the_admin_address_has_no_gap(serve: Serve) -> None:
    server = serve("--workers", "1", "--admin", "0")
    port = admin_port(server)
    with ThreadPoolExecutor(1) as pool:
        upgraded = pool.submit(upgrade, server)
        before = status(port)
        statuses = [200]
        while not upgraded.done():
            statuses.append(page(port, "/metrics")[0])
        upgraded.result()

    assert statuses == [200] * len(statuses)
    assert before["started"] == status(port)["started"]


def test_who_has_begun_to_ask_at_the_admin_address_is_answered_by_the_new_code(
    serve: Serve,
) -> None:
    server = serve("--workers", "1", "--admin", "0")
    with socket.create_connection(("127.0.0.1", admin_port(server)), timeout=20) as client:
        client.sendall(b"GET /healthz HT")
        assert page(admin_port(server), "/healthz") == (
            200,
            b"ok\n",
        )  # one after the other: it has been received
        upgrade(server)
        client.sendall(b"TP/1.1\r\nHost: x\r\n\r\n")

        assert client.makefile("rb").read().endswith(b"\r\n\r\nok\n")


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


@pytest.fixture
def hanging(root: Path, code: Path) -> Iterator[Server]:
    """A server whose new code never comes to an end of its check; an upgrade has begun."""
    spoil(code, "upgrade.py", "\nPREFLIGHT_TIMEOUT = 2\n")
    with ignored(signal.SIGALRM):  # as whoever starts us may have it
        server = Upgradable(root, code, "--workers", "1")
        server.start()
    try:
        spoil(code, "respond.py", "\nimport time\ntime.sleep(3600)\n")
        server.signal(signal.SIGUSR2)
        yield server
    finally:
        server.kill()


def test_a_check_that_does_not_come_to_an_end_is_ended(hanging: Server) -> None:
    hanging.wait_for_line("not upgraded, what was served goes on: its check did not come to an end")

    assert content(hanging, "/hello.txt") == b"hello\n"


def test_a_check_that_hangs_does_not_outlive_the_master_for_long(hanging: Server) -> None:
    checks: set[int] = set()

    def checking() -> bool:
        workers = hanging.workers()
        children = psutil.Process(hanging.pid).children()
        checks.update(each.pid for each in children if each.pid not in workers)
        return bool(checks)

    assert until(checking)
    os.kill(hanging.pid, signal.SIGKILL)
    hanging.wait()

    assert until(lambda: not any(map(psutil.pid_exists, checks)))


def test_without_an_interpreter_there_is_no_upgrade_and_no_end_either(
    root: Path, code: Path, tmp_path: Path
) -> None:
    python = tmp_path / "python"
    python.symlink_to(sys.executable)
    server = Upgradable(root, code, "--workers", "2")
    server.command = (str(python), *server.command[1:])
    with server:
        before = server.workers()
        python.unlink()
        server.signal(signal.SIGUSR2)
        server.wait_for_line(f"not upgraded, what was served goes on: .*No such file.*{python}")
        python.symlink_to(sys.executable)
        upgrade(server)

        assert content(server, "/hello.txt") == b"hello\n"
        assert until(lambda: set(before).isdisjoint(server.workers()))


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


def fail(server: Server, code: Path, how: str = BROKEN_MASTER) -> str:
    """Let an upgrade fail after the execve; the code that would not."""
    good = spoil(code, "master.py", how)
    server.signal(signal.SIGUSR2)
    server.wait_for_line("the new code failed")
    return good


def test_a_worker_that_dies_after_new_code_has_failed_has_it_tried_again(
    upgradable: Server, code: Path
) -> None:
    first, second = upgradable.workers()
    good = fail(upgradable, code)
    os.kill(first, signal.SIGKILL)
    upgradable.wait_for_line(rf"worker \d \(pid {first}\) died")
    upgradable.wait_for_line("the new code failed", 2)
    served = content(upgradable, "/hello.txt")
    (code / "mpserve" / "master.py").write_text(good)
    os.kill(second, signal.SIGKILL)
    upgradable.wait_for_line("generation 2 serves")

    assert (served, content(upgradable, "/hello.txt")) == (b"hello\n", b"hello\n")
    assert until(lambda: len(upgradable.workers()) == 2)
    upgradable.signal(signal.SIGTERM)
    assert upgradable.wait() == 0  # it waits for nobody who is gone


DYING_WITH_A_WORKER = """
def fail(estate):
    print("adopted", file=sys.stderr, flush=True)
    list(crew.reap(estate))
    if len(estate.rows) < 2:
        raise RuntimeError("one is gone")
import sys
changes.prepare = lambda *_: None
crew.read_heartbeats = fail
decide = lambda *_: []
"""


def test_a_worker_that_failed_code_has_reaped_is_not_waited_for(
    upgradable: Server, code: Path
) -> None:
    victim, _ = upgradable.workers()
    spoil(code, "master.py", DYING_WITH_A_WORKER)
    upgradable.signal(signal.SIGUSR2)
    upgradable.wait_for_line("adopted")
    os.kill(victim, signal.SIGKILL)
    upgradable.wait_for_line("the new code failed.*one is gone")
    upgradable.signal(signal.SIGTERM)

    assert upgradable.wait() == 0


def test_logs_are_opened_anew_even_after_new_code_has_failed(
    root: Path, code: Path, tmp_path: Path
) -> None:
    access, errors = tmp_path / "access", tmp_path / "errors"
    words = ("--workers", "2", "--access-log", str(access), "--error-log", str(errors))
    with Upgradable(root, code, *words) as server:
        spoil(code, "master.py", BROKEN_MASTER)
        server.signal(signal.SIGUSR2)
        assert until(lambda: "the new code failed" in errors.read_text())
        access.rename(tmp_path / "access.1")
        errors.rename(tmp_path / "errors.1")
        server.signal(signal.SIGUSR1)
        assert until(lambda: access.exists() and errors.exists())
        with Traffic(server) as traffic:
            assert until(lambda: access.stat().st_size > 1000)
        server.signal(signal.SIGUSR2)
        assert until(lambda: "the new code failed" in errors.read_text())

    assert [] == traffic.lost


DEAF_TO_WORDS = """
def note(estate, word, process, note=note):
    if word is Word.READY:
        note(estate, word, process)
"""


@needs_all
def test_a_connection_that_waits_for_another_worker_is_served_by_the_new_code(
    code: Path, tmp_path: Path
) -> None:
    releases = [tmp_path / "first", tmp_path / "second"]
    for release in releases:
        release.mkdir()
        (release / "hello.txt").write_bytes(b"hello\n")
    link = tmp_path / "current"
    link.symlink_to(releases[0])
    good = spoil(code, "crew.py", DEAF_TO_WORDS)  # the master does not hear of the wear
    words = ("--workers", "1", "--sandbox", "require", "--admin", "0")
    with Upgradable(link, code, *words) as server, connect(server) as client:
        link.unlink()
        link.symlink_to(releases[1])
        client.sendall(REQUEST)
        assert until(lambda: status(admin_port(server))["totals"]["accepted"] == 1)
        (code / "mpserve" / "crew.py").write_text(good)
        upgrade(server)

        assert answer(client).endswith(b"hello\n")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_server_whose_new_code_has_failed_can_be_stopped(
    upgradable: Server, code: Path, number: signal.Signals
) -> None:
    spoil(code, "master.py", BROKEN_MASTER)
    upgradable.signal(signal.SIGUSR2)
    upgradable.wait_for_line("the new code failed")
    upgradable.signal(number)

    assert upgradable.wait() == 0


def test_failed_code_ends_what_does_not_end_and_leaves_nothing_behind(
    root: Path, code: Path, tmp_path: Path
) -> None:
    pid_file, path = tmp_path / "pid", tmp_path / "socket"
    words = ("--workers", "1", "--pid-file", str(pid_file), "--bind", f"unix:{path}")
    with Upgradable(root, code, *words) as server:
        fail(server, code)
        (hung,) = server.workers()
        os.kill(hung, signal.SIGSTOP)
        server.signal(signal.SIGINT)

        assert server.wait() == 0
        assert (pid_file.exists(), path.exists()) == (False, False)


def test_nobody_is_let_in_any_more_when_failed_code_stops(upgradable: Server, code: Path) -> None:
    with downloading(upgradable) as client:
        fail(upgradable, code, BROKEN_LATER)
        upgradable.signal(signal.SIGTERM)

        assert until(lambda: refused(upgradable.port))
        assert rest(client) > 1_000_000
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

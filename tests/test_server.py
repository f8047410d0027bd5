"""The harness's server: started, watched, stopped, and honest about what went wrong."""

from __future__ import annotations

import http.client
import os
import signal
from pathlib import Path

import psutil
import pytest

from tests.harness.server import REPOSITORY, Server, ServerError, workers_of

pytestmark = pytest.mark.slow


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    root.mkdir()
    (root / "hello.txt").write_bytes(b"hello\n")
    return root


def content(server: Server) -> bytes:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    try:
        connection.request("GET", "/hello.txt", headers={"Connection": "close"})
        return connection.getresponse().read()
    finally:
        connection.close()


def test_it_serves_from_so_many_workers_and_ends_in_order(root: Path) -> None:
    with Server(root, "--workers", "3") as server:
        pids = server.workers()
        found = content(server)
        line = server.stdout

        assert found == b"hello\n"
        assert server.url == f"http://127.0.0.1:{server.port}"
        assert server.returncode is None
    assert server.returncode == 0
    assert len(pids) == 3
    assert not any(map(psutil.pid_exists, pids))
    assert "GET /hello.txt" in line + server.stdout


def test_every_listener_has_its_url(root: Path, tmp_path: Path) -> None:
    unix = f"unix:{tmp_path}/socket"
    with Server(root, "--bind", "127.0.0.1:0", "--bind", unix, "--bind=[::1]:0") as server:
        first, second, third = server.urls

    assert first.startswith("http://127.0.0.1:")
    assert second == unix
    assert third.startswith("http://[::1]:")


def test_a_server_that_cannot_start_says_why(root: Path) -> None:
    server = Server(root, "--no-such-flag")
    with pytest.raises(ServerError, match=r"(?s)exited with status 2.*no-such-flag"):
        server.start()


def test_a_worker_that_dies_is_replaced_and_a_line_tells(root: Path) -> None:
    with Server(root, "--workers", "1") as server:
        (before,) = server.workers()
        os.kill(before, signal.SIGKILL)
        server.wait_for_line(str(before))
        while server.workers() in ([], [before]):
            pass

        assert content(server) == b"hello\n"


def test_a_line_that_does_not_come_is_an_error(root: Path) -> None:
    with Server(root) as server, pytest.raises(ServerError, match="no line like 'no such'"):
        server.wait_for_line("no such", timeout=0.05)


def test_an_end_by_signal_is_an_end_too(root: Path) -> None:
    with Server(root) as server:
        server.signal(signal.SIGINT)
        status = server.wait()

    assert status == 0


def test_killing_leaves_nobody(root: Path) -> None:
    server = Server(root, "--workers", "2")
    server.start()
    pids = [server.pid, *server.workers()]
    server.kill()
    server.stop()  # which has nothing left to do

    assert len(pids) == 3
    assert server.returncode == -signal.SIGKILL
    psutil.wait_procs([psutil.Process(pid) for pid in pids if psutil.pid_exists(pid)], timeout=10)
    assert not any(map(psutil.pid_exists, pids))


def test_settings_in_the_environment_of_the_caller_do_not_leak(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MPSERVE_WORKERS", "no number")
    with Server(root) as server:
        assert content(server) == b"hello\n"


def test_settings_may_be_given_in_the_environment(root: Path) -> None:
    with Server(root, environment={"MPSERVE_WORKERS": "2"}) as server:
        assert len(server.workers()) == 2


def test_what_was_never_started_cannot_be_asked() -> None:
    server = Server(REPOSITORY)

    assert "not started" in repr(server)
    with pytest.raises(ServerError):
        server.wait()
    server.stop()
    server.kill()


def test_no_process_has_no_workers() -> None:
    assert workers_of(2**22 + 1) == []

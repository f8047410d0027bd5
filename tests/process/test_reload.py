"""Reloads, scaling, and workers that are replaced: what clients notice of them, which is nothing."""

from __future__ import annotations

import os
import re
import signal
import socket
from pathlib import Path

import psutil
import pytest

from tests.harness.server import Server
from tests.harness.until import until
from tests.process.conftest import REQUEST, Serve, answer, connect, content
from tests.process.test_admin import admin_port, status
from tests.process.traffic import Traffic, downloading, refused, rest

pytestmark = pytest.mark.slow


def reload(server: Server, count: int = 1) -> None:
    """Reload, and wait until the new generation serves."""
    server.signal(signal.SIGHUP)
    server.wait_for_line(r"generation \d+ serves", count)


def listening(server: Server) -> int:
    """How many sockets the server listens with."""
    return sum(each.status == "LISTEN" for each in psutil.Process(server.pid).net_connections())


def test_reloads_lose_nothing(serve: Serve) -> None:
    server = serve("--workers", "2")
    before = set(server.workers())
    with Traffic(server) as traffic:
        for count in range(1, 6):
            reload(server, count)

    assert [] == traffic.lost
    assert traffic.answered > 50
    assert until(lambda: len(server.workers()) == 2)
    assert before.isdisjoint(server.workers())


def test_scaling_loses_nothing(serve: Serve) -> None:
    server = serve("--workers", "3")
    sockets = listening(server)
    with Traffic(server) as traffic:
        for count in (1, 2):
            for workers in (2, 1):
                server.signal(signal.SIGTTOU)
                server.wait_for_line(f"one worker less: {workers}", count)
            server.signal(signal.SIGTTOU)
            server.wait_for_line("the last worker stays", count)
            for workers in (2, 3):
                server.signal(signal.SIGTTIN)
                server.wait_for_line(f"one worker more: {workers}", count)

    assert [] == traffic.lost
    assert sockets == listening(server)


def test_an_idle_connection_of_a_retiring_worker_is_still_answered(serve: Serve) -> None:
    server = serve("--workers", "1")
    with connect(server) as client:
        client.sendall(REQUEST)
        answers = [answer(client)]
        reload(server)
        while b"\r\nConnection: close\r\n" not in answers[-1]:  # until the old worker knows
            client.sendall(REQUEST)
            answers.append(answer(client))

    assert all(got.endswith(b"hello\n") for got in answers)
    assert len(answers) > 1


def test_a_download_that_has_begun_outlives_the_reload(serve: Serve, root: Path) -> None:
    server = serve("--workers", "1")
    (old,) = server.workers()
    with connect(server) as client:
        client.sendall(b"GET /big HTTP/1.0\r\n\r\n")
        octets = client.recv(1000)
        reload(server)
        while more := client.recv(1 << 20):
            octets += more

    assert octets.endswith((root / "big").read_bytes())
    assert until(lambda: old not in server.workers())


def test_what_is_wrong_keeps_the_old_configuration(serve: Serve, root: Path) -> None:
    server = serve("--workers", "1", "--admin", "0")
    before = server.workers()
    root.rename(root.with_name("away"))
    server.signal(signal.SIGHUP)
    server.wait_for_line("not reloaded, what was served goes on: .*No such file")
    root.with_name("away").rename(root)
    refusal = status(admin_port(server))["refusal"]

    assert refusal.startswith("not reloaded: ROOT: ")
    assert before == server.workers()
    assert content(server, "/hello.txt") == b"hello\n"
    reload(server)
    assert status(admin_port(server))["refusal"] == ""


def test_two_reloads_at_once_come_one_after_the_other(serve: Serve) -> None:
    server = serve("--workers", "2")
    for _ in range(2):
        server.signal(signal.SIGHUP)
        server.signal(signal.SIGTTIN)
    server.wait_for_line(r"generation 2 serves")
    server.wait_for_line(r"one worker more: 3")

    assert until(lambda: len(server.workers()) >= 3)


def test_a_worker_is_replaced_after_so_many_requests(serve: Serve) -> None:
    server = serve("--workers", "1", "--max-requests", "20")
    (first,) = server.workers()
    with Traffic(server, fresh=1, kept=1) as traffic:
        server.wait_for_line("is to be replaced: it has answered --max-requests")
        assert until(lambda: first not in server.workers())

    assert [] == traffic.lost
    assert content(server, "/hello.txt") == b"hello\n"


def test_a_worker_that_has_grown_is_replaced(serve: Serve) -> None:
    server = serve("--workers", "1", "--max-rss", "1000")
    before = server.workers()
    server.wait_for_line("is to be replaced: it occupies more than --max-rss")
    server.wait_for_line("is to be replaced in 1 s: it occupies more than --max-rss, and so it was")

    assert until(lambda: not set(before) & set(server.workers()))
    assert "warning" in server.stderr
    assert "--max-rss 1000 is less than a fresh worker occupies" in server.stderr
    assert content(server, "/hello.txt") == b"hello\n"


def test_each_worker_can_have_a_processor_of_its_own(serve: Serve) -> None:
    server = serve("--workers", "2", "--affinity")
    usable = sorted(os.sched_getaffinity(0))

    for pid in server.workers():
        slot = int(psutil.Process(pid).name()[-1])
        assert os.sched_getaffinity(pid) == {usable[slot % len(usable)]}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may ask how punctual others are")
@pytest.mark.parametrize(("coalesce", "punctual"), [("0.0001", True), ("0", False)])
def test_a_worker_that_waits_for_requests_is_woken_to_the_point(
    serve: Serve, coalesce: str, punctual: bool
) -> None:
    server = serve("--workers", "1", "--coalesce", coalesce)
    (worker,) = server.workers()

    assert (Path(f"/proc/{worker}/timerslack_ns").read_text() == "1\n") == punctual


def test_the_logs_are_opened_anew(serve: Serve, tmp_path: Path) -> None:
    access, errors = tmp_path / "access", tmp_path / "errors"
    server = serve("--workers", "2", "--access-log", str(access), "--error-log", str(errors))
    old = tmp_path / "access.1"
    with Traffic(server) as traffic:
        assert until(lambda: traffic.answered > 20)
        access.rename(old)
        errors.rename(tmp_path / "errors.1")
        server.signal(signal.SIGUSR1)
        assert until(lambda: access.exists() and access.stat().st_size > 1000)
    server.stop()
    lines = old.read_text().splitlines() + access.read_text().splitlines()

    assert [] == traffic.lost
    assert traffic.answered == len(lines)
    assert "stopping" in errors.read_text()


def test_retiring_workers_go_on_in_the_logs_that_a_reload_opens(
    serve: Serve, tmp_path: Path
) -> None:
    access, errors = tmp_path / "access", tmp_path / "errors"
    server = serve("--workers", "1", "--access-log", str(access), "--error-log", str(errors))
    (old,) = server.workers()
    with downloading(server) as client:
        access.rename(tmp_path / "access.1")
        errors.rename(tmp_path / "errors.1")
        server.signal(signal.SIGHUP)
        assert until(lambda: errors.exists() and "generation 2 serves" in errors.read_text())
        assert until(lambda: {str(access), str(errors)} <= files_of(old))
        rest(client)
    assert until(lambda: "GET /big" in access.read_text())

    assert (tmp_path / "access.1").read_text() == ""


def files_of(pid: int) -> set[str]:
    return {each.path for each in psutil.Process(pid).open_files()}


# In the second generation, worker 1 dies when the file `go` comes into being.
LATE = """
import os, sys, time
from mpserve import crew
class Late(crew.Worker):
    def run(self, *arguments):
        go = os.path.join(os.fsdecode(self.config.site.root), "go")
        while (self.row["generation"], self.row["slot"]) == (2, 1):
            if os.path.exists(go):
                raise RuntimeError("broken on purpose")
            time.sleep(0.01)
        return super().run(*arguments)
crew.Worker = Late
from mpserve.cli import main
sys.exit(main(sys.argv[1:]))
"""


def test_whoever_the_workers_of_a_failed_reload_have_let_in_is_served(root: Path) -> None:
    server = Server(root, "--workers", "2")
    server.command = (server.command[0], "-c", LATE, *server.command[3:])
    with server:
        before = server.workers()
        server.signal(signal.SIGHUP)
        server.wait_for_line("worker 0 is ready")
        for pid in before:  # so that the newcomer gets whoever comes
            os.kill(pid, signal.SIGSTOP)
        with downloading(server) as client:
            (root / "go").touch()
            server.wait_for_line("generation 2 did not come up")
            octets = 1000 + rest(client)
        for pid in before:
            os.kill(pid, signal.SIGCONT)

        assert octets > (root / "big").stat().st_size
        assert until(lambda: set(before) == set(server.workers()))


def test_a_stop_can_wait_for_the_balancer(serve: Serve) -> None:
    server = serve("--workers", "1", "--shutdown-delay", "1000")
    server.signal(signal.SIGTERM)
    server.wait_for_line("stopping in 1000 s")
    server.signal(signal.SIGHUP)
    server.wait_for_line("SIGHUP is not heeded: the server is about to stop")
    served = content(server, "/hello.txt")
    server.signal(signal.SIGTERM)

    assert served == b"hello\n"
    assert server.wait() == 0


def test_after_the_delay_it_stops(serve: Serve) -> None:
    server = serve("--workers", "1", "--shutdown-delay", "0.1")
    server.signal(signal.SIGTERM)

    assert server.wait() == 0
    assert refused(server.port)


def test_a_hung_worker_is_replaced_at_once(serve: Serve) -> None:
    server = serve("--workers", "1", "--hang-timeout", "2.5")
    (hung,) = server.workers()
    os.kill(hung, signal.SIGSTOP)
    served = content(server, "/hello.txt")

    assert served == b"hello\n"
    assert until(lambda: hung not in server.workers())
    assert re.search(r"shows no life for .* state [Tt]", server.stderr)
    assert "hangs, and is replaced" in server.stderr


def test_a_pause_of_all_kills_nobody(serve: Serve) -> None:
    server = serve("--workers", "2", "--hang-timeout", "2.5")
    before = server.workers()
    everybody = [server.pid, *before]
    for pid in everybody:
        os.kill(pid, signal.SIGSTOP)
    with socket.socket() as clock:  # nothing ever comes: 4 s of waiting, and no sleep
        clock.settimeout(4)
        clock.bind(("127.0.0.1", 0))
        clock.listen()
        with pytest.raises(TimeoutError):
            clock.accept()
    for pid in everybody:
        os.kill(pid, signal.SIGCONT)
    reload(server)  # the master has looked at them since

    assert "shows no life" not in server.stderr
    assert "hangs" not in server.stderr


# The settings change with a file that stands for them, as a configuration file does.
CHANGING = """
import os, sys
from mpserve import config
load = config.load
def with_file(argv, environ):
    with open(os.environ["WORDS"], encoding="utf-8") as words:
        return load([*words.read().split(), *argv], environ)
config.load = with_file
from mpserve.cli import main
sys.exit(main(sys.argv[1:]))
"""


class Changing(Server):
    """A server that reads more of its arguments from a file."""

    def __init__(self, root: Path, words: Path) -> None:
        super().__init__(root, environment={"WORDS": str(words)})
        python, _, _, *_ = self.command
        self.command = (python, "-c", CHANGING, str(root))
        self.listeners = words.read_text().count("--bind")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port: int = sock.getsockname()[1]
        return port


def test_a_changed_address_is_opened_and_the_old_one_drained(root: Path, tmp_path: Path) -> None:
    words = tmp_path / "words"
    kept, old, new = (f"--bind 127.0.0.1:{free_port()} " for _ in range(3))
    words.write_text(f"--workers 2 {kept} {old}")
    with Changing(root, words) as server:
        queued = socket.create_connection(("127.0.0.1", int(old.split(":")[1])), timeout=20)
        words.write_text(f"--workers 3 {kept} {new}")
        with Traffic(server) as traffic:
            reload(server)
            queued.sendall(REQUEST)
            got = answer(queued)
        queued.close()

        assert [] == traffic.lost
        assert got.endswith(b"hello\n")
        assert until(lambda: refused(int(old.split(":")[1])))
        assert not refused(int(new.split(":")[1]))
        assert until(lambda: server.names() == ["mpserve: w0", "mpserve: w1", "mpserve: w2"])


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        pytest.param("--workers many", "--workers", id="a wrong value"),
        pytest.param("--pid-file /dev/null", "cannot change without a restart", id="PID file"),
        pytest.param("--access-log /none/log", "--access-log /none/log", id="access log"),
        pytest.param("--error-log /none/log", "--error-log /none/log", id="error log"),
        pytest.param("--bind 192.0.2.1:80", "--bind 192.0.2.1:80", id="address"),
        pytest.param(f"--bind {'x' * 64}:80", "no host can have that name", id="host"),
        pytest.param("\udcff", "a bug: UnicodeDecodeError", id="a bug"),
    ],
)
def test_what_cannot_be_done_is_refused_with_a_line(
    root: Path, tmp_path: Path, more: str, reason: str
) -> None:
    words = tmp_path / "words"
    plain = f"--workers 1 --bind 127.0.0.1:{free_port()} "
    words.write_text(plain)
    with Changing(root, words) as server:
        before = server.workers()
        words.write_text(plain + more, errors="surrogateescape")
        server.signal(signal.SIGHUP)
        server.wait_for_line(f"not reloaded, what was served goes on: .*{reason}")

        assert content(server, "/hello.txt") == b"hello\n"
        assert before == server.workers()

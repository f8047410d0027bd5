"""A whole server under a service manager: readiness, the store, socket units."""

from __future__ import annotations

import errno
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.server import workers_of
from tests.harness.systemd import Systemd

pytestmark = pytest.mark.slow

REQUEST = b"GET /hello.txt HTTP/1.0\r\n\r\n"


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[Systemd]:
    with Systemd(tmp_path) as manager:
        yield manager


def waiting(port: int, count: int) -> list[socket.socket]:
    """Clients that have connected and asked."""
    clients = [socket.create_connection(("127.0.0.1", port), timeout=20) for _ in range(count)]
    for client in clients:
        client.sendall(REQUEST)
    return clients


def answers(clients: list[socket.socket]) -> list[bytes]:
    """The content that each client gets."""
    contents = []
    for client in clients:
        with client, client.makefile("rb") as stream:
            contents.append(stream.read().rpartition(b"\r\n\r\n")[2])
    return contents


def stored_port(systemd: Systemd) -> int:
    """The port of the sockets in the store."""
    with socket.socket(fileno=os.dup(systemd.kept[0][1])) as sock:
        port: int = sock.getsockname()[1]
        return port


def test_systemd_hears_of_readiness_and_of_the_end(systemd: Systemd, root: Path) -> None:
    systemd.start("--workers", "2", "--bind", "0", str(root))
    ready = systemd.wait_for("READY=1")
    assert systemd.process is not None
    systemd.process.send_signal(signal.SIGTERM)
    systemd.wait_for("STOPPING=1")

    assert ready["STATUS"].startswith("2 workers on http://127.0.0.1:")
    assert systemd.process.wait(20) == 0


def test_systemd_hears_that_the_server_lives(systemd: Systemd, root: Path) -> None:
    environment = {"WATCHDOG_USEC": "200000"}
    systemd.start("--workers", "1", "--bind", "0", str(root), environment=environment)
    systemd.until(lambda: len(systemd.said("WATCHDOG")) >= 5)

    assert systemd.process is not None
    assert systemd.process.poll() is None


# A server that does not wait a minute.
IMPATIENT = "import sys; from mpserve import cli, supervision; supervision.DESERTED = 0.1; sys.exit(cli.main())"


def test_systemd_hears_of_no_life_while_nobody_serves(systemd: Systemd, root: Path) -> None:
    systemd.start(
        *("--workers", "1", "--bind", "0", str(root)),
        environment={"WATCHDOG_USEC": "200000"},
        program=("-c", IMPATIENT),
    )
    ready = systemd.wait_for("READY=1")
    assert systemd.process is not None
    (worker,) = workers_of(systemd.process.pid)
    os.kill(worker, signal.SIGSTOP)
    systemd.wait_for("STATUS=no worker has served for 0.1 s")
    # A second worker counts as one who serves after a quarter of a second: two signs of life would be due.
    systemd.process.send_signal(signal.SIGTTIN)
    heard = len(systemd.messages)
    systemd.wait_for(f"STATUS={ready['STATUS'].replace('1 worker', '2 workers')}")
    silence = systemd.messages[heard:]
    systemd.wait_for("WATCHDOG=1")
    os.kill(worker, signal.SIGCONT)

    assert [each for each in silence if "WATCHDOG" in each] == []


def test_systemd_hears_why_a_reload_has_failed_until_one_succeeds(
    systemd: Systemd, root: Path
) -> None:
    systemd.start("--workers", "1", "--bind", "0", str(root))
    systemd.wait_for("READY=1")
    assert systemd.process is not None
    root.rename(root.with_name("away"))
    systemd.process.send_signal(signal.SIGHUP)
    refused = systemd.wait_for("READY=1")
    root.with_name("away").rename(root)
    systemd.process.send_signal(signal.SIGHUP)
    ready = systemd.wait_for("READY=1")

    assert (refused["ERRNO"], ready["ERRNO"]) == (str(errno.EINVAL), "0")
    assert refused["STATUS"].startswith("not reloaded: ROOT: ")
    assert refused["STATUS"].endswith("No such file or directory")
    assert ready["STATUS"].startswith("1 worker on ")


def test_not_even_a_killed_master_loses_a_connection(systemd: Systemd, root: Path) -> None:
    arguments = ("--workers", "2", "--bind", "0", str(root))
    systemd.start(*arguments)
    systemd.wait_for("READY=1")
    systemd.kill()
    port = stored_port(systemd)
    clients = waiting(port, 40)
    systemd.start(*arguments)
    contents = answers(clients)
    systemd.wait_for("READY=1")

    assert contents == [b"hello\n"] * 40
    assert len(systemd.kept) == 2


def test_an_upgrade_is_a_reload_of_the_same_process_and_the_store_stays(
    systemd: Systemd, root: Path
) -> None:
    arguments = ("--workers", "2", "--bind", "0", str(root))
    systemd.start(*arguments, environment={"WATCHDOG_USEC": "200000"})
    systemd.wait_for("READY=1")
    assert systemd.process is not None
    systemd.process.send_signal(signal.SIGUSR2)
    systemd.wait_for("RELOADING=1")
    ready = systemd.wait_for("READY=1")
    systemd.wait_for("WATCHDOG=1")
    running = systemd.process.poll() is None
    systemd.kill()
    clients = waiting(stored_port(systemd), 10)
    systemd.start(*arguments)

    assert running
    assert ready["STATUS"].startswith("2 workers on http://127.0.0.1:")
    assert answers(clients) == [b"hello\n"] * 10
    assert len(systemd.kept) == 2


def test_a_restart_refuses_nobody(systemd: Systemd, root: Path) -> None:
    arguments = ("--workers", "2", "--bind", "0", str(root))
    systemd.start(*arguments)
    systemd.wait_for("READY=1")
    assert systemd.process is not None
    systemd.process.send_signal(signal.SIGTERM)
    assert systemd.process.wait(20) == 0
    port = stored_port(systemd)
    clients = waiting(port, 10)
    systemd.start(*arguments)

    assert answers(clients) == [b"hello\n"] * 10


def test_the_socket_of_a_unit_is_served_by_every_worker(systemd: Systemd, root: Path) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=64) as unit:
        clients = waiting(unit.getsockname()[1], 20)
        systemd.start("--workers", "2", str(root), sockets={"mpserve.socket": unit})
        contents = answers(clients)
        ready = systemd.wait_for("READY=1")

        assert contents == [b"hello\n"] * 20
        assert f":{unit.getsockname()[1]}/" in ready["STATUS"]
        assert systemd.kept == []

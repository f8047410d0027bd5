"""Masters and workers as real processes: deaths, stops, and what clients notice of them."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from mpserve.lastcall import half_open, line_to_the_kernel
from tests.harness.polled import polled_by
from tests.harness.server import Server
from tests.harness.until import until
from tests.process.conftest import REQUEST, Serve, answer, connect, content, get

pytestmark = pytest.mark.slow


def test_each_slot_has_a_worker_with_a_name(serve: Serve) -> None:
    server = serve("--workers", "3")

    assert ["mpserve: w0", "mpserve: w1", "mpserve: w2"] == server.names()
    assert psutil.Process(server.pid).name() == "mpserve: master"


TELLING = """
import sys
from mpserve import crew
class Telling(crew.Worker):
    def run(self, say, life):
        def tell(word):
            print("modules", *sys.modules, file=sys.stderr, flush=True)
            say(word)
        return super().run(tell, life)
crew.Worker = Telling
from mpserve.cli import main
sys.exit(main(sys.argv[1:]))
"""


def test_no_worker_has_psutil(root: Path) -> None:
    command = [sys.executable, "-c", TELLING, "--workers", "1", "--bind", "0", str(root)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    line = next(line for line in process.stderr if line.startswith("modules"))
    process.terminate()
    process.stderr.close()
    process.wait()

    assert "mpserve.worker" in line.split()
    assert "psutil" not in line.split()


def test_a_signal_without_a_name_is_no_end_of_the_server(serve: Serve) -> None:
    server = serve("--workers", "1")
    (victim,) = server.workers()
    os.kill(victim, signal.SIGRTMIN + 3)
    server.wait_for_line(rf"died: killed by signal {signal.SIGRTMIN + 3}; the next starts")

    assert content(server, "/hello.txt") == b"hello\n"


def test_a_killed_worker_is_replaced_in_its_slot(serve: Serve) -> None:
    server = serve("--workers", "2")
    before = set(server.workers())
    victim = next(iter(before))
    name = psutil.Process(victim).name()
    os.kill(victim, signal.SIGKILL)

    assert until(lambda: len(set(server.workers()) - {victim}) == 2)
    (fresh,) = set(server.workers()) - before
    assert until(lambda: psutil.Process(fresh).name() == name)
    server.wait_for_line(r"killed by SIGKILL")


def test_killing_workers_loses_no_new_connection(serve: Serve) -> None:
    server = serve("--workers", "3")
    failures: list[str] = []
    served = 0
    stop = threading.Event()

    def load() -> None:
        nonlocal served
        while not stop.is_set():
            # Nothing is sent before the connection is accepted by a worker that lives: what a killed
            # worker had accepted is lost with it, and only that may be.
            with connect(server) as client:
                client.sendall(REQUEST)
                try:
                    got = answer(client)
                except ConnectionResetError:
                    failures.append("reset")
                    continue
                if not got.endswith(b"hello\n"):
                    failures.append(repr(got))
                served += 1

    clients = [threading.Thread(target=load) for _ in range(4)]
    for client in clients:
        client.start()
    kills = 0
    for _ in range(8):
        workers = server.workers()
        os.kill(workers[0], signal.SIGKILL)
        kills += 1
        assert until(lambda victim=workers[0]: victim not in server.workers())  # type: ignore[misc]  # its default is the type
        assert until(lambda: len(server.workers()) == 3)
    stop.set()
    for client in clients:
        client.join()

    assert served > 50
    # At most what the killed worker had in its hands: one exchange for each client.
    assert len(failures) <= kills * len(clients)


def test_connections_that_wait_in_a_dead_workers_queue_are_served(serve: Serve) -> None:
    server = serve("--workers", "1")
    (worker,) = server.workers()
    os.kill(worker, signal.SIGSTOP)
    clients = [connect(server) for _ in range(40)]
    for client in clients:
        client.sendall(REQUEST)
    os.kill(worker, signal.SIGKILL)
    answers = [answer(client) for client in clients]
    for client in clients:
        client.close()

    assert all(got.endswith(b"\r\n\r\nhello\n") for got in answers)


def test_who_is_let_in_last_is_answered_whole(serve: Serve, root: Path) -> None:
    server = serve("--workers", "1", "--max-connections", "1")
    (worker,) = server.workers()
    with connect(server) as first, connect(server) as last:
        first.sendall(REQUEST[:9])
        last.sendall(REQUEST.replace(b"hello.txt", b"big"))
        assert until(
            lambda: not polled_by(worker, server.port)
        )  # it is full, and leaves its listener alone
        os.kill(worker, signal.SIGSTOP)
        first.close()
        os.kill(worker, signal.SIGTERM)
        os.kill(worker, signal.SIGCONT)
        with last.makefile("rb") as stream:
            octets = stream.read()

    assert octets.partition(b"\r\n\r\n")[2] == (root / "big").read_bytes()


def test_a_stopped_worker_holds_up_nobody(serve: Serve) -> None:
    server = serve("--workers", "2")
    stopped = server.workers()[0]
    os.kill(stopped, signal.SIGSTOP)
    bodies = [content(server, "/hello.txt") for _ in range(50)]
    os.kill(stopped, signal.SIGCONT)

    assert [b"hello\n"] * 50 == bodies


def test_term_answers_what_has_connected(serve: Serve) -> None:
    server = serve("--workers", "2")
    workers = server.workers()
    for worker in workers:
        os.kill(worker, signal.SIGSTOP)
    clients = [connect(server) for _ in range(20)]
    for client in clients:
        client.sendall(REQUEST)
    server.signal(signal.SIGTERM)
    for worker in workers:
        os.kill(worker, signal.SIGCONT)
    answers = [answer(client) for client in clients]
    for client in clients:
        client.close()

    assert all(got.endswith(b"\r\n\r\nhello\n") for got in answers)
    assert server.wait() == 0


def test_term_under_load_loses_no_request(serve: Serve) -> None:
    server = serve("--workers", "2")
    lost: list[str] = []
    answered = 0

    def load() -> None:
        nonlocal answered
        while True:
            try:
                with connect(server) as client:
                    client.sendall(b"GET /hello.txt HTTP/1.0\r\n\r\n")
                    got = answer(client)
            except ConnectionRefusedError:
                return
            except OSError as error:
                lost.append(repr(error))
                return
            if got.endswith(b"hello\n"):
                answered += 1
            else:
                lost.append(repr(got))

    clients = [threading.Thread(target=load) for _ in range(8)]
    for client in clients:
        client.start()
    assert until(lambda: answered > 100)
    server.signal(signal.SIGTERM)
    for client in clients:
        client.join()

    assert [] == lost
    assert server.wait() == 0


def test_term_lets_a_request_on_its_way_be_answered(serve: Serve) -> None:
    server = serve("--workers", "1")
    answers: list[bytes] = []

    def another_is_the_last() -> bool:
        client.sendall(REQUEST)
        answers.append(answer(client))
        return b"\r\nConnection: close\r\n" in answers[-1]

    with connect(server) as client:
        assert not another_is_the_last()
        server.signal(signal.SIGTERM)
        server.wait_for_line("stopping")
        assert until(lambda: refused(server))
        assert until(another_is_the_last)

    assert all(got.endswith(b"\r\n\r\nhello\n") for got in answers)
    assert server.wait() == 0


def test_term_answers_a_client_that_has_connected_and_not_asked_yet(serve: Serve) -> None:
    server = serve("--workers", "2")
    clients = [connect(server) for _ in range(20)]
    server.signal(signal.SIGTERM)
    server.wait_for_line("stopping")
    for client in clients:
        client.sendall(REQUEST)
    answers = [answer(client) for client in clients]
    for client in clients:
        client.close()

    assert all(got.endswith(b"\r\n\r\nhello\n") for got in answers)
    assert server.wait() == 0


def is_half_open(server: Server) -> bool:
    """Whether a client of `server` is known to its kernel alone: connected, and not to be accepted yet."""
    with line_to_the_kernel() as kernel:
        return server.port in half_open(kernel, socket.AF_INET)


def test_term_waits_for_clients_that_the_kernel_does_not_show_yet(serve: Serve) -> None:
    # The wait has an end, which a machine that is busy with much else may miss: then once more.
    assert any(all_are_answered_after_term(serve("--workers", "2")) for _ in range(3))


def all_are_answered_after_term(server: Server) -> bool:
    """Whether everybody has an answer who had connected before TERM, and asks when the kernel has shown them."""
    clients: list[socket.socket] = []

    def another_is_half_open() -> bool:
        clients.append(connect(server))
        return is_half_open(server)

    assert until(another_is_half_open)
    server.signal(signal.SIGTERM)
    # They ask when the kernel has shown them, or has nobody left to show them to.
    assert until(lambda: not is_half_open(server))
    answers = []
    for client in clients:
        with contextlib.suppress(ConnectionError):
            client.sendall(REQUEST)
    for client in clients:
        with client, contextlib.suppress(ConnectionError):
            answers.append(answer(client))
    assert server.wait() == 0
    return [got[-6:] for got in answers] == [b"hello\n"] * len(clients)


BLIND = """
import sys
from mpserve.acceptor import Acceptor
def is_awaited(self):
    raise MemoryError
Acceptor.is_awaited = is_awaited
from mpserve.cli import main
sys.exit(main(sys.argv[1:]))
"""


def test_term_is_heeded_where_nobody_can_be_looked_for(root: Path) -> None:
    server = Server(root, "--workers", "1", "--graceful-timeout", "3600")
    server.command = (sys.executable, "-c", BLIND, *server.command[3:])
    with server:
        server.stop()

    assert server.returncode == 0


def refused(server: Server) -> bool:
    try:
        connect(server).close()
    except ConnectionRefusedError:
        return True
    return False


def test_the_graceful_limit_ends_what_does_not_end(serve: Serve) -> None:
    server = serve("--workers", "1", "--graceful-timeout", "0.3")
    with connect(server) as client:
        client.sendall(b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n")
        client.recv(1000)
        server.signal(signal.SIGTERM)

        assert server.wait() == 0
        with pytest.raises(ConnectionResetError):
            answer(client)


@pytest.mark.parametrize(
    "signals",
    [
        pytest.param([signal.SIGINT], id="INT"),
        pytest.param([signal.SIGQUIT], id="QUIT"),
        pytest.param([signal.SIGTERM, signal.SIGTERM], id="TERM twice"),
        pytest.param([signal.SIGTERM, signal.SIGINT], id="TERM, INT"),
    ],
)
def test_a_fast_stop_waits_for_nobody(serve: Serve, signals: list[signal.Signals]) -> None:
    server = serve("--workers", "2")
    with connect(server) as client:
        client.sendall(b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n")
        client.recv(1000)
        for number in signals:
            server.signal(number)
            server.wait_for_line("stopping")

        assert server.wait(timeout=5) == 0


def test_workers_do_not_survive_their_master(serve: Serve) -> None:
    server = serve("--workers", "2")
    workers = server.workers()
    os.kill(server.pid, signal.SIGKILL)

    assert until(lambda: not any(psutil.pid_exists(pid) for pid in workers))
    server.wait()


def test_a_fast_reader_is_not_held_up_by_stuck_ones(serve: Serve) -> None:
    server = serve("--workers", "1")
    with contextlib.ExitStack() as stuck:
        for _ in range(50):
            client = stuck.enter_context(connect(server))
            client.sendall(b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n")

        assert content(server, "/hello.txt") == b"hello\n"


def test_content_leaves_by_sendfile(serve: Serve, tmp_path: Path) -> None:
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    server = serve("--workers", "1")
    (worker,) = server.workers()
    trace = tmp_path / "trace"
    with strace(worker, trace):
        body = content(server, "/big")
        content(server, "/hello.txt")  # once it answers, it has come back from the last call
    taken = sum(int(n) for n in re.findall(r"sendfile\(.*\) = (\d+)", trace.read_text()))

    assert (4 << 20, 4 << 20) == (len(body), taken)


@contextlib.contextmanager
def strace(pid: int, trace: Path) -> Iterator[None]:
    """Write the sendfile calls of a process to `trace`."""
    command = ["strace", "-p", str(pid), "-o", str(trace), "-e", "trace=sendfile"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    assert "attached" in process.stderr.readline()
    try:
        yield
    finally:
        process.terminate()
        process.wait()
        process.stderr.close()


def test_the_root_can_be_deleted_and_built_again(serve: Serve, root: Path) -> None:
    server = serve("--workers", "2")
    seen = [get(server, "/hello.txt").status]
    root.rename(root.with_name("old"))
    seen.append(get(server, "/hello.txt").status)
    root.mkdir()
    (root / "hello.txt").write_bytes(b"new")

    assert [200, 404] == seen
    assert content(server, "/hello.txt") == b"new"


def test_a_file_of_5_gib_works_to_the_last_octet(serve: Serve, root: Path) -> None:
    size = 5 << 30
    with (root / "huge").open("wb") as file:
        file.truncate(size)
        file.seek(size - 4)
        file.write(b"last")
    server = serve("--workers", "1")
    response = get(server, "/huge", Range="bytes=-5")

    assert response.status == 206
    assert response.getheader("Content-Range") == f"bytes {size - 5}-{size - 1}/{size}"
    assert response.body == b"\0last"  # type: ignore[attr-defined]  # see get


def test_a_unix_socket_is_served_and_removed_at_the_end(serve: Serve, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    server = serve("--workers", "2", "--bind", f"unix:{path}")
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        client.sendall(REQUEST)
        got = answer(client)
    server.stop()

    assert got.endswith(b"hello\n")
    assert not path.exists()

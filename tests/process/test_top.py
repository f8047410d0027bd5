"""`mpserve top` beside a running server, in a terminal and without one."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import signal
import socket
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mpserve.top import where_it_serves
from tests.harness.server import REPOSITORY, Server
from tests.process.conftest import Serve, content

pytestmark = pytest.mark.slow

COMMAND = (sys.executable, "-m", "mpserve", "top")


def top(*words: str) -> subprocess.CompletedProcess[str]:
    """Run it without a terminal."""
    return subprocess.run(
        [*COMMAND, *words],
        cwd=REPOSITORY,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


class Terminal:
    """A terminal of that many columns in which `mpserve top` runs."""

    def __init__(self, columns: int, *words: str) -> None:
        self.ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        self.before = termios.tcgetattr(self.ours)
        self.process = subprocess.Popen(
            [*COMMAND, *words],
            cwd=REPOSITORY,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        self.theirs = theirs
        self.text = ""

    def until(self, word: str) -> None:
        """Wait until that has been shown."""
        deadline = time.monotonic() + 20
        while word not in self.text:
            assert time.monotonic() < deadline, self.text
            self.text += os.read(self.ours, 65536).decode()


@contextmanager
def terminal(columns: int, *words: str) -> Iterator[Terminal]:
    found = Terminal(columns, *words)
    try:
        yield found
    finally:
        found.process.kill()
        found.process.wait()
        os.close(found.ours)
        os.close(found.theirs)


def busy(serve: Serve) -> Server:
    server = serve("--workers", "2")
    for _ in range(5):
        content(server, "/hello.txt")
    return server


def test_one_table_names_every_process(serve: Serve) -> None:
    server = busy(serve)
    done = top(str(server.pid), "--once")

    assert (done.returncode, done.stderr) == (0, "")
    pids = {int(line.split()[1]) for line in done.stdout.splitlines()[3:]}
    assert pids == {server.pid, *server.workers()}
    assert "2 workers" in done.stdout
    assert "5 requests" in done.stdout


def test_the_figures_are_those_of_the_server_without_any_flag_of_it(serve: Serve) -> None:
    server = busy(serve)
    found = json.loads(top(str(server.pid), "--json").stdout)
    master, *workers = found["processes"]

    assert (found["pid"], master["requests"]) == (server.pid, 5)
    assert [each["process"] for each in workers] == ["w0", "w1"]
    assert sum(each["requests"] for each in workers) == 5
    assert all(each["pss"] > 0 and each["state"] == "serving" for each in workers)


def test_an_upgrade_takes_no_figure_along(serve: Serve) -> None:
    server = busy(serve)
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as slow:
        slow.sendall(b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n")
        slow.recv(1)  # under way: its worker stays, and counts in the board of the old image
        server.signal(signal.SIGUSR2)
        server.wait_for_line(r"generation \d+ serves")
        content(server, "/hello.txt")
        found = json.loads(top(str(server.pid), "--json").stdout)
    master, *workers = found["processes"]

    assert master["requests"] == 6
    assert [each["state"] for each in workers].count("retiring") >= 1
    assert [each["state"] for each in workers].count("serving") == 2


def test_the_server_is_found_by_its_pid_file(serve: Serve, tmp_path: Path) -> None:
    path = tmp_path / "pid"
    server = serve("--pid-file", str(path))
    found = json.loads(top("--pid-file", str(path), "--json").stdout)

    assert found["pid"] == server.pid


# A process with these words after it sees no process but those that it starts itself.
ALONE = ("unshare", "--map-root-user", "--pid", "--fork", "--mount-proc", "--kill-child")
# What there is to say where no server runs, one does, and two do.
LOOKING = """
import sys
from mpserve.top import where_it_serves
from tests.harness.server import Server
from tests.process.test_top import top
print(top("--once").stderr, end="")
with Server(sys.argv[1]) as first:
    print(top("--once").stdout.startswith(f"mpserve {first.pid}  up"))
    with Server(sys.argv[1], "--bind", "127.0.0.1:0", "--bind", "127.0.0.2:0") as second:
        both = sorted([(first.pid, first.urls), (second.pid, second.urls)])
        print(*(f"{pid} ({' '.join(urls)})" for pid, urls in both), sep=", ")
        print(top("--once").stderr, end="")
"""


def test_the_server_is_found_among_the_processes(root: Path) -> None:
    if subprocess.run([*ALONE, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this system lets nobody be alone (unshare)")
    done = subprocess.run(
        [*ALONE, sys.executable, "-c", LOOKING, root],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    nobody, found, both, several = done.stdout.splitlines()

    assert nobody == "mpserve: error: top: no server is running here"
    assert found == "True"
    addresses = both.replace("http://", "").replace("/", "")
    assert several == f"mpserve: error: top: several servers are running: name one of {addresses}"


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["1999999999"], "top: there is no process 1999999999"),
        (["--pid-file", "/none/pid"], "top: --pid-file /none/pid: No such file or directory"),
        (
            ["1999999999", "--pid-file", "/none/pid"],
            "top: argument --pid-file: not allowed with argument pid",
        ),
        (["--twice"], "top: unrecognized arguments: --twice"),
        (["one"], "top: 'one' is no process ID"),
    ],
)
def test_what_cannot_be_shown_is_one_line_and_status_2(words: list[str], complaint: str) -> None:
    done = top(*words)

    assert (2, f"mpserve: error: {complaint}\n", "") == (done.returncode, done.stderr, done.stdout)


def test_without_psutil_it_says_what_is_missing(tmp_path: Path) -> None:
    (tmp_path / "psutil.py").write_text("raise ImportError")
    done = subprocess.run(
        [*COMMAND, "--once"],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )

    expected = "mpserve: error: top: psutil is not installed: pip install psutil\n"
    assert (2, expected) == (done.returncode, done.stderr)


def test_a_unix_socket_is_shown_by_the_name_that_clients_use(tmp_path: Path) -> None:
    with Server(tmp_path, "--bind", f"unix:{tmp_path}/sock") as server:
        assert where_it_serves(server.pid) == f"unix:{tmp_path}/sock"


def test_a_process_that_is_no_server_is_refused() -> None:
    with subprocess.Popen(["sleep", "60"]) as other:
        done = top(str(other.pid))
        other.kill()

    expected = f"mpserve: error: top: process {other.pid} is no master of a server\n"
    assert (2, expected) == (done.returncode, done.stderr)


@pytest.mark.parametrize("columns", [80, 200])
def test_q_leaves_the_terminal_as_it_was(serve: Serve, columns: int) -> None:
    server = busy(serve)
    with terminal(columns, str(server.pid)) as shown:
        shown.until("w1")
        os.write(shown.ours, b"q")
        status = shown.process.wait(20)
        shown.until("\x1b[?1049l")

        assert status == 0
        assert termios.tcgetattr(shown.ours) == shown.before
        assert ("STALLED" in shown.text) == (columns == 200)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_the_terminal_as_it_was(serve: Serve, number: signal.Signals) -> None:
    server = busy(serve)
    with terminal(80, str(server.pid)) as shown:
        shown.until("w1")
        shown.process.send_signal(number)
        status = shown.process.wait(20)
        shown.until("\x1b[?1049l")

        assert status == 0
        assert termios.tcgetattr(shown.ours) == shown.before


def test_the_end_of_the_server_is_the_end_of_it(serve: Serve) -> None:
    server = busy(serve)
    with terminal(80, str(server.pid)) as shown:
        shown.until("w1")
        server.stop()
        status = shown.process.wait(20)
        shown.until("there is no process")

        assert status == 2
        assert termios.tcgetattr(shown.ours) == shown.before

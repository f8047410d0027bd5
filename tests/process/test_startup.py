"""How a server starts, and how it says that it cannot."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.process.conftest import Serve, content

pytestmark = pytest.mark.slow

# A server whose workers fail as long as a file named `broken` lies in its root.
FRAGILE = """
import os, sys
from mpserve import crew
class Fragile(crew.Worker):
    def run(self, *arguments):
        if os.path.exists(os.path.join(os.fsdecode(self.config.site.root), "broken")):
            raise RuntimeError("broken on purpose")
        return super().run(*arguments)
crew.Worker = Fragile
from mpserve.cli import main
sys.exit(main(sys.argv[1:]))
"""


def run(*arguments: str, program: tuple[str, ...] = ("-m", "mpserve")) -> tuple[int, list[str]]:
    """Run a server that is expected to end by itself: its exit status and lines of standard error."""
    done = subprocess.run(  # our own server
        [sys.executable, *program, *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    return done.returncode, done.stderr.splitlines()


def test_a_busy_address_is_one_line_and_status_2(serve: Serve, root: Path) -> None:
    server = serve()
    address = f"127.0.0.1:{server.port}"
    status, lines = run("--bind", address, str(root))

    assert (2, 1) == (status, len(lines))
    assert f"--bind {address}" in lines[0]
    assert content(server, "/hello.txt") == b"hello\n"


@pytest.mark.parametrize("flag", ["--access-log", "--error-log", "--pid-file"])
def test_a_path_that_cannot_be_opened_is_one_line_and_status_2(root: Path, flag: str) -> None:
    path = f"{root}/none/file"
    status, lines = run("--bind", "0", flag, path, str(root))

    assert (2, 1) == (status, len(lines))
    assert f"{flag} {path}: No such file or directory" in lines[0]


def test_a_first_generation_that_cannot_boot_stops_the_server(root: Path) -> None:
    (root / "broken").touch()
    arguments = ("--workers", "3", "--bind", "0", str(root))
    status, lines = run(*arguments, program=("-c", FRAGILE))

    assert status == 3
    assert any("broken on purpose" in line for line in lines)
    assert sum("cannot start" in line for line in lines) == 1


def test_once_a_generation_has_served_a_broken_worker_is_tried_again(root: Path) -> None:
    process = subprocess.Popen(  # our own server
        [sys.executable, "-c", FRAGILE, "--workers", "1", "--bind", "0", str(root)],
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    lines = iter(process.stderr)
    assert any("http://127.0.0.1:" in line for line in lines)
    (root / "broken").touch()
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
    os.kill(int(children.split()[0]), signal.SIGKILL)
    delays = [line for line in lines_until(lines, "in 0.2 s") if "the next starts" in line]
    (root / "broken").unlink()
    assert any("is ready" in line for line in lines)
    process.terminate()
    process.stderr.close()

    assert process.wait(10) == 0
    waits = [line.rpartition("the next starts ")[2].strip() for line in delays]
    assert waits[-2:] == ["in 0.1 s", "in 0.2 s"]


def lines_until(lines: object, end: str) -> list[str]:
    """The lines up to the first that holds `end`."""
    found = []
    for line in lines:  # type: ignore[attr-defined]  # an iterator of lines
        found.append(line)
        if end in line:
            return found
    raise AssertionError(f"no line with {end!r} in {found}")


def test_the_pid_file_names_the_master_and_goes_with_it(serve: Serve, tmp_path: Path) -> None:
    path = tmp_path / "pid"
    server = serve("--pid-file", str(path))
    written = int(path.read_text())
    server.stop()

    assert written == server.pid
    assert not path.exists()


def test_a_pid_file_left_by_a_crash_is_taken_over(serve: Serve, tmp_path: Path) -> None:
    path = tmp_path / "pid"
    path.write_text(f"{os.getpid()}\n")
    server = serve("--pid-file", str(path))

    assert int(path.read_text()) == server.pid


def test_a_pid_file_of_a_running_server_is_refused(
    serve: Serve, root: Path, tmp_path: Path
) -> None:
    path = tmp_path / "pid"
    server = serve("--pid-file", str(path))
    status, lines = run("--bind", "0", "--pid-file", str(path), str(root))

    assert (2, 1) == (status, len(lines))
    assert "a running server holds it" in lines[0]
    assert int(path.read_text()) == server.pid


def test_several_addresses_are_all_served(serve: Serve) -> None:
    server = serve("--bind", "127.0.0.1:0", "--bind", "[::1]:0")
    ports = [url.rstrip("/").rpartition(":")[2] for url in server.urls]
    for host, port in zip(("127.0.0.1", "::1"), ports, strict=True):
        with socket.create_connection((host, int(port)), timeout=10) as client:
            client.sendall(b"GET /hello.txt HTTP/1.0\r\n\r\n")
            octets = b""
            while more := client.recv(4096):
                octets += more

        assert octets.endswith(b"hello\n")


def test_the_open_file_limit_is_raised(serve: Serve) -> None:
    server = serve()
    limits = Path(f"/proc/{server.workers()[0]}/limits").read_text()
    (line,) = (line for line in limits.splitlines() if line.startswith("Max open files"))

    assert line.split()[3] == line.split()[4]


def test_port_0_is_printed_as_the_port_it_became(serve: Serve) -> None:
    server = serve("--bind", "0")

    assert server.port > 0
    assert f"http://127.0.0.1:{server.port}/" in server.stderr


@pytest.mark.parametrize("full", [pytest.param(False, id="closed"), pytest.param(True, id="full")])
def test_standard_error_neither_ends_nor_holds_the_server(root: Path, full: bool) -> None:
    read_end, write_end = os.pipe()
    if full:
        os.set_blocking(write_end, False)
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(write_end, bytes(65536))
        os.set_blocking(write_end, True)
    else:
        os.close(read_end)
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        port = reserved.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "mpserve",
        "--bind",
        str(port),
        "--access-log",
        "off",
        str(root),
    ]
    process = subprocess.Popen(command, stderr=write_end)
    os.close(write_end)
    status = first_answer(port)
    process.terminate()
    code = process.wait(10)
    if full:
        os.close(read_end)

    assert (status, code) == (b"200", 0)


def first_answer(port: int) -> bytes:
    """The status of the first answer that comes from `port`."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
                client.sendall(b"GET /hello.txt HTTP/1.0\r\n\r\n")
                return client.recv(100)[9:12]
        except ConnectionRefusedError:
            time.sleep(0.02)
    raise AssertionError("no answer")


def test_a_pid_file_does_not_outlive_a_killed_master(
    serve: Serve, root: Path, tmp_path: Path
) -> None:
    path = tmp_path / "pid"
    server = serve("--pid-file", str(path))
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        client.sendall(b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n")  # keeps a worker busy
        client.recv(1)
        os.kill(server.pid, signal.SIGKILL)
        second = serve("--pid-file", str(path))

        assert int(path.read_text()) == second.pid


def test_a_server_short_of_descriptors_recovers(root: Path) -> None:
    for number in range(300):
        path = root / f"{number}.bin"
        path.write_bytes(bytes(70_000))
        os.utime(path, (1_000_000_000, 1_000_000_000))
    process = subprocess.Popen(
        [
            *("prlimit", "--nofile=100:100", sys.executable, "-m", "mpserve"),
            *("--workers", "1", "--bind", "0", "--access-log", "off", str(root)),
        ],
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    url = next(found for line in process.stderr if (found := line.strip()).startswith("http"))
    port = int(url.rstrip("/").rpartition(":")[2])
    time.sleep(max(0.0, 2.1 - (time.time() - (root / "299.bin").stat().st_ctime)))  # settled: kept
    statuses = []
    for _ in range(2):
        for number in range(300):
            with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
                client.sendall(b"GET /%d.bin HTTP/1.0\r\n\r\n" % number)
                statuses.append(client.recv(100)[9:12])
    process.terminate()
    process.stderr.close()
    process.wait()

    assert statuses == [b"200"] * 600

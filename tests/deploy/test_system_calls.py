"""The unit's filter lets through every system call that the server makes in a whole life of it."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.deploy import units
from tests.deploy.site import Client
from tests.harness.peers import free_port
from tests.harness.until import until

pytestmark = pytest.mark.slow

SERVICE = units.DEPLOY / "systemd" / "mpserve.service"
CALL = re.compile(r"^(?:\d+ +)?(\w+)\(", re.MULTILINE)

# What happens to a server between its start and its end, and what it says then.
LIFE = (
    (signal.SIGUSR1, ""),
    (signal.SIGHUP, "generation 2 serves"),
    (signal.SIGUSR2, "generation 3 serves"),
    (signal.SIGTTIN, "one worker more: 3"),
)


def members(name: str) -> set[str]:
    """The calls of a set of systemd's, such as @system-service."""
    done = subprocess.run(
        ["systemd-analyze", "syscall-filter", "--no-pager", name],
        capture_output=True,
        text=True,
        check=True,
    )
    words = [line.strip() for line in done.stdout.splitlines()[1:]]
    found = {word for word in words if word and word[0] not in "@#"}
    return found.union(*(members(word) for word in words if word.startswith("@")))


def allowed() -> set[str]:
    names = units.words(units.read(SERVICE)["Service"]["SystemCallFilter"])
    plain = {name for name in names if not name.startswith("@")}
    return plain.union(*(members(name) for name in names if name.startswith("@")))


def answers(port: int) -> bool:
    client = Client(port)
    try:
        return "a page" in client.get("/0.html")
    except OSError:
        return False
    finally:
        client.connection.close()


@pytest.mark.timeout(180)
def test_no_call_of_the_server_is_refused_by_the_unit(tmp_path: Path) -> None:
    for program in ("strace", "systemd-analyze"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    root = tmp_path / "root"
    root.mkdir()
    (root / "0.html").write_text("a page")
    trace, port = tmp_path / "trace", free_port()
    words = ["--workers", "2", "--bind", f"127.0.0.1:{port}", "--access-log", f"{tmp_path}/log"]
    words += ["--bind", f"unix:{tmp_path}/socket", "--admin", f"unix:{tmp_path}/admin"]
    process = subprocess.Popen(
        [
            *("strace", "-f", "-qq", "-s", "0", "-o", str(trace)),
            *(sys.executable, "-m", "mpserve", *words, "--pid-file", f"{tmp_path}/pid", str(root)),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # what strace leaves behind when it is killed can be found
    )
    assert process.stderr is not None
    try:
        assert until(lambda: answers(port) or process.poll() is not None, 60)
        master = int((tmp_path / "pid").read_text())
        for number, said in LIFE:
            os.kill(master, number)
            while said and said not in process.stderr.readline():
                assert process.poll() is None
        assert answers(port)
        os.kill(master, signal.SIGTERM)
        process.stderr.read()
        assert process.wait(60) == 0
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process.stderr.close()
    made = set(CALL.findall(trace.read_text()))

    assert {"openat2", "landlock_restrict_self", "sendto", "execve"} <= made
    assert made - allowed() == set()

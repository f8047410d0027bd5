"""A server of our own, in a process of its own: started on a free port, stopped by TERM, what it said collected.

    with Server(root, "--workers", "3") as server:
        connect(server.port)
    assert "…" in server.stderr

Nothing sleeps and nothing polls: threads read the two pipes, and whoever waits is woken by a line.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import IO

import psutil

from tests.harness.running import Running

REPOSITORY = Path(__file__).resolve().parents[2]
START_TIMEOUT = (
    20.0  # seconds: an interpreter start and some forks, on a machine that does other things too
)
ORPHANS_TIMEOUT = 30.0  # seconds: workers whose master was killed end by themselves before
STOP_TIMEOUT = 40.0  # seconds: more than the server's own limit for a graceful shutdown

# One such line per listener, when all workers are ready.
_URL = re.compile(r"^\s*(?P<url>https?://(?P<host>\[[^\]]*\]|[^\s:/]+):(?P<port>\d+)|unix:\S+)")


class ServerError(Exception):
    """The server did not start, or did not stop, as it should; the text says what it wrote."""


class Lines:
    """The lines of a pipe, read by a thread until the other end closes it."""

    def __init__(self, pipe: IO[bytes]) -> None:
        self._pipe = pipe
        self._lines: list[str] = []
        self._changed = threading.Condition()
        self._ended = False
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def __str__(self) -> str:
        with self._changed:
            return "".join(self._lines)

    def matches(self, pattern: re.Pattern[str]) -> list[re.Match[str]]:
        """What `pattern` finds in the lines so far, one match per line."""
        with self._changed:
            return [found for line in self._lines if (found := pattern.search(line))]

    def wait_for(self, pattern: re.Pattern[str], count: int, timeout: float) -> bool:
        """Wait until `count` lines match; False when the pipe ended or the time was over before."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._ended or len(self.matches(pattern)) >= count, timeout
            )
        return len(self.matches(pattern)) >= count

    @property
    def ended(self) -> bool:
        """Has every writer closed the pipe?"""
        with self._changed:
            return self._ended

    def end_within(self, seconds: float) -> bool:
        """Whether every writer closes the pipe in that time."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def close(self) -> None:
        """Wait for the end of the pipe (its writers are gone), and close it."""
        self._thread.join()
        self._pipe.close()

    def _read(self) -> None:
        for line in self._pipe:
            with self._changed:
                self._lines.append(line.decode("utf-8", "backslashreplace"))
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()


class Server(Running):
    """`python -m mpserve ARGUMENTS ROOT` as a child process.

    Without a `--bind` among the arguments it listens on a free port of 127.0.0.1.
    """

    def __init__(
        self, root: Path | str | None, *arguments: str, environment: Mapping[str, str] | None = None
    ) -> None:
        bind = () if any(word.startswith("--bind") for word in arguments) else _FREE_PORT
        served = () if root is None else (str(root),)
        self.command = (sys.executable, "-m", "mpserve", *bind, *arguments, *served)
        self.listeners = sum(word.split("=")[0] == "--bind" for word in self.command)
        self._environment = environment or {}
        self._process: subprocess.Popen[bytes] | None = None
        self._stdout: Lines | None = None
        self._stderr: Lines | None = None

    def __repr__(self) -> str:
        state = self.returncode if self._process else "not started"
        return f"<Server {' '.join(self.command)} returncode={state}>"

    def spawn(self) -> None:
        """Start the process, and do not wait for it to be ready."""
        self._process = subprocess.Popen(
            self.command,
            cwd=REPOSITORY,
            env=_environment(self._environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            # Ctrl-C at the terminal is for whoever started the server, who then stops it in order.
            start_new_session=True,
        )
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self._stdout = Lines(self._process.stdout)
        self._stderr = Lines(self._process.stderr)

    def start(self) -> None:
        """Start the process and wait until it has printed the URL of every listener."""
        self.spawn()
        if self._lines.wait_for(_URL, self.listeners, START_TIMEOUT):
            return
        # Its last words come a moment before its end.
        code = self._running.wait(STOP_TIMEOUT) if self._lines.ended else None
        self.kill()
        state = "is silent" if code is None else f"exited with status {code}"
        raise ServerError(f"{' '.join(self.command)} {state}:\n{self.stderr}")

    def wait_for_line(self, pattern: str, count: int = 1, timeout: float = START_TIMEOUT) -> None:
        """Wait until `count` lines of standard error match `pattern`."""
        if not self._lines.wait_for(re.compile(pattern), count, timeout):
            raise ServerError(f"no line like {pattern!r} came:\n{self.stderr}")

    def signal(self, number: signal.Signals) -> None:
        """Send the master a signal."""
        self._running.send_signal(number)

    def wait(self, timeout: float = STOP_TIMEOUT) -> int:
        """Wait until the process has ended, and all that it has started; return its exit status."""
        code = self._running.wait(timeout)
        if not self._lines.end_within(ORPHANS_TIMEOUT):
            self.kill()
            raise ServerError(f"{self!r} left processes behind:\n{self.stderr}")
        self._close()
        return code

    def stop(self) -> None:
        """End the process by TERM. A process that has ended already stays as it is."""
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.terminate()
        try:
            self.wait()
        except subprocess.TimeoutExpired as error:
            self.kill()
            raise ServerError(
                f"{self!r} did not stop within {STOP_TIMEOUT} s of TERM:\n{self.stderr}"
            ) from error

    def kill(self) -> None:
        """End the process, and whatever it has started, at once."""
        if self._process is None:
            return
        # By their group, which is theirs alone: workers whose master is dead are nobody's children.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._close()

    @property
    def pid(self) -> int:
        """The process id of the master."""
        return self._running.pid

    @property
    def returncode(self) -> int | None:
        """The exit status; None while the process runs."""
        return self._running.poll()

    def workers(self) -> list[int]:
        """The process ids of the workers that live now."""
        return workers_of(self.pid)

    def names(self) -> list[str]:
        """What the workers that live now are called, in order."""
        return sorted(filter(None, map(_name, self.workers())))

    @property
    def urls(self) -> list[str]:
        """What the server says it listens on, in the order of the lines: `http://HOST:PORT` or `unix:PATH`."""
        return [found["url"] for found in self._lines.matches(_URL)]

    @property
    def url(self) -> str:
        """The first of its URLs."""
        return self.urls[0]

    @property
    def port(self) -> int:
        """The port of the first listener that has one."""
        return next(int(found["port"]) for found in self._lines.matches(_URL) if found["port"])

    @property
    def stdout(self) -> str:
        """What it has written to standard output so far."""
        return str(self._stdout)

    @property
    def stderr(self) -> str:
        """What it has written to standard error so far."""
        return str(self._stderr)

    @property
    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise ServerError(f"{self!r} has not been started")
        return self._process

    @property
    def _lines(self) -> Lines:
        assert self._stderr is not None, "the server has not been started"
        return self._stderr

    def _close(self) -> None:
        for lines in (self._stdout, self._stderr):
            if lines is not None:
                lines.close()


_FREE_PORT = ("--bind", "127.0.0.1:0")


def _environment(added: Mapping[str, str]) -> dict[str, str]:
    """The environment of the caller, without settings of the server that happen to be in it."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("MPSERVE_")}
    return {**inherited, "PYTHONUNBUFFERED": "1", **added}


def workers_of(master: int) -> list[int]:
    """The process ids of the workers of process `master` that live; none if it does not.

    Its children, that is; where some have names of ours, only they: an upgrade is tried in a child, too.
    """
    try:
        children = [each for each in psutil.Process(master).children() if _lives(each)]
    except psutil.NoSuchProcess:
        return []
    named = [child.pid for child in children if _name(child.pid).startswith("mpserve: ")]
    return named or [child.pid for child in children]


def _name(pid: int) -> str:
    """What a process is called; "" when it has gone."""
    try:
        return str(psutil.Process(pid).name())
    except psutil.NoSuchProcess:
        return ""


def _lives(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False

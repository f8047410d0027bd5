"""What goes on when new code has failed before it stood on its own: the old workers serve, and somebody waits.

Everything stays open. The dead are reaped and told to nobody any more, logs are opened anew, signals to stop
are handed on, and whatever may have mended the new code has it tried once more. This room imports nothing
but the standard library: it has to work where nothing else does.
"""

from __future__ import annotations

import contextlib
import math
import os
import signal
import socket
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from errno import ECANCELED
from typing import Any, Final

from mpserve.upgrade import State, inherited

# systemd hears this often (seconds) that the service lives.
SIGN_OF_LIFE: Final = 1.0
# Workers end by themselves at the limit of a graceful stop; this much later (seconds) they are killed.
KILL_MARGIN: Final = 1.0
EXIT_ABANDONED: Final = 1  # the new code failed, and the last worker of the old is gone

HEARD: Final = frozenset(
    {
        signal.SIGCHLD,
        signal.SIGHUP,
        signal.SIGINT,
        signal.SIGQUIT,
        signal.SIGTERM,
        signal.SIGUSR1,
        signal.SIGUSR2,
    }
)
# As a log is opened; see `destination`.
LOG_FLAGS: Final = (
    os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
)
# linux: SO_BINDTOIFINDEX, and the number of an interface that nothing comes from; see `listeners`.
SO_BINDTOIFINDEX: Final = 62
NO_INTERFACE: Final = 2**31 - 1


def carry_on(serve: Callable[[], int]) -> int:
    """Serve as the new code; if that fails before it stands on its own, keep up what the old one left."""
    state = inherited()
    assert state is not None, "nobody has left anything"
    status = EXIT_ABANDONED
    try:
        state.check()
        status = serve()
        why = f"exit status {status}"
    except BaseException:  # noqa: BLE001  # whatever it is, clients are to notice nothing of it
        why = traceback.format_exc()
    return status if state.settled else Vigil(state).keep(why)


class Vigil:
    """Over the workers that the state tells of, as far as they live."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.stopping = False
        self.kill_at = math.inf  # monotonic seconds: when stopping has lasted too long
        # The image that has failed may have reaped some.
        state.bury([pid for pid in self.workers if not is_child(pid)])

    def __repr__(self) -> str:
        return f"<Vigil over {list(self.workers)}>"

    @property
    def workers(self) -> dict[int, dict[str, Any]]:
        """What was told of each worker, by its process ID."""
        return {worker["pid"]: worker for worker in self.state.told["workers"]}

    def keep(self, why: str) -> int:
        """Wait for the next attempt while the old workers serve; the exit status when they are gone."""
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        say(self.state, f"the new code failed, what was served goes on: {why}")
        notify(f"READY=1\nSTATUS=the new code failed, the old workers go on\nERRNO={ECANCELED}")
        while self.workers:
            heard = signal.sigtimedwait(HEARD, SIGN_OF_LIFE)
            notify("WATCHDOG=1")
            self.hear(signal.SIGCHLD if heard is None else heard.si_signo)
            if time.monotonic() >= self.kill_at:
                signal_all(self.workers, signal.SIGKILL)
        if not self.stopping:
            return EXIT_ABANDONED
        self.tidy()
        return 0

    def hear(self, number: int) -> None:
        """Do what a signal asks for."""
        if number == signal.SIGCHLD:
            self.reap()
        elif number == signal.SIGUSR1:
            self.reopen_logs()
        elif number in (signal.SIGHUP, signal.SIGUSR2):
            self.try_again()
        else:
            self.stop(number)

    def try_again(self) -> None:
        """Become the program once more."""
        if self.stopping:
            return
        try:
            self.state.again()
        except OSError as error:
            say(self.state, f"not upgraded: {error}")

    def reap(self) -> None:
        """Strike out who has died. Only the program can replace a worker, so it is tried once for each."""
        workers = self.workers
        dead = [workers[pid] for pid in reaped() if pid in workers]
        if not dead:
            return
        self.state.bury([worker["pid"] for worker in dead])
        lost = [worker for worker in dead if worker["slot"] is not None]
        if lost and not self.stopping:
            for worker in lost:
                say(self.state, f"worker {worker['slot']} (pid {worker['pid']}) died")
            say(self.state, "trying the new code again, for only it can replace a worker")
            self.try_again()

    def reopen_logs(self) -> None:
        """Open the logs anew, each once, and hand them to the workers that write there."""
        workers = self.workers
        paths = {path for worker in workers.values() for path in worker["paths"].values()}
        opened = dict(self.open_logs(paths))
        for worker in workers.values():
            theirs = {name: path for name, path in worker["paths"].items() if path in opened}
            send(worker["end"], list(theirs), [opened[path] for path in theirs.values()])
        if self.state.told["error_path"] in opened:
            os.dup2(opened[self.state.told["error_path"]], self.state.told["error_log"])
        for fd in opened.values():
            os.close(fd)

    def open_logs(self, paths: Iterable[str]) -> Iterator[tuple[str, int]]:
        """The paths that can be opened, each with a descriptor."""
        for path in paths:
            try:
                yield path, os.open(path, LOG_FLAGS, 0o640)
            except OSError as error:
                say(self.state, f"the old file stays in use: {path}: {error.strerror}")

    def stop(self, number: int) -> None:
        """Hand a signal to stop on to the workers; the last of them closes what they listen with."""
        gracefully = number == signal.SIGTERM and not self.stopping
        if not self.stopping:
            for listener in self.state.told["listeners"]:
                close(listener)
        self.stopping = True
        self.kill_at = time.monotonic() + KILL_MARGIN
        if gracefully:
            self.kill_at += self.state.told["graceful"]
        signal_all(self.workers, signal.SIGTERM if gracefully else signal.SIGQUIT)

    def tidy(self) -> None:
        """Remove what is ours in the file system."""
        told = self.state.told
        ours = [(each["path"], each["inode"]) for each in told["listeners"] if each["path"]]
        if told["pid_path"] is not None:
            ours.append((told["pid_path"], os.fstat(told["pid_file"]).st_ino))
        for path, inode in ours:
            with contextlib.suppress(OSError):
                if os.stat(path).st_ino == inode:
                    os.unlink(path)


def signal_all(pids: Iterable[int], number: int) -> None:
    """Send a signal to all of them that are there."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def close(listener: dict[str, Any]) -> None:
    """Close our copies; unless systemd keeps some too, refuse whoever comes from now on (see `listeners`)."""
    for fd in listener["fds"]:
        with contextlib.suppress(OSError), socket.socket(fileno=fd) as sock:
            if listener["key"] and not listener["shared"] and "NOTIFY_SOCKET" not in os.environ:
                sock.setsockopt(socket.SOL_SOCKET, SO_BINDTOIFINDEX, NO_INTERFACE)


def is_child(pid: int) -> bool:
    """Whether `pid` is a child of ours that has not been reaped."""
    try:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def reaped() -> Iterator[int]:
    """The children that have died."""
    with contextlib.suppress(ChildProcessError):
        while pid := os.waitpid(-1, os.WNOHANG)[0]:
            yield pid


def send(end: int, names: list[str], fds: list[int]) -> None:
    """Hand logs to a worker; see `handover`."""
    with contextlib.suppress(OSError), socket.socket(fileno=os.dup(end)) as sock:
        if names:
            socket.send_fds(sock, [" ".join(names).encode("ascii")], fds)


def notify(text: str) -> None:
    """A message for systemd, where there is one (sd_notify(3))."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        sock.sendto(
            text.encode("ascii"), address.replace("@", "\0", 1) if address[0] == "@" else address
        )


def say(state: State, text: str) -> None:
    """A line for the operator, by the error log that the old image had open."""
    line = f"mpserve: {text}".rstrip().replace("\n", "\\n") + "\n"
    fd = state.told["error_log"]
    with contextlib.suppress(OSError):
        os.write(2 if fd is None else fd, line.encode("utf-8", "backslashreplace"))

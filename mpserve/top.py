"""`mpserve top`: what a running server does, process by process, from outside.

The figures are the scoreboard's, which the master holds open: the server is not asked, and need not be
configured for it. Only whoever may look into the master's memory gets to see them: its user, and root.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import mmap
import os
import select
import shutil
import signal
import sys
import termios
import time
import tty
from collections.abc import Iterator, Sequence
from typing import Final, NoReturn

from mpserve.scoreboard import MEMORY, Scoreboard
from mpserve.settings import ConfigError
from mpserve.toptable import Reading, View, for_programs, table

MASTER: Final = "mpserve: master"
INTERVAL: Final = 1.0  # seconds between two readings
# Added up for the master's line, though they are true of the moment alone.
SUMMED: Final = ("connections", "reading", "sending", "idle", "lingering")

# ECMA-48 and xterm: another screen, the cursor, the top left corner, the rest of a line and of the screen.
ENTER: Final = "\x1b[?1049h\x1b[?25l"
LEAVE: Final = "\x1b[?25h\x1b[?1049l"
HOME, END_OF_LINE, REST_OF_SCREEN = "\x1b[H", "\x1b[K", "\x1b[J"


class Words(argparse.ArgumentParser):
    """The words after `top`. What is wrong with them is one line, as everywhere."""

    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"top: {message}")


def parser() -> Words:
    """What may be said after `top`."""
    words = Words(
        prog="mpserve top",
        description="Show what a running server does, process by process. q ends it.",
    )
    master = words.add_mutually_exclusive_group()
    master.add_argument("pid", nargs="?", type=process_id, help="the master; else it is looked for")
    master.add_argument("--pid-file", help="file with the process ID of the master")
    words.add_argument("--once", action="store_true", help="print one table and end")
    words.add_argument("--json", action="store_true", help="print one reading as JSON and end")
    return words


def process_id(text: str) -> int:
    """The process ID that `text` writes. Raises ConfigError."""
    if not text.isdecimal():
        raise ConfigError(f"top: {text!r} is no process ID")
    return int(text)


def main(argv: Sequence[str]) -> int:
    """Do what `argv` says; the exit status. Raises ConfigError."""
    said = parser().parse_args(argv)
    try:
        import psutil  # noqa: F401, PLC0415  # costly, and no business of a server
    except ImportError:
        raise ConfigError("top: psutil is not installed: pip install psutil") from None
    server = Server(master_pid(said.pid, said.pid_file))
    if said.json:
        print(json.dumps(for_programs(*two_readings(server)), indent=1))
    elif said.once or not (sys.stdin.isatty() and sys.stdout.isatty()):
        before, now = two_readings(server)
        width = shutil.get_terminal_size((200, 0)).columns
        print("\n".join(table(before, now, width, sys.maxsize)))
    else:
        watch(server)
    return 0


def master_pid(pid: int | None, pid_file: str | None) -> int:
    """The master that is meant. Raises ConfigError where there is none, or more than one."""
    if pid is not None:
        return pid
    if pid_file is not None:
        try:
            with open(pid_file, encoding="ascii") as file:
                return int(file.read())
        except OSError as error:
            raise ConfigError(f"top: --pid-file {pid_file}: {error.strerror}") from None
        except ValueError:
            raise ConfigError(f"top: --pid-file {pid_file}: there is no process ID in it") from None
    found = running_masters()
    if not found:
        raise ConfigError("top: no server is running here")
    if len(found) > 1:
        servers = ", ".join(f"{each} ({where_it_serves(each)})" for each in found)
        raise ConfigError(f"top: several servers are running: name one of {servers}")
    return found[0]


def running_masters() -> list[int]:
    """The process IDs of all servers on this machine."""
    import psutil  # noqa: PLC0415  # as above

    # The kernel keeps 15 octets of a name.
    found = {
        each.pid: each.info["ppid"]
        for each in psutil.process_iter(["name", "ppid"])
        if each.info["name"] == MASTER[:15]
    }
    # A worker has the master's name until it gives itself one.
    return sorted(pid for pid, parent in found.items() if parent not in found)


def where_it_serves(pid: int) -> str:
    """The addresses at which a process listens, in a few words: what tells one server from another."""
    import psutil  # noqa: PLC0415  # as above

    try:
        process = psutil.Process(pid)
        listening = [
            f"{each.laddr.ip}:{each.laddr.port}"
            for each in process.net_connections("tcp")
            if each.status == psutil.CONN_LISTEN
        ]
        # The kernel knows the name under which a socket was made, before it was moved (listeners).
        paths = [
            f"unix:{str(each.laddr).removesuffix(f'.{pid}')}"
            for each in process.net_connections("unix")
            if each.laddr
        ]
    except psutil.Error:
        return "another user's"
    return " ".join(dict.fromkeys(sorted(listening) + sorted(paths))) or "at no address"


def open_scoreboard(pid: int) -> Scoreboard:
    """The scoreboard of the server `pid`. Raises ConfigError.

    After an upgrade, the workers of the image before it still count in its board: their rows are added.
    """
    boards: dict[tuple[int, int], Scoreboard] = {}
    try:
        for name in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(FileNotFoundError):  # it has been closed since
                collect(f"/proc/{pid}/fd/{name}", boards)
    except FileNotFoundError:
        raise ConfigError(f"top: there is no process {pid}") from None
    except PermissionError:
        raise ConfigError(
            f"top: no right to look into process {pid}: only its user and root have it"
        ) from None
    if not boards:
        raise ConfigError(f"top: process {pid} is no master of a server")
    newest, *older = (boards[age] for age in sorted(boards, reverse=True))
    newest.look()
    for board in older:
        board.look()
        for row in board.rows:
            newest.adopt(row)
        board.close()
    return newest


def collect(path: str, boards: dict[tuple[int, int], Scoreboard]) -> None:
    """Open the board behind `path`, if it is one, once; the youngest sorts last. Raises OSError."""
    if not os.readlink(path).startswith(f"/memfd:{MEMORY}"):
        return
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    status = os.fstat(fd)
    age = (status.st_mtime_ns, status.st_ino)  # writing through memory leaves the time as it was
    if age in boards:
        os.close(fd)
    else:
        boards[age] = Scoreboard(fd, mmap.ACCESS_READ)


class Server:
    """A running server, seen from outside."""

    def __init__(self, pid: int) -> None:
        """Raises ConfigError when it is none, or not ours to look at."""
        import psutil  # noqa: PLC0415  # as above

        open_scoreboard(pid).close()
        self._psutil = psutil
        self._master = psutil.Process(pid)
        self._started: float = self._master.create_time()  # epoch seconds
        self._known: dict[int, psutil.Process] = {pid: self._master}

    def read(self) -> View:
        """The server now. Raises ConfigError when it is gone."""
        board = open_scoreboard(self._master.pid)  # an upgrade may have made another
        rows = [row.items() for row in board.rows]
        totals = board.totals()
        board.close()
        totals |= {name: sum(row.get(name, 0) for row in rows) for name in SUMMED}
        workers = [self._reading(row["pid"], f"w{row['slot']}", row) for row in rows if row["pid"]]
        workers.sort(key=lambda each: (each.numbers["slot"], each.pid))
        master = self._reading(self._master.pid, "master", totals)
        uptime = time.time() - self._started
        return View(time.monotonic(), uptime, (master, *workers))

    def _reading(self, pid: int, role: str, numbers: dict[str, int]) -> Reading:
        errors = self._psutil.Error
        seconds: float | None = None
        pss: int | None = None
        with contextlib.suppress(errors):
            process = self._known.setdefault(pid, self._psutil.Process(pid))
            times = process.cpu_times()
            seconds = times.user + times.system
        with contextlib.suppress(errors):
            pss = self._known[pid].memory_full_info().pss if pid in self._known else None
        return Reading(pid, role, seconds, pss, numbers)


def two_readings(server: Server) -> tuple[View, View]:
    """Two readings, so that there are rates."""
    before = server.read()
    time.sleep(INTERVAL)
    return before, server.read()


def watch(server: Server) -> None:
    """Show the table until q is pressed, or the server ends."""
    before: View | None = None
    with screen() as keyboard:
        while True:
            now = server.read()
            show(table(before, now, *os.get_terminal_size(sys.stdout.fileno())))
            before = now
            if select.select([keyboard], [], [], INTERVAL)[0] and wants_to_leave(keyboard):
                return


def show(lines: Sequence[str]) -> None:
    """Put these lines over what the screen shows: nothing flickers."""
    text = f"{END_OF_LINE}\n".join(lines)
    sys.stdout.write(f"{HOME}{text}{END_OF_LINE}{REST_OF_SCREEN}")
    sys.stdout.flush()


def wants_to_leave(keyboard: int) -> bool:
    """Whether q, or the end of the file, was among the keys."""
    keys = os.read(keyboard, 64)
    return not keys or b"q" in keys


@contextlib.contextmanager
def screen() -> Iterator[int]:
    """A screen of our own, and the keys as they are pressed; afterwards the terminal is as it was."""
    keyboard = sys.stdin.fileno()
    before = termios.tcgetattr(keyboard)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    try:
        tty.setcbreak(keyboard)
        sys.stdout.write(ENTER)
        yield keyboard
    except KeyboardInterrupt:
        pass
    finally:
        sys.stdout.write(LEAVE)
        sys.stdout.flush()
        termios.tcsetattr(keyboard, termios.TCSADRAIN, before)

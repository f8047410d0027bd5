"""What a process tells the system about itself: its name, its limits, its PID file."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import resource


def name_process(name: str) -> None:
    """The name that ps, top and pkill show; the kernel keeps 15 octets of it."""
    with contextlib.suppress(OSError), open("/proc/self/comm", "wb") as comm:
        comm.write(name.encode()[:15])


def raise_open_file_limit() -> None:
    """As many open files as the hard limit allows: each connection is one, each file being sent too."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):  # what is refused stays as it was
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def pin(slot: int) -> None:
    """Run on one processor only, of those that may be used: the one that is `slot`'s."""
    usable = sorted(os.sched_getaffinity(0))
    with contextlib.suppress(OSError):  # one that has just been taken away
        os.sched_setaffinity(0, {usable[slot % len(usable)]})


class Memory:
    """How much memory this process occupies. Opened early: a confined process may not open it."""

    def __init__(self) -> None:
        self._fd = os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC)

    def octets(self) -> int:
        """The resident set size."""
        return int(os.pread(self._fd, 128, 0).split()[1]) * resource.getpagesize()

    def inherited(self) -> int:
        """What a child occupies from its first moment on: all but the files that are mapped."""
        _, resident, mapped, *_ = os.pread(self._fd, 128, 0).split()
        return (int(resident) - int(mapped)) * resource.getpagesize()

    def close(self) -> None:
        """Look no more."""
        os.close(self._fd)


def outgrown(max_rss: int) -> list[str]:
    """What is to be said of a --max-rss that a worker of this process will have passed when it is born."""
    memory = Memory()
    octets = memory.inherited()
    memory.close()
    if not 0 < max_rss < octets:
        return []
    return [
        f"--max-rss {max_rss} is less than a fresh worker occupies, which is more than {octets}"
    ]


def where_it_waits(pid: int) -> str:
    """What the kernel says of a process that does not come back: its state, and the call it is in."""
    words = []
    with contextlib.suppress(OSError):
        with open(f"/proc/{pid}/stat", "rb") as stat:
            words.append(f"state {stat.read().rpartition(b') ')[2][:1].decode()}")
        with open(f"/proc/{pid}/wchan", "rb") as wchan:
            words.append(wchan.read().decode("ascii", "replace").strip("0"))
    return " ".join(filter(None, words)) or "nothing is known of it"


def open_files() -> int:
    """How many files this process has open."""
    with os.scandir("/proc/self/fd") as entries:
        return sum(1 for _ in entries) - 1  # one of them is the scan's own


class PidFile:
    """A file that holds our PID, locked as long as we live: no PID that was used again can mislead.

    A crash leaves the file but not the lock, so the next start just takes it over.
    """

    def __init__(self, path: str) -> None:
        """Raises OSError: EEXIST when a running server holds it."""
        self.path = path
        self.fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self.fd)
            raise OSError(errno.EEXIST, "a running server holds it") from None
        os.ftruncate(self.fd, 0)
        os.pwrite(self.fd, b"%d\n" % os.getpid(), 0)

    @classmethod
    def adopt(cls, path: str, fd: int) -> PidFile:
        """The file that an earlier image of this very process has locked: the lock goes with it."""
        found = cls.__new__(cls)
        found.path, found.fd = path, fd
        return found

    def leave(self) -> None:
        """Let go of the lock in this process: for one that was forked."""
        os.close(self.fd)

    def remove(self) -> None:
        """Remove the file, unless another has taken its place."""
        with contextlib.suppress(OSError):
            if os.stat(self.path).st_ino == os.fstat(self.fd).st_ino:
                os.unlink(self.path)
        os.close(self.fd)

"""Mounts: where a directory's time stamps tell that its names have changed, and when something else is mounted.

What lies in a directory is found again without asking for its name as long as the directory has not changed.
That holds where the file system is one of this machine's own: a name that comes, goes or leads elsewhere sets
the times of its directory there, whoever did it. What it does not show is another file that is mounted over a
name; that the kernel tells whoever polls the list of mounts.
"""

from __future__ import annotations

import contextlib
import os
import re
import select
from collections.abc import Iterator
from typing import Final

# The list of this process's mounts, proc_pid_mountinfo(5).
MOUNTS: Final = "/proc/self/mountinfo"
# Elsewhere times may come from another machine, late or not at all. btrfs is not found: its devices are not
# those of the list.
TELLING: Final = frozenset(
    {
        b"ext2",
        b"ext3",
        b"ext4",
        b"xfs",
        b"f2fs",
        b"tmpfs",
        b"overlay",
        b"squashfs",
        b"erofs",
        b"iso9660",
    }
)
# How a line begins: two numbers, and the device.
DEVICE: Final = re.compile(rb"\d+ \d+ (\d+):(\d+) ")


class Mounts:
    """The mounts that this process sees. It has to be made before the sandbox, which hides the list."""

    __slots__ = ("_fd", "_telling", "generation")

    def __init__(self, path: str = MOUNTS) -> None:
        self.generation = 0  # another number whenever anything has been mounted or unmounted
        self._fd: int | None = None
        self._telling: frozenset[int] | None = None  # None: to be read
        with contextlib.suppress(OSError):  # then nothing is known, and every name is asked for
            self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def __repr__(self) -> str:
        return f"<Mounts of {self._fd}, generation {self.generation}>"

    def __del__(self) -> None:
        if self._fd is not None:
            os.close(self._fd)

    def register(self, poll: select.poll) -> None:
        """Let `poll` find out when there are other mounts than when it was last asked."""
        if self._fd is not None:
            poll.register(self._fd, select.POLLPRI)

    def changed(self) -> None:
        """There are other mounts: count the generation on."""
        self.generation += 1
        self._telling = None

    def tell(self, device: int) -> bool:
        """Whether directories on `device` (st_dev) show in their time stamps that their names have changed."""
        if self._telling is None:
            self._telling = frozenset(telling(self._read()))
        return device in self._telling

    def _read(self) -> bytes:
        if self._fd is None:
            return b""
        try:
            with open(self._fd, "rb", closefd=False) as file:
                file.seek(0)
                return file.read()
        except OSError:
            return b""


def telling(table: bytes) -> Iterator[int]:
    """The devices in `table` whose directories tell, as a file of the kind of MOUNTS names them."""
    for line in table.split(b"\n"):  # whatever else ends a line may stand in a name
        mount, _, source = line.partition(b" - ")
        device = DEVICE.match(mount)
        if device is not None and source.partition(b" ")[0] in TELLING:
            yield os.makedev(int(device[1]), int(device[2]))

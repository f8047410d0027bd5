"""Watches: the kernel tells by itself what is done to a file or a directory, so that it need not be asked.

inotify(7) queues an event before the call returns that brought the change about. So whoever looks at the
queue when a request has come knows of every change before it, and silence says that there was none: as
surely as asking does, and for all that is watched in one call.

It says nothing of octets that come through a memory map, or from the kernel's own hands. For that, somebody
must have the file open for writing. So a file is watched only when nobody has, of which a lease is the
proof (fcntl(2) grants one for reading only then), and the first to open it afterwards ends the watch: before
he could write anything, and whatever he has opened it for, as that is not told.

Every watch ends with its first event. So nobody can fill the queue, and what is in use all the time costs
little: it is for the witnesses to say how often they want to try.
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import signal
import struct
from collections.abc import Iterator
from typing import Final
from weakref import WeakValueDictionary

from mpserve import linux
from mpserve.linux import (
    IN_ATTRIB,
    IN_CREATE,
    IN_DELETE,
    IN_MODIFY,
    IN_MOVE_SELF,
    IN_MOVED_FROM,
    IN_MOVED_TO,
    IN_ONESHOT,
    IN_ONLYDIR,
    IN_OPEN,
    IN_Q_OVERFLOW,
)
from mpserve.mounts import Mounts

# All that could make another answer of a file, and whatever could lead to that. IN_MODIFY is for truncate(2),
# which opens nothing. Not among them: IN_CLOSE_WRITE, before which there is an IN_OPEN; IN_DELETE_SELF, which does not
# come as long as we have the file open (that a name of it is gone is an IN_ATTRIB).
FILE: Final = IN_MODIFY | IN_ATTRIB | IN_MOVE_SELF | IN_OPEN | IN_ONESHOT
# All that changes its names, or who may look them up. Nobody writes into a directory but by such calls.
NAMES: Final = IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO
DIRECTORY: Final = NAMES | IN_ATTRIB | IN_MOVE_SELF | IN_ONLYDIR | IN_ONESHOT

# The kernel's word for how much there is, inotify(7), and what every kernel allows at least.
LIMITS: Final = {
    "max_user_watches": 8192,
    "max_user_instances": 128,
    "max_queued_events": 16384,
}
SETTINGS: Final = "/proc/sys/fs/inotify"
# What belongs to a user is for all of his processes: all workers together take this part of it.
SHARE: Final = 16
# Of the instances, of which each worker has one, this part; and twice as many while others take their place.
INSTANCES_SHARE: Final = 4
# A watch is told of by two events: what has been done, and that it has ended. The queue holds them all.
EVENTS_SHARE: Final = 4

# Where all that is done is done by this kernel's own calls, <linux/magic.h>: ext2 to ext4, xfs, f2fs, tmpfs.
# Not overlayfs: its files are others' beneath, which may be changed there. Not what can only be read, as
# squashfs: it tells nothing, but was not tried. Elsewhere another machine may write, or a process that tells nobody.
SURE: Final = frozenset({0xEF53, 0x58465342, 0xF2F52010, linux.TMPFS})
# Since this version every opening of a file is told, also one by the kernel: for an NFS client, or for an
# overlayfs that lies above.
SINCE: Final = (6, 5)

# struct inotify_event: watch, mask, cookie, length of the name that follows.
EVENT: Final = struct.Struct("iIII")
# Octets that are read at once: some hundred events with their names.
BUFFER: Final = 64 * 1024


class Watch:
    """Of one inode. All who would know of it share this, and it is removed with the last of them."""

    __slots__ = ("__weakref__", "_number", "_watches", "silent")

    def __init__(self, watches: Watches | None, number: int, *, silent: bool) -> None:
        self._watches = watches  # None: it watches nothing
        self._number = number
        self.silent = silent  # nothing has been done since it was made, as of the last look

    def __repr__(self) -> str:
        return f"<Watch {self._number} {'silent' if self.silent else 'over'}>"

    def __del__(self) -> None:
        if self.silent and self._watches is not None:
            self._watches.remove(self._number)


# Of what has to be asked; and of what is so as long as others say so.
NEVER_SILENT: Final = Watch(None, -1, silent=False)
ALWAYS_SILENT: Final = Watch(None, -1, silent=True)


class Watches:
    """The watches of this process, and its look at the mounts: one call for all of them.

    The instance is made with the first watch. Where there can be none, there are no watches, and nothing is said.
    """

    __slots__ = ("_fd", "_most", "_mounts", "_poll", "_watches", "heard")

    def __init__(self, mounts: Mounts, most: int) -> None:
        """No more than `most` at a time."""
        self._mounts = mounts
        self._most = most if is_sure(os.uname().release) else 0
        self._fd: int | None = None
        self._poll = select.poll()
        mounts.register(self._poll)
        self._watches: WeakValueDictionary[int, Watch] = WeakValueDictionary()
        self.heard = 0  # another number whenever anything was told: as long as it is the same, who was silent still is

    def __repr__(self) -> str:
        return f"<Watches {len(self)} of {self._most}>"

    def __len__(self) -> int:
        return len(self._watches)

    def __del__(self) -> None:
        if self._fd is not None:
            os.close(self._fd)

    def cover(self, fd: int) -> bool:
        """Whether silence about `fd` would prove anything, as far as its file system goes. Raises OSError."""
        return self._most > 0 and linux.file_system(fd) in SURE

    def look(self) -> None:
        """Take note of all that was done before this was called, to what is watched and to the mounts."""
        try:
            for fd, _ in self._poll.poll(0):
                self.heard += 1
                if fd == self._fd:
                    self._read(fd)
                else:
                    self._mounts.changed()
        except MemoryError:  # something may have been told, and nobody has heard it
            self.heard += 1
            self._mounts.changed()
            self._end_all()

    def file(self, fd: int) -> Watch | None:
        """A watch of the file `fd`, which is to be asked once more; None where silence would prove nothing."""
        watch = self._add(fd, FILE)
        if watch is None or signal.getsignal(signal.SIGIO) is not signal.SIG_IGN:
            return None  # else whoever comes during the lease would end this process
        try:
            linux.prove_unwritten(fd)
        except OSError:
            return None
        return watch

    def directory(self, fd: int) -> Watch | None:
        """A watch of the directory `fd`, which is to be asked once more; None where silence would prove nothing."""
        return self._add(fd, DIRECTORY)

    def remove(self, number: int) -> None:
        """End a watch."""
        with contextlib.suppress(OSError):  # it has ended, and the event waits to be read
            if self._fd is not None:
                linux.inotify_remove(self._fd, number)

    def _add(self, fd: int, mask: int) -> Watch | None:
        if len(self._watches) >= self._most:
            return None
        try:
            if not self.cover(fd):
                return None
            number = linux.inotify_add(self._instance(), fd, mask)
        except OSError:
            return None
        watch = self._watches.get(number)
        if watch is None:
            watch = self._watches[number] = Watch(self, number, silent=True)
        return watch

    def _instance(self) -> int:
        if self._fd is None:
            self._most, most = 0, self._most  # if there is none now, there will hardly be one later
            self._fd = linux.inotify_instance()
            self._poll.register(self._fd, select.POLLIN)
            self._most = most
        return self._fd

    def _read(self, fd: int) -> None:
        with contextlib.suppress(BlockingIOError):  # that was all
            while True:
                for number, mask in events(os.read(fd, BUFFER)):
                    self._hear(number, mask)

    def _hear(self, number: int, mask: int) -> None:
        """Every event ends its watch, whatever it tells; and where some are missing, all end."""
        if mask & IN_Q_OVERFLOW:
            self._end_all()
        else:
            self._end(number)

    def _end_all(self) -> None:
        for number in list(self._watches):
            self.remove(number)
            self._end(number)

    def _end(self, number: int) -> None:
        watch = self._watches.pop(number, None)
        if watch is not None:  # else nobody has it any more, or this is its second event
            watch.silent = False


def events(octets: bytes) -> Iterator[tuple[int, int]]:
    """What was read from an instance: numbers of watches, and masks of what was done."""
    start = 0
    while start < len(octets):
        number, mask, _, length = EVENT.unpack_from(octets, start)
        yield number, mask
        start += EVENT.size + length


def is_sure(release: str) -> bool:
    """Whether silence proves anything with this `release` of the kernel."""
    version = re.match(r"(\d+)\.(\d+)", release)
    return version is not None and (int(version[1]), int(version[2])) >= SINCE


def affordable(workers: int) -> int:
    """How many watches each of so many workers may have. To be asked before the sandbox, which hides the limits."""
    watches, instances, queued = (limit(name) for name in LIMITS)
    if workers * INSTANCES_SHARE > instances:
        return 0
    return min(watches // SHARE // workers, queued // EVENTS_SHARE)


def limit(name: str) -> int:
    """One of LIMITS, as it is here."""
    try:
        with open(f"{SETTINGS}/{name}", "rb") as file:
            return int(file.read())
    except (OSError, ValueError):
        return LIMITS[name]

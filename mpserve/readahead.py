"""Octets that are not in memory: found out without waiting for the disk, and read by a few threads.

sendfile waits for the disk, whatever the socket says, and the whole loop with it. So before content leaves
that has not left lately, the kernel is asked whether it is in the page cache; if it is not, or if nobody
can say, a thread reads it to nowhere, and the loop sends it afterwards. A thread that waits for a disk
holds no lock of the interpreter.
"""

from __future__ import annotations

import contextlib
import errno
import math
import os
import queue
import sys
import threading
from collections import deque
from collections.abc import Callable
from functools import partial
from time import monotonic
from typing import Final, TypeAlias

from mpserve.linux import RAMFS, TMPFS, file_system
from mpserve.protocol.message import FileSpan

Work: TypeAlias = Callable[[], None]

# Enough for some disks to be slow at once; all that is cold and on a disk that is stuck waits for it.
THREADS: Final = 4
# What was in memory is believed to be there for so long (seconds).
WARM_FOR: Final = 10.0
# Octets that a thread reads at once, and throws away.
READ_SIZE: Final = 128 * 1024

# What is in memory of a file that is nowhere else, and until when.
ALWAYS: Final = (0, sys.maxsize, math.inf)
DISKLESS: Final = frozenset({TMPFS, RAMFS})

_ONE_OCTET: Final = [bytearray(1)]


def is_known_warm(span: FileSpan, now: float) -> bool:
    """Whether all of `span` was in memory a moment ago; `now` in monotonic seconds."""
    start, stop, until = span.file.warm
    return start <= span.start and span.stop <= stop and now < until


def is_cold(span: FileSpan) -> bool:
    """Whether sending `span` may wait for the disk. Two octets stand for it all: its first and its last.

    The page cache is filled in runs that are longer than most spans; where there is a hole between, the loop
    waits for the disk as it would have anyway. overlayfs and FUSE have no answer (EOPNOTSUPP): there the
    threads go first, once in ten seconds. tmpfs has none either, and no disk.
    """
    if is_known_warm(span, monotonic()):
        return False
    try:
        for place in (span.start, span.stop - 1):
            os.preadv(span.file.fd, _ONE_OCTET, place, os.RWF_NOWAIT)
    except OSError as error:  # EAGAIN above all
        if error.errno != errno.EOPNOTSUPP or not has_no_disk(span.file.fd):
            return True
        span.file.warm = ALWAYS
        return False
    note_warm(span)
    return False


def has_no_disk(fd: int) -> bool:
    """Whether all that is in the file system of `fd` is in memory."""
    try:
        return file_system(fd) in DISKLESS
    except OSError:
        return False


def note_warm(span: FileSpan) -> None:
    """`span` is in memory now. What lies before it stays known, if it is all one."""
    now = monotonic()
    start, stop, until = span.file.warm
    joined = now < until and start <= span.start <= stop
    span.file.warm = (start if joined else span.start, span.stop, now + WARM_FOR)


class ReadAhead:
    """The threads. They start when the first is wanted; `fd` is readable when one has finished."""

    def __init__(self, guarded: Callable[[Callable[[], None]], None]) -> None:
        self.fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._guarded = guarded  # calls, and keeps what is raised there
        self._threads = 0
        self._wanted: queue.SimpleQueue[tuple[Work, Work] | None] = queue.SimpleQueue()
        self._done: deque[tuple[Work, Work]] = deque()
        self._under_way = 0
        self._closing = threading.Lock()  # nobody writes to a descriptor that is no longer ours
        self._closed = False

    def __repr__(self) -> str:
        return f"<ReadAhead {self._threads} threads, {self._under_way} errands under way>"

    def fetch(self, span: FileSpan, then: Work) -> bool:
        """Call `then` when `span` is in memory, or cannot be read; False where there is nobody to do it."""
        return self.run(partial(warm_up, span), then)

    def run(self, work: Work, then: Work) -> bool:
        """Let a thread do `work`, which waits for the disk, then call `then`; False where there is no thread."""
        if self._threads < THREADS and self._threads <= self._under_way:
            thread = threading.Thread(target=self._work, name="readahead", daemon=True)
            try:
                thread.start()
            except RuntimeError:  # the system allows no more
                if not self._threads:
                    return False
            else:
                self._threads += 1
        self._under_way += 1
        self._wanted.put((work, then))
        return True

    def on_read(self, _mask: int) -> None:
        """Some work has been done."""
        os.eventfd_read(self.fd)
        while self._done:
            _work, then = self._done.popleft()
            self._under_way -= 1
            self._guarded(then)

    def close(self) -> None:
        """Let the threads end when they have done what they are at. To be called when nobody waits."""
        for _ in range(self._threads):
            self._wanted.put(None)
        with self._closing:
            self._closed = True
            os.close(self.fd)

    def _work(self) -> None:
        """A thread's life."""
        while (wanted := self._wanted.get()) is not None:
            with contextlib.suppress(Exception):  # who waits for it will find out
                wanted[0]()
            self._done.append(wanted)
            del wanted  # the last to hold the file is to be the loop
            with self._closing:
                if not self._closed:
                    os.eventfd_write(self.fd, 1)


def warm_up(span: FileSpan) -> None:
    """Bring `span` into memory, and note that it is there."""
    read(span)
    note_warm(span)


def read(span: FileSpan) -> None:
    """Bring `span` into memory, if it can be read: whoever sends it will find out."""
    place = span.start
    while place < span.stop:
        try:
            taken = len(os.pread(span.file.fd, READ_SIZE, place))
        except (OSError, MemoryError):  # a thread that died of it would leave its client waiting
            return
        if not taken:
            return
        place += taken

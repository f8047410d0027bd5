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

from mpserve.linux import has_no_disk
from mpserve.protocol.message import FileSpan

Work: TypeAlias = Callable[[], None]
Errand: TypeAlias = tuple[Work, Work]  # what a thread is to do, and what follows in the loop

# Enough for some disks to be slow at once; all that is cold and on a disk that is stuck waits for it.
THREADS: Final = 4
# A busy loop sleeps so long (seconds) for what threads find in memory after all, and each takes less than `PACE`
# then. After something was slower it does not do so for a while.
PATIENCE: Final = 0.001
PACE: Final = 0.0002
DOUBT: Final = 0.02
# What was in memory is believed to be there for so long (seconds).
WARM_FOR: Final = 10.0
# Octets that a thread reads at once, and throws away.
READ_SIZE: Final = 128 * 1024

# What is in memory of a file that is nowhere else, and until when.
ALWAYS: Final = (0, sys.maxsize, math.inf)

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


def note_warm(span: FileSpan) -> None:
    """`span` is in memory now. What lies before it stays known, if it is all one."""
    now = monotonic()
    start, stop, until = span.file.warm
    joined = now < until and start <= span.start <= stop
    span.file.warm = (start if joined else span.start, span.stop, now + WARM_FOR)


class ReadAhead:
    """The threads. They start when the first is wanted, and end when none is; `fd` is readable when one has finished.

    Threads of one interpreter are in each other's way: where two are busy, each system call of one hands the
    interpreter to the other, which costs more than to look up a name. So what a turn leaves to them goes to one of
    them, all of it, when the turn ends; and a busy loop sleeps until that is done, if it comes at the pace of
    memory. Most of it does: a file system has to be asked for what is missing, and has the blocks of the directory.
    """

    def __init__(self, guarded: Callable[[Callable[[], None]], None]) -> None:
        self.fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._guarded = guarded  # calls, and keeps what is raised there
        self._threads = 0
        self._left: list[Errand] = []  # by this turn
        self._wanted: deque[Errand] = deque()
        self._done: deque[Errand] = deque()
        self._under_way = 0
        self._wanted_lately = False  # since the last `rest`
        # One bell for each thread that is to look at what is wanted: it is free when all has been taken. None: the end.
        self._bells: queue.SimpleQueue[threading.Lock | None] = queue.SimpleQueue()
        self._patient = False  # the loop waits until all is done, and then looks
        self._told = False  # the loop has been woken, and will look
        self._doubtful_until = 0.0  # monotonic seconds: the disk has been slow
        self._closing = threading.Lock()  # nobody writes to a descriptor that is no longer ours
        self._closed = False

    def __repr__(self) -> str:
        return f"<ReadAhead {self._threads} threads, {self._under_way} errands under way>"

    def fetch(self, span: FileSpan, then: Work) -> bool:
        """Call `then` when `span` is in memory, or cannot be read; False where there is nobody to do it."""
        return self.run(partial(warm_up, span), then)

    def run(self, work: Work, then: Work) -> bool:
        """Let a thread do `work`, which waits for the disk, then call `then`; False where there is no thread."""
        if not self._threads:
            self._start()
        if not self._threads:
            return False
        self._wanted_lately = True
        self._left.append((work, then))
        return True

    def end_turn(self, *, busy: bool) -> None:
        """Hand over what this turn has left to threads. A `busy` loop, which would not sleep, waits a moment for it."""
        if not self._left:
            return
        left, self._left = self._left, []
        patient = busy and not self._under_way and monotonic() >= self._doubtful_until
        others = self._under_way
        self._under_way += len(left)
        self._wanted.extend(left)
        self._patient = patient
        bell = self._call(others)
        if patient:
            self._await(bell)
        more = len(self._wanted) if patient else len(left) - 1
        for count in range(min(more, THREADS - 1)):
            self._call(others + count + 1)

    def on_read(self, _mask: int) -> None:
        """Some work has been done."""
        os.eventfd_read(self.fd)
        self._told = False  # before the look: what is done from now on has to be told
        self._conclude()

    def rest(self) -> None:
        """Let the threads end if nothing has been wanted since the last call, and none is at work.

        Each read and write on a connection costs the kernel more as long as other threads share the descriptors.
        """
        if not self._wanted_lately and not self._under_way:
            self._end_threads()
        self._wanted_lately = False

    def close(self) -> None:
        """Let the threads end when they have done what they are at. To be called when nobody waits."""
        self._end_threads()
        with self._closing:
            self._closed = True
            os.close(self.fd)

    def _await(self, bell: threading.Lock) -> None:
        """Wait until `bell` says that all has been done, if it does soon."""
        begun = monotonic()
        bell.acquire(timeout=PATIENCE)
        self._patient = False  # before the look, as in `on_read`
        now = monotonic()
        if now - begun > PACE * len(self._done):
            self._doubtful_until = now + DOUBT
        self._conclude()

    def _conclude(self) -> None:
        """Go on with what waited for what is done."""
        while self._done:
            _work, then = self._done.popleft()
            self._under_way -= 1
            self._guarded(then)

    def _start(self) -> None:
        """One more thread, if the system allows it."""
        thread = threading.Thread(target=self._work, name="readahead", daemon=True)
        with contextlib.suppress(RuntimeError):
            thread.start()
            self._threads += 1

    def _end_threads(self) -> None:
        for _ in range(self._threads):
            self._bells.put(None)
        self._threads = 0

    def _call(self, busy: int) -> threading.Lock:
        """Have a thread beside the `busy` ones look at what is wanted, and ring when nothing is left of it."""
        if busy >= self._threads < THREADS:
            self._start()
        bell = threading.Lock()
        bell.acquire()
        self._bells.put(bell)
        return bell

    def _work(self) -> None:
        """A thread's life."""
        while (bell := self._bells.get()) is not None:
            with contextlib.suppress(IndexError):  # nothing is left
                while True:
                    self._do(self._wanted.popleft())
            bell.release()

    def _do(self, errand: Errand) -> None:
        with contextlib.suppress(Exception):  # who waits for it will find out
            errand[0]()
        self._done.append(errand)
        if not self._patient and not self._told:
            self._told = True
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

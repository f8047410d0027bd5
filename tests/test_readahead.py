"""What is not in memory: how it is found out, and who reads it."""

from __future__ import annotations

import errno
import os
import select
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from mpserve import readahead
from mpserve.files import File
from mpserve.linux import TMPFS, file_system, has_no_disk
from mpserve.protocol.message import FileSpan
from mpserve.readahead import WARM_FOR, ReadAhead, is_cold, is_known_warm, note_warm

SIZE = 1 << 20
STUCK = -1


@pytest.fixture
def file(tmp_path: Path) -> File:
    path = tmp_path / "file"
    path.write_bytes(bytes(SIZE))
    return File(os.open(path, os.O_RDONLY))


def tells(file: File) -> bool:
    """Whether it can be said of the file system what is in memory."""
    try:
        os.preadv(file.fd, [bytearray(1)], 0, os.RWF_NOWAIT)
    except OSError as error:
        return error.errno == errno.EAGAIN or has_no_disk(file.fd)
    return True


def test_what_was_just_written_is_warm(file: File) -> None:
    assert is_cold(FileSpan(file, 0, SIZE)) is not tells(file)


def test_what_was_dropped_from_memory_is_cold(file: File) -> None:
    os.fsync(file.fd)
    os.posix_fadvise(file.fd, 0, 0, os.POSIX_FADV_DONTNEED)

    assert is_cold(FileSpan(file, 0, SIZE)) is not has_no_disk(file.fd)


@pytest.mark.parametrize("code", [errno.EAGAIN, errno.EOPNOTSUPP, errno.EINVAL])
def test_where_nobody_can_say_it_is_cold_until_it_has_been_read(
    file: File, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def refuse(*_: object) -> int:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "preadv", refuse)
    monkeypatch.setattr(readahead, "has_no_disk", lambda _fd: False)
    span = FileSpan(file, 0, 100)
    before = is_cold(span)
    note_warm(span)

    assert (True, False) == (before, is_cold(span))


def test_what_is_nowhere_but_in_memory_is_warm_for_ever() -> None:
    with tempfile.TemporaryFile(dir="/dev/shm") as open_file:
        file = File(os.dup(open_file.fileno()))
        if file_system(file.fd) != TMPFS:
            pytest.skip("/dev/shm is not in memory here")
        open_file.write(bytes(SIZE))
        cold = is_cold(FileSpan(file, 0, 100))

    assert not cold
    assert is_known_warm(FileSpan(file, 0, 2 * SIZE), time.monotonic() + 10 * WARM_FOR)


def test_what_was_warm_is_asked_for_again_after_a_while(file: File) -> None:
    span = FileSpan(file, 0, 100)
    note_warm(span)
    now = time.monotonic()

    assert [True, False] == [is_known_warm(span, now + passed) for passed in (0, WARM_FOR + 1)]


def test_a_file_that_is_sent_from_end_to_end_is_known_warm_as_a_whole(file: File) -> None:
    for start in range(0, 1000, 100):
        note_warm(FileSpan(file, start, start + 100))

    now = time.monotonic()
    assert is_known_warm(FileSpan(file, 0, 1000), now)
    assert not is_known_warm(FileSpan(file, 0, 1001), now)
    note_warm(FileSpan(file, 5000, 6000))
    assert not is_known_warm(FileSpan(file, 0, 1000), now)


@pytest.fixture
def reader() -> Iterator[ReadAhead]:
    reader = ReadAhead(lambda call: call())
    yield reader
    reader.close()


def wait_for(reader: ReadAhead) -> None:
    reader.end_turn(busy=False)
    ready, _, _ = select.select([reader.fd], [], [], 10)
    assert ready
    reader.on_read(select.EPOLLIN)


def test_whoever_waits_is_called_when_it_has_been_read(reader: ReadAhead, file: File) -> None:
    called: list[int] = []
    assert reader.fetch(FileSpan(file, 0, SIZE), lambda: called.append(1))
    before = list(called)
    wait_for(reader)

    assert ([], [1]) == (before, called)
    assert is_known_warm(FileSpan(file, 0, SIZE), time.monotonic())


@pytest.mark.parametrize(
    ("start", "stop"), [(0, SIZE), (SIZE - 1, SIZE + 100), (SIZE * 2, SIZE * 3)]
)
def test_a_file_that_cannot_be_read_keeps_nobody_waiting(
    reader: ReadAhead, file: File, start: int, stop: int
) -> None:
    broken = File(os.open("/", os.O_RDONLY)) if stop == SIZE else file
    called: list[int] = []
    reader.fetch(FileSpan(broken, start, stop), lambda: called.append(1))
    wait_for(reader)

    assert [1] == called


def test_without_memory_to_read_to_nobody_waits_either(
    reader: ReadAhead, file: File, monkeypatch: pytest.MonkeyPatch
) -> None:
    def pread(*_: object) -> bytes:
        raise MemoryError

    monkeypatch.setattr(os, "pread", pread)
    called: list[int] = []
    for _ in range(2):
        reader.fetch(FileSpan(file, 0, SIZE), lambda: called.append(1))
        wait_for(reader)

    assert [1, 1] == called


def test_one_thread_is_enough_as_long_as_one_reads_at_a_time(reader: ReadAhead, file: File) -> None:
    for _ in range(5):
        reader.fetch(FileSpan(file, 0, 100), lambda: None)
        wait_for(reader)

    assert reader._threads == 1


def test_there_are_never_more_than_a_few_threads(
    reader: ReadAhead, file: File, monkeypatch: pytest.MonkeyPatch
) -> None:
    go = threading.Event()
    monkeypatch.setattr(readahead, "read", lambda *_: go.wait(10))
    for _ in range(50):
        reader.fetch(FileSpan(file, 0, 100), lambda: None)
        reader.end_turn(busy=False)
    go.set()

    assert reader._threads == readahead.THREADS


def test_threads_end_when_nothing_is_wanted_any_more_and_start_again(
    reader: ReadAhead, file: File
) -> None:
    called: list[int] = []
    for number in range(2):
        others = readers()
        reader.fetch(FileSpan(file, 0, 100), partial(called.append, number))
        (thread,) = [each for each in readers() if each not in others]
        wait_for(reader)
        reader.rest()  # it was wanted a moment ago
        before = reader._threads
        reader.rest()
        thread.join(10)

        assert (1, 0, False) == (before, reader._threads, thread.is_alive())
    assert [0, 1] == called


def test_all_of_several_threads_end(reader: ReadAhead) -> None:
    others = readers()
    go = threading.Event()
    called: list[int] = []
    for number in range(3):
        reader.run(until(go), partial(called.append, number))
        reader.end_turn(busy=False)
    threads = [each for each in readers() if each not in others]
    go.set()
    wait_until(reader, lambda: len(called) == 3)
    for _ in range(2):
        reader.rest()
    for thread in threads:
        thread.join(10)

    assert len(threads) == 3
    assert not any(thread.is_alive() for thread in threads)


def test_a_thread_that_is_at_work_does_not_end(reader: ReadAhead) -> None:
    go = threading.Event()
    called: list[int] = []
    reader.run(until(go), partial(called.append, 1))
    reader.end_turn(busy=False)
    for _ in range(3):
        reader.rest()
    threads = reader._threads
    go.set()
    wait_until(reader, lambda: called == [1])

    assert threads == 1


def readers() -> list[threading.Thread]:
    """The threads of all readers that live."""
    return [thread for thread in threading.enumerate() if thread.name == "readahead"]


def test_where_no_thread_can_start_it_says_so(
    reader: ReadAhead, file: File, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", fail)

    assert not reader.fetch(FileSpan(file, 0, 100), lambda: None)


def test_a_thread_that_finishes_after_the_close_writes_to_no_descriptor(
    file: File, monkeypatch: pytest.MonkeyPatch
) -> None:
    go, reading = threading.Event(), threading.Event()

    def wait(_span: FileSpan) -> None:
        reading.set()
        go.wait(10)

    monkeypatch.setattr(readahead, "read", wait)
    reader = ReadAhead(lambda call: call())
    reader.fetch(FileSpan(file, 0, 100), lambda: None)
    reader.end_turn(busy=False)
    assert reading.wait(10)
    threads = readers()
    reader.close()
    other = os.eventfd(0, os.EFD_NONBLOCK)  # has the number of the one that was closed
    go.set()
    for thread in threads:
        thread.join(10)

    assert other == reader.fd
    with pytest.raises(BlockingIOError):
        os.eventfd_read(other)
    os.close(other)


def test_a_busy_loop_waits_for_what_is_done_in_a_moment(
    reader: ReadAhead, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readahead, "PATIENCE", 10.0)
    works: list[int] = []
    called: list[int] = []
    for number in range(20):
        reader.run(partial(works.append, number), partial(called.append, number))
    before = list(works)
    reader.end_turn(busy=True)
    told, _, _ = select.select([reader.fd], [], [], 0)

    assert ([], list(range(20)), list(range(20))) == (before, works, called)
    assert (reader._threads, told) == (1, [])  # nor does it have to be woken for what it has seen


def test_what_is_stuck_holds_up_neither_the_loop_nor_what_was_asked_for_with_it(
    reader: ReadAhead, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readahead, "DOUBT", 0.0)
    go = threading.Event()
    called: list[int] = []
    reader.run(until(go), partial(called.append, STUCK))
    for number in range(2):
        reader.run(lambda: None, partial(called.append, number))
    reader.end_turn(busy=True)
    wait_until(reader, lambda: len(called) == 2)
    reader.run(lambda: None, partial(called.append, 2))
    monkeypatch.setattr(readahead, "PATIENCE", 1000.0)  # nobody waits while something is under way
    reader.end_turn(busy=True)
    wait_until(reader, lambda: len(called) == 3)
    others = list(called)
    go.set()
    wait_until(reader, lambda: len(called) == 4)

    assert ([0, 1, 2], STUCK) == (sorted(others), called[-1])


def test_after_it_has_waited_in_vain_a_busy_loop_does_not_wait_for_a_while(
    reader: ReadAhead, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readahead, "DOUBT", 1000.0)
    go = threading.Event()
    called: list[int] = []
    reader.run(until(go), partial(called.append, 0))
    reader.end_turn(busy=True)
    go.set()
    wait_until(reader, lambda: called == [0])
    monkeypatch.setattr(readahead, "PATIENCE", 1000.0)
    again = threading.Event()
    reader.run(until(again), partial(called.append, 1))
    reader.end_turn(busy=True)
    before = list(called)
    again.set()
    wait_until(reader, lambda: called == [0, 1])

    assert before == [0]


def until(event: threading.Event) -> Callable[[], None]:
    """Work that ends with `event`."""

    def work() -> None:
        event.wait(10)

    return work


def wait_until(reader: ReadAhead, done: Callable[[], bool]) -> None:
    while not done():
        wait_for(reader)

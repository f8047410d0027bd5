"""Lines stay whole, whoever writes them and whatever takes them; and no write waits."""

from __future__ import annotations

import errno
import fcntl
import os
import select
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpserve import destination
from mpserve.destination import (
    ANY_ROOM,
    STDERR,
    STDOUT,
    Destination,
    at_descriptor,
    at_path,
    at_stream,
    named,
)
from tests.streams import (
    Ends,
    disk_of,
    ended_well,
    fork,
    forks,
    pipe,
    small_filesystem,
    standing_as,
    stream_socket,
    terminal,
)

SMALL = b"one\ntwo\nthree\n"
MANY = b"".join(b"%05d %b\n" % (number, b"x" * (number % 90)) for number in range(20000))
SOME = MANY[: MANY.index(b"\n", 100_000) + 1]


class Taker:
    """Takes at most the given number of octets, write by write; then it blocks."""

    def __init__(self, *takes: int) -> None:
        self.takes = list(takes)
        self.writes: list[bytes] = []

    def __call__(self, piece: bytes) -> int:
        if not self.takes:
            raise BlockingIOError(errno.EAGAIN, "blocked")
        taken = piece[: self.takes.pop(0)]
        self.writes.append(taken)
        return len(taken)

    @property
    def taken(self) -> bytes:
        return b"".join(self.writes)


@contextmanager
def taking(*takes: int, room: int = 4096) -> Iterator[tuple[Destination, Taker]]:
    taker = Taker(*takes)
    yield Destination(-1, room, taker, lambda: None), taker


# ── Whole lines ──


def test_lines_that_fit_go_out_in_one_write() -> None:
    with taking(4096) as (target, taker):
        left = target.write(SMALL)

        assert (left, taker.writes) == ((b"", None), [SMALL])


def test_a_piece_holds_as_many_whole_lines_as_fit() -> None:
    with taking(99, 99, room=9) as (target, taker):
        target.write(SMALL)

        assert taker.writes == [b"one\ntwo\n", b"three\n"]


def test_a_line_that_fits_no_piece_goes_out_alone() -> None:
    with taking(99, 99, 99, room=5) as (target, taker):
        target.write(SMALL)

        assert taker.writes == [b"one\n", b"two\n", b"three\n"]


def test_lines_that_were_not_begun_come_back_with_the_reason() -> None:
    with taking(4, room=4) as (target, _):
        left, problem = target.write(SMALL)

        assert (left, type(problem)) == (b"two\nthree\n", BlockingIOError)


def test_a_line_that_was_begun_does_not_come_back() -> None:
    with taking(5) as (target, _):
        left, _problem = target.write(SMALL)

        assert (left, target.unfinished) == (b"three\n", True)


def test_a_line_that_was_begun_is_finished_before_any_other() -> None:
    with taking(5) as (target, taker):
        target.write(SMALL)
        taker.takes = [1, 99, 99]
        target.write(b"four\n")

        assert (taker.taken, target.unfinished) == (b"one\ntwo\nfour\n", False)


def test_while_a_line_cannot_be_finished_no_other_is_begun() -> None:
    with taking(5) as (target, taker):
        target.write(SMALL)
        taker.takes = [1]
        left, _problem = target.write(b"four\n")

        assert (taker.taken, left, target.unfinished) == (b"one\ntw", b"four\n", True)


def test_a_write_that_is_cut_short_goes_on_where_there_is_room() -> None:
    with taking(2, 3, 99) as (target, taker):
        left = target.write(SMALL)

        assert (taker.taken, left) == (SMALL, (b"", None))


@given(st.lists(st.integers(1, 12), max_size=12), st.integers(1, 20))
def test_wherever_writing_stops_every_line_is_whole(takes: list[int], room: int) -> None:
    with taking(*takes, room=room) as (target, taker):
        left, _ = target.write(SMALL)
        taker.takes = [99] * 9
        target.write(left)

        assert taker.taken == SMALL


def test_a_destination_says_how_it_is() -> None:
    with taking(5) as (target, _):
        target.write(SMALL)

        assert repr(target) == "<Destination -1 3 octets unfinished>"


# ── Lines that another process has torn ──


@contextmanager
def log_file(directory: Path) -> Iterator[tuple[Destination, Path]]:
    path = directory / "log"
    with closing(at_path(str(path))) as target:
        yield target, path


@forks
def test_a_line_torn_by_another_process_is_ended_before_the_next(tmp_path: Path) -> None:
    with log_file(tmp_path) as (target, path):

        def tear() -> None:
            with disk_of(8):
                target.write(b"begun\ntorn\n")

        assert ended_well(fork(tear))
        target.write(b"next\n")
        target.write(b"last\n")

        assert path.read_bytes() == b"begun\nto\nnext\nlast\n"


@forks
def test_the_end_of_a_line_that_another_process_has_ended_is_not_written(tmp_path: Path) -> None:
    with log_file(tmp_path) as (target, path), disk_of(8) as grow:
        target.write(b"begun\ntorn\n")
        grow()
        assert ended_well(fork(partial(target.write, b"other\n")))
        target.write(b"next\n")

        assert path.read_bytes() == b"begun\nto\nother\nnext\n"
        assert not target.unfinished


@forks
def test_a_process_ends_the_torn_line_of_another_instead_of_its_own(tmp_path: Path) -> None:
    with log_file(tmp_path) as (target, path), disk_of(8) as grow:
        target.write(b"begun\ntorn\n")

        def end_it_and_tear_again() -> None:
            grow()
            with disk_of(12):
                target.write(b"other\n")

        assert ended_well(fork(end_it_and_tear_again))
        grow()
        target.write(b"next\n")

        assert path.read_bytes() == b"begun\nto\noth\nnext\n"


def test_a_torn_line_is_known_to_the_destination_that_takes_its_place(tmp_path: Path) -> None:
    with log_file(tmp_path) as (old, path), closing(at_path(str(path))) as new:
        new.succeed(old)
        with disk_of(8):
            old.write(b"begun\ntorn\n")
        new.write(b"next\n")

        assert path.read_bytes() == b"begun\nto\nnext\n"


@forks
def test_only_the_first_process_mourns(tmp_path: Path) -> None:
    with log_file(tmp_path) as (target, _):

        def mourn() -> None:
            assert target.mourn()

        assert ended_well(fork(mourn))
        assert not target.mourn()


# ── Files ──


def test_a_file_is_made_for_its_owner_and_group_only(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        with log_file(tmp_path) as (_, path):
            mode = stat.S_IMODE(path.stat().st_mode)
    finally:
        os.umask(before)

    assert mode == 0o640


def test_a_file_goes_on_where_it_ended(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"before\n")
    with log_file(tmp_path) as (target, path):
        target.write(SMALL)

        assert path.read_bytes() == b"before\n" + SMALL


def test_a_file_that_was_truncated_goes_on_at_its_start(tmp_path: Path) -> None:
    with log_file(tmp_path) as (target, path):
        target.write(SMALL)
        os.truncate(path, 0)
        target.write(SMALL)

        assert path.read_bytes() == SMALL


def test_no_other_program_inherits_the_descriptor(tmp_path: Path) -> None:
    with log_file(tmp_path) as (target, _):
        assert not os.get_inheritable(target.fd)


def test_a_file_takes_any_number_of_lines_in_one_write(tmp_path: Path) -> None:
    with log_file(tmp_path) as (target, path):
        target.write(MANY)

        assert (target.room, path.read_bytes()) == (ANY_ROOM, MANY)


def test_on_a_full_disk_no_line_is_glued_to_another(tmp_path: Path) -> None:
    with small_filesystem(tmp_path / "disk", 65536) as disk, log_file(disk) as (target, path):
        (disk / "other").write_bytes(b"x" * 30000)
        left, problem = target.write(MANY)
        (disk / "other").unlink()
        refused = left[: left.index(b"\n", 10000) + 1]
        target.write(refused)

        assert problem is not None
        assert problem.errno == errno.ENOSPC
        assert path.read_bytes() == MANY[: len(MANY) - len(left)] + refused


@pytest.mark.parametrize(
    ("path", "error"),
    [
        pytest.param("missing/log", errno.ENOENT, id="a directory that is missing"),
        pytest.param(".", errno.EISDIR, id="a directory"),
        pytest.param("fifo", errno.ENXIO, id="a named pipe that nobody reads"),
    ],
)
def test_what_cannot_be_opened_is_an_error(tmp_path: Path, path: str, error: int) -> None:
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(OSError) as caught:
        at_path(str(tmp_path / path))

    assert caught.value.errno == error


def test_a_named_pipe_is_treated_as_a_pipe(tmp_path: Path) -> None:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    ends = Ends(os.open(path, os.O_RDONLY | os.O_NONBLOCK), os.open(path, os.O_WRONLY))
    with closing(ends), closing(at_path(str(path))) as target:
        target.write(SMALL)

        assert (target.room, ends.read()) == (select.PIPE_BUF, SMALL)


# ── Standard output: whatever stands behind it ──


@dataclass
class Stream:
    ends: Ends
    target: Destination


@pytest.fixture(
    params=[
        pytest.param((partial(pipe, 4096), False), id="a pipe"),
        pytest.param((partial(pipe, 4096), True), id="a pipe that cannot be opened anew"),
        pytest.param((terminal, False), id="a terminal"),
        pytest.param((stream_socket, False), id="a socket"),
    ]
)
def stream(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stream]:
    kind, only_polled = request.param
    if only_polled:  # as without /proc, or without the right to open it anew
        monkeypatch.setattr(destination, "_ANEW", os.O_DIRECTORY)
    with closing(kind()) as ends, closing(at_descriptor(ends.writer)) as target:
        yield Stream(ends, target)


def test_every_line_arrives_however_slow_the_reader(stream: Stream) -> None:
    read = b""
    left = SOME
    while left or stream.target.unfinished:
        left, _ = stream.target.write(left)
        read += stream.ends.read()
    read += stream.ends.read_exactly(len(SOME) - len(read))

    assert read == SOME


def test_what_would_block_comes_back(stream: Stream) -> None:
    left, problem = stream.target.write(MANY)

    assert isinstance(problem, BlockingIOError)
    assert MANY.endswith(b"\n" + left)


def test_the_flags_of_the_stream_are_not_touched(stream: Stream) -> None:
    stream.target.write(MANY)
    flags = fcntl.fcntl(stream.ends.writer, fcntl.F_GETFL)

    assert not flags & (os.O_NONBLOCK | os.O_APPEND)


def test_the_stream_stays_open_when_the_destination_is_closed(stream: Stream) -> None:
    stream.target.close()

    assert os.fstat(stream.ends.writer)


def test_closing_twice_closes_no_stranger(stream: Stream) -> None:
    number = stream.target.fd
    stream.target.close()
    os.dup2(stream.ends.writer, number)
    stream.target.close()

    os.close(number)  # raises if it is closed already


def test_a_terminal_that_cannot_be_opened_anew_is_written_when_it_has_room(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(destination, "_ANEW", os.O_DIRECTORY)
    with closing(terminal()) as ends, closing(at_descriptor(ends.writer)) as target:
        target.write(SMALL)

        assert ends.read_exactly(len(SMALL)) == SMALL


@pytest.mark.parametrize(
    "kind", [pytest.param(pipe, id="a pipe"), pytest.param(stream_socket, id="a socket")]
)
@pytest.mark.parametrize("opened_before", [True, False])
def test_a_reader_that_is_gone_is_an_error_and_no_signal(
    kind: Callable[[], Ends], opened_before: bool
) -> None:
    with closing(kind()) as ends:
        if not opened_before:
            ends.hang_up()
        with closing(at_descriptor(ends.writer)) as target:
            ends.hang_up()
            left, problem = target.write(SMALL)

    assert problem is not None
    assert (left, problem.errno) == (SMALL, errno.EPIPE)


@pytest.mark.parametrize("number", [STDOUT, STDERR])
def test_a_dash_is_the_standard_stream(number: int) -> None:
    with closing(pipe()) as ends:
        with standing_as(number, ends.writer), closing(named("-", number)) as target:
            target.write(SMALL)

        assert ends.read() == SMALL


def test_a_name_is_a_path(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with closing(named(str(path), STDOUT)) as target:
        target.write(SMALL)

    assert path.read_bytes() == SMALL


def test_standard_output_in_a_file_is_continued_by_others(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with path.open("wb", buffering=0) as file, closing(at_descriptor(file.fileno())) as target:
        file.write(b"before\n")
        target.write(SMALL)
        file.write(b"after\n")

        assert (target.room, path.read_bytes()) == (ANY_ROOM, b"before\n" + SMALL + b"after\n")


@pytest.mark.parametrize(("number", "name"), [(STDOUT, "__stdout__"), (STDERR, "__stderr__")])
def test_a_stream_that_was_closed_when_the_process_began_is_not_written(
    number: int, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, name, None)
    with pytest.raises(OSError) as caught:
        at_stream(number)

    assert caught.value.errno == errno.EBADF


# ── Many processes ──

WRITERS = 4


def lines_of(process: int) -> list[bytes]:
    """Lines of many lengths, each with its process and its number."""
    return [
        b"%d %d %b\n" % (process, number, b"%d" % process * (number * 104729 % 700))
        for number in range(3000)
    ]


def write_all(target: Destination, lines: list[bytes]) -> None:
    """Write the lines in runs of many lengths; where there is no room, wait for it."""
    ready = select.poll()
    ready.register(target.fd, select.POLLOUT)
    for start in range(0, len(lines), 25):
        left = b"".join(lines[start : start + 25])
        while left or target.unfinished:
            left, problem = target.write(left)
            if problem is not None:
                ready.poll()


def sent_by_all() -> int:
    return sum(len(line) for process in range(WRITERS) for line in lines_of(process))


def come_whole_and_in_order(written: bytes) -> bool:
    """Has each line of each process arrived once, whole, and after those that went before it?"""
    arrived: dict[bytes, list[bytes]] = {}
    for line in written.splitlines(keepends=True):
        arrived.setdefault(line.split(b" ")[0], []).append(line)
    return arrived == {b"%d" % process: lines_of(process) for process in range(WRITERS)}


@forks
@pytest.mark.parametrize(
    "kind", [pytest.param(pipe, id="a pipe"), pytest.param(stream_socket, id="a socket")]
)
def test_lines_of_many_processes_do_not_mix_in(kind: Callable[[], Ends]) -> None:
    with closing(kind()) as ends, closing(at_descriptor(ends.writer)) as target:
        children = [
            fork(partial(write_all, target, lines_of(process))) for process in range(WRITERS)
        ]
        written = ends.read_exactly(sent_by_all())

        assert ended_well(*children)
        assert come_whole_and_in_order(written)


@forks
@pytest.mark.parametrize("each_opens_it", [True, False])
def test_lines_of_many_processes_do_not_mix_in_a_file(tmp_path: Path, each_opens_it: bool) -> None:
    with log_file(tmp_path) as (target, path):

        def work(process: int) -> None:
            mine = at_path(str(path)) if each_opens_it else target
            write_all(mine, lines_of(process))

        children = [fork(partial(work, process)) for process in range(WRITERS)]

        assert ended_well(*children)
        assert come_whole_and_in_order(path.read_bytes())


@forks
def test_lines_of_many_processes_do_not_mix_in_redirected_output(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with path.open("wb") as file, closing(at_descriptor(file.fileno())) as target:
        children = [
            fork(partial(write_all, target, lines_of(process))) for process in range(WRITERS)
        ]

        assert ended_well(*children)
        assert come_whole_and_in_order(path.read_bytes())

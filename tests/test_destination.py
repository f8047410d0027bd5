"""Lines stay whole, whoever writes them and whatever takes them; and no write waits."""

from __future__ import annotations

import errno
import fcntl
import os
import select
import socket
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
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
    disk_of,
    ended_well,
    fork,
    forks,
    pipe,
    read_all,
    small_filesystem,
    standing_as,
    stream_socket,
    terminal,
)

Ends = Callable[[], AbstractContextManager[tuple[int, int]]]

LINES = b"".join(b"%04d %b\n" % (number, b"x" * (number % 90)) for number in range(20000))
SMALL = b"one\ntwo\nthree\n"


class Taker:
    """Takes the given number of octets at each write; then it blocks."""

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

        assert repr(target) == "<Destination -1 2 octets unfinished>"


# ── Lines that another process has torn ──


@forks
def test_a_line_torn_by_another_process_is_ended_before_the_next(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with closing(at_path(str(path))) as target:

        def tear() -> None:
            with disk_of(6):
                target.write(b"begun\ntorn\n")

        child = fork(tear)
        assert ended_well(child)
        target.write(b"next\n")

        assert path.read_bytes() == b"begun\n" + b"next\n"

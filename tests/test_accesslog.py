"""Lines that wait for the end of the turn, and what becomes of those that cannot be written."""

from __future__ import annotations

import json
import os
import select
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

import pytest

from mpserve.accesslog import MOST_PIECES, AccessLog, Notices
from mpserve.destination import STDOUT
from mpserve.logformat import FORMATS
from tests.loglines import BROWSER, COMBINED, NOON, exchange, rendered, zone
from tests.streams import (
    Ends,
    FakeClock,
    disk_of,
    ended_well,
    fork,
    forks,
    pipe,
    standing_as,
    stream_socket,
    terminal,
)


@pytest.fixture(autouse=True)
def utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with zone("UTC0", monkeypatch):
        yield


# ── Notices ──


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        pytest.param([(0, 0), (1, 0)], [], id="nothing was lost"),
        pytest.param(
            [(0, 3)], [(0, "lines are being dropped, 3 so far: full")], id="it is said at once"
        ),
        pytest.param(
            [(0, 3), (1, 4), (59.9, 1), (60, 2)],
            [
                (0, "lines are being dropped, 3 so far: full"),
                (60, "lines are being dropped, 10 so far: full"),
            ],
            id="while it lasts, once a minute",
        ),
        pytest.param(
            [(0, 3), (1, 4), (2, 0), (61, 0), (62, 0), (200, 0)],
            [
                (0, "lines are being dropped, 3 so far: full"),
                (61, "lines are written again, 7 were dropped: full"),
            ],
            id="that it is over, when the minute is",
        ),
        pytest.param(
            [(0, 3), (2, 0), (30, 4), (70, 1), (140, 0)],
            [
                (0, "lines are being dropped, 3 so far: full"),
                (70, "lines are being dropped, 8 so far: full"),
                (140, "lines are written again, 8 were dropped: full"),
            ],
            id="a second loss within the minute",
        ),
        pytest.param(
            [(0, 3), (100, 0), (170, 5)],
            [
                (0, "lines are being dropped, 3 so far: full"),
                (100, "lines are written again, 3 were dropped: full"),
                (170, "lines are being dropped, 5 so far: full"),
            ],
            id="a new loss is counted from nought",
        ),
    ],
)
def test_notices(events: list[tuple[float, int]], expected: list[tuple[float, str]]) -> None:
    notices = Notices()
    said = [
        (now, notices.lost(lines, "full", now) if lines else notices.written(now))
        for now, lines in events
    ]

    assert [(now, word) for now, word in said if word is not None] == expected


def test_nothing_lost_is_no_notice() -> None:
    assert Notices().lost(0, "full", 0) is None


# ── Writing ──


@contextmanager
def logging_to(name: str, format_name: str = "combined") -> Iterator[tuple[AccessLog, FakeClock]]:
    clock = FakeClock()
    with closing(AccessLog.open(name, format_name, clock)) as log:
        yield log, clock


@contextmanager
def logging_to_stdout(ends: Ends) -> Iterator[tuple[AccessLog, FakeClock]]:
    clock = FakeClock()
    with standing_as(STDOUT, ends.writer):
        log = AccessLog.open("-", "combined", clock)
    with closing(log):
        yield log, clock


def numbered(*numbers: int) -> bytes:
    return b"".join(rendered("combined", exchange(sent=number)) for number in numbers)


def append(log: AccessLog, *numbers: int) -> None:
    """Log an exchange for each of the numbers, which stand where the octets sent stand."""
    for number in numbers:
        log.append(exchange(sent=number), 100.0, NOON)


def numbers_in(lines: bytes) -> list[int]:
    """The numbers of whole lines; anything else is an error."""
    found = [COMBINED.fullmatch(line) for line in lines.splitlines(keepends=True)]
    assert None not in found
    return [int(line["bytes"]) for line in found if line]


def test_lines_wait_for_the_end_of_the_turn(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with logging_to(str(path)) as (log, _):
        append(log, 1, 2)
        before = path.read_bytes()
        log.flush()

        assert (before, path.read_bytes()) == (b"", numbered(1, 2))


def test_a_long_turn_does_not_gather_lines_without_end(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with logging_to(str(path)) as (log, _):
        append(log, *range(MOST_PIECES // 3 + 1))

        assert path.read_bytes() == numbered(*range(MOST_PIECES // 3 + 1))


def test_closing_writes_what_waits(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with logging_to(str(path)) as (log, _):
        append(log, 1)

    assert path.read_bytes() == numbered(1)


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_a_line_made_of_prepared_parts_is_the_same(tmp_path: Path, name: str) -> None:
    of = exchange(fields=BROWSER)
    with logging_to(str(tmp_path / "log"), name) as (log, _):
        log.append(of, 100.0, NOON)
        about = log.layout.about(of.line, BROWSER)
        text = log.layout.exchange(about, of.status, of.content_sent)
        log.turn_to(NOON)
        log.record([of.peer], [text], [about.end], 0.5)

    first, second = (tmp_path / "log").read_bytes().splitlines(keepends=True)
    assert first == second == rendered(name, of)


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_lines_of_many_are_those_of_each(tmp_path: Path, name: str) -> None:
    about = [exchange(fields={b"user-agent": agent}) for agent in (b"a", b"b", b"c")]
    peers = [b"192.0.2.1", b"unix:", b"2001:db8::1"]
    with logging_to(str(tmp_path / "log"), name) as (log, _):
        log.turn_to(NOON)
        layout = log.layout
        ends = [layout.about(of.line, of.request.fields).end for of in about if of.request]
        texts = [
            layout.exchange(layout.about(of.line, {}), 200 + n, n) for n, of in enumerate(about)
        ]
        log.record(peers, texts, ends, 0.5)
        for peer, text, end in zip(peers, texts, ends, strict=True):
            log.record([peer], [text], [end], 0.5)

    lines = (tmp_path / "log").read_bytes().splitlines()
    assert lines[:3] == lines[3:]
    assert [peer in line for peer, line in zip(peers, lines[:3], strict=True)] == [True] * 3
    assert len(set(lines)) == 3


def test_the_time_is_that_of_each_line(tmp_path: Path) -> None:
    with logging_to(str(tmp_path / "log"), "json") as (log, _):
        for wall in (NOON, NOON + 0.9, NOON + 1, NOON - 3600):
            log.append(exchange(), 100.0, wall)

    lines = (tmp_path / "log").read_bytes().splitlines()
    assert [json.loads(line)["time"][11:19] for line in lines] == [
        "12:00:00",
        "12:00:00",
        "12:00:01",
        "11:00:00",
    ]


def test_octets_of_the_head_do_not_count_as_sent(tmp_path: Path) -> None:
    cut_off = exchange()
    cut_off.sent = cut_off.head_size - 1
    with logging_to(str(tmp_path / "log")) as (log, _):
        log.append(cut_off, 100.0, NOON)

    assert numbers_in((tmp_path / "log").read_bytes()) == [0]


def test_off_is_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with logging_to("off") as (log, _):
        append(log, 1)
        log.record([b""], [b""], [b"\n"], 0.0)
        log.flush()
        log.reopen()

        assert (list(tmp_path.iterdir()), repr(log)) == ([], "<AccessLog off off, 0 dropped>")


def test_a_log_says_how_it_is(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with logging_to(str(path)) as (log, _):
        append(log, 1)

        assert repr(log) == f"<AccessLog {path} 1 lines waiting, 0 dropped>"


def test_a_path_that_cannot_be_opened_is_the_callers_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        AccessLog.open(str(tmp_path / "missing" / "log"), "combined")


# ── Opening anew ──


def test_after_reopening_the_renamed_file_is_left_alone(tmp_path: Path) -> None:
    path, renamed = tmp_path / "log", tmp_path / "log.1"
    with logging_to(str(path)) as (log, _):
        append(log, 1)
        path.rename(renamed)
        append(log, 2)
        log.reopen()
        append(log, 3)
        log.flush()

        assert (renamed.read_bytes(), path.read_bytes()) == (numbered(1, 2), numbered(3))


def test_what_another_process_has_opened_anew_is_used(tmp_path: Path) -> None:
    path, other = tmp_path / "log", tmp_path / "other"
    with logging_to(str(path)) as (log, _):
        append(log, 1)
        log.adopt(os.open(other, os.O_WRONLY | os.O_CREAT | os.O_APPEND))
        append(log, 2)
        log.flush()

        assert (path.read_bytes(), other.read_bytes()) == (numbered(1), numbered(2))


def test_reopening_tells_the_descriptor_that_others_may_adopt(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with logging_to(str(path)) as (log, _):
        path.unlink()
        fd = log.reopen()

        assert fd is not None
        assert os.path.samestat(os.fstat(fd), path.stat())


def test_what_cannot_be_reopened_stays_in_use(tmp_path: Path) -> None:
    path, renamed = tmp_path / "log", tmp_path / "log.1"
    with logging_to(str(path)) as (log, _):
        path.rename(renamed)
        path.mkdir()
        with pytest.raises(IsADirectoryError):
            log.reopen()
        append(log, 1)
        log.flush()

        assert renamed.read_bytes() == numbered(1)


def test_standard_output_is_not_reopened() -> None:
    with closing(pipe()) as ends, logging_to_stdout(ends) as (log, _):
        append(log, 1)
        fd = log.reopen()
        append(log, 2)
        log.flush()

        assert (fd, ends.read()) == (None, numbered(1, 2))


def test_reopening_ends_the_wait_for_a_full_disk(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.symlink_to("/dev/full")
    with logging_to(str(path)) as (log, _):
        append(log, 1)
        log.flush()
        path.unlink()
        log.reopen()
        append(log, 2)
        log.flush()

        assert (path.read_bytes(), log.dropped) == (numbered(2), 1)


def test_a_line_torn_before_reopening_is_ended_after_it(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with logging_to(str(path)) as (log, _), disk_of(10) as grow:
        append(log, 1)
        log.flush()
        grow()
        log.reopen()
        append(log, 2)
        log.flush()

        assert path.read_bytes() == numbered(1)[:10] + b"\n" + numbered(2)


def test_a_log_whose_reader_went_can_be_reopened(tmp_path: Path) -> None:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    first = Ends(os.open(path, os.O_RDONLY | os.O_NONBLOCK), os.open(os.devnull, os.O_WRONLY))
    with closing(first), logging_to(str(path)) as (log, _):
        first.hang_up()
        append(log, 1)
        log.flush()
        reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        with closing(Ends(reader, os.open(os.devnull, os.O_WRONLY))) as second:
            log.reopen()
            append(log, 2)
            log.flush()

            assert second.read() == numbered(2)


# ── What cannot be written ──

TOO_SLOW = "they are not read fast enough"


def read_lines(number: int, log: AccessLog, ends: Ends) -> bytes:
    """Read lines, and let the log finish the one that it could not write to its end."""
    read = b""
    while read.count(b"\n") < number:
        read += ends.read()
        log.flush()
    return read


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(partial(pipe, 4096), id="a pipe"),
        pytest.param(terminal, id="a terminal"),
        pytest.param(stream_socket, id="a socket"),
    ],
)
def test_lines_that_nobody_reads_are_dropped_whole_and_counted(kind: Callable[[], Ends]) -> None:
    with closing(kind()) as ends, logging_to_stdout(ends) as (log, _):
        append(log, *range(10000, 15000))
        log.flush()
        written = read_lines(5000 - log.dropped, log, ends)
        dropped = log.dropped
        select.select([], [ends.writer], [], 10)
        append(log, 15000)
        log.flush()
        last = read_lines(1, log, ends)

        assert 0 < dropped == log.dropped
        assert len(numbers_in(written)) == 5000 - dropped
        assert numbers_in(last) == [15000]


def test_a_full_pipe_is_spoken_of_when_it_begins_and_when_it_is_over(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with closing(pipe(4096)) as ends, logging_to_stdout(ends) as (log, clock):
        append(log, *range(100))
        log.flush()
        dropped = log.dropped
        ends.read()
        append(log, 100)
        log.flush()
        clock.advance(60)
        log.flush()
        log.flush()

        assert 0 < dropped < 100
        assert caplog.messages == [
            f"access log -: lines are being dropped, {dropped} so far: {TOO_SLOW}",
            f"access log -: lines are written again, {dropped} were dropped: {TOO_SLOW}",
        ]


def test_what_was_lost_is_said_when_the_log_is_closed(caplog: pytest.LogCaptureFixture) -> None:
    with logging_to("/dev/full") as (log, _):
        append(log, 1)
        log.flush()
        append(log, 2, 3)

    assert caplog.messages == [
        "access log /dev/full: lines are being dropped, 1 so far: No space left on device",
        "access log /dev/full: 3 lines were dropped: No space left on device",
    ]


def test_a_full_disk_is_spoken_of_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    with logging_to("/dev/full") as (log, clock):
        for number in range(121):
            append(log, number)
            log.flush()
            clock.advance(0.5)

        assert (log.dropped, len(caplog.messages)) == (121, 2)


def test_a_full_disk_is_tried_again_after_a_second(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with logging_to(str(path)) as (log, clock), disk_of(0) as grow:
        append(log, 1)
        log.flush()
        grow()
        clock.advance(0.9)
        append(log, 2)
        log.flush()
        clock.advance(0.1)
        append(log, 3)
        log.flush()

        assert (numbers_in(path.read_bytes()), log.dropped) == ([3], 2)


def test_while_nothing_is_logged_a_full_disk_is_not_said_to_be_over(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with logging_to("/dev/full") as (log, clock):
        append(log, 1)
        log.flush()
        clock.advance(100)
        log.flush()

        assert len(caplog.messages) == 1


def test_a_line_cut_short_by_a_full_disk_is_finished_when_there_is_room(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with logging_to(str(path)) as (log, clock), disk_of(len(numbered(1)) + 10) as grow:
        append(log, 1, 2, 3)
        log.flush()
        grow()
        clock.advance(1)
        log.flush()

        assert (path.read_bytes(), log.dropped) == (numbered(1, 2), 1)


@pytest.mark.parametrize("kind", [pipe, stream_socket])
def test_a_reader_that_is_gone_ends_the_log_with_one_word(
    kind: Callable[[], Ends], caplog: pytest.LogCaptureFixture
) -> None:
    with closing(kind()) as ends, logging_to_stdout(ends) as (log, _):
        ends.hang_up()
        append(log, 1)
        log.flush()
        append(log, 2)
        log.flush()

        assert caplog.messages == ["access log -: it ends, because its reader is gone"]
        assert repr(log) == "<AccessLog - off, 1 dropped>"


@forks
def test_one_worker_speaks_of_the_reader_for_all(caplog: pytest.LogCaptureFixture) -> None:
    with closing(pipe()) as ends, logging_to_stdout(ends) as (log, _):
        ends.hang_up()

        def notice() -> None:
            append(log, 1)
            log.flush()
            assert len(caplog.messages) == 1

        assert ended_well(fork(notice))
        append(log, 1)
        log.flush()

        assert caplog.messages == []


@forks
def test_workers_that_log_at_the_same_time_lose_no_line_unseen() -> None:
    with closing(pipe()) as ends, closing(pipe()) as counts, logging_to_stdout(ends) as (log, _):

        def work(worker: int) -> None:
            for number in range(3000):
                append(log, worker * 10000 + number)
                if number % (worker + 2) == 0:
                    log.flush()
            log.flush()
            os.write(counts.writer, b"%d\n" % log.dropped)

        children = [fork(partial(work, worker)) for worker in range(4)]
        read = dropped = b""
        while dropped.count(b"\n") < len(children):
            read += ends.read()
            dropped += counts.read()
        read += ends.read()
        logged = numbers_in(read)

        assert ended_well(*children)
        assert len(logged) == 4 * 3000 - sum(map(int, dropped.split()))
        assert sorted(logged, key=lambda number: number // 10000) == sorted(logged)

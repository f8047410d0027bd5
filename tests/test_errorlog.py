"""One line per record that nobody can forge; logging neither raises nor holds up the server."""

from __future__ import annotations

import json
import logging
import os
import re
import select
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import datetime
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpserve import errorlog
from mpserve.destination import STDERR, at_descriptor
from mpserve.errorlog import LOGGER, Handler, as_json, as_text, escape
from tests.streams import Ends, disk_of, ended_well, fork, forks, pipe, standing_as

log = logging.getLogger("mpserve.somewhere")

LEVELS = ("debug", "info", "warning", "error")

LINE = re.compile(
    r"(?P<time>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}[+-]\d\d:\d\d)"
    r" \[(?P<level>[a-z]+)\] (?P<process>\d+): (?P<message>.*)\n"
)


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    """The logger is as it was before, whatever a test has opened."""
    yield
    errorlog.close()
    logging.getLogger(LOGGER).setLevel(logging.NOTSET)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "error.log"


def record(message: object, *args: object) -> logging.LogRecord:
    return logging.LogRecord("mpserve", logging.WARNING, __file__, 1, message, args, None)


def messages_in(text: str) -> list[str]:
    """The messages of whole lines; anything else is an error."""
    found = [LINE.fullmatch(line) for line in text.splitlines(keepends=True)]
    assert None not in found
    return [line["message"] for line in found if line]


# ── Lines ──


def test_a_line_has_time_level_process_and_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "IST-5:30")
    time.tzset()
    of = record("cannot read %s", "/srv/a")
    of.created, of.process = 1795176000.1234, 1234
    line = as_text(of)
    monkeypatch.undo()
    time.tzset()

    assert line == b"2026-11-20T17:30:00.123+05:30 [warning] 1234: cannot read /srv/a\n"


@pytest.mark.parametrize("level", LEVELS)
def test_a_level_has_its_name(path: Path, level: str) -> None:
    errorlog.open(str(path), "debug")
    getattr(log, level)("message")
    line = LINE.fullmatch(path.read_text())

    assert line is not None
    assert (line["level"], int(line["process"])) == (level, os.getpid())


@pytest.mark.parametrize(
    ("level", "expected"), [(level, list(LEVELS[place:])) for place, level in enumerate(LEVELS)]
)
def test_what_is_below_the_level_is_not_logged(path: Path, level: str, expected: list[str]) -> None:
    errorlog.open(str(path), level)
    for each in LEVELS:
        getattr(log, each)(each)

    assert messages_in(path.read_text()) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("plain \\ 'text' é 🐍", "plain \\ 'text' é 🐍", id="what can be printed"),
        pytest.param("a\nb\r\tc", "a\\nb\\r\\tc", id="line ends and tabs"),
        pytest.param("\x00\x1b[31m\x7f\x9b", "\\x00\\x1b[31m\\x7f\\x9b", id="terminal controls"),
        pytest.param("\u2028\u202e", "\\u2028\\u202e", id="other line ends and directions"),
        pytest.param(os.fsdecode(b"caf\xe9"), "caf\\xe9", id="a file name that is not UTF-8"),
        pytest.param("\ud800", "\\ud800", id="a lone surrogate"),
    ],
)
def test_what_cannot_be_printed_is_escaped(text: str, expected: str) -> None:
    assert escape(text) == expected


@given(st.text(max_size=100))
def test_no_message_can_forge_a_line(text: str) -> None:
    messages = messages_in(as_text(record("why: %s", text)).decode())

    assert messages == [f"why: {escape(text)}"]


@pytest.mark.parametrize("character", ["x", "é", "🐍"])
def test_a_long_message_is_cut_to_a_line_that_is_written_whole(character: str) -> None:
    line = as_text(record(character * 10000))

    assert select.PIPE_BUF - 4 <= len(line) <= select.PIPE_BUF
    assert messages_in(line.decode())[0].endswith(character + "...")


# ── Tracebacks ──


def fail(why: str) -> None:
    raise ValueError(why)


def test_a_traceback_is_indented_so_that_it_cannot_forge_a_line(path: Path) -> None:
    errorlog.open(str(path), "info")
    try:
        fail("of a client\n2026-11-20T12:00:00.123+00:00 [error] 1: forged\x1b")
    except ValueError:
        log.exception("bug")
    first, *others = path.read_text().splitlines()

    assert first.endswith(": bug")
    assert others[0] == "    Traceback (most recent call last):"
    assert others[-1] == "    2026-11-20T12:00:00.123+00:00 [error] 1: forged\\x1b"
    assert all(line.startswith("    ") for line in others)


def test_there_is_no_traceback_without_an_exception(path: Path) -> None:
    of = record("no bug")
    of.exc_info = (None, None, None)  # as exc_info=True has it where nothing was raised

    assert messages_in(as_text(of).decode()) == ["no bug"]


# ── JSON ──


def objects_in(text: str) -> list[dict[str, object]]:
    """What stands in the lines; each is a JSON object."""
    return [json.loads(line) for line in text.splitlines()]


def test_a_line_of_json_has_time_level_process_and_message(path: Path) -> None:
    errorlog.open(str(path), "info", "json")
    log.warning("cannot read %s", '/srv/"a"\n\x1b\u2028é')
    (found,) = objects_in(path.read_text())

    at = datetime.fromisoformat(str(found.pop("time")))
    assert abs(at.timestamp() - path.stat().st_mtime) < 1
    assert found == {
        "level": "warning",
        "pid": os.getpid(),
        "message": 'cannot read /srv/"a"\n\x1b\u2028é',
    }


@given(st.text(st.characters(exclude_categories=()), max_size=100))
def test_json_is_ascii_in_one_line_that_every_parser_takes(text: str) -> None:
    line = as_json(record("why: %s", text))

    assert line.isascii()
    assert line.endswith(b"}\n")
    assert line.count(b"\n") == 1
    json.loads(line)["message"].encode("utf-8")  # which a lone surrogate would refuse


def test_an_octet_of_a_file_name_that_is_not_utf_8_can_be_read_in_json() -> None:
    line = as_json(record("cannot read %s", os.fsdecode(b"caf\xe9")))

    assert json.loads(line)["message"] == "cannot read caf\\xe9"


@pytest.mark.parametrize("character", ["x", "é", "🐍", '"', "\n"])
def test_a_long_message_in_json_is_cut_to_a_line_that_is_written_whole(character: str) -> None:
    line = as_json(record(character * 10000))

    assert select.PIPE_BUF - 48 <= len(line) <= select.PIPE_BUF
    assert json.loads(line)["message"].endswith(character + "...")


def deeper(levels: int) -> None:
    """Fail beneath so many calls, of which no two look the same to the traceback."""
    if levels:
        eval(f"deeper({levels} - 1)", globals())
    fail("deep")


def test_a_traceback_in_json_is_an_array_of_lines_within_the_object(path: Path) -> None:
    errorlog.open(str(path), "info", "json")
    try:
        fail("a client's\nline")
    except ValueError:
        log.exception("bug")
    (found,) = objects_in(path.read_text())

    lines = found["traceback"]
    assert isinstance(lines, list)
    assert found["message"] == "bug"
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[-2:] == ["ValueError: a client's", "line"]


def test_of_a_long_traceback_in_json_the_innermost_calls_stay(path: Path) -> None:
    errorlog.open(str(path), "info", "json")
    try:
        deeper(60)
    except ValueError:
        log.exception("bug")
    (found,) = objects_in(path.read_text())

    lines = found["traceback"]
    assert isinstance(lines, list)
    assert "Traceback" not in lines[0]
    assert lines[-1] == "ValueError: deep"
    assert select.PIPE_BUF - 200 < path.stat().st_size <= select.PIPE_BUF


def test_what_was_dropped_is_confessed_in_json_too(path: Path) -> None:
    errorlog.open(str(path), "info", "json")
    log.warning(Unprintable())
    log.warning("next")

    assert [each["message"] for each in objects_in(path.read_text())] == [
        "1 messages before this one were dropped",
        "next",
    ]


# ── Opening anew ──


def test_after_reopening_the_renamed_file_is_left_alone(path: Path) -> None:
    renamed = path.with_suffix(".1")
    errorlog.open(str(path), "info")
    path.rename(renamed)
    log.info("before")
    fd = errorlog.reopen()
    log.info("after")

    assert fd is not None
    assert os.path.samestat(os.fstat(fd), path.stat())
    assert messages_in(renamed.read_text()) == ["before"]
    assert messages_in(path.read_text()) == ["after"]


def test_what_another_process_has_opened_anew_is_used(path: Path) -> None:
    errorlog.open(str(path), "info", "json")
    log.info("before")
    errorlog.adopt(os.open(path.with_suffix(".2"), os.O_WRONLY | os.O_CREAT | os.O_APPEND))
    log.info("after")

    assert [each["message"] for each in objects_in(path.read_text())] == ["before"]
    new = path.with_suffix(".2").read_text()
    assert [each["message"] for each in objects_in(new)] == ["after"]


def test_what_cannot_be_reopened_stays_in_use(path: Path) -> None:
    renamed = path.with_suffix(".1")
    errorlog.open(str(path), "info")
    path.rename(renamed)
    path.mkdir()
    with pytest.raises(IsADirectoryError):
        errorlog.reopen()
    log.info("still here")

    assert messages_in(renamed.read_text()) == ["still here"]


def test_standard_error_is_not_reopened() -> None:
    with closing(pipe()) as ends:
        with standing_as(STDERR, ends.writer):
            errorlog.open("-", "info")
        fd = errorlog.reopen()
        log.info("here")

        assert (fd, messages_in(ends.read().decode())) == (None, ["here"])


# ── Destinations ──


def test_a_dash_is_standard_error() -> None:
    with closing(pipe()) as ends:
        with standing_as(STDERR, ends.writer):
            errorlog.open("-", "info")
        log.info("here")

        assert messages_in(ends.read().decode()) == ["here"]


def test_a_file_goes_on_where_it_ended(path: Path) -> None:
    for message in ("first", "second"):
        errorlog.open(str(path), "info")
        log.info(message)
        errorlog.close()

    assert messages_in(path.read_text()) == ["first", "second"]


def test_opening_again_takes_the_place_of_what_was_open(path: Path) -> None:
    renamed = path.with_suffix(".1")
    errorlog.open(str(path), "info")
    log.info("before")
    path.rename(renamed)
    errorlog.open(str(path), "warning")
    log.info("silent")
    log.warning("after")

    assert messages_in(renamed.read_text()) == ["before"]
    assert messages_in(path.read_text()) == ["after"]


def test_what_cannot_be_opened_changes_nothing(path: Path) -> None:
    errorlog.open(str(path), "info")
    with pytest.raises(NotADirectoryError):
        errorlog.open(str(path / "log"), "error")
    log.info("still here")

    assert messages_in(path.read_text()) == ["still here"]


def test_the_root_logger_has_no_part_in_it(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    errorlog.open(str(path), "info")
    log.info("ours")

    assert caplog.messages == []


def test_after_closing_the_logger_is_as_others_expect_it(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    other = logging.NullHandler()
    logging.getLogger(LOGGER).addHandler(other)
    errorlog.open(str(path), "info")
    errorlog.close()
    log.warning("not ours")
    handlers = logging.getLogger(LOGGER).handlers[:]
    logging.getLogger(LOGGER).removeHandler(other)

    assert (caplog.messages, handlers, path.read_text()) == (["not ours"], [other], "")


# ── Never raising, never waiting for long ──


def test_arguments_that_do_not_fit_are_no_exception(path: Path) -> None:
    errorlog.open(str(path), "info")
    log.warning("%d files", "many")

    assert messages_in(path.read_text()) == ["%d files (its arguments do not fit)"]


class Unprintable:
    def __str__(self) -> str:
        raise RuntimeError


def test_what_cannot_be_printed_at_all_is_counted(path: Path) -> None:
    errorlog.open(str(path), "info")
    log.warning(Unprintable())
    log.warning("next")

    assert messages_in(path.read_text()) == ["1 messages before this one were dropped", "next"]


@contextmanager
def full_pipe() -> Iterator[tuple[Ends, Handler]]:
    """A handler that writes to a pipe without room."""
    with closing(pipe(4096)) as ends, closing(Handler(at_descriptor(ends.writer))) as handler:
        os.write(ends.writer, b"x" * 4096)
        yield ends, handler


def test_a_pipe_without_room_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(errorlog, "PATIENCE", 30)
    with full_pipe() as (ends, handler):
        wait = handler._room_comes

        def read_and_wait() -> bool:
            return bool(ends.read()) and wait()

        monkeypatch.setattr(handler, "_room_comes", read_and_wait)
        handler.emit(record("waited"))

        assert messages_in(ends.read().decode()) == ["waited"]


def test_a_pipe_that_stays_full_costs_patience_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(errorlog, "PATIENCE", 0.001)
    with full_pipe() as (_, handler):
        handler.emit(record("first"))
        monkeypatch.setattr(errorlog, "PATIENCE", 1000)  # more than the test may take
        handler.emit(record("second"))

        assert handler.dropped == 2


def test_what_was_dropped_is_confessed_before_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(errorlog, "PATIENCE", 0)
    with full_pipe() as (ends, handler):
        handler.emit(record("first"))
        handler.emit(record("second"))
        ends.read()
        handler.emit(record("third"))
        handler.emit(record("fourth"))

        assert messages_in(ends.read().decode()) == [
            "2 messages before this one were dropped",
            "third",
            "fourth",
        ]


def test_a_reader_that_is_gone_is_no_exception() -> None:
    with closing(pipe()) as ends, closing(Handler(at_descriptor(ends.writer))) as handler:
        ends.hang_up()
        handler.emit(record("unheard"))

        assert handler.dropped == 1


def test_a_line_cut_short_by_a_full_disk_is_finished_before_the_next(path: Path) -> None:
    errorlog.open(str(path), "info")
    with disk_of(50):
        log.warning("first")
    log.warning("second")

    assert messages_in(path.read_text()) == ["first", "second"]


@forks
def test_records_of_many_processes_do_not_mix(path: Path) -> None:
    errorlog.open(str(path), "info")

    def work(process: int) -> None:
        for number in range(500):
            log.info("%d %d %s", process, number, "x" * (number * 7919 % 300))

    children = [fork(partial(work, process)) for process in range(4)]

    assert ended_well(*children)
    assert len(messages_in(path.read_text())) == 4 * 500

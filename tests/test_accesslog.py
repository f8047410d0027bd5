"""A line per answer that no request can forge, and what becomes of lines that cannot be written."""

from __future__ import annotations

import json
import os
import re
import select
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpserve.accesslog import (
    BATCH,
    FORMATS,
    AccessLog,
    Format,
    Notices,
    common_time,
    compile_about,
    compile_line,
    cut,
    escape_json,
    escape_text,
    iso_time,
)
from mpserve.destination import ANY_ROOM, STDOUT
from mpserve.protocol.message import Exchange, Request
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

NOON = 1795176000.0  # 2026-11-20T12:00:00Z
BROWSER = {b"referer": b"https://example.com/", b"user-agent": b"Mozilla/5.0 (X11; Linux x86_64)"}

COMBINED = re.compile(
    rb'(?P<peer>[^ ]+) - - \[(?P<time>[^]]+)\] "(?P<line>[^"]*)" (?P<status>\d{3}) (?P<bytes>\d+)'
    rb' "(?P<referer>[^"]*)" "(?P<user_agent>[^"]*)"\n'
)
COMMON = re.compile(
    rb'(?P<peer>[^ ]+) - - \[(?P<time>[^]]+)\] "(?P<line>[^"]*)" (?P<status>\d{3}) (?P<bytes>\d+)\n'
)


@pytest.fixture(autouse=True)
def utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with zone("UTC0", monkeypatch):
        yield


@contextmanager
def zone(name: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setenv("TZ", name)
        time.tzset()
        yield
    time.tzset()


def exchange(
    line: bytes = b"GET / HTTP/1.1",
    fields: dict[bytes, bytes] | None = None,
    status: int = 200,
    sent: int = 1234,
    peer: bytes = b"127.0.0.1",
) -> Exchange:
    request = None
    if fields is not None:
        request = Request(b"GET", b"/", b"HTTP/1.1", fields, persistent=True)
    return Exchange(peer, request, line, status, 99.5, head_size=200, sent=200 + sent)


def rendered(name: str, of: Exchange, room: int = ANY_ROOM) -> bytes:
    """The line of the format `name` for an exchange that ended half a second after it began."""
    form = FORMATS[name]
    fields = of.request.fields if of.request else {}
    about = compile_about(form, room)(of.line, fields)
    stamp = form.time(int(NOON))
    return compile_line(form)(about, of.peer, stamp, of.status, of.content_sent, 0.5)


# ── Formats ──


@pytest.mark.parametrize(
    ("of", "expected"),
    [
        pytest.param(
            exchange(fields=BROWSER),
            b'127.0.0.1 - - [20/Nov/2026:12:00:00 +0000] "GET / HTTP/1.1" 200 1234'
            b' "https://example.com/" "Mozilla/5.0 (X11; Linux x86_64)"\n',
            id="a browser's request",
        ),
        pytest.param(
            exchange(fields={}, sent=0, status=304),
            b'127.0.0.1 - - [20/Nov/2026:12:00:00 +0000] "GET / HTTP/1.1" 304 0 "-" "-"\n',
            id="a request without fields",
        ),
        pytest.param(
            exchange(fields={b"referer": b""}),
            b'127.0.0.1 - - [20/Nov/2026:12:00:00 +0000] "GET / HTTP/1.1" 200 1234 "-" "-"\n',
            id="an empty field",
        ),
        pytest.param(
            exchange(b"", status=400, sent=99, peer=b"unix:"),
            b'unix: - - [20/Nov/2026:12:00:00 +0000] "-" 400 99 "-" "-"\n',
            id="a request that was not understood",
        ),
        pytest.param(
            exchange(b"GET / HTTP/1.1", status=431, sent=99, peer=b"2001:db8::1"),
            b'2001:db8::1 - - [20/Nov/2026:12:00:00 +0000] "GET / HTTP/1.1" 431 99 "-" "-"\n',
            id="a request of which the line was understood",
        ),
        pytest.param(
            exchange(b'GET /"\\\xc3\xa9 HTTP/1.1', {b"user-agent": b'a\t"b"\x7f'}),
            b'127.0.0.1 - - [20/Nov/2026:12:00:00 +0000] "GET /\\x22\\x5C\\xC3\\xA9 HTTP/1.1"'
            b' 200 1234 "-" "a\\x09\\x22b\\x22\\x7F"\n',
            id="octets that would leave the quotes or the line",
        ),
    ],
)
def test_combined(of: Exchange, expected: bytes) -> None:
    assert rendered("combined", of) == expected


def test_common_is_combined_without_the_fields() -> None:
    of = exchange(fields=BROWSER)

    assert rendered("combined", of).startswith(rendered("common", of).rstrip(b"\n") + b' "')


def test_json_is_one_object_on_one_line() -> None:
    line = rendered("json", exchange(fields=BROWSER))

    assert line == (
        b'{"time":"2026-11-20T12:00:00+00:00","peer":"127.0.0.1",'
        b'"method":"GET","target":"/","version":"HTTP/1.1",'
        b'"status":200,"bytes":1234,"duration":0.500000,'
        b'"referer":"https://example.com/","user_agent":"Mozilla/5.0 (X11; Linux x86_64)"}\n'
    )


@pytest.mark.parametrize("line", [b"", b"GET /", b"GET / with spaces HTTP/1.1"])
def test_json_has_a_dash_for_what_was_not_understood(line: bytes) -> None:
    read = json.loads(rendered("json", exchange(line, status=400)))

    assert [read[name] for name in ("method", "target", "version", "referer", "user_agent")] == (
        ["-"] * 5
    )


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param(b"caf\xc3\xa9", "café", id="UTF-8 is read as UTF-8"),
        pytest.param(b"caf\xe9", "caf\\xe9", id="an octet that is not UTF-8 by its number"),
        pytest.param(b"\xed\xb3\xbf", "\\xed\\xb3\\xbf", id="an encoded surrogate is not UTF-8"),
        pytest.param(b'a"b\\c\n\x00\x7f', 'a"b\\c\n\0\x7f', id="what JSON escapes"),
        pytest.param(b"\xf0\x9f\x90\x8d", "\N{SNAKE}", id="beyond the basic plane"),
    ],
)
def test_json_shows_a_value_as_it_was_sent(value: bytes, expected: str) -> None:
    read = json.loads(rendered("json", exchange(fields={b"user-agent": value})))

    assert read["user_agent"] == expected


def test_a_percent_sign_in_a_format_is_itself() -> None:
    form = Format("100% $status%d $line $line", common_time, escape_text)
    about = compile_about(form, ANY_ROOM)(b"GET / HTTP/1.1", {})

    assert compile_line(form)(about, b"", b"", 200, 0, 0.0) == (
        b"100% 200%d GET / HTTP/1.1 GET / HTTP/1.1\n"
    )


# ── Time ──


@pytest.mark.parametrize(
    ("name", "common", "iso"),
    [
        ("UTC0", b"20/Nov/2026:12:00:00 +0000", b"2026-11-20T12:00:00+00:00"),
        ("IST-5:30", b"20/Nov/2026:17:30:00 +0530", b"2026-11-20T17:30:00+05:30"),
        ("NST3:30", b"20/Nov/2026:08:30:00 -0330", b"2026-11-20T08:30:00-03:30"),
        ("LINT-14", b"21/Nov/2026:02:00:00 +1400", b"2026-11-21T02:00:00+14:00"),
    ],
)
def test_time_is_local_with_its_offset(
    name: str, common: bytes, iso: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    with zone(name, monkeypatch):
        times = common_time(int(NOON)), iso_time(int(NOON))

    assert times == (common, iso)


def test_time_follows_summer_time(monkeypatch: pytest.MonkeyPatch) -> None:
    with zone("CET-1CEST,M3.5.0,M10.5.0/3", monkeypatch):
        times = iso_time(1792889999), iso_time(1792890000)

    assert times == (b"2026-10-25T02:59:59+02:00", b"2026-10-25T02:00:00+01:00")


@given(st.integers(0, 2**32))
def test_both_times_are_the_same_moment(epoch: int) -> None:
    common = time.strptime(common_time(epoch).decode(), "%d/%b/%Y:%H:%M:%S %z")
    iso = time.strptime(iso_time(epoch).decode(), "%Y-%m-%dT%H:%M:%S%z")

    assert common[:6] == iso[:6] == time.gmtime(epoch)[:6]


# ── No request can forge a line ──

octets = st.binary(max_size=300)
fields = st.fixed_dictionaries({}, optional={b"referer": octets, b"user-agent": octets})
long_octets = st.builds(
    lambda part, times, end: part * times + end, octets, st.integers(0, 100), octets
)


def unescaped(text: bytes) -> bytes:
    return re.sub(rb"\\x([0-9A-F]{2})", lambda escape: bytes.fromhex(escape[1].decode()), text)


@given(octets)
def test_text_holds_nothing_but_printable_ascii_without_quotes(value: bytes) -> None:
    assert re.fullmatch(rb"(?:[ !#-\[\]-~]|\\x[0-9A-F]{2})*", escape_text(value))


@given(octets)
def test_text_can_be_read_back(value: bytes) -> None:
    assert unescaped(escape_text(value)) == value


@given(octets)
def test_the_inside_of_a_json_string_is_printable_ascii(value: bytes) -> None:
    assert re.fullmatch(rb"[ -~]*", escape_json(value))


@given(st.text(max_size=50))
def test_utf_8_in_json_can_be_read_back(value: str) -> None:
    assert json.loads(b'"%b"' % escape_json(value.encode("utf-8", "replace"))) == (
        value.encode("utf-8", "replace").decode()
    )


@given(octets, fields)
def test_no_request_can_forge_a_line_of_text(line: bytes, fields: dict[bytes, bytes]) -> None:
    read = COMBINED.fullmatch(rendered("combined", exchange(line, fields)))

    assert read is not None
    assert unescaped(read["line"]) == (line or b"-")
    assert unescaped(read["referer"]) == (fields.get(b"referer") or b"-")
    assert unescaped(read["user_agent"]) == (fields.get(b"user-agent") or b"-")
    assert (read["peer"], read["status"], read["bytes"]) == (b"127.0.0.1", b"200", b"1234")


@given(octets)
def test_no_request_can_forge_a_line_of_common(line: bytes) -> None:
    read = COMMON.fullmatch(rendered("common", exchange(line, {})))

    assert read is not None
    assert unescaped(read["line"]) == (line or b"-")


@given(octets, fields)
def test_no_request_can_forge_a_line_of_json(line: bytes, fields: dict[bytes, bytes]) -> None:
    written = rendered("json", exchange(line, fields))
    read = json.loads(written)

    assert re.fullmatch(rb"[ -~]+\n", written)
    assert " ".join(read) == (
        "time peer method target version status bytes duration referer user_agent"
    )
    assert (read["peer"], read["status"], read["bytes"], read["duration"]) == (
        ("127.0.0.1", 200, 1234, 0.5)
    )


# ── Lines that a pipe takes in one piece ──

PIPE_BUF = select.PIPE_BUF


@pytest.mark.parametrize(
    ("value", "limit", "expected"),
    [
        pytest.param(b"x" * 100, 88, b"x" * 100, id="as long as it would be with the mark"),
        pytest.param(b"x" * 101, 88, b"x" * 88 + b"..." + b"x" * 9, id="longer"),
        pytest.param(
            b"GET /" + b"a" * 99 + b" HTTP/1.1", 9, b"GET /aaaa... HTTP/1.1", id="a request line"
        ),
        pytest.param(b"x" * 50, 0, b"..." + b"x" * 9, id="no room but for the mark"),
    ],
)
def test_what_is_cut_loses_its_middle(value: bytes, limit: int, expected: bytes) -> None:
    assert cut(value, limit) == expected


@given(st.sampled_from(sorted(FORMATS)), long_octets, long_octets, long_octets)
def test_any_line_fits_into_a_pipe(name: str, line: bytes, referer: bytes, agent: bytes) -> None:
    longest = exchange(
        line, {b"referer": referer, b"user-agent": agent}, sent=2**63, peer=b"f" * 64
    )
    written = rendered(name, longest, PIPE_BUF)

    assert len(written) <= PIPE_BUF
    assert written.index(b"\n") == len(written) - 1


@pytest.mark.parametrize("octet", [b"a", b'"', b"\x7f", b"\xff", "é".encode(), "🐍".encode()])
@pytest.mark.parametrize("name", sorted(FORMATS))
def test_the_longest_request_leaves_a_line_that_can_be_read(name: str, octet: bytes) -> None:
    long = octet * 30000
    of = exchange(b"GET /%b HTTP/1.1" % long, {b"referer": long, b"user-agent": long})
    written = rendered(name, of, PIPE_BUF)
    line = COMBINED.fullmatch(written) or COMMON.fullmatch(written)
    target = line["line"].decode() if line else json.loads(written)["target"]

    assert 1000 < len(written) <= PIPE_BUF
    assert "..." in target


def test_a_cut_request_line_keeps_its_method_and_version() -> None:
    written = rendered("combined", exchange(b"GET /%b HTTP/1.1" % (b"a" * 9000)), PIPE_BUF)

    assert re.search(rb'"GET /a{1000,}\.\.\. HTTP/1\.1" 200 ', written)


def test_a_file_gets_the_longest_line_whole() -> None:
    line = b"GET /%b HTTP/1.1" % (b"a" * 30000)

    assert line in rendered("combined", exchange(line))


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
        append(log, *range(BATCH))

        assert path.read_bytes() == numbered(*range(BATCH))


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
        about = log.about(of.line, BROWSER)
        log.record(about, of.peer, of.status, of.content_sent, 0.5, NOON)

    first, second = (tmp_path / "log").read_bytes().splitlines(keepends=True)
    assert first == second == rendered(name, of)


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
        log.record(log.about(b"", {}), b"", 200, 0, 0.0, NOON)
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

"""A line per answer that no request can forge."""

from __future__ import annotations

import json
import re
import select
import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpserve.destination import ANY_ROOM
from mpserve.logformat import (
    FORMATS,
    MOST_OPENINGS,
    Format,
    Layout,
    Openings,
    common_time,
    cut,
    escape_json,
    escape_text,
    iso_time,
)
from mpserve.protocol.message import Exchange
from tests.loglines import BROWSER, COMBINED, COMMON, NOON, exchange, rendered, zone

PIPE_BUF = select.PIPE_BUF


@pytest.fixture(autouse=True)
def utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with zone("UTC0", monkeypatch):
        yield


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
        b'{"time":"2026-11-20T12:00:00+00:00","peer":"127.0.0.1","duration":0.500000,'
        b'"method":"GET","target":"/","version":"HTTP/1.1","status":200,"bytes":1234,'
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
    layout = Layout(
        Format("50% $peer", "100% $status%d $line $line", "%b", common_time, escape_text), ANY_ROOM
    )
    about = layout.about(b"GET / HTTP/1.1", {})

    assert Openings(layout, 0)[b"fe80::1%eth0"] == b"50% fe80::1%eth0"
    assert layout.exchange(about, 200, 0) == b"100% 200%d GET / HTTP/1.1 GET / HTTP/1.1"
    assert about.end == b"%b\n"


def test_the_opening_of_a_peer_is_made_once_a_second() -> None:
    openings = Openings(Layout(FORMATS["common"], ANY_ROOM), int(NOON))
    first = openings[b"192.0.2.1"]

    assert first == b"192.0.2.1 - - [20/Nov/2026:12:00:00 +0000] "
    assert openings[b"192.0.2.1"] is first


def test_a_crowd_leaves_no_more_openings_than_may_be() -> None:
    openings = Openings(Layout(FORMATS["common"], ANY_ROOM), int(NOON))
    for number in range(MOST_OPENINGS * 2 + 1):
        assert openings[b"%d" % number].startswith(b"%d - - [" % number)

    assert len(openings) <= MOST_OPENINGS


def test_what_a_format_does_not_print_takes_no_room() -> None:
    long = {b"user-agent": b"a" * 9000}
    line = rendered("common", exchange(b"GET /%b HTTP/1.1" % (b"b" * 3000), long), PIPE_BUF)

    assert b"/%b HTTP/1.1" % (b"b" * 3000) in line


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
        "time peer duration method target version status bytes referer user_agent"
    )
    assert (read["peer"], read["status"], read["bytes"], read["duration"]) == (
        ("127.0.0.1", 200, 1234, 0.5)
    )


# ── Lines that a pipe takes in one piece ──


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

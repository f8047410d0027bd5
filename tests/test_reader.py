"""The strict reader sees each defect that it claims to see, in the answer of a canned bad server."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import pytest

from tests.harness.reader import (
    NOT_FRAMING,
    Answer,
    Closed,
    Defect,
    Faulty,
    Framing,
    Reader,
    Silent,
    parse_date,
)

DATE = b"Date: Thu, 20 Nov 2025 12:00:00 GMT\r\n"
DATED = b"Last-Modified: Thu, 20 Nov 2025 11:00:00 GMT\r\n"
STRICT = b'ETag: "1"\r\nAccept-Ranges: bytes\r\nX-Content-Type-Options: nosniff\r\n'
PATIENCE = 0.05  # seconds, where nothing more will come


@dataclass(frozen=True)
class Canned:
    """What a server says, to which request, and whether it then keeps the connection open."""

    octets: bytes
    method: bytes = b"GET"
    version: bytes = b"HTTP/1.1"
    open: bool = False
    strict_static: bool = False
    length_of_get: int | None = None


def answer(
    status: bytes = b"200 OK", fields: bytes = b"", content: bytes = b"ab", *, date: bytes = DATE
) -> bytes:
    """An answer with a right length, and with `fields` besides."""
    length = b"Content-Length: %d\r\n" % len(content)
    return b"HTTP/1.1 " + status + b"\r\n" + date + length + fields + b"\r\n" + content


def without_length(
    status: bytes = b"200 OK", fields: bytes = b"", content: bytes = b"", version: bytes = b"1.1"
) -> bytes:
    """An answer without a length of its own making."""
    return b"HTTP/" + version + b" " + status + b"\r\n" + DATE + fields + b"\r\n" + content


def chunked(body: bytes) -> bytes:
    """An answer in the chunked coding."""
    return without_length(fields=b"Transfer-Encoding: chunked\r\n", content=body)


@contextmanager
def connected_to(canned: Canned) -> Iterator[Reader]:
    """A reader at the other end of a connection on which the canned server speaks."""
    client, server = socket.socketpair()
    with client, server:
        speaker = threading.Thread(target=speak, args=(server, canned))
        speaker.start()
        if canned.open:  # it has little to say: all is there before the reader's patience begins
            speaker.join()
        timeout = PATIENCE if canned.open else 10.0
        try:
            yield Reader(client, timeout=timeout, strict_static=canned.strict_static)
        finally:
            client.close()
            speaker.join()


def speak(server: socket.socket, canned: Canned) -> None:
    with suppress(ConnectionError):  # the reader may have seen enough and left
        server.sendall(canned.octets)
        if not canned.open:
            server.shutdown(socket.SHUT_WR)


def read(canned: Canned) -> Answer:
    """The canned answer, read as the suite reads each: the message, and nothing after it."""
    with connected_to(canned) as reader:
        answer = reader.read(canned.method, canned.version, length_of_get=canned.length_of_get)
        reader.finish()
        return answer


GOOD = [
    pytest.param(Canned(answer()), Framing.LENGTH, id="with a length"),
    pytest.param(Canned(answer(content=b"")), Framing.LENGTH, id="with no octets of content"),
    pytest.param(Canned(answer(), open=True), Framing.LENGTH, id="and the connection stays open"),
    pytest.param(Canned(answer(b"200 ")), Framing.LENGTH, id="with an empty reason phrase"),
    pytest.param(Canned(answer(b"200 D'accord \xe9")), Framing.LENGTH, id="with obs-text"),
    pytest.param(Canned(answer(fields=b"X:\r\nY: \t\r\n")), Framing.LENGTH, id="with empty values"),
    pytest.param(Canned(answer(fields=b"X:a \t\r\nY:\tb c\r\n")), Framing.LENGTH, id="with OWS"),
    pytest.param(
        Canned(answer(content=b"\n\r\r\n\r\n")), Framing.LENGTH, id="with line ends in it"
    ),
    pytest.param(Canned(answer(content=b"x" * 300_000)), Framing.LENGTH, id="of many blocks"),
    pytest.param(Canned(chunked(b"0\r\n\r\n")), Framing.CHUNKED, id="in no chunks"),
    pytest.param(Canned(chunked(b"2\r\nab\r\n0\r\n\r\n")), Framing.CHUNKED, id="in one chunk"),
    pytest.param(
        Canned(chunked(b'00A ; q="\\"" ; z\r\n0123456789\r\n1;a=b\r\nx\r\n0\r\nT: u\r\n\r\n')),
        Framing.CHUNKED,
        id="in chunks with extensions, and with trailers",
    ),
    pytest.param(Canned(without_length(content=b"ab")), Framing.CLOSE, id="until the close"),
    pytest.param(
        Canned(without_length(content=b"ab", version=b"1.0"), version=b"HTTP/1.0"),
        Framing.CLOSE,
        id="of HTTP/1.0",
    ),
    pytest.param(
        Canned(answer(content=b"").replace(b": 0", b": 7"), b"HEAD", length_of_get=7),
        Framing.NONE,
        id="to HEAD, with GET's length",
    ),
    pytest.param(Canned(without_length(), b"HEAD"), Framing.NONE, id="to HEAD, without a length"),
    pytest.param(
        Canned(without_length(fields=b"Transfer-Encoding: chunked\r\n"), b"HEAD"),
        Framing.NONE,
        id="to HEAD, as GET would be chunked",
    ),
    pytest.param(Canned(without_length(b"204 No Content")), Framing.NONE, id="of 204"),
    pytest.param(
        Canned(without_length(b"304 Not Modified"), length_of_get=7), Framing.NONE, id="of 304"
    ),
    pytest.param(
        Canned(without_length(b"304 X", b"Content-Length: 7\r\n"), length_of_get=7),
        Framing.NONE,
        id="of 304, with GET's length",
    ),
    pytest.param(Canned(without_length(b"200 OK"), b"CONNECT"), Framing.NONE, id="of a tunnel"),
    pytest.param(
        Canned(without_length(b"101 S", b"Upgrade: x\r\n")), Framing.NONE, id="of another protocol"
    ),
    pytest.param(
        Canned(b"HTTP/1.1 100 Continue\r\n\r\n" * 2 + answer()), Framing.LENGTH, id="after interim"
    ),
    pytest.param(Canned(answer(b"500 X", date=b"")), Framing.LENGTH, id="of 500 without Date"),
    pytest.param(
        Canned(answer(b"405 No", b"Allow: GET, HEAD\r\n")), Framing.LENGTH, id="of 405 with Allow"
    ),
    pytest.param(
        Canned(answer(b"405 No", b"Allow:\r\n")), Framing.LENGTH, id="of 405 with an empty Allow"
    ),
    pytest.param(
        Canned(answer(fields=STRICT), strict_static=True), Framing.LENGTH, id="of a strict server"
    ),
    pytest.param(
        Canned(answer(fields=STRICT.replace(b"ETag", b"Tag")), strict_static=True),
        Framing.LENGTH,
        id="of a strict server, of a file without any validator",
    ),
    pytest.param(
        Canned(answer(b"404 Not Found", STRICT[-33:]), strict_static=True),
        Framing.LENGTH,
        id="of a strict server that found nothing",
    ),
]


@pytest.mark.parametrize(("canned", "framing"), GOOD)
def test_an_answer_without_a_defect_is_read(canned: Canned, framing: Framing) -> None:
    assert read(canned).framing == framing


BAD = [
    (Defect.BARE_LF, "in the whole head", Canned(answer().replace(b"\r\n", b"\n"))),
    (Defect.BARE_LF, "in one line", Canned(answer(fields=b"X: y\nZ: a\r\n"))),
    (Defect.BARE_LF, "and the connection stays open", Canned(b"HTTP/1.1 200 OK\nX", open=True)),
    (Defect.BARE_CR, "in a value", Canned(answer(fields=b"X: a\rb\r\n"))),
    (Defect.BARE_CR, "at the end of a value", Canned(answer(fields=b"X: a\r\r\n"))),
    (Defect.STATUS_LINE, "no space after the code", Canned(answer(b"200"))),
    (Defect.STATUS_LINE, "two spaces", Canned(answer(b" 200 OK"))),
    (Defect.STATUS_LINE, "two digits", Canned(answer(b"20 OK"))),
    (Defect.STATUS_LINE, "a code of no class", Canned(answer(b"999 OK"))),
    (Defect.STATUS_LINE, "a control octet", Canned(answer(b"200 O\x00K"))),
    (Defect.STATUS_LINE, "another name", Canned(answer().replace(b"HTTP", b"http"))),
    (Defect.STATUS_LINE, "another version", Canned(answer().replace(b"/1.1", b"/2.0"))),
    (Defect.STATUS_LINE, "content without a head", Canned(b"<html>hello</html>", open=True)),
    (Defect.STATUS_LINE, "an empty line before it", Canned(b"\r\n" + answer())),
    (Defect.FIELD_LINE, "no colon", Canned(answer(fields=b"X\r\n"))),
    (Defect.FIELD_LINE, "space before the colon", Canned(answer(fields=b"X : y\r\n"))),
    (Defect.FIELD_LINE, "no name", Canned(answer(fields=b": y\r\n"))),
    (Defect.FIELD_LINE, "a name that is no token", Canned(answer(fields=b"X(: y\r\n"))),
    (Defect.FIELD_LINE, "a NUL in a value", Canned(answer(fields=b"X: a\x00b\r\n"))),
    (Defect.FIELD_LINE, "a DEL in a value", Canned(answer(fields=b"X: a\x7f\r\n"))),
    (Defect.FOLDED, "by a space", Canned(answer(fields=b"X: a\r\n b\r\n"))),
    (Defect.FOLDED, "by a tab", Canned(answer(fields=b"X: a\r\n\tb: c\r\n"))),
    (Defect.HEAD_TOO_LONG, "", Canned(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 20_000)),
    (Defect.CUT_OFF, "in the status line", Canned(b"HTTP/1.1 20")),
    (Defect.CUT_OFF, "before the empty line", Canned(b"HTTP/1.1 200 OK\r\nX: y\r\n")),
    (Defect.STALLED, "in the head", Canned(b"HTTP/1.1 200 OK\r\n", open=True)),
    (Defect.STALLED, "in the content", Canned(answer()[:-1], open=True)),
    (Defect.STALLED, "in a chunk", Canned(chunked(b"2\r\nab\r\n"), open=True)),
    (Defect.REPEATED, "Date", Canned(answer(fields=DATE))),
    (Defect.REPEATED, "ETag", Canned(answer(fields=b'ETag: "1"\r\neTag: "1"\r\n'))),
    (Defect.LENGTH_MALFORMED, "no digits", Canned(answer().replace(b": 2", b": two"))),
    (Defect.LENGTH_MALFORMED, "a sign", Canned(answer().replace(b": 2", b": +2"))),
    (Defect.LENGTH_MALFORMED, "a list", Canned(answer().replace(b": 2", b": 2, 2"))),
    (Defect.LENGTH_MALFORMED, "nothing", Canned(answer().replace(b": 2", b":"))),
    (Defect.LENGTH_TWICE, "", Canned(answer(fields=b"content-length: 2\r\n"))),
    (Defect.LENGTH_TWICE, "to HEAD", Canned(answer(fields=b"content-length: 2\r\n"), b"HEAD")),
    (
        Defect.LENGTH_AND_CODING,
        "",
        Canned(answer(fields=b"Transfer-Encoding: chunked\r\n", content=b"0\r\n\r\n")),
    ),
    (Defect.LENGTH_WITHOUT_CONTENT, "of 204", Canned(answer(b"204 No Content", content=b""))),
    (
        Defect.LENGTH_WITHOUT_CONTENT,
        "of 100",
        Canned(b"HTTP/1.1 100 Continue\r\nContent-Length: 0\r\n\r\n" + answer()),
    ),
    (Defect.LENGTH_WITHOUT_CONTENT, "of a tunnel", Canned(answer(content=b""), b"CONNECT")),
    (
        Defect.CODING_WITHOUT_CONTENT,
        "of 204",
        Canned(without_length(b"204 X", b"Transfer-Encoding: chunked\r\n")),
    ),
    (
        Defect.CODING_WITHOUT_CONTENT,
        "of 103",
        Canned(b"HTTP/1.1 103 X\r\nTransfer-Encoding: chunked\r\n\r\n" + answer()),
    ),
    (
        Defect.CODING_UNASKED,
        "gzip",
        Canned(without_length(fields=b"Transfer-Encoding: gzip, chunked\r\n")),
    ),
    (
        Defect.CODING_UNASKED,
        "identity",
        Canned(without_length(fields=b"Transfer-Encoding: identity\r\n", content=b"ab")),
    ),
    (
        Defect.CODING_UNASKED,
        "chunked twice",
        Canned(without_length(fields=b"Transfer-Encoding: chunked\r\n" * 2)),
    ),
    (
        Defect.CODING_TO_1_0,
        "to a request of 1.0",
        Canned(chunked(b"0\r\n\r\n"), version=b"HTTP/1.0"),
    ),
    (
        Defect.CODING_TO_1_0,
        "in an answer of 1.0",
        Canned(chunked(b"0\r\n\r\n").replace(b"HTTP/1.1", b"HTTP/1.0")),
    ),
    (Defect.CHUNK, "no size", Canned(chunked(b"\r\n\r\n"))),
    (Defect.CHUNK, "a size with a sign", Canned(chunked(b"+2\r\nab\r\n0\r\n\r\n"))),
    (Defect.CHUNK, "a size with a prefix", Canned(chunked(b"0x2\r\nab\r\n0\r\n\r\n"))),
    (Defect.CHUNK, "a size too small", Canned(chunked(b"1\r\nab\r\n0\r\n\r\n"))),
    (Defect.CHUNK, "a line without CR", Canned(chunked(b"2\nab\r\n0\r\n\r\n"))),
    (Defect.CHUNK, "a malformed extension", Canned(chunked(b"2;\r\nab\r\n0\r\n\r\n"))),
    (Defect.CHUNK, "a malformed trailer", Canned(chunked(b"0\r\nX\r\n\r\n"))),
    (Defect.CHUNK, "a length in the trailer", Canned(chunked(b"0\r\nContent-Length: 0\r\n\r\n"))),
    (Defect.TRUNCATED, "by length", Canned(answer()[:-1])),
    (Defect.TRUNCATED, "in a chunk", Canned(chunked(b"5\r\nab"))),
    (Defect.TRUNCATED, "before the last chunk", Canned(chunked(b"2\r\nab\r\n"))),
    (Defect.TRUNCATED, "before the end of the trailer", Canned(chunked(b"2\r\nab\r\n0\r\n"))),
    (Defect.UNDELIMITED, "", Canned(without_length(content=b"ab"), open=True)),
    (Defect.AFTER, "the length", Canned(answer() + b"c")),
    (Defect.AFTER, "the length, on an open connection", Canned(answer() + b"c", open=True)),
    (Defect.AFTER, "the last chunk", Canned(chunked(b"0\r\n\r\n\r\n"))),
    (Defect.AFTER, "the head, to HEAD", Canned(answer(), b"HEAD")),
    (Defect.AFTER, "the head of 304", Canned(answer(b"304 Not Modified"))),
    (Defect.AFTER, "the head of 204", Canned(without_length(b"204 No Content", content=b"ab"))),
    (Defect.AFTER, "one answer: another", Canned(answer() * 2)),
    (Defect.LENGTH_NOT_GETS, "to HEAD", Canned(answer(content=b""), b"HEAD", length_of_get=7)),
    (
        Defect.LENGTH_NOT_GETS,
        "of 304",
        Canned(without_length(b"304 X", b"Content-Length: 0\r\n"), length_of_get=7),
    ),
    (
        Defect.INTERIM_TO_1_0,
        "",
        Canned(b"HTTP/1.1 100 Continue\r\n\r\n" + answer(), version=b"HTTP/1.0"),
    ),
    *(
        (Defect.DATE_MISSING, f"on {status}", Canned(answer(b"%d X" % status, date=b"")))
        for status in (200, 206, 301, 404, 416)
    ),
    (Defect.DATE_MISSING, "on 304", Canned(b"HTTP/1.1 304 Not Modified\r\n\r\n")),
    (Defect.DATE_INVALID, "of no form", Canned(answer(date=b"Date: today\r\n"))),
    (
        Defect.DATE_INVALID,
        "of an old form",
        Canned(answer(date=b"Date: Thursday, 20-Nov-25 12:00:00 GMT\r\n")),
    ),
    (
        Defect.DATE_INVALID,
        "of a wrong day of the week",
        Canned(answer(date=DATE.replace(b"Thu", b"Fri"))),
    ),
    (
        Defect.DATE_INVALID,
        "of no day of the calendar",
        Canned(answer(date=b"Date: Mon, 30 Feb 2026 12:00:00 GMT\r\n")),
    ),
    (Defect.ALLOW_MISSING, "", Canned(answer(b"405 Method Not Allowed"))),
    (Defect.ALLOW_MALFORMED, "", Canned(answer(b"405 X", b"Allow: GET HEAD\r\n"))),
    (
        Defect.STRICT_CODING,
        "",
        Canned(
            without_length(fields=STRICT + b"Transfer-Encoding: chunked\r\n").replace(
                b"\r\n\r\n", b"\r\n\r\n0\r\n\r\n"
            ),
            strict_static=True,
        ),
    ),
    (Defect.STRICT_CLOSE, "", Canned(without_length(fields=STRICT), strict_static=True)),
    (
        Defect.STRICT_ETAG,
        "",
        Canned(answer(fields=DATED + STRICT.replace(b"ETag", b"Tag")), strict_static=True),
    ),
    (
        Defect.STRICT_ACCEPT_RANGES,
        "",
        Canned(answer(fields=STRICT.replace(b": bytes", b": none")), strict_static=True),
    ),
    (
        Defect.STRICT_NOSNIFF,
        "on an error page",
        Canned(answer(b"404 X", b"Content-Type: text/html\r\n"), strict_static=True),
    ),
]


@pytest.mark.parametrize(
    ("defect", "canned"),
    [pytest.param(defect, canned, id=f"{defect.name} {which}") for defect, which, canned in BAD],
)
def test_a_defect_is_seen(defect: Defect, canned: Canned) -> None:
    with pytest.raises(Faulty) as seen:
        read(canned)

    assert seen.value.defect == defect


def test_each_defect_has_its_canned_bad_server() -> None:
    assert {defect for defect, _, _ in BAD} == set(Defect)


@pytest.mark.parametrize("defect", list(Defect))
def test_a_defect_is_of_the_framing_or_of_one_answer(defect: Defect) -> None:
    assert Faulty(defect).framing == (defect not in NOT_FRAMING)


def test_content_is_what_was_sent() -> None:
    content = bytes(range(256)) * 3000

    assert read(Canned(answer(content=content))).content == content


def test_chunks_are_joined() -> None:
    assert read(Canned(chunked(b"3\r\nabc\r\n01;x\r\nd\r\n000\r\n\r\n"))).content == b"abcd"


def test_a_sink_takes_the_content() -> None:
    taken = bytearray()
    with connected_to(Canned(answer(content=b"x" * 70_000))) as reader:
        found = reader.read(sink=taken.extend)

    assert (found.content, bytes(taken)) == (b"", b"x" * 70_000)


def test_interim_answers_are_kept() -> None:
    found = read(Canned(b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + answer()))

    assert [(head.status, head.get(b"link")) for head in found.interim] == [(103, b"x")]


def test_100_can_be_told_from_a_final_answer() -> None:
    early = b"HTTP/1.1 103 Early Hints\r\n\r\n"
    octets = early + b"HTTP/1.1 100 Continue\r\n\r\n" + answer() + early + answer(content=b"c")
    with connected_to(Canned(octets)) as reader:
        found = [reader.read_until_continue(), reader.read(), reader.read_until_continue()]

    assert [each and each.content for each in found] == [None, b"ab", b"c"]


def test_answers_are_read_one_after_the_other() -> None:
    with connected_to(Canned(answer(content=b"first") + answer(content=b"second"))) as reader:
        found = [reader.read().content, reader.read().content]
        reader.finish()

    assert found == [b"first", b"second"]


def test_field_lines_of_one_name_are_one_value() -> None:
    found = read(Canned(answer(fields=b"vary: a\r\nX: y\r\nVary:b , ,\r\n")))

    assert found.get(b"VARY") == b"a, b , ,"
    assert found.head.members(b"Vary") == [b"a", b"b"]
    assert found.get(b"Y") is None


@pytest.mark.parametrize(
    ("octets", "closes"),
    [
        pytest.param(answer(), False, id="1.1 persists"),
        pytest.param(answer(fields=b"Connection: x, Close\r\n"), True, id="1.1 with close"),
        pytest.param(without_length(), True, id="without a length"),
        pytest.param(answer().replace(b"/1.1", b"/1.0"), True, id="1.0 closes"),
        pytest.param(
            answer(fields=b"Connection: Keep-Alive\r\n").replace(b"/1.1", b"/1.0"),
            False,
            id="1.0 with keep-alive",
        ),
    ],
)
def test_an_answer_says_whether_the_connection_ends(octets: bytes, closes: bool) -> None:
    assert read(Canned(octets)).closes == closes


def test_an_end_without_an_answer_is_no_defect() -> None:
    with connected_to(Canned(b"")) as reader, pytest.raises(Closed):
        reader.read()


def test_silence_is_no_defect() -> None:
    with connected_to(Canned(b"", open=True)) as reader, pytest.raises(Silent):
        reader.read()


@pytest.mark.parametrize("stays", [True, False])
def test_the_end_of_the_connection_is_seen(stays: bool) -> None:
    with connected_to(Canned(answer(), open=stays)) as reader:
        reader.read()

        assert reader.ended() == (not stays)


def test_octets_before_the_end_are_a_defect() -> None:
    with connected_to(Canned(answer() + b"x")) as reader:
        reader.read()

        with pytest.raises(Faulty) as seen:
            reader.ended()
    assert seen.value.defect == Defect.AFTER


def test_what_is_no_http_can_be_read_raw() -> None:
    with connected_to(Canned(b"\x15\x03\x01")) as reader:
        assert (reader.raw(), reader.raw()) == (b"\x15\x03\x01", b"")


def test_what_was_received_beyond_an_answer_can_be_seen() -> None:
    with connected_to(Canned(answer() + b"next")) as reader:
        reader.read()

        assert b"next".startswith(reader.buffered)


@pytest.mark.parametrize(
    ("value", "epoch"),
    [
        pytest.param(b"Thu, 01 Jan 1970 00:00:00 GMT", 0, id="the epoch"),
        pytest.param(b"Thu, 20 Nov 2025 12:00:59 GMT", 1763640059, id="a day"),
        pytest.param(b"Thu, 29 Feb 2024 23:59:60 GMT", 1709251200, id="a leap second"),
        pytest.param(b"thu, 20 Nov 2025 12:00:00 GMT", None, id="lower case"),
        pytest.param(b"Thu, 20 Nov 2025 24:00:00 GMT", None, id="hour 24"),
        pytest.param(b"Thu, 20 Nov 2025 12:00:00 +0000", None, id="another zone"),
        pytest.param(b"Thu, 20 Nov 2025 12:00:00 GMT ", None, id="space after it"),
    ],
)
def test_a_date_is_an_imf_fixdate(value: bytes, epoch: int | None) -> None:
    assert parse_date(value) == epoch


def test_a_chunk_line_without_an_end_is_a_defect() -> None:
    with pytest.raises(Faulty) as seen:
        read(Canned(chunked(b"1;" + b"x" * 200_000)))

    assert seen.value.defect == Defect.CHUNK


def test_what_is_at_hand_is_read_raw_first() -> None:
    with connected_to(Canned(answer() + b"\x00\x01")) as reader:
        reader.read()

        held = reader.buffered
        assert reader.raw().startswith(held)


def test_a_fault_of_one_answer_can_be_noted_instead_of_raised() -> None:
    noted: list[Faulty] = []
    with connected_to(Canned(answer(date=b"") + answer(content=b"next"))) as reader:
        reader.note = noted.append
        found = [reader.read().content, reader.read().content]

    assert found == [b"ab", b"next"]
    assert [fault.defect for fault in noted] == [Defect.DATE_MISSING]


def test_a_fault_of_the_framing_is_raised_all_the_same() -> None:
    noted: list[Faulty] = []
    with connected_to(Canned(answer()[:-1])) as reader:
        reader.note = noted.append

        with pytest.raises(Faulty):
            reader.read()
    assert noted == []

"""Which answers are kept, and what of them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from mpserve import files, keeping
from mpserve.batch import LONGEST_HEAD
from mpserve.config import load
from mpserve.keeping import read_spans
from mpserve.memo import MOST_IGNORED, MOST_IN_MEMORY
from mpserve.protocol.message import FileSpan
from mpserve.readahead import note_warm
from mpserve.witness import Witness, sight_of, witness
from tests.fakes import FakeFile
from tests.stage import (
    KNOWN,
    Stage,
    head,
)

# --- What is kept ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "octets",
    [
        pytest.param(head(b"A: b"), id="GET"),
        pytest.param(head(line=b"HEAD /a.txt HTTP/1.1"), id="HEAD"),
        pytest.param(head(line=b"GET /a.txt HTTP/1.0"), id="HTTP/1.0"),
        pytest.param(head(b"User-Agent: a", b"Cookie: b", line=b"GET /b HTTP/1.1"), id="a browser"),
        pytest.param(head(*[b"Cookie: a"] * 9, line=b"GET /b HTTP/1.1"), id="many cookies"),
        pytest.param(head(*[b"A: b"] * (19 - MOST_IGNORED)), id="as many fields as may be"),
    ],
)
def test_a_request_that_can_be_repeated_is_kept(stage: Stage, octets: bytes) -> None:
    before = stage.knows(octets)
    stage.learn(octets, b"x")

    assert (before, stage.knows(octets)) == (False, True)


@pytest.mark.parametrize(
    "octets",
    [
        pytest.param(head(line=b"POST /a.txt HTTP/1.1"), id="another method"),
        pytest.param(head(b"Content-Length: 0"), id="content without octets"),
        pytest.param(head(b"Content-Length: 5"), id="content"),
        pytest.param(head(b"Transfer-Encoding: chunked"), id="chunked content"),
        pytest.param(head(b"Expect: 100-continue"), id="an expectation"),
        pytest.param(head(*[b"A: b"] * (20 - MOST_IGNORED)), id="too many fields"),
        pytest.param(head(b"A: b", b"User-Agent: a", b"user-agent: b"), id="two spellings"),
        pytest.param(head(b"A: b", b"User-Agent: a", b"User-Agent: b"), id="two agents"),
        pytest.param(head(b"A: " + b"x" * LONGEST_HEAD), id="a long head"),
    ],
)
def test_a_request_that_is_more_than_its_head_is_not_kept(stage: Stage, octets: bytes) -> None:
    stage.learn(octets, b"x")

    assert not stage.knows(octets)


@pytest.mark.parametrize(
    "octets",
    [
        pytest.param(b"\r\n" + head(b"A: b"), id="with an empty line before it"),
        pytest.param(head(b"A: b", line=b"OPTIONS /a.txt HTTP/1.1"), id="of another request"),
        pytest.param(head(b"A: b", line=b"GET /a.txt HTTP/1.1x"), id="of one that begins like it"),
        pytest.param(b"\r\n\r\n", id="that is none"),
    ],
)
def test_octets_that_are_not_the_head_of_the_request_are_not_kept(
    stage: Stage, octets: bytes
) -> None:
    stage.batch.keep(octets, stage.made(head(b"A: b"), b"x"))

    assert not stage.knows(octets)


def test_what_nobody_vouches_for_is_not_kept(stage: Stage) -> None:
    stage.learn(head(b"A: b"), b"x", witnesses=None)

    assert not stage.knows(head(b"A: b"))


def test_nothing_is_kept_without_memory(tmp_path: Path) -> None:
    stage = Stage(load([str(tmp_path), "--cache-size", "0"], {}))
    stage.learn(KNOWN, b"x")

    assert not stage.knows(KNOWN)


def test_a_head_that_the_site_would_refuse_is_not_kept(tmp_path: Path) -> None:
    stage = Stage(load([str(tmp_path), "--max-head", "1024"], {}))
    longest = head(b"A: " + b"x" * (1024 - len(head(b"A: "))))
    stage.learn(longest, b"x")
    longer = longest.replace(b"Host", b"Cookie: a\r\nHost")

    assert (stage.knows(longest), stage.knows(longer)) == (True, False)


def test_only_what_the_log_prints_is_kept_of_the_fields(stage: Stage) -> None:
    text = head(b"Cookie: a", b"X: y", b"referer: z", b"User-Agent: b")
    stage.learn(text, b"x")
    answer = stage.batch._memo.find(text)
    assert answer is not None

    assert answer.request.fields == {b"referer": b"z"}


def test_a_small_span_is_kept_in_memory(stage: Stage, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"0123456789")
    with (tmp_path / "file").open("rb") as file:
        opened = FakeFile(b"", file.fileno())
        status = os.fstat(file.fileno())
        sight = status.st_dev, status.st_ino, 10, status.st_mtime_ns, status.st_ctime_ns
        seen = Witness(bytes(tmp_path / "file"), sight)
        stage.learn(head(b"A: b"), FileSpan(opened, 2, 5), witnesses=(seen,))

    assert stage.say(head(b"A: b")).heard()[-7:] == b"\r\n\r\n234"


# --- Ranges of large files ------------------------------------------------------------------------


class Spans:
    """A large file, its witness, and pieces of it."""

    def __init__(self, path: Path) -> None:
        path.write_bytes(bytes(range(256)) * 1024)
        self.path = path
        self.file = files.File(os.open(path, os.O_RDONLY))
        self.witnesses = (witness(bytes(path)),)

    def span(self, start: int, stop: int) -> FileSpan:
        span = FileSpan(self.file, start, stop)
        note_warm(span)  # whatever the file system can say of it
        return span


@pytest.fixture
def spans(tmp_path: Path) -> Spans:
    return Spans(tmp_path / "spans")


def test_a_small_span_is_read(spans: Spans) -> None:
    assert read_spans((spans.span(256, 259),), spans.witnesses) == (b"\0\1\2",)


def test_spans_between_octets_are_read(spans: Spans) -> None:
    pieces = (b"--x\r\n", spans.span(1, 3), b"\r\n--x\r\n", spans.span(65, 67), b"\r\n--x--\r\n")
    expected = (b"--x\r\n", b"\1\2", b"\r\n--x\r\n", b"AB", b"\r\n--x--\r\n")

    assert read_spans(pieces, spans.witnesses) == expected


@pytest.mark.parametrize("pieces", [(), (b"",), (b"x" * MOST_IN_MEMORY,)])
def test_octets_are_left_as_they_are(pieces: tuple[bytes, ...]) -> None:
    assert read_spans(pieces, ()) == pieces


def test_a_large_span_stays_in_its_file(spans: Spans) -> None:
    pieces = (b"x", spans.span(0, MOST_IN_MEMORY))

    assert read_spans(pieces, spans.witnesses) == pieces


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda path: os.truncate(path, 1), id="shorter"),
        pytest.param(lambda path: os.truncate(path, 1 << 20), id="longer"),
        pytest.param(lambda path: os.utime(path, (5, 5)), id="another date"),
    ],
)
def test_a_span_of_a_file_that_has_changed_is_not_read(
    spans: Spans, change: Callable[[Path], object]
) -> None:
    change(spans.path)
    pieces = (spans.span(256, 259),)

    assert read_spans(pieces, spans.witnesses) == pieces


def test_a_span_that_comes_out_shorter_is_not_taken(
    spans: Spans, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "pread", lambda *_: b"\0")
    pieces = (spans.span(256, 259),)

    assert sight_of(os.fstat(spans.file.fd)) == spans.witnesses[0].sight
    assert read_spans(pieces, spans.witnesses) == pieces


@pytest.mark.parametrize("in_memory", [True, False])
def test_a_small_span_is_read_only_where_the_disk_is_not_waited_for(
    spans: Spans, monkeypatch: pytest.MonkeyPatch, in_memory: bool
) -> None:
    monkeypatch.setattr(keeping, "is_cold", lambda _span: not in_memory)
    pieces = (spans.span(256, 259),)
    read = read_spans(pieces, spans.witnesses)

    assert read == ((b"\0\1\2",) if in_memory else pieces)

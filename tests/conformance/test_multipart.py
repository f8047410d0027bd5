"""multipart/byteranges is read as strictly as everything else."""

from __future__ import annotations

import pytest

from tests.conformance.expect import Unmet
from tests.conformance.multipart import Part, parts_of
from tests.harness.reader import Answer, Framing, Head

KIND = b"multipart/byteranges; boundary=b"
TWO = (
    b"--b\r\nContent-Type: t/x\r\nContent-Range: bytes 0-1/9\r\n\r\nab\r\n"
    b"--b\r\ncontent-range: bytes 7-8/*\r\n\r\n\r\n\r\n--b--\r\n"
)


def answer(content: bytes, kind: bytes = KIND, span: bytes = b"") -> Answer:
    fields = [(b"Content-Type", kind)] + ([(b"Content-Range", span)] if span else [])
    head = Head(b"", b"HTTP/1.1", 206, b"", tuple(fields))
    return Answer(head, content, Framing.LENGTH)


def test_the_parts_are_read() -> None:
    assert parts_of(answer(TWO)) == [
        Part(0, 1, 9, b"t/x", b"ab"),
        Part(7, 8, None, None, b"\r\n"),
    ]


def test_a_part_alone_is_read() -> None:
    found = parts_of(answer(b"ab", b"t/x", b"bytes 0-1/9"))

    assert found == [Part(0, 1, 9, b"t/x", b"ab")]


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(b'Multipart/ByteRanges ; Boundary="b"', id="quoted"),
        pytest.param(b"multipart/byteranges;boundary=b", id="without space"),
    ],
)
def test_the_boundary_may_be_written_in_another_way(kind: bytes) -> None:
    assert len(parts_of(answer(TWO, kind))) == 2


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param(answer(TWO, b"multipart/byteranges"), id="no boundary"),
        pytest.param(answer(TWO, b"multipart/mixed; boundary=b"), id="another multipart"),
        pytest.param(answer(TWO, span=b"bytes 0-8/9"), id="Content-Range in the head"),
        pytest.param(answer(TWO[:-4] + b"\r\n"), id="no end"),
        pytest.param(answer(TWO + b"x"), id="something after the end"),
        pytest.param(answer(b"x" + TWO), id="something before the start"),
        pytest.param(answer(b"--b--\r\n"), id="no part"),
        pytest.param(answer(TWO.replace(b"ab", b"abc")), id="a part longer than it says"),
        pytest.param(answer(TWO.replace(b"Content-Range", b"X-Range")), id="no Content-Range"),
        pytest.param(answer(TWO.replace(b"0-1", b"1-0")), id="a range that ends before it begins"),
        pytest.param(answer(TWO.replace(b"/9", b"/1")), id="a range beyond the complete length"),
        pytest.param(answer(TWO.replace(b"bytes 0", b"octets 0")), id="another unit"),
        pytest.param(answer(TWO.replace(b"Content-Type:", b"Content-Type")), id="no field"),
        pytest.param(answer(TWO.replace(b"--b\r\n", b"--bx\r\n", 1)), id="another boundary"),
        pytest.param(answer(TWO.replace(b"\r\n\r\nab", b"\r\nab")), id="no empty line"),
        pytest.param(answer(b"ab", b"t/x"), id="alone, without Content-Range"),
        pytest.param(answer(b"abc", b"t/x", b"bytes 0-1/9"), id="alone, longer than it says"),
    ],
)
def test_what_is_malformed_is_seen(bad: Answer) -> None:
    with pytest.raises(Unmet):
        parts_of(bad)

"""Byte ranges: which octets a Range field comes to, and how several are sent (RFC 9110 §14)."""

from __future__ import annotations

import email
import email.policy

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpserve.protocol.ranges import (
    MAX_PARTS,
    UNSATISFIABLE,
    ByteRange,
    Unsatisfiable,
    content_range,
    multipart,
    resolve,
    unsatisfied_range,
)
from mpserve.protocol.representation import of_bytes, of_file
from tests.fakes import NOW, FakeFile, octets

NINES = b"9" * 5000  # more digits than int() takes

Resolved = list[tuple[int, int]] | Unsatisfiable | None
Spec = tuple[int | None, int | None]


@pytest.mark.parametrize(
    ("value", "length", "expected"),
    [
        pytest.param(b"bytes=0-4", 11, [(0, 5)], id="both ends"),
        pytest.param(b"bytes=2-2", 11, [(2, 3)], id="one octet"),
        pytest.param(b"bytes=0-0", 1, [(0, 1)], id="all of one octet"),
        pytest.param(b"bytes=10-10", 11, [(10, 11)], id="the last octet"),
        pytest.param(b"bytes=0-", 11, [(0, 11)], id="open-ended, from the beginning"),
        pytest.param(b"bytes=7-", 11, [(7, 11)], id="open-ended"),
        pytest.param(b"bytes=10-", 11, [(10, 11)], id="open-ended, the last octet"),
        pytest.param(b"bytes=0-10", 11, [(0, 11)], id="the whole"),
        pytest.param(b"bytes=7-9999", 11, [(7, 11)], id="beyond the end"),
        pytest.param(b"bytes=-1", 11, [(10, 11)], id="suffix of one octet"),
        pytest.param(b"bytes=-11", 11, [(0, 11)], id="suffix as long as the file"),
        pytest.param(b"bytes=-9999", 11, [(0, 11)], id="suffix longer than the file"),
        pytest.param(b"bytes=0007-0008", 11, [(7, 9)], id="leading zeros"),
        pytest.param(b"bytes=-0002", 11, [(9, 11)], id="suffix with leading zeros"),
        pytest.param(b"BYTES=0-4", 11, [(0, 5)], id="the unit in capitals"),
        pytest.param(b"bytes=,0-4", 11, [(0, 5)], id="an empty list element before"),
        pytest.param(b"bytes=0-4 , ,", 11, [(0, 5)], id="empty list elements after"),
        pytest.param(b"bytes= \t0-4", 11, [(0, 5)], id="blanks before a list element"),
        pytest.param(
            b"bytes=4294967296-4294967300", 2**33, [(2**32, 2**32 + 5)], id="beyond 4 GiB"
        ),
        pytest.param(b"bytes=-1", 2**63 - 1, [(2**63 - 2, 2**63 - 1)], id="the longest file"),
        pytest.param(b"bytes=3-%b" % NINES, 11, [(3, 11)], id="an end of 5000 digits"),
        pytest.param(b"bytes=-%b" % NINES, 11, [(0, 11)], id="a suffix of 5000 digits"),
        pytest.param(b"bytes=%b5-6" % (b"0" * 5000), 11, [(5, 7)], id="5000 leading zeros"),
    ],
)
def test_a_range_within_the_file_is_resolved(value: bytes, length: int, expected: Resolved) -> None:
    ranges = resolve(value, length)

    assert ranges == expected


@pytest.mark.parametrize(
    ("value", "length"),
    [
        pytest.param(b"bytes=11-", 11, id="begins at the end"),
        pytest.param(b"bytes=11-12", 11, id="begins and ends past the end"),
        pytest.param(b"bytes=-0", 11, id="a suffix of nothing"),
        pytest.param(b"bytes=-000", 11, id="a suffix of nothing, at length"),
        pytest.param(b"bytes=0-", 0, id="an empty file has no first octet"),
        pytest.param(b"bytes=0-0", 0, id="an empty file has no octet 0"),
        pytest.param(b"bytes=-0", 0, id="a suffix of nothing of an empty file"),
        pytest.param(b"bytes=11-,12-13,-0", 11, id="none of several"),
        pytest.param(b"bytes=%b-" % NINES, 11, id="begins at a number of 5000 digits"),
        pytest.param(b"bytes=%b-%b" % (NINES, NINES), 2**63 - 1, id="two numbers of 5000 digits"),
    ],
)
def test_ranges_of_which_none_lies_within_the_file_are_unsatisfiable(
    value: bytes, length: int
) -> None:
    ranges = resolve(value, length)

    assert ranges is UNSATISFIABLE


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"bytes", id="the unit alone"),
        pytest.param(b"bytes=", id="no range"),
        pytest.param(b"bytes=,", id="empty list elements alone"),
        pytest.param(b"bytes=-", id="neither end"),
        pytest.param(b"bytes=5-4", id="ends before it begins"),
        pytest.param(b"bytes=10-9", id="ends before it begins, with fewer digits"),
        pytest.param(b"bytes=%b-%b" % (NINES, NINES[:-1]), id="ends before it begins, at length"),
        pytest.param(b"bytes=0-1,5-4", id="one of two ends before it begins"),
        pytest.param(b"bytes=a-b", id="letters"),
        pytest.param(b"bytes=0-1,x", id="one of two is no range"),
        pytest.param(b"bytes=0-1-2", id="two hyphens"),
        pytest.param(b"bytes=--1", id="a negative suffix"),
        pytest.param(b"bytes=5", id="no hyphen"),
        pytest.param(b"bytes=0 - 1", id="blanks within a range"),
        pytest.param(b"bytes=+0-1", id="a sign"),
        pytest.param(b"bytes=0x0-0x1", id="hexadecimal digits"),
        pytest.param(b"bytes=1_0-2_0", id="underscores"),
        pytest.param(b"bytes=\xd9\xa0-\xd9\xa1", id="digits of another script"),
        pytest.param(b"bytes=0-1\n", id="a line feed at the end"),
        pytest.param(b"bytes =0-1", id="a blank before the equals sign"),
        pytest.param(b"bytes:0-1", id="a colon for the equals sign"),
        pytest.param(b"0-1", id="no unit"),
        pytest.param(b"=0-1", id="an empty unit"),
        pytest.param(b"items=0-1", id="another unit"),
        pytest.param(b"bytes=0-1;2-3", id="a semicolon between ranges"),
    ],
)
@pytest.mark.parametrize("length", [0, 11])
def test_what_is_malformed_or_of_another_unit_is_ignored(value: bytes, length: int) -> None:
    ranges = resolve(value, length)

    assert ranges is None


def test_a_suffix_of_an_empty_file_is_satisfied_by_the_whole_of_it() -> None:
    ranges = resolve(b"bytes=-5", 0)

    assert ranges is None


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param(b"bytes=0-9,200-209", [(0, 10), (200, 210)], id="apart"),
        pytest.param(b"bytes=200-209,0-9", [(200, 210), (0, 10)], id="in the order of the request"),
        pytest.param(b"bytes=0-9 \t,\t 200-209", [(0, 10), (200, 210)], id="blanks at the comma"),
        pytest.param(b"bytes=0-9,,200-209,", [(0, 10), (200, 210)], id="empty list elements"),
        pytest.param(b"bytes=0-0,-1", [(0, 1), (999, 1000)], id="the first and the last octet"),
        pytest.param(b"bytes=900-,0-9", [(900, 1000), (0, 10)], id="an open end"),
        pytest.param(b"bytes=0-9,5-14", [(0, 15)], id="overlapping"),
        pytest.param(b"bytes=5-14,0-9", [(0, 15)], id="overlapping, the later first"),
        pytest.param(b"bytes=0-9,10-19", [(0, 20)], id="touching"),
        pytest.param(b"bytes=0-99,20-29", [(0, 100)], id="one within the other"),
        pytest.param(b"bytes=20-29,0-99", [(0, 100)], id="one within the other, the inner first"),
        pytest.param(b"bytes=0-9,0-9,0-9", [(0, 10)], id="thrice the same"),
        pytest.param(b"bytes=0-9,89-99", [(0, 100)], id="a gap of 79 octets is closed"),
        pytest.param(b"bytes=0-9,90-99", [(0, 10), (90, 100)], id="a gap of 80 octets is left"),
        pytest.param(
            b"bytes=500-509,0-9,510-519", [(500, 520), (0, 10)], id="joined at the earlier's place"
        ),
        pytest.param(
            b"bytes=600-609,0-9,500-509,530-599",
            [(500, 610), (0, 10)],
            id="joined at the earliest's place",
        ),
        pytest.param(b"bytes=0-9,2000-", [(0, 10)], id="the unsatisfiable is left out"),
        pytest.param(b"bytes=-0,0-9,200-209", [(0, 10), (200, 210)], id="an empty suffix, too"),
        pytest.param(b"bytes=0-499,500-", None, id="together the whole"),
        pytest.param(b"bytes=0-,0-,0-", None, id="thrice the whole"),
        pytest.param(b"bytes=0-,2000-", None, id="the whole, and what is not there"),
        pytest.param(b"bytes=50-,0-9", None, id="the whole, once the gap is closed"),
    ],
)
def test_several_ranges_of_a_thousand_octets(value: bytes, expected: Resolved) -> None:
    ranges = resolve(value, 1000)

    assert ranges == expected


def spaced(count: int) -> bytes:
    """`count` ranges with room between them."""
    return b"bytes=" + b",".join(b"%d-%d" % (n * 1000, n * 1000 + 9) for n in range(count))


def test_as_many_parts_as_are_allowed_are_sent() -> None:
    ranges = resolve(spaced(MAX_PARTS), 1_000_000)

    assert ranges == [(n * 1000, n * 1000 + 10) for n in range(16)]


def test_one_part_more_gets_the_whole_content() -> None:
    ranges = resolve(spaced(MAX_PARTS + 1), 1_000_000)

    assert ranges is None


def test_ranges_are_counted_after_they_have_been_joined() -> None:
    single_octets = b"bytes=" + b",".join(b"%d-%d" % (n, n) for n in range(0, 2000, 2))

    ranges = resolve(single_octets, 1_000_000)

    assert ranges == [(0, 1999)]


@pytest.mark.slow
@pytest.mark.parametrize(
    "element", [b"0-", b"-1", b"5-6", b" ", b""], ids=["open", "suffix", "closed", "blank", "empty"]
)
def test_a_field_of_a_hundred_thousand_ranges_takes_linear_time(element: bytes) -> None:
    # In quadratic time this would take minutes, and end by the time-out that every test has.
    value = b"bytes=7-8" + 100_000 * (b"," + element)

    ranges = resolve(value, 1_000_000)

    assert isinstance(ranges, list) or ranges is None


@pytest.mark.parametrize("shape", [b"bytes=%b-", b"bytes=-%b", b"bytes=0-%b", b"bytes=%bx"])
def test_a_field_of_a_million_digits_takes_linear_time(shape: bytes) -> None:
    ranges = resolve(shape % (b"1" * 1_000_000), 11)

    assert ranges in ([(0, 11)], UNSATISFIABLE, None)


# --- Against a slow, obvious model ---------------------------------------------------------------


def octets_of(first: int | None, last: int | None, length: int) -> set[int]:
    """The positions that a range-spec names, each asked in turn."""
    if first is None:
        assert last is not None
        return {position for position in range(length) if position >= length - last}
    return {
        position
        for position in range(length)
        if first <= position and (last is None or position <= last)
    }


def model(specs: list[Spec], length: int) -> Resolved:
    """What `specs` come to, by the letter of §14.1.2 and §15.3.7.2, in sets of positions."""
    if any(first is not None and last is not None and last < first for first, last in specs):
        return None
    wanted = [octets_of(first, last, length) for first, last in specs]
    suffixes = [last for first, last in specs if first is None]
    if not any(wanted) and not any(suffixes):
        return UNSATISFIABLE
    if length == 0:
        return None
    if len(specs) == 1:
        return [(min(wanted[0]), max(wanted[0]) + 1)]
    runs: list[list[int]] = []
    for position in sorted(set().union(*wanted)):
        if runs and position - runs[-1][-1] - 1 < 80:
            runs[-1] += range(runs[-1][-1] + 1, position + 1)
        else:
            runs.append([position])
    if len(runs) > 16 or sum(map(len, runs)) == length:
        return None
    place = [min(n for n, some in enumerate(wanted) if some & set(run)) for run in runs]
    in_order = [run for _, run in sorted(zip(place, runs, strict=True))]
    return [(run[0], run[-1] + 1) for run in in_order]


positions = st.integers(0, 2100) | st.integers(0, 10**30)
short = st.tuples(st.integers(0, 2100), st.integers(0, 9)).map(lambda t: (t[0], t[0] + t[1]))
anything = st.one_of(
    short,
    st.tuples(positions, st.none()),
    st.tuples(st.none(), positions),
    st.tuples(positions, positions),
)
few = st.lists(anything, min_size=1, max_size=3)
many = st.lists(short, min_size=4, max_size=28)
apart = st.permutations([(n * 95, n * 95 + 9) for n in range(22)]).map(tuple)
scattered = st.tuples(apart, st.integers(4, 22)).map(lambda t: list(t[0][: t[1]]))
lengths = st.sampled_from([0, 1, 2100, 2000, 1500]) | st.integers(0, 2100)
commas = st.sampled_from([b",", b", ", b" ,", b",\t,", b" , , "])
zeros = st.sampled_from([b"", b"0", b"000"])


@st.composite
def fields(draw: st.DrawFn) -> tuple[bytes, list[Spec]]:
    """A Range field, and what it says."""

    def digits(number: int | None) -> bytes:
        return b"" if number is None else draw(zeros) + str(number).encode()

    chosen: list[Spec] = list(draw(few | many | scattered))
    written = [digits(first) + b"-" + digits(last) for first, last in chosen]
    value = b"bytes=" + b"".join(spec + draw(commas) for spec in written[:-1]) + written[-1]
    return value, chosen


@settings(deadline=None)
@given(field=fields(), length=lengths)
def test_ranges_agree_with_a_model_of_sets(field: tuple[bytes, list[Spec]], length: int) -> None:
    value, chosen = field

    ranges = resolve(value, length)

    assert ranges == model(chosen, length)


@settings(deadline=None)
@given(
    value=st.text("0123456789-,= \tbytesx").map(str.encode) | st.binary(), length=st.integers(0, 99)
)
def test_whatever_is_sent_only_octets_of_the_file_are_resolved(value: bytes, length: int) -> None:
    ranges = resolve(b"bytes=" + value, length)

    if isinstance(ranges, list):
        assert all(0 <= start < stop <= length for start, stop in ranges)


# --- What is sent --------------------------------------------------------------------------------


def test_content_range_counts_its_last_octet_in() -> None:
    value = content_range(ByteRange(0, 100), 1610)

    assert value == b"bytes 0-99/1610"


def test_content_range_of_a_416_tells_the_length() -> None:
    value = unsatisfied_range(1610)

    assert value == b"bytes */1610"


TEXT = bytes(range(33, 127)) * 20
WANTED = [ByteRange(200, 300), ByteRange(0, 1), ByteRange(1879, 1880)]


def test_a_multipart_is_what_its_definition_shows() -> None:
    selected = of_bytes(TEXT, b"text/plain", frozenset())

    made = multipart(selected, WANTED[:2])

    boundary = made.media_type.removeprefix(b"multipart/byteranges; boundary=")
    assert octets(made.content).split(b"\r\n") == [
        b"--" + boundary,
        b"Content-Type: text/plain",
        b"Content-Range: bytes 200-299/1880",
        b"",
        TEXT[200:300],
        b"--" + boundary,
        b"Content-Type: text/plain",
        b"Content-Range: bytes 0-0/1880",
        b"",
        TEXT[:1],
        b"--" + boundary + b"--",
        b"",
    ]


def test_a_multipart_is_read_by_a_parser_of_mail() -> None:
    made = multipart(of_bytes(TEXT, b"text/plain", frozenset()), WANTED)

    head = b"Content-Type: %b\r\n\r\n" % made.media_type
    message = email.message_from_bytes(head + octets(made.content), policy=email.policy.HTTP)
    parts = [(part["Content-Range"], part.get_payload()) for part in message.iter_parts()]
    assert message.defects == []
    assert parts == [
        ("bytes 200-299/1880", TEXT[200:300].decode()),
        ("bytes 0-0/1880", TEXT[:1].decode()),
        ("bytes 1879-1879/1880", TEXT[-1:].decode()),
    ]


def test_the_length_of_a_multipart_is_what_its_pieces_have() -> None:
    file = FakeFile(TEXT)
    selected = of_file(file, len(TEXT), NOW * 10**9, b"text/plain", NOW + 60, frozenset())

    made = multipart(selected, WANTED)

    assert made.length == len(octets(made.content))


def boundary_of(content: bytes, wanted: list[ByteRange], *, mtime: int | None = None) -> bytes:
    if mtime is None:
        selected = of_bytes(content, b"text/plain", frozenset())
    else:
        file = FakeFile(content)
        selected = of_file(file, len(content), mtime, b"text/plain", NOW, frozenset())
    return multipart(selected, wanted).media_type.partition(b"boundary=")[2]


def test_boundaries_are_as_long_and_plain_as_mail_allows() -> None:
    boundary = boundary_of(TEXT, WANTED)

    assert len(boundary) <= 70
    assert boundary.isalnum()


def test_the_same_answer_has_the_same_boundary() -> None:
    boundaries = {boundary_of(TEXT, WANTED), boundary_of(TEXT, list(WANTED))}

    assert len(boundaries) == 1


def test_each_version_and_each_choice_of_ranges_has_its_own_boundary() -> None:
    boundaries = {
        boundary_of(TEXT, WANTED),
        boundary_of(TEXT, WANTED[:2]),
        boundary_of(TEXT + b".", WANTED),
        boundary_of(TEXT, WANTED, mtime=NOW * 10**9),
        boundary_of(TEXT, WANTED, mtime=NOW * 10**9 + 1),
        boundary_of(TEXT, WANTED, mtime=0),
        boundary_of(TEXT + b".", WANTED, mtime=0),
    }

    assert len(boundaries) == 7


def test_an_answer_that_was_stored_and_is_served_in_parts_holds_no_boundary_of_its_own() -> None:
    first = multipart(of_bytes(TEXT, b"text/plain", frozenset()), WANTED)
    stored = octets(first.content)

    boundary = boundary_of(stored, WANTED)

    assert boundary not in stored

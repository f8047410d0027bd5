"""What is said about a representation, whatever is asked (RFC 9110 §8)."""

from __future__ import annotations

import pytest

from mpserve.protocol.message import FileSpan
from mpserve.protocol.representation import Representation, Validators, of_bytes, of_file
from tests.fakes import NOW, FakeFile, fields_of

NS = 1_000_000_000
HOUR_AGO = (NOW - 3600) * NS

NOTHING: frozenset[bytes] = frozenset()


def a_file(
    mtime_ns: int = HOUR_AGO,
    now: float = NOW,
    size: int = 1610,
    replaced: frozenset[bytes] = NOTHING,
) -> Representation:
    return of_file(FakeFile(bytes(size)), size, mtime_ns, b"text/plain", now, replaced)


def test_a_file_is_described_by_these_fields() -> None:
    fields = fields_of(a_file(mtime_ns=HOUR_AGO + 1).lines)

    assert fields == {
        b"content-type": b"text/plain",
        b"x-content-type-options": b"nosniff",
        b"last-modified": b"Tue, 14 Nov 2023 21:13:20 GMT",
        b"etag": b'"179799b805716001-64a"',
        b"accept-ranges": b"bytes",
    }


def test_several_ranges_of_a_file_are_described_without_its_content_type() -> None:
    selected = a_file()

    lines = selected.untyped_lines

    assert lines == selected.lines.removeprefix(b"Content-Type: text/plain\r\n")


def test_a_304_names_the_entity_tag_and_leaves_out_what_the_client_has() -> None:
    fields = fields_of(a_file(mtime_ns=HOUR_AGO + 1).not_modified_lines)

    assert fields == {b"etag": b'"179799b805716001-64a"'}


def test_a_304_names_the_date_for_want_of_an_entity_tag() -> None:
    fields = fields_of(a_file(replaced=frozenset({b"etag"})).not_modified_lines)

    assert fields == {b"last-modified": b"Tue, 14 Nov 2023 21:13:20 GMT"}


def test_entity_tags_tell_sizes_and_nanoseconds_apart() -> None:
    files = [a_file(), a_file(size=1611), a_file(HOUR_AGO + 1), a_file(HOUR_AGO + NS)]

    tags = {file.validators.etag for file in files}

    assert len(tags) == 4


@pytest.mark.parametrize(
    ("age", "weak"),
    [
        pytest.param(0.0, True, id="just written"),
        pytest.param(1.999, True, id="written not quite two seconds ago"),
        pytest.param(2.0, False, id="written two seconds ago"),
        pytest.param(3600.0, False, id="written an hour ago"),
        pytest.param(-1.999, True, id="written not quite two seconds from now"),
        pytest.param(-2.0, False, id="written two seconds from now"),
    ],
)
def test_an_entity_tag_is_weak_until_the_file_has_settled(age: float, weak: bool) -> None:
    etag = a_file(NOW * NS, now=NOW + age).validators.etag

    assert etag is not None
    assert etag.startswith(b'W/"' if weak else b'"')


def test_a_tag_stays_the_same_when_it_becomes_strong() -> None:
    fresh = a_file(NOW * NS, now=NOW).validators.etag
    settled = a_file(NOW * NS, now=NOW + 60).validators.etag

    assert fresh == b"W/%b" % (settled or b"")


@pytest.mark.parametrize(
    ("mtime_ns", "expected"),
    [
        pytest.param(-NS, None, id="before the epoch"),
        pytest.param(0, None, id="zero, as Nix and OCI images have it"),
        pytest.param(1, None, id="a nanosecond"),
        pytest.param(NS, None, id="one second, as reproducible builds have it"),
        pytest.param(2 * NS - 1, None, id="a nanosecond less than two seconds"),
        pytest.param(2 * NS, 2, id="two seconds"),
        pytest.param(NOW * NS - 1, NOW - 1, id="fractions are cut off"),
        pytest.param(NOW * NS, NOW, id="now"),
        pytest.param((NOW + 1) * NS, NOW, id="a second from now"),
        pytest.param((NOW + 10**12) * NS, NOW, id="in the year 33,712"),
    ],
)
def test_a_modification_date_is_absent_where_meaningless_and_never_later_than_now(
    mtime_ns: int, expected: int | None
) -> None:
    last_modified = a_file(mtime_ns, now=NOW + 0.5).validators.last_modified

    assert last_modified == expected


@pytest.mark.parametrize("mtime_ns", [0, NS])
def test_a_file_of_meaningless_date_has_no_validators_and_no_fields_of_them(mtime_ns: int) -> None:
    selected = a_file(mtime_ns)

    assert selected.validators == Validators(None, None, NOW)
    assert fields_of(selected.lines).keys() == {
        b"content-type",
        b"x-content-type-options",
        b"accept-ranges",
    }
    assert selected.not_modified_lines == b""


@pytest.mark.parametrize(
    "name",
    [b"content-type", b"x-content-type-options", b"last-modified", b"etag", b"accept-ranges"],
)
def test_what_the_operator_gives_replaces_ours_and_ours_alone(name: bytes) -> None:
    ours = fields_of(a_file().lines)

    left = fields_of(a_file(replaced=frozenset({name, b"x-other"})).lines)

    assert left == {key: value for key, value in ours.items() if key != name}


def test_a_replaced_validator_is_no_validator() -> None:
    selected = a_file(replaced=frozenset({b"etag", b"last-modified"}))

    assert selected.validators == Validators(None, None, NOW)


def test_content_from_memory_has_a_hash_for_its_entity_tag_and_no_date() -> None:
    fields = fields_of(of_bytes(b"<p>", b"text/html", NOTHING).lines)

    assert fields == {
        b"content-type": b"text/html",
        b"x-content-type-options": b"nosniff",
        b"etag": b'"25ae2bc118694d37ca3f3d1a29a393ea"',
        b"accept-ranges": b"bytes",
    }


def test_content_from_memory_has_one_entity_tag_for_each_content() -> None:
    tags = [of_bytes(text, b"text/html", NOTHING).validators.etag for text in (b"a", b"b", b"a")]

    assert tags[0] == tags[2] != tags[1]


def test_a_piece_of_a_file_is_a_span() -> None:
    file = FakeFile(b"0123456789")
    selected = of_file(file, 10, HOUR_AGO, b"text/plain", NOW, NOTHING)

    assert selected.piece(2, 5) == FileSpan(file, 2, 5)


def test_a_piece_from_memory_is_octets() -> None:
    selected = of_bytes(b"0123456789", b"text/plain", NOTHING)

    assert selected.piece(2, 5) == b"234"

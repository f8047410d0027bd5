"""Preconditions, one table for each field, and what becomes of several (RFC 9110 §13)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mpserve.protocol.conditional import Evaluation, evaluate, range_applies
from mpserve.protocol.representation import Validators
from tests.fakes import make_request

PROCEED = Evaluation.PROCEED
NOT_MODIFIED = Evaluation.NOT_MODIFIED
FAILED = Evaluation.FAILED

MODIFIED = 784111777  # Sun, 06 Nov 1994 08:49:37 GMT
BEFORE = b"Sun, 06 Nov 1994 08:49:36 GMT"
THEN = b"Sun, 06 Nov 1994 08:49:37 GMT"
AFTER = b"Sun, 06 Nov 1994 08:49:38 GMT"

STRONG = Validators(b'"now"', MODIFIED, MODIFIED + 3600)
WEAK = replace(STRONG, etag=b'W/"now"')
NONE = Validators(None, None, MODIFIED + 3600)

BOTH_METHODS = pytest.mark.parametrize("method", [b"GET", b"HEAD"])


@BOTH_METHODS
@pytest.mark.parametrize("validators", [STRONG, WEAK, NONE], ids=["strong", "weak", "none"])
def test_a_request_without_preconditions_proceeds(method: bytes, validators: Validators) -> None:
    outcome = evaluate(make_request(method), validators)

    assert outcome is PROCEED


@BOTH_METHODS
@pytest.mark.parametrize(
    ("value", "validators", "expected"),
    [
        pytest.param(b'"now"', STRONG, PROCEED, id="our entity-tag"),
        pytest.param(b'"old"', STRONG, FAILED, id="another entity-tag"),
        pytest.param(b'"old", "now", "x"', STRONG, PROCEED, id="one of a list"),
        pytest.param(b'"old" ,\t"now"', STRONG, PROCEED, id="blanks around the comma"),
        pytest.param(b',, "now",', STRONG, PROCEED, id="empty list elements"),
        pytest.param(b'"old", "x"', STRONG, FAILED, id="none of a list"),
        pytest.param(b'"a, "now", b"', STRONG, FAILED, id="malformed list around ours"),
        pytest.param(b'"a,\x22now\x22"', STRONG, FAILED, id="ours without a comma before it"),
        pytest.param(b'"x,y", "now"', STRONG, PROCEED, id="a comma inside an entity-tag"),
        pytest.param(b'W/"now"', STRONG, FAILED, id="weak where ours is strong"),
        pytest.param(b'"now"', WEAK, FAILED, id="strong where ours is weak"),
        pytest.param(b'W/"now"', WEAK, FAILED, id="weak is not equal to weak"),
        pytest.param(b"*", STRONG, PROCEED, id="anything that exists"),
        pytest.param(b"*", WEAK, PROCEED, id="anything that exists, be it weak"),
        pytest.param(b"*", NONE, PROCEED, id="anything that exists, be it without entity-tag"),
        pytest.param(b'"*"', STRONG, FAILED, id="an entity-tag that is a quoted asterisk"),
        pytest.param(b'*, "now"', STRONG, FAILED, id="an asterisk in a list is malformed"),
        pytest.param(b'"now"', NONE, FAILED, id="we have no entity-tag"),
        pytest.param(b"now", STRONG, FAILED, id="unquoted is malformed"),
        pytest.param(b'"now', STRONG, FAILED, id="unclosed is malformed"),
        pytest.param(b"", STRONG, FAILED, id="an empty field matches nothing"),
    ],
)
def test_if_match_wants_one_of_its_entity_tags_by_strong_comparison(
    method: bytes, value: bytes, validators: Validators, expected: Evaluation
) -> None:
    outcome = evaluate(make_request(method, if_match=value), validators)

    assert outcome is expected


@BOTH_METHODS
@pytest.mark.parametrize(
    ("value", "validators", "expected"),
    [
        pytest.param(b'"now"', STRONG, NOT_MODIFIED, id="our entity-tag"),
        pytest.param(b'"old"', STRONG, PROCEED, id="another entity-tag"),
        pytest.param(b'"old","now"', STRONG, NOT_MODIFIED, id="one of a list"),
        pytest.param(b'"old" \t,  "now" ', STRONG, NOT_MODIFIED, id="blanks in a list"),
        pytest.param(b',"old",,"now",', STRONG, NOT_MODIFIED, id="empty list elements"),
        pytest.param(b'"x,y", "now"', STRONG, NOT_MODIFIED, id="a comma inside an entity-tag"),
        pytest.param(b'"a", "b"', STRONG, PROCEED, id="none of a list"),
        pytest.param(b'W/"now"', STRONG, NOT_MODIFIED, id="weak equals strong"),
        pytest.param(b'"now"', WEAK, NOT_MODIFIED, id="strong equals weak"),
        pytest.param(b'W/"now"', WEAK, NOT_MODIFIED, id="weak equals weak"),
        pytest.param(b'W/"old", W/"now"', WEAK, NOT_MODIFIED, id="one of a list of weak ones"),
        pytest.param(b'w/"now"', STRONG, PROCEED, id="W/ is case-sensitive"),
        pytest.param(b'"NOW"', STRONG, PROCEED, id="entity-tags are case-sensitive"),
        pytest.param(b"*", STRONG, NOT_MODIFIED, id="anything that exists"),
        pytest.param(b"*", NONE, NOT_MODIFIED, id="anything that exists, without entity-tag"),
        pytest.param(b'"*"', STRONG, PROCEED, id="an entity-tag that is a quoted asterisk"),
        pytest.param(b"*, *", STRONG, PROCEED, id="a list of asterisks is malformed"),
        pytest.param(b'"now"', NONE, PROCEED, id="we have no entity-tag"),
        pytest.param(b"now", STRONG, PROCEED, id="unquoted is malformed"),
        pytest.param(b'"now" "old"', STRONG, PROCEED, id="no comma is malformed"),
        pytest.param(b"", STRONG, PROCEED, id="an empty field matches nothing"),
    ],
)
def test_if_none_match_wants_none_of_its_entity_tags_by_weak_comparison(
    method: bytes, value: bytes, validators: Validators, expected: Evaluation
) -> None:
    outcome = evaluate(make_request(method, if_none_match=value), validators)

    assert outcome is expected


DATES = [
    pytest.param(BEFORE, STRONG, True, id="an earlier date"),
    pytest.param(THEN, STRONG, False, id="the very date"),
    pytest.param(AFTER, STRONG, False, id="a later date"),
    pytest.param(b"Sunday, 06-Nov-94 08:49:36 GMT", STRONG, True, id="earlier, as RFC 850 had it"),
    pytest.param(b"Sunday, 06-Nov-94 08:49:37 GMT", STRONG, False, id="then, as RFC 850 had it"),
    pytest.param(b"Sun Nov  6 08:49:36 1994", STRONG, True, id="earlier, as asctime has it"),
    pytest.param(b"Sun Nov  6 08:49:37 1994", STRONG, False, id="then, as asctime has it"),
    pytest.param(b"Fri, 31 Dec 9999 23:59:59 GMT", STRONG, False, id="the end of days"),
    pytest.param(BEFORE, WEAK, True, id="an earlier date, weak entity-tag"),
    pytest.param(BEFORE, NONE, None, id="an earlier date, but we have none"),
    pytest.param(AFTER, NONE, None, id="a later date, but we have none"),
    pytest.param(b"1994-11-06T08:49:36Z", STRONG, None, id="no HTTP-date"),
    pytest.param(b"0", STRONG, None, id="a number"),
    pytest.param(b"", STRONG, None, id="nothing"),
    pytest.param(b"Sun, 32 Nov 1994 08:49:36 GMT", STRONG, None, id="no day of the calendar"),
    pytest.param(b"%b, %b" % (BEFORE, BEFORE), STRONG, None, id="a list of dates"),
]


@BOTH_METHODS
@pytest.mark.parametrize(("value", "validators", "newer"), DATES)
def test_if_modified_since_holds_back_what_is_not_newer(
    method: bytes, value: bytes, validators: Validators, newer: bool | None
) -> None:
    outcome = evaluate(make_request(method, if_modified_since=value), validators)

    assert outcome is (NOT_MODIFIED if newer is False else PROCEED)


@BOTH_METHODS
@pytest.mark.parametrize(("value", "validators", "newer"), DATES)
def test_if_unmodified_since_fails_for_what_is_newer(
    method: bytes, value: bytes, validators: Validators, newer: bool | None
) -> None:
    outcome = evaluate(make_request(method, if_unmodified_since=value), validators)

    assert outcome is (FAILED if newer is True else PROCEED)


@BOTH_METHODS
@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        pytest.param(
            {"if_match": b'"now"', "if_unmodified_since": BEFORE},
            PROCEED,
            id="If-Unmodified-Since is ignored beside If-Match",
        ),
        pytest.param(
            {"if_match": b'"old"', "if_unmodified_since": AFTER},
            FAILED,
            id="If-Match fails though If-Unmodified-Since is true",
        ),
        pytest.param(
            {"if_none_match": b'"old"', "if_modified_since": AFTER},
            PROCEED,
            id="If-Modified-Since is ignored beside If-None-Match",
        ),
        pytest.param(
            {"if_none_match": b'"now"', "if_modified_since": BEFORE},
            NOT_MODIFIED,
            id="If-None-Match is false though If-Modified-Since is true",
        ),
        pytest.param(
            {"if_none_match": b"malformed", "if_modified_since": AFTER},
            PROCEED,
            id="If-Modified-Since is ignored beside a malformed If-None-Match",
        ),
        pytest.param(
            {"if_match": b"malformed", "if_unmodified_since": AFTER},
            FAILED,
            id="If-Unmodified-Since is ignored beside a malformed If-Match",
        ),
        pytest.param(
            {"if_match": b'"old"', "if_none_match": b'"now"'},
            FAILED,
            id="If-Match comes before If-None-Match",
        ),
        pytest.param(
            {"if_match": b'"now"', "if_none_match": b'"now"'},
            NOT_MODIFIED,
            id="a true If-Match leads on to If-None-Match",
        ),
        pytest.param(
            {"if_match": b'"now"', "if_modified_since": AFTER},
            NOT_MODIFIED,
            id="a true If-Match leads on to If-Modified-Since",
        ),
        pytest.param(
            {"if_unmodified_since": BEFORE, "if_none_match": b'"now"'},
            FAILED,
            id="If-Unmodified-Since comes before If-None-Match",
        ),
        pytest.param(
            {"if_unmodified_since": AFTER, "if_none_match": b'"now"'},
            NOT_MODIFIED,
            id="a true If-Unmodified-Since leads on to If-None-Match",
        ),
        pytest.param(
            {"if_unmodified_since": b"malformed", "if_modified_since": AFTER},
            NOT_MODIFIED,
            id="a malformed If-Unmodified-Since leads on to If-Modified-Since",
        ),
        pytest.param(
            {"if_unmodified_since": BEFORE, "if_modified_since": BEFORE},
            FAILED,
            id="If-Unmodified-Since comes before If-Modified-Since",
        ),
    ],
)
def test_several_preconditions_are_taken_in_the_order_of_the_rfc(
    method: bytes, fields: dict[str, bytes], expected: Evaluation
) -> None:
    outcome = evaluate(make_request(method, **fields), STRONG)

    assert outcome is expected


def test_the_century_of_a_two_digit_year_is_judged_from_when_the_file_was_seen() -> None:
    in_2070 = Validators(None, MODIFIED, seen_at=3_155_760_000)
    request = make_request(if_modified_since=b"Sunday, 06-Nov-94 08:49:36 GMT")

    outcome = evaluate(request, in_2070)

    assert outcome is NOT_MODIFIED  # 2094 is later, 1994 would be earlier


@pytest.mark.parametrize(
    ("if_range", "validators", "expected"),
    [
        pytest.param(b'"now"', STRONG, True, id="our entity-tag"),
        pytest.param(b'"old"', STRONG, False, id="another entity-tag"),
        pytest.param(b'W/"now"', STRONG, False, id="weak where ours is strong"),
        pytest.param(b'W/"now"', WEAK, False, id="weak is not equal to weak"),
        pytest.param(b'"now"', WEAK, False, id="strong where ours is weak"),
        pytest.param(b'"now"', NONE, False, id="we have no entity-tag"),
        pytest.param(b'"old", "now"', STRONG, False, id="a list is malformed"),
        pytest.param(b"now", STRONG, False, id="unquoted is malformed"),
        pytest.param(b"*", STRONG, False, id="an asterisk means nothing here"),
        pytest.param(b"", STRONG, False, id="an empty field"),
        pytest.param(THEN, STRONG, True, id="our date"),
        pytest.param(b"Sunday, 06-Nov-94 08:49:37 GMT", STRONG, True, id="our date, in RFC 850"),
        pytest.param(b"Sun Nov  6 08:49:37 1994", STRONG, True, id="our date, in asctime"),
        pytest.param(BEFORE, STRONG, False, id="an earlier date"),
        pytest.param(AFTER, STRONG, False, id="a later date, for this is no If-Unmodified-Since"),
        pytest.param(THEN, NONE, False, id="we have no date"),
        pytest.param(b"Sun, 32 Nov 1994 08:49:36 GMT", NONE, False, id="no date on either side"),
        pytest.param(
            THEN, Validators(None, MODIFIED, MODIFIED + 3600), True, id="our date is all we have"
        ),
        pytest.param(
            THEN,
            Validators(b'W/"now"', MODIFIED, MODIFIED + 1),
            False,
            id="the date of a file that has not settled",
        ),
        pytest.param(
            THEN,
            Validators(b'"now"', MODIFIED, MODIFIED + 2),
            False,
            id="the date may hide that the file has not settled",
        ),
        pytest.param(
            THEN,
            Validators(b'"now"', MODIFIED, MODIFIED + 3),
            True,
            id="the date of a file that has certainly settled",
        ),
        pytest.param(
            THEN,
            Validators(b'"now"', MODIFIED, MODIFIED),
            False,
            id="the present, sent as the date of a file from the future",
        ),
    ],
)
def test_if_range_wants_the_very_version_by_a_strong_validator(
    if_range: bytes, validators: Validators, expected: bool
) -> None:
    request = make_request(range=b"bytes=0-1", if_range=if_range)

    applies = range_applies(request, validators)

    assert applies is expected


def test_range_applies_without_if_range() -> None:
    applies = range_applies(make_request(range=b"bytes=0-1"), NONE)

    assert applies is True


def test_if_range_without_range_is_ignored() -> None:
    applies = range_applies(make_request(if_range=b'"now"'), STRONG)

    assert applies is False


@pytest.mark.parametrize("fields", [{}, {"if_range": b'"now"'}], ids=["alone", "with If-Range"])
def test_range_is_ignored_in_a_head_request(fields: dict[str, bytes]) -> None:
    request = make_request(b"HEAD", range=b"bytes=0-1", **fields)

    applies = range_applies(request, STRONG)

    assert applies is False

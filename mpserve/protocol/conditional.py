"""Preconditions: all that decides 304 or 412, and whether Range counts. RFC 9110 §13.

A malformed list of entity-tags matches nothing: If-Match fails, and If-None-Match does not hold the
answer back. Either way no client keeps an old copy because of it. A malformed date is ignored, as
§13.1.3 and §13.1.4 demand.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING

from mpserve.protocol.grammar import entity_tags, parse_http_date
from mpserve.protocol.representation import SETTLE_TIME

if TYPE_CHECKING:
    from mpserve.protocol.message import Request
    from mpserve.protocol.representation import Validators


class Evaluation(Enum):
    """What the preconditions of a request come to."""

    PROCEED = auto()
    NOT_MODIFIED = auto()
    FAILED = auto()


class _Age(Enum):
    """How a representation stands to a date that the client sent."""

    NEWER = auto()
    NOT_NEWER = auto()
    UNKNOWN = auto()  # the field is to be ignored


def evaluate(request: Request, validators: Validators) -> Evaluation:
    """Steps 1 to 4 of §13.2.2, for a GET or HEAD whose answer would otherwise be a 200 or 206."""
    fields = request.fields
    if (if_match := fields.get(b"if-match")) is not None:
        if not _strongly_matches(if_match, validators.etag):
            return Evaluation.FAILED
    elif _age(validators, fields.get(b"if-unmodified-since")) is _Age.NEWER:
        return Evaluation.FAILED

    # §13.1.3: "A recipient MUST ignore If-Modified-Since if the request contains an If-None-Match
    # header field".
    if (if_none_match := fields.get(b"if-none-match")) is not None:
        if _weakly_matches(if_none_match, validators.etag):
            return Evaluation.NOT_MODIFIED
    elif _age(validators, fields.get(b"if-modified-since")) is _Age.NOT_NEWER:
        return Evaluation.NOT_MODIFIED
    return Evaluation.PROCEED


def range_applies(request: Request, validators: Validators) -> bool:
    """Whether `request` has a Range that is to be honoured: step 5 of §13.2.2, and §14.2."""
    # §14.2: "A server MUST ignore a Range header field received with a request method that is
    # unrecognized or for which range handling is not defined. For this specification, GET is the
    # only method for which range handling is defined."
    if b"range" not in request.fields or request.method != b"GET":
        return False
    if_range = request.fields.get(b"if-range")
    return if_range is None or _is_current(if_range, validators)


def _strongly_matches(value: bytes, etag: bytes | None) -> bool:
    """Whether If-Match is true. A weak entity-tag matches nothing, not even itself (§8.8.3.2)."""
    if value == b"*":
        return True
    return etag is not None and not _is_weak(etag) and etag in (entity_tags(value) or ())


def _weakly_matches(value: bytes, etag: bytes | None) -> bool:
    """Whether If-None-Match is false: one of its entity-tags is ours, weak or strong (§8.8.3.2)."""
    if value == b"*":
        return True
    if etag is None:
        return False
    opaque = etag.removeprefix(b"W/")
    return any(tag.removeprefix(b"W/") == opaque for tag in entity_tags(value) or ())


def _age(validators: Validators, value: bytes | None) -> _Age:
    """How the modification date stands to the HTTP-date `value` of a field, if there is one."""
    # §13.1.3 and §13.1.4 say of both fields that they are ignored where the value is no valid
    # HTTP-date, and where no modification date is available.
    if value is None or validators.last_modified is None:
        return _Age.UNKNOWN
    date = parse_http_date(value, validators.seen_at)
    if date is None:
        return _Age.UNKNOWN
    return _Age.NEWER if validators.last_modified > date else _Age.NOT_NEWER


def _is_current(if_range: bytes, validators: Validators) -> bool:
    """Whether If-Range names the very octets that we hold, by a strong validator (§13.1.5)."""
    # The strong comparison needs no parsing: what equals our strong entity-tag is one.
    if if_range == validators.etag:
        return not _is_weak(if_range)
    date = parse_http_date(if_range, validators.seen_at)
    if date is None or date != validators.last_modified:
        return False
    # §8.8.2.2: a date is strong only where it cannot stand for two versions. It hides up to a
    # second of the file's age, so more than the settle time is asked; a date in the future, which
    # is sent as the present, never qualifies.
    return validators.seen_at - date > SETTLE_TIME


def _is_weak(etag: bytes) -> bool:
    return etag.startswith(b"W/")

"""RFC 9110 §13, Conditional requests: each precondition, when it counts, and in which order."""

from __future__ import annotations

import time
from collections.abc import Callable

from tests.conformance.case import must, should
from tests.conformance.expect import expect, expect_whole, require
from tests.conformance.target import (
    DIRECTORY,
    FILE,
    MISSING,
    SMALL,
    NotApplicable,
    Target,
    content_of,
)
from tests.conformance.wrong_server import (
    Fault,
    Reply,
    Request,
    answers,
    ignores,
    misreads,
    parse_date,
)

DAY = 86_400


def date(epoch: float) -> bytes:
    return time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(epoch)).encode()


def modified(target: Target, seconds: int = 0) -> bytes:
    """A date that lies this long after the modification of FILE."""
    epoch = parse_date(target.need_last_modified())
    require(epoch is not None, "Last-Modified is no HTTP-date")
    assert epoch is not None
    return date(epoch + seconds)


EARLIER = -DAY
LATER = DAY

NEVER_304 = answers(200, instead_of=304)


# If-Match


@must(
    Fault("does not look at If-Match", request=ignores(b"if-match").request),
    rows={
        "another tag": b'"another"',
        "several others": b'"one", "two", "three"',
        "the empty tag": b'""',
        "a tag with a comma": b'"a,b"',
    },
)
def if_match_of_another_tag_fails(target: Target, value: bytes) -> None:
    """RFC 9110 §13.1.1: "An origin server that evaluates an If-Match condition MUST NOT perform the
    requested method if the condition evaluates to false."; §13.2.2: "if false, respond 412
    (Precondition Failed)".
    """
    target.need_etag()

    expect(target.get(FILE, b"If-Match: " + value), 412)


@must(
    answers(412, instead_of=200),
    rows={
        "alone": b"%b",
        "in a list": b'"another", %b',
        "first in a list": b'%b , "another"',
        "in a second line": b'"another"\r\nIf-Match: %b',
    },
)
def if_match_of_the_tag_holds(target: Target, form: bytes) -> None:
    """RFC 9110 §13.1.1: "the condition is true if any of the listed tags match the entity tag of
    the selected representation."
    """
    tag = target.need_strong_etag()

    expect_whole(target.get(FILE, b"If-Match: " + form % tag), FILE)


@must(answers(412, instead_of=200), rows={"GET": b"GET", "HEAD": b"HEAD"})
def if_match_of_anything_holds(target: Target, method: bytes) -> None:
    """RFC 9110 §13.1.1: "If the field value is "*", the condition is true if the origin server has
    a current representation for the target resource."
    """
    expect(target.get(FILE, b"If-Match: *", method=method), 200)


@must(misreads("compares weakly", rb"If-Match: W/", b"If-Match: "))
def if_match_compares_strongly(target: Target) -> None:
    """RFC 9110 §13.1.1: "An origin server MUST use the strong comparison function when comparing
    entity tags for If-Match (Section 8.8.3.2)": a weak tag matches nothing.
    """
    tag = target.need_etag().removeprefix(b"W/")

    expect(target.get(FILE, b"If-Match: W/" + tag), 412)


@must(ignores(b"if-match"))
def if_match_counts_for_head(target: Target) -> None:
    """RFC 9110 §13.1.1: "the origin server MUST evaluate the If-Match condition per Section 13.2
    prior to performing the method."
    """
    target.need_etag()

    expect(target.get(FILE, b'If-Match: "another"', method=b"HEAD"), 412)


@must(ignores(b"if-match"))
def if_match_counts_before_range(target: Target) -> None:
    """RFC 9110 §13.1.1: If-Match "is only useful in range requests (Section 14) for completing a
    previously received partial representation when there is no desire for a new representation."
    """
    target.need_etag()

    expect(target.get(FILE, b'If-Match: "another"', b"Range: bytes=0-9"), 412)


# If-None-Match


@must(
    NEVER_304,
    ignores(b"if-none-match"),
    rows={
        "alone": b"%b",
        "in a list": b'"another", %b',
        "first in a list": b'%b, "another"',
        "in a list without space": b'"one",%b,"two"',
        "in a list with much space": b'"one"  ,\t %b  , "two"',
        "in a second line": b'"another"\r\nIf-None-Match: %b',
        "in a list after a tag with a comma": b'"a,b", %b',
        "in a list after the empty tag": b'"", %b',
        "in a long list": b'"x", ' * 100 + b"%b",
        "among weak tags": b'W/"another", %b',
    },
)
def if_none_match_of_the_tag_gives_304(target: Target, form: bytes) -> None:
    """RFC 9110 §13.1.2: "If the field value is a list of entity tags, the condition is false if one
    of the listed tags matches the entity tag of the selected representation": "the origin server
    MUST respond with either a) the 304 (Not Modified) status code if the request method is GET or
    HEAD".
    """
    tag = target.need_etag()

    expect(target.get(FILE, b"If-None-Match: " + form % tag), 304)


@must(
    NEVER_304,
    rows={"weak": lambda tag: b"W/" + tag, "strong": lambda tag: tag},
)
def if_none_match_compares_weakly(target: Target, form: Callable[[bytes], bytes]) -> None:
    """RFC 9110 §13.1.2: "A recipient MUST use the weak comparison function when comparing entity
    tags for If-None-Match (Section 8.8.3.2)".
    """
    tag = target.need_etag().removeprefix(b"W/")

    expect(target.get(FILE, b"If-None-Match: " + form(tag)), 304)


@must(NEVER_304, rows={"GET": b"GET", "HEAD": b"HEAD"})
def if_none_match_of_anything_gives_304(target: Target, method: bytes) -> None:
    """RFC 9110 §13.1.2: "If the field value is "*", the condition is false if the origin server has
    a current representation for the target resource."
    """
    expect(target.get(FILE, b"If-None-Match: *", method=method), 304)


@must(NEVER_304)
def if_none_match_counts_for_head(target: Target) -> None:
    """RFC 9110 §13.1.2: "the origin server MUST respond with either a) the 304 (Not Modified)
    status code if the request method is GET or HEAD".
    """
    tag = target.need_etag()

    expect(target.get(FILE, b"If-None-Match: " + tag, method=b"HEAD"), 304)


@must(
    answers(304, instead_of=200),
    rows={
        "another tag": b'"another"',
        "several others": b'"one", W/"two", "three"',
        "the empty tag": b'""',
        "a weak one": b'W/"another"',
        "a tag that is a star": b'"*"',
    },
)
def if_none_match_of_another_tag_is_performed(target: Target, value: bytes) -> None:
    """RFC 9110 §13.1.2: "the condition is false if one of the listed tags matches [...] Otherwise,
    the condition is true."
    """
    expect_whole(target.get(FILE, b"If-None-Match: " + value), FILE)


# If-Modified-Since


@should(NEVER_304, rows={"GET": b"GET", "HEAD": b"HEAD"})
def if_modified_since_the_modification_gives_304(target: Target, method: bytes) -> None:
    """RFC 9110 §13.1.3: "If the selected representation's last modification date is earlier or
    equal to the date provided in the field value, the condition is false": "the origin server
    SHOULD generate a 304 (Not Modified) response".
    """
    answer = target.get(FILE, b"If-Modified-Since: " + modified(target), method=method)

    expect(answer, 304)


@should(NEVER_304, rows={"a second": 1, "a day": DAY, "a year": 365 * DAY})
def if_modified_since_later_gives_304(target: Target, seconds: int) -> None:
    """RFC 9110 §13.1.3: "If the selected representation's last modification date is earlier or
    equal to the date provided in the field value, the condition is false."
    """
    answer = target.get(FILE, b"If-Modified-Since: " + modified(target, seconds))

    expect(answer, 304)


@must(answers(304, instead_of=200), rows={"a second": -1, "a day": -DAY, "ten years": -3650 * DAY})
def if_modified_since_earlier_is_performed(target: Target, seconds: int) -> None:
    """RFC 9110 §13.1.3: "If the selected representation's last modification date is earlier or
    equal to the date provided in the field value, the condition is false. Otherwise, the condition
    is true."
    """
    answer = target.get(FILE, b"If-Modified-Since: " + modified(target, seconds))

    expect_whole(answer, FILE)


NO_DATES = {
    "a word": b"yesterday",
    "nothing": b"",
    "a number": b"2000000000",
    "minus one": b"-1",
    "ISO 8601": b"2033-11-06T08:49:37Z",
    "no zone": b"Sun, 06 Nov 2033 08:49:37",
    "another zone": b"Sun, 06 Nov 2033 08:49:37 CET",
    "an offset": b"Sun, 06 Nov 2033 08:49:37 +0000",
    "a month nobody knows": b"Sun, 06 Nev 2033 08:49:37 GMT",
    "something after it": b"Sun, 06 Nov 2033 08:49:37 GMT; length=1",
    "quotes": b'"Sun, 06 Nov 2033 08:49:37 GMT"',
    "two dates": b"Sun, 06 Nov 2033 08:49:37 GMT, Sun, 06 Nov 2033 08:49:37 GMT",
}


@must(answers(304, instead_of=200), rows=NO_DATES)
def if_modified_since_no_date_is_ignored(target: Target, value: bytes) -> None:
    """RFC 9110 §13.1.3: "A recipient MUST ignore the If-Modified-Since header field if the received
    field value is not a valid HTTP-date, the field value has more than one member, or if the
    request method is neither GET nor HEAD."
    """
    expect_whole(target.get(FILE, b"If-Modified-Since: " + value), FILE)


# The grammar has two digits for each of these, and says no more.
NO_DAYS = {
    "a day of no month": b"Wed, 31 Nov 2033 08:49:37 GMT",
    "the 30th of February": b"Thu, 30 Feb 2034 08:49:37 GMT",
    "hour 25": b"Sun, 06 Nov 2033 25:49:37 GMT",
    "minute 60": b"Sun, 06 Nov 2033 08:60:37 GMT",
}


@should(answers(304, instead_of=200), rows=NO_DAYS)
def if_modified_since_no_day_of_the_calendar_is_ignored(target: Target, value: bytes) -> None:
    """RFC 9110 §13.1.3: "A recipient MUST ignore the If-Modified-Since header field if the received
    field value is not a valid HTTP-date": it follows the grammar, and is no date all the same.
    """
    expect_whole(target.get(FILE, b"If-Modified-Since: " + value), FILE)


FIRST_IMS = misreads("looks at If-Modified-Since first", rb"If-None-Match: [^\r]*", b"X: y")


@must(FIRST_IMS)
def if_modified_since_does_not_count_beside_another_tag(target: Target) -> None:
    """RFC 9110 §13.1.3: "A recipient MUST ignore If-Modified-Since if the request contains an
    If-None-Match header field".

    The date says 304, the tag says 200.
    """
    target.need_etag()
    fields = (b'If-None-Match: "another"', b"If-Modified-Since: " + modified(target))

    expect_whole(target.get(FILE, *fields), FILE)


@must(FIRST_IMS)
def if_modified_since_does_not_count_beside_the_tag(target: Target) -> None:
    """RFC 9110 §13.1.3: "A recipient MUST ignore If-Modified-Since if the request contains an
    If-None-Match header field".

    The date says 200, the tag says 304.
    """
    tag = target.need_etag()
    fields = (b"If-None-Match: " + tag, b"If-Modified-Since: " + modified(target, EARLIER))

    expect(target.get(FILE, *fields), 304)


def never_modified(request: Request, reply: Reply) -> Reply:
    return Reply(304) if b"if-modified-since" in request.fields else reply


@must(
    Fault("answers each If-Modified-Since with 304", reply=never_modified),
    rows={"DELETE": b"DELETE", "OPTIONS": b"OPTIONS"},
)
def if_modified_since_does_not_count_for_other_methods(target: Target, method: bytes) -> None:
    """RFC 9110 §13.1.3: "A recipient MUST ignore the If-Modified-Since header field if [...] the
    request method is neither GET nor HEAD."
    """
    plain = target.get(FILE, method=method)
    answer = target.get(FILE, b"If-Modified-Since: " + modified(target), method=method)

    expect(answer, plain.status)


@must(answers(304, instead_of=200), rows={"0": "/times/epoch.txt", "1": "/times/one-second.txt"})
def if_modified_since_does_not_count_without_a_date(target: Target, path: str) -> None:
    """RFC 9110 §13.1.3: "A recipient MUST ignore the If-Modified-Since header field if the resource
    does not have a modification date available."

    It concerns who sends no Last-Modified for files whose time stamp means nothing.
    """
    if target.get(path).get(b"last-modified") is not None:
        target.need_last_modified()
        return

    expect_whole(target.get(path, b"If-Modified-Since: " + date(time.time())), path)


# If-Unmodified-Since


@must(
    ignores(b"if-unmodified-since"),
    rows={"a second": -1, "a day": -DAY, "ten years": -3650 * DAY},
)
def if_unmodified_since_earlier_fails(target: Target, seconds: int) -> None:
    """RFC 9110 §13.1.4: "An origin server that evaluates an If-Unmodified-Since condition MUST NOT
    perform the requested method if the condition evaluates to false."
    """
    answer = target.get(FILE, b"If-Unmodified-Since: " + modified(target, seconds))

    expect(answer, 412)


@must(answers(412, instead_of=200), rows={"equal": 0, "a second": 1, "a year": 365 * DAY})
def if_unmodified_since_then_or_later_is_performed(target: Target, seconds: int) -> None:
    """RFC 9110 §13.1.4: "If the selected representation's last modification date is earlier than or
    equal to the date provided in the field value, the condition is true."
    """
    answer = target.get(FILE, b"If-Unmodified-Since: " + modified(target, seconds))

    expect_whole(answer, FILE)


PAST = {
    name: value.replace(b"2033", b"1994")
    .replace(b"2034", b"1994")
    .replace(b"2000000000", b"100000")
    for name, value in NO_DATES.items()
}


@must(answers(412, instead_of=200), rows=PAST)
def if_unmodified_since_no_date_is_ignored(target: Target, value: bytes) -> None:
    """RFC 9110 §13.1.4: "A recipient MUST ignore the If-Unmodified-Since header field if the
    received field value is not a valid HTTP-date (including when the field value appears to be a
    list of dates)."
    """
    expect_whole(target.get(FILE, b"If-Unmodified-Since: " + value), FILE)


FIRST_IUS = misreads("looks at If-Unmodified-Since first", rb"If-Match: [^\r]*", b"X: y")


@must(FIRST_IUS)
def if_unmodified_since_does_not_count_beside_the_tag(target: Target) -> None:
    """RFC 9110 §13.1.4: "A recipient MUST ignore If-Unmodified-Since if the request contains an
    If-Match header field".

    The date says 412, the tag says 200.
    """
    tag = target.need_strong_etag()
    fields = (b"If-Match: " + tag, b"If-Unmodified-Since: " + modified(target, EARLIER))

    expect_whole(target.get(FILE, *fields), FILE)


@must(FIRST_IUS)
def if_unmodified_since_does_not_count_beside_another_tag(target: Target) -> None:
    """RFC 9110 §13.1.4: "A recipient MUST ignore If-Unmodified-Since if the request contains an
    If-Match header field".

    The date says 200, the tag says 412.
    """
    target.need_etag()
    fields = (b'If-Match: "another"', b"If-Unmodified-Since: " + modified(target))

    expect(target.get(FILE, *fields), 412)


# If-Range


@should(misreads("takes each If-Range for false", rb"If-Range: [^\r]*", b'If-Range: "x"'))
def if_range_of_the_tag_gives_the_part(target: Target) -> None:
    """RFC 9110 §13.1.5: "A recipient of an If-Range header field MUST ignore the Range header field
    if the If-Range condition evaluates to false. Otherwise, the recipient SHOULD process the Range
    header field as requested."
    """
    target.need_ranges()
    tag = target.need_strong_etag()
    answer = target.get(FILE, b"If-Range: " + tag, b"Range: bytes=0-9")

    require(expect(answer, 206).content == content_of(FILE)[:10], "it is another part")


@should(misreads("takes each If-Range for false", rb"If-Range: [^\r]*", b'If-Range: "x"'))
def if_range_of_the_date_gives_the_part(target: Target) -> None:
    """RFC 9110 §13.1.5: "If the HTTP-date validator provided exactly matches the Last-Modified
    field value for the selected representation, the condition is true": "the recipient SHOULD
    process the Range header field as requested."
    """
    target.need_ranges()
    answer = target.get(FILE, b"If-Range: " + modified(target), b"Range: bytes=0-9")

    require(expect(answer, 206).content == content_of(FILE)[:10], "it is another part")


BLIND = ignores(b"if-range")


@must(
    BLIND,
    rows={
        "another tag": b'"another"',
        "another weak tag": b'W/"another"',
        "the empty tag": b'""',
        "a word": b"another",
        "a date of long ago": b"Sun, 06 Nov 1994 08:49:37 GMT",
        "a date in the form of RFC 850": b"Sunday, 06-Nov-94 08:49:37 GMT",
        "a star": b"*",
    },
)
def if_range_of_another_validator_gives_the_whole(target: Target, value: bytes) -> None:
    """RFC 9110 §13.1.5: "A recipient of an If-Range header field MUST ignore the Range header field
    if the If-Range condition evaluates to false."
    """
    target.need_ranges()

    expect_whole(target.get(FILE, b"If-Range: " + value, b"Range: bytes=0-9"), FILE)


@must(BLIND)
def if_range_compares_strongly(target: Target) -> None:
    """RFC 9110 §13.1.5: "If the entity-tag validator provided exactly matches the ETag field value
    for the selected representation using the strong comparison function (Section 8.8.3.2), the
    condition is true. Otherwise, the condition is false."
    """
    target.need_ranges()
    tag = target.need_etag().removeprefix(b"W/")

    expect_whole(target.get(FILE, b"If-Range: W/" + tag, b"Range: bytes=0-9"), FILE)


@must(BLIND, rows={"a second later": 1, "a second earlier": -1, "a day later": DAY})
def if_range_of_a_date_is_exact(target: Target, seconds: int) -> None:
    """RFC 9110 §13.1.5: "Note that the If-Range comparison is by exact match, including when the
    validator is an HTTP-date, and so it differs from the "earlier than or equal to" comparison used
    when evaluating an If-Unmodified-Since conditional."
    """
    target.need_ranges()
    answer = target.get(FILE, b"If-Range: " + modified(target, seconds), b"Range: bytes=0-9")

    expect_whole(answer, FILE)


@must(
    answers(412, instead_of=200),
    rows={"another tag": b'"another"', "a date": b"Sun, 06 Nov 1994 08:49:37 GMT"},
)
def if_range_without_range_is_ignored(target: Target, value: bytes) -> None:
    """RFC 9110 §13.1.5: "A server MUST ignore an If-Range header field received in a request that
    does not contain a Range header field."
    """
    expect_whole(target.get(FILE, b"If-Range: " + value), FILE)


@must(BLIND)
def if_range_counts_before_416(target: Target) -> None:
    """RFC 9110 §13.1.5: "A recipient of an If-Range header field MUST ignore the Range header field
    if the If-Range condition evaluates to false.": a range beyond the end is ignored as well.
    """
    target.need_ranges()

    expect_whole(target.get(FILE, b'If-Range: "another"', b"Range: bytes=9999999-"), FILE)


# When they count


PRECONDITIONS = {
    "If-Match of another tag": b'If-Match: "another"',
    "If-Match of anything": b"If-Match: *",
    "If-None-Match of anything": b"If-None-Match: *",
    "If-Modified-Since now": b"If-Modified-Since: " + date(time.time()),
    "If-Unmodified-Since 1994": b"If-Unmodified-Since: Sun, 06 Nov 1994 08:49:37 GMT",
}


def obeys(request: Request, reply: Reply) -> Reply:
    conditional = any(name.startswith(b"if-") for name in request.fields)
    return Reply(412, [(b"Content-Type", b"text/html")]) if conditional else reply


OBEYS = Fault("answers each precondition with 412", reply=obeys)


@must(OBEYS, rows=PRECONDITIONS)
def preconditions_do_not_count_where_nothing_is(target: Target, field: bytes) -> None:
    """RFC 9110 §13.2.1: "A server MUST ignore all received preconditions if its response to the
    same request without those conditions, prior to processing the request content, would have been
    a status code other than a 2xx (Successful) or 412 (Precondition Failed)."
    """
    expect(target.get(MISSING, field), 404)


@must(OBEYS, rows=PRECONDITIONS)
def preconditions_do_not_count_for_a_redirect(target: Target, field: bytes) -> None:
    """RFC 9110 §13.2.1: "redirects and failures that can be detected before significant processing
    occurs take precedence over the evaluation of preconditions."
    """
    plain = target.get(DIRECTORY)

    if plain.status >= 300:
        expect(target.get(DIRECTORY, field), plain.status)
    else:
        expect(target.get(DIRECTORY, field), 200, 304, 412)


@must(OBEYS, rows=PRECONDITIONS)
def preconditions_do_not_count_for_a_method_that_is_refused(target: Target, field: bytes) -> None:
    """RFC 9110 §13.2.1: "A server MUST ignore all received preconditions if its response to the
    same request without those conditions [...] would have been a status code other than a 2xx
    (Successful) or 412 (Precondition Failed)."
    """
    plain = target.get(FILE, method=b"DELETE")
    if plain.status < 300:
        raise NotApplicable("the server refuses no method")

    expect(target.get(FILE, field, method=b"DELETE"), plain.status)


@must(OBEYS, rows=PRECONDITIONS)
def preconditions_do_not_count_for_options(target: Target, field: bytes) -> None:
    """RFC 9110 §13.2.1: "a server MUST ignore the conditional request header fields defined by this
    specification when received with a request method that does not involve the selection or
    modification of a selected representation, such as CONNECT, OPTIONS, or TRACE."
    """
    plain = target.get(SMALL, method=b"OPTIONS")

    expect(target.get(SMALL, field, method=b"OPTIONS"), plain.status)


# In which order


TRUE_IM, FALSE_IM = "If-Match: TAG", 'If-Match: "another"'
TRUE_IUS, FALSE_IUS = "If-Unmodified-Since: NOW", "If-Unmodified-Since: OLD"
TRUE_INM, FALSE_INM = 'If-None-Match: "another"', "If-None-Match: TAG"
TRUE_IMS, FALSE_IMS = "If-Modified-Since: OLD", "If-Modified-Since: NOW"

# Which fields → what is due. True is what lets the method be performed.
ORDER = {
    "If-Match false, If-None-Match false": ((FALSE_IM, FALSE_INM), 412),
    "If-Match false, If-None-Match true": ((FALSE_IM, TRUE_INM), 412),
    "If-Match true, If-None-Match false": ((TRUE_IM, FALSE_INM), 304),
    "If-Match true, If-None-Match true": ((TRUE_IM, TRUE_INM), 200),
    "If-Match true, If-Unmodified-Since false": ((TRUE_IM, FALSE_IUS), 200),
    "If-Match false, If-Unmodified-Since true": ((FALSE_IM, TRUE_IUS), 412),
    "If-Match false, If-Modified-Since false": ((FALSE_IM, FALSE_IMS), 412),
    "If-Match true, If-Modified-Since false": ((TRUE_IM, FALSE_IMS), 304),
    "If-Unmodified-Since false, If-None-Match false": ((FALSE_IUS, FALSE_INM), 412),
    "If-Unmodified-Since true, If-None-Match false": ((TRUE_IUS, FALSE_INM), 304),
    "If-Unmodified-Since true, If-None-Match true": ((TRUE_IUS, TRUE_INM), 200),
    "If-Unmodified-Since false, If-Modified-Since false": ((FALSE_IUS, FALSE_IMS), 412),
    "If-Unmodified-Since true, If-Modified-Since false": ((TRUE_IUS, FALSE_IMS), 304),
    "If-None-Match true, If-Modified-Since false": ((TRUE_INM, FALSE_IMS), 200),
    "If-None-Match false, If-Modified-Since true": ((FALSE_INM, TRUE_IMS), 304),
    "all true": ((TRUE_IM, TRUE_IUS, TRUE_INM, TRUE_IMS), 200),
    "all false": ((FALSE_IM, FALSE_IUS, FALSE_INM, FALSE_IMS), 412),
    "all false but If-Match": ((TRUE_IM, FALSE_IUS, FALSE_INM, FALSE_IMS), 304),
}


def last_field_first(request: Request) -> Request:
    """Understands one precondition of several: the one that the order puts last."""
    order = (b"if-modified-since", b"if-none-match", b"if-unmodified-since", b"if-match")
    kept = next((name for name in order if name in request.fields), b"")
    for name in order:
        if name != kept:
            request.fields.pop(name, None)
    return request


@must(
    answers(500, instead_of=200),
    rows={name: row for name, row in ORDER.items() if row[1] == 200},
)
def preconditions_that_hold_together_let_the_method_be_performed(
    target: Target, row: tuple[tuple[str, ...], int]
) -> None:
    """RFC 9110 §13.2.2: "A recipient cache or origin server MUST evaluate the request preconditions
    defined by this specification in the following order": If-Match, If-Unmodified-Since,
    If-None-Match, If-Modified-Since, If-Range.
    """
    in_order(target, row)


@must(
    Fault("evaluates one precondition only", request=last_field_first),
    rows={name: row for name, row in ORDER.items() if row[1] == 412},
)
def a_lost_update_counts_before_a_cache(target: Target, row: tuple[tuple[str, ...], int]) -> None:
    """RFC 9110 §13.2.2: "When recipient is the origin server and If-Match is present, evaluate the
    If-Match precondition: [...] if false, respond 412 (Precondition Failed)": before If-None-Match
    and If-Modified-Since, and so does If-Unmodified-Since.
    """
    in_order(target, row)


@must(
    NEVER_304,
    rows={name: row for name, row in ORDER.items() if row[1] == 304},
)
def a_cache_counts_where_no_update_is_lost(
    target: Target, row: tuple[tuple[str, ...], int]
) -> None:
    """RFC 9110 §13.2.2: "When If-None-Match is present, evaluate the If-None-Match precondition:
    [...] if false for GET/HEAD, respond 304 (Not Modified)"; "When the method is GET or HEAD,
    If-None-Match is not present, and If-Modified-Since is present, [...] if false, respond 304 (Not
    Modified)".
    """
    in_order(target, row)


def in_order(target: Target, row: tuple[tuple[str, ...], int]) -> None:
    forms, status = row
    values = {
        b"TAG": target.need_strong_etag(),
        b"NOW": modified(target),
        b"OLD": modified(target, EARLIER),
    }
    fields = [form.encode() for form in forms]
    for name, value in values.items():
        fields = [field.replace(name, value) for field in fields]

    expect(target.get(FILE, *fields), status)


@must(
    misreads(
        "serves a part before it looks whether anything changed", rb"If-[^:]*:[^\r]*", b"X: y"
    ),
    rows={
        "by the tag": "If-None-Match: TAG",
        "by the date": "If-Modified-Since: NOW",
    },
)
def a_part_of_what_is_not_modified_is_304(target: Target, form: str) -> None:
    """RFC 9110 §13.2.2: "if false for GET/HEAD, respond 304 (Not Modified)" comes before Range;
    §14.2: "Range is ignored when a conditional GET would result in a 304 (Not Modified) response."
    """
    target.need_ranges()
    value = target.need_etag() if form.endswith("TAG") else modified(target)
    field = form[:-3].encode() + value

    expect(target.get(FILE, field, b"Range: bytes=0-9"), 304)
    expect(target.get(FILE, field, b"Range: bytes=9999999-"), 304)


@must(
    answers(200, instead_of=206),
    rows={
        "If-Match and If-Range": ("If-Match: TAG", "If-Range: TAG"),
        "If-None-Match and If-Range": ('If-None-Match: "another"', "If-Range: TAG"),
    },
)
def a_part_comes_where_all_hold(target: Target, forms: tuple[str, ...]) -> None:
    """RFC 9110 §13.2.2: "When the method is GET and both Range and If-Range are present, evaluate
    the If-Range precondition: if true and the Range is applicable to the selected representation,
    respond 206 (Partial Content)".
    """
    target.need_ranges()
    tag = target.need_strong_etag()
    fields = [form.encode().replace(b"TAG", tag) for form in forms]

    expect(target.get(FILE, *fields, b"Range: bytes=0-9"), 206)

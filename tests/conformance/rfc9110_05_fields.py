"""RFC 9110 §5, Fields: names, order, limits, values, lists and dates."""

from __future__ import annotations

import time

from tests.conformance.case import must, should
from tests.conformance.expect import (
    expect,
    expect_client_error,
    expect_end,
    expect_refused,
    expect_whole,
    expect_whole_or,
    require,
)
from tests.conformance.target import FILE, SMALL, Target
from tests.conformance.wrong_server import (
    BREAKS,
    FORGIVES,
    HANGS_UP,
    NEVER_CLOSES,
    Fault,
    Request,
    answers,
    behaves,
    garbles,
    ignores,
    misreads,
    says,
)
from tests.harness.reader import Defect, parse_date


@must(
    misreads("knows Range in one case only", rb"\r\n(?!Range)[rR][aA][nN][gG][eE]:", b"\r\nX:"),
    rows={"lower": b"range", "upper": b"RANGE", "mixed": b"rAnGe"},
)
def field_names_are_case_insensitive(target: Target, name: bytes) -> None:
    """RFC 9110 §5.1: "Field names are case-insensitive"; each of these is Range."""
    target.need_ranges()

    expect(target.ask(target.request(FILE, name + b": bytes=0-9")), 206)


@must(
    misreads("knows Host in one case only", rb"\r\n(?!Host)[hH][oO][sS][tT]:", b"\r\nX:"),
    rows={"lower": b"host", "upper": b"HOST", "mixed": b"hOsT"},
)
def host_is_known_in_any_case(target: Target, name: bytes) -> None:
    """RFC 9110 §5.1: "Field names are case-insensitive"; each of these is Host."""
    expect_whole(target.ask(target.request(SMALL).replace(b"Host", name)), SMALL)


@should(
    answers(400, instead_of=200),
    rows={
        "a name nobody knows": b"X-Nobody-Knows: y",
        "a name of all the octets that may be": b"!#$%&'*+-.^_`|~0Aa: y",
        "a name of one octet": b"!: y",
        "a name of digits": b"0123: y",
        "a long name": b"X" * 100 + b": y",
        "an empty value": b"X-Empty:",
        "a value of blanks": b"X-Blank:  \t ",
        "a value with blanks within": b"X-Text: a  b\tc",
        "a value of delimiters": b'X-Text: (),/:;<=>?@[\\]{}"',
        "fields of a proxy": b"Via: 1.1 proxy\r\nX-Forwarded-For: 192.0.2.1",
        "fields of a browser": (
            b"Sec-Fetch-Mode: navigate\r\nUpgrade-Insecure-Requests: 1\r\nPriority: u=0, i"
        ),
        "a cookie": b"Cookie: a=b; c=d",
        "a proxy connection": b"Proxy-Connection: keep-alive",
    },
)
def fields_that_mean_nothing_here_are_ignored(target: Target, field: bytes) -> None:
    """RFC 9110 §5.1: "Other recipients SHOULD ignore unrecognized header and trailer fields.
    Adhering to these requirements allows HTTP's functionality to be extended".
    """
    expect_whole(target.ask(target.request(SMALL, field)), SMALL)


def forgets_earlier_lines(request: Request) -> Request:
    request.fields = {
        name: value.rpartition(b", ")[2] if name == b"if-none-match" else value
        for name, value in request.fields.items()
    }
    return request


@must(Fault("looks at the last line of a field only", request=forgets_earlier_lines))
def lines_of_one_name_are_one_list(target: Target) -> None:
    """RFC 9110 §5.2: "When a field name is repeated within a section, its combined field value
    consists of the list of corresponding field line values within that section, concatenated in
    order, with each field line value separated by a comma."
    """
    tag = target.need_etag()
    fields = (b"If-None-Match: " + tag, b'If-None-Match: "another"')

    expect(target.get(FILE, *fields), 304)


@must(behaves("answers early"))
def nothing_is_done_before_the_head_is_complete(target: Target) -> None:
    """RFC 9110 §5.3: "A server MUST NOT apply a request to the target resource until it receives
    the entire request header section, since later header field lines might include conditionals,
    authentication credentials, or deliberately misleading duplicate header fields".
    """
    target.need_ranges()
    connection = target.connect()
    fields = [b"X-Fill-%d: %b" % (place, b"x" * 50) for place in range(60)]
    request = target.request(FILE, *fields, b"Range: bytes=0-9")
    for place in range(0, len(request), 1000):
        connection.send(request[place : place + 1000])

    expect(connection.read(request), 206)


@must(
    garbles("says everything twice", rb"\r\n(Date|ETag): ([^\r]*)", rb"\r\n\1: \2\r\n\1: \2"),
    rows={"a file": FILE, "a part": FILE + "?part", "nothing": "/no-such-file.bin"},
)
def a_field_that_is_no_list_is_sent_once(target: Target, path: str) -> None:
    """RFC 9110 §5.3: "a sender MUST NOT generate multiple field lines with the same name in a
    message (whether in the headers or trailers) [...] unless that field's definition allows
    multiple field line values to be recombined as a comma-separated list".
    """
    field = b"Range: bytes=0-9" if path.endswith("?part") else b"X-None: y"
    target.get(path, field)

    repeated = [str(fault) for fault in target.noted if fault.defect is Defect.REPEATED]
    require(not repeated, "; ".join(repeated))


LIMITS = {
    "a field of 100 KB": b"X-Large: " + b"x" * 100_000,
    "a field of 2 MB": b"X-Large: " + b"x" * 2_000_000,
    "a name of 100 KB": b"X" * 100_000 + b": y",
    "ten thousand fields": b"\r\n".join([b"X-Many: y"] * 10_000),
    "300 fields of 1 KB": b"\r\n".join([b"X-Fill: " + b"x" * 1000] * 300),
}


@must(HANGS_UP, answers(500, instead_of=431), rows=LIMITS)
def fields_larger_than_a_server_wishes_are_4xx(target: Target, fields: bytes) -> None:
    """RFC 9110 §5.4: "A server that receives a request header field line, field value, or set of
    fields larger than it wishes to process MUST respond with an appropriate 4xx (Client Error)
    status code." Whoever wishes to process them answers the request.
    """
    connection = target.connect()
    request = target.request(SMALL, fields)
    connection.send_until_answered(request)
    answer = connection.read(request)

    if answer.status != 200:
        expect_client_error(answer)


@should(
    BREAKS,
    rows={"ten fields": 10, "fifty fields": 50, "eighty fields": 80},
)
def a_usual_number_of_fields_is_processed(target: Target, count: int) -> None:
    """RFC 9110 §5.4: "HTTP does not place a predefined limit on the length of each field line,
    field value, or on the length of a header or trailer section as a whole": a head that browsers
    and proxies send is within anybody's limits.
    """
    fields = [b"X-Field-%d: some value" % place for place in range(count)]

    expect_whole(target.ask(target.request(SMALL, *fields)), SMALL)


@must(
    misreads("ends lines at NUL", rb"\x00", b"\r\n"),
    rows={
        "before a field": b"X-Text: a\x00Range: bytes=0-0",
        "before a precondition": b"X-Text: a\x00If-None-Match: *",
    },
)
def nul_in_a_value_is_refused_or_replaced(target: Target, field: bytes) -> None:
    """RFC 9110 §5.5: "a recipient of CR, LF, or NUL within a field value MUST either reject the
    message or replace each of those characters with SP before further processing or forwarding of
    that message."
    """
    expect_whole_or(target.attempt(target.request(FILE, field)), FILE, 400)


@must(
    FORGIVES,
    rows={"in Range": b"Range: bytes=0-\x000", "in If-None-Match": b"If-None-Match: \x00*"},
)
def nul_makes_a_value_another(target: Target, field: bytes) -> None:
    """RFC 9110 §5.5: "a recipient of CR, LF, or NUL within a field value MUST either reject the
    message or replace each of those characters with SP".
    """
    answer = target.attempt(target.request(FILE, field))

    if answer is not None and answer.status not in (206, 304, 416):
        expect_whole_or(answer, FILE, 400)


@should(
    BREAKS,
    rows={
        "a bell": b"X-Text: a\x07b",
        "an escape": b"X-Text: \x1b[31m",
        "a backspace": b"X-Text: a\x08b",
        "DEL": b"X-Text: a\x7fb",
    },
)
def other_controls_are_refused_or_kept(target: Target, field: bytes) -> None:
    """RFC 9110 §5.5: "Field values containing other CTL characters are also invalid; however,
    recipients MAY retain such characters for the sake of robustness when they appear within a safe
    context".
    """
    expect_whole_or(target.attempt(target.request(FILE, field)), FILE, 400)


@should(
    answers(400, instead_of=200),
    rows={
        "Latin-1": b"X-Text: caf\xe9",
        "UTF-8": b"X-Text: caf\xc3\xa9",
        "no encoding at all": b"X-Text: \x80\xff\xfe\xc0",
        "an address of a person": b"From: \xe9l\xe8ve@example.org",
        "a user agent": b"User-Agent: Mozilla/5.0 (\xd8\xa7)",
    },
)
def obs_text_is_opaque(target: Target, field: bytes) -> None:
    """RFC 9110 §5.5: "A recipient SHOULD treat other allowed octets in field content (i.e.,
    obs-text) as opaque data."
    """
    expect_whole(target.ask(target.request(SMALL, field)), SMALL)


@must(
    ignores(b"if-none-match"),
    rows={
        "before": b"If-None-Match: , , %b",
        "after": b"If-None-Match: %b, ,",
        "between": b'If-None-Match: "x" , , %b',
        "without space": b'If-None-Match: ,"x",,%b,',
    },
)
def empty_list_elements_are_ignored(target: Target, form: bytes) -> None:
    """RFC 9110 §5.6.1.2: "A recipient MUST parse and ignore a reasonable number of empty list
    elements: enough to handle common mistakes by senders that merge values".
    """
    tag = target.need_etag()

    expect(target.get(FILE, form % tag), 304)


@must(NEVER_CLOSES)
def empty_list_elements_in_connection_are_ignored(target: Target) -> None:
    """RFC 9110 §5.6.1.2: "A recipient MUST parse and ignore a reasonable number of empty list
    elements".
    """
    connection = target.connect()
    connection.ask(target.request(SMALL, b"Connection: ,, ,close,"))

    expect_end(connection)


FORMS = {
    "IMF-fixdate": "%a, %d %b %Y %H:%M:%S GMT",
    "the form of RFC 850": "%A, %d-%b-%y %H:%M:%S GMT",
    "the form of asctime": "%a %b %e %H:%M:%S %Y",
}


@must(ignores(b"if-modified-since"), rows=FORMS)
def dates_of_all_three_forms_are_accepted(target: Target, form: str) -> None:
    """RFC 9110 §5.6.7: "A recipient that parses a timestamp value in an HTTP field MUST accept all
    three HTTP-date formats."
    """
    modified = parse_date(target.need_last_modified())
    require(modified is not None, "Last-Modified is no IMF-fixdate")
    assert modified is not None
    same = time.strftime(form, time.gmtime(modified)).encode()
    before = time.strftime(form, time.gmtime(modified - 86_400)).encode()

    expect(target.get(FILE, b"If-Modified-Since: " + same), 304)
    expect(target.get(FILE, b"If-Modified-Since: " + before), 200)


@must(ignores(b"if-modified-since"))
def a_day_of_one_digit_in_the_form_of_asctime_is_accepted(target: Target) -> None:
    """RFC 9110 §5.6.7: asctime-date = day-name SP date3 SP time-of-day SP year, where the day is
    "2DIGIT / ( SP 1DIGIT )".
    """
    target.need_last_modified()

    since = b"If-Modified-Since: Thu Jan  1 00:00:00 1998"  # when it was changed

    expect(target.get("/times/1998.txt", since), 304)


@must(
    misreads(
        "takes each year of two digits for one of this century",
        rb"Sunday, 06-Nov-94 08:49:37 GMT",
        b"Sat, 06 Nov 2094 08:49:37 GMT",
    ),
)
def a_year_of_two_digits_is_of_the_last_or_the_next_fifty(target: Target) -> None:
    """RFC 9110 §5.6.7: "Recipients of a timestamp value in rfc850-date format, which uses a
    two-digit year, MUST interpret a timestamp that appears to be more than 50 years in the future
    as representing the most recent year in the past that had the same last two digits."
    """
    target.need_last_modified()
    # In this century the file was not modified since then; in the last it was.
    past = b"If-Modified-Since: Sunday, 06-Nov-94 08:49:37 GMT"

    expect_whole(target.get(FILE, past), FILE)


@must(
    says(b"Date", b"Sunday, 06-Nov-94 08:49:37 GMT"),
    says(b"Last-Modified", b"Sun Nov  6 08:49:37 1994"),
    rows={"a file": SMALL, "a file of another century": "/times/1998.txt"},
)
def dates_are_sent_as_imf_fixdate(target: Target, path: str) -> None:
    """RFC 9110 §5.6.7: "When a sender generates a field that contains one or more timestamps
    defined as HTTP-date, the sender MUST generate those timestamps in the IMF-fixdate format."
    """
    answer = target.get(path)
    for name in (b"date", b"last-modified", b"expires"):
        value = answer.get(name)
        right = value is None or parse_date(value) is not None
        require(right, f"{name.decode()} is {value!r}")


@must(FORGIVES, rows={"a quote": b'"', "a comma": b",", "a space": b" ", "a slash": b"/"})
def a_delimiter_is_no_part_of_a_token(target: Target, mark: bytes) -> None:
    """RFC 9110 §5.6.2: "Tokens are short textual identifiers that do not include whitespace or
    delimiters." A method is a token.
    """
    expect_refused(target.attempt(target.request(SMALL, method=b"GE" + mark + b"T")))

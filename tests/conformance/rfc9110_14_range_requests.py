"""RFC 9110 §14, Range requests: what is asked for, and nothing else."""

from __future__ import annotations

from dataclasses import replace

from tests.conformance.case import must, should
from tests.conformance.expect import expect, expect_whole, require
from tests.conformance.multipart import parts_of
from tests.conformance.target import FILE, MISSING, SMALL, Target, content_of
from tests.conformance.wrong_server import (
    ALWAYS_WHOLE,
    Fault,
    Reply,
    Request,
    answers,
    garbles,
    omits,
    says,
)
from tests.harness.reader import Answer

SIZE = 65_537  # of FILE


def off_by_one(_: Request, reply: Reply) -> Reply:
    return replace(reply, content=reply.content[1:] + b"x") if reply.status == 206 else reply


OFF_BY_ONE = Fault("begins one octet too late", reply=off_by_one)


def expect_parts(answer: Answer, path: str, *, most: int = 1) -> None:
    """Each part is what its Content-Range says, of the file, and they are not too many."""
    content = content_of(path)
    parts = parts_of(answer)
    require(len(parts) <= most, f"{len(parts)} parts came")
    for part in parts:
        right = content[part.first : part.last + 1]
        require(part.content == right, f"octets {part.first}-{part.last} are not the file's")
        require(part.complete in (None, len(content)), f"the length is said to be {part.complete}")


def expect_part(answer: Answer, path: str, start: int, stop: int) -> None:
    """It is 206 with these octets and no others."""
    expect(answer, 206)
    expect_parts(answer, path)
    part = parts_of(answer)[0]
    span = (part.first, part.last + 1)
    require(span == (start, stop), f"octets {span} came, where {(start, stop)} were asked for")


SINGLE = {
    "the first octet": ("0-0", 0, 1),
    "the first ten": ("0-9", 0, 10),
    "the second 500": ("500-999", 500, 1000),
    "the last octet": ("65536-65536", SIZE - 1, SIZE),
    "all but the first": ("1-", 1, SIZE),
    "from the last": ("65536-", SIZE - 1, SIZE),
    "across a boundary of 4 KiB": ("4095-4097", 4095, 4098),
    "across a boundary of 64 KiB": ("65535-65536", 65_535, SIZE),
    "a last position beyond the end": ("65530-99999", 65_530, SIZE),
    "a last position of 30 digits": ("65530-" + "9" * 30, 65_530, SIZE),
    "the last octet, as suffix": ("-1", SIZE - 1, SIZE),
    "the last 500": ("-500", SIZE - 500, SIZE),
    "zeros before the numbers": ("000-0009", 0, 10),
}


@should(ALWAYS_WHOLE, OFF_BY_ONE, rows=SINGLE)
def a_range_is_answered_with_these_octets(target: Target, row: tuple[str, int, int]) -> None:
    """RFC 9110 §14.2: "the server SHOULD send a 206 (Partial Content) response with content
    containing one or more partial representations that correspond to the satisfiable range-spec(s)
    requested."
    """
    target.need_ranges()
    spec, start, stop = row

    expect_part(target.get(FILE, b"Range: bytes=" + spec.encode()), FILE, start, stop)


@must(OFF_BY_ONE, rows=SINGLE)
def a_part_is_what_it_says(target: Target, row: tuple[str, int, int]) -> None:
    """RFC 9110 §14.1.2: "The first-pos value in a bytes int-range gives the offset of the first
    byte in a range. The last-pos value gives the offset of the last byte in the range; that is, the
    byte positions specified are inclusive. Byte offsets start at zero."
    """
    target.need_ranges()
    spec, start, stop = row
    answer = target.get(FILE, b"Range: bytes=" + spec.encode())

    if answer.status == 206:
        expect_part(answer, FILE, start, stop)
    else:
        expect_whole(answer, FILE)


ENTIRE = {
    "all, by position": "0-",
    "all, by both positions": "0-65536",
    "all, with a last position beyond the end": "0-99999",
    "all, as suffix": "-65537",
    "a suffix longer than the file": "-99999",
    "a suffix of 30 digits": "-" + "9" * 30,
}


@must(answers(416, instead_of=206), OFF_BY_ONE, rows=ENTIRE)
def a_range_of_everything_is_everything(target: Target, spec: str) -> None:
    """RFC 9110 §14.1.2: "If the selected representation is shorter than the specified
    suffix-length, the entire representation is used."; and "if the value is greater than or equal
    to the current length of the representation data, the byte range is interpreted as the
    remainder".
    """
    target.need_ranges()
    answer = target.get(FILE, b"Range: bytes=" + spec.encode())

    if answer.status == 206:
        expect_part(answer, FILE, 0, SIZE)
    else:
        expect_whole(answer, FILE)


@should(
    ALWAYS_WHOLE,
    OFF_BY_ONE,
    rows={str(size): size for size in (1, 2, 15, 16, 999, 4096, 1_048_577)},
)
def the_last_octet_of_each_size_can_be_asked_for(target: Target, size: int) -> None:
    """RFC 9110 §14.1.2: "A client can refer to the last N bytes (N > 0) of the selected
    representation using a suffix-range."
    """
    target.need_ranges()
    path = f"/sizes/{size}.bin"

    expect_part(target.get(path, b"Range: bytes=-1"), path, size - 1, size)


@should(
    ALWAYS_WHOLE,
    rows={"upper case": b"BYTES=0-9", "mixed case": b"Bytes=0-9"},
)
def the_unit_is_known_in_any_case(target: Target, value: bytes) -> None:
    """RFC 9110 §14.1: "All range unit names are case-insensitive"; a server that does not know this
    one SHOULD have answered 206.
    """
    target.need_ranges()

    expect_part(target.get(FILE, b"Range: " + value), FILE, 0, 10)


UNSATISFIABLE = {
    "behind the end": "65537-",
    "far behind the end": "99999-",
    "behind the end, both positions": "65537-65538",
    "a position of 30 digits": "9" * 30 + "-",
    "two to the 64": f"{2**64}-{2**64 + 5}",
    "a suffix of nothing": "-0",
    "several behind the end": "70000-70001,80000-",
}


@should(ALWAYS_WHOLE, answers(404, instead_of=416), rows=UNSATISFIABLE)
def a_range_that_cannot_be_satisfied_is_416(target: Target, spec: str) -> None:
    """RFC 9110 §14.2: "and either the range-unit is not supported for that target resource or the
    ranges-specifier is unsatisfiable with respect to the selected representation, the server SHOULD
    send a 416 (Range Not Satisfiable) response."
    """
    target.need_ranges()

    expect(target.get(FILE, b"Range: bytes=" + spec.encode()), 416)


def part_of_nothing(_: Request, reply: Reply) -> Reply:
    if reply.status != 416:
        return reply
    fields = [(b"Content-Range", b"bytes 0-0/65537"), (b"ETag", b'"x"')]
    return Reply(206, [*fields, (b"Accept-Ranges", b"bytes")], b"x")


@must(Fault("wraps positions around", reply=part_of_nothing), rows=UNSATISFIABLE)
def a_range_that_cannot_be_satisfied_gives_no_part(target: Target, spec: str) -> None:
    """RFC 9110 §14.1.2: "recipients MUST anticipate potentially large decimal numerals and prevent
    parsing errors due to integer conversion overflows"; and what lies behind the end is no part.
    """
    target.need_ranges()
    answer = target.get(FILE, b"Range: bytes=" + spec.encode())

    if answer.status != 416:
        expect_whole(answer, FILE)


@must(
    Fault("wraps positions around", reply=part_of_nothing),
    rows={"the first octet": b"bytes=0-0", "from the first on": b"bytes=0-"},
)
def there_is_no_part_of_an_empty_file(target: Target, value: bytes) -> None:
    """RFC 9110 §14.1.2: "When a selected representation has zero length, the only satisfiable form
    of range-spec in a GET request is a suffix-range with a non-zero suffix-length."
    """
    target.need_ranges()
    answer = target.get("/sizes/0.bin", b"Range: " + value)

    if answer.status != 416:
        expect_whole(answer, "/sizes/0.bin")


@must(Fault("wraps positions around", reply=part_of_nothing))
def a_suffix_of_an_empty_file_is_the_empty_file(target: Target) -> None:
    """RFC 9110 §14.1.2: "If the selected representation is shorter than the specified
    suffix-length, the entire representation is used."; §14.4 knows no range of no octets, so 206
    cannot say it.
    """
    target.need_ranges()
    answer = target.get("/sizes/0.bin", b"Range: bytes=-5")

    if answer.status != 416:
        expect_whole(answer, "/sizes/0.bin")


INVALID = {
    "the last position before the first": "bytes=5-4",
    "letters": "bytes=a-b",
    "no numbers": "bytes=-",
    "nothing": "bytes=",
    "no unit": "0-9",
    "no equals sign": "bytes 0-9",
    "the unit alone": "bytes",
    "one number": "bytes=5",
    "three numbers": "bytes=1-2-3",
    "two minuses": "bytes=--5",
    "a plus": "bytes=+1-5",
    "a fraction": "bytes=0.5-9",
    "hexadecimal": "bytes=0x0-0x9",
    "a semicolon between ranges": "bytes=0-0;5-9",
    "a star": "bytes=*",
    "a comma alone": "bytes=,",
    "digits of another script": "bytes=\u0660-\u0669",
}


# Not quite a ranges-specifier, but what was meant can be guessed.
NEARLY = {
    "a valid range before an invalid one": "bytes=0-0,5-4",
    "a valid range before letters": "bytes=0-0,a-b",
    "a space within": "bytes=0 -9",
    "a space before the equals sign": "bytes =0-9",
}


def takes_what_it_gets(request: Request) -> Request:
    if b"range" in request.fields:
        request.fields[b"range"] = b"bytes=1-3"
    return request


@must(Fault("takes each Range for a valid one", request=takes_what_it_gets), rows=INVALID)
def an_invalid_range_is_ignored_or_rejected(target: Target, value: str) -> None:
    """RFC 9110 §14.2: "A server that supports range requests MAY ignore or reject a Range header
    field that contains an invalid ranges-specifier (Section 14.1.1)": the whole, 416 or 400, but no
    part that nobody asked for.
    """
    target.need_ranges()
    answer = target.get(FILE, b"Range: " + value.encode())

    if answer.status not in (400, 416):
        expect_whole(answer, FILE)


@should(Fault("takes each Range for a valid one", request=takes_what_it_gets), rows=NEARLY)
def a_range_that_is_nearly_valid_is_ignored_or_rejected(target: Target, value: str) -> None:
    """RFC 9110 §14.2: "A server that supports range requests MAY ignore or reject a Range header
    field that contains an invalid ranges-specifier (Section 14.1.1)": one invalid range-spec makes
    the whole invalid.
    """
    target.need_ranges()
    answer = target.get(FILE, b"Range: " + value.encode())

    if answer.status not in (400, 416):
        expect_whole(answer, FILE)


@must(
    Fault("takes each Range for a valid one", request=takes_what_it_gets),
    rows={
        "another unit": b"pages=1-2",
        "a unit that begins alike": b"bytesx=0-9",
        "no unit that is a token": b"=0-9",
        "none": b"none",
        "seconds": b"seconds=0-10",
    },
)
def a_unit_that_is_not_understood_is_ignored(target: Target, value: bytes) -> None:
    """RFC 9110 §14.2: "An origin server MUST ignore a Range header field that contains a range unit
    it does not understand."; the same section allows 416 where a unit is not supported.
    """
    answer = target.get(FILE, b"Range: " + value)

    if answer.status != 416:
        expect_whole(answer, FILE)


def for_all_methods(request: Request, reply: Reply) -> Reply:
    part = b"range" in request.fields and request.method == b"HEAD"
    return replace(reply, status=206) if part else reply


@must(
    Fault("knows ranges of HEAD", reply=for_all_methods),
    rows={
        "satisfiable": b"bytes=0-9",
        "unsatisfiable": b"bytes=999999-",
        "invalid": b"bytes=5-4",
        "several": b"bytes=0-0,5-9",
    },
)
def range_is_ignored_for_head(target: Target, value: bytes) -> None:
    """RFC 9110 §14.2: "A server MUST ignore a Range header field received with a request method
    that is unrecognized or for which range handling is not defined. For this specification, GET is
    the only method for which range handling is defined."
    """
    expect(target.get(FILE, b"Range: " + value, method=b"HEAD"), 200)


@must(
    Fault(
        "answers each Range with 416", reply=lambda r, a: Reply(416) if b"range" in r.fields else a
    ),
    rows={"DELETE": b"DELETE", "OPTIONS": b"OPTIONS", "POST": b"POST", "BREW": b"BREW"},
)
def range_is_ignored_for_other_methods(target: Target, method: bytes) -> None:
    """RFC 9110 §14.2: "A server MUST ignore a Range header field received with a request method
    that is unrecognized or for which range handling is not defined."
    """
    plain = target.get(SMALL, method=method)

    expect(target.get(SMALL, b"Range: bytes=9999-", method=method), plain.status)


@must(
    Fault(
        "answers each Range with 416", reply=lambda r, a: Reply(416) if b"range" in r.fields else a
    ),
    rows={"nothing": MISSING, "a directory": "/with-index"},
)
def range_counts_only_where_200_is_due(target: Target, path: str) -> None:
    """RFC 9110 §14.2: "The Range header field is evaluated after evaluating the precondition header
    fields defined in Section 13.1, and only if the result in absence of the Range header field
    would be a 200 (OK) response."
    """
    plain = target.get(path)
    answer = target.get(path, b"Range: bytes=0-0")

    if plain.status == 200:
        expect(answer, 200, 206)
    else:
        expect(answer, plain.status)


@must(
    Fault("takes Content-Range for Range", request=lambda r: replace(r, method=b"BREW")),
    rows={"GET": b"GET", "HEAD": b"HEAD"},
)
def content_range_in_a_request_is_ignored(target: Target, method: bytes) -> None:
    """RFC 9110 §14.4: "A server MUST ignore a Content-Range header field received in a request with
    a method for which Content-Range support is not defined."
    """
    answer = target.get(FILE, b"Content-Range: bytes 0-9/65537", method=method)

    expect(answer, 200)
    require(method == b"HEAD" or answer.content == content_of(FILE), "a part came")


MULTIPLE = {
    "first and last octet": ("0-0,-1", 2),
    "three thousands": ("0-999, 4500-5499, -1000", 3),
    "two, unsorted": ("5000-5099,0-99", 2),
    "two that touch": ("500-600,601-999", 2),
    "two that overlap": ("500-700,601-999", 2),
    "one within another": ("0-999,100-199", 2),
    "the same twice": ("0-9,0-9", 2),
    "one that cannot be satisfied": ("0-9,99999-", 2),
    "a suffix longer than the file": ("0-9,-99999", 2),
    "with empty members": (",0-9,,100-109,", 2),
    "with white space": ("0-9 ,\t 100-109", 2),
    "ten": (",".join(f"{n * 1000}-{n * 1000 + 9}" for n in range(10)), 10),
    "a hundred": (",".join(f"{n * 600}-{n * 600}" for n in range(100)), 100),
}


def wrong_octets(request: Request, reply: Reply) -> Reply:
    return replace(reply, content=reply.content[::-1]) if b"range" in request.fields else reply


@must(Fault("sends other octets", reply=wrong_octets), rows=MULTIPLE)
def several_ranges_are_answered_with_right_octets(target: Target, row: tuple[str, int]) -> None:
    """RFC 9110 §14.2: "The above does not imply that a server will send all requested ranges"; a
    server may send the whole, one part or several, coalesced or not, and reject what looks like an
    attack; but each octet is where its Content-Range says.
    """
    target.need_ranges()
    spec, most = row
    answer = target.get(FILE, b"Range: bytes=" + spec.encode())

    if answer.status == 206:
        expect_parts(answer, FILE, most=most)
    elif answer.status not in (400, 416):
        expect_whole(answer, FILE)


@should(
    ALWAYS_WHOLE,
    answers(416, instead_of=206),
    rows={
        "first and last octet": (("0-0", "-1"), ((0, 1), (SIZE - 1, SIZE))),
        "three far apart": (
            ("0-99", "20000-20099", "-100"),
            ((0, 100), (20_000, 20_100), (SIZE - 100, SIZE)),
        ),
        "one that cannot be satisfied": (("0-9", "99999-"), ((0, 10),)),
    },
)
def several_ranges_are_all_answered(
    target: Target, row: tuple[tuple[str, ...], tuple[tuple[int, int], ...]]
) -> None:
    """RFC 9110 §14.2: "the server SHOULD send a 206 (Partial Content) response with content
    containing one or more partial representations that correspond to the satisfiable range-spec(s)
    requested."
    """
    target.need_ranges()
    specs, wanted = row
    answer = expect(target.get(FILE, b"Range: bytes=" + ",".join(specs).encode()), 206)
    parts = parts_of(answer)

    for start, stop in wanted:
        covered = any(part.first <= start and stop <= part.last + 1 for part in parts)
        require(covered, f"octets {start} to {stop} were not sent")


@must(
    answers(416, instead_of=206),
    answers(500, instead_of=206),
    rows={"first": "99999-,0-9", "last": "0-9,99999-", "between": "0-9,99999-,100-109"},
)
def one_satisfiable_range_is_enough(target: Target, spec: str) -> None:
    """RFC 9110 §14.1.1: "A valid ranges-specifier is satisfiable if it contains at least one
    range-spec that is satisfiable": so it is not 416.
    """
    target.need_ranges()
    answer = target.get(FILE, b"Range: bytes=" + spec.encode())

    expect(answer, 206, 200)


def multiplied(request: Request, reply: Reply) -> Reply:
    many = request.fields.get(b"range", b"").count(b",") > 20
    return replace(reply, content=bytes(9 * SIZE)) if many else reply


@should(
    Fault("sends whatever is asked for, as often as it is asked for", reply=multiplied),
    rows={
        "200 that overlap": ",".join(f"{n}-" for n in range(200)),
        "200 of everything": ",".join(["0-"] * 200),
        "1000 of one octet, unsorted": ",".join(f"{n}-{n}" for n in range(1000, 0, -1)),
    },
)
def many_ranges_do_not_multiply_the_content(target: Target, spec: str) -> None:
    """RFC 9110 §14.2: "A server that supports range requests MAY ignore or reject a Range header
    field that contains [...] a ranges-specifier with more than two overlapping ranges, or a set of
    many small ranges"; §17.15: "A server ought to ignore, coalesce, or reject egregious range
    requests".
    """
    target.need_ranges()
    answer = target.get(FILE, b"Range: bytes=" + spec.encode())

    expect(answer, 200, 206, 400, 416, 431)
    require(len(answer.content) <= 3 * SIZE, f"{len(answer.content)} octets came of {SIZE}")


@must(says(b"Accept-Ranges", b"bytes none"), says(b"Accept-Ranges", b""), rows={"a file": FILE})
def accept_ranges_follows_the_grammar(target: Target, path: str) -> None:
    """RFC 9110 §14.3: acceptable-ranges = 1#range-unit, and range-unit = token."""
    answer = target.get(path)
    value = answer.get(b"accept-ranges")

    members = answer.head.members(b"accept-ranges")
    right = value is None or (members and all(b" " not in each for each in members))
    require(right, f"Accept-Ranges is {value!r}")


@should(says(b"Accept-Ranges", b"none"), rows={"GET": b"GET", "HEAD": b"HEAD"})
def accept_ranges_tells_the_truth(target: Target, method: bytes) -> None:
    """RFC 9110 §14.3: "The "Accept-Ranges" field in a response indicates whether an upstream server
    supports range requests for the target resource"; "none" is "to advise the client not to attempt
    a range request".
    """
    target.need_ranges()
    members = target.get(FILE, method=method).head.members(b"accept-ranges")

    require(b"none" not in members, "ranges are answered, and denied")


@should(says(b"Content-Range", b"bytes 0-9/*", 206), rows={"a part": b"bytes=0-9"})
def a_part_tells_the_complete_length(target: Target, value: bytes) -> None:
    """RFC 9110 §14.4: "For byte ranges, a sender SHOULD indicate the complete length of the
    representation from which the range has been extracted, unless the complete length is unknown or
    difficult to determine."
    """
    target.need_ranges()
    parts = parts_of(expect(target.get(FILE, b"Range: " + value), 206))

    require(parts[0].complete == SIZE, "the complete length is missing")


@should(
    omits(b"Content-Range", 416),
    says(b"Content-Range", b"bytes 0-0/65537", 416),
    rows={"a file": (FILE, 65_537), "a small file": (SMALL, 1000)},
)
def a_416_tells_the_complete_length(target: Target, row: tuple[str, int]) -> None:
    """RFC 9110 §14.4: "A server generating a 416 (Range Not Satisfiable) response to a byte-range
    request SHOULD send a Content-Range header field with an unsatisfied-range value".
    """
    target.need_ranges()
    path, size = row
    answer = expect(target.get(path, b"Range: bytes=999999-"), 416)

    value = answer.get(b"content-range")
    require(value == b"bytes */%d" % size, f"Content-Range is {value!r}")


@must(
    garbles(
        "puts a Content-Range into each answer", rb"Content-Range: bytes \*", b"Content-Range: *"
    ),
)
def the_content_range_of_a_416_follows_the_grammar(target: Target) -> None:
    """RFC 9110 §14.4: unsatisfied-range = "*/" complete-length, after the unit and a space."""
    target.need_ranges()
    answer = target.get(FILE, b"Range: bytes=999999-")

    value = answer.get(b"content-range")
    require(value in (None, b"bytes */65537"), f"Content-Range is {value!r}")


@should(answers(200, instead_of=405))
def a_partial_put_is_refused(target: Target) -> None:
    """RFC 9110 §14.5: "An origin server SHOULD respond with a 400 (Bad Request) status code if it
    receives Content-Range on a PUT for a target resource that does not support partial PUT
    requests."; where PUT is refused altogether it says so.
    """
    request = target.request(
        FILE, b"Content-Range: bytes 0-3/65537", method=b"PUT", content=b"part"
    )

    expect(target.ask(request), 400, 403, 405, 501)


def parts_that_end_early(_: Request, reply: Reply) -> Reply:
    return replace(reply, content=reply.content.replace(b"--\r\n", b"\r\n"))


def parts_without_a_length(_: Request, reply: Reply) -> Reply:
    return replace(reply, content=reply.content.replace(b"Content-Range", b"X-Range"))


@must(
    Fault("leaves out the last boundary", reply=parts_that_end_early),
    Fault("leaves out Content-Range", reply=parts_without_a_length),
    rows={
        "two parts": "0-9,60000-60009",
        "three parts": "0-9,30000-30009,60000-60009",
        "unsorted": "60000-60009,0-9",
    },
)
def several_parts_follow_the_grammar_of_multipart(target: Target, spec: str) -> None:
    """RFC 9110 §14.6: "The "multipart/byteranges" media type includes one or more body parts, each
    with its own Content-Type and Content-Range fields. The required boundary parameter specifies
    the boundary string used to separate each body part."
    """
    target.need_ranges()
    answer = target.get(FILE, b"Range: bytes=" + spec.encode())

    if answer.status == 206:
        expect_parts(answer, FILE, most=3)


@must(OFF_BY_ONE, ALWAYS_WHOLE, rows={"16 KiB": 16_384, "100,000 octets": 100_000})
def a_file_comes_together_from_its_parts(target: Target, step: int) -> None:
    """RFC 9110 §14.2: "Range [...] on a GET request modifies the method semantics to request
    transfer of only one or more subranges of the selected representation data": one after the other
    they are the file.
    """
    target.need_ranges()
    path, size = "/sizes/1048577.bin", 1_048_577
    taken = b""
    while len(taken) < size:
        span = b"Range: bytes=%d-%d" % (len(taken), len(taken) + step - 1)
        taken += expect(target.get(path, span), 206).content

    require(taken == content_of(path), "the parts are not the file")

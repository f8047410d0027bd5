"""RFC 9110 §15, Status codes: what an answer of each kind has to carry."""

from __future__ import annotations

from dataclasses import replace

from tests.conformance.case import must, should
from tests.conformance.expect import expect, expect_client_error, require
from tests.conformance.multipart import parts_of
from tests.conformance.target import DIRECTORY, FILE, MISSING, SMALL, NotApplicable, Target
from tests.conformance.wrong_server import Fault, Reply, Request, answers, garbles, omits, says
from tests.harness.reader import Answer


@should(omits(b"ETag"), omits(b"Last-Modified"), rows={"GET": b"GET", "HEAD": b"HEAD"})
def a_200_carries_the_validators(target: Target, method: bytes) -> None:
    """RFC 9110 §15.3.1: "In 200 responses to GET or HEAD, an origin server SHOULD send any
    available validator fields (Section 8.8) for the selected representation, with both a strong
    entity tag and a Last-Modified date being preferred."
    """
    answer = expect(target.get(FILE, method=method), 200)

    require(answer.get(b"etag"), "ETag is missing")
    require(answer.get(b"last-modified"), "Last-Modified is missing")


def changes(status: int) -> Fault:
    """Sends other metadata with this status than with 200."""

    def change(_: Request, octets: bytes) -> bytes:
        found = octets.startswith(b"HTTP/1.1 %d" % status)
        fields = b"" if found else b"Vary: a\r\nCache-Control: b\r\nContent-Location: /c\r\n"
        fields += b"" if found else b"Expires: Thu, 01 Dec 1994 16:00:00 GMT\r\n"
        return octets.replace(b"ETag", b"X-Tag").replace(b"\r\nDate", b"\r\n" + fields + b"Date")

    return Fault(f"sends less metadata with {status}", wire=change)


METADATA = {
    "Content-Location": b"Content-Location",
    "Vary": b"Vary",
    "Cache-Control": b"Cache-Control",
    "Expires": b"Expires",
}


@must(changes(206), rows=METADATA)
def a_206_carries_what_200_would(target: Target, name: bytes) -> None:
    """RFC 9110 §15.3.7: "A server that generates a 206 response MUST generate the following header
    fields, in addition to those required in the subsections below, if the field would have been
    sent in a 200 (OK) response to the same request: Date, Cache-Control, ETag, Expires,
    Content-Location, and Vary."
    """
    target.need_ranges()
    whole = target.get(FILE)
    part = expect(target.get(FILE, b"Range: bytes=0-9"), 206)

    left, right = whole.get(name), part.get(name)
    require(
        (left is None) == (right is None), f"{name.decode()} is {left!r} with 200, {right!r} here"
    )


@must(
    omits(b"ETag", 206), says(b"ETag", b'"part"', 206), rows={"one part": b"0-9", "two": b"0-0,-1"}
)
def a_206_carries_the_tag(target: Target, spec: bytes) -> None:
    """RFC 9110 §15.3.7: "A server that generates a 206 response MUST generate the following header
    fields [...] if the field would have been sent in a 200 (OK) response to the same request: Date,
    Cache-Control, ETag, Expires, Content-Location, and Vary."
    """
    target.need_ranges()
    tag = target.need_etag()
    part = target.get(FILE, b"Range: bytes=" + spec)

    require(part.get(b"etag") == tag, f"ETag is {part.get(b'etag')!r}, where {tag!r} is due")


@must(omits(b"Content-Type", 206), omits(b"Last-Modified", 206))
def a_206_without_if_range_carries_all_metadata(target: Target) -> None:
    """RFC 9110 §15.3.7: "Otherwise, a sender MUST generate all of the representation header fields
    that would have been sent in a 200 (OK) response to the same request."
    """
    target.need_ranges()
    whole = target.get(FILE)
    part = expect(target.get(FILE, b"Range: bytes=0-9"), 206)

    for name in (b"content-type", b"content-encoding", b"content-language", b"last-modified"):
        left, right = whole.get(name), part.get(name)
        require(left == right, f"{name.decode()} is {left!r} with 200, and {right!r} with 206")


@must(omits(b"Content-Range", 206))
def a_206_of_one_part_has_a_content_range(target: Target) -> None:
    """RFC 9110 §15.3.7.1: "If a single part is being transferred, the server generating the 206
    response MUST generate a Content-Range header field, describing what range of the selected
    representation is enclosed, and a content consisting of the range."
    """
    target.need_ranges()
    answer = expect(target.get(FILE, b"Range: bytes=0-9"), 206)

    require(answer.get(b"content-range") is not None, "Content-Range is missing")
    parts_of(answer)


@must(
    garbles(
        "sends parts to who asks for one",
        rb"Content-Type: [^\r]*",
        b"Content-Type: multipart/byteranges",
    )
)
def one_range_is_not_answered_in_parts(target: Target) -> None:
    """RFC 9110 §15.3.7.2: "A server MUST NOT generate a multipart response to a request for a
    single range, since a client that does not request multiple parts might not support multipart
    responses."
    """
    target.need_ranges()
    answer = expect(target.get(FILE, b"Range: bytes=0-9"), 206)

    kind = answer.get(b"content-type") or b""
    require(not kind.lower().startswith(b"multipart/"), f"Content-Type is {kind!r}")


def need_parts(target: Target) -> None:
    target.need_ranges()
    answer = target.get(FILE, b"Range: bytes=0-9,30000-30009")
    if answer.status != 206 or len(parts_of(answer)) < 2:
        raise NotApplicable("the server sends no several parts")


@must(says(b"Content-Range", b"bytes 0-9/65537", 206))
def several_parts_have_no_content_range_in_the_head(target: Target) -> None:
    """RFC 9110 §15.3.7.2: "To avoid confusion with single-part responses, a server MUST NOT
    generate a Content-Range header field in the HTTP header section of a multiple part response".
    """
    target.need_ranges()
    answer = target.get(FILE, b"Range: bytes=0-9,30000-30009")
    kind = answer.get(b"content-type") or b""

    if answer.status == 206 and kind.lower().startswith(b"multipart/"):
        require(answer.get(b"content-range") is None, "Content-Range stands in the head")


def no_type_within(_: Request, reply: Reply) -> Reply:
    return replace(reply, content=reply.content.replace(b"Content-Type", b"X-Type"))


@should(Fault("leaves the type out of the parts", reply=no_type_within))
def each_of_several_parts_has_the_type_of_the_whole(target: Target) -> None:
    """RFC 9110 §15.3.7.2: "If the selected representation would have had a Content-Type header
    field in a 200 (OK) response, the server SHOULD generate that same Content-Type header field in
    the header area of each body part."
    """
    need_parts(target)
    kind = target.get(FILE).get(b"content-type")
    answer = expect(target.get(FILE, b"Range: bytes=0-9,30000-30009"), 206)

    kinds = {part.kind for part in parts_of(answer)}
    require(kinds == {kind}, f"the types of the parts are {kinds}, where {kind!r} is due")


def sorted_parts(request: Request) -> Request:
    if b"range" in request.fields:
        request.fields[b"range"] = b"bytes=0-9,30000-30009"
    return request


@should(Fault("sorts what it was asked for", request=sorted_parts))
def several_parts_come_in_the_order_asked_for(target: Target) -> None:
    """RFC 9110 §15.3.7.2: "A server that generates a multipart response SHOULD send the parts in
    the same order that the corresponding range-spec appeared in the received Range header field,
    excluding those ranges that were deemed unsatisfiable or that were coalesced into other ranges."
    """
    need_parts(target)
    answer = target.get(FILE, b"Range: bytes=30000-30009,0-9")
    if answer.status != 206:
        raise NotApplicable("the server does not send parts out of order")

    places = [part.first for part in parts_of(answer)]
    require(places in ([30_000, 0], [0]), f"the parts begin at {places}")


@should(omits(b"Location", 308))
def a_redirect_has_a_location(target: Target) -> None:
    """RFC 9110 §15.4.9: "The server SHOULD generate a Location header field in the response
    containing a preferred URI reference for the new permanent URI"; the same of 301, 302 and 307.
    """
    answer = target.get(DIRECTORY)
    if answer.status == 200:
        raise NotApplicable("the server does not redirect to the slash")

    expect(answer, 301, 302, 303, 307, 308)
    require(answer.get(b"location"), "Location is missing")


@must(omits(b"ETag", 304), says(b"ETag", b'"other"', 304))
def a_304_carries_the_tag(target: Target) -> None:
    """RFC 9110 §15.4.5: "The server generating a 304 response MUST generate any of the following
    header fields that would have been sent in a 200 (OK) response to the same request:
    Content-Location, Date, ETag, and Vary; Cache-Control and Expires".
    """
    tag = target.need_etag()
    answer = expect(target.get(FILE, b"If-None-Match: " + tag), 304)

    require(answer.get(b"etag") == tag, f"ETag is {answer.get(b'etag')!r}, where {tag!r} is due")


@must(omits(b"ETag", 304))
def a_304_by_date_carries_the_tag(target: Target) -> None:
    """RFC 9110 §15.4.5: "The server generating a 304 response MUST generate any of the following
    header fields that would have been sent in a 200 (OK) response to the same request:
    Content-Location, Date, ETag, and Vary; Cache-Control and Expires".
    """
    tag, date = target.need_etag(), target.need_last_modified()
    answer = expect(target.get(FILE, b"If-Modified-Since: " + date), 304)

    require(answer.get(b"etag") == tag, f"ETag is {answer.get(b'etag')!r}, where {tag!r} is due")


def not_modified(target: Target) -> Answer:
    """A 304, by whatever it takes."""
    fields = [b"If-None-Match: " + (target.facts.etag or b"*")]
    if target.facts.etag is None:
        fields = [b"If-Modified-Since: " + (target.facts.last_modified or b"")]
    answer = target.get(FILE, *fields)
    if answer.status != 304:
        raise NotApplicable("the server does not answer with 304")
    return answer


@must(changes(304), rows=METADATA)
def a_304_carries_what_200_would(target: Target, name: bytes) -> None:
    """RFC 9110 §15.4.5: "The server generating a 304 response MUST generate any of the following
    header fields that would have been sent in a 200 (OK) response to the same request:
    Content-Location, Date, ETag, and Vary; Cache-Control and Expires".
    """
    whole, answer = target.get(FILE), not_modified(target)

    left, right = whole.get(name), answer.get(name)
    require(
        (left is None) == (right is None), f"{name.decode()} is {left!r} with 200, {right!r} here"
    )


@should(says(b"Content-Type", b"text/plain", 304), says(b"Content-Language", b"en", 304))
def a_304_carries_no_more_than_it_has_to(target: Target) -> None:
    """RFC 9110 §15.4.5: "a sender SHOULD NOT generate representation metadata other than the above
    listed fields unless said metadata exists for the purpose of guiding cache updates".
    """
    answer = not_modified(target)

    for name in (b"content-type", b"content-encoding", b"content-language", b"content-range"):
        require(answer.get(name) is None, f"{name.decode()} is sent with 304")


def without_content(request: Request, reply: Reply) -> Reply:
    return replace(reply, content=b"") if reply.status >= 400 else reply


@should(
    Fault("says nothing with an error", reply=without_content),
    rows={
        "404": (MISSING, b"GET", b""),
        "400": (SMALL, b"GET", b"Host: in valid\r\n"),
        "405 or 501": (SMALL, b"DELETE", b""),
        "501": (SMALL, b"BREW", b""),
        "412": (SMALL, b"GET", b'If-Match: "none"\r\n'),
        "416": (SMALL, b"GET", b"Range: bytes=99999-\r\n"),
    },
)
def an_error_explains_itself(target: Target, row: tuple[str, bytes, bytes]) -> None:
    """RFC 9110 §15.5: "Except when responding to a HEAD request, the server SHOULD send a
    representation containing an explanation of the error situation, and whether it is a temporary
    or permanent condition."
    """
    path, method, fields = row
    answer = target.ask(target.request(path, method=method)[:-2] + fields + b"\r\n")
    if answer.status < 400:
        raise NotApplicable("the server has no such error")

    require(answer.content, f"{answer.status} came without content")


@must(
    answers(500, instead_of=404),
    answers(200, instead_of=404),
    rows={
        "in the root": MISSING,
        "in a directory": "/sizes/no-such-file.bin",
        "in a directory that is not there": "/no/such/directory/file.bin",
        "below a file": "/sizes/1000.bin/file.bin",
        "with a query": MISSING + "?x=y",
        "in another case": "/SIZES/1000.BIN",
    },
)
def what_is_not_there_is_404(target: Target, path: str) -> None:
    """RFC 9110 §15.5.5: "The 404 (Not Found) status code indicates that the origin server did not
    find a current representation for the target resource or is not willing to disclose that one
    exists."
    """
    expect(target.get(path), 404)


@must(answers(500, instead_of=404), rows={"GET": b"GET", "HEAD": b"HEAD"})
def what_is_not_there_is_404_for_each_method(target: Target, method: bytes) -> None:
    """RFC 9110 §15.5.5: "The 404 (Not Found) status code indicates that the origin server did not
    find a current representation for the target resource".
    """
    expect(target.get(MISSING, method=method), 404)


@must(
    answers(500, instead_of=404),
    rows={
        "a name of 256 octets": "/" + "x" * 256,
        "a name of 1000 octets": "/" + "x" * 1000,
        "a path of 5000 octets": "/abcd" * 1000,
        "a name of 255 octets in UTF-8": "/" + "%C3%A9" * 200,
    },
)
def a_name_that_no_file_can_have_is_a_client_error(target: Target, path: str) -> None:
    """RFC 9110 §15.6: 5xx says "that the server is aware that it has erred or is incapable of
    performing the requested method": it is not, of a name that the file system cannot hold.
    """
    expect_client_error(target.get(path))


@must(answers(404, instead_of=416), says(b"Content-Range", b"bytes 0-0/1", 416))
def a_416_says_nothing_wrong_of_the_length(target: Target) -> None:
    """RFC 9110 §15.5.17: "A server that generates a 416 response to a byte-range request SHOULD
    generate a Content-Range header field specifying the current length of the selected
    representation"; another length is worse than none.
    """
    target.need_ranges()
    answer = expect(target.get(SMALL, b"Range: bytes=99999-"), 416, 200)
    if answer.status == 416:
        value = answer.get(b"content-range")
        require(value in (None, b"bytes */1000"), f"Content-Range is {value!r}")

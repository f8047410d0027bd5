"""RFC 9110 §12, Content negotiation: what a client accepts, and Vary."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from contextlib import contextmanager

from tests.conformance.case import must, should
from tests.conformance.expect import expect, expect_whole, require
from tests.conformance.target import FILE, NotApplicable, Target
from tests.conformance.wrong_server import answers, misreads, omits
from tests.harness.reader import Answer

TEXT = b"text that is worth to be compressed\n" * 200


@should(
    answers(404, instead_of=200),
    rows={
        "another type": b"Accept: image/x-nobody",
        "no type at all": b"Accept: */*;q=0",
        "what is no list": b"Accept: ;;;,",
        "another charset": b"Accept-Charset: x-nobody",
        "another language": b"Accept-Language: x-nobody;q=0.5",
        "no language at all": b"Accept-Language: *;q=0",
        "a rank of four digits": b"Accept: */*;q=0.1234",
    },
)
def preferences_that_cannot_be_met_are_disregarded_or_406(target: Target, field: bytes) -> None:
    """RFC 9110 §12.4.1: "the origin server can either honor the header field by sending a 406 (Not
    Acceptable) response or disregard the header field by treating the response as if it is not
    subject to content negotiation for that request header field."
    """
    answer = target.get(FILE, field)

    if answer.status != 406:
        expect_whole(answer, FILE)


@contextmanager
def sidecar(target: Target) -> Iterator[str]:
    """A text with its compressed form beside it, for servers that look for one."""
    with target.scratch() as scratch:
        path = scratch.write("text.txt", TEXT)
        scratch.write("text.txt.gz", gzip.compress(TEXT))
        yield path


def is_coded(answer: Answer) -> bool:
    """Is the content in a coding?"""
    return bool(set(answer.head.members(b"content-encoding")) - {b"identity"})


def need_coding(target: Target, path: str) -> Answer:
    answer = target.get(path, b"Accept-Encoding: gzip")
    if not is_coded(answer):
        raise NotApplicable("the server does not compress")
    return answer


EAGER = misreads(
    "compresses whatever is accepted", rb"Accept-Encoding:[^\r]*", b"Accept-Encoding: gzip"
)


@must(
    EAGER,
    rows={
        "refused by name": b"gzip;q=0",
        "refused by name, with more digits": b"gzip;q=0.000",
        "refused by name, with space": b"gzip ; q=0",
        "all refused": b"*;q=0, identity",
        "others refused by a star": b"identity, *;q=0",
        "a name that holds the name": b"foogzip, gzipped, x-gzip-x",
    },
)
def a_coding_that_is_not_acceptable_is_not_used(target: Target, value: bytes) -> None:
    """RFC 9110 §12.5.3: "If the representation's content coding is one of the content codings
    listed in the Accept-Encoding field value, then it is acceptable unless it is accompanied by a
    qvalue of 0."
    """
    with sidecar(target) as path:
        answer = target.get(path, b"Accept-Encoding: " + value)

    require(not is_coded(answer), f"the content is in {answer.get(b'content-encoding')!r}")
    if answer.status != 406:
        require(expect(answer, 200).content == TEXT, "the content is not the file's")


@should(EAGER, rows={"empty": b"", "identity": b"identity", "identity alone": b"identity;q=1"})
def who_accepts_no_coding_gets_none(target: Target, value: bytes) -> None:
    """RFC 9110 §12.5.3: "An Accept-Encoding header field with a field value that is empty implies
    that the user agent does not want any content coding in response."
    """
    with sidecar(target) as path:
        answer = expect(target.get(path, b"Accept-Encoding: " + value), 200)

    require(not is_coded(answer), f"the content is in {answer.get(b'content-encoding')!r}")


@should(
    answers(404, instead_of=200),
    rows={
        "one nobody knows": b"brew",
        "another, and a rank": b"brew;q=0.5, mash;q=1",
        "what is no list": b";;q=",
    },
)
def a_coding_that_is_not_there_is_no_obstacle(target: Target, value: bytes) -> None:
    """RFC 9110 §12.5.3: "the origin server SHOULD send a response without any content coding unless
    the identity coding is indicated as unacceptable."
    """
    expect_whole(target.get(FILE, b"Accept-Encoding: " + value), FILE)


@must(
    answers(500, instead_of=200),
    rows={"identity refused": b"identity;q=0", "everything refused": b"*;q=0"},
)
def who_accepts_nothing_gets_the_file_or_406(target: Target, value: bytes) -> None:
    """RFC 9110 §12.5.3: a representation without coding "is acceptable by default unless
    specifically excluded by the Accept-Encoding header field stating either "identity;q=0" or
    "*;q=0" without a more specific entry for "identity"": then 406, or the field is disregarded
    (§12.4.1).
    """
    answer = target.get(FILE, b"Accept-Encoding: " + value)

    if answer.status not in (406, 415) and not is_coded(answer):
        expect_whole(answer, FILE)


@should(omits(b"Vary"))
def the_compressed_answer_says_what_it_varies_by(target: Target) -> None:
    """RFC 9110 §12.5.5: "An origin server SHOULD generate a Vary header field on a cacheable
    response when it wishes that response to be selectively reused for subsequent requests."
    """
    with sidecar(target) as path:
        answer = need_coding(target, path)

    varies = answer.head.members(b"vary")
    require({b"accept-encoding", b"*"} & set(varies), f"Vary is {answer.get(b'vary')!r}")


@should(omits(b"Vary"))
def the_plain_answer_says_what_it_varies_by(target: Target) -> None:
    """RFC 9110 §12.5.5: Vary describes "what parts of a request message [...] might have influenced
    the origin server's process for selecting the content of this response": a cache that holds the
    plain form has to know as well.
    """
    with sidecar(target) as path:
        need_coding(target, path)
        answer = target.get(path, b"Accept-Encoding: identity")

    varies = answer.head.members(b"vary")
    require({b"accept-encoding", b"*"} & set(varies), f"Vary is {answer.get(b'vary')!r}")


@must(omits(b"Vary", 304))
def the_304_of_a_compressed_answer_says_what_it_varies_by(target: Target) -> None:
    """RFC 9110 §12.5.5: Vary belongs to what §15.4.5 asks of a 304: "The server generating a 304
    response MUST generate any of the following header fields that would have been sent in a 200
    (OK) response to the same request: Content-Location, Date, ETag, and Vary".
    """
    with sidecar(target) as path:
        whole = need_coding(target, path)
        tag = whole.get(b"etag")
        if tag is None:
            raise NotApplicable("the server sends no ETag")
        fields = (b"Accept-Encoding: gzip", b"If-None-Match: " + tag)
        answer = expect(target.get(path, *fields), 304)

    require(answer.get(b"vary") == whole.get(b"vary"), f"Vary is {answer.get(b'vary')!r}")


@must(omits(b"Vary", 206))
def a_part_of_a_compressed_answer_is_cut_from_the_compressed_form(target: Target) -> None:
    """RFC 9110 §12.5.5: Vary belongs to the part as to the whole; §14.1.2: "If the representation
    data has a content coding applied, each byte range is calculated with respect to the encoded
    sequence of bytes".
    """
    target.need_ranges()
    with sidecar(target) as path:
        whole = need_coding(target, path)
        fields = (b"Accept-Encoding: gzip", b"Range: bytes=0-9")
        answer = target.get(path, *fields)
    if answer.status == 200:
        return

    expect(answer, 206)
    data = whole.content if is_coded(answer) else TEXT
    require(answer.content == data[:10], "the part is of another form than the fields say")
    require(answer.get(b"vary") == whole.get(b"vary"), f"Vary is {answer.get(b'vary')!r}")

"""RFC 9110 §8, Representation data and metadata: type, coding, length, validators."""

from __future__ import annotations

import gzip
import os
import re
import time
import zlib
from collections.abc import Callable

from tests.conformance.case import must, should
from tests.conformance.expect import expect, expect_whole, require
from tests.conformance.target import (
    FILE,
    MISSING,
    SMALL,
    NotApplicable,
    Target,
    content_of,
)
from tests.conformance.wrong_server import Fault, Request, answers, garbles, ignores, omits, says
from tests.harness import corpus
from tests.harness.reader import Answer, parse_date

TCHAR = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]"
MEDIA_TYPE = re.compile(
    TCHAR + rb"+/" + TCHAR + rb"+"
    rb"(?:[ \t]*;[ \t]*(?:" + TCHAR + rb"+=(?:" + TCHAR + rb'+|"(?:[^"\\\x00-\x08]|\\.)*"))?)*'
)
ENTITY_TAG = re.compile(rb'(?:W/)?"[!#-\x7e\x80-\xff]*"')

# What a browser must know to do the right thing with a file, and other names that are as right.
KINDS = {
    "html": (b"text/html",),
    "css": (b"text/css",),
    "js": (b"text/javascript", b"application/javascript", b"application/x-javascript"),
    "json": (b"application/json",),
    "txt": (b"text/plain",),
    "svg": (b"image/svg+xml",),
    "png": (b"image/png",),
    "jpg": (b"image/jpeg",),
    "wasm": (b"application/wasm",),
}


@should(omits(b"Content-Type"), rows={kind: kind for kind in KINDS})
def a_file_of_a_known_kind_has_a_type(target: Target, kind: str) -> None:
    """RFC 9110 §8.3: "A sender that generates a message containing content SHOULD generate a
    Content-Type header field in that message unless the intended media type of the enclosed
    representation is unknown to the sender."
    """
    answer = target.get(f"/types/file.{kind}")

    require(answer.get(b"content-type"), "Content-Type is missing")


@must(
    says(b"Content-Type", b"text"),
    says(b"Content-Type", b"text/html; charset = utf-8"),
    rows={kind: f"/types/file.{kind}" for kind in corpus.TYPES} | {"nothing": MISSING},
)
def a_media_type_follows_the_grammar(target: Target, path: str) -> None:
    """RFC 9110 §8.3.1: media-type = type "/" subtype parameters, where a parameter is a name, "="
    and a value, and no white space is around the "=".
    """
    value = target.get(path).get(b"content-type")

    require(value is None or MEDIA_TYPE.fullmatch(value), f"Content-Type is {value!r}")


@should(says(b"Content-Type", b"image/gif"), rows={kind: kind for kind in KINDS})
def a_media_type_is_that_of_the_file(target: Target, kind: str) -> None:
    """RFC 9110 §8.3: "The indicated media type defines both the data format and how that data is
    intended to be processed by a recipient"; a server that does not know it leaves it out, or says
    application/octet-stream.
    """
    value = target.get(f"/types/file.{kind}").get(b"content-type") or b""
    essence = value.partition(b";")[0].strip().lower()

    legal = (*KINDS[kind], b"application/octet-stream", b"")
    require(essence in legal, f"Content-Type of .{kind} is {value!r}")


def decoded(answer: Answer) -> bytes | None:
    """The content without its codings; None where they are not known here."""
    content = answer.content
    for coding in reversed(answer.head.members(b"content-encoding")):
        if coding in (b"gzip", b"x-gzip"):
            content = gzip.decompress(content)
        elif coding == b"deflate":
            content = zlib.decompress(content)
        elif coding != b"identity":
            return None
    return content


@must(
    garbles("compresses and does not say so", rb"\r\n\r\n.", b"\r\n\r\n\x1f"),
    rows={
        "none": b"X-None: y",
        "gzip": b"Accept-Encoding: gzip",
        "deflate": b"Accept-Encoding: deflate",
        "br": b"Accept-Encoding: br",
        "zstd": b"Accept-Encoding: zstd",
        "any": b"Accept-Encoding: *",
        "what browsers accept": b"Accept-Encoding: gzip, deflate, br, zstd",
    },
)
def each_content_coding_is_declared(target: Target, field: bytes) -> None:
    """RFC 9110 §8.4: "If one or more encodings have been applied to a representation, the sender
    that applied the encodings MUST generate a Content-Encoding header field that lists the content
    codings in the order in which they were applied."
    """
    path = "/types/file.txt"
    answer = expect(target.get(path, field), 200)
    content = decoded(answer)

    require(content in (None, content_of(path)), "the content is not the file's, in no coding")


@should(
    garbles("leaves out the length", rb"\r\nContent-Length: [0-9]+", b"\r\nConnection: close"),
    rows={"a file": FILE, "an empty file": "/sizes/0.bin", "an index": "/with-index/"},
)
def the_length_of_a_file_is_told(target: Target, path: str) -> None:
    """RFC 9110 §8.6: "in the absence of Transfer-Encoding, an origin server SHOULD send a
    Content-Length header field when the content size is known prior to sending the complete header
    section."
    """
    answer = expect(target.get(path), 200)

    require(answer.get(b"content-length") is not None, "Content-Length is missing")


@must(
    garbles("tells a wrong length to HEAD", rb"Content-Length: [0-9]+", b"Content-Length: 7"),
    rows={f"{size} octets": size for size in (0, 1, 16, 4097, 65_537, 1_048_577)},
)
def the_length_in_an_answer_to_head_is_gets(target: Target, size: int) -> None:
    """RFC 9110 §8.6: "a server MUST NOT send Content-Length in such a response unless its field
    value equals the decimal number of octets that would have been sent in the content of a response
    if the same request had used the GET method."
    """
    answer = expect(target.get(f"/sizes/{size}.bin", method=b"HEAD"), 200)

    value = answer.get(b"content-length")
    require(value in (None, b"%d" % size), f"Content-Length is {value!r}")


@must(
    garbles("tells a wrong length to HEAD", rb"Content-Length: [0-9]+", b"Content-Length: 7"),
    rows={"nothing": MISSING, "a redirect": "/with-index", "an index": "/with-index/"},
)
def the_length_in_an_answer_to_head_of_another_kind_is_gets(target: Target, path: str) -> None:
    """RFC 9110 §8.6: "a server MUST NOT send Content-Length in such a response unless its field
    value equals the decimal number of octets that would have been sent in the content of a response
    if the same request had used the GET method."
    """
    got = target.get(path)
    value = target.get(path, method=b"HEAD").get(b"content-length")

    require(value in (None, b"%d" % len(got.content)), f"Content-Length is {value!r}")


@must(says(b"Content-Length", b"7", 304))
def the_length_in_a_304_is_that_of_the_file(target: Target) -> None:
    """RFC 9110 §8.6: "a server MUST NOT send Content-Length in such a response unless its field
    value equals the decimal number of octets that would have been sent in the content of a 200 (OK)
    response to the same request."
    """
    tag = target.need_etag()
    answer = expect(target.get(FILE, b"If-None-Match: " + tag), 304)

    value = answer.get(b"content-length")
    require(value in (None, b"%d" % len(content_of(FILE))), f"Content-Length is {value!r}")


@must(says(b"Content-Length", b"0", 204))
def a_204_has_no_length(target: Target) -> None:
    """RFC 9110 §8.6: "A server MUST NOT send a Content-Length header field in any response with a
    status code of 1xx (Informational) or 204 (No Content)."
    """
    if target.get(SMALL, method=b"OPTIONS").status != 204:
        raise NotApplicable("the server answers nothing with 204")


@must(garbles("lets Content-Location choose", rb"\r\n\r\n.", b"\r\n\r\n?"))
def content_location_in_a_request_changes_nothing(target: Target) -> None:
    """RFC 9110 §8.7: "an origin server MUST NOT use such context information to alter the request
    semantics."
    """
    expect_whole(target.get(FILE, b"Content-Location: " + SMALL.encode()), FILE)


@must(says(b"ETag", b'"same"'), rows={"another size": b"longer than before", "the size": b"second"})
def a_strong_tag_changes_with_the_content(target: Target, second: bytes) -> None:
    """RFC 9110 §8.8.1: "A strong validator is representation metadata that changes value whenever a
    change occurs to the representation data that would be observable in the content of a 200 (OK)
    response to GET."
    """
    target.need_etag()
    with target.scratch() as scratch:
        before = target.get(scratch.write("changed.txt", b"first.", age=200.0)).get(b"etag")
        after = changed(target, scratch.write("changed.txt", second, age=100.0), second)

    weak = before is not None and before.startswith(b"W/")
    require(weak or after.get(b"etag") != before, f"the ETag is still {before!r}")


def changed(target: Target, path: str, content: bytes) -> Answer:
    """The first answer that has the new content; a server may take its time to see a change."""
    limit = time.monotonic() + 3.0
    while time.monotonic() < limit:
        answer = target.get(path)
        if answer.content == content:
            return answer
        time.sleep(0.05)
    raise NotApplicable("the server does not see that a file has changed")


@must(says(b"ETag", b'"same"'))
def a_tag_that_may_miss_a_change_within_a_second_is_weak(target: Target) -> None:
    """RFC 9110 §8.8.3: "If an origin server provides an entity tag for a representation and the
    generation of that entity tag does not satisfy all of the characteristics of a strong validator
    (Section 8.8.1), then the origin server MUST mark the entity tag as weak".

    Written twice within a second, with the same size: either the tags differ, or they are weak.
    """
    target.need_etag()
    with target.scratch() as scratch:
        before = target.get(scratch.write("twice.txt", b"first.", age=0.0)).get(b"etag")
        after = changed(target, scratch.write("twice.txt", b"second", age=0.0), b"second")

    weak = before is not None and before.startswith(b"W/")
    same = after.get(b"etag") == before
    require(weak or not same, f"{before!r} is strong, and the same for two contents")


@must(says(b"ETag", b'"same"'))
def a_tag_tells_changes_within_one_second_apart_or_is_weak(target: Target) -> None:
    """RFC 9110 §8.8.3: "If an origin server provides an entity tag for a representation and the
    generation of that entity tag does not satisfy all of the characteristics of a strong validator
    (Section 8.8.1), then the origin server MUST mark the entity tag as weak".

    Two versions of one size, whose modification times differ by less than a second, long ago.
    """
    target.need_etag()
    second = int(time.time()) - 5000
    tags = []
    with target.scratch() as scratch:
        for content, fraction in ((b"first.", 100_000_000), (b"second", 900_000_000)):
            path = scratch.write("fraction.txt", content)
            modified = second * 1_000_000_000 + fraction
            os.utime(scratch.directory / "fraction.txt", ns=(modified, modified))
            tags.append(changed(target, path, content).get(b"etag"))

    weak = tags[0] is not None and tags[0].startswith(b"W/")
    require(weak or tags[0] != tags[1], f"{tags[0]!r} is strong, and the same for two contents")


@should(
    omits(b"Last-Modified"),
    rows={"a file": FILE, "an index": "/with-index/", "a file of 1998": "/times/1998.txt"},
)
def last_modified_is_sent(target: Target, path: str) -> None:
    """RFC 9110 §8.8.2.1: "An origin server SHOULD send Last-Modified for any selected
    representation for which a last modification date can be reasonably and consistently
    determined".
    """
    require(target.get(path).get(b"last-modified"), "Last-Modified is missing")


@should(
    says(b"Last-Modified", b"Sun, 06 Nov 1994 08:49:37 GMT"),
    rows={"a file": FILE, "a small file": SMALL, "a file of 1998": "/times/1998.txt"},
)
def last_modified_is_when_the_file_was_changed(target: Target, path: str) -> None:
    """RFC 9110 §8.8.2: Last-Modified is "the date and time at which the origin server believes the
    selected representation was last modified".
    """
    target.need_last_modified()
    sent = parse_date(target.get(path).get(b"last-modified") or b"")
    changed = corpus.CORE[path.lstrip("/").encode()].mtime_ns // 1_000_000_000

    require(sent is not None and 0 <= sent - changed <= 1, f"{sent} came, where {changed} is due")


@must(says(b"Last-Modified", b"Thu, 01 Jan 2099 00:00:00 GMT"))
def last_modified_is_not_in_the_future(target: Target) -> None:
    """RFC 9110 §8.8.2.1: "If the last modification time is derived from implementation-specific
    metadata that evaluates to some time in the future, according to the origin server's clock, then
    the origin server MUST replace that value with the message origination date."
    """
    answer = expect(target.get("/times/future.txt"), 200)
    value = answer.get(b"last-modified")
    if value is not None:
        sent, date = parse_date(value), parse_date(answer.get(b"date") or b"")
        require(sent is not None and date is not None and sent <= date, f"it is {value!r}")


@should(
    omits(b"ETag"), rows={"a file": FILE, "an index": "/with-index/", "no octet": "/sizes/0.bin"}
)
def a_tag_is_sent(target: Target, path: str) -> None:
    """RFC 9110 §8.8.3.1: "An origin server SHOULD send an ETag for any selected representation for
    which detection of changes can be reasonably and consistently determined".
    """
    require(target.get(path).get(b"etag"), "ETag is missing")


@must(
    says(b"ETag", b"unquoted"),
    says(b"ETag", b'w/"weak"'),
    rows={
        "a file": FILE,
        "no octet": "/sizes/0.bin",
        "a name of UTF-8": "/names/%C3%A9t%C3%A9.txt",
    },
)
def a_tag_follows_the_grammar(target: Target, path: str) -> None:
    """RFC 9110 §8.8.3: entity-tag = [ weak ] opaque-tag, opaque-tag = DQUOTE *etagc DQUOTE, and
    weak is "W/", "case-sensitive".
    """
    target.need_etag()
    value = target.get(path).get(b"etag")

    require(value is None or ENTITY_TAG.fullmatch(value), f"ETag is {value!r}")


def anew(_: Request, octets: bytes) -> bytes:
    return octets.replace(b'ETag: "', b'ETag: "%x-' % time.monotonic_ns(), 1)


@must(Fault("makes a tag for each answer", wire=anew))
def a_tag_stays_while_the_content_stays(target: Target) -> None:
    """RFC 9110 §8.8.3: "An entity tag is an opaque validator for differentiating between multiple
    representations of the same resource"; of one representation there is one.
    """
    tag = target.need_etag()
    tags = {target.get(FILE).get(b"etag") for _ in range(3)}

    require(tags == {tag}, f"the tags of one file are {tags}")


@must(Fault("makes a tag for each answer", wire=anew))
def a_tag_is_the_same_in_each_kind_of_answer(target: Target) -> None:
    """RFC 9110 §8.8.3: ETag "provides the current entity tag for the selected representation", the
    same whether it is sent whole, in part, or not at all.
    """
    tag = target.need_etag()
    kinds = [
        target.get(FILE, method=b"HEAD"),
        target.get(FILE, b"Range: bytes=0-9"),
        target.get(FILE, b"If-None-Match: *"),
        target.get(FILE + "?query"),
        target.get(FILE.replace("sizes", "%73izes")),
    ]
    tags = {answer.get(b"etag") for answer in kinds if answer.status in (200, 206, 304)}

    require(tags == {tag}, f"the tags of one file are {tags}")


@must(
    ignores(b"if-none-match"),
    rows={
        "a strong tag with itself": (b"%b", FILE),
        "a strong tag with the weak one": (b"W/%b", FILE),
    },
)
def weak_comparison_ignores_weakness(target: Target, row: tuple[bytes, str]) -> None:
    """RFC 9110 §8.8.3.2: "Weak comparison: two entity tags are equivalent if their opaque-tags
    match character-by-character, regardless of either or both being tagged as "weak"."
    """
    form, path = row
    tag = target.need_etag().removeprefix(b"W/")

    expect(target.get(path, b"If-None-Match: " + form % tag), 304)


def prefix(tag: bytes) -> bytes:
    return tag[:-2] + b'"'


def suffixed(tag: bytes) -> bytes:
    return tag[:-1] + b'x"'


def in_upper_case(tag: bytes) -> bytes:
    return b'"' + tag[1:-1].swapcase() + b'x"'


@must(
    answers(304, instead_of=200),
    rows={"a part of it": prefix, "more than it": suffixed, "in another case": in_upper_case},
)
def tags_match_as_a_whole(target: Target, change: Callable[[bytes], bytes]) -> None:
    """RFC 9110 §8.8.3.2: "two entity tags are equivalent if their opaque-tags match
    character-by-character".
    """
    tag = target.need_etag().removeprefix(b"W/")

    expect_whole(target.get(FILE, b"If-None-Match: " + change(tag)), FILE)


@must(says(b"ETag", b'"same"'))
def a_coded_representation_has_a_tag_of_its_own(target: Target) -> None:
    """RFC 9110 §8.8.3.3: "a strong entity tag for a content-encoded representation has to be
    distinct from the entity tag of an unencoded representation to prevent potential conflicts
    during cache updates and range requests."
    """
    with target.scratch() as scratch:
        content = b"text that is worth to be compressed\n" * 100
        path = scratch.write("coded.txt", content)
        scratch.write("coded.txt.gz", gzip.compress(content))
        plain = target.get(path, b"Accept-Encoding: identity")
        coded = target.get(path, b"Accept-Encoding: gzip")
    if coded.get(b"content-encoding") is None:
        raise NotApplicable("the server does not compress")

    tag = plain.get(b"etag") or b"W/"
    require(tag.startswith(b"W/") or coded.get(b"etag") != tag, f"both have {tag!r}")

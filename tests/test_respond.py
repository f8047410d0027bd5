"""What is answered to whom: RFC 9110 as a table of requests and a dict of files."""

from __future__ import annotations

import re
from dataclasses import dataclass

import pytest

from mpserve.config import Site
from mpserve.protocol import target as targets
from mpserve.protocol.message import REASONS, FileSpan, Response
from mpserve.protocol.representation import Outcome
from mpserve.respond import error, respond
from tests.fakes import (
    NOW,
    SETTLED,
    FakeFile,
    FakeTree,
    fields_of,
    make_request,
    make_site,
    octets,
    summary,
)

SITE = make_site()
TEXT = bytes(range(33, 127)) * 20  # 1880 octets
TREE = FakeTree(
    {
        b"a.txt": TEXT,
        b"empty.txt": b"",
        b"docs/index.html": b"<p>Docs",
        b"docs/more/b.txt": b"B",
        b"loose/c.txt": b"C",
        b"loose/sub/d.txt": b"D",
        b"secret.txt": Outcome.FORBIDDEN,
        b"busy.txt": Outcome.BUSY,
        b"broken.txt": Outcome.FAILED,
    }
)
ETAG = b'"179799b805716000-758"'
DATE = b"Tue, 14 Nov 2023 21:13:20 GMT"
ABOUT_TEXT = {
    b"content-type": b"text/plain; charset=utf-8",
    b"x-content-type-options": b"nosniff",
    b"last-modified": DATE,
    b"etag": ETAG,
    b"accept-ranges": b"bytes",
    b"server": b"mpserve",
}
ABOUT_ERRORS = {
    b"content-type": b"text/html; charset=utf-8",
    b"x-content-type-options": b"nosniff",
    b"cache-control": b"no-store",
    b"server": b"mpserve",
}

BOTH_METHODS = pytest.mark.parametrize("method", [b"GET", b"HEAD"])


@dataclass(frozen=True, slots=True)
class Server:
    """A site, and the tree that it is looked up in."""

    site: Site = SITE
    tree: FakeTree = TREE

    def answer(
        self,
        method: bytes = b"GET",
        path: bytes = b"/a.txt",
        version: bytes = b"HTTP/1.1",
        **fields: bytes,
    ) -> Response:
        """What is answered; only GET and HEAD look anything up."""
        target = targets.parse(method, path)
        looks_up = method in (b"GET", b"HEAD")
        resource = self.tree.lookup(self.site, target) if looks_up else None
        request = make_request(method, path, version, **fields)
        return respond(request, target, resource, self.site)


answer = Server().answer


def page(status: int) -> bytes:
    return octets(error(status, SITE).content)


# --- The whole content ---------------------------------------------------------------------------


@BOTH_METHODS
def test_a_file_is_answered_with_200_its_fields_and_one_span_of_it(method: bytes) -> None:
    response = answer(method)

    assert summary(response) == (200, ABOUT_TEXT, TEXT)
    assert response.content == (FileSpan(FakeFile(TEXT), 0, 1880),)


@BOTH_METHODS
def test_an_empty_file_is_answered_without_a_piece_and_with_a_length(method: bytes) -> None:
    response = answer(method, b"/empty.txt")

    assert (response.status, response.content, response.length) == (200, (), 0)


def test_the_query_has_no_say_in_what_a_file_is() -> None:
    assert summary(answer(path=b"/a.txt?v=2")) == summary(answer())


@BOTH_METHODS
def test_a_directory_is_answered_with_its_index_file(method: bytes) -> None:
    status, fields, content = summary(answer(method, b"/docs/"))

    assert (status, content) == (200, b"<p>Docs")
    assert fields[b"content-type"] == b"text/html; charset=utf-8"


# --- Methods and expectations --------------------------------------------------------------------


@pytest.mark.parametrize("path", [b"*", b"/a.txt", b"/nothing"])
def test_options_is_answered_with_what_is_allowed(path: bytes) -> None:
    response = answer(b"OPTIONS", path)

    assert summary(response) == (204, {b"allow": b"GET, HEAD, OPTIONS", b"server": b"mpserve"}, b"")
    assert response.length is None


@pytest.mark.parametrize(
    ("method", "path"),
    [
        pytest.param(b"POST", b"/a.txt", id="POST"),
        pytest.param(b"PUT", b"/a.txt", id="PUT"),
        pytest.param(b"DELETE", b"/nothing", id="DELETE"),
        pytest.param(b"CONNECT", b"localhost:80", id="CONNECT"),
        pytest.param(b"TRACE", b"/a.txt", id="TRACE"),
        pytest.param(b"PATCH", b"/a.txt", id="PATCH"),
    ],
)
def test_a_method_that_changes_things_is_not_allowed(method: bytes, path: bytes) -> None:
    allowed = {b"allow": b"GET, HEAD, OPTIONS"}

    assert summary(answer(method, path)) == (405, {**ABOUT_ERRORS, **allowed}, page(405))


@pytest.mark.parametrize("method", [b"PROPFIND", b"get", b"Get", b"HEADS", b"X"])
def test_a_method_that_nobody_knows_is_not_implemented(method: bytes) -> None:
    assert summary(answer(method)) == (501, ABOUT_ERRORS, page(501))


@pytest.mark.parametrize(
    ("expect", "version", "expected"),
    [
        pytest.param(b"100-continue", b"HTTP/1.1", 200, id="100-continue"),
        pytest.param(b"100-Continue", b"HTTP/1.1", 200, id="100-continue in capitals"),
        pytest.param(b"100-continue, 100-continue", b"HTTP/1.1", 200, id="100-continue twice"),
        pytest.param(b"", b"HTTP/1.1", 200, id="nothing"),
        pytest.param(b"200-ok", b"HTTP/1.1", 417, id="something else"),
        pytest.param(b"100-continue, x", b"HTTP/1.1", 417, id="something else as well"),
        pytest.param(b"100-continue=1", b"HTTP/1.1", 417, id="100-continue with a value"),
        pytest.param(b"200-ok", b"HTTP/1.2", 417, id="something else, in a later version"),
        pytest.param(b"100-continue", b"HTTP/1.0", 200, id="100-continue in HTTP/1.0"),
        pytest.param(b"200-ok", b"HTTP/1.0", 200, id="something else in HTTP/1.0"),
    ],
)
def test_an_expectation_other_than_100_continue_fails(
    expect: bytes, version: bytes, expected: int
) -> None:
    response = answer(version=version, expect=expect)

    assert response.status == expected


@pytest.mark.parametrize("method", [b"GET", b"HEAD", b"OPTIONS", b"POST", b"X"])
def test_a_failed_expectation_comes_before_anything_else(method: bytes) -> None:
    response = answer(method, b"/nothing", expect=b"x", if_match=b'"old"')

    assert summary(response) == (417, ABOUT_ERRORS, page(417))


# --- Nothing to represent ------------------------------------------------------------------------


@BOTH_METHODS
@pytest.mark.parametrize(
    ("path", "expected"),
    [
        pytest.param(b"/nothing", 404, id="missing"),
        pytest.param(b"/a.txt/", 404, id="a file with a slash"),
        pytest.param(b"/nothing/", 404, id="a missing directory"),
        pytest.param(b"/secret.txt", 403, id="forbidden"),
        pytest.param(b"/broken.txt", 500, id="failed"),
    ],
)
def test_what_cannot_be_sent_is_an_error(method: bytes, path: bytes, expected: int) -> None:
    assert summary(answer(method, path)) == (expected, ABOUT_ERRORS, page(expected))


def test_a_server_out_of_descriptors_says_when_to_come_again() -> None:
    come_again = {b"retry-after": b"1"}

    assert summary(answer(path=b"/busy.txt")) == (503, {**ABOUT_ERRORS, **come_again}, page(503))


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        pytest.param(b"/docs", b"/docs/", id="a directory"),
        pytest.param(b"/docs/more", b"/docs/more/", id="a directory in a directory"),
        pytest.param(b"//docs", b"/docs/", id="two slashes would lead to another host"),
        pytest.param(b"///docs//more", b"/docs/more/", id="more slashes"),
        pytest.param(b"/docs/../docs/./more", b"/docs/more/", id="dot segments"),
        pytest.param(b"/%64ocs", b"/docs/", id="a needless escape"),
        pytest.param(b"http://localhost/docs", b"/docs/", id="the absolute-form"),
        pytest.param(b"/docs?", b"/docs/?", id="an empty query"),
        pytest.param(b"/docs?a=1&b=/x?y", b"/docs/?a=1&b=/x?y", id="a query"),
        pytest.param(b"/docs?a=%20%2F", b"/docs/?a=%20%2F", id="escapes in a query stay as sent"),
        pytest.param(b"/docs?[]{}|^\\", b"/docs/?%5B%5D%7B%7D%7C%5E%5C", id="what browsers send"),
        pytest.param(b'/docs?<">`', b"/docs/?%3C%22%3E%60", id="what would end an attribute"),
        pytest.param("/docs?ü".encode(), b"/docs/?%C3%BC", id="UTF-8"),
        pytest.param(b"/docs?\xff", b"/docs/?%FF", id="no UTF-8"),
        pytest.param(b"/docs?100%&%z%1", b"/docs/?100%25&%25z%251", id="broken escapes"),
        pytest.param(b"/docs?\\evil.example", b"/docs/?%5Cevil.example", id="a backslash"),
    ],
)
def test_a_directory_without_its_slash_redirects_to_it(path: bytes, expected: bytes) -> None:
    response = answer(path=path)

    about = {name: value for name, value in ABOUT_ERRORS.items() if name != b"cache-control"}
    assert summary(response) == (308, {**about, b"location": expected}, page(308))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        pytest.param(b"a b", b"/a%20b/", id="a space"),
        pytest.param(b"\\evil", b"/%5Cevil/", id="a backslash, which browsers take for a slash"),
        pytest.param(b"a:b", b"/a:b/", id="a colon"),
        pytest.param(b"100%", b"/100%25/", id="a percent sign"),
        pytest.param(b"a?b", b"/a%3Fb/", id="a question mark"),
        pytest.param(b"a\r\nSet-Cookie: x", b"/a%0D%0ASet-Cookie:%20x/", id="a line of its own"),
        pytest.param("ü".encode(), b"/%C3%BC/", id="UTF-8"),
    ],
)
def test_the_location_of_a_directory_has_its_name_encoded(name: bytes, expected: bytes) -> None:
    tree = FakeTree({name + b"/x": b""})
    path = b"/" + b"".join(b"%%%02X" % octet for octet in name)

    response = Server(tree=tree).answer(path=path)

    assert fields_of(response.fields)[b"location"] == expected


@BOTH_METHODS
@pytest.mark.parametrize(
    "path", [b"/nothing", b"/secret.txt", b"/broken.txt", b"/busy.txt", b"/docs"]
)
def test_preconditions_and_ranges_do_not_change_an_error(method: bytes, path: bytes) -> None:
    fields = {"if_match": b'"x"', "if_none_match": b"*", "range": b"bytes=0-0"}

    assert summary(answer(method, path, **fields)) == summary(answer(method, path))


# --- Preconditions -------------------------------------------------------------------------------


@BOTH_METHODS
@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"if_none_match": ETAG}, id="the entity-tag"),
        pytest.param({"if_none_match": b"*"}, id="anything"),
        pytest.param({"if_modified_since": DATE}, id="the date"),
        pytest.param({"if_none_match": ETAG, "range": b"bytes=0-0"}, id="with a range"),
        pytest.param({"if_none_match": ETAG, "range": b"bytes=9999-"}, id="unsatisfiable range"),
    ],
)
def test_what_has_not_been_modified_is_not_sent(method: bytes, fields: dict[str, bytes]) -> None:
    response = answer(method, **fields)

    assert summary(response) == (304, {b"etag": ETAG, b"server": b"mpserve"}, b"")
    assert response.length is None


@BOTH_METHODS
@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"if_match": b'"old"'}, id="another entity-tag"),
        pytest.param({"if_unmodified_since": b"Tue, 14 Nov 2023 21:13:19 GMT"}, id="earlier"),
        pytest.param({"if_match": b'"old"', "range": b"bytes=9999-"}, id="unsatisfiable range"),
    ],
)
def test_a_failed_precondition_is_412(method: bytes, fields: dict[str, bytes]) -> None:
    assert summary(answer(method, **fields)) == (412, ABOUT_ERRORS, page(412))


def test_preconditions_are_ignored_by_options_and_what_is_not_allowed() -> None:
    fields = {"if_match": b'"old"', "if_none_match": b"*"}

    assert summary(answer(b"OPTIONS", **fields)) == summary(answer(b"OPTIONS"))
    assert summary(answer(b"POST", **fields)) == summary(answer(b"POST"))


def test_a_file_that_is_still_being_written_is_found_by_its_weak_tag_and_by_no_strong_one() -> None:
    server = Server(tree=FakeTree({b"a.txt": TEXT}, mtime=NOW))
    etag = fields_of(server.answer().fields)[b"etag"]

    assert etag.startswith(b'W/"')
    assert server.answer(if_none_match=etag).status == 304
    assert server.answer(if_match=etag).status == 412
    assert server.answer(if_range=etag, range=b"bytes=0-0").status == 200


# --- Ranges --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "condition",
    [
        pytest.param({}, id="unconditionally"),
        pytest.param({"if_range": ETAG}, id="if the entity-tag is the same"),
        pytest.param({"if_range": DATE}, id="if the date is the same"),
        pytest.param({"if_match": ETAG}, id="if the entity-tag matches"),
    ],
)
def test_one_range_is_a_206_with_one_span_of_the_file(condition: dict[str, bytes]) -> None:
    response = answer(range=b"bytes=100-199", **condition)

    part = {b"content-range": b"bytes 100-199/1880"}
    assert summary(response) == (206, {**ABOUT_TEXT, **part}, TEXT[100:200])
    assert response.length == 100
    assert response.content == (FileSpan(FakeFile(TEXT), 100, 200),)


def test_the_whole_asked_for_as_a_range_is_a_206() -> None:
    response = answer(range=b"bytes=0-")

    part = {b"content-range": b"bytes 0-1879/1880"}
    assert summary(response) == (206, {**ABOUT_TEXT, **part}, TEXT)


def test_several_ranges_are_a_multipart_without_a_content_range_of_its_own() -> None:
    status, fields, content = summary(answer(range=b"bytes=0-9,200-209"))

    media_type, _, boundary = fields[b"content-type"].partition(b"; boundary=")
    assert (status, media_type) == (206, b"multipart/byteranges")
    assert fields == {**ABOUT_TEXT, b"content-type": fields[b"content-type"]}
    assert re.findall(rb"(?m)^Content-Range: (.*)\r$", content) == [
        b"bytes 0-9/1880",
        b"bytes 200-209/1880",
    ]
    assert content.count(b"--" + boundary) == 3


def test_several_ranges_of_a_file_leave_as_spans() -> None:
    spans = [
        piece
        for piece in answer(range=b"bytes=0-9,200-209").content
        if not isinstance(piece, bytes)
    ]

    assert spans == [FileSpan(FakeFile(TEXT), 0, 10), FileSpan(FakeFile(TEXT), 200, 210)]


@pytest.mark.parametrize("value", [b"bytes=1880-", b"bytes=-0", b"bytes=5000-6000,7000-"])
def test_a_range_that_cannot_be_satisfied_is_told_the_length(value: bytes) -> None:
    length = {b"content-range": b"bytes */1880"}

    assert summary(answer(range=value)) == (416, {**ABOUT_ERRORS, **length}, page(416))


@pytest.mark.parametrize(
    ("method", "fields"),
    [
        pytest.param(b"HEAD", {"range": b"bytes=0-0"}, id="in a HEAD request"),
        pytest.param(b"HEAD", {"range": b"bytes=9999-"}, id="unsatisfiable, in a HEAD request"),
        pytest.param(b"GET", {"range": b"bytes=5-4"}, id="malformed"),
        pytest.param(b"GET", {"range": b"items=0-0"}, id="of another unit"),
        pytest.param(b"GET", {"range": b"bytes=0-,0-"}, id="no shorter than the whole"),
        pytest.param(
            b"GET", {"range": b"bytes=0-0", "if_range": b'"old"'}, id="of another version"
        ),
        pytest.param(
            b"GET", {"range": b"bytes=9999-", "if_range": b'"old"'}, id="past another version"
        ),
        pytest.param(b"GET", {"if_range": ETAG}, id="not there, but If-Range is"),
    ],
)
def test_a_range_that_does_not_count_gets_the_whole_content(
    method: bytes, fields: dict[str, bytes]
) -> None:
    assert summary(answer(method, **fields)) == (200, ABOUT_TEXT, TEXT)


def test_the_suffix_of_an_empty_file_is_the_whole_of_it() -> None:
    response = answer(path=b"/empty.txt", range=b"bytes=-1")

    assert (response.status, response.content, response.length) == (200, (), 0)


# --- Listings ------------------------------------------------------------------------------------


def test_a_directory_without_index_file_is_answered_with_a_listing() -> None:
    status, fields, content = summary(answer(path=b"/loose/"))

    assert status == 200
    assert fields == {
        b"content-type": b"text/html; charset=utf-8",
        b"x-content-type-options": b"nosniff",
        b"etag": fields[b"etag"],
        b"accept-ranges": b"bytes",
        b"server": b"mpserve",
    }
    assert re.findall(rb'href="\./([^"]*)"', content) == [b"sub/", b"c.txt"]
    assert b"<title>Index of /loose/</title>" in content


def test_listings_are_missing_where_they_are_not_wanted() -> None:
    response = Server(make_site(listing=False)).answer(path=b"/loose/")

    assert response.status == 404


def test_a_listing_has_validators_and_ranges_like_anything_else() -> None:
    _, fields, content = summary(answer(path=b"/loose/"))
    etag = fields[b"etag"]

    assert answer(path=b"/loose/", if_none_match=etag).status == 304
    assert answer(path=b"/loose/", if_match=b'"old"').status == 412
    assert answer(path=b"/loose/", if_modified_since=DATE).status == 200
    assert summary(answer(path=b"/loose/", range=b"bytes=0-14", if_range=etag))[::2] == (
        206,
        content[:15],
    )


def test_a_listing_has_another_entity_tag_when_an_entry_changes() -> None:
    before, after = (
        fields_of(Server(tree=FakeTree({b"a": b""}, mtime=mtime)).answer(path=b"/").fields)[b"etag"]
        for mtime in (SETTLED, SETTLED + 60)
    )

    assert before != after


# --- What the operator gives ---------------------------------------------------------------------

OPERATORS = b"Server: apache\r\nX-Frame-Options: DENY\r\nCache-Control: no-cache\r\n"


@pytest.mark.parametrize(
    ("expected", "method", "path", "fields"),
    [
        pytest.param(200, b"GET", b"/a.txt", {}, id="whole content"),
        pytest.param(206, b"GET", b"/a.txt", {"range": b"bytes=0-0"}, id="a range"),
        pytest.param(206, b"GET", b"/a.txt", {"range": b"bytes=0-0,-1"}, id="several ranges"),
        pytest.param(200, b"GET", b"/loose/", {}, id="a listing"),
        pytest.param(204, b"OPTIONS", b"*", {}, id="options"),
        pytest.param(304, b"GET", b"/a.txt", {"if_none_match": b"*"}, id="not modified"),
        pytest.param(308, b"GET", b"/docs", {}, id="a redirect"),
        pytest.param(403, b"GET", b"/secret.txt", {}, id="forbidden"),
        pytest.param(404, b"GET", b"/nothing", {}, id="missing"),
        pytest.param(405, b"POST", b"/a.txt", {}, id="method not allowed"),
        pytest.param(412, b"GET", b"/a.txt", {"if_match": b'"x"'}, id="precondition failed"),
        pytest.param(416, b"GET", b"/a.txt", {"range": b"bytes=9999-"}, id="unsatisfiable"),
        pytest.param(417, b"GET", b"/a.txt", {"expect": b"x"}, id="expectation failed"),
        pytest.param(500, b"GET", b"/broken.txt", {}, id="failed"),
        pytest.param(501, b"X", b"/a.txt", {}, id="not implemented"),
        pytest.param(503, b"GET", b"/busy.txt", {}, id="busy"),
    ],
)
def test_the_operators_fields_are_on_every_answer_and_replace_ours(
    expected: int, method: bytes, path: bytes, fields: dict[str, bytes]
) -> None:
    status, sent, _ = summary(Server(make_site(OPERATORS)).answer(method, path, **fields))

    assert status == expected
    assert sent.items() >= fields_of(OPERATORS).items()


@pytest.mark.parametrize("path", [b"/a.txt", b"/loose/", b"/nothing", b"/docs"])
def test_another_content_type_replaces_ours_everywhere(path: bytes) -> None:
    response = Server(make_site(b"Content-Type: text/x\r\n")).answer(path=path)

    assert fields_of(response.fields)[b"content-type"] == b"text/x"


def test_several_ranges_cannot_be_told_apart_where_the_operator_sets_the_content_type() -> None:
    server = Server(make_site(b"Content-Type: text/x\r\n"))

    several = server.answer(range=b"bytes=0-9,200-209")
    one = server.answer(range=b"bytes=0-9,5-14")
    none = server.answer(range=b"bytes=5000-,6000-")

    assert summary(several)[::2] == (200, TEXT)
    assert summary(one)[::2] == (206, TEXT[:15])
    assert none.status == 416


def test_an_entity_tag_of_the_operators_is_not_taken_for_ours() -> None:
    server = Server(make_site(b'ETag: "fixed"\r\n'))

    assert server.answer(if_none_match=b'"fixed"').status == 200
    assert server.answer(if_none_match=ETAG).status == 200
    assert server.answer(if_range=b'"fixed"', range=b"bytes=0-0").status == 200
    assert server.answer(if_modified_since=DATE).status == 304


# --- Errors --------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [status for status in REASONS if status >= 400])
def test_an_error_is_a_short_page_that_says_its_status_and_reason_only(status: int) -> None:
    response = error(status, SITE)

    sent, fields, content = summary(response)
    text = re.sub(rb"<[^>]*>", b" ", content).split()
    said = b"%d %b" % (status, REASONS[status])
    assert (sent, fields) == (status, ABOUT_ERRORS)
    assert text == 2 * said.split()
    assert response.length is not None
    assert response.length < 500


def test_an_error_carries_the_lines_it_is_given() -> None:
    response = error(503, SITE, b"Retry-After: 7\r\n")

    assert fields_of(response.fields) == {**ABOUT_ERRORS, b"retry-after": b"7"}

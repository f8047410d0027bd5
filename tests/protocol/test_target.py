"""The request target: its forms, its decoding, its dot segments, and its way back into a URI."""

from __future__ import annotations

from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpserve.protocol.message import HTTPError
from mpserve.protocol.target import Target, parse


@pytest.mark.parametrize(
    ("path", "segments", "slash"),
    [
        pytest.param(b"/", (), True, id="the root"),
        pytest.param(b"/a", (b"a",), False, id="one name"),
        pytest.param(b"/a/b.txt", (b"a", b"b.txt"), False, id="two names"),
        pytest.param(b"/a/", (b"a",), True, id="a slash at the end"),
        pytest.param(b"//", (), True, id="empty segments alone"),
        pytest.param(b"//a///b//", (b"a", b"b"), True, id="empty segments are skipped"),
        pytest.param(b"/.", (), True, id="a dot stands for a directory"),
        pytest.param(b"/..", (), True, id="two dots, and nothing above the root"),
        pytest.param(b"/../../a", (b"a",), False, id="never above the root"),
        pytest.param(b"/a/.", (b"a",), True, id="a dot at the end"),
        pytest.param(b"/a/..", (), True, id="two dots at the end"),
        pytest.param(b"/a/b/../c", (b"a", b"c"), False, id="two dots take a name away"),
        pytest.param(b"/a/./b", (b"a", b"b"), False, id="a dot takes nothing away"),
        pytest.param(b"/a//../b", (b"a", b"b"), False, id="two dots take an empty segment away"),
        pytest.param(b"/a/b/c/./../../g", (b"a", b"g"), False, id="RFC 3986 §5.2.4's example"),
        pytest.param(b"/...", (b"...",), False, id="three dots are a name"),
        pytest.param(b"/.a/..b", (b".a", b"..b"), False, id="names that begin with dots"),
        pytest.param(b"/%2e%2E/a", (b"a",), False, id="escaped dots are dots"),
        pytest.param(b"/a/%2e", (b"a",), True, id="an escaped dot at the end"),
        pytest.param(b"/a/.%2e/b", (b"b",), False, id="half-escaped dots are dots"),
        pytest.param(b"/%61%20b", (b"a b",), False, id="escapes are decoded"),
        pytest.param(b"/%C3%bc%ff", (b"\xc3\xbc\xff",), False, id="escapes are octets"),
        pytest.param(b"/%2561", (b"%61",), False, id="escapes are decoded once"),
        pytest.param(b"/%252e%252e/a", (b"%2e%2e", b"a"), False, id="decoded once, not dots"),
        pytest.param(b"/a%2Fb", (b"a/b",), False, id="an escaped slash parts nothing"),
        pytest.param(
            b"/a/..%2f..%2fb", (b"a", b"../../b"), False, id="nor do dots around it count"
        ),
        pytest.param(b"/%2F", (b"/",), False, id="an escaped slash alone"),
        pytest.param(b"/a%2F", (b"a/",), False, id="an escaped slash at the end"),
        pytest.param(b"/a%3Fb%23c", (b"a?b#c",), False, id="escaped delimiters are data"),
        pytest.param(b"/a%0d%0ab%7f%1b", (b"a\r\nb\x7f\x1b",), False, id="escaped controls"),
        pytest.param(b"/a\\..\\b", (b"a\\..\\b",), False, id="a backslash is data"),
        pytest.param(b"/a+b;c=d", (b"a+b;c=d",), False, id="plus and semicolon are data"),
        pytest.param(b"/[a]{b}|^`<>\"'", (b"[a]{b}|^`<>\"'",), False, id="what browsers send raw"),
        pytest.param(b"/\xc3\xbc\xff", (b"\xc3\xbc\xff",), False, id="what curl sends raw"),
    ],
)
def test_path_is_decoded_and_cleared_of_dots(
    path: bytes, segments: tuple[bytes, ...], slash: bool
) -> None:
    assert parse(b"GET", path) == Target(segments, slash, None)


@pytest.mark.parametrize(
    ("target", "query"),
    [
        pytest.param(b"/a", None, id="none"),
        pytest.param(b"/a?", b"", id="an empty one"),
        pytest.param(b"/a?b=c&d", b"b=c&d", id="as sent"),
        pytest.param(b"/a?b/../c", b"b/../c", id="dots are no matter of it"),
        pytest.param(b"/a?b?c", b"b?c", id="a question mark within"),
        pytest.param(b"/a?50%", b"50%", id="a broken escape, as browsers send it"),
        pytest.param(b"/a?%00", b"%00", id="an escaped NUL"),
        pytest.param(b"/a?\xc3\xbc", b"\xc3\xbc", id="octets beyond ASCII"),
    ],
)
def test_query_is_kept_as_sent(target: bytes, query: bytes | None) -> None:
    assert parse(b"GET", target) == Target((b"a",), False, query)


@pytest.mark.parametrize(
    ("method", "target", "expected"),
    [
        pytest.param(
            b"GET",
            b"http://example.com/a/?b",
            Target((b"a",), True, b"b", b"example.com"),
            id="absolute-form",
        ),
        pytest.param(
            b"GET",
            b"HTTP://Example.com:80/a",
            Target((b"a",), False, None, b"Example.com:80"),
            id="absolute-form in upper case and with a port",
        ),
        pytest.param(
            b"GET",
            b"http://[::1]",
            Target((), True, None, b"[::1]"),
            id="absolute-form without a path",
        ),
        pytest.param(
            b"GET",
            b"http://a?b/c",
            Target((), True, b"b/c", b"a"),
            id="absolute-form without a path, but with a query",
        ),
        pytest.param(
            b"GET",
            b"http://a//b",
            Target((b"b",), False, None, b"a"),
            id="absolute-form with two slashes",
        ),
        pytest.param(
            b"OPTIONS", b"*", Target((), False, None, None, asterisk=True), id="asterisk-form"
        ),
        pytest.param(
            b"OPTIONS",
            b"http://a",
            Target((), False, None, b"a", asterisk=True),
            id="what a proxy turns into the asterisk-form",
        ),
        pytest.param(
            b"OPTIONS",
            b"http://a/",
            Target((), True, None, b"a"),
            id="OPTIONS for the root, which is not the same",
        ),
        pytest.param(
            b"OPTIONS",
            b"http://a?b",
            Target((), True, b"b", b"a"),
            id="OPTIONS with a query, which is not the same",
        ),
        pytest.param(
            b"CONNECT",
            b"example.com:443",
            Target((), False, None, b"example.com:443"),
            id="authority-form",
        ),
        pytest.param(
            b"CONNECT", b"[::1]:443", Target((), False, None, b"[::1]:443"), id="IPv6 authority"
        ),
        pytest.param(b"BREW", b"/a", Target((b"a",), False, None), id="any method may have a path"),
    ],
)
def test_forms(method: bytes, target: bytes, expected: Target) -> None:
    assert parse(method, target) == expected


@pytest.mark.parametrize(
    ("method", "target", "status"),
    [
        pytest.param(b"GET", b"", 400, id="nothing"),
        pytest.param(b"GET", b"a", 400, id="no slash before the path"),
        pytest.param(b"GET", b"?a", 400, id="nothing but a query"),
        pytest.param(b"GET", b"/a b", 400, id="a space"),
        pytest.param(b"GET", b"/a\tb", 400, id="a tab"),
        pytest.param(b"GET", b"/a\r\nb", 400, id="a line end"),
        pytest.param(b"GET", b"/a\n", 400, id="a line end behind it"),
        pytest.param(b"GET", b"/a\0", 400, id="NUL"),
        pytest.param(b"GET", b"/a\x1f", 400, id="the last of the controls"),
        pytest.param(b"GET", b"/a\x7f", 400, id="DEL"),
        pytest.param(b"GET", b"/a#b", 400, id="a fragment"),
        pytest.param(b"GET", b"/a?b#c", 400, id="a fragment behind a query"),
        pytest.param(b"GET", b"/a%00", 400, id="an escaped NUL"),
        pytest.param(b"GET", b"/a%00/../b", 400, id="an escaped NUL that dots would take away"),
        pytest.param(b"GET", b"/a%", 400, id="an escape without digits"),
        pytest.param(b"GET", b"/a%2", 400, id="an escape with one digit"),
        pytest.param(b"GET", b"/a%2/b", 400, id="an escape cut off by a slash"),
        pytest.param(b"GET", b"/a%zz", 400, id="an escape with other letters"),
        pytest.param(b"GET", b"/a%%20", 400, id="a percent sign as it is"),
        pytest.param(b"GET", b"/%u0041", 400, id="an escape of another kind"),
        pytest.param(b"GET", b"/a%+1", 400, id="an escape with a sign"),
        pytest.param(b"GET", b"*", 400, id="asterisk-form without OPTIONS"),
        pytest.param(b"OPTIONS", b"**", 400, id="two asterisks"),
        pytest.param(b"OPTIONS", b"*?a", 400, id="asterisk-form with a query"),
        pytest.param(b"GET", b"example.com:80", 400, id="authority-form without CONNECT"),
        pytest.param(b"CONNECT", b"/a", 400, id="CONNECT with a path"),
        pytest.param(b"CONNECT", b"*", 400, id="CONNECT with an asterisk"),
        pytest.param(b"CONNECT", b"http://a:80", 400, id="CONNECT with an absolute-form"),
        pytest.param(b"CONNECT", b"example.com", 400, id="CONNECT without a port"),
        pytest.param(b"CONNECT", b"example.com:", 400, id="CONNECT with an empty port"),
        pytest.param(b"CONNECT", b"[::1]", 400, id="CONNECT without a port, but with colons"),
        pytest.param(b"CONNECT", b":80", 400, id="CONNECT without a host"),
        pytest.param(b"CONNECT", b"me@a:80", 400, id="CONNECT with user information"),
        pytest.param(b"GET", b"http://", 400, id="absolute-form without a host"),
        pytest.param(b"GET", b"http:///a", 400, id="absolute-form without a host, with a path"),
        pytest.param(b"GET", b"http://:80/a", 400, id="absolute-form with nothing but a port"),
        pytest.param(b"GET", b"http://me@a/", 400, id="absolute-form with user information"),
        pytest.param(b"GET", b"http://me:it@a/", 400, id="absolute-form with a password"),
        pytest.param(b"GET", b"http://a:b/", 400, id="absolute-form with a port that is none"),
        pytest.param(b"GET", b"http://a\\b/", 400, id="absolute-form with a backslash"),
        pytest.param(b"GET", b"http:/a", 400, id="absolute-form with one slash"),
        pytest.param(b"GET", b"http:a", 400, id="absolute-form with no slash"),
        pytest.param(b"GET", b"://a/", 400, id="absolute-form without a scheme"),
        pytest.param(b"GET", b"1http://a/", 400, id="absolute-form with a malformed scheme"),
        pytest.param(b"GET", b"http://a/%", 400, id="absolute-form with a broken escape"),
        pytest.param(b"GET", b"https://example.com/", 421, id="https where there is no TLS"),
        pytest.param(b"GET", b"ftp://example.com/", 421, id="another scheme"),
        pytest.param(b"GET", b"file:///etc/passwd", 421, id="another scheme without a host"),
    ],
)
def test_refused_targets(method: bytes, target: bytes, status: int) -> None:
    with pytest.raises(HTTPError) as caught:
        parse(method, target)

    assert caught.value.status == status


# Those that are missing are refused, or have a meaning of their own: both are tested above.
@pytest.mark.parametrize("octet", sorted(set(range(0x21, 0x100)).difference(b"#\x7f%?/")))
def test_every_other_octet_is_taken_as_itself(octet: int) -> None:
    name = b"a%cb" % octet

    assert parse(b"GET", b"/" + name) == Target((name,), False, None)


@pytest.mark.parametrize(
    ("path", "slash", "encoded"),
    [
        pytest.param(b"/", False, b"/", id="the root has its slash"),
        pytest.param(b"/", True, b"/", id="and only one"),
        pytest.param(b"/a", False, b"/a", id="without a slash"),
        pytest.param(b"/a", True, b"/a/", id="with a slash"),
        pytest.param(b"/a/", False, b"/a", id="whatever it was sent with"),
        pytest.param(b"//example.org/..//a", True, b"/a/", id="no two slashes at the beginning"),
        pytest.param(b"//example.org", True, b"/example.org/", id="no other host"),
        pytest.param(b"/%2F%2Fexample.org", True, b"/%2F%2Fexample.org/", id="escaped slashes"),
        pytest.param(b"/\\example.org", True, b"/%5Cexample.org/", id="no backslash"),
        pytest.param(b"/%0d%0aA:b", True, b"/%0D%0AA:b/", id="no line end"),
        pytest.param(b"/a%20b%23%3f%25", False, b"/a%20b%23%3F%25", id="what has a meaning"),
        pytest.param(b'/[{}]|^"<>`', False, b"/%5B%7B%7D%5D%7C%5E%22%3C%3E%60", id="what is none"),
        pytest.param(b"/%c3%bc\xff", False, b"/%C3%BC%FF", id="octets beyond ASCII"),
        pytest.param(
            b"/aZ09-._~!$&'()*+,;=:@", False, b"/aZ09-._~!$&'()*+,;=:@", id="what stays as it is"
        ),
    ],
)
def test_path_is_encoded_for_a_location(path: bytes, slash: bool, encoded: bytes) -> None:
    assert parse(b"GET", path).encoded_path(slash) == encoded


# --- For any target -------------------------------------------------------------------------------

PARTS = st.sampled_from(
    [b"/", b".", b"..", b"a", b"%2e", b"%2F", b"%41", b"%25", b"%", b"\xff", b"?"]
)
ANY = st.one_of(PARTS, PARTS, PARTS, PARTS, st.binary(max_size=1))
PATHS = st.lists(ANY, max_size=12).map(lambda parts: b"/" + b"".join(parts))


@pytest.mark.slow
@settings(derandomize=True, deadline=None, max_examples=1000)
@given(PATHS)
def test_any_path_is_names_or_an_error(path: bytes) -> None:
    try:
        target = parse(b"GET", path)
    except HTTPError:
        return  # which paths may end here is for the tables above to say

    assert not {b"", b".", b".."}.intersection(target.segments)
    assert not any(b"\0" in segment for segment in target.segments)
    sent = path.partition(b"?")[0]
    assert target.segments == by_the_letter_of_the_rfc(sent)


@pytest.mark.slow
@settings(derandomize=True, deadline=None, max_examples=1000)
@given(PATHS, st.booleans())
def test_what_a_location_says_leads_to_the_same_names(path: bytes, slash: bool) -> None:
    try:
        target = parse(b"GET", path)
    except HTTPError:
        return

    again = parse(b"GET", target.encoded_path(slash))
    assert again.segments == target.segments
    assert again.slash == (slash or not target.segments)
    assert not target.encoded_path(slash).startswith(b"//")


def by_the_letter_of_the_rfc(path: bytes) -> tuple[bytes, ...]:
    """The names of `path` by the steps of RFC 3986 §5.2.4, which move a buffer to another."""
    # Dots are unreserved, so their escapes come first (§6.2.2.2); then the rest is decoded.
    source = path.replace(b"%2e", b".").replace(b"%2E", b".")
    output = b""
    while source:
        if source.startswith(b"/./") or source == b"/.":
            source = b"/" + source[3:]
        elif source.startswith(b"/../") or source == b"/..":
            source = b"/" + source[4:]
            output = output[: output.rfind(b"/")] if b"/" in output else b""
        else:
            end = source.find(b"/", 1) if b"/" in source[1:] else len(source)
            output, source = output + source[:end], source[end:]
    return tuple(unquote_to_bytes(segment) for segment in output.split(b"/") if segment)

"""RFC 3986 §3, Syntax components: path, query and fragment in a request target."""

from __future__ import annotations

from tests.conformance.case import must
from tests.conformance.expect import expect_refused, expect_whole
from tests.conformance.target import SMALL, Target
from tests.conformance.wrong_server import FORGIVES, misreads


@must(
    misreads("takes the query for a part of the path", rb"\?", b"%3f"),
    rows={
        "nothing": "?",
        "a word": "?x",
        "a form": "?a=b&c=d",
        "another question mark": "?a?b",
        "a path": "?/index.html",
        "dots": "?/../../index.html",
        "escapes": "?%2f%2e",
        "a broken escape": "?100%",
        "a file that is there": "?/sizes/1.bin",
        "unusual octets": '?{}|^`"<>',
        "a semicolon": "?a;b",
        "an at": "?a@b:c",
    },
)
def the_query_does_not_choose_the_file(target: Target, query: str) -> None:
    """RFC 3986 §3.4: "The query component is indicated by the first question mark ("?") character":
    the path ends there (§3.3), and static content has no use for what follows.
    """
    expect_whole(target.get(SMALL + query), SMALL)


@must(FORGIVES, rows={"a fragment": "#part", "a fragment of dots": "#/../index.html", "none": "#"})
def a_fragment_is_no_part_of_a_target(target: Target, fragment: str) -> None:
    """RFC 3986 §3.5: the fragment "is not used in the scheme-specific processing of a URI; instead,
    the fragment identifier is separated from the rest of the URI prior to a dereference": a target
    that has one is invalid, or names the file before it.
    """
    answer = target.attempt(target.request(SMALL + fragment))

    if answer is not None and answer.status == 200:
        expect_whole(answer, SMALL)
    else:
        expect_refused(answer)


@must(
    misreads("takes parameters of a segment for nothing", rb";[a-z]+", b""),
    rows={"a parameter": "/sizes/1000.bin;x", "a parameter of the directory": "/sizes;v/1000.bin"},
)
def a_semicolon_belongs_to_the_name(target: Target, path: str) -> None:
    """RFC 3986 §3.3: "Aside from dot-segments in hierarchical paths, a path segment is considered
    opaque by the generic syntax": ";" stands for itself, and no file has this name.
    """
    expect_refused(target.get(path))

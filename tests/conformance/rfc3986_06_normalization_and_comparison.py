"""RFC 3986 §6, Normalization and comparison: dot segments."""

from __future__ import annotations

from tests.conformance.case import must, should
from tests.conformance.expect import expect, expect_refused, expect_whole
from tests.conformance.target import SMALL, Target
from tests.conformance.wrong_server import FINDS_NOTHING, Fault, answers

INSIDE = {
    "one dot": "/./sizes/1000.bin",
    "one dot, further below": "/sizes/./1000.bin",
    "two dots": "/names/../sizes/1000.bin",
    "two dots twice": "/a/b/../../sizes/1000.bin",
    "two dots behind a name that is not there": "/no-such/../sizes/1000.bin",
    "dots of both kinds": "/./names/.././sizes/1000.bin",
    "two dots above the root": "/../sizes/1000.bin",
    "escaped dots": "/names/%2e%2e/sizes/1000.bin",
}


@should(FINDS_NOTHING, rows=INSIDE)
def dot_segments_are_removed(target: Target, path: str) -> None:
    """RFC 3986 §6.2.2.3: "URI normalizers should remove dot-segments by applying the
    remove_dot_segments algorithm to the path, as described in Section 5.2.4."; a redirect to the
    normal form says the same.
    """
    answer = target.ask(target.request(path))

    if answer.status not in (301, 302, 307, 308):
        expect_whole(answer, SMALL)


@must(answers(500, instead_of=200), rows=INSIDE)
def dot_segments_lead_nowhere_else(target: Target, path: str) -> None:
    """RFC 3986 §6.2.2.3: "The complete path segments "." and ".." are intended only for use within
    relative references": whoever does not remove them refuses them.
    """
    answer = target.attempt(target.request(path))

    if answer is not None and answer.status == 200:
        expect_whole(answer, SMALL)
    elif answer is not None:
        expect(answer, 301, 302, 307, 308, 400, 403, 404)


@must(
    Fault("takes names of dots for dot segments", head=lambda head: head.replace(b"...", b"..")),
    rows={"three dots": "/names/.../sizes/1000.bin", "three dots at the start": "/.../index.html"},
)
def names_of_more_dots_are_names(target: Target, path: str) -> None:
    """RFC 3986 §6.2.2.3: "The complete path segments "." and "..""; three dots are a name, of which
    there is none here.
    """
    expect_refused(target.get(path))

"""RFC 9112 §4, Status line. The strict reader looks at each one; these cases collect them."""

from __future__ import annotations

from tests.conformance.case import must
from tests.conformance.expect import require
from tests.conformance.target import DIRECTORY, FILE, MISSING, SMALL, Target
from tests.conformance.wrong_server import garbles

KINDS = {
    "a file": (SMALL, b"GET", b""),
    "a part of a file": (FILE, b"GET", b"Range: bytes=0-9\r\n"),
    "a file not modified": (SMALL, b"GET", b"If-None-Match: *\r\n"),
    "a directory": (DIRECTORY, b"GET", b""),
    "nothing": (MISSING, b"GET", b""),
    "a method": (SMALL, b"DELETE", b""),
    "a range out of reach": (SMALL, b"GET", b"Range: bytes=5000-\r\n"),
    "a precondition": (SMALL, b"GET", b'If-Match: "no-such-tag"\r\n'),
    "the head of a file": (SMALL, b"HEAD", b""),
}


def asked_for(target: Target, kind: tuple[str, bytes, bytes]) -> bytes:
    path, method, fields = kind
    return b"%b %b HTTP/1.1\r\nHost: %b\r\n%b\r\n" % (
        method,
        path.encode(),
        target.authority,
        fields,
    )


@must(
    garbles("leaves out the space before an empty reason", rb"(?<=^HTTP/1\.1 \d{3}) [^\r]*", b""),
    garbles("puts a tab before the status", rb"(?<=^HTTP/1\.1) ", b"\t"),
    rows=KINDS,
)
def a_status_line_follows_the_grammar(target: Target, kind: tuple[str, bytes, bytes]) -> None:
    """RFC 9112 §4: status-line = HTTP-version SP status-code SP [ reason-phrase ]; "A server MUST
    send the space that separates the status-code from the reason-phrase even when the reason-phrase
    is absent".
    """
    target.ask(asked_for(target, kind))


@must(garbles("invents a status", rb"(?<=^HTTP/1\.1 )\d{3}", b"299"), rows=KINDS)
def a_status_code_is_one_that_is_defined(target: Target, kind: tuple[str, bytes, bytes]) -> None:
    """RFC 9112 §4: "status-code [...] describing the result of the server's attempt to understand
    and satisfy the client's corresponding request"; a client must be able to know what it means.
    """
    answer = target.ask(asked_for(target, kind))

    known = {200, 204, 206, *range(301, 305), 307, 308, *range(400, 418), 421, 422, 431, 500, 501}
    require(answer.status in known, f"{answer.status} is no status for this request")

"""RFC 9110 §2, Conformance: the version of the protocol."""

from __future__ import annotations

from tests.conformance.case import must, should
from tests.conformance.expect import expect, expect_whole, require
from tests.conformance.target import SMALL, Target
from tests.conformance.wrong_server import Fault, Refused, Request, garbles


def knows_two_versions(request: Request) -> Request:
    if request.minor > 1:
        raise Refused(505)
    return request


@should(
    Fault("refuses a version it does not know", request=knows_two_versions),
    rows={"HTTP/1.2": b"HTTP/1.2", "HTTP/1.9": b"HTTP/1.9"},
)
def a_higher_minor_version_is_processed(target: Target, version: bytes) -> None:
    """RFC 9110 §2.5: "A recipient that receives a message with a major version number that it
    implements and a minor version number higher than what it implements SHOULD process the message
    as if it was in the highest minor version within that major version to which the recipient is
    conformant."
    """
    expect_whole(target.ask(target.request(SMALL, version=version)), SMALL)


@must(
    garbles("answers in the version it was asked in", rb"^HTTP/1\.1", b"HTTP/2.0"),
    rows={"HTTP/2.0": b"HTTP/2.0", "HTTP/3.0": b"HTTP/3.0", "HTTP/9.9": b"HTTP/9.9"},
)
def no_version_is_sent_that_is_not_spoken(target: Target, version: bytes) -> None:
    """RFC 9110 §2.5: "A server MUST NOT send a version to which it is not conformant. A server can
    send a 505 (HTTP Version Not Supported) response if it wishes, for any reason, to refuse service
    of the client's major protocol version."
    """
    answer = target.attempt(target.request(SMALL, version=version))

    if answer is not None:
        expect(answer, 200, 400, 426, 505)


@should(garbles("lowers itself to HTTP/1.0", rb"^HTTP/1\.1", b"HTTP/1.0"))
def an_answer_to_http_1_0_is_of_http_1_1(target: Target) -> None:
    """RFC 9110 §2.5: "A server SHOULD send a response version equal to the highest version to which
    the server is conformant that has a major version less than or equal to the one received in the
    request."
    """
    answer = target.ask(target.request(SMALL, version=b"HTTP/1.0"))

    require(answer.head.version == target.facts.version, "1.0 came from a server that speaks 1.1")

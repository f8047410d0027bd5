"""RFC 9110 §7, Routing: requests that are not for this server, Connection, Upgrade."""

from __future__ import annotations

from tests.conformance.case import must, should
from tests.conformance.expect import expect, expect_end, expect_refused, expect_whole, require
from tests.conformance.target import SMALL, Target
from tests.conformance.wrong_server import (
    NEVER_CLOSES,
    Fault,
    Reply,
    Request,
    answers,
    misreads,
)


@must(
    misreads("takes https for http", rb"(?i)https://", b"http://"),
    rows={"lower case": "https", "upper case": "HTTPS"},
)
def https_on_an_unsecured_connection_is_refused(target: Target, scheme: str) -> None:
    """RFC 9110 §7.4: "a request for an "https" resource MUST be rejected unless it has been
    received over a connection that has been secured via a certificate valid for that target URI's
    origin".
    """
    path = f"{scheme}://{target.authority.decode()}{SMALL}"

    expect_refused(target.attempt(target.request(path)))


@should(answers(404, instead_of=421))
def https_on_an_unsecured_connection_is_misdirected(target: Target) -> None:
    """RFC 9110 §7.4: "The 421 (Misdirected Request) status code in a response indicates that the
    origin server has rejected the request because it appears to have been misdirected"; 400 says
    that it is wrong as well.
    """
    path = f"https://{target.authority.decode()}{SMALL}"

    expect(target.attempt(target.request(path)), 421, 400)


@should(
    misreads("takes other schemes for http", rb"(?:ftp|gopher|file|ws)://", b"http://"),
    rows={"ftp": "ftp", "ws": "ws"},
)
def another_scheme_is_refused(target: Target, scheme: str) -> None:
    """RFC 9110 §7.4: "an origin server MUST reject a request if any scheme-specific requirements
    for the target URI are not met".
    """
    path = f"{scheme}://{target.authority.decode()}{SMALL}"

    expect_refused(target.attempt(target.request(path)))


@must(NEVER_CLOSES, rows={"CLOSE": b"CLOSE", "cLoSe": b"cLoSe"})
def connection_options_are_case_insensitive(target: Target, option: bytes) -> None:
    """RFC 9110 §7.6.1: "Connection options are case-insensitive."

    Here: `close`.
    """
    connection = target.connect()
    connection.ask(target.request(SMALL, b"Connection: " + option))

    expect_end(connection)


@must(
    answers(400, instead_of=200),
    rows={
        "a field that is there": b"Connection: X-Hop\r\nX-Hop: y",
        "a field that is not there": b"Connection: X-Hop",
        "TE": b"Connection: TE\r\nTE: trailers",
        "Host": b"Connection: Host",
        "Upgrade without a protocol": b"Connection: Upgrade",
    },
)
def connection_options_name_fields_of_this_hop(target: Target, fields: bytes) -> None:
    """RFC 9110 §7.6.1: "Connection options do not always correspond to a field present in the
    message, since a connection-specific field might not be needed if there are no parameters
    associated with a connection option."
    """
    expect_whole(target.ask(target.request(SMALL, fields)), SMALL)


def switches(request: Request, reply: Reply) -> Reply:
    upgrade = request.fields.get(b"upgrade")
    return Reply(101, [(b"Upgrade", upgrade)]) if upgrade else reply


SWITCHES = Fault("switches to whatever protocol it is asked for", reply=switches)


@must(
    SWITCHES,
    rows={
        "one nobody knows": b"Upgrade: brew/1",
        "a later HTTP": b"Upgrade: HTTP/9.9",
        "several": b"Upgrade: brew/1, mash/2",
        "TLS": b"Upgrade: TLS/1.0",
    },
)
def a_protocol_that_is_not_spoken_is_not_switched_to(target: Target, field: bytes) -> None:
    """RFC 9110 §7.8: "A server MAY ignore a received Upgrade header field if it wishes to continue
    using the current protocol on that connection."
    """
    expect_whole(target.ask(target.request(SMALL, field, b"Connection: Upgrade")), SMALL)


@must(SWITCHES)
def upgrade_in_http_1_0_is_ignored(target: Target) -> None:
    """RFC 9110 §7.8: "A server MUST ignore an Upgrade header field that is received in an HTTP/1.0
    request."
    """
    fields = (b"Upgrade: h2c", b"Connection: Upgrade, HTTP2-Settings", b"HTTP2-Settings: AAMAAABk")
    request = target.request(SMALL, *fields, version=b"HTTP/1.0")
    answer = target.ask(request)

    require(answer.status != 101, "the protocol was switched")
    expect_whole(answer, SMALL)

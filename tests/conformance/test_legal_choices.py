"""Where the RFC leaves a choice, every legal answer passes: no right server fails a MUST."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.conformance.case import Level, Outcome, cases
from tests.conformance.command import run
from tests.conformance.target import Target
from tests.conformance.wrong_server import (
    Fault,
    Refused,
    Reply,
    Request,
    WrongServer,
    error,
    ignores,
    misreads,
    omits,
)
from tests.harness import corpus

MUST = tuple(case for case in cases() if case.level is Level.MUST)


def on_reply(name: str, change: Callable[[Request, Reply], Reply]) -> Fault:
    return Fault(name, reply=change)


def close(_: Request, reply: Reply) -> Reply:
    return replace(reply, closing=True)


def weaken(_: Request, octets: bytes) -> bytes:
    return octets.replace(b'ETag: "', b'ETag: W/"')


def chunk(request: Request, octets: bytes) -> bytes:
    """Send the content in two chunks, where there is content and the client knows chunks."""
    head, end, content = octets.partition(b"\r\n\r\n")
    if not content or request.minor < 1:
        return octets
    head = re.sub(rb"Content-Length: \d+", b"Transfer-Encoding: chunked", head)
    parts = (content[:1], content[1:])
    body = b"".join(b"%X;part\r\n%b\r\n" % (len(part), part) for part in parts if part)
    return head + end + body + b"0\r\nX-Trailer: y\r\n\r\n"


def delimit_by_close(_: Request, octets: bytes) -> bytes:
    return re.sub(rb"\r\nContent-Length: \d+", b"", octets, count=1)


def refuse_content_of_get(request: Request) -> Request:
    length = request.fields.get(b"content-length", b"0")
    if request.method in (b"GET", b"HEAD") and (
        b"transfer-encoding" in request.fields or length != b"0"
    ):
        raise Refused(400)
    return request


def know_get_and_head(request: Request, reply: Reply) -> Reply:
    other = request.method not in (b"GET", b"HEAD")
    return replace(error(501), closing=reply.closing) if other else reply


def refuse_unsatisfiable(_: Request, reply: Reply) -> Reply:
    if reply.status != 416:
        return reply
    return replace(error(416), closing=reply.closing)


def move_permanently(_: Request, reply: Reply) -> Reply:
    return replace(reply, status=301) if reply.status == 308 else reply


def hint_early(request: Request, octets: bytes) -> bytes:
    return b"HTTP/1.1 103 Early Hints\r\n\r\n" + octets if request.minor else octets


def send_location_in_full(request: Request, octets: bytes) -> bytes:
    found = re.match(rb"(?i)http://([^/]*)", request.target)
    host = found[1] if found else request.fields.get(b"host", b"")
    return octets.replace(b"Location: /", b"Location: http://" + host + b"/")


def speak_http_1_0(_: Request, octets: bytes) -> bytes:
    return octets.replace(b"HTTP/1.1", b"HTTP/1.0", 1)


# Two choices are one server where no case has to do with both.
CHOICES = [
    pytest.param([on_reply("", close)], id="closes after each answer, and says so"),
    pytest.param(
        [ignores(b"range"), omits(b"Accept-Ranges"), on_reply("", know_get_and_head)],
        id="knows no ranges; knows GET and HEAD only",
    ),
    pytest.param(
        [
            ignores(b"if-modified-since", b"if-unmodified-since"),
            omits(b"ETag"),
            omits(b"Last-Modified"),
            Fault("", request=refuse_content_of_get),
        ],
        id="sends no validators; refuses content of GET",
    ),
    pytest.param(
        [Fault("", wire=weaken), on_reply("", move_permanently)],
        id="sends weak tags; redirects with 301",
    ),
    pytest.param([Fault("", wire=chunk)], id="chunks, with extensions and trailers"),
    pytest.param([on_reply("", close), Fault("", wire=delimit_by_close)], id="delimits by closing"),
    pytest.param([Fault("", wire=hint_early)], id="sends interim answers"),
    pytest.param(
        [on_reply("", refuse_unsatisfiable), Fault("", wire=send_location_in_full)],
        id="tells no length with 416; sends Location in full",
    ),
    pytest.param([on_reply("", close), Fault("", wire=speak_http_1_0)], id="speaks HTTP/1.0 only"),
    pytest.param(
        [
            misreads("", rb"\r\n[ \t]+", b" "),
            misreads("", rb"\r(?!\n)|\0", b" "),
        ],
        id="repairs folded lines, bare CR and NUL",
    ),
]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("corpus")
    corpus.make(path, load=False)
    return path


@pytest.mark.slow
@pytest.mark.parametrize("choices", CHOICES)
def test_a_server_that_chose_otherwise_fails_no_must(choices: list[Fault], root: Path) -> None:
    with WrongServer(root, *choices) as server:
        results = run(Target("127.0.0.1", server.port, root, timeout=10.0), MUST)

    unmet = [f"{each.case}: {each.why}" for each in results if each.outcome is Outcome.UNMET]
    assert unmet == []

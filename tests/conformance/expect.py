"""Which answers are legal: what the cases say of an answer, in the words they say it in."""

from __future__ import annotations

import time

from tests.conformance.target import SMALL, SMUGGLED, Connection, Target, content_of
from tests.harness.reader import Answer


class Unmet(Exception):
    """The requirement is not met; the text says what came instead."""


def require(condition: object, why: str) -> None:
    """Raise Unmet, and say why, unless the condition holds."""
    if not condition:
        raise Unmet(why)


# One answer.


def expect(answer: Answer | None, *statuses: int) -> Answer:
    """The answer, if there is one and its status is one of these."""
    wanted = " or ".join(map(str, statuses))
    if answer is None:
        raise Unmet(f"the connection ended without an answer, where {wanted} is due")
    require(answer.status in statuses, f"{answer.status} came, where {wanted} is due")
    return answer


def expect_whole(answer: Answer | None, path: str) -> Answer:
    """It is 200 with the whole file."""
    answer = expect(answer, 200)
    require(answer.content == content_of(path), f"the content is not that of {path}")
    return answer


def expect_refused(answer: Answer | None) -> None:
    """The request was not performed: an error or a redirect, or the connection ended."""
    status = answer.status if answer else 0
    require(not 100 <= status < 300, f"{status} came for a request that is to be refused")


def expect_client_error(answer: Answer | None) -> Answer:
    """It is any 4xx."""
    if answer is None:
        raise Unmet("the connection ended without an answer, where 4xx is due")
    require(400 <= answer.status < 500, f"{answer.status} came, where 4xx is due")
    return answer


def expect_whole_or(answer: Answer | None, path: str, *statuses: int) -> None:
    """The request was understood as one for this file and nothing more; or it was refused."""
    if answer is None or answer.status == 200:
        expect_whole(answer, path)
    else:
        expect(answer, 200, *statuses)


def expect_field(answer: Answer, name: bytes, *values: bytes | None) -> None:
    """The field has one of these values; None stands for its absence."""
    found = answer.get(name)
    wanted = " or ".join(map(repr, values))
    require(found in values, f"{name.decode()} is {found!r}, where {wanted} is due")


# What becomes of the connection.


def expect_end(connection: Connection) -> None:
    """The server closes the connection, and says nothing more on it."""
    require(connection.reader.ended(), "the connection stays open, where it has to be closed")


def expect_life(connection: Connection) -> None:
    """The next request on this connection is answered, with what it asks for."""
    request = connection.target.request(SMALL, b"Connection: close")
    expect_whole(connection.ask(request), SMALL)
    connection.finish()


def expect_end_or_life(connection: Connection, answer: Answer) -> None:
    """The connection does what the answer said: it ends, or it takes the next request."""
    if answer.closes:
        expect_end(connection)
    else:
        expect_life(connection)


# Requests that are to be refused, and requests within requests.


def expect_400(target: Target, octets: bytes) -> None:
    """The request is answered with 400, whatever becomes of the connection."""
    expect(target.attempt(octets), 400)


def expect_400_and_end(target: Target, octets: bytes, *others: int) -> None:
    """The request is answered with 400, or one of the others, and the connection ends."""
    connection = target.connect()
    expect(connection.ask(octets), 400, *others)
    expect_end(connection)


def smuggled(target: Target) -> bytes:
    """A whole request that stands where content is, and must not be taken for one."""
    return target.request(SMUGGLED)


def expect_not_smuggled(target: Target, octets: bytes) -> list[Answer]:
    """What is sent after the octets, on the same connection, is answered rightly or not at all.

    Right is: the octets are answered, and then the request after them, and nothing else is; or the
    connection ends before. Never is what stands in the content taken for a request.
    """
    following = target.request(SMALL, b"Connection: close")
    answers = target.converse(octets + following)
    inner = content_of(SMUGGLED)
    found = any(answer.content == inner for answer in answers)
    require(not found, "octets of the content were taken for a request")
    require(len(answers) <= 2, f"{len(answers)} answers came to two requests")
    return answers


def expect_consumed(target: Target, octets: bytes) -> None:
    """The octets are answered and consumed exactly: what follows is answered, or all ends."""
    answers = expect_not_smuggled(target, octets)
    require(answers, "no answer came")
    if not answers[0].closes:
        require(len(answers) == 2, "the next request was not answered, nor the connection closed")
        expect_whole(answers[1], SMALL)


def send_in_pieces(connection: Connection, pieces: list[bytes]) -> None:
    """Send so that the server is likely to receive each piece alone."""
    for piece in pieces[:-1]:
        connection.send(piece)
        time.sleep(0.002)
    connection.send(pieces[-1])

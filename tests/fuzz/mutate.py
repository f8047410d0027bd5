"""From a request to others that are almost one: mutations that know where lines, fields and targets are.

A random octet is refused at once nearly always; what finds its way deeper keeps most of the grammar.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, TypeAlias

REQUESTS: Final = Path(__file__).parents[1] / "requests"

Mutation: TypeAlias = Callable[[random.Random, bytes], bytes]

METHODS: Final = b"GET HEAD OPTIONS POST PUT TRACE CONNECT PRI get G\xc3\x89T".split()
TARGETS: Final = (
    b"/ /hello.txt /big /dir /dir/ // /. /.. /../ /%2e%2e/ /..%2f /%00 /%ff /a%2fb /?q * "
    b"http://x/hello.txt https://x x:80 //x/ /hello.txt/ /;a /%c0%ae%c0%ae/ /con /\\..\\"
).split()
VERSIONS: Final = b"HTTP/1.1 HTTP/1.0 HTTP/0.9 HTTP/2.0 HTTP/1.10 http/1.1 HTTP/1".split()
FIELDS: Final = (
    b"Range: bytes=0-0",
    b"Range: bytes=-1,0-,5-4",
    b"Range: bytes=" + b",".join(b"%d-%d" % (at, at) for at in range(0, 300, 2)),
    b"Range: bytes=99999999999999999999-",
    b"If-Range: Sun, 09 Sep 2001 01:46:40 GMT",
    b'If-Match: "a", W/"b", *',
    b"If-None-Match: *",
    b"If-Modified-Since: Sun, 09 Sep 2001 01:46:40 GMT",
    b"If-Modified-Since: Sunday, 09-Sep-99 01:46:40 GMT",
    b"If-Unmodified-Since: Thu, 01 Jan 1970 00:00:00 GMT",
    b"Content-Length: 5",
    b"Content-Length: 18446744073709551616",
    b"Transfer-Encoding: chunked",
    b"Transfer-Encoding: chunked, identity",
    b"Expect: 100-continue",
    b"Connection: close, te",
    b"Connection: keep-alive",
    b"Upgrade: h2c",
    b"Host: [::1]:8000",
    b"Host:",
    b"Accept-Encoding: gzip;q=0, *;q=0.5",
    b"Cookie: " + b"c" * 3000,
    b"X: " + b"x" * 20000,
    b" folded: line",
    b"Name : value",
)
ENDS: Final = (b"\r\n", b"\n", b"\r", b"", b"\r\r\n", b"\0\r\n", b" \r\n")
OCTETS: Final = b'\0\t\n\r "%*,-./:;=?\\\x7f\x80\xff' + b"0A"

_LINE: Final = re.compile(rb"[^\n]*\n|[^\n]+")


def corpus() -> list[bytes]:
    """The requests that the tests know, the right ones and the others."""
    return [path.read_bytes() for path in sorted(REQUESTS.rglob("*.http"))]


def lines_of(octets: bytes) -> list[bytes]:
    """The lines, each with its end."""
    return _LINE.findall(octets)


def change_octet(dice: random.Random, octets: bytes) -> bytes:
    """One octet is another, gone, or one more."""
    place = dice.randrange(len(octets) + 1)
    fresh = bytes([dice.choice(OCTETS)])
    return octets[:place] + dice.choice((b"", fresh)) + octets[place + dice.choice((0, 1)) :]


def change_end(dice: random.Random, octets: bytes) -> bytes:
    """One line ends in another way."""
    lines = lines_of(octets)
    place = dice.randrange(len(lines))
    lines[place] = lines[place].rstrip(b"\r\n") + dice.choice(ENDS)
    return b"".join(lines)


def move_line(dice: random.Random, octets: bytes) -> bytes:
    """One line is gone, there twice, or elsewhere."""
    lines = lines_of(octets)
    line = lines.pop(dice.randrange(len(lines)))
    for _ in range(dice.randrange(3)):
        lines.insert(dice.randrange(len(lines) + 1), line)
    return b"".join(lines)


def add_fields(dice: random.Random, octets: bytes) -> bytes:
    """Some fields more; now and then very many."""
    count = dice.choice((1, 1, 2, 3, 150, 1000))
    line, end, rest = octets.partition(b"\r\n")
    fields = b"".join(dice.choice(FIELDS[:-4]) + b"\r\n" for _ in range(min(count, 3)))
    if count > len(FIELDS):
        fields += b"".join(b"X-%d: y\r\n" % number for number in range(count))
    else:
        fields += dice.choice(FIELDS) + b"\r\n"
    return line + end + fields + rest


def change_request_line(dice: random.Random, octets: bytes) -> bytes:
    """Another method, target or version."""
    line, end, rest = octets.partition(b"\r\n")
    words = line.split(b" ")
    place = dice.randrange(3)
    fresh = dice.choice((METHODS, TARGETS, VERSIONS)[place])
    if place == 1 and dice.random() < 0.2:
        fresh *= dice.choice((2, 50, 2000))
    words[place : place + 1] = [fresh]
    return b" ".join(words) + end + rest


def cut(dice: random.Random, octets: bytes) -> bytes:
    """The client gives up in the middle."""
    return octets[: dice.randrange(len(octets) + 1)]


def add_content(dice: random.Random, octets: bytes) -> bytes:
    """Something follows the head."""
    chunks = b"5\r\nhello\r\n" * dice.randrange(4) + dice.choice(
        (b"0\r\n\r\n", b"-1\r\n", b"g\r\n")
    )
    return octets + dice.choice((chunks, b"hello", bytes(dice.randrange(5000)), b"\r\n" * 50))


MUTATIONS: Final[Sequence[Mutation]] = (
    change_octet,
    change_end,
    move_line,
    add_fields,
    change_request_line,
    cut,
    add_content,
)


def case(seed: int, number: int, requests: Sequence[bytes]) -> bytes:
    """The octets of case `number`: a few requests, each changed a few times. The same for the same numbers."""
    dice = random.Random(f"{seed}:{number}")  # to be repeated, not to be secret
    octets = b""
    for _ in range(dice.choice((1, 1, 1, 2, 3, 20))):
        request = dice.choice(requests)
        for _ in range(dice.choice((0, 1, 1, 2, 3))):
            if request:
                request = dice.choice(MUTATIONS)(dice, request)
        octets += request
    return octets

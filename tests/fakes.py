"""Fakes that behave, and short ways to make the values that tests ask about."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from mpserve.config import Site, Symlinks
from mpserve.protocol.media import media_type
from mpserve.protocol.message import FileSpan, Piece, Request, Response
from mpserve.protocol.representation import Directory, Entry, Found, Outcome, Resource, of_file
from mpserve.protocol.target import Target

NOW = 1_700_000_000  # epoch seconds: Tue, 14 Nov 2023 22:13:20 GMT
SETTLED = NOW - 3600  # the mtime of a file that nobody has touched for an hour


@dataclass(slots=True, unsafe_hash=True)
class FakeFile:
    """An open file whose octets are at hand."""

    content: bytes
    fd: int = 3
    warm: tuple[int, int, float] = field(default=(0, 1 << 62, math.inf), compare=False)
    sight: tuple[int, int, int, int, int] | None = field(default=None, compare=False)


class FakeTree:
    """A dict of files by path, and what a lookup finds there; an Outcome is found as it is."""

    def __init__(self, files: Mapping[bytes, bytes | Outcome], *, mtime: float = SETTLED) -> None:
        self.files = dict(files)
        self.mtime = mtime

    def lookup(self, site: Site, target: Target, now: float = NOW) -> Resource:
        """What `target` names in `site`."""
        path = b"/".join(target.segments)
        names = [path] if not target.slash else [_join(path, name) for name in site.index]
        for name in names:
            if name in self.files:
                return self._found(name, site, now)
        entries = self._entries(path)
        if not entries:
            return Outcome.MISSING
        if not target.slash:
            return Outcome.NO_SLASH
        return Directory(entries) if site.listing else Outcome.MISSING

    def _found(self, name: bytes, site: Site, now: float) -> Resource:
        content = self.files[name]
        if isinstance(content, Outcome):
            return content
        mtime_ns = round(self.mtime * 1_000_000_000)
        file = FakeFile(content)
        selected = of_file(
            file, len(content), mtime_ns, media_type(name), now, site_replaced=site.replaced
        )
        return Found((selected,))

    def _entries(self, path: bytes) -> tuple[Entry, ...]:
        """What lies directly beneath `path`."""
        beneath = {
            name.removeprefix(path).lstrip(b"/").partition(b"/")[::2]
            for name in self.files
            if name.startswith(_join(path, b""))
        }
        return tuple(
            Entry(name, is_dir=bool(rest), size=len(rest), mtime=int(self.mtime))
            for name, rest in sorted(beneath)
        )


def _join(path: bytes, name: bytes) -> bytes:
    return b"%b/%b" % (path, name) if path else name


def make_site(fields: bytes = b"Server: mpserve\r\n", *, listing: bool = True) -> Site:
    """A site whose operator has given `fields`."""
    return Site(
        root=b"/srv",
        index=(b"index.html",),
        listing=listing,
        dotfiles=False,
        symlinks=Symlinks.INSIDE,
        fields=fields,
        replaced=frozenset(fields_of(fields)),
    )


def make_request(
    method: bytes = b"GET",
    target: bytes = b"/a.txt",
    version: bytes = b"HTTP/1.1",
    **fields: bytes,
) -> Request:
    """A request with `fields`: `if_none_match=b"*"` is If-None-Match: *."""
    named = {name.replace("_", "-").encode(): value for name, value in fields.items()}
    return Request(method, target, version, {b"host": b"localhost", **named}, persistent=True)


def fields_of(lines: bytes) -> dict[bytes, bytes]:
    """The fields of complete field lines, by their names in lower case. None may be there twice."""
    fields: dict[bytes, bytes] = {}
    for line in lines.splitlines(keepends=True):
        match = re.fullmatch(rb"([!-9;-~]+): ([!-~](?:[ -~]*[!-~])?)\r\n", line)
        assert match is not None, line
        assert match[1].lower() not in fields, line
        fields[match[1].lower()] = match[2]
    return fields


def octets(content: tuple[Piece, ...]) -> bytes:
    """The octets that the pieces of a response are."""
    return b"".join(map(_octets, content))


def _octets(piece: Piece) -> bytes:
    if not isinstance(piece, FileSpan):
        return piece
    assert isinstance(piece.file, FakeFile)
    assert 0 <= piece.start < piece.stop <= len(piece.file.content)
    return piece.file.content[piece.start : piece.stop]


def summary(response: Response) -> tuple[int, dict[bytes, bytes], bytes]:
    """Status, fields and content; the length that was announced is the content's."""
    content = octets(response.content)
    assert response.length in (None, len(content))
    return response.status, fields_of(response.fields), content

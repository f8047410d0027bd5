"""The file cache: what was looked up, for as long as it still looks the same.

Small files are kept as their octets, larger ones as an open descriptor; missing files and redirects are
kept too. Nothing is kept that changed a moment ago, and nothing that could not be told apart from a change.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final
from weakref import WeakValueDictionary

from mpserve import files
from mpserve.config import Site
from mpserve.generations import Cost, Generations
from mpserve.loop import Loop
from mpserve.protocol.message import FileSpan, Piece
from mpserve.protocol.representation import Found, Outcome, Resource
from mpserve.protocol.target import Target
from mpserve.witness import Place, Witness, settled, sight_of, witness

# Content up to so many octets is kept in memory and leaves in one call with its head.
MOST_IN_MEMORY: Final = 64 * 1024
# An entry's own octets: names, field lines, witnesses, places in dictionaries.
OVERHEAD: Final = 3000


@dataclass(slots=True)
class Looked:
    """What a lookup came to, and who can say whether it still holds; None: nobody, it is not kept."""

    resource: Resource
    witnesses: tuple[Witness, ...] | None


class FileCache:
    """Lookups by target. A descriptor is closed when cache, memo and connections have let go of it."""

    __slots__ = ("_kept", "_moment", "_next_at", "_places", "_valid")

    def __init__(self, octets: int, files: int, valid: float) -> None:
        self._kept: Generations[tuple[object, ...], Looked] = Generations(octets, files)
        # Shared by all that lies in them, so that each is asked once for a moment.
        self._places: WeakValueDictionary[bytes, Place] = WeakValueDictionary()
        self._valid = valid  # seconds that witnesses are believed without being asked
        self._moment = 0
        self._next_at = 0.0  # monotonic seconds

    def __repr__(self) -> str:
        return f"<FileCache {self._kept!r}>"

    def next_moment(self, now: float) -> int:
        """A moment later than all that has been received; `now` in monotonic seconds.

        For `valid` seconds it stays the same, and no witness is asked again.
        """
        if now >= self._next_at:
            self._next_at = now + self._valid
            self._moment += 1
        return self._moment

    def lookup(self, site: Site, target: Target, loop: Loop) -> Looked:
        """What `target` names in `site` now."""
        key = (target.segments, target.slash)
        kept = self._kept.get(key)
        if kept is not None and kept.witnesses is not None:
            moment = self.next_moment(loop.now)
            if all(each.agrees(moment) for each in kept.witnesses):
                return kept
            self._kept.drop(key)
        resource = files.lookup(site, target, loop.wall)
        if not self._kept.keeps:
            return Looked(resource, None)
        looked = self._examined(site, target, resource, loop.wall)
        if looked.witnesses is not None:
            self._kept.put(key, looked, cost(looked))
        return looked

    def _examined(self, site: Site, target: Target, resource: Resource, now: float) -> Looked:
        """`resource` with its witnesses, if it may be kept; a small file's octets have been read."""
        try:
            witnesses = asked(looked_at(site, target))
            if resource is Outcome.MISSING and not any(each.sight for each in witnesses):
                return Looked(resource, witnesses)
            if resource is Outcome.NO_SLASH:
                itself = self._place(witnesses[-1].path, root=False)
                return Looked(resource, (*self._places_on_the_way(site, witnesses)[:-1], itself))
            if isinstance(resource, Found):
                return examined_file(resource, self._places_on_the_way(site, witnesses), now)
        except OSError:  # it cannot be told what is there: then it cannot be kept either
            pass
        return Looked(resource, None)

    def _places_on_the_way(self, site: Site, seen: tuple[Witness, ...]) -> tuple[Witness, ...]:
        """Every directory from the root to the last that was `seen`, and that. Raises OSError at a link."""
        path = seen[-1].path
        places: list[Witness] = [self._place(site.root, root=True)]
        end = path.find(b"/", len(site.root) + 1)
        while end >= 0:
            places.append(self._place(path[:end], root=False))
            end = path.find(b"/", end + 1)
        return (*places, *seen)

    def _place(self, path: bytes, *, root: bool) -> Place:
        place = Place(path, root=root)
        known = self._places.get(path)
        if known is not None and known.sight == place.sight:
            return known
        self._places[path] = place
        return place

    def stop(self) -> None:
        """Forget everything, and keep nothing from now on."""
        self._kept.stop()


def cost(looked: Looked) -> Cost:
    """What it takes to keep this."""
    found = looked.resource
    if not isinstance(found, Found):
        return Cost(OVERHEAD, 0)
    source = found.representations[0].source
    return Cost(OVERHEAD + len(source), 0) if isinstance(source, bytes) else Cost(OVERHEAD, 1)


def asked(paths: Iterator[bytes]) -> tuple[Witness, ...]:
    """A witness for each path, up to the first where anything is."""
    witnesses = []
    for path in paths:
        witnesses.append(witness(path))
        if witnesses[-1].sight is not None:
            break
    return tuple(witnesses)


def looked_at(site: Site, target: Target) -> Iterator[bytes]:
    """The paths that decide what `target` names, in the order in which they were tried.

    A target that no file can have is missing whatever is there, and has none.
    """
    if not files.may_be_named(site, target):
        return
    path = b"/".join((site.root, *target.segments))
    if not target.slash:
        yield path
        return
    for name in site.index:
        yield b"%b/%b" % (path, name)


def examined_file(found: Found, witnesses: tuple[Witness, ...], now: float) -> Looked:
    """`found`, if the descriptor and the first path where anything is agree, and nothing changed lately."""
    (representation,) = found.representations
    source = representation.source
    assert isinstance(source, files.File)
    status = os.fstat(source.fd)
    seen = witnesses[-1].sight
    if seen != sight_of(status) or not settled(status, now):
        return Looked(found, None)
    if representation.length > MOST_IN_MEMORY:
        return Looked(found, witnesses)
    content = os.pread(source.fd, representation.length + 1, 0)
    # What was read counts only if nothing changed meanwhile.
    if len(content) != representation.length or sight_of(os.fstat(source.fd)) != seen:
        return Looked(found, None)
    return Looked(Found((dataclasses.replace(representation, source=content),)), witnesses)


def read_spans(pieces: tuple[Piece, ...], witnesses: tuple[Witness, ...]) -> tuple[Piece, ...]:
    """`pieces` with their octets in memory, where those are few and the file is as its witness saw it."""
    if sum(map(len, pieces)) > MOST_IN_MEMORY:
        return pieces
    read = tuple(piece if isinstance(piece, bytes) else octets_of(piece) for piece in pieces)
    files = {piece.file for piece in pieces if isinstance(piece, FileSpan)}
    unchanged = all(sight_of(os.fstat(file.fd)) == witnesses[-1].sight for file in files)
    return read if unchanged and sum(map(len, read)) == sum(map(len, pieces)) else pieces


def octets_of(span: FileSpan) -> bytes:
    """The octets of `span`; fewer where the file has become shorter."""
    return os.pread(span.file.fd, len(span), span.start)

"""The file cache: what was looked up, for as long as it still looks the same.

Small files are kept as their octets, larger ones as an open descriptor; missing files and redirects are
kept too. Nothing is kept that changed a moment ago, and nothing that could not be told apart from a change.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final
from weakref import WeakSet, WeakValueDictionary

from mpserve import files
from mpserve.config import Site
from mpserve.generations import Cost, Generations
from mpserve.linux import has_no_disk
from mpserve.loop import Loop
from mpserve.memo import MOST_IN_MEMORY
from mpserve.mounts import Mounts
from mpserve.protocol.representation import Found, Outcome, Resource, of_file
from mpserve.protocol.target import Target
from mpserve.tree import WouldWait
from mpserve.watches import Watches
from mpserve.witness import Place, Sight, Top, Witness, settled, sight_of, witness

# A file that changes while it is read is read so many times, and then sent as it comes.
MOST_READINGS: Final = 3
# An entry's own octets: names, field lines, witnesses, places in dictionaries.
OVERHEAD: Final = 3000


@dataclass(slots=True)
class Finding:
    """What the file system had to say of a target: all for which the disk may have to be waited for."""

    opened: Resource
    resource: Resource  # the same, with a small file's octets in memory
    sight: Sight  # what its file looked like; None: it may change unseen
    seen: tuple[Witness, ...] | None  # at the paths that decided it; None: nothing to be kept


@dataclass(slots=True)
class Looked:
    """What a lookup came to, and who can say whether it still holds; None: nobody, it is not kept."""

    resource: Resource
    witnesses: tuple[Witness, ...] | None


class FileCache:
    """Lookups by target. A descriptor is closed when cache, memo and connections have let go of it."""

    __slots__ = (
        "_held",
        "_kept",
        "_moment",
        "_most_held",
        "_most_places",
        "_mounts",
        "_next_at",
        "_places",
        "_valid",
        "hits",
        "misses",
        "watches",
    )

    def __init__(
        self, octets: int, most_files: int, valid: float, most_small: int, watches: int = 0
    ) -> None:
        """No more than `most_files` large files and directories are open, and `most_small` small files.

        `watches`: how many files and directories the kernel may be told to watch.
        """
        self._kept: Generations[tuple[object, ...], Looked] = Generations(octets, most_files)
        # Shared by all that lies in them, so that each is asked once for a moment.
        self._places: WeakValueDictionary[bytes, Place] = WeakValueDictionary()
        self._held: WeakSet[files.File] = WeakSet()  # small files, open only to be asked
        self._most_held = most_small  # how many of these may be open
        self._most_places = most_files
        self._mounts = Mounts()
        self.watches = Watches(self._mounts, watches)
        self._valid = valid  # seconds that witnesses are believed without being asked
        self._moment = 0
        self._next_at = 0.0  # monotonic seconds
        self.hits = self.misses = 0  # lookups that were answered from here, and the others

    def __repr__(self) -> str:
        return f"<FileCache {self._kept!r}>"

    def next_moment(self, now: float) -> int:
        """A moment later than all that has been received; `now` in monotonic seconds.

        For `valid` seconds it stays the same, and no witness is asked again.
        """
        if now >= self._next_at:
            self._next_at = now + self._valid
            self._moment += 1
            self.watches.look()
        return self._moment

    def lookup(
        self,
        site: Site,
        target: Target,
        loop: Loop,
        out_of_reach: Callable[[int], bool] = files.never,
        *,
        wait: bool = True,
    ) -> Looked:
        """What `target` names in `site` now; `out_of_reach` and `wait` as for `files.lookup`."""
        key = (target.segments, target.slash)
        kept = self._kept.get(key)
        if kept is not None and kept.witnesses is not None:
            moment = self.next_moment(loop.now)
            if all(each.agrees(moment) for each in kept.witnesses):
                self.hits += 1
                return kept
            self._kept.drop(key)
        return self.adopt(site, target, self.find(site, target, loop.wall, out_of_reach, wait=wait))

    def find(
        self,
        site: Site,
        target: Target,
        now: float,
        out_of_reach: Callable[[int], bool] = files.never,
        *,
        wait: bool = True,
    ) -> Finding:
        """As `lookup`, of the file system alone. Nothing is kept yet: a thread may do it."""
        opened = files.lookup(site, target, now, out_of_reach, wait=wait)
        resource, sight = read(opened, site, now, wait=wait)
        if not self._kept.keeps or (isinstance(resource, Found) and sight is None):
            return Finding(opened, resource, sight, None)
        try:
            return Finding(opened, resource, sight, asked(looked_at(site, target)))
        except OSError:  # it cannot be told what is there: then it cannot be kept either
            return Finding(opened, resource, sight, None)

    def adopt(self, site: Site, target: Target, finding: Finding) -> Looked:
        """What `finding` came to, which was made after the request for `target`, kept if it may be."""
        self.misses += 1
        self._watch(finding)
        looked = Looked(finding.resource, self._witnesses(site, finding))
        if looked.witnesses is not None:
            self._kept.put((target.segments, target.slash), looked, cost(looked))
        return looked

    def _watch(self, finding: Finding) -> None:
        """Let it be noticed if a large file is overwritten while it is sent, where to look never waits."""
        found, sight = finding.resource, finding.sight
        if not isinstance(found, Found) or sight is None:
            return
        source = found.representations[0].source
        if isinstance(source, files.File) and self._mounts.tell(sight[0]):
            source.sight = sight

    def _to_hold(self, opened: Resource, resource: Resource) -> files.File | None:
        """The file of `opened`, if it is to stay open although `resource` may have its content in memory."""
        if not isinstance(opened, Found) or not isinstance(resource, Found):
            return None
        file = opened.representations[0].source
        assert isinstance(file, files.File)
        if resource.representations[0].source is not file:
            if len(self._held) >= self._most_held:
                return None
            self._held.add(file)
        return file

    def _witnesses(self, site: Site, finding: Finding) -> tuple[Witness, ...] | None:
        """Who can say whether the target of `finding` still names what was found."""
        resource, sight, seen = finding.resource, finding.sight, finding.seen
        if seen is None:
            return None
        try:
            if resource is Outcome.MISSING and not any(each.sight for each in seen):
                return self._missing(site, seen)
            if resource is Outcome.NO_SLASH:
                path = seen[-1].path
                return (self._place(path, self._way_to(site, path)),)
            if isinstance(resource, Found) and seen[-1].sight == sight:
                place = self._way_to(site, seen[-1].path)
                *others, last = seen
                return (
                    *(Witness(each.path, None, place) for each in others),
                    Witness(last.path, sight, place, self._to_hold(finding.opened, resource)),
                )
        except OSError:  # it cannot be told what is there: then it cannot be kept either
            pass
        return None

    def _missing(self, site: Site, seen: tuple[Witness, ...]) -> tuple[Witness, ...]:
        """`seen`, where nothing was, with the directories that may vouch for it if they are there, and no links."""
        try:
            return tuple(Witness(each.path, None, self._way_to(site, each.path)) for each in seen)
        except OSError:
            return seen

    def _way_to(self, site: Site, path: bytes) -> Place:
        """The directory of `path`, which lies in the one above it, up to the root. Raises OSError at a link."""
        place = self._root(site.root)
        end = path.find(b"/", len(site.root) + 1)
        while end >= 0:
            place = self._place(path[:end], place)
            end = path.find(b"/", end + 1)
        return place

    def _root(self, path: bytes) -> Place:
        """The root: where the kernel can watch all the way there, the end of that way; else what a name leads to.

        So it need not be asked for by its name, which is a walk for the kernel, as long as the names on the way
        are the same. A link on the way, also one that is the root, is followed again each time. Raises OSError.
        """
        # One that is a name already stays it as long as anybody has it: all that lies in it shares it.
        named = self._places.get(path)
        if named is not None and named.place is None and named.looks_the_same():
            return named
        with contextlib.suppress(OSError):
            place: Place = self._top()
            way = b""
            for name in path[1:].split(b"/"):
                if name in (b"", b".", b"..") or not place.watchable:
                    break
                way += b"/" + name
                place = self._place(way, place)
            else:
                if place.watchable:
                    return place
        return self._place(path, None)

    def _top(self) -> Top:
        known = self._places.get(b"/")
        if not isinstance(known, Top) or not known.looks_the_same():
            self._places[b"/"] = known = Top(mounts=self._mounts, watches=self.watches)
        return known

    def _place(self, path: bytes, above: Place | None) -> Place:
        known = self._places.get(path)
        if known is not None and known.place is above and known.looks_the_same():
            return known
        hold = len(self._places) < self._most_places
        place = Place(path, above, hold=hold, mounts=self._mounts, watches=self.watches)
        self._places[path] = place
        return place

    def clear(self) -> None:
        """Forget everything, and let go of every open file."""
        self._kept.clear()

    def stop(self) -> None:
        """Forget everything, and keep nothing from now on."""
        self._kept.stop()


class Errand:
    """One lookup, for a thread that may wait for the disk, so that nothing of it is left to the loop."""

    __slots__ = ("_cache", "_now", "_site", "finding", "target")

    def __init__(self, cache: FileCache, site: Site, target: Target, now: float) -> None:
        self._cache = cache
        self._site = site
        self.target = target
        self._now = now
        self.finding: Finding | None = None  # None: it has not been made, or has to be made again

    def run(self) -> None:
        """Make the lookup. What is forbidden, or short, is left to whoever can do something about it."""
        finding = self._cache.find(self._site, self.target, self._now, lambda _directory: True)
        if finding.resource not in (Outcome.OUT_OF_REACH, Outcome.BUSY):
            self.finding = finding


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

    A target that no file can have is missing whatever is there, and has none. Where directories are
    listed, a missing one is missing only until it is there.
    """
    if not files.may_be_named(site, target):
        return
    path = b"/".join((site.root, *target.segments))
    if not target.slash:
        yield path
        return
    for name in site.index:
        yield b"%b/%b" % (path, name)
    if site.listing:
        yield path


def read(
    resource: Resource, site: Site, now: float, *, wait: bool = True
) -> tuple[Resource, Sight]:
    """`resource` with a small file's octets in memory, and what its file looks like; None: it may change unseen.

    What is said of a small file is true of the octets that are sent: it is read again if it changed
    meanwhile. For a larger one, which is sent from its descriptor, nobody can promise that. Without `wait`,
    WouldWait is raised where the disk would be waited for.
    """
    if not isinstance(resource, Found):
        return resource, None
    try:
        return read_file(resource, site, now, wait=wait)
    except OSError:  # whoever sends it will find out
        return resource, None


def read_file(found: Found, site: Site, now: float, *, wait: bool) -> tuple[Found, Sight]:
    """See `read`."""
    (representation,) = found.representations
    file = representation.source
    assert isinstance(file, files.File)
    for _ in range(MOST_READINGS):
        status = os.fstat(file.fd)
        sight = sight_of(status) if settled(status, now) else None
        if sight is None:  # it changed lately, perhaps after it was looked up
            size, mtime, media_type = status.st_size, status.st_mtime_ns, representation.media_type
            representation = of_file(file, size, mtime, media_type, now, site.replaced)
        if status.st_size > MOST_IN_MEMORY:
            return Found((representation,)), sight
        content = read_whole(file.fd, status.st_size + 1, wait=wait)
        if len(content) == status.st_size and sight_of(os.fstat(file.fd)) == sight_of(status):
            return Found((dataclasses.replace(representation, source=content),)), sight
    return Found((representation,)), None


def read_whole(fd: int, size: int, *, wait: bool) -> bytes:
    """The first `size` octets, or all there are. Without `wait`, WouldWait if the disk would be waited for."""
    buffer = bytearray(size)
    try:
        length = os.preadv(fd, [buffer], 0, os.RWF_NOWAIT)
    except OSError as error:  # EAGAIN; or a file system where nobody can tell
        if not wait and not has_no_disk(fd):
            raise WouldWait from error
        return os.pread(fd, size, 0)
    return bytes(buffer[:length])

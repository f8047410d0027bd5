"""Freshness: what was looked at for an answer, and whether it still looks the same.

An answer that is kept names its witnesses: every path that was looked at for it, with what stat showed
there, or that nothing was there. It may be given again only when all of them have been asked after the
request had come, and agree. So a request that arrives after a change sees the change, on any file
system, and nothing has to watch.

A file lies in a directory, and that in another, up to the root: each of these places must be the same
one, and no link, so the file is still beneath the root. A place is asked before what lies in it, which is
then looked up by its name in there: the way to it is short, and is walked once for all files of a
directory. What was reached through a link has no witnesses, and goes the long way, where the kernel decides.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from operator import attrgetter
from typing import Final, TypeAlias

from mpserve.protocol.representation import SETTLE_TIME

# What changed less than so many seconds ago is not kept. A second more than time stamps need to tell two
# changes apart: they may lag behind the clock by a tick of it, and what is said in whole seconds, as
# Last-Modified is, counts for If-Range only when it is that much older.
KEPT_AFTER: Final = SETTLE_TIME + 1.0

# What stat shows of a file: device, inode, size, mtime and ctime (ns). None: nothing is there.
Sight: TypeAlias = tuple[int, int, int, int, int] | None


class Witness:
    """One path, and what was seen there. A link at its end is not followed: then it is the link that is seen."""

    __slots__ = ("__weakref__", "_at", "_name", "moment", "path", "place", "sight")

    def __init__(self, path: bytes, sight: Sight, place: Place | None = None) -> None:
        """`place` is the directory that `path` has to lie in, if that matters."""
        self.path = path
        self.place = place
        self.sight = sight
        self.moment = 0  # when it was last asked and agreed; any larger number is later
        self._name, self._at = path, None if place is None else place.fd
        if self._at is not None:
            # The place has been asked before, and is where the path leads: what is left of the way is a name.
            self._name = os.path.basename(path)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.path!r} {self.sight}>"

    def agrees(self, moment: int) -> bool:
        """Whether the path looks as it did, and so do all places on the way; asked once for each `moment`."""
        if self.moment == moment:
            return True
        place = self.place
        # Most places have been asked for other files: a call is dearer than this.
        if place is not None and place.moment != moment and not place.agrees(moment):
            return False
        if not self.looks_the_same():
            return False
        self.moment = moment
        return True

    def looks_the_same(self) -> bool:
        """Whether what is seen now is what was seen then."""
        try:
            status = os.stat(self._name, dir_fd=self._at, follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError):
            return self.sight is None
        except OSError:
            return False
        return sight_of(status) == self.sight


class Place(Witness):
    """A directory on the way to a file: that it is still the same one, and no link, whatever is in it now.

    Without a place of its own it is the root, which may be a link: it is a name, and what it leads to has
    to be the same. One that is held open spares the kernel the way to it for all that lies in it.
    """

    __slots__ = ("fd",)

    def __init__(self, path: bytes, place: Place | None, *, hold: bool) -> None:
        """Raises OSError, NotADirectoryError where it is a link or anything else."""
        self.fd: int | None = None
        super().__init__(path, None, place)
        if hold:
            flags = os.O_PATH | os.O_DIRECTORY | (os.O_NOFOLLOW if place is not None else 0)
            self.fd = os.open(self._name, flags, dir_fd=self._at)
        status = self._look() if self.fd is None else os.fstat(self.fd)
        if not stat.S_ISDIR(status.st_mode):
            raise NotADirectoryError(path)
        self.sight = identity_of(status)

    def __del__(self) -> None:
        if self.fd is not None:
            os.close(self.fd)

    def looks_the_same(self) -> bool:
        """As of any witness, but only which directory it is."""
        try:
            return identity_of(self._look()) == self.sight
        except OSError:
            return False

    def _look(self) -> os.stat_result:
        return os.stat(self._name, dir_fd=self._at, follow_symlinks=self.place is None)


def witness(path: bytes) -> Witness:
    """A witness of what is at `path` now. Raises OSError where that cannot be told."""
    try:
        return Witness(path, sight_of(os.lstat(path)))
    except (FileNotFoundError, NotADirectoryError):
        return Witness(path, None)


# What a `stat_result` says of the identity and the content of a file, a Sight. In one call: it is made for
# every file in every turn.
sight_of: Final[Callable[[os.stat_result], tuple[int, int, int, int, int]]] = attrgetter(
    "st_dev", "st_ino", "st_size", "st_mtime_ns", "st_ctime_ns"
)


def identity_of(status: os.stat_result) -> Sight:
    """What `status` says of a directory, whatever is in it.

    A file or a link may get the inode of a directory that is gone: so its kind is a part of it.
    """
    return (status.st_dev, status.st_ino, stat.S_IFMT(status.st_mode), 0, 0)


def settled(status: os.stat_result, now: float) -> bool:
    """Whether the next change would certainly show: time stamps have a granularity.

    A change within the same tick of the file system's clock as the one before leaves no trace. So what
    changed less than KEPT_AFTER ago, or in the future, is served but not kept.
    """
    latest = max(status.st_mtime_ns, status.st_ctime_ns) / 1_000_000_000
    return now - latest >= KEPT_AFTER

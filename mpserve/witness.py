"""Freshness: what was looked at for an answer, and whether it still looks the same.

An answer that is kept names its witnesses: every path that was looked at for it, with what stat showed
there, or that nothing was there. It may be given again only when all of them have been asked after the
request had come, and agree. So a request that arrives after a change sees the change, on any file
system, and nothing has to watch.

A file's witnesses are the file and every directory on the way to it, the root included: each must be the
same one, and no link, so the file is still beneath the root. What was reached through a link has no
witnesses, and goes the long way, where the kernel decides.
"""

from __future__ import annotations

import os
import stat
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

    __slots__ = ("__weakref__", "moment", "path", "sight")

    def __init__(self, path: bytes, sight: Sight) -> None:
        self.path = path
        self.sight = sight
        self.moment = 0  # when it was last asked and agreed; any larger number is later

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.path!r} {self.sight}>"

    def agrees(self, moment: int) -> bool:
        """Whether the path looks as it did; asked once for each `moment`."""
        if self.moment != moment and self._looks_the_same():
            self.moment = moment
        return self.moment == moment

    def _looks_the_same(self) -> bool:
        try:
            status = os.lstat(self.path)
        except (FileNotFoundError, NotADirectoryError):
            return self.sight is None
        except OSError:
            return False
        return self.sight == sight_of(status)


class Place(Witness):
    """A directory on the way to a file: that it is still the same one, and no link, whatever is in it now.

    The root itself may be a link: it is a name, and what it leads to has to be the same.
    """

    __slots__ = ("_stat",)

    def __init__(self, path: bytes, *, root: bool) -> None:
        """Raises OSError, NotADirectoryError where it is a link or anything else."""
        self._stat = os.stat if root else os.lstat
        status = self._stat(path)
        if not stat.S_ISDIR(status.st_mode):
            raise NotADirectoryError(path)
        super().__init__(path, identity_of(status))

    def _looks_the_same(self) -> bool:
        try:
            status = self._stat(self.path)
        except OSError:
            return False
        return self.sight == identity_of(status)


def witness(path: bytes) -> Witness:
    """A witness of what is at `path` now. Raises OSError where that cannot be told."""
    try:
        return Witness(path, sight_of(os.lstat(path)))
    except (FileNotFoundError, NotADirectoryError):
        return Witness(path, None)


def sight_of(status: os.stat_result) -> Sight:
    """What `status` says of the identity and the content of a file."""
    return (
        status.st_dev,
        status.st_ino,
        status.st_size,
        status.st_mtime_ns,
        status.st_ctime_ns,
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

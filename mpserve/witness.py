"""Freshness: what was looked at for an answer, and whether it still looks the same.

An answer that is kept names its witnesses: every path that was looked at for it, with what stat showed
there, or that nothing was there. It may be given again only when all of them have been asked after the
request had come, and agree. So a request that arrives after a change sees the change, on any file
system, and nothing has to watch.
"""

from __future__ import annotations

import os
from typing import TypeAlias

from mpserve.protocol.representation import SETTLE_TIME

# What stat shows of a file: device, inode, size, mtime and ctime (ns). None: nothing is there.
Sight: TypeAlias = tuple[int, int, int, int, int] | None


class Witness:
    """One path, and what was seen there."""

    __slots__ = ("moment", "path", "sight")

    def __init__(self, path: bytes, sight: Sight) -> None:
        self.path = path
        self.sight = sight
        self.moment = 0  # when it was last asked and agreed; any larger number is later

    def __repr__(self) -> str:
        return f"<Witness {self.path!r} {'nothing' if self.sight is None else self.sight}>"

    def agrees(self, moment: int) -> bool:
        """Whether the path looks as it did; asked once for each `moment`."""
        if self.moment == moment:
            return True
        try:
            status = os.stat(self.path)
        except (FileNotFoundError, NotADirectoryError):
            agrees = self.sight is None
        except OSError:
            agrees = False
        else:
            agrees = self.sight == sight_of(status)
        if agrees:
            self.moment = moment
        return agrees


def witness(path: bytes) -> Witness:
    """A witness of what is at `path` now. Raises OSError where that cannot be told."""
    try:
        status = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return Witness(path, None)
    return Witness(path, sight_of(status))


def sight_of(status: os.stat_result) -> Sight:
    """What `status` says of the identity and the content of a file."""
    return (
        status.st_dev,
        status.st_ino,
        status.st_size,
        status.st_mtime_ns,
        status.st_ctime_ns,
    )


def settled(status: os.stat_result, now: float) -> bool:
    """Whether the next change would certainly show: time stamps have a granularity.

    A change within the same tick of the file system's clock as the one before leaves no trace. So what
    changed less than SETTLE_TIME ago, or in the future, is served but not kept.
    """
    latest = max(status.st_mtime_ns, status.st_ctime_ns) / 1_000_000_000
    return now - latest >= SETTLE_TIME

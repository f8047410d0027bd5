"""Freshness: what was looked at for an answer, and whether it still looks the same.

An answer that is kept names its witnesses: every path that was looked at for it, with what stat showed
there, or that nothing was there. It may be given again only when all of them have been asked after the
request had come, and agree. So a request that arrives after a change sees the change, on any file
system. One that has agreed often is watched, where that proves as much: it need not be asked itself as
long as the kernel says nothing (see `watches`).

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
from time import time
from typing import Final, Protocol, TypeAlias

from mpserve.mounts import Mounts
from mpserve.protocol.representation import SETTLE_TIME
from mpserve.watches import ALWAYS_SILENT, NEVER_SILENT, Watches

# What changed less than so many seconds ago is not kept. A second more than time stamps need to tell two
# changes apart: they may lag behind the clock by a tick of it, and what is said in whole seconds, as
# Last-Modified is, counts for If-Range only when it is that much older.
KEPT_AFTER: Final = SETTLE_TIME + 1.0

# What stat shows of a file: device, inode, size, mtime and ctime (ns). None: nothing is there.
Sight: TypeAlias = tuple[int, int, int, int, int] | None


# Names that nobody vouches for: no directory's `names` is that.
UNTOLD: Final = 0

# To make a watch costs as much as to ask ten or twenty times. So a witness has to agree so often before it
# is watched, each time twice as often up to a limit, as something seems to be done to it again and again; and
# more often where it could not be watched.
WATCHED_AFTER: Final = 16
WATCHED_AGAIN_AFTER: Final = 256
TRIED_AGAIN_AFTER: Final = 4096


class Held(Protocol):
    """A file that is open as long as somebody holds this."""

    fd: int


class Witness:
    """One path, and what was seen there. A link at its end is not followed: then it is the link that is seen."""

    __slots__ = (
        "__weakref__",
        "_at",
        "_ctime",
        "_fd",
        "_file",
        "_name",
        "_names",
        "_patience",
        "_waits",
        "_watch",
        "moment",
        "path",
        "place",
        "sight",
    )

    def __init__(
        self, path: bytes, sight: Sight, place: Place | None = None, file: Held | None = None
    ) -> None:
        """`place` is the directory that `path` has to lie in, if that matters; `file`, what was seen there."""
        self.path = path
        self.place = place
        self.sight = sight
        self.moment = 0  # when it was last asked and agreed; any larger number is later
        self._file = file  # for as long as `_fd` is asked
        self._fd: int | None = None if file is None else file.fd
        self._ctime = 0 if sight is None else sight[-1]
        # Whether it has to be asked itself. Where nothing is, it is for the place alone to say so.
        self._watch = ALWAYS_SILENT if sight is None else NEVER_SILENT
        # How often it has to agree before that is tried, and how often that still is.
        self._waits = self._patience = WATCHED_AFTER
        # The `names` of the place for which the name is known to lead to the file, or to nothing.
        self._names = -1
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
        if place is not None and place.names == self._names:
            # The name leads to the very file, or still to nothing. Whatever is done to a file sets its ctime.
            if not self._watch.silent:
                if os.fstat(self._fd).st_ctime_ns != self._ctime:  # type: ignore[arg-type]  # it is held
                    return False
                self._patience -= 1
                if not self._patience and not self._agrees_to_be_watched(place.watches):
                    return False
        elif not self._agrees_by_name():
            return False
        self.moment = moment
        return True

    def is_watched(self) -> bool:
        """Whether the kernel tells of all that could make it disagree: then only that has to be asked after."""
        place = self.place
        return (
            self._watch.silent
            and place is not None
            and place.names == self._names
            and place.is_watched()
        )

    def looks_the_same(self) -> bool:
        """Whether what is seen now is what was seen then."""
        try:
            status = os.stat(self._name, dir_fd=self._at, follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError):
            return self.sight is None
        except OSError:
            return False
        return sight_of(status) == self.sight

    def _agrees_by_name(self) -> bool:
        """Whether it looks the same, asked by its name; if so, the place may vouch for the name from now on."""
        if not self.looks_the_same():
            return False
        place = self.place
        if place is not None and place.names != UNTOLD and self._may_be_vouched_for(place):
            self._names = place.names
        return True

    def _agrees_to_be_watched(self, watches: Watches | None) -> bool:
        """Let the kernel tell from now on, if it can; whether nothing was done to the file until then."""
        assert self._fd is not None
        watch = None if watches is None else watches.file(self._fd)
        self._wait_to_be_watched(tried_in_vain=watch is None)
        if watch is None:
            return True
        if os.fstat(self._fd).st_ctime_ns != self._ctime:
            return False
        self._watch = watch
        return True

    def _wait_to_be_watched(self, *, tried_in_vain: bool) -> None:
        """Begin to count how often it agrees."""
        self._waits = (
            TRIED_AGAIN_AFTER if tried_in_vain else min(2 * self._waits, WATCHED_AGAIN_AFTER)
        )
        self._patience = self._waits

    def _may_be_vouched_for(self, place: Place) -> bool:
        """Whether `place` can say that the name still leads to what can be asked itself, or to nothing."""
        if self.sight is None or place.sight is None:
            return self.sight is None
        # Of what is mounted on a name, the directory's file system can say nothing.
        return self._fd is not None and self.sight[0] == place.sight[0]


class Place(Witness):
    """A directory on the way to a file: that it is still the same one, and no link, whatever is in it now.

    Without a place of its own it is the root, which may be a link: it is a name, and what it leads to has
    to be the same. One that is held open spares the kernel the way to it for all that lies in it; whenever
    anything has been mounted it is opened anew, as the descriptor leads to one mount for ever.

    `names` is another number whenever the names in it may have changed; UNTOLD where that cannot be told.
    """

    __slots__ = ("_last_names", "_mounts", "_stamps", "fd", "names", "watchable", "watches")

    def __init__(
        self,
        path: bytes,
        place: Place | None,
        *,
        hold: bool,
        mounts: Mounts | None = None,
        watches: Watches | None = None,
    ) -> None:
        """`watches`: of it, and of what lies in it. Raises OSError, NotADirectoryError where it is a link."""
        self.fd: int | None = None
        super().__init__(path, None, place)
        self.names = UNTOLD
        self._last_names = UNTOLD  # the largest so far
        # Its mtime and ctime (ns) and the generation of the mounts, when it was last looked at.
        self._stamps = (0, 0, 0)
        self._mounts = mounts
        self.watches = watches
        self._watch = NEVER_SILENT
        if hold:
            self.fd = self._fd = self._open()
        status = self._look() if self.fd is None else os.fstat(self.fd)
        if not stat.S_ISDIR(status.st_mode):
            raise NotADirectoryError(path)
        self.sight = identity_of(status)
        # Whether the kernel can tell of all that is done to it.
        self.watchable = watches is not None and self.fd is not None and watches.cover(self.fd)

    def __del__(self) -> None:
        if self.fd is not None:
            os.close(self.fd)

    def agrees(self, moment: int) -> bool:
        """As of any witness."""
        if self.moment == moment:
            return True
        place = self.place
        if place is not None and not place.agrees(moment):
            return False
        if place is not None and self._fd is not None and place.names == self._names:
            # What was mounted shows in the numbers: of the first on the way, and so of all below it.
            if not self._watch.silent:
                self._ask_itself(self._fd)
        elif not self._agrees_by_name():
            return False
        self.moment = moment
        return True

    def looks_the_same(self) -> bool:
        """As of any witness, but only which directory it is."""
        try:
            mounts = self._mounts
            if self.fd is not None and mounts and self._stamps[-1] != mounts.generation:
                self._open_anew(self.fd)
            status = self._look()
        except OSError:
            return False
        if identity_of(status) != self.sight:
            return False
        self._number(status)
        return True

    def _ask_itself(self, fd: int) -> None:
        """Number the names; if they have stayed the same for long, let the kernel tell of the next change."""
        self._number(os.fstat(fd))
        if self.names == UNTOLD or self.watches is None:
            return
        self._patience -= 1
        if self._patience:
            return
        watch = self.watches.directory(fd)
        self._wait_to_be_watched(tried_in_vain=watch is None)
        if watch is not None:
            self._watch = watch
            self._number(os.fstat(fd))

    def _number(self, status: os.stat_result) -> None:
        """Another number for the names, where they may have changed since this was last called.

        There is one only if the next change to them would certainly show.
        """
        mounts = self._mounts
        if mounts is None:
            return
        stamps = (status.st_mtime_ns, status.st_ctime_ns, mounts.generation)
        if stamps == self._stamps and self.names != UNTOLD:
            return
        self._stamps, self.names = stamps, UNTOLD
        if settled(status, time()) and mounts.tell(status.st_dev):
            self._last_names += 1
            self.names = self._last_names
        else:
            self._watch = NEVER_SILENT  # it has to be asked until they can be told

    def _open_anew(self, fd: int) -> None:
        """Let `fd` be what the path leads to now: it may be the same directory on another mount. Raises OSError.

        What is mounted in it is found from the mount that it was opened on, and would be found from there for ever.
        """
        now = self._open()
        try:
            os.dup2(now, fd, inheritable=False)
        finally:
            os.close(now)

    def _open(self) -> int:
        flags = os.O_PATH | os.O_DIRECTORY | (os.O_NOFOLLOW if self.place is not None else 0)
        return os.open(self._name, flags, dir_fd=self._at)

    def _look(self) -> os.stat_result:
        return os.stat(self._name, dir_fd=self._at, follow_symlinks=self.place is None)


class Top(Place):
    """The directory that all ways begin at. It need not be asked for by its name.

    Only pivot_root(2) puts another there, which is told as a mount.
    """

    __slots__ = ()

    def __init__(self, *, mounts: Mounts, watches: Watches) -> None:
        """Raises OSError."""
        super().__init__(b"/", None, hold=True, mounts=mounts, watches=watches)

    def agrees(self, moment: int) -> bool:
        """As of any witness."""
        if self.moment != moment:
            # What has been mounted shows in the numbers: in its own, and so in those of all that lies below.
            assert self._mounts is not None
            assert self._fd is not None
            if self._stamps[-1] != self._mounts.generation:
                if not self.looks_the_same():
                    return False
            elif not self._watch.silent:
                self._ask_itself(self._fd)
            self.moment = moment
        return True

    def is_watched(self) -> bool:
        """As of any witness."""
        return self._watch.silent


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

"""Files: what a target names in the file system now. The only room that opens content.

Everything is opened beneath the root of the site, and what is said about a file was asked of the
very descriptor that is sent. Only regular files have content: a FIFO, a socket or a device is as
good as missing.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from typing import Final

from mpserve.config import Site, Symlinks
from mpserve.protocol.media import media_type
from mpserve.protocol.representation import (
    Directory,
    Entry,
    Found,
    Outcome,
    Resource,
    of_file,
)
from mpserve.protocol.target import Target
from mpserve.tree import LOOK, READ, Tree
from mpserve.witness import Sight

logger: Final = logging.getLogger("mpserve")

# What an error of the file system comes to. Any other: FAILED.
OUTCOME_OF = {
    errno.ENOENT: Outcome.MISSING,
    errno.ENOTDIR: Outcome.MISSING,
    errno.ENAMETOOLONG: Outcome.MISSING,
    errno.ELOOP: Outcome.MISSING,
    errno.EXDEV: Outcome.MISSING,  # outside the root
    errno.ENXIO: Outcome.MISSING,  # a socket, or a device that is not there
    errno.ENODEV: Outcome.MISSING,
    errno.EACCES: Outcome.FORBIDDEN,
    errno.EPERM: Outcome.FORBIDDEN,
    errno.EMFILE: Outcome.BUSY,
    errno.ENFILE: Outcome.BUSY,
    errno.ENOMEM: Outcome.BUSY,
    errno.EAGAIN: Outcome.LEASED,
}

# The outcomes that the operator is told of.
_LEVEL_OF = {Outcome.FORBIDDEN: logging.WARNING, Outcome.FAILED: logging.ERROR}

# So many entries of a directory are looked at for its listing: it holds up the worker's other clients.
MOST_LISTED = 10_000

# How to open a path by each rule about links.
_OPEN: dict[Symlinks, Callable[[Tree, bytes, int], int]] = {
    Symlinks.INSIDE: Tree.open_inside,
    Symlinks.NONE: Tree.open_plain,
    Symlinks.ANY: Tree.open_anywhere,
}

_NANOSECONDS = 1_000_000_000


@dataclass(slots=True, eq=False, weakref_slot=True)
class File:
    """An open file, closed when nobody holds it any more: not a lookup, nor a cache, nor what is being sent."""

    fd: int
    # See message.OpenFile.
    warm: tuple[int, int, float] = (0, 0, 0.0)
    sight: Sight = None

    def __del__(self) -> None:
        os.close(self.fd)


def never(_directory: int) -> bool:
    """Nothing keeps this process from a directory."""
    return False


def lookup(
    site: Site,
    target: Target,
    now: float,
    out_of_reach: Callable[[int], bool] = never,
    *,
    wait: bool = True,
) -> Resource:
    """What `target` names in `site` at `now`, epoch seconds.

    `out_of_reach` is asked about the root when something is forbidden: is it this process that may not
    read there? Without `wait`, WouldWait is raised where the disk would be waited for.
    """
    if not may_be_named(site, target):
        return Outcome.MISSING
    path = b"/".join(target.segments)
    try:
        # By name each time: when the root is replaced, the next request sees the new one.
        with Tree(site.root, wait=wait) as tree:
            return _Lookup(site, tree, now, out_of_reach).resource(path, target.slash)
    except OSError as error:
        return _outcome(site, path, error)


@dataclass(frozen=True, slots=True)
class _Lookup:
    """One lookup in one tree. Its paths are relative to the root, which is b""."""

    site: Site
    tree: Tree
    now: float
    out_of_reach: Callable[[int], bool]

    def resource(self, path: bytes, slash: bool) -> Resource:
        """What is at `path`, which ended with a slash or did not."""
        try:
            return self.directory(path) if slash else self.file(path)
        except OSError as error:
            return self._failed(path, error)

    def file(self, path: bytes) -> Resource:
        """The file at `path`; NO_SLASH if a directory is there."""
        try:
            file = File(self._open(path, READ))
        except OSError as error:
            return self._refused(path, error)
        return self._opened(path, file)

    def directory(self, path: bytes) -> Resource:
        """The directory at `path`: its index file, or else the list of its entries."""
        # Not opened itself for an index file: some directories may be entered, but not read.
        for name in self.site.index:
            resource = self.file(_join(path, name))
            if resource is not Outcome.MISSING and resource is not Outcome.NO_SLASH:
                return resource
        return self._listing(path) if self.site.listing else Outcome.MISSING

    def _open(self, path: bytes, flags: int) -> int:
        return _OPEN[self.site.symlinks](self.tree, path or b".", flags)

    def _opened(self, path: bytes, file: File) -> Resource:
        """What `file` was opened on."""
        status = os.fstat(file.fd)
        if not stat.S_ISREG(status.st_mode):
            return _without_content(status)
        name = path.rpartition(b"/")[2]
        representation = of_file(
            file,
            status.st_size,
            status.st_mtime_ns,
            media_type(name),
            self.now,
            self.site.replaced,
        )
        return Found((representation,))

    def _refused(self, path: bytes, error: OSError) -> Resource:
        """What is at `path`, which could not be opened to be read."""
        if _outcome_of(error) is Outcome.FORBIDDEN:
            # That matters for content only. A directory redirects to its slash, and what is special
            # is missing, as if it had been opened.
            with contextlib.suppress(OSError):  # what was said first stands
                status = self._status(path)
                if not stat.S_ISREG(status.st_mode):
                    return _without_content(status)
        return self._failed(path, error)

    def _failed(self, path: bytes, error: OSError) -> Outcome:
        """What `error` at `path` comes to."""
        if _outcome_of(error) is Outcome.FORBIDDEN and self.out_of_reach(self.tree.fd):
            return Outcome.OUT_OF_REACH
        return _outcome(self.site, path, error)

    def _status(self, path: bytes) -> os.stat_result:
        """What is at `path`, which need not be readable."""
        fd = self._open(path, LOOK)
        try:
            return os.fstat(fd)
        finally:
            os.close(fd)

    def _listing(self, path: bytes) -> Directory:
        """The entries of the directory at `path`, by name."""
        fd = self._open(path, READ | os.O_DIRECTORY)
        try:
            with os.scandir(fd) as scan:
                entries = [self._entry(path, found) for found in islice(scan, MOST_LISTED)]
                cut = next(scan, None) is not None
        finally:
            os.close(fd)
        listed = [entry for entry in entries if entry is not None]
        return Directory(tuple(sorted(listed, key=lambda entry: entry.name)), cut)

    def _entry(self, path: bytes, found: os.DirEntry[str]) -> Entry | None:
        """The entry `found` in the directory at `path`; None if it is not to be listed."""
        name = os.fsencode(found.name)
        if name.startswith(b".") and not self.site.dotfiles:
            return None
        try:
            status = found.stat(follow_symlinks=False)
            if stat.S_ISLNK(status.st_mode):
                status = self._status(_join(path, name))
        except OSError as error:
            if _outcome_of(error) in (Outcome.MISSING, Outcome.FORBIDDEN):
                return None
            raise
        is_dir = stat.S_ISDIR(status.st_mode)
        if not is_dir and not stat.S_ISREG(status.st_mode):
            return None
        return Entry(name, is_dir, status.st_size, status.st_mtime_ns // _NANOSECONDS)


def may_be_named(site: Site, target: Target) -> bool:
    """Whether a request may name a file of `site` like this, be there one or not."""
    return all(_is_public(segment, site.dotfiles) for segment in target.segments)


def _is_public(segment: bytes, dotfiles: bool) -> bool:
    if b"/" in segment or segment in (b".", b".."):  # the name of no file, or of another one
        return False
    return dotfiles or not segment.startswith(b".") or segment == b".well-known"


def _join(path: bytes, name: bytes) -> bytes:
    return b"%b/%b" % (path, name) if path else name


def _without_content(status: os.stat_result) -> Outcome:
    """What a file comes to that is not a regular one."""
    return Outcome.NO_SLASH if stat.S_ISDIR(status.st_mode) else Outcome.MISSING


def _outcome(site: Site, path: bytes, error: OSError) -> Outcome:
    """What `error` at `path` comes to; the operator is told if it is for the operator to mend."""
    outcome = _outcome_of(error)
    if outcome in _LEVEL_OF:
        # A name may hold any byte, and none of them may make a line of its own.
        name = repr(os.path.join(site.root, path))[1:]
        code = errno.errorcode.get(error.errno or 0, "unknown error")
        logger.log(_LEVEL_OF[outcome], "cannot open %s: %s (%s)", name, error.strerror, code)
    return outcome


def _outcome_of(error: OSError) -> Outcome:
    return OUTCOME_OF.get(error.errno or 0, Outcome.FAILED)

"""Trees: a directory, and the ways to open what is beneath it. Whatever links say, nothing else is.

The kernel decides. openat2 with RESOLVE_BENEATH follows the links that stay beneath the root at
each step, and refuses all others; also those that leave the tree and come back, as absolute ones
do. They go the slow way: they are resolved by reading them one by one, which may be out of date
when it is done. So what comes out is opened with no link allowed, and a tree that changed meanwhile
can make a file missing, but cannot show one from outside.

A tree may be asked not to wait for the disk: what the kernel has not in memory is then `WouldWait`.

Where there is no openat2, a walk from descriptor to descriptor that follows no link replaces it.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from typing import Self, TypeVar

from mpserve.linux import (
    RESOLVE_BENEATH,
    RESOLVE_CACHED,
    RESOLVE_NO_MAGICLINKS,
    RESOLVE_NO_SYMLINKS,
    RESOLVE_NO_XDEV,
    has_no_disk,
    have_openat2,
    have_resolve_cached,
    openat2,
)

# How to open what is to be read. Without O_NONBLOCK, a FIFO holds the worker until somebody writes
# to it; without O_NOCTTY, a terminal may become ours.
READ = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
# How to open what is to be examined only: it takes no permission, and wakes up no device.
LOOK = os.O_PATH | os.O_CLOEXEC
# How to open a directory whose names are to be opened.
_PARENT = LOOK | os.O_DIRECTORY

MAX_LINKS = 40  # in one path; path_resolution(7) has the same
MAX_ATTEMPTS = 3  # at a tree that changes while it is looked at

# What openat2 leaves open. EXDEV: a link leaves the tree, and may come back. EAGAIN: something was
# renamed, anywhere in the system, while a link went through "..".
_UNDECIDED = {errno.EXDEV, errno.EAGAIN}
# What the walk leaves open: a link at the end of the path, a link or a file before it, "..".
_NOT_WALKED = {errno.ELOOP, errno.ENOTDIR, errno.EXDEV}
# What a path may come to that was there a moment ago, and without links.
_CHANGED = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EAGAIN}

_T = TypeVar("_T")


class WouldWait(Exception):
    """The file system would have to be asked, which may take as long as its disk does."""


class Tree:
    """The tree beneath the directory that `name` means now, which may itself be a link.

    Paths in it are relative, and have neither ".." nor empty names; the root itself is b".".
    """

    __slots__ = ("_cached", "fd", "name")

    def __init__(self, name: bytes, *, wait: bool = True) -> None:
        self.name = name
        # What it asks of the kernel beside its own rules; where it may not be asked, the disk is waited for.
        self._cached = 0 if wait or not have_resolve_cached() else RESOLVE_CACHED
        self.fd = os.open(name, _PARENT)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.fd)

    def open_anywhere(self, path: bytes, flags: int) -> int:
        """A descriptor of `path`, every link followed, out of the tree too."""
        if self._cached:
            return self._open_cached(path, flags, 0)
        return os.open(path, flags, dir_fd=self.fd)

    def open_plain(self, path: bytes, flags: int) -> int:
        """A descriptor of `path`, none of whose names may be a link: ELOOP or ENOTDIR."""
        if self._cached:
            return self._open_cached(path, flags, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS)
        if have_openat2():
            return openat2(self.fd, path, flags, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS)
        return _walk(self.fd, path, flags)

    def open_inside(self, path: bytes, flags: int) -> int:
        """A descriptor of `path`, links followed to what is in the tree: EXDEV for the rest."""
        try:
            if self._cached:
                return self._open_cached(path, flags, RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS)
            if have_openat2():
                return openat2(self.fd, path, flags, RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS)
            return _walk(self.fd, path, flags)
        except OSError as error:
            if error.errno not in (_UNDECIDED if have_openat2() else _NOT_WALKED):
                raise
        if self._cached:
            raise WouldWait
        return self._open_resolved(path, flags, MAX_ATTEMPTS)

    def _open_cached(self, path: bytes, flags: int, resolve: int) -> int:
        """A descriptor of `path`, if the kernel knows the way without asking the file system."""
        try:
            return openat2(self.fd, path, flags, resolve | RESOLVE_CACHED)
        except BlockingIOError as error:
            if not has_no_disk(self.fd):
                raise WouldWait from error
        try:  # nothing waits that stays in it
            return openat2(self.fd, path, flags, resolve | RESOLVE_NO_XDEV)
        except OSError as error:
            if error.errno in _UNDECIDED:
                raise WouldWait from error
            raise

    def _open_resolved(self, path: bytes, flags: int, attempts: int) -> int:
        """A descriptor of what `path` resolves to. This is the slow way."""
        # Our name may have come to mean another directory by now, and links agree with that one.
        with Tree(os.path.realpath(self.name, strict=True)) as tree:
            plain = resolve(tree, path, self.name)
            try:
                return tree.open_plain(plain, flags)
            except OSError as error:
                if error.errno not in _CHANGED or attempts == 1:
                    raise
        return self._open_resolved(path, flags, attempts - 1)


def _walk(directory: int, path: bytes, flags: int) -> int:
    """A descriptor of `path` beneath `directory`, name by name: none may be a link, or ".."."""
    *parents, last = path.split(b"/")
    if last == b".." or b".." in parents:
        raise _error(errno.EXDEV, path)
    here = directory
    try:
        for name in parents:
            below = os.open(name, _PARENT | os.O_NOFOLLOW, dir_fd=here)
            if here != directory:
                os.close(here)
            here = below
        return _open_unless_link(here, last, flags)
    finally:
        if here != directory:
            os.close(here)


def _open_unless_link(directory: int, name: bytes, flags: int) -> int:
    """A descriptor of `name` in `directory`: ELOOP, or ENOTDIR with O_DIRECTORY, for a link."""
    fd = os.open(name, flags | os.O_NOFOLLOW, dir_fd=directory)
    link = True  # until we know better
    try:
        # open(2): with O_NOFOLLOW, ELOOP for a link; but with O_PATH as well, the link itself.
        link = bool(flags & os.O_PATH) and stat.S_ISLNK(os.fstat(fd).st_mode)
    finally:
        if link:
            os.close(fd)
    if link:
        raise _error(errno.ELOOP, name)
    return fd


def resolve(tree: Tree, path: bytes, alias: bytes) -> bytes:
    """The path without links of what `path` leads to in `tree`, as far as reading links can tell.

    `tree` goes by its real name; `alias` is another name, which links may use. EXDEV if what `path`
    leads to is not in the tree, if there is anything; ELOOP after too many links.
    """
    place = home = _place(tree.name)  # absolute, and without links
    alias = _place(alias)
    pending = path.split(b"/")[::-1]
    links = 0
    while pending:
        name = pending.pop()
        if name in (b"", b".", b".."):
            _require_directory(tree, place)
            place = _parent(place) if name == b".." else place
            continue
        place = b"%b/%b" % (place, name)
        if place == alias:  # whatever it may be a link to by now
            place = home
        target = _link(tree, place)
        if target is None:
            continue
        links += 1
        if links > MAX_LINKS:
            raise _error(errno.ELOOP, path)
        place = b"" if target.startswith(b"/") else _parent(place)
        pending += target.split(b"/")[::-1]
    beneath = _beneath(home, place)
    if beneath is None:
        raise _error(errno.EXDEV, path)
    return beneath


# A place is an absolute path without a slash at its end: b"" is the root of the file system.


def _place(name: bytes) -> bytes:
    return name.rstrip(b"/")


def _parent(place: bytes) -> bytes:
    return place.rpartition(b"/")[0]


def _beneath(home: bytes, place: bytes) -> bytes | None:
    """The path that leads from `home` to `place`; None if that is not beneath it."""
    if place == home:
        return b"."
    return place[len(home) + 1 :] if place.startswith(home + b"/") else None


def _link(tree: Tree, place: bytes) -> bytes | None:
    """What the link at `place` says; None if there is something else."""
    try:
        target: bytes = _ask(os.readlink, tree, place)
    except OSError as error:
        if error.errno == errno.EINVAL:
            return None
        raise
    return target


def _require_directory(tree: Tree, place: bytes) -> None:
    if not stat.S_ISDIR(_ask(os.lstat, tree, place).st_mode):
        raise _error(errno.ENOTDIR, place)


def _ask(question: Callable[..., _T], tree: Tree, place: bytes) -> _T:
    """The answer of a system call about `place`, which may be outside of `tree`."""
    beneath = _beneath(_place(tree.name), place)
    if beneath is not None:
        return question(beneath, dir_fd=tree.fd)
    try:
        return question(place or b"/")
    except PermissionError as error:
        # Not a word about it: what is outside is as good as missing, whoever may see it.
        raise _error(errno.EXDEV, place) from error


def _error(code: int, path: bytes) -> OSError:
    return OSError(code, os.strerror(code), path)

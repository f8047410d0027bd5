"""What may be done to a file, and to the directories on its way: each by a system call of its own.

The file is `file`; it lies in a directory that lies in another, and all three may be changed. Nothing here cares
for what is seen of it.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mpserve import linux
from mpserve.watches import SURE, is_sure

_libc = ctypes.CDLL(None, use_errno=True)

NEW = b"NEW CONTENT"  # what is written


def can_be_watched(path: Path) -> bool:
    """Whether silence would prove anything of what is at `path`."""
    fd = os.open(path, os.O_PATH)
    try:
        return linux.file_system(fd) in SURE and is_sure(os.uname().release)
    finally:
        os.close(fd)


def require_watches(directory: Path) -> None:
    """Skip the test where there can be none."""
    if not can_be_watched(directory):
        pytest.skip(f"silence would prove nothing in {directory}")


def let_in(top: Path) -> None:
    """Give us back the right to enter what is beneath `top`, so that it can be removed."""
    for directory, _, _ in os.walk(top):
        for name in os.scandir(directory):
            if name.is_dir(follow_symlinks=False):
                os.chmod(name, 0o755)


@contextmanager
def ignoring_sigio() -> Iterator[None]:
    """As workers do: else whoever comes during a lease ends the process."""
    before = signal.signal(signal.SIGIO, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGIO, before)


def pass_a_tick(directory: Path) -> None:
    """Return when a change would show: the clock of a file system may tick but 250 times a second."""
    probe = directory.parent / "probe"
    probe.touch()
    first = probe.stat().st_ctime_ns
    while probe.stat().st_ctime_ns == first:
        probe.chmod(0o600)


# --- By a descriptor that is open for writing ------------------------------------------------------


def through_a_map(fd: int) -> None:
    with mmap.mmap(fd, 0) as memory:
        memory[: len(NEW)] = NEW


def send_into(fd: int) -> None:
    with _holding(NEW) as source:
        os.sendfile(fd, source, 0, len(NEW))


def copy_into(fd: int) -> None:
    with _holding(NEW, beside=fd) as source:
        os.copy_file_range(source, fd, len(NEW), 0, 0)


def splice_into(fd: int) -> None:
    reading, writing = os.pipe()
    try:
        os.write(writing, NEW)
        os.splice(reading, fd, len(NEW), offset_dst=0)
    finally:
        os.close(reading)
        os.close(writing)


def punch_a_hole(fd: int) -> None:
    keep_size, punch_hole = 1, 2
    if _libc.fallocate(fd, keep_size | punch_hole, ctypes.c_long(0), ctypes.c_long(4)):
        pytest.skip(f"fallocate: {os.strerror(ctypes.get_errno())}")


@contextmanager
def _holding(content: bytes, beside: int | None = None) -> Iterator[int]:
    """A file without a name that has this content; on the file system of `beside`, if that matters."""
    if beside is None:
        fd = os.memfd_create("content")
    else:
        directory = os.path.dirname(os.readlink(f"/proc/self/fd/{beside}"))
        fd = os.open(directory, os.O_TMPFILE | os.O_RDWR)
    try:
        os.write(fd, content)
        yield fd
    finally:
        os.close(fd)


WRITES: dict[str, Callable[[int], object]] = {
    "write": lambda fd: os.write(fd, NEW),
    "writev": lambda fd: os.writev(fd, [NEW]),
    "pwrite": lambda fd: os.pwrite(fd, NEW, 0),
    "pwritev2": lambda fd: os.pwritev(fd, [NEW], 0, os.RWF_DSYNC),
    "ftruncate": lambda fd: os.ftruncate(fd, 3),
    "fallocate": lambda fd: os.posix_fallocate(fd, 0, 5000),
    "fallocate, a hole": punch_a_hole,
    "sendfile": send_into,
    "copy_file_range": copy_into,
    "splice": splice_into,
    "a memory map": through_a_map,
}


# --- To the file -----------------------------------------------------------------------------------


def append(file: Path) -> None:
    with file.open("ab") as opened:
        opened.write(NEW)


def set_an_attribute(file: Path) -> None:
    try:
        os.setxattr(file, "user.x", b"x")
    except OSError as error:
        pytest.skip(f"no attributes: {error.strerror}")


def set_an_acl(file: Path) -> None:
    """Its owner may read it, nobody else; as setfacl would set it."""
    entries = ((0x01, 6), (0x02, 4, 12345), (0x04, 0), (0x10, 4), (0x20, 0))
    acl = b"\x02\0\0\0" + b"".join(
        tag.to_bytes(2, "little") + mode.to_bytes(2, "little") + (rest or [0xFFFFFFFF])[0].to_bytes(4, "little")
        for tag, mode, *rest in entries
    )  # fmt: skip
    try:
        os.setxattr(file, "system.posix_acl_access", acl)
    except OSError as error:
        pytest.skip(f"no ACLs: {error.strerror}")


def give_away(file: Path) -> None:
    try:
        os.chown(file, 12345, 12345)
    except PermissionError:
        pytest.skip("nothing may be given away")


# What sets the ctime of the file itself, and is told of it.
TO_A_FILE: dict[str, Callable[[Path], object]] = {
    "written anew": lambda file: file.write_bytes(NEW),
    "appended to": append,
    "truncated": lambda file: os.truncate(file, 3),
    "opened, and so truncated": lambda file: os.close(os.open(file, os.O_WRONLY | os.O_TRUNC)),
    "another date": lambda file: os.utime(file, (1, 1)),
    "the mode": lambda file: file.chmod(0),
    "the owner": give_away,
    "an attribute": set_an_attribute,
    "an ACL": set_an_acl,
    "another name": lambda file: os.link(file, file.with_name("other name")),
    "deleted": Path.unlink,
    "moved": lambda file: file.rename(file.with_name("moved")),
    "moved out": lambda file: file.rename(file.parent.parent / "moved out"),
}


# --- To its name, and to the directories ------------------------------------------------------------


def replaced(file: Path) -> None:
    new = file.parent.parent / "replacement"
    new.write_bytes(NEW)
    new.rename(file)


def exchanged(file: Path) -> None:
    other = file.parent.parent / "exchanged"
    other.write_bytes(NEW)
    at_fdcwd, exchange = -100, 2
    if _libc.renameat2(at_fdcwd, bytes(other), at_fdcwd, bytes(file), exchange):
        pytest.skip(f"renameat2: {os.strerror(ctypes.get_errno())}")


def moved_away_and_back(file: Path) -> None:
    file.rename(file.with_name("away"))
    file.with_name("away").rename(file)


def a_link(file: Path) -> None:
    file.with_name("target").write_bytes(NEW)
    file.unlink()
    file.symlink_to("target")


def a_link_that_replaces_it(file: Path) -> None:
    file.with_name("target").write_bytes(NEW)
    file.with_name("link").symlink_to("target")
    file.with_name("link").rename(file)


def another_name_of_another(file: Path) -> None:
    other = file.parent.parent / "another"
    other.write_bytes(NEW)
    file.unlink()
    os.link(other, file)


def a_directory(file: Path) -> None:
    file.unlink()
    file.mkdir()


def another_directory(file: Path) -> None:
    file.parent.rename(file.parent.with_name("moved"))
    file.parent.mkdir()
    file.write_bytes(NEW)


def another_directory_with_the_same_file(file: Path) -> None:
    file.parent.rename(file.parent.with_name("moved"))
    file.parent.mkdir()
    os.link(file.parent.with_name("moved") / file.name, file)


def another_parent(file: Path) -> None:
    parent = file.parent.parent
    parent.rename(parent.with_name(f"{parent.name} moved"))
    file.parent.mkdir(parents=True)
    file.write_bytes(NEW)


def the_directory_a_link(file: Path) -> None:
    file.parent.rename(file.parent.parent.parent / f"{file.parent.parent.name} out")
    file.parent.symlink_to(f"../{file.parent.parent.name} out")


# What is done to a name or to a directory on the way to it.
TO_ITS_WAY: dict[str, Callable[[Path], object]] = {
    "replaced": replaced,
    "exchanged": exchanged,
    "moved away and back": moved_away_and_back,
    "a link": a_link,
    "a link that replaces it": a_link_that_replaces_it,
    "another name of another": another_name_of_another,
    "a directory": a_directory,
    "another directory": another_directory,
    "another directory with the same file": another_directory_with_the_same_file,
    "another parent": another_parent,
    "the directory moved": lambda file: file.parent.rename(file.parent.with_name("moved")),
    "the directory a link": the_directory_a_link,
    "the directory gone": lambda file: shutil.rmtree(file.parent),
    "the directory's mode": lambda file: file.parent.chmod(0),
    "the parent's mode": lambda file: file.parent.parent.chmod(0),
}

# What is done to the names in a directory, or to who may look them up.
TO_A_DIRECTORY: dict[str, Callable[[Path], object]] = {
    "a file": lambda directory: (directory / "new").touch(),
    "a directory": lambda directory: (directory / "new").mkdir(),
    "a link": lambda directory: (directory / "new").symlink_to("nowhere"),
    "a name": lambda directory: os.link(directory / "there", directory / "new"),
    "a FIFO": lambda directory: os.mkfifo(directory / "new"),
    "a file is gone": lambda directory: (directory / "there").unlink(),
    "a directory is gone": lambda directory: (directory / "empty").rmdir(),
    "a name is another": lambda directory: (directory / "there").rename(directory / "moved"),
    "moved out": lambda directory: (directory / "there").rename(directory.parent / "moved"),
    "moved in": lambda directory: (directory.parent / "beside").rename(directory / "moved"),
    "moved over": lambda directory: (directory.parent / "beside").rename(directory / "there"),
    "the mode": lambda directory: directory.chmod(0o711),
    "the owner": give_away,
    "an attribute": set_an_attribute,
    "an ACL": set_an_acl,
    "another date": lambda directory: os.utime(directory, (1, 1)),
    "moved itself": lambda directory: directory.rename(directory.with_name("moved")),
}

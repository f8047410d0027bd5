"""System calls that the standard library lacks: where they are there, and where they are not."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mpserve import linux
from mpserve.linux import (
    RESOLVE_BENEATH,
    RESOLVE_CACHED,
    RESOLVE_NO_MAGICLINKS,
    RESOLVE_NO_SYMLINKS,
    file_system,
    has_no_disk,
    have_openat2,
    have_resolve_cached,
    openat2,
)

READ = os.O_RDONLY | os.O_CLOEXEC
PROC_SUPER_MAGIC = 0x9FA0  # <linux/magic.h>

needs_openat2 = pytest.mark.skipif(not have_openat2(), reason="openat2 cannot be used here")


@pytest.fixture
def root(tmp_path: Path) -> Iterator[int]:
    """A directory with two files, one of them a link, and with two links that lead out of it."""
    directory = tmp_path / "root"
    directory.mkdir()
    (directory / "a.txt").write_bytes(b"content")
    (directory / "b.txt").symlink_to("a.txt")
    (directory / "up").symlink_to("../outside")
    (directory / "absolute").symlink_to(tmp_path / "outside")
    (tmp_path / "outside").write_bytes(b"secret")
    fd = os.open(directory, os.O_PATH)
    yield fd
    os.close(fd)


@needs_openat2
@pytest.mark.parametrize(
    ("path", "resolve"),
    [
        pytest.param(b"a.txt", 0, id="without a rule"),
        pytest.param(b"a.txt", RESOLVE_NO_SYMLINKS, id="no link in it"),
        pytest.param(b"b.txt", RESOLVE_BENEATH, id="a link that stays beneath"),
        pytest.param(b"./a.txt", RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS, id="two rules"),
    ],
)
def test_what_the_rules_allow_is_opened(root: int, path: bytes, resolve: int) -> None:
    fd = openat2(root, path, READ, resolve)
    with open(fd, "rb") as file:
        content = file.read()

    assert content == b"content"


@needs_openat2
@pytest.mark.parametrize(
    ("path", "resolve", "expected"),
    [
        pytest.param(b"none", 0, errno.ENOENT, id="there is nothing"),
        pytest.param(b"a.txt/x", 0, errno.ENOTDIR, id="beneath a file"),
        pytest.param(b"x" * 256, 0, errno.ENAMETOOLONG, id="a name too long"),
        pytest.param(b"..", RESOLVE_BENEATH, errno.EXDEV, id="the parent"),
        pytest.param(b"up", RESOLVE_BENEATH, errno.EXDEV, id="a link through the parent"),
        pytest.param(b"absolute", RESOLVE_BENEATH, errno.EXDEV, id="an absolute link"),
        pytest.param(b"b.txt", RESOLVE_NO_SYMLINKS, errno.ELOOP, id="a link where none may be"),
    ],
)
def test_a_refusal_is_an_os_error_that_names_the_path(
    root: int, path: bytes, resolve: int, expected: int
) -> None:
    with pytest.raises(OSError) as caught:
        openat2(root, path, READ, resolve)

    assert (caught.value.errno, caught.value.filename) == (expected, path)


@needs_openat2
def test_a_magic_link_is_refused_when_it_is_not_to_be_followed() -> None:
    process = os.open("/proc/self", os.O_PATH)
    try:
        with pytest.raises(OSError) as caught:
            openat2(process, b"exe", READ, RESOLVE_NO_MAGICLINKS)
    finally:
        os.close(process)

    assert caught.value.errno == errno.ELOOP


@needs_openat2
def test_the_flags_are_those_of_the_descriptor(root: int) -> None:
    fd = openat2(root, b"a.txt", READ | os.O_NONBLOCK, 0)
    try:
        status = fcntl.fcntl(fd, fcntl.F_GETFL)
        inheritable = os.get_inheritable(fd)
    finally:
        os.close(fd)

    assert (status & os.O_NONBLOCK, inheritable) == (os.O_NONBLOCK, False)


def test_a_path_with_a_nul_is_not_cut_short(root: int) -> None:
    with pytest.raises(ValueError, match="null byte"):
        openat2(root, b"a.txt\0.png", READ, 0)


@needs_openat2
def test_the_kind_of_a_file_system_is_told_by_its_number() -> None:
    proc = os.open("/proc", os.O_RDONLY)
    try:
        assert file_system(proc) == PROC_SUPER_MAGIC
    finally:
        os.close(proc)


def test_only_of_what_is_open_in_memory_is_it_said_that_no_disk_is_needed(tmp_path: Path) -> None:
    with open("/proc/self/stat", "rb") as file:
        assert not has_no_disk(file.fileno())
    assert not has_no_disk(-1)


def test_of_what_is_not_open_there_is_no_file_system() -> None:
    with pytest.raises(OSError, match="Bad file descriptor"):
        file_system(-1)


@pytest.mark.skipif(not have_resolve_cached(), reason="this kernel always asks the file system")
def test_what_the_kernel_does_not_know_is_not_looked_up(root: int) -> None:
    with pytest.raises(BlockingIOError):
        openat2(root, b"nobody-asked-for-it", READ, RESOLVE_CACHED)
    os.close(openat2(root, b"a.txt", READ, RESOLVE_CACHED))


@pytest.mark.parametrize(("code", "expected"), [(errno.EBADF, True), (errno.EINVAL, False)])
def test_whether_the_kernel_can_be_asked_what_it_knows_is_told_by_an_error(
    monkeypatch: pytest.MonkeyPatch, code: int, expected: bool
) -> None:
    def answer(*_: object) -> int:
        ctypes.set_errno(code)
        return -1

    monkeypatch.setattr(linux, "_openat2", answer)

    assert have_resolve_cached.__wrapped__() is expected


def test_an_interrupted_call_is_made_again(root: int, monkeypatch: pytest.MonkeyPatch) -> None:
    real, calls = linux._openat2, []

    def interrupted_twice(*args: object) -> int:
        calls.append(args)
        if len(calls) > 2:
            return int(real(*args))
        ctypes.set_errno(errno.EINTR)
        return -1

    monkeypatch.setattr(linux, "_openat2", interrupted_twice)
    os.close(openat2(root, b"a.txt", READ, 0))

    assert len(calls) == 3


# A process that may not use openat2, as in a container with a filter older than the call; it says
# whether it knows, and what it reads through a link all the same.
FILTERED = """
import ctypes, os, struct, sys

LOAD, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06
FAIL, ALLOW = 0x0005_0000 | int(sys.argv[1]), 0x7FFF_0000
filter = b"".join(
    struct.pack("HBBI", *instruction)
    for instruction in [
        (LOAD, 0, 0, 0),  # the number of the call
        (JUMP_IF_EQUAL, 0, 1, 437),
        (RETURN, 0, 0, FAIL),
        (RETURN, 0, 0, ALLOW),
    ]
)
program = struct.pack("HxxxxxxP", len(filter) // 8, ctypes.cast(filter, ctypes.c_void_p).value)
prctl = ctypes.CDLL(None, use_errno=True).prctl
prctl.argtypes = [ctypes.c_int, *[ctypes.c_void_p] * 4]
if prctl(38, 1, 0, 0, 0) or prctl(22, 2, program, 0, 0):  # PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP
    sys.exit("no filter: " + os.strerror(ctypes.get_errno()))

from mpserve.linux import have_openat2
from mpserve.tree import READ, Tree

with Tree(os.fsencode(sys.argv[2])) as tree:
    content = os.read(tree.open_inside(b"b.txt", READ), 100)
print(have_openat2(), content.decode())
"""


@pytest.mark.parametrize(
    "code",
    [
        pytest.param(errno.ENOSYS, id="the kernel does not know the call"),
        pytest.param(errno.EPERM, id="the filter of an old container refuses it"),
    ],
)
def test_where_there_is_no_openat2_that_is_noticed_and_files_are_served(
    code: int, root: int, tmp_path: Path
) -> None:
    child = [sys.executable, "-c", FILTERED, str(code), str(tmp_path / "root")]
    done = subprocess.run(child, capture_output=True, text=True, check=False)
    if "no filter" in done.stderr:
        pytest.skip(done.stderr)

    assert (done.stdout, done.stderr) == ("False content\n", "")


# --- A thread's timers ----------------------------------------------------------------------------


def test_a_thread_may_have_no_slack() -> None:
    code = "from mpserve.linux import sleep_to_the_point as it; it(); print(open('/proc/self/timerslack_ns').read())"
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=True, timeout=60
    )

    assert ended.stdout.split() == [b"1"]

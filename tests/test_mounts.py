"""Mounts: which file systems tell, and that something new is mounted."""

from __future__ import annotations

import ctypes
import os
import threading
from pathlib import Path

import pytest

from mpserve.mounts import Mounts, telling
from mpserve.watches import Watches

TABLE = b"""\
22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime shared:1 master:2 - ext4 /dev/vda rw,discard
28 27 8:17 /a\\040b /mnt/c\\040-\\040d rw - xfs /dev/sdb1 rw
29 27 0:40 / /net rw - nfs4 server:/ rw
30 27 0:41 / /fuse rw - fuse.sshfs x rw
31 27 0:42 / /run rw,nosuid shared:12 - tmpfs tmpfs rw
32 27 0:43 / /data rw - btrfs /dev/sdc rw
"""


def test_the_file_systems_of_this_machine_tell() -> None:
    assert [os.makedev(254, 0), os.makedev(8, 17), os.makedev(0, 42)] == list(telling(TABLE))


def test_a_device_tells_or_not(tmp_path: Path) -> None:
    (tmp_path / "mounts").write_bytes(TABLE)
    mounts = Mounts(str(tmp_path / "mounts"))

    assert [True, False] == [mounts.tell(os.makedev(*each)) for each in ((8, 17), (0, 40))]


def test_where_the_list_is_hidden_nobody_tells(tmp_path: Path) -> None:
    mounts = Mounts(str(tmp_path / "missing"))

    Watches(mounts, 0).look()

    assert (False, 0) == (mounts.tell(os.makedev(254, 0)), mounts.generation)


@pytest.mark.parametrize(
    "line",
    [
        pytest.param(b"29 27 0:40 / /a\rb rw shared:1 - tmpfs none rw", id="CR in a name"),
        pytest.param(
            b"29 27 0:40 / /a\x0b\x0c\x1c\x85b rw - tmpfs none rw", id="other ends of lines"
        ),
        pytest.param(b"b rw shared:1 - tmpfs none rw", id="a half"),
        pytest.param(b"29 27 x:y / / rw - tmpfs none rw", id="no numbers"),
        pytest.param(b"", id="empty"),
    ],
)
def test_a_line_that_is_strange_spoils_no_other(line: bytes) -> None:
    others = TABLE.splitlines(keepends=True)
    table = b"".join((*others[:3], line + b"\n", *others[3:]))

    assert {os.makedev(254, 0), os.makedev(8, 17), os.makedev(0, 42)} <= set(telling(table))


def test_a_name_with_a_carriage_return_is_a_name() -> None:
    line = b"29 27 0:40 / /a\rb rw shared:1 - tmpfs none rw\n"

    assert [os.makedev(0, 40)] == list(telling(line))


def test_a_list_that_cannot_be_read_any_more_tells_nothing(tmp_path: Path) -> None:
    mounts = Mounts(str(tmp_path))  # a directory

    assert not mounts.tell(os.makedev(254, 0))


def test_it_lets_go_of_the_list() -> None:
    before = os.listdir("/proc/self/fd")
    mounts = Mounts()
    del mounts

    assert before == os.listdir("/proc/self/fd")


CLONE_NEWNS = 0x00020000
MS_REC, MS_PRIVATE = 0x4000, 1 << 18


def test_what_is_mounted_is_noticed(tmp_path: Path) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    came: list[object] = []
    errors: list[int] = []

    def mount() -> None:
        # A thread of its own may have mounts of its own, and they go with it.
        if libc.unshare(CLONE_NEWNS) or libc.mount(None, b"/", None, MS_REC | MS_PRIVATE, None):
            errors.append(ctypes.get_errno())
            return
        mounts = Mounts(f"/proc/self/task/{threading.get_native_id()}/mountinfo")
        watches = Watches(mounts, 0)
        mounts.tell(0)
        watches.look()
        came.append(mounts.generation)
        if libc.mount(b"none", bytes(tmp_path), b"tmpfs", 0, None):
            errors.append(ctypes.get_errno())
            return
        device = tmp_path.stat().st_dev
        came.append(mounts.tell(device))
        for _ in range(2):
            watches.look()
            came.append((mounts.tell(device), mounts.generation))

    thread = threading.Thread(target=mount)
    thread.start()
    thread.join()
    if errors:
        pytest.skip(f"nothing can be mounted here: {os.strerror(errors[0])}")

    assert [0, False, (True, 1), (True, 1)] == came

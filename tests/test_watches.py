"""Watches: when the kernel's silence proves that nothing was done, and when there is none to be had."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import re
import signal
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mpserve import linux, watches
from mpserve.mounts import Mounts
from mpserve.watches import (
    ALWAYS_SILENT,
    FILE,
    NEVER_SILENT,
    Watch,
    Watches,
    affordable,
    events,
    is_sure,
)
from tests.deeds import TO_A_DIRECTORY, TO_A_FILE, WRITES, ignoring_sigio, let_in, require_watches
from tests.test_files import as_nobody

MOST = 100


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    with ignoring_sigio():
        yield


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    require_watches(tmp_path)
    directory = tmp_path / "directory"
    (directory / "empty").mkdir(parents=True)
    (directory / "there").write_bytes(b"there")
    (tmp_path / "beside").write_bytes(b"beside")
    yield directory
    let_in(tmp_path)


@pytest.fixture
def file(directory: Path) -> Path:
    path = directory / "file"
    path.write_bytes(b"content " * 10)
    return path


@pytest.fixture
def opened(file: Path) -> Iterator[int]:
    """The file, as one that is served is open."""
    fd = os.open(file, os.O_RDONLY)
    yield fd
    os.close(fd)


@pytest.fixture
def entered(directory: Path) -> Iterator[int]:
    """The directory, as a place is open."""
    fd = os.open(directory, os.O_PATH | os.O_DIRECTORY)
    yield fd
    os.close(fd)


@pytest.fixture
def watching() -> Watches:
    return Watches(Mounts(), MOST)


def is_silent(watching: Watches, watch: Watch | None) -> bool:
    """Whether nothing has been done until now."""
    assert watch is not None
    watching.look()
    return watch.silent


def kept_by_the_kernel(watching: Watches) -> int:
    """How many watches there are by its own account."""
    assert watching._fd is not None
    return Path(f"/proc/self/fdinfo/{watching._fd}").read_text().count("inotify wd:")


# --- What ends a watch ----------------------------------------------------------------------------


def test_it_is_silent_while_nothing_is_done(watching: Watches, opened: int, entered: int) -> None:
    both = watching.file(opened), watching.directory(entered)

    assert [is_silent(watching, watch) for watch in both * 3] == [True] * 6


@pytest.mark.parametrize("name", TO_A_FILE)
def test_whatever_is_done_to_a_file_ends_its_watch(
    watching: Watches, file: Path, opened: int, name: str
) -> None:
    watch = watching.file(opened)
    before = is_silent(watching, watch)
    TO_A_FILE[name](file)

    assert (before, is_silent(watching, watch)) == (True, False)


@pytest.mark.parametrize("name", TO_A_DIRECTORY)
def test_whatever_is_done_to_a_directory_ends_its_watch(
    watching: Watches, directory: Path, entered: int, name: str
) -> None:
    watch = watching.directory(entered)
    before = is_silent(watching, watch)
    TO_A_DIRECTORY[name](directory)

    assert (before, is_silent(watching, watch)) == (True, False)


@pytest.mark.parametrize("flags", [os.O_RDONLY, os.O_RDWR, os.O_WRONLY])
def test_it_ends_when_the_file_is_opened_before_anything_can_be_written(
    watching: Watches, file: Path, opened: int, flags: int
) -> None:
    watch = watching.file(opened)
    fd = os.open(file, flags)
    ended = not is_silent(watching, watch)
    os.close(fd)

    assert ended


@pytest.mark.parametrize("name", WRITES)
def test_there_is_none_while_a_writer_may_write(
    watching: Watches, file: Path, opened: int, name: str
) -> None:
    fd = os.open(file, os.O_RDWR)
    refused = watching.file(opened)
    WRITES[name](fd)
    os.close(fd)

    assert refused is None
    assert is_silent(watching, watching.file(opened))


def test_there_is_none_while_a_map_of_the_file_can_be_written(
    watching: Watches, file: Path, opened: int
) -> None:
    fd = os.open(file, os.O_RDWR)
    with mmap.mmap(fd, 0):
        os.close(fd)
        refused = watching.file(opened)

    assert refused is None
    assert is_silent(watching, watching.file(opened))


def test_it_ends_when_the_file_is_opened_to_be_mapped(
    watching: Watches, file: Path, opened: int
) -> None:
    watch = watching.file(opened)
    with file.open("r+b") as writer, mmap.mmap(writer.fileno(), 0) as memory:
        memory[0] ^= 1

    assert not is_silent(watching, watch)


def test_reading_and_asking_leave_it_alone(
    watching: Watches, file: Path, opened: int, entered: int
) -> None:
    both = watching.file(opened), watching.directory(entered)
    os.pread(opened, 10, 0)
    os.stat(file)
    os.close(os.open(file, os.O_PATH))
    os.listdir(file.parent)
    file.with_name("there").read_bytes()

    assert [is_silent(watching, watch) for watch in both] == [True, True]


def test_after_it_has_ended_there_is_another(watching: Watches, file: Path, opened: int) -> None:
    first = watching.file(opened)
    file.chmod(0o600)
    watching.look()
    second = watching.file(opened)

    assert [is_silent(watching, watch) for watch in (first, second)] == [False, True]


def test_another_that_is_made_before_the_event_is_read_is_not_ended_by_it(
    watching: Watches, file: Path, opened: int
) -> None:
    first = watching.file(opened)
    file.chmod(0o600)
    second = watching.file(opened)
    ended = [is_silent(watching, watch) for watch in (first, second)]
    file.chmod(0o644)

    assert ended == [False, True]
    assert not is_silent(watching, second)


def test_who_writes_during_the_lease_is_let_in(watching: Watches, file: Path, opened: int) -> None:
    over = threading.Event()

    written = 0

    def write() -> None:
        nonlocal written
        while not over.is_set():
            file.write_bytes(b"again")
            written += 1

    thread = threading.Thread(target=write)
    thread.start()
    found = [watching.file(opened) for _ in range(3000)]
    over.set()
    thread.join()
    file.write_bytes(b"the end")

    assert written > 0
    assert not any(is_silent(watching, watch) for watch in found if watch is not None)


# --- Who has it -----------------------------------------------------------------------------------


def test_all_who_would_know_of_an_inode_have_the_same(
    watching: Watches, file: Path, opened: int
) -> None:
    os.link(file, file.with_name("name"))
    fd = os.open(file.with_name("name"), os.O_RDONLY)
    watching.look()
    both = watching.file(opened), watching.file(fd)
    os.close(fd)
    before = is_silent(watching, both[0])
    os.truncate(file, 0)
    watching.look()

    assert both[0] is both[1]
    assert (before, is_silent(watching, both[1])) == (True, False)


def test_it_is_removed_with_the_last_who_has_it(
    watching: Watches, opened: int, entered: int
) -> None:
    both = [watching.file(opened), watching.file(opened)]
    counts = [(len(watching), kept_by_the_kernel(watching))]
    for _ in range(2):
        both.pop()
        counts.append((len(watching), kept_by_the_kernel(watching)))

    assert counts == [(1, 1), (1, 1), (0, 0)]


def test_one_that_has_ended_is_let_go(watching: Watches, file: Path, opened: int) -> None:
    watch = watching.file(opened)
    file.chmod(0o600)
    unread = kept_by_the_kernel(watching)
    watching.look()
    assert watch is not None
    del watch

    assert (unread, len(watching)) == (0, 0)


def test_what_comes_of_one_that_was_removed_is_nobodys(
    watching: Watches, file: Path, opened: int, entered: int
) -> None:
    other = watching.directory(entered)
    watch = watching.file(opened)
    del watch
    again = watching.file(opened)

    assert [is_silent(watching, each) for each in (other, again)] == [True, True]


def test_it_closes_its_instance(file: Path, opened: int) -> None:
    before = sorted(os.listdir("/proc/self/fd"))
    watching = Watches(Mounts(), MOST)
    watch = watching.file(opened)
    flags = os.get_inheritable(watching._fd or 0)
    del watching, watch

    assert (before, flags) == (sorted(os.listdir("/proc/self/fd")), False)


def test_there_is_no_instance_before_there_is_a_watch(directory: Path) -> None:
    watching = Watches(Mounts(), MOST)
    watching.look()

    assert watching._fd is None


# --- Where there is none --------------------------------------------------------------------------


def raising(number: int) -> Callable[..., int]:
    def call(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    return call


@pytest.mark.parametrize(
    ("name", "number"),
    [
        pytest.param("inotify_instance", errno.EMFILE, id="no instance is left"),
        pytest.param("inotify_instance", errno.ENOSYS, id="this kernel has none"),
        pytest.param("inotify_instance", errno.EPERM, id="a filter says no"),
        pytest.param("inotify_add", errno.ENOSPC, id="no watch is left"),
        pytest.param("inotify_add", errno.ENOENT, id="there is no /proc"),
        pytest.param("inotify_add", errno.EACCES, id="it may not be read"),
        pytest.param("file_system", errno.EIO, id="nobody knows where it is"),
    ],
)
def test_where_it_cannot_be_made_there_is_none(
    watching: Watches,
    opened: int,
    entered: int,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    number: int,
) -> None:
    monkeypatch.setattr(linux, name, raising(number))

    assert [watching.file(opened), watching.directory(entered)] == [None, None]
    watching.look()


@pytest.mark.parametrize("number", [errno.EACCES, errno.EINVAL, errno.EAGAIN])
def test_where_nobody_can_say_who_writes_there_is_none(
    watching: Watches, opened: int, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr(linux, "prove_unwritten", raising(number))

    assert (watching.file(opened), len(watching)) == (None, 0)


def test_an_instance_that_cannot_be_had_is_not_asked_for_again(
    watching: Watches, entered: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(linux, "inotify_instance", raising(errno.EMFILE))
    watching.directory(entered)
    monkeypatch.undo()

    assert watching.directory(entered) is None


def test_of_a_file_of_another_there_is_none_and_of_its_directory_there_is(
    watching: Watches, directory: Path, file: Path, opened: int, entered: int
) -> None:
    for path in (*directory.parents[:3], directory):
        if path.stat().st_uid == os.geteuid() and path != Path("/tmp"):
            path.chmod(0o755)
    file.chmod(0o644)
    if os.geteuid() != 0:
        pytest.skip("nobody else has files here")
    with as_nobody():
        assert watching.file(opened) is None
        assert watching.directory(entered) is not None


def test_who_does_not_ignore_the_signal_has_none_of_files(
    watching: Watches, opened: int, entered: int
) -> None:
    signal.signal(signal.SIGIO, signal.SIG_DFL)

    assert watching.file(opened) is None
    assert watching.directory(entered) is not None


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(0x794C7630, id="overlay"),
        pytest.param(0x6969, id="nfs"),
        pytest.param(0x65735546, id="fuse"),
        pytest.param(0x9123683E, id="btrfs"),
        pytest.param(0x73717368, id="squashfs"),
    ],
)
def test_on_other_file_systems_there_is_none(
    watching: Watches, opened: int, entered: int, monkeypatch: pytest.MonkeyPatch, kind: int
) -> None:
    monkeypatch.setattr(linux, "file_system", lambda _fd: kind)

    assert [watching.file(opened), watching.directory(entered)] == [None, None]


def test_there_are_no_more_than_allowed(directory: Path, opened: int, entered: int) -> None:
    watching = Watches(Mounts(), 1)
    first = watching.directory(entered)
    second = watching.file(opened)
    del first

    assert second is None
    assert watching.file(opened) is not None


def test_a_file_is_no_directory(watching: Watches, opened: int) -> None:
    assert watching.directory(opened) is None


@pytest.mark.parametrize(
    ("release", "expected"),
    [
        ("6.5.0-1-amd64", True),
        ("6.12", True),
        ("7.0-rc1", True),
        ("6.4.16", False),
        ("5.15.0-91-generic", False),
        ("4.18.0-553.el8", False),
        ("", False),
        ("unknown", False),
    ],
)
def test_since_when_silence_proves_something(release: str, expected: bool) -> None:
    assert is_sure(release) == expected


def test_an_old_kernel_has_none(entered: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watches, "SINCE", (99, 0))

    assert Watches(Mounts(), MOST).directory(entered) is None


# --- Events ---------------------------------------------------------------------------------------


def event(number: int, mask: int, name: bytes = b"") -> bytes:
    return struct.pack("iIII", number, mask, 0, len(name)) + name


def test_events_are_read_with_and_without_names() -> None:
    octets = event(1, 2) + event(3, 4, b"name".ljust(16, b"\0")) + event(-1, linux.IN_Q_OVERFLOW)

    assert list(events(octets)) == [(1, 2), (3, 4), (-1, linux.IN_Q_OVERFLOW)]


def test_where_events_are_missing_all_watches_end(
    watching: Watches, opened: int, entered: int
) -> None:
    both = watching.file(opened), watching.directory(entered)
    watching._hear(-1, linux.IN_Q_OVERFLOW)
    ended = [is_silent(watching, watch) for watch in both]
    left = len(watching), kept_by_the_kernel(watching)
    again = watching.file(opened)

    assert (ended, left) == ([False, False], (0, 0))
    assert is_silent(watching, again)


@pytest.mark.parametrize("mask", [0x8000, 0x2000, 0x400], ids=["ignored", "unmounted", "deleted"])
def test_any_event_ends_its_watch(watching: Watches, opened: int, entered: int, mask: int) -> None:
    watch, other = watching.file(opened), watching.directory(entered)
    assert watch is not None
    watching._hear(watch._number, mask)

    assert [is_silent(watching, each) for each in (watch, other)] == [False, True]


def test_a_full_queue_hides_nothing(
    watching: Watches, file: Path, opened: int, entered: int
) -> None:
    watch = watching.file(opened)
    for _ in range(watches.limit("max_queued_events")):
        watching.directory(entered)  # and it is removed, which is an event
    file.chmod(0o600)

    assert not is_silent(watching, watch)


# --- What lies above, and what is mounted -----------------------------------------------------------

CLONE_NEWNS = 0x00020000
MS_REC, MS_PRIVATE = 0x4000, 1 << 18


def in_mounts_of_its_own(do: Callable[[ctypes.CDLL], None]) -> None:
    """Do it in a thread that may mount what it wants; skip where that is forbidden."""
    libc = ctypes.CDLL(None, use_errno=True)
    errors: list[BaseException | str] = []

    def run() -> None:
        if libc.unshare(CLONE_NEWNS) or libc.mount(None, b"/", None, MS_REC | MS_PRIVATE, None):
            errors.append(os.strerror(ctypes.get_errno()))
            return
        try:
            do(libc)
        except BaseException as error:  # noqa: BLE001  # it is raised where it is seen
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    for error in errors:
        if isinstance(error, BaseException):
            raise error
        pytest.skip(f"nothing can be mounted here: {error}")


@pytest.mark.parametrize("name", WRITES)
def test_what_is_written_through_an_overlay_above_is_told(
    watching: Watches, file: Path, name: str
) -> None:
    """The layer is served, and somebody writes to what lies over it."""
    for each in ("lower", "work", "merged"):
        (file.parent.parent / each).mkdir()
    silent: list[bool] = []

    def write(libc: ctypes.CDLL) -> None:
        top = file.parent.parent
        options = f"lowerdir={top}/lower,upperdir={file.parent},workdir={top}/work"
        merged = top / "merged"
        if libc.mount(b"none", bytes(merged), b"overlay", 0, options.encode()):
            raise pytest.skip.Exception(os.strerror(ctypes.get_errno()))
        try:
            opened = os.open(file, os.O_RDONLY)
            watch = watching.file(opened)
            silent.append(is_silent(watching, watch))
            fd = os.open(merged / file.name, os.O_RDWR)
            WRITES[name](fd)
            silent.append(is_silent(watching, watch))
            silent.append(watching.file(opened) is not None)  # while it is open there
            os.close(fd)
            os.close(opened)
        finally:
            libc.umount2(bytes(merged), 2)

    in_mounts_of_its_own(write)

    assert silent == [True, False, False]


def test_one_look_tells_of_mounts_and_of_files(directory: Path, entered: int) -> None:
    looks: list[tuple[int, bool]] = []

    def mount(libc: ctypes.CDLL) -> None:
        mounts = Mounts(f"/proc/self/task/{threading.get_native_id()}/mountinfo")
        watching = Watches(mounts, MOST)
        watch = watching.directory(entered)

        def look() -> None:
            silent = is_silent(watching, watch)
            looks.append((mounts.generation, silent))

        look()
        if libc.mount(b"none", bytes(directory / "empty"), b"tmpfs", 0, None):
            raise pytest.skip.Exception(os.strerror(ctypes.get_errno()))
        look()
        libc.mount(b"none", bytes(directory / "empty"), b"tmpfs", 0, None)
        (directory / "new").touch()
        look()

    in_mounts_of_its_own(mount)

    assert looks == [(0, True), (1, True), (2, False)]


# --- Bounds ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("watches_", "instances", "queued", "workers", "expected"),
    [
        pytest.param(160_000, 128, 16384, 2, 4096, id="what the queue can tell of"),
        pytest.param(16_000, 128, 16384, 4, 250, id="a share of all"),
        pytest.param(160_000, 128, 16384, 32, 312, id="as many workers as may be"),
        pytest.param(160_000, 128, 16384, 33, 0, id="more workers than instances to spare"),
        pytest.param(0, 128, 16384, 1, 0, id="none at all"),
        pytest.param(160_000, 128, 0, 1, 0, id="no queue"),
    ],
)
def test_others_are_left_some(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    watches_: int,
    instances: int,
    queued: int,
    workers: int,
    expected: int,
) -> None:
    monkeypatch.setattr(watches, "SETTINGS", str(tmp_path))
    values = watches_, instances, queued
    for name, value in zip(watches.LIMITS, values, strict=True):
        (tmp_path / name).write_text(f"{value}\n")

    assert affordable(workers) == expected


def test_where_the_limits_are_hidden_they_are_taken_for_the_least(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watches, "SETTINGS", str(tmp_path))

    assert affordable(2) == 8192 // 16 // 2


# --- What is said of it ---------------------------------------------------------------------------


def test_their_reprs_tell_how_they_are(watching: Watches, opened: int) -> None:
    watch = watching.file(opened)

    assert repr(watching) == f"<Watches 1 of {MOST}>"
    assert re.fullmatch(r"<Watch \d+ silent>", repr(watch))
    assert repr(NEVER_SILENT) == "<Watch -1 over>"
    assert ALWAYS_SILENT.silent


def test_a_watch_of_a_file_is_for_one_event() -> None:
    assert FILE & linux.IN_ONESHOT


def test_where_there_is_no_memory_to_hear_what_was_told_all_watches_end(
    watching: Watches, file: Path, opened: int, entered: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(_fd: int, _size: int) -> bytes:
        raise MemoryError

    both = watching.file(opened), watching.directory(entered)
    before = watching.heard, watching._mounts.generation
    file.chmod(0o600)
    with monkeypatch.context() as starved:
        starved.setattr(os, "read", failing)
        silent = [is_silent(watching, watch) for watch in both]

    assert silent == [False, False]
    assert watching.heard > before[0]
    assert watching._mounts.generation > before[1]


def test_what_is_told_is_counted(watching: Watches, file: Path, opened: int) -> None:
    watch = watching.file(opened)
    heard = [watching.heard]
    for name in (None, "the mode", None):
        if name is not None:
            TO_A_FILE[name](file)
        watching.look()
        heard.append(watching.heard)

    assert watch is not None
    assert [each - heard[0] for each in heard] == [0, 0, 1, 1]

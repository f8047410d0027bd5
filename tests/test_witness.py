"""Witnesses: what they saw, when they are asked, and what they agree to."""

from __future__ import annotations

import mmap
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mpserve import witness as witness_module
from mpserve.mounts import Mounts
from mpserve.protocol.representation import SETTLE_TIME
from mpserve.watches import Watch, Watches
from mpserve.witness import (
    KEPT_AFTER,
    TRIED_AGAIN_AFTER,
    UNTOLD,
    WATCHED_AFTER,
    WATCHED_AGAIN_AFTER,
    Place,
    Top,
    Witness,
    settled,
    sight_of,
    witness,
)
from tests.deeds import (
    TO_A_FILE,
    TO_ITS_WAY,
    WRITES,
    ignoring_sigio,
    let_in,
    pass_a_tick,
    require_watches,
)
from tests.fakes import FakeFile


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(b"content")
    return path


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The paths that are looked at."""
    paths: list[bytes] = []

    def noting(look: Callable[..., os.stat_result]) -> Callable[..., os.stat_result]:
        def looked(path: bytes, **kwargs: object) -> os.stat_result:
            paths.append(path)
            return look(path, **kwargs)

        return looked

    for name in ("stat", "lstat"):
        monkeypatch.setattr(os, name, noting(getattr(os, name)))
    return paths


# --- What is seen ---------------------------------------------------------------------------------


def test_a_file_is_seen_as_stat_shows_it(file: Path) -> None:
    status = file.stat()
    expected = (
        status.st_dev,
        status.st_ino,
        len(b"content"),
        status.st_mtime_ns,
        status.st_ctime_ns,
    )

    assert witness(bytes(file)).sight == sight_of(status) == expected


@pytest.mark.parametrize("name", ["missing", "missing/too", "file/below"])
def test_nothing_is_seen_where_nothing_is(file: Path, name: str) -> None:
    assert witness(bytes(file.parent / name)).sight is None


def test_a_link_is_seen_itself(file: Path) -> None:
    link = file.with_name("link")
    link.symlink_to(file)

    assert witness(bytes(link)).sight == sight_of(link.lstat())


def test_a_link_that_leads_nowhere_is_something(file: Path) -> None:
    link = file.with_name("link")
    link.symlink_to("nowhere")

    assert witness(bytes(link)).sight is not None


def test_what_cannot_be_told_is_an_error(file: Path) -> None:
    with pytest.raises(OSError, match="File name too long"):
        witness(bytes(file.with_name("x" * 256)))


# --- What it agrees to ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["file", "missing", "file/below"])
def test_it_agrees_while_nothing_changes(file: Path, name: str) -> None:
    seen = witness(bytes(file.parent / name))

    assert [seen.agrees(moment) for moment in (1, 2, 3)] == [True] * 3


@pytest.mark.parametrize(
    "place",
    [
        pytest.param(0, id="device"),
        pytest.param(1, id="inode"),
        pytest.param(2, id="size"),
        pytest.param(3, id="mtime"),
        pytest.param(4, id="ctime"),
    ],
)
def test_all_that_it_saw_has_to_be_the_same(file: Path, place: int) -> None:
    sight = list(sight_of(file.stat()) or ())
    sight[place] += 1
    device, inode, size, mtime, ctime = sight

    assert not Witness(bytes(file), (device, inode, size, mtime, ctime)).agrees(1)


def test_it_disagrees_when_a_file_is_gone(file: Path) -> None:
    seen = witness(bytes(file))
    file.unlink()

    assert not seen.agrees(1)


def test_it_disagrees_when_something_appears(file: Path) -> None:
    seen = witness(bytes(file.with_name("new")))
    agreed = seen.agrees(1)
    file.with_name("new").symlink_to("nowhere")

    assert (agreed, seen.agrees(2)) == (True, False)


@pytest.mark.parametrize("name", ["file", "missing"])
def test_it_disagrees_when_nothing_can_be_told(
    file: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def forbidden(_path: bytes, **_kwargs: object) -> os.stat_result:
        raise PermissionError

    seen = witness(bytes(file.with_name(name)))
    monkeypatch.setattr(os, "stat", forbidden)

    assert not seen.agrees(1)


def test_it_is_asked_once_for_a_moment(file: Path, asked: list[bytes]) -> None:
    seen = witness(bytes(file))
    asked.clear()
    answers = [seen.agrees(moment) for moment in (1, 1, 1, 2, 2)]

    assert (answers, len(asked)) == ([True] * 5, 2)


def test_it_is_asked_again_where_it_disagreed(file: Path, asked: list[bytes]) -> None:
    seen = witness(bytes(file))
    file.unlink()
    asked.clear()
    answers = [seen.agrees(1), seen.agrees(1)]

    assert (answers, len(asked)) == ([False, False], 2)


def test_it_does_not_believe_that_it_was_asked_before(file: Path) -> None:
    seen = witness(bytes(file))
    file.unlink()

    assert [seen.agrees(moment) for moment in (1, -1, 1)] == [False] * 3


def test_its_repr_tells_what_it_saw(file: Path) -> None:
    missing = file.with_name("missing")

    assert repr(witness(bytes(missing))) == f"<Witness {bytes(missing)!r} None>"
    assert repr(Place(bytes(file.parent), None, hold=False)).startswith("<Place b'/")


# --- Directories on the way -----------------------------------------------------------------------


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    path = tmp_path / "directory"
    path.mkdir()
    return path


@pytest.fixture(params=[True, False], ids=["held open", "by its path"])
def hold(request: pytest.FixtureRequest) -> bool:
    """Whether places are held open."""
    held: bool = request.param
    return held


def places(directory: Path, *, hold: bool) -> tuple[Place, Place]:
    """`directory` as a root, and as a directory in one."""
    above = Place(bytes(directory.parent), None, hold=hold)
    return Place(bytes(directory), None, hold=hold), Place(bytes(directory), above, hold=hold)


def test_a_place_agrees_whatever_is_in_it(directory: Path, hold: bool) -> None:
    root, below = places(directory, hold=hold)
    (directory / "new").write_bytes(b"")
    os.utime(directory, (1, 1))
    directory.chmod(0o700)

    assert (root.agrees(1), below.agrees(1)) == (True, True)


def test_a_place_is_no_other_directory(directory: Path, hold: bool) -> None:
    root, below = places(directory, hold=hold)
    directory.rename(directory.with_name("gone"))
    directory.mkdir()

    assert (root.agrees(1), below.agrees(1)) == (False, False)


def test_a_place_may_be_gone(directory: Path, hold: bool) -> None:
    root, below = places(directory, hold=hold)
    directory.rmdir()

    assert (root.agrees(1), below.agrees(1)) == (False, False)


def test_a_place_becomes_a_link_to_itself(directory: Path, hold: bool) -> None:
    root, below = places(directory, hold=hold)
    directory.rename(directory.with_name("moved"))
    directory.symlink_to("moved")

    assert (root.agrees(1), below.agrees(1)) == (True, False)


def test_what_lies_in_a_place_disagrees_with_it(file: Path, hold: bool) -> None:
    place = Place(bytes(file.parent), None, hold=hold)
    seen = Witness(bytes(file), witness(bytes(file)).sight, place)
    agreed = seen.agrees(1)
    file.parent.rename(file.parent.with_name("moved"))
    file.parent.with_name("moved").joinpath("file").rename(file.parent.with_name("file"))
    file.parent.mkdir()
    file.parent.with_name("file").rename(file)

    assert (agreed, seen.agrees(2)) == (True, False)


@pytest.mark.parametrize("name", ["file", "missing"])
def test_what_lies_in_a_place_is_asked_as_by_its_path(file: Path, hold: bool, name: str) -> None:
    path = file.with_name(name)
    seen = Witness(
        bytes(path), witness(bytes(path)).sight, Place(bytes(file.parent), None, hold=hold)
    )
    agreed = seen.agrees(1)
    path.with_name("new").write_bytes(b"")
    path.with_name("new").rename(path)

    assert (agreed, seen.agrees(2)) == (True, False)


def test_a_place_is_asked_once_for_all_that_lies_in_it(file: Path, asked: list[bytes]) -> None:
    place = Place(bytes(file.parent), None, hold=True)
    seen = [Witness(bytes(file), sight_of(file.stat()), place) for _ in range(3)]
    asked.clear()

    assert [each.agrees(1) for each in seen] == [True] * 3
    assert asked == [bytes(file.parent), *[b"file"] * 3]


def test_a_place_lets_go_when_nobody_asks_it_any_more(directory: Path) -> None:
    place = Place(bytes(directory), None, hold=True)
    seen = Witness(bytes(directory / "x"), None, place)
    fd = place.fd
    assert fd is not None
    del place
    held = os.fstat(fd)
    del seen

    assert held.st_ino == directory.stat().st_ino
    assert not Path(f"/proc/self/fd/{fd}").exists()


@pytest.mark.parametrize(
    "become",
    [
        pytest.param(lambda path: path.write_bytes(b""), id="a file"),
        pytest.param(lambda path: path.symlink_to("/"), id="a link"),
        pytest.param(os.mkfifo, id="a FIFO"),
    ],
)
def test_an_inode_that_is_used_again_is_not_taken_for_the_directory(
    directory: Path, monkeypatch: pytest.MonkeyPatch, become: Callable[[Path], object]
) -> None:
    inode = directory.stat().st_ino
    stat: Callable[..., os.stat_result] = os.stat

    def looked(path: bytes, **kwargs: object) -> os.stat_result:
        shown = list(stat(path, **kwargs))
        shown[1] = inode
        return os.stat_result(shown)

    monkeypatch.setattr(os, "stat", looked)
    _, place = places(directory, hold=False)
    directory.rmdir()
    become(directory)

    assert not place.agrees(1)


@pytest.mark.parametrize(
    ("make", "root"),
    [
        pytest.param(lambda path: path.write_bytes(b""), False, id="a file"),
        pytest.param(lambda path: path.write_bytes(b""), True, id="a file as the root"),
        pytest.param(lambda path: path.symlink_to("."), False, id="a link"),
    ],
)
def test_only_a_directory_is_a_place(
    tmp_path: Path, make: Callable[[Path], object], root: bool, hold: bool
) -> None:
    make(tmp_path / "x")
    above = None if root else Place(bytes(tmp_path), None, hold=hold)

    with pytest.raises(NotADirectoryError):
        Place(bytes(tmp_path / "x"), above, hold=hold)


def test_the_root_may_be_a_link(directory: Path, hold: bool) -> None:
    link = directory.with_name("link")
    link.symlink_to("directory")
    place = Place(bytes(link), None, hold=hold)
    agreed = place.agrees(1)
    link.unlink()
    link.symlink_to(".")

    assert (agreed, place.agrees(2)) == (True, False)


# --- Names that a directory vouches for -----------------------------------------------------------


class Telling(Mounts):
    """Every device tells."""

    def tell(self, device: int) -> bool:
        return True


@pytest.fixture
def settled_long_ago(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(witness_module, "time", lambda: time.time() + 3600)


@pytest.fixture
def held(file: Path, settled_long_ago: None) -> Iterator[Witness]:
    """A witness of a file that is held open, in a directory that vouches for its name."""
    with file.open("rb") as opened:
        above = Place(bytes(file.parent.parent), None, hold=True, mounts=Telling())
        place = Place(bytes(file.parent), above, hold=True, mounts=Telling())
        held = Witness(bytes(file), sight_of(file.stat()), place, FakeFile(b"", opened.fileno()))
        assert held.agrees(1)
        pass_a_tick(file.parent)
        yield held


def test_a_file_that_is_held_open_is_not_asked_by_its_name(
    held: Witness, asked: list[bytes]
) -> None:
    held.agrees(2)
    asked.clear()

    assert held.agrees(3)
    assert len(asked) == 1  # the root


def test_what_was_missing_is_not_asked_for(file: Path, held: Witness, asked: list[bytes]) -> None:
    missing = Witness(bytes(file.with_name("missing")), None, held.place)
    missing.agrees(2)
    asked.clear()

    assert missing.agrees(3)
    assert len(asked) == 1  # the root


def replace(file: Path) -> None:
    file.with_name("new").write_bytes(file.read_bytes())
    file.with_name("new").rename(file)


def replace_and_set_back(file: Path) -> None:
    """Its ctime nobody can set."""
    before = file.parent.stat()
    replace(file)
    os.utime(file.parent, ns=(before.st_atime_ns, before.st_mtime_ns))


def append(file: Path) -> None:
    with file.open("ab") as opened:
        opened.write(b"more")


def map_and_write(file: Path) -> None:
    with file.open("r+b") as opened, mmap.mmap(opened.fileno(), 0) as memory:
        memory[0] ^= 1


def another_directory(file: Path) -> None:
    file.parent.rename(file.parent.with_name("moved"))
    file.parent.mkdir()
    os.link(file.parent.with_name("moved") / file.name, file)


CHANGES: dict[str, Callable[[Path], object]] = {
    "content": lambda file: file.write_bytes(b"CONTENT"),
    "more content": append,
    "written through a memory map": map_and_write,
    "mode": lambda file: file.chmod(0),
    "mtime": lambda file: os.utime(file, (1, 1)),
    "gone": Path.unlink,
    "renamed": lambda file: file.rename(file.with_name("other")),
    "replaced": replace,
    "replaced, and the time of the directory set back": replace_and_set_back,
    "another directory": another_directory,
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
@pytest.mark.usefixtures("held")
def test_every_change_to_a_file_that_is_held_open_is_seen(
    file: Path, held: Witness, change: Callable[[Path], object]
) -> None:
    agreed = held.agrees(2)
    change(file)

    assert (agreed, held.agrees(3)) == (True, False)


@pytest.mark.parametrize("make", [Path.touch, Path.mkdir, lambda path: path.symlink_to("file")])
def test_something_appears_where_nothing_was(
    file: Path, held: Witness, make: Callable[[Path], object]
) -> None:
    missing = Witness(bytes(file.with_name("missing")), None, held.place)
    agreed = [missing.agrees(2), missing.agrees(3)]
    make(file.with_name("missing"))

    assert (agreed, missing.agrees(4)) == ([True, True], False)


def test_another_name_in_the_directory_is_no_change(
    file: Path, held: Witness, asked: list[bytes]
) -> None:
    held.agrees(2)
    file.with_name("other").touch()
    asked.clear()

    assert [held.agrees(3), held.agrees(4)] == [True, True]
    assert b"file" in asked  # by its name, once
    assert asked.count(b"file") == 1


@pytest.mark.parametrize("mounts", [None, Mounts("/nowhere")], ids=["unknown", "of none"])
def test_a_directory_that_does_not_tell_vouches_for_nothing(
    file: Path, settled_long_ago: None, asked: list[bytes], mounts: Mounts | None
) -> None:
    place = Place(bytes(file.parent), None, hold=True, mounts=mounts)
    with file.open("rb") as opened:
        seen = Witness(bytes(file), sight_of(file.stat()), place, FakeFile(b"", opened.fileno()))
        seen.agrees(1)
        asked.clear()

        assert (seen.agrees(2), asked) == (True, [bytes(file.parent), b"file"])


def test_a_directory_that_has_just_changed_vouches_for_nothing(
    file: Path, asked: list[bytes]
) -> None:
    place = Place(bytes(file.parent), None, hold=True, mounts=Telling())
    with file.open("rb") as opened:
        seen = Witness(bytes(file), sight_of(file.stat()), place, FakeFile(b"", opened.fileno()))
        seen.agrees(1)
        asked.clear()

        assert (seen.agrees(2), asked) == (True, [bytes(file.parent), b"file"])


def test_after_something_was_mounted_names_are_asked_for_again(
    file: Path, settled_long_ago: None, asked: list[bytes]
) -> None:
    mounts = Telling()
    place = Place(bytes(file.parent), None, hold=True, mounts=mounts)
    with file.open("rb") as opened:
        seen = Witness(bytes(file), sight_of(file.stat()), place, FakeFile(b"", opened.fileno()))
        seen.agrees(1)
        mounts.generation += 1
        asked.clear()

        assert [seen.agrees(2), seen.agrees(3)] == [True, True]
    assert asked.count(b"file") == 1


def test_when_the_mode_of_a_directory_changes_its_names_are_asked_for_again(
    file: Path, held: Witness, asked: list[bytes]
) -> None:
    held.agrees(2)
    file.parent.chmod(0o711)
    asked.clear()
    held.agrees(3)

    assert b"file" in asked


def test_a_file_of_another_device_than_its_directory_is_always_asked_by_its_name(
    file: Path, held: Witness, asked: list[bytes]
) -> None:
    place = held.place
    assert place is not None
    assert place.sight is not None
    place.sight = (place.sight[0] + 1, *place.sight[1:])
    with file.open("rb") as opened:
        seen = Witness(bytes(file), sight_of(file.stat()), place, FakeFile(b"", opened.fileno()))
        for moment in (2, 3):
            place.moment = moment
            assert seen.agrees(moment)

    assert asked.count(b"file") == 2


# --- What need not be asked, as the kernel tells of it --------------------------------------------


class Watched:
    """A witness of a file in a directory, both of which are watched, and one of what is missing there."""

    def __init__(self, file: Path, fd: int, watching: Watches) -> None:
        self.watching = watching
        self.mounts = watching._mounts
        above = Place(
            bytes(file.parent.parent), None, hold=True, mounts=self.mounts, watches=watching
        )
        self.place = Place(
            bytes(file.parent), above, hold=True, mounts=self.mounts, watches=watching
        )
        self.file = Witness(bytes(file), sight_of(file.stat()), self.place, FakeFile(b"", fd))
        self.missing = Witness(bytes(file.with_name("missing")), None, self.place)
        self._moment = 0

    def agrees(self, times: int = 1) -> bool:
        """Whether the file is as it was, asked in so many moments."""
        return all([self.agree() == (True, True) for _ in range(times)])  # noqa: C419  # asked each time

    def agree(self) -> tuple[bool, bool]:
        """Whether the file and what is missing are as they were, at another moment."""
        self.watching.look()
        self._moment += 1
        return self.file.agrees(self._moment), self.missing.agrees(self._moment)

    @property
    def silent(self) -> tuple[bool, bool]:
        """Whether the file and its directory are watched, as of the last look."""
        return self.file._watch.silent, self.place._watch.silent


@pytest.fixture
def deep(tmp_path: Path, settled_long_ago: None) -> Iterator[Path]:
    """A file in a directory in a directory."""
    require_watches(tmp_path)
    path = tmp_path / "top" / "directory" / "file"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"content " * 10)
    yield path
    let_in(tmp_path)


@pytest.fixture
def unwatched(deep: Path) -> Iterator[Watched]:
    """Before it has agreed often enough."""
    with deep.open("rb") as opened, ignoring_sigio():
        yield Watched(deep, opened.fileno(), Watches(Telling(), 100))


@pytest.fixture
def watched(deep: Path, unwatched: Watched) -> Watched:
    assert unwatched.agrees(WATCHED_AFTER + 2)
    assert unwatched.silent == (True, True)
    pass_a_tick(deep.parent.parent)
    return unwatched


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is asked of the file system."""
    made: list[str] = []

    def noting(name: str, call: Callable[..., os.stat_result]) -> Callable[..., os.stat_result]:
        def noted(*args: object, **kwargs: object) -> os.stat_result:
            made.append(name)
            return call(*args, **kwargs)

        return noted

    for name in ("stat", "lstat", "fstat"):
        monkeypatch.setattr(os, name, noting(name, getattr(os, name)))
    return made


def test_what_is_watched_is_not_asked(watched: Watched, calls: list[str]) -> None:
    calls.clear()

    assert watched.agrees()
    assert calls == ["stat"]  # the root


def test_what_has_agreed_often_is_watched(unwatched: Watched) -> None:
    began = []
    for _ in range(2 * WATCHED_AFTER):
        assert unwatched.agrees()
        began.append(unwatched.silent)

    first = began.index((True, True))
    assert WATCHED_AFTER <= first <= WATCHED_AFTER + 1  # at first they are asked by their names
    assert began[: WATCHED_AFTER - 1] == [(False, False)] * (WATCHED_AFTER - 1)


@pytest.mark.parametrize("name", TO_A_FILE | TO_ITS_WAY)
def test_whatever_happens_to_what_is_watched_is_seen(
    deep: Path, watched: Watched, name: str
) -> None:
    (TO_A_FILE | TO_ITS_WAY)[name](deep)
    agreed, _ = watched.agree()
    deep.parent.parent.chmod(0o755)

    assert agreed == (name in {"the directory's mode", "the parent's mode"} and os.geteuid() == 0)


@pytest.mark.parametrize("name", WRITES)
@pytest.mark.parametrize("when", ["before it is watched", "when it is watched"])
def test_whatever_is_written_to_what_is_watched_is_seen(
    deep: Path, unwatched: Watched, name: str, when: str
) -> None:
    fd = os.open(deep, os.O_RDWR) if when == "before it is watched" else -1
    assert unwatched.agrees(WATCHED_AFTER + 2)
    silent = unwatched.silent
    pass_a_tick(deep.parent.parent)
    fd = os.open(deep, os.O_RDWR) if fd < 0 else fd
    WRITES[name](fd)
    os.close(fd)

    assert silent == (when == "when it is watched", True)
    assert unwatched.agree() == (False, True)


def test_what_is_written_through_a_map_that_was_there_before_is_seen(
    deep: Path, unwatched: Watched
) -> None:
    with deep.open("r+b") as opened:
        memory = mmap.mmap(opened.fileno(), 0)
    assert unwatched.agrees(WATCHED_AFTER + 2)
    silent = unwatched.silent
    pass_a_tick(deep.parent.parent)
    memory[:3] = b"NEW"
    seen = unwatched.agree()
    memory.close()

    assert (silent, seen) == ((False, True), (False, True))


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(Path.touch, id="a file"),
        pytest.param(Path.mkdir, id="a directory"),
        pytest.param(lambda path: path.symlink_to("file"), id="a link"),
        pytest.param(os.mkfifo, id="a FIFO"),
        pytest.param(lambda path: os.link(path.parents[2] / "probe", path), id="a name"),
        pytest.param(lambda path: (path.parents[2] / "probe").rename(path), id="moved in"),
    ],
)
def test_something_appears_in_a_directory_that_is_watched(
    deep: Path, watched: Watched, make: Callable[[Path], object]
) -> None:
    make(deep.with_name("missing"))

    assert watched.agree() == (True, False)


def test_what_was_only_opened_agrees_and_has_to_agree_ever_more_often(
    deep: Path, unwatched: Watched
) -> None:
    waits = []
    for _ in range(6):
        count = 0
        while not unwatched.file._watch.silent:
            assert unwatched.agrees()
            count += 1
        waits.append(count)
        deep.read_bytes()
        unwatched.watching.look()

    expected = [min(WATCHED_AFTER << times, WATCHED_AGAIN_AFTER) for times in range(6)]
    expected[0] += 1  # by its name
    assert waits == expected


@pytest.mark.parametrize("kind", ["file", "directory"])
def test_what_could_not_be_watched_is_seldom_tried_again(
    unwatched: Watched, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    tries: list[int] = []

    def refuse(_: Watches, fd: int) -> Watch | None:
        tries.append(fd)
        return None

    monkeypatch.setattr(Watches, kind, refuse)
    assert unwatched.agrees(WATCHED_AFTER + TRIED_AGAIN_AFTER)
    once = len(tries)
    assert unwatched.agrees(10)

    assert (once, len(tries)) == (1, 2)


@pytest.fixture(params=["file", "directory"])
def changed(
    deep: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> tuple[bool, bool]:
    """A file changes, or a name appears, in the moment before it is watched; what is agreed to after that."""
    kind: str = request.param
    original: Callable[[Watches, int], Watch | None] = getattr(Watches, kind)

    def changing(watching: Watches, fd: int) -> Watch | None:
        pass_a_tick(deep.parent.parent)
        append(deep) if kind == "file" else deep.with_name("missing").touch()
        monkeypatch.setattr(Watches, kind, original)
        monkeypatch.setattr(witness_module, "time", time.time)
        return original(watching, fd)

    monkeypatch.setattr(Watches, kind, changing)
    return (False, True) if kind == "file" else (True, False)


def test_what_is_changed_before_it_is_watched_is_seen(
    unwatched: Watched, changed: tuple[bool, bool]
) -> None:
    answers = [unwatched.agree() for _ in range(WATCHED_AFTER + 4)]

    assert answers[: WATCHED_AFTER - 1] == [(True, True)] * (WATCHED_AFTER - 1)
    assert answers[-1] == changed


def test_a_directory_that_changed_before_it_was_watched_tells_of_its_names_when_it_has_settled(
    deep: Path, unwatched: Watched, changed: tuple[bool, bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(WATCHED_AFTER + 4):
        unwatched.agree()
    monkeypatch.setattr(witness_module, "time", lambda: time.time() + 3600)
    for _ in range(4 * WATCHED_AFTER):
        unwatched.agree()

    assert unwatched.place.names != UNTOLD
    assert unwatched.place._watch.silent


def test_all_witnesses_of_a_file_hear_of_what_is_done_to_it(deep: Path, watched: Watched) -> None:
    with deep.open("rb") as opened:
        other = Watched(deep, opened.fileno(), watched.watching)
        assert all(other.agrees() for _ in range(WATCHED_AFTER + 2))
        assert watched.agrees(WATCHED_AFTER * 4)  # that was an opening
        pass_a_tick(deep.parent.parent)
        both = watched.silent, other.silent, watched.file._watch is other.file._watch
        os.truncate(deep, 1)

        assert both == ((True, True), (True, True), True)
        assert [watched.agree()[0], other.agree()[0]] == [False, False]


def test_a_directory_that_is_watched_is_asked_when_something_was_mounted(
    watched: Watched, calls: list[str]
) -> None:
    watched.mounts.changed()
    agreed = watched.agrees()
    asked_again = calls.copy()
    calls.clear()

    assert (agreed, watched.agrees()) == (True, True)
    assert len(asked_again) > len(calls) == 1


def test_a_directory_that_has_just_changed_is_not_watched_before_it_has_settled(
    deep: Path, watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(witness_module, "time", time.time)
    deep.with_name("other").touch()
    agreed = watched.agrees(4 * WATCHED_AFTER)
    before = watched.place._watch.silent
    monkeypatch.setattr(witness_module, "time", lambda: time.time() + 3600)

    assert (agreed, before) == (True, False)
    assert watched.agrees(4 * WATCHED_AFTER)
    assert watched.silent == (True, True)


def test_where_nothing_can_be_watched_all_are_asked(
    deep: Path, settled_long_ago: None, calls: list[str]
) -> None:
    with deep.open("rb") as opened:
        none = Watched(deep, opened.fileno(), Watches(Telling(), 0))
        assert none.agrees(4 * WATCHED_AFTER)
        calls.clear()

        assert none.agrees()
        assert calls == ["stat", "fstat", "fstat"]


@pytest.fixture
def top(settled_long_ago: None) -> Top:
    """The top, which is watched."""
    require_watches(Path("/"))
    mounts = Mounts()
    top = Top(mounts=mounts, watches=Watches(mounts, 100))
    for moment in range(1, WATCHED_AFTER + 1):
        top.agrees(moment)
    return top


def test_the_top_is_not_asked_while_it_is_watched(top: Top, calls: list[str]) -> None:
    calls.clear()

    assert (top.agrees(100), calls, top.names == UNTOLD) == (True, [], False)


def test_what_has_been_mounted_shows_in_the_number_of_the_top(top: Top) -> None:
    numbers = [top.names]
    for moment in (100, 101, 102):
        if moment == 101:
            assert top._mounts is not None
            top._mounts.changed()
        top.agrees(moment)
        numbers.append(top.names)

    assert numbers[0] == numbers[1] != numbers[2] == numbers[3]


def test_the_top_is_asked_once_its_watch_has_ended(top: Top) -> None:
    stamps = top._stamps
    top._watch.silent, top._stamps = False, (0, 0, 0)
    top.agrees(100)

    assert top._stamps == stamps


def test_a_watch_goes_with_its_witness(watched: Watched) -> None:
    before = len(watched.watching)
    del watched.file

    assert (before, len(watched.watching)) == (2, 1)


# --- Time -----------------------------------------------------------------------------------------

NOW = 1_000_000_000.0


def status_of(mtime: float, ctime: float) -> os.stat_result:
    """What stat shows of a file with these time stamps."""
    stamps = {"st_mtime_ns": round(mtime * 1e9), "st_ctime_ns": round(ctime * 1e9)}
    return os.stat_result([0] * 10, stamps)


@pytest.mark.parametrize(
    ("mtime", "ctime", "expected"),
    [
        pytest.param(NOW - 3600, NOW - 3600, True, id="both long ago"),
        pytest.param(NOW - KEPT_AFTER, NOW - KEPT_AFTER, True, id="just so"),
        pytest.param(NOW - KEPT_AFTER + 0.001, NOW - 3600, False, id="written lately"),
        pytest.param(NOW - 3600, NOW - KEPT_AFTER + 0.001, False, id="changed lately"),
        pytest.param(NOW, NOW, False, id="now"),
        pytest.param(NOW + 3600, NOW - 3600, False, id="written in the future"),
        pytest.param(NOW - 3600, NOW + 3600, False, id="changed in the future"),
        pytest.param(0.0, NOW - 3600, True, id="a date that means nothing"),
    ],
)
def test_a_file_settles(mtime: float, ctime: float, expected: bool) -> None:
    assert settled(status_of(mtime, ctime), NOW) == expected


def test_nothing_is_kept_before_its_entity_tag_is_strong() -> None:
    assert KEPT_AFTER > SETTLE_TIME

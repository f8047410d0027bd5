"""A request that comes after a change sees it, whatever was kept of what was there before."""

from __future__ import annotations

import errno
import itertools
import math
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpserve import connection, files, loop, noting, witness
from mpserve.config import Site, load
from mpserve.connection import Connection
from mpserve.filecache import FileCache
from mpserve.protocol.grammar import http_date
from mpserve.protocol.representation import SETTLE_TIME, Resource
from mpserve.protocol.target import Target
from tests.deeds import ignoring_sigio, pass_a_tick, require_watches
from tests.dialogue import FakeService, FakeTime, dialogue_with, undated
from tests.test_files import as_nobody

LARGE = 256 * 1024  # octets: more than is kept in memory

_MTIMES = itertools.count(1_000_000_000)  # epoch seconds


def write(path: Path, content: bytes) -> None:
    """Write in place, with a modification time of long ago that no other file has.

    The clock of a file system may stand still between two changes. Real servers wait for it to move
    on before they keep anything; here it is taken to have moved on.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    mtime = next(_MTIMES)
    os.utime(path, (mtime, mtime))


def replace(path: Path, content: bytes) -> None:
    """Let another file take the place of the one at `path`."""
    write(path.with_name("new"), content)
    path.with_name("new").rename(path)


def link(path: Path, target: str | Path) -> None:
    """Let a link take the place of whatever is at `path`."""
    path.with_name("new").symlink_to(target)
    path.with_name("new").rename(path)


def forbid(path: Path) -> None:
    """Take every permission away, at a moment that the file system can tell from the last change."""
    before = path.stat().st_ctime_ns
    while path.stat().st_ctime_ns == before:
        path.chmod(0)


def swap(directory: Path, other: Path) -> None:
    """Let `other` take the place of `directory`."""
    directory.rename(directory.with_name("gone"))
    other.rename(directory)


def hide(directory: Path) -> None:
    """Move a directory out of the root, and let a link in its place lead there."""
    outside = directory.parents[1] / "outside"
    directory.rename(outside)
    directory.symlink_to(outside)


def hide_what_is_in(directory: Path) -> None:
    """The same, but the link gets the inode of a directory that is gone, where the system wants it so."""
    outside = directory.parents[1] / "outside"
    outside.mkdir()
    for path in list(directory.iterdir()):
        path.rename(outside / path.name)
    directory.rmdir()
    directory.symlink_to(outside)


def become_a_file(directory: Path) -> None:
    """A file takes the place of a directory, and its inode, where the system wants it so."""
    shutil.rmtree(directory)
    write(directory, b"a file")


def then(*deeds: Callable[[Path], object]) -> Callable[[Path], object]:
    """One deed after the other."""

    def do(root: Path) -> None:
        for deed in deeds:
            deed(root)

    return do


@pytest.fixture
def place() -> Iterator[Path]:
    """A place that others may enter: tmp_path is closed to them."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name)
        path.chmod(0o755)
        yield path
        for directory in path.rglob("*"):
            if directory.is_dir() and not directory.is_symlink():
                directory.chmod(0o755)


@pytest.fixture
def root(place: Path) -> Path:
    """What there is before the change."""
    root = place / "root"
    for name in ("a.txt", "below/sub/b.txt", "docs/index.html", "pages/second.html", "other/b.txt"):
        write(root / name, b"first content of " + name.encode())
    write(root / "large", b"first " * (LARGE // 6))
    (root / "empty").mkdir()
    (root / "to-a").symlink_to("a.txt")
    (root / "to-below").symlink_to("below")
    (root / "to-nowhere").symlink_to("nowhere")
    (root / "absolute").symlink_to(root / "a.txt")
    return root


@dataclass(frozen=True)
class Change:
    """What happens to a root, and what then comes of a request."""

    target: str
    before: int  # the status of a plain GET
    happens: Callable[[Path], object]
    after: int
    arguments: tuple[str, ...] = ()
    kept: bool = True  # whether the answer before it comes from the memo


ANY = ("--symlinks", "any")
NONE = ("--symlinks", "none")
LISTING = ("--listing",)

CHANGES = {
    "a file is written anew": Change(
        "/a.txt", 200, lambda root: write(root / "a.txt", b"FIRST content of a.txt"), 200
    ),
    "a file becomes longer": Change(
        "/a.txt", 200, lambda root: write(root / "a.txt", b"much longer than it was before"), 200
    ),
    "a file becomes shorter": Change(
        "/a.txt", 200, lambda root: write(root / "a.txt", b"short"), 200
    ),
    "a file is truncated": Change("/a.txt", 200, lambda root: os.truncate(root / "a.txt", 0), 200),
    "a file is replaced": Change(
        "/a.txt", 200, lambda root: replace(root / "a.txt", b"FIRST content of a.txt"), 200
    ),
    "a file gets another date": Change(
        "/a.txt", 200, lambda root: os.utime(root / "a.txt", (1, 1_100_000_000)), 200
    ),
    "a file is deleted": Change("/a.txt", 200, lambda root: (root / "a.txt").unlink(), 404),
    "a file may not be read any more": Change(
        "/a.txt", 200, lambda root: forbid(root / "a.txt"), 403
    ),
    "a file becomes a directory": Change(
        "/a.txt",
        200,
        then(lambda root: (root / "a.txt").unlink(), lambda root: (root / "a.txt").mkdir()),
        308,
    ),
    "a file becomes a FIFO": Change(
        "/a.txt",
        200,
        then(lambda root: (root / "a.txt").unlink(), lambda root: os.mkfifo(root / "a.txt")),
        404,
    ),
    "a file becomes a link to another": Change(
        "/a.txt", 200, lambda root: link(root / "a.txt", "other/b.txt"), 200
    ),
    "a file is moved out, and a link leads to it": Change(
        "/a.txt",
        200,
        then(
            lambda root: (root / "a.txt").rename(root.parent / "a.txt"),
            lambda root: (root / "a.txt").symlink_to("../a.txt"),
        ),
        404,
    ),
    "a file is moved, and a link leads to it, where none is followed": Change(
        "/a.txt",
        200,
        then(
            lambda root: (root / "a.txt").rename(root / "moved"),
            lambda root: (root / "a.txt").symlink_to("moved"),
        ),
        404,
        NONE,
    ),
    "a large file is written anew": Change(
        "/large", 200, lambda root: write(root / "large", b"FIRST " * (LARGE // 6)), 200
    ),
    "a large file is truncated": Change(
        "/large", 200, lambda root: os.truncate(root / "large", 100_000), 200
    ),
    "a large file becomes a small one": Change(
        "/large", 200, lambda root: write(root / "large", b"no more"), 200
    ),
    "a large file is replaced": Change(
        "/large", 200, lambda root: replace(root / "large", b"FIRST " * (LARGE // 6)), 200
    ),
    "a large file is deleted": Change("/large", 200, lambda root: (root / "large").unlink(), 404),
    "a large file may not be read any more": Change(
        "/large", 200, lambda root: forbid(root / "large"), 403
    ),
    "a directory on the way is gone": Change(
        "/below/sub/b.txt", 200, lambda root: shutil.rmtree(root / "below"), 404
    ),
    "a directory on the way is another": Change(
        "/below/sub/b.txt", 200, lambda root: swap(root / "below/sub", root / "other"), 200
    ),
    "a directory on the way may not be entered any more": Change(
        "/below/sub/b.txt", 200, lambda root: forbid(root / "below"), 403
    ),
    "a directory on the way becomes a link out of the root": Change(
        "/below/sub/b.txt", 200, lambda root: hide(root / "below"), 404
    ),
    "a directory on the way becomes a link with its inode": Change(
        "/below/sub/b.txt", 200, lambda root: hide_what_is_in(root / "below"), 404
    ),
    "a directory on the way becomes a link, where none is followed": Change(
        "/below/sub/b.txt",
        200,
        then(
            lambda root: (root / "below").rename(root / "moved"),
            lambda root: (root / "below").symlink_to("moved"),
        ),
        404,
        NONE,
    ),
    "a link leads to another file": Change(
        "/to-a", 200, lambda root: link(root / "to-a", "other/b.txt"), 200, kept=False
    ),
    "any link leads to another file": Change(
        "/to-a", 200, lambda root: link(root / "to-a", "other/b.txt"), 200, ANY, kept=False
    ),
    "a link leads out of the root": Change(
        "/to-a", 200, lambda root: link(root / "to-a", "/etc/hostname"), 404, kept=False
    ),
    "what a link leads to is written anew": Change(
        "/to-a", 200, lambda root: write(root / "a.txt", b"new"), 200, kept=False
    ),
    "a link on the way leads elsewhere": Change(
        "/to-below/sub/b.txt",
        200,
        then(
            lambda root: write(root / "there/sub/b.txt", b"new"),
            lambda root: link(root / "to-below", "there"),
        ),
        200,
        kept=False,
    ),
    "what a link leads to appears": Change(
        "/to-nowhere", 404, lambda root: write(root / "nowhere", b"new"), 200, kept=False
    ),
    "the root is another": Change(
        "/a.txt",
        200,
        then(
            lambda root: write(root.parent / "next/a.txt", b"new"),
            lambda root: swap(root, root.parent / "next"),
        ),
        200,
    ),
    "the root is another, with the same files": Change(
        "/missing",
        404,
        then(
            lambda root: write(root.parent / "next/missing", b""),
            lambda root: swap(root, root.parent / "next"),
        ),
        200,
    ),
    "the root is gone": Change("/a.txt", 200, lambda root: root.rename(root.parent / "gone"), 404),
    "a missing file appears": Change(
        "/missing", 404, lambda root: write(root / "missing", b"there"), 200
    ),
    "a missing file appears with its directory": Change(
        "/not/there/yet", 404, lambda root: write(root / "not/there/yet", b"there"), 200
    ),
    "a missing file appears that may not be read": Change(
        "/missing",
        404,
        then(lambda root: write(root / "missing", b"there"), lambda root: forbid(root / "missing")),
        403,
    ),
    "a missing file appears as a directory": Change(
        "/missing", 404, lambda root: (root / "missing").mkdir(), 308
    ),
    "what is missing below a file appears": Change(
        "/a.txt/b",
        404,
        then(
            lambda root: (root / "a.txt").unlink(), lambda root: write(root / "a.txt/b", b"there")
        ),
        200,
    ),
    "a missing file appears behind a link": Change(
        "/to-below/new", 404, lambda root: write(root / "below/new", b"there"), 200
    ),
    "an index file appears": Change(
        "/empty/", 404, lambda root: write(root / "empty/index.html", b"there"), 200
    ),
    "the second index file appears": Change(
        "/empty/", 404, lambda root: write(root / "empty/second.html", b"there"), 200
    ),
    "an index file appears before another": Change(
        "/pages/", 200, lambda root: write(root / "pages/index.html", b"there"), 200
    ),
    "an index file is gone, and there is another": Change(
        "/docs/",
        200,
        then(
            lambda root: write(root / "docs/second.html", b"second"),
            lambda root: (root / "docs/index.html").unlink(),
        ),
        200,
    ),
    "an index file is gone": Change(
        "/docs/", 200, lambda root: (root / "docs/index.html").unlink(), 404
    ),
    "an index file is written anew": Change(
        "/docs/", 200, lambda root: write(root / "docs/index.html", b"FIRST content"), 200
    ),
    "an index file becomes a directory, and there is another": Change(
        "/docs/",
        200,
        then(
            lambda root: write(root / "docs/second.html", b"second"),
            lambda root: (root / "docs/index.html").unlink(),
            lambda root: (root / "docs/index.html").mkdir(),
        ),
        200,
    ),
    "a directory appears in a root that is listed": Change(
        "/new/", 404, lambda root: (root / "new").mkdir(), 200, LISTING
    ),
    "a directory appears where a file was, in a root that is listed": Change(
        "/a.txt/",
        404,
        then(lambda root: (root / "a.txt").unlink(), lambda root: (root / "a.txt").mkdir()),
        200,
        LISTING,
        kept=False,
    ),
    "a directory appears in a root that is listed, and nothing is an index file": Change(
        "/new/", 404, lambda root: (root / "new").mkdir(), 200, (*LISTING, "--index", "x")
    ),
    "a file appears in a listing": Change(
        "/empty/", 200, lambda root: write(root / "empty/x", b""), 200, LISTING, kept=False
    ),
    "a directory that was asked for without its slash becomes a file": Change(
        "/empty", 308, lambda root: become_a_file(root / "empty"), 200
    ),
    "a directory that was asked for without its slash becomes another": Change(
        "/docs",
        308,
        then(
            lambda root: swap(root / "docs", root / "empty"), lambda root: (root / "docs").rmdir()
        ),
        404,
    ),
    "a directory that was asked for without its slash is gone": Change(
        "/docs", 308, lambda root: shutil.rmtree(root / "docs"), 404
    ),
    "a directory that was asked for without its slash is moved out of the root": Change(
        "/docs", 308, lambda root: hide(root / "docs"), 404
    ),
}


# --- How the request comes ------------------------------------------------------------------------


def head(target: str, *lines: str, method: str = "GET") -> bytes:
    fields = "".join(f"{line}\r\n" for line in lines)
    return f"{method} {target} HTTP/1.1\r\nHost: x\r\n{fields}\r\n".encode()


Way = Callable[[FakeService, str], bytes]


def ask(service: FakeService, *pieces: bytes) -> bytes:
    """What comes of `pieces` on a new connection."""
    with dialogue_with(service) as dialogue:
        return undated(b"".join([dialogue.ask(piece) for piece in pieces]))


_NUMBERS = itertools.count()

WAYS: dict[str, Way] = {
    "a head that is known": lambda service, target: ask(service, head(target)),
    "one that was asked before by a browser": lambda service, target: ask(
        service, head(target, "User-Agent: x", f"Cookie: {next(_NUMBERS)}")
    ),
    "a head that is not known": lambda service, target: ask(
        service, head(target, f"X: {next(_NUMBERS)}")
    ),
    "a run": lambda service, target: ask(service, head(target) * 3),
    "a run after another answer": lambda service, target: ask(
        service, head("/none"), head("/none") + head(target) * 2
    ),
    "a run that is not known": lambda service, target: ask(
        service, head(target) + head(target, f"X: {next(_NUMBERS)}")
    ),
    "octet by octet": lambda service, target: ask(
        service, *[bytes([octet]) for octet in head(target)]
    ),
    "HEAD": lambda service, target: ask(service, head(target, method="HEAD")),
    "a range": lambda service, target: ask(service, head(target, "Range: bytes=1-3")),
    "several ranges": lambda service, target: ask(service, head(target, "Range: bytes=0-0,2-3")),
    "a large range": lambda service, target: ask(service, head(target, "Range: bytes=1-")),
    "a precondition": lambda service, target: ask(
        service, head(target, "If-Modified-Since: Sun, 09 Sep 2001 10:00:00 GMT")
    ),
}


Serve = Callable[..., FakeService]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """A service of a root, with further arguments."""
    services: list[FakeService] = []

    def service_of(root: Path, *arguments: str) -> FakeService:
        index = () if "--index" in arguments else ("--index=index.html", "--index=second.html")
        services.append(FakeService(load([str(root), *index, *arguments], {})))
        return services[-1]

    yield service_of
    for service in services:
        service.loop.close()


@pytest.fixture(autouse=True)
def later(monkeypatch: pytest.MonkeyPatch) -> FakeTime:
    """Whatever was written before has settled."""
    time = FakeTime()
    for room in (loop, noting, connection):
        monkeypatch.setattr(room, "time", time)
    return time


@pytest.fixture
def long_ways(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What goes the long way."""
    taken: list[bytes] = []
    take = Connection.take

    def noted(connection: Connection, octets: bytes) -> None:
        taken.append(octets)
        take(connection, octets)

    monkeypatch.setattr(Connection, "take", noted)
    return taken


def without_boundary(octets: bytes) -> bytes:
    """`octets` without the line that parts several ranges, which is another one each time."""
    boundaries = re.findall(rb"boundary=(\S+)\r\n", octets)
    for boundary in boundaries:
        octets = octets.replace(boundary, b"boundary")
    return octets


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", CHANGES)
def test_the_request_after_a_change_sees_it(root: Path, serve: Serve, name: str, way: str) -> None:
    change, say = CHANGES[name], WAYS[way]
    service = serve(root, *change.arguments)
    keeps_nothing = serve(root, *change.arguments, "--cache-size", "0")
    with as_nobody():
        for _ in range(3):
            say(service, change.target)
    change.happens(root)
    with as_nobody():
        after = say(service, change.target)
        expected = say(keeps_nothing, change.target)

    assert without_boundary(after) == without_boundary(expected)


@pytest.mark.parametrize("name", CHANGES)
def test_the_answer_before_a_change_was_kept_and_the_one_after_it_is_another(
    root: Path, serve: Serve, long_ways: list[bytes], name: str
) -> None:
    change = CHANGES[name]
    service = serve(root, *change.arguments)
    with as_nobody():
        for _ in range(2):
            ask(service, head(change.target))
        long_ways.clear()
        before = ask(service, head(change.target))
    kept = not long_ways
    change.happens(root)
    with as_nobody():
        after = ask(service, head(change.target))

    assert after != before
    assert kept == change.kept
    assert (before[9:12], after[9:12]) == (b"%d" % change.before, b"%d" % change.after)


@pytest.fixture
def watched_soon(root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Who has agreed once is watched; and the files are those of whom requests are answered as."""
    require_watches(root)
    monkeypatch.setattr(witness, "WATCHED_AFTER", 1)
    monkeypatch.setattr(witness, "time", FakeTime().time)
    if os.geteuid() == 0:
        for path in (root, *root.rglob("*")):
            os.chown(path, 65534, 65534, follow_symlinks=False)
    with ignoring_sigio():
        yield


WATCHED_WAYS = ("a head that is known", "a head that is not known", "a run", "a range")


@pytest.mark.parametrize("way", WATCHED_WAYS)
@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.usefixtures("watched_soon")
def test_the_request_after_a_change_sees_it_though_nobody_was_asked(
    root: Path, serve: Serve, name: str, way: str
) -> None:
    change, say = CHANGES[name], WAYS[way]
    service = serve(root, *change.arguments)
    keeps_nothing = serve(root, *change.arguments, "--cache-size", "0")
    with as_nobody():
        for _ in range(5):
            say(service, change.target)
    found = root / change.target.strip("/")
    lies_in_the_root = found.parent == root and not (found.is_dir() and change.target[-1] == "/")
    watched = len(service.cache.watches)
    pass_a_tick(root)
    change.happens(root)
    with as_nobody():
        after = say(service, change.target)
        expected = say(keeps_nothing, change.target)

    assert without_boundary(after) == without_boundary(expected)
    if change.before == 200 and change.kept:
        assert watched >= (1 if lies_in_the_root else 2)  # the root itself is never


def test_what_changes_beside_a_file_takes_nothing_away(
    root: Path, serve: Serve, long_ways: list[bytes]
) -> None:
    service = serve(root)
    for _ in range(2):
        before = ask(service, head("/docs/"))
    write(root / "docs/second.html", b"second")
    write(root / "docs/x", b"x")
    long_ways.clear()
    after = ask(service, head("/docs/"))

    assert (after, long_ways) == (before, [])


# --- The root as a link: how a site is switched from one version to the next ----------------------


@pytest.fixture
def current(place: Path) -> Path:
    """A link to the first version of a site; there is a second."""
    for version in ("first", "second"):
        write(place / version / "a.txt", version.encode())
        write(place / version / "dir/b.txt", version.encode())
    (place / "second/new").write_bytes(b"new")
    (place / "current").symlink_to("first")
    return place / "current"


@pytest.mark.parametrize(
    ("target", "before", "after"),
    [
        pytest.param("/a.txt", b"first", b"second", id="a file"),
        pytest.param("/dir/b.txt", b"first", b"second", id="a file below"),
        pytest.param("/new", b"404", b"new", id="a file that is new"),
    ],
)
def test_a_root_is_switched(
    current: Path, serve: Serve, target: str, before: bytes, after: bytes
) -> None:
    service = serve(current)
    answers = [ask(service, head(target)) for _ in range(2)]
    link(current, "second")
    answers.append(ask(service, head(target)))

    assert [before in answers[0], before in answers[1], after in answers[2]] == [True] * 3


def test_a_link_into_the_version_before_is_not_followed_any_more(
    current: Path, serve: Serve
) -> None:
    for version in ("first", "second"):
        (current.parent / version / "absolute").symlink_to(current.parent / "first/a.txt")
    service = serve(current)
    answers = [ask(service, head("/absolute"))[9:12] for _ in range(3)]
    link(current, "second")
    answers.append(ask(service, head("/absolute"))[9:12])

    assert answers == [b"200"] * 3 + [b"404"]


def test_a_file_that_both_versions_share_is_looked_up_anew(current: Path, serve: Serve) -> None:
    (current.parent / "second/a.txt").unlink()
    os.link(current.parent / "first/a.txt", current.parent / "second/a.txt")
    (current.parent / "second/dir/b.txt").unlink()
    (current.parent / "second/dir").rmdir()
    (current.parent / "second/dir").symlink_to(current.parent / "first/dir")
    service = serve(current)
    before = [ask(service, head(target))[9:12] for target in ("/a.txt", "/dir/b.txt") * 2]
    link(current, "second")
    after = [ask(service, head(target))[9:12] for target in ("/a.txt", "/dir/b.txt")]

    assert (before, after) == ([b"200"] * 4, [b"200", b"404"])


# --- Within a turn --------------------------------------------------------------------------------


class FrozenTime(FakeTime):
    """A clock that stands still."""

    now = 4_000_000_000.0

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return self.now


@pytest.fixture
def frozen(monkeypatch: pytest.MonkeyPatch) -> FrozenTime:
    time = FrozenTime()
    for room in (loop, noting, connection):
        monkeypatch.setattr(room, "time", time)
    return time


@pytest.mark.parametrize("way", WAYS)
def test_a_change_is_seen_though_no_time_has_passed(
    root: Path, serve: Serve, frozen: FrozenTime, way: str
) -> None:
    service, say = serve(root), WAYS[way]
    answers = []
    for content in (b"first", b"second", b"third"):
        write(root / "a.txt", content)
        answers.append([without_boundary(say(service, "/a.txt")) for _ in range(3)])

    assert [len(set(same)) for same in answers] == [1, 1, 1]
    assert len({first for first, *_ in answers}) == 3


def test_a_change_between_a_request_and_its_answer_is_seen(
    root: Path, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A turn receives first: what then happens may have come before the last request of the turn."""
    service = serve(root)
    for _ in range(2):
        ask(service, head("/a.txt"))
    next_moment = FileCache.next_moment
    changes = [b"new"]

    def change_and_go_on(cache: FileCache, now: float) -> int:
        while changes:
            write(root / "a.txt", changes.pop())
        return next_moment(cache, now)

    with dialogue_with(service) as dialogue:
        monkeypatch.setattr(FileCache, "next_moment", change_and_go_on)
        answer = dialogue.ask(head("/a.txt"))

    assert (changes, answer.endswith(b"\r\n\r\nnew")) == ([], True)


# --- What has not settled -------------------------------------------------------------------------


@pytest.fixture
def lookups(monkeypatch: pytest.MonkeyPatch) -> list[Target]:
    """What is looked up in the file system."""
    made: list[Target] = []
    lookup = files.lookup

    def noted(site: Site, target: Target, now: float, *_: object, **__: object) -> Resource:
        made.append(target)
        return lookup(site, target, now)

    monkeypatch.setattr(files, "lookup", noted)
    return made


@pytest.mark.parametrize("name", ["a.txt", "large"])
@pytest.mark.parametrize(
    ("age", "kept"),
    [
        pytest.param(-3600.0, False, id="changed in the future"),
        pytest.param(-0.1, False, id="changed in a moment"),
        pytest.param(0.0, False, id="changed now"),
        pytest.param(SETTLE_TIME - 0.001, False, id="not quite settled"),
        pytest.param(SETTLE_TIME + 0.999, False, id="not settled for whole seconds"),
        pytest.param(SETTLE_TIME + 1.001, True, id="settled"),
        pytest.param(3600.0, True, id="changed an hour ago"),
    ],
)
def test_what_changed_a_moment_ago_is_not_kept(
    root: Path,
    serve: Serve,
    frozen: FrozenTime,
    lookups: list[Target],
    name: str,
    age: float,
    kept: bool,
) -> None:
    frozen.now = (root / name).stat().st_ctime + age
    service = serve(root)
    for text in (head(f"/{name}"), head(f"/{name}", "X: y"), head(f"/{name}", "Range: bytes=0-0")):
        for _ in range(3):
            ask(service, text)

    assert len(lookups) == (1 if kept else 9)


def test_a_file_from_the_future_is_not_kept(
    root: Path, serve: Serve, lookups: list[Target]
) -> None:
    os.utime(root / "a.txt", (4_000_000_000, 4_000_000_000))
    service = serve(root)
    for _ in range(3):
        ask(service, head("/a.txt"))

    assert len(lookups) == 3


def test_what_is_kept_says_what_a_later_answer_says(
    root: Path, serve: Serve, frozen: FrozenTime
) -> None:
    modified = math.ceil((root / "a.txt").stat().st_ctime) + 1
    os.utime(root / "a.txt", (modified + 0.9, modified + 0.9))
    text = head("/a.txt", "Range: bytes=0-0", f"If-Range: {http_date(modified).decode()}")
    pair = serve(root), serve(root, "--cache-size", "0")
    answers = []
    for age in (0.0, 1.9, 2.0, 2.5, 3.0, 3.5, 4.0, 5.0):
        frozen.now = modified + 0.9 + age
        answers.append([ask(service, text) for service in pair])

    assert [kept for kept, _ in answers] == [made for _, made in answers]
    assert [kept[9:12] for kept, _ in answers][:: len(answers) - 1] == [b"200", b"206"]


# --- What stat shows ------------------------------------------------------------------------------


def let_stat_show(
    patch: pytest.MonkeyPatch, shown: Callable[[os.stat_result], dict[str, int]]
) -> None:
    """Let every stat show what is `shown` in the place of what is so."""

    def instead(call: Callable[..., os.stat_result]) -> Callable[..., object]:
        def looked(*args: object, **kwargs: object) -> object:
            status = call(*args, **kwargs)
            fields = {name: getattr(status, name) for name in dir(status) if name[:3] == "st_"}
            return SimpleNamespace(**fields | shown(status))

        return looked

    for name in ("stat", "lstat", "fstat"):
        patch.setattr(os, name, instead(getattr(os, name)))


@pytest.fixture
def settled(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is there has been there for an hour, and what changes now changes now."""
    now = max(path.lstat().st_ctime_ns for path in root.rglob("*"))

    def shown(status: os.stat_result) -> dict[str, int]:
        ctime = status.st_ctime_ns
        return {"st_ctime_ns": ctime - 3_600_000_000_000 if ctime <= now else ctime}

    let_stat_show(monkeypatch, shown)
    monkeypatch.setattr(loop, "time", FakeTime(0.0))


# --- Changes while a file is read -----------------------------------------------------------------


ETAG = re.compile(rb'\r\nETag: (?:W/)?"([0-9a-f]+)-([0-9a-f]+)"\r\n')


def nobody_can_tell(*_: object) -> int:
    """As a file system that does not know whether the disk would be waited for."""
    raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))


def belongs(answer: bytes, path: Path) -> bool:
    """Whether entity-tag, length and content of `answer` are those of the file at `path` now."""
    fields, _, content = answer.partition(b"\r\n\r\n")
    tag = ETAG.search(fields)
    assert tag is not None
    status = path.stat()
    said = int(tag[1], 16), int(tag[2], 16), content
    return said == (status.st_mtime_ns, status.st_size, path.read_bytes())


@pytest.mark.parametrize("arguments", [(), ("--cache-size", "0")], ids=["a cache", "no cache"])
@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"FIRST CONTENT OF a.txt", id="of the same length"),
        pytest.param(b"short", id="shorter"),
        pytest.param(b"much longer than what was there before", id="longer"),
        pytest.param(b"", id="empty"),
    ],
)
@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("when", ["before it is read", "when it has been read"])
@pytest.mark.usefixtures("settled")
def test_what_is_said_of_a_file_belongs_to_the_octets_that_are_sent(
    root: Path,
    serve: Serve,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    content: bytes,
    times: int,
    when: str,
) -> None:
    changes = iter(range(times))
    pread = os.pread

    def change() -> None:
        if next(changes, None) is not None:
            write(root / "a.txt", content)

    def pread_of_what_changes(fd: int, length: int, offset: int) -> bytes:
        if when == "before it is read":
            change()
        octets = pread(fd, length, offset)
        if when == "when it has been read":
            change()
        return octets

    monkeypatch.setattr(os, "pread", pread_of_what_changes)
    monkeypatch.setattr(os, "preadv", nobody_can_tell)
    service = serve(root, *arguments)
    answers = [ask(service, head("/a.txt")) for _ in range(3)]

    assert next(changes, None) is None
    assert [belongs(answer, root / "a.txt") for answer in answers] == [True] * 3


@pytest.mark.parametrize("arguments", [(), ("--cache-size", "0")], ids=["a cache", "no cache"])
@pytest.mark.usefixtures("settled")
def test_a_change_after_the_lookup_is_seen_whole(
    root: Path, serve: Serve, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    lookup = files.lookup

    def looked_up_and_changed(
        site: Site, target: Target, now: float, *_: object, **__: object
    ) -> Resource:
        found = lookup(site, target, now)
        write(root / "a.txt", b"SECOND content")
        return found

    monkeypatch.setattr(files, "lookup", looked_up_and_changed)
    answer = ask(serve(root, *arguments), head("/a.txt"))

    assert belongs(answer, root / "a.txt")


@pytest.mark.usefixtures("settled")
def test_a_file_that_never_stands_still_is_sent_and_not_kept(
    root: Path, serve: Serve, lookups: list[Target], monkeypatch: pytest.MonkeyPatch
) -> None:
    pread = os.pread

    def pread_of_what_changes(fd: int, length: int, offset: int) -> bytes:
        write(root / "a.txt", b"first content of a.txt")
        return pread(fd, length, offset)

    monkeypatch.setattr(os, "pread", pread_of_what_changes)
    monkeypatch.setattr(os, "preadv", nobody_can_tell)
    service = serve(root)
    answers = [ask(service, head("/a.txt")) for _ in range(3)]

    assert [answer.partition(b"\r\n\r\n")[2] for answer in answers] == [
        b"first content of a.txt"
    ] * 3
    assert len(lookups) == 3 * 2  # each at first without waiting, then by a thread


# --- A clock of coarse steps ----------------------------------------------------------------------


class CoarseTree:
    """A file system whose time stamps move in steps, and lag behind: of files in it, what stat shows."""

    def __init__(self, root: Path, step: float, lag: float) -> None:
        self.path = root / "a.txt"
        self.large = root / "large"
        self.now = 1_000_000_000.0
        self._step = step
        self._lag = lag
        self._stamps: dict[int, int] = {}  # by inode, ns
        self._versions = itertools.count()
        self.content = b""

    def write(self, path: Path, *, anew: bool) -> None:
        """Change the content, and not the length."""
        self.content = b"%09d\n" % next(self._versions)
        if path == self.large:
            self.content *= LARGE // 10
        if anew:
            path.with_name("new").write_bytes(self.content)
            path.with_name("new").rename(path)
        else:
            path.write_bytes(self.content)
        steps = math.floor((self.now - self._lag) / self._step)
        self._stamps[path.stat().st_ino] = round(steps * self._step * 1_000_000_000)

    def shown(self, status: os.stat_result) -> dict[str, int]:
        """The time stamps of a file in this tree."""
        stamp = self._stamps.get(status.st_ino)
        return {} if stamp is None else {"st_mtime_ns": stamp, "st_ctime_ns": stamp}


_STEPS = [0.004, 0.01, 1.0, 2.0]  # seconds
_DEEDS = st.one_of(
    st.sampled_from(["write", "replace"]),
    st.sampled_from(sorted({*WAYS} - {"HEAD", "a precondition", "a range", "several ranges"})),
    st.sampled_from([0.001, 0.005, 0.1, 0.9, 1.0, 1.9, 1.999, 2.0, 2.001, 3.0, 5.0]),
)


@pytest.mark.slow
@settings(derandomize=True, deadline=None, max_examples=200)
@given(
    st.sampled_from(_STEPS),
    st.sampled_from([0.0, 0.004, 0.01]),
    st.sampled_from(["a.txt", "large"]),
    st.lists(_DEEDS, min_size=5, max_size=30),
)
def test_no_answer_is_stale_where_time_stamps_are_coarse(
    step: float, lag: float, name: str, deeds: list[str | float]
) -> None:
    with tempfile.TemporaryDirectory() as directory, pytest.MonkeyPatch.context() as patch:
        os.chmod(directory, 0o755)
        tree = CoarseTree(Path(directory), step, lag)
        path = Path(directory, name)
        clock = FrozenTime()
        for room in (loop, noting, connection):
            patch.setattr(room, "time", clock)
        service = FakeService(load([directory], {}))
        tree.write(path, anew=True)
        let_stat_show(patch, tree.shown)
        for deed in deeds:
            clock.now = tree.now
            if isinstance(deed, float):
                tree.now += deed
            elif deed in WAYS:
                answer = WAYS[deed](service, f"/{name}")
                start = 1 if deed == "a large range" else 0

                assert answer.endswith(b"\r\n\r\n" + tree.content[start:])
            else:
                tree.write(path, anew=deed == "replace")
        service.loop.close()

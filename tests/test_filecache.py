"""The file cache: what is kept of a lookup, who vouches for it, and what it takes."""

from __future__ import annotations

import errno
import gc
import os
from pathlib import Path

import pytest

from mpserve import filecache, files, tree
from mpserve import loop as loop_module
from mpserve.config import Site, Symlinks
from mpserve.filecache import (
    MOST_READINGS,
    OVERHEAD,
    Errand,
    FileCache,
    Looked,
    cost,
    looked_at,
)
from mpserve.generations import Cost
from mpserve.loop import Loop
from mpserve.memo import MOST_IN_MEMORY
from mpserve.protocol.representation import Directory, Found, Outcome, Representation, Resource
from mpserve.protocol.target import Target
from mpserve.tree import WouldWait
from mpserve.watches import Watches
from mpserve.witness import Place, Witness
from tests.deeds import require_watches
from tests.dialogue import FakeTime, re_raise

MOST_WATCHES = 100

MISSING, NO_SLASH = Outcome.MISSING, Outcome.NO_SLASH


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    for name in ("a.txt", "below/sub/b.txt", "docs/second.html"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"content of " + name.encode())
    (root / "just-so").write_bytes(bytes(MOST_IN_MEMORY))
    (root / "large").write_bytes(bytes(MOST_IN_MEMORY + 1))
    (root / "none").write_bytes(b"")
    (root / "link").symlink_to("a.txt")
    (root / "to-below").symlink_to("below")
    (root / "dangling").symlink_to("nowhere")
    return root


def site_of(
    root: Path, *, listing: bool = False, index: tuple[bytes, ...] = (b"index.html", b"second.html")
) -> Site:
    return Site(
        os.fsencode(root), index, listing, False, Symlinks.INSIDE, b"", replaced=frozenset()
    )


@pytest.fixture
def site(root: Path) -> Site:
    return site_of(root)


@pytest.fixture
def loop(monkeypatch: pytest.MonkeyPatch) -> Loop:
    """A loop whose clock is an hour ahead: all that is there has settled."""
    monkeypatch.setattr(loop_module, "time", FakeTime())
    made = Loop(re_raise)
    made.close()
    return made


def cache(octets: int = 1 << 24, files: int = 100, valid: float = 0.0) -> FileCache:
    return FileCache(octets, files, valid, files)


def target(path: str) -> Target:
    segments = tuple(os.fsencode(name) for name in path.split("/") if name)
    return Target(segments, slash=path.endswith("/"), query=None)


def representation(resource: Resource) -> Representation:
    assert isinstance(resource, Found)
    return resource.representations[0]


def content(resource: Resource) -> bytes | None:
    """The octets that are kept in memory; None for those that stay in the file."""
    source = representation(resource).source
    return source if isinstance(source, bytes) else None


def beneath(site: Site, looked: Looked) -> list[str]:
    """Who vouches for a lookup: their kinds, and their paths beneath the root."""
    return [
        f"{type(each).__name__} {os.path.relpath(os.fsdecode(each.path), os.fsdecode(site.root))}"
        for each in with_places(looked)
    ]


def with_places(looked: Looked) -> list[Witness]:
    """The witnesses of a lookup, each place before what lies in it."""
    found: dict[Witness, None] = {}
    for each in looked.witnesses or ():
        way: list[Witness] = [each]
        while (place := way[0].place) is not None:
            way.insert(0, place)
        found.update(dict.fromkeys(way))
    return list(found)


# --- What is kept ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "witnesses"),
    [
        pytest.param("/a.txt", ["Place .", "Witness a.txt"], id="a file"),
        pytest.param(
            "/below/sub/b.txt",
            ["Place .", "Place below", "Place below/sub", "Witness below/sub/b.txt"],
            id="a file below",
        ),
        pytest.param("/large", ["Place .", "Witness large"], id="a large file"),
        pytest.param(
            "/docs/",
            ["Place .", "Place docs", "Witness docs/index.html", "Witness docs/second.html"],
            id="an index file, and the one that would come before it",
        ),
        pytest.param("/docs", ["Place .", "Place docs"], id="a directory without its slash"),
        pytest.param(
            "/below/sub",
            ["Place .", "Place below", "Place below/sub"],
            id="a directory below without its slash",
        ),
        pytest.param("/missing", ["Place .", "Witness missing"], id="a missing file"),
        pytest.param("/a.txt/x", ["Witness a.txt/x"], id="what is missing below a file"),
        pytest.param(
            "/below/",
            [
                *("Place .", "Place below"),
                *("Witness below/index.html", "Witness below/second.html"),
            ],
            id="a directory without an index file",
        ),
        pytest.param("/.hidden", [], id="a name that may not be asked for"),
    ],
)
def test_what_was_looked_up_is_kept_with_all_that_was_looked_at(
    site: Site, loop: Loop, path: str, witnesses: list[str]
) -> None:
    kept = cache()
    first = kept.lookup(site, target(path), loop)

    assert beneath(site, first) == witnesses
    assert kept.lookup(site, target(path), loop) is first


def test_where_directories_are_listed_a_missing_one_is_looked_at_too(
    root: Path, loop: Loop
) -> None:
    site = site_of(root, listing=True)
    looked = cache().lookup(site, target("/new/"), loop)

    assert beneath(site, looked) == [
        "Witness new/index.html",
        "Witness new/second.html",
        "Witness new",
    ]


@pytest.mark.parametrize(
    ("path", "listing"),
    [
        pytest.param("/link", False, id="a link"),
        pytest.param("/to-below/sub/b.txt", False, id="a link on the way"),
        pytest.param("/to-below", False, id="a link to a directory"),
        pytest.param("/dangling", False, id="a link to nowhere"),
        pytest.param("/below/", True, id="a listing"),
    ],
)
def test_some_is_never_kept(root: Path, loop: Loop, path: str, listing: bool) -> None:
    site, kept = site_of(root, listing=listing), cache()
    looked = [kept.lookup(site, target(path), loop) for _ in range(2)]

    assert [each.witnesses for each in looked] == [None, None]
    assert repr(kept) == "<FileCache <Generations 0+0, 0 octets young>>"


@pytest.mark.parametrize("outcome", [Outcome.FORBIDDEN, Outcome.BUSY, Outcome.FAILED])
def test_what_may_be_better_the_next_time_is_not_kept(
    site: Site, loop: Loop, monkeypatch: pytest.MonkeyPatch, outcome: Outcome
) -> None:
    monkeypatch.setattr(files, "lookup", lambda *_, **__: outcome)
    looked = cache().lookup(site, target("/a.txt"), loop)

    assert (looked.resource, looked.witnesses) == (outcome, None)


@pytest.mark.parametrize(
    ("found", "path"),
    [
        pytest.param(MISSING, "/a.txt", id="a file that has appeared"),
        pytest.param(MISSING, "/docs/", id="an index file that has appeared"),
        pytest.param(NO_SLASH, "/a.txt", id="a directory that has become a file"),
        pytest.param(NO_SLASH, "/missing", id="a directory that is gone"),
        pytest.param(NO_SLASH, "/link", id="a directory that has become a link"),
    ],
)
def test_what_has_changed_since_the_lookup_is_not_kept(
    site: Site, loop: Loop, monkeypatch: pytest.MonkeyPatch, found: Outcome, path: str
) -> None:
    monkeypatch.setattr(files, "lookup", lambda *_, **__: found)
    looked = cache().lookup(site, target(path), loop)

    assert (looked.resource, looked.witnesses) == (found, None)


def test_a_file_that_was_replaced_since_the_lookup_is_not_kept(
    site: Site, root: Path, loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    lookup = files.lookup

    def looked_up_and_replaced(
        site: Site, target: Target, now: float, *_: object, **__: object
    ) -> Resource:
        found = lookup(site, target, now)
        (root / "a.txt").unlink()
        (root / "a.txt").write_bytes(b"another")
        return found

    monkeypatch.setattr(files, "lookup", looked_up_and_replaced)
    looked = cache().lookup(site, target("/a.txt"), loop)

    assert (content(looked.resource), looked.witnesses) == (b"content of a.txt", None)


def test_what_nobody_can_tell_is_not_kept(
    site: Site, loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(_path: bytes) -> Witness:
        raise PermissionError

    monkeypatch.setattr(filecache, "witness", forbidden)
    looked = cache().lookup(site, target("/a.txt"), loop)

    assert (content(looked.resource), looked.witnesses) == (b"content of a.txt", None)


def test_nothing_is_kept_without_memory(site: Site, loop: Loop) -> None:
    looked = cache(octets=0).lookup(site, target("/missing"), loop)

    assert looked.witnesses is None


def test_nothing_is_kept_after_a_stop(site: Site, loop: Loop) -> None:
    kept = cache()
    kept.lookup(site, target("/a.txt"), loop)
    kept.stop()

    assert kept.lookup(site, target("/a.txt"), loop).witnesses is None


def test_queries_make_no_difference(site: Site, loop: Loop) -> None:
    kept = cache()
    asked = Target((b"a.txt",), slash=False, query=b"x=1")

    assert kept.lookup(site, target("/a.txt"), loop) is kept.lookup(site, asked, loop)


def test_slashes_make_a_difference(site: Site, loop: Loop) -> None:
    kept = cache()

    assert kept.lookup(site, target("/docs"), loop).resource is NO_SLASH
    assert isinstance(kept.lookup(site, target("/docs/"), loop).resource, Found)


# --- What is read ---------------------------------------------------------------------------------


@pytest.mark.parametrize("octets", [0, 1 << 20])
@pytest.mark.parametrize(
    ("path", "in_memory"),
    [
        pytest.param("/none", True, id="an empty file"),
        pytest.param("/a.txt", True, id="a small file"),
        pytest.param("/just-so", True, id="the largest"),
        pytest.param("/large", False, id="a larger one"),
        pytest.param("/link", True, id="a small file behind a link"),
    ],
)
def test_small_files_are_read(
    site: Site, root: Path, loop: Loop, octets: int, path: str, in_memory: bool
) -> None:
    looked = cache(octets).lookup(site, target(path), loop)
    expected = (root / path[1:]).read_bytes()

    assert content(looked.resource) == (expected if in_memory else None)
    assert representation(looked.resource).length == len(expected)


def test_a_file_that_cannot_be_read_is_left_to_whoever_sends_it(
    site: Site, loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: object) -> bytes:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "preadv", failing)
    monkeypatch.setattr(os, "pread", failing)
    looked = cache().lookup(site, target("/a.txt"), loop)

    assert (content(looked.resource), looked.witnesses) == (None, None)


def test_a_file_that_goes_on_changing_is_left_to_whoever_sends_it(
    site: Site, loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As those of /proc do: they have no size, and yet they have content."""
    readings = []

    def growing(_fd: int, length: int, **_: object) -> bytes:
        readings.append(length)
        return bytes(length)

    monkeypatch.setattr(filecache, "read_whole", growing)
    looked = cache().lookup(site, target("/none"), loop)

    assert (readings, content(looked.resource), looked.witnesses) == (
        [1] * MOST_READINGS,
        None,
        None,
    )


def test_a_file_that_became_large_is_left_in_its_file(
    site: Site, root: Path, loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop.wall = (root / "a.txt").stat().st_ctime
    lookup = files.lookup

    def looked_up_and_grown(
        site: Site, target: Target, now: float, *_: object, **__: object
    ) -> Resource:
        found = lookup(site, target, now)
        os.truncate(root / "a.txt", MOST_IN_MEMORY + 1)
        return found

    monkeypatch.setattr(files, "lookup", looked_up_and_grown)
    looked = cache().lookup(site, target("/a.txt"), loop)

    assert (content(looked.resource), looked.witnesses) == (None, None)
    assert representation(looked.resource).length == MOST_IN_MEMORY + 1


# --- When the witnesses are asked -----------------------------------------------------------------


@pytest.fixture
def moments(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The moments that witnesses are asked for."""
    asked: list[int] = []
    agrees = Witness.agrees

    def noted(witness: Witness, moment: int) -> bool:
        asked.append(moment)
        return agrees(witness, moment)

    monkeypatch.setattr(Witness, "agrees", noted)
    return asked


def test_each_lookup_asks_anew(site: Site, loop: Loop, moments: list[int]) -> None:
    kept = cache()
    for _ in range(3):
        kept.lookup(site, target("/missing"), loop)

    assert moments == [1, 2]


def test_each_moment_is_later_than_the_one_before() -> None:
    kept = cache()

    assert [kept.next_moment(now) for now in (0.0, 0.0, 1.0, 1.0)] == [1, 2, 3, 4]


def test_a_moment_may_last() -> None:
    kept = cache(valid=1.0)

    assert [kept.next_moment(now) for now in (5.0, 5.5, 5.99, 6.0, 6.9, 8.0)] == [1, 1, 1, 2, 2, 3]


def test_a_change_may_go_unnoticed_for_so_long(site: Site, root: Path, loop: Loop) -> None:
    kept = cache(valid=10.0)
    seen = []
    for now in (100.0, 105.0, 114.9, 115.0):
        loop.now = now
        looked = kept.lookup(site, target("/a.txt"), loop)
        seen.append(isinstance(looked.resource, Found))
        if now == 105.0:  # when it was last seen
            (root / "a.txt").unlink()

    assert seen == [True, True, True, False]


def test_what_has_changed_is_looked_up_anew_and_kept(site: Site, root: Path, loop: Loop) -> None:
    kept = cache()
    first = kept.lookup(site, target("/a.txt"), loop)
    os.utime(root / "a.txt", (5, 5))
    (root / "a.txt").rename(root / "x")
    (root / "x").rename(root / "a.txt")
    second = kept.lookup(site, target("/a.txt"), loop)

    assert first is not second
    assert kept.lookup(site, target("/a.txt"), loop) is second


# --- Directories that several files share ---------------------------------------------------------


def test_files_of_one_directory_share_it(site: Site, root: Path, loop: Loop) -> None:
    (root / "below/sub/c.txt").write_bytes(b"")
    kept = cache()
    one, other = (
        with_places(kept.lookup(site, target(f"/below/sub/{name}"), loop))
        for name in ("b.txt", "c.txt")
    )

    assert [a is b for a, b in zip(one, other, strict=True)] == [True, True, True, False]


def test_a_directory_that_was_replaced_is_another(site: Site, root: Path, loop: Loop) -> None:
    kept = cache()
    before = with_places(kept.lookup(site, target("/below/sub/b.txt"), loop))
    (root / "below/sub").rename(root / "below/old")
    (root / "below/sub").mkdir()
    (root / "below/old/b.txt").rename(root / "below/sub/b.txt")
    after = with_places(kept.lookup(site, target("/below/sub/b.txt"), loop))

    assert [a is b for a, b in zip(before, after, strict=True)] == [True, True, False, False]
    assert [each.agrees(99) for each in before] == [True, True, False, False]
    assert all(each.agrees(99) for each in after)


def test_directories_are_forgotten_with_the_last_file_in_them(
    site: Site, root: Path, loop: Loop
) -> None:
    kept = cache()
    kept.lookup(site, target("/below/sub/b.txt"), loop)
    before = len(kept._places)
    kept.clear()
    gc.collect()

    assert (before, len(kept._places)) == (3, 0)


def test_the_root_may_be_the_root_of_all(root: Path, loop: Loop) -> None:
    site = site_of(Path("/"))
    path = str(root / "below/sub/b.txt")
    looked = cache().lookup(site, target(path), loop)

    assert len(beneath(site, looked)) == path.count("/") + 1
    assert content(looked.resource) == b"content of below/sub/b.txt"


# --- Bounds ---------------------------------------------------------------------------------------


def looked(resource: Resource) -> Looked:
    return Looked(resource, ())


def test_what_it_takes_to_keep_something(site: Site, loop: Loop) -> None:
    small, large = (
        cache(octets=0).lookup(site, target(path), loop) for path in ("/a.txt", "/large")
    )

    assert cost(looked(MISSING)) == cost(looked(Directory(()))) == Cost(OVERHEAD, 0)
    assert cost(small) == Cost(OVERHEAD + len(b"content of a.txt"), 0)
    assert cost(large) == Cost(OVERHEAD, 1)


def open_files() -> int:
    gc.collect()
    return len(os.listdir("/proc/self/fd"))


def test_open_files_are_bounded(root: Path, loop: Loop) -> None:
    for number in range(30):
        (root / str(number)).write_bytes(bytes(MOST_IN_MEMORY + 1))
    site, kept, before = site_of(root), cache(files=10), open_files()
    for number in range(30):
        kept.lookup(site, target(f"/{number}"), loop)
    opened = open_files() - before
    kept.clear()

    assert (opened, open_files() - before) == (10 + 1, 0)  # and the root


def test_open_directories_are_bounded(root: Path, loop: Loop) -> None:
    for number in range(30):
        (root / str(number)).mkdir()
        (root / str(number) / "small").write_bytes(b"")
    site, kept, before = site_of(root), cache(files=10), open_files()
    looked = [kept.lookup(site, target(f"/{number}/small"), loop) for number in range(30)]
    opened = open_files() - before

    assert opened == 10 + 10  # directories, and small files
    assert all(each.agrees(99) for one in looked for each in one.witnesses or ())


def test_a_small_file_is_held_open_as_long_as_anybody_vouches_for_it(
    root: Path, loop: Loop
) -> None:
    (root / "small").write_bytes(b"")
    site, kept, before = site_of(root), cache(), open_files()
    looked = kept.lookup(site, target("/small"), loop)
    opened = open_files() - before
    kept.clear()
    held = open_files() - before
    del looked

    assert (opened, held, open_files() - before) == (2, 2, 0)  # the file and the root


def test_a_moment_begins_with_a_look_at_what_the_kernel_tells(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looks: list[Watches] = []

    def look(watches: Watches) -> None:
        looks.append(watches)

    monkeypatch.setattr(Watches, "look", look)
    kept = cache(valid=10.0)
    for now in (1.0, 2.0, 20.0):
        kept.next_moment(now)

    assert len(looks) == 2


def test_octets_are_bounded(root: Path, loop: Loop) -> None:
    for number in range(200):
        (root / str(number)).write_bytes(bytes(1000))
    site, kept = site_of(root), cache(octets=200_000)
    for number in range(200):
        kept.lookup(site, target(f"/{number}"), loop)

    assert 25 <= len(kept._kept) <= 50


def test_what_is_looked_at_is_in_the_order_of_the_lookup(root: Path) -> None:
    site = site_of(root, listing=True)
    paths = list(looked_at(site, target("/x/")))

    assert paths == [site.root + end for end in (b"/x/index.html", b"/x/second.html", b"/x")]


# --- What is not in memory --------------------------------------------------------------------------


def cold(*_: object) -> int:
    raise BlockingIOError(errno.EAGAIN, "not in memory")


def test_a_cold_file_is_not_read_without_waiting(
    site: Site, loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "preadv", cold)
    monkeypatch.setattr(filecache, "has_no_disk", lambda _fd: False)
    with pytest.raises(WouldWait):
        cache().lookup(site, target("/a.txt"), loop, wait=False)

    assert content(cache().lookup(site, target("/a.txt"), loop).resource) is not None


def test_a_file_that_is_nowhere_but_in_memory_is_read_at_once(
    site: Site, loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "preadv", cold)
    monkeypatch.setattr(filecache, "has_no_disk", lambda _fd: True)
    looked = cache().lookup(site, target("/a.txt"), loop, wait=False)

    assert content(looked.resource) is not None


@pytest.mark.parametrize("name", ["/a.txt", "/missing", "/docs", "/docs/", "/.hidden"])
def test_what_a_thread_has_found_is_adopted_as_if_it_had_been_looked_up(
    site: Site, loop: Loop, name: str
) -> None:
    kept = cache()
    errand = Errand(kept, site, target(name), loop.wall)
    errand.run()
    assert errand.finding is not None
    adopted = kept.adopt(site, target(name), errand.finding)
    again = kept.lookup(site, target(name), loop)

    assert (adopted is again, kept.hits, kept.misses) == (True, 1, 1)
    assert adopted.resource == cache().lookup(site, target(name), loop).resource


def test_what_is_forbidden_is_told_by_whoever_looks_it_up(
    site: Site, loop: Loop, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(*_: object) -> int:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(tree, "openat2", forbidden)
    monkeypatch.setattr(tree, "_walk", forbidden)
    errand = Errand(cache(), site, target("/a.txt"), loop.wall)
    errand.run()
    before = len(caplog.records)
    cache().lookup(site, target("/a.txt"), loop)

    assert (None, 0, 1) == (errand.finding, before, len(caplog.records))


# --- The way to the root --------------------------------------------------------------------------


def way_to(directory: Path, watches: int = MOST_WATCHES) -> list[bytes]:
    """The places on the way to a file in `directory`, which is the root, from the last to the first."""
    made = FileCache(1 << 24, 100, 0.0, 100, watches)
    place: Place | None = made._way_to(site_of(directory), os.fsencode(directory / "a.txt"))
    way = []
    while place is not None:
        way.append(place.path)
        place = place.place
    return way


def test_the_way_to_a_root_that_can_be_watched_begins_at_the_top(root: Path) -> None:
    require_watches(root)

    assert way_to(root) == [os.fsencode(each) for each in (root, *root.parents)]


def test_the_top_may_be_the_root() -> None:
    require_watches(Path("/"))

    assert way_to(Path("/")) == [b"/"]


def test_a_root_that_cannot_be_watched_is_a_name(root: Path) -> None:
    assert way_to(root, watches=0) == [os.fsencode(root)]


@pytest.mark.parametrize("link", ["the root", "a directory above it"])
def test_a_root_behind_a_link_is_a_name(root: Path, tmp_path: Path, link: str) -> None:
    require_watches(root)
    (tmp_path / "link").symlink_to("root" if link == "the root" else ".")
    behind = tmp_path / "link" if link == "the root" else tmp_path / "link" / "root"

    assert way_to(behind) == [os.fsencode(behind)]


def test_a_way_that_leads_up_again_is_a_name(root: Path) -> None:
    """The names in a directory say nothing of what lies above it."""
    assert way_to(root / ".." / "root") == [os.fsencode(root / ".." / "root")]


def test_a_root_behind_what_cannot_be_watched_is_a_name(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    require_watches(root)
    cover = Watches.cover
    unsure = os.stat(root.parent).st_ino
    monkeypatch.setattr(
        Watches, "cover", lambda self, fd: os.fstat(fd).st_ino != unsure and cover(self, fd)
    )

    assert way_to(root) == [os.fsencode(root)]


def test_a_root_that_cannot_be_watched_is_the_same_for_all_that_lies_in_it(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    require_watches(root)
    cover = Watches.cover
    unsure = root.stat().st_ino
    monkeypatch.setattr(
        Watches, "cover", lambda self, fd: os.fstat(fd).st_ino != unsure and cover(self, fd)
    )
    made = FileCache(1 << 24, 100, 0.0, 100, MOST_WATCHES)
    roots = [made._root(os.fsencode(root)) for _ in range(3)]

    assert [each is roots[0] for each in roots] == [True] * 3
    assert roots[0].place is None


def test_a_top_that_is_another_one_is_not_kept(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    require_watches(root)
    made = FileCache(1 << 24, 100, 0.0, 100, MOST_WATCHES)
    tops = [made._top(), made._top()]
    monkeypatch.setattr(tops[0], "sight", (0, 0, 0, 0, 0))
    tops.append(made._top())

    assert [top is tops[0] for top in tops] == [True, True, False]

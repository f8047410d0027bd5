"""Opening what is beneath a directory: links that lead in, links that lead out, and changes."""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpserve import linux, tree
from mpserve.tree import LOOK, MAX_ATTEMPTS, MAX_LINKS, READ, Tree, WouldWait
from tests.descriptors import open_descriptors

Opening = Callable[[Tree, bytes, int], int]

_real_resolve = tree.resolve


@pytest.fixture(params=["openat2", "walk"], autouse=True)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Every test is made by openat2, and by the walk that replaces it."""
    if request.param == "walk":
        monkeypatch.setattr(tree, "have_openat2", lambda: False)
    elif not linux.have_openat2():
        pytest.skip("openat2 cannot be used here")
    return str(request.param)


@pytest.fixture(autouse=True)
def every_descriptor_is_closed() -> Iterator[None]:
    before = open_descriptors()
    yield
    after = open_descriptors()

    assert after <= before


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Where there is a tree, releases/1, called www and other too, and a secret beside it."""
    root = tmp_path / "releases/1"
    (root / "dir").mkdir(parents=True)
    (root / "a.txt").write_bytes(b"a")
    (root / "dir/b.txt").write_bytes(b"b")
    (tmp_path / "releases/10").write_bytes(b"ten")
    (tmp_path / "releases/2").mkdir()
    (tmp_path / "releases/2/a.txt").write_bytes(b"second a")
    (tmp_path / "secret.txt").write_bytes(b"secret")
    (tmp_path / "www").symlink_to("releases/1")
    (tmp_path / "other").symlink_to("www")
    return tmp_path


OPENINGS = pytest.mark.parametrize(
    "opening", [Tree.open_inside, Tree.open_plain, Tree.open_anywhere]
)


@pytest.fixture
def cached(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What can be asked of the kernel where it has openat2, of files that are on a disk."""
    if way == "walk" or not linux.have_resolve_cached():
        pytest.skip("the kernel cannot be asked what it knows")
    monkeypatch.setattr(tree, "has_no_disk", lambda _fd: False)


def read(root: Path, path: str, opening: Opening = Tree.open_inside) -> bytes:
    with Tree(os.fsencode(root)) as opened:
        fd = opening(opened, os.fsencode(path), READ)
    with open(fd, "rb") as file:
        return file.read()


def error_of(root: Path, path: str, opening: Opening = Tree.open_inside) -> str:
    with pytest.raises(OSError) as caught:
        read(root, path, opening)
    return errno.errorcode[caught.value.errno or 0]


# --- Links are followed to what is in the tree, and nowhere else ----------------------------------


@pytest.mark.parametrize(
    "target",
    [
        pytest.param("../a.txt", id="relative"),
        pytest.param("../dir/../a.txt", id="relative, down and up"),
        pytest.param("./.././/a.txt", id="relative, with names that mean nothing"),
        pytest.param("{place}/releases/1/a.txt", id="absolute, by the real name of the root"),
        pytest.param("{place}/www/a.txt", id="absolute, by the name of the root"),
        pytest.param("{place}/other/a.txt", id="absolute, by a name that we were not told"),
        pytest.param("{place}//releases/./1//a.txt", id="absolute, with names that mean nothing"),
        pytest.param("{place}/www/../1/dir/../a.txt", id="absolute, up behind a link"),
        pytest.param("../../1/a.txt", id="out of the root and back"),
        pytest.param("../../../www/a.txt", id="out of the root and back by a link"),
        pytest.param(f"{'../' * 50}{{place}}/www/a.txt", id="above everything and back"),
        pytest.param("link to a", id="to another link"),
        pytest.param("{place}/www/dir/link to a", id="absolute, to another link"),
        pytest.param("{place}/back", id="to a link outside that comes back"),
    ],
)
def test_a_link_into_the_tree_is_followed_however_it_is_written(place: Path, target: str) -> None:
    (place / "back").symlink_to("releases/1/a.txt")
    (place / "www/dir/link to a").symlink_to("../a.txt")
    (place / "www/dir/link").symlink_to(target.format(place=place))

    assert read(place / "www", "dir/link") == b"a"


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        pytest.param("{place}/secret.txt", "EXDEV", id="absolute"),
        pytest.param("../../secret.txt", "EXDEV", id="up"),
        pytest.param("../2/a.txt", "EXDEV", id="to a neighbour"),
        pytest.param("../10", "EXDEV", id="to a neighbour whose name begins like the root's"),
        pytest.param("{place}", "EXDEV", id="above the root"),
        pytest.param("/", "EXDEV", id="to the root of the file system"),
        pytest.param("out", "EXDEV", id="by another link"),
        pytest.param("{place}/none/a.txt", "ENOENT", id="to nothing outside"),
        pytest.param("none", "ENOENT", id="to nothing inside"),
        pytest.param("{place}/www/none", "ENOENT", id="absolute, to nothing inside"),
        pytest.param("loop", "ELOOP", id="to itself"),
        pytest.param("{place}/www/loop", "ELOOP", id="absolute, to a loop"),
        pytest.param("a.txt/", "ENOTDIR", id="to a file with a slash"),
        pytest.param("{place}/www/a.txt/", "ENOTDIR", id="absolute, to a file with a slash"),
        pytest.param("{place}/www/a.txt/.", "ENOTDIR", id="absolute, to a file with a dot"),
        pytest.param("{place}/www/a.txt/../a.txt", "ENOTDIR", id="absolute, up from a file"),
        pytest.param("{place}/www/a.txt/b", "ENOTDIR", id="absolute, to what is beneath a file"),
    ],
)
def test_a_link_to_anything_else_is_an_error(place: Path, target: str, expected: str) -> None:
    (place / "www/out").symlink_to(place / "secret.txt")
    (place / "www/loop").symlink_to("loop")
    (place / "www/link").symlink_to(target.format(place=place))

    assert error_of(place / "www", "link") == expected


def test_a_link_in_the_middle_of_a_path_is_followed(place: Path) -> None:
    (place / "www/alias").symlink_to(place / "www/dir")

    assert read(place / "www", "alias/b.txt") == b"b"


def chain_of_links(root: Path, length: int, prefix: str) -> str:
    """The name of the last of `length` links, each of which leads to the one before it."""
    for number in range(length):
        (root / f"{number}").symlink_to(prefix + (f"{number - 1}" if number else "a.txt"))
    return f"{length - 1}"


@pytest.mark.parametrize(
    "prefix", [pytest.param("", id="relative"), pytest.param("{place}/releases/1/", id="absolute")]
)
def test_as_many_links_are_followed_as_the_kernel_follows(place: Path, prefix: str) -> None:
    last = chain_of_links(place / "www", MAX_LINKS, prefix.format(place=place))

    assert read(place / "www", last) == b"a"
    assert read(place / "www", last, Tree.open_anywhere) == b"a"


@pytest.mark.parametrize(
    "prefix", [pytest.param("", id="relative"), pytest.param("{place}/releases/1/", id="absolute")]
)
def test_one_link_more_is_a_loop(place: Path, prefix: str) -> None:
    last = chain_of_links(place / "www", MAX_LINKS + 1, prefix.format(place=place))

    assert error_of(place / "www", last) == "ELOOP"


def test_in_the_root_of_the_file_system_no_link_leads_out(place: Path) -> None:
    (place / "link").symlink_to(place / "secret.txt")

    assert read(Path("/"), str(place / "link")[1:]) == b"secret"


def test_a_root_whose_name_ends_in_a_slash_is_known_by_its_links(place: Path) -> None:
    (place / "www/link").symlink_to(place / "www/a.txt")
    with Tree(os.fsencode(place / "www") + b"/") as opened:
        os.close(opened.open_inside(b"link", READ))


def test_what_is_outside_and_may_not_be_seen_is_outside(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (place / "www/link").symlink_to(place / "closed/secret.txt")
    real = os.readlink

    def readlink(path: bytes, *, dir_fd: int | None = None) -> bytes:
        if path.endswith(b"/closed"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return real(path, dir_fd=dir_fd)

    monkeypatch.setattr(os, "readlink", readlink)

    assert error_of(place / "www", "link") == "EXDEV"


# --- No links, and any links ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        pytest.param("link", "ELOOP", id="at the end of the path"),
        pytest.param("alias/b.txt", "ENOTDIR", id="in the middle of the path"),
        pytest.param("dir/../../secret.txt", "EXDEV", id="no link, but a way out"),
    ],
)
def test_where_no_link_is_followed(place: Path, way: str, path: str, expected: str) -> None:
    (place / "www/link").symlink_to("a.txt")
    (place / "www/alias").symlink_to("dir")
    if way == "openat2" and expected == "ENOTDIR":
        expected = "ELOOP"

    assert error_of(place / "www", path, Tree.open_plain) == expected


def test_a_link_is_not_looked_at_instead_of_what_it_leads_to(place: Path) -> None:
    (place / "www/link").symlink_to("a.txt")
    with Tree(os.fsencode(place / "www")) as opened:
        with pytest.raises(OSError) as caught:
            opened.open_plain(b"link", LOOK)
        fd = opened.open_inside(b"link", LOOK)
    try:
        found = os.fstat(fd).st_ino
    finally:
        os.close(fd)

    assert caught.value.errno == errno.ELOOP
    assert found == (place / "www/a.txt").stat().st_ino


def test_where_any_link_is_followed_the_outside_is_open(place: Path) -> None:
    (place / "www/link").symlink_to("../../secret.txt")

    assert read(place / "www", "link", Tree.open_anywhere) == b"secret"


# --- The kernel's own path resolution is the measure ----------------------------------------------

NAMES = ["a", "b", "c"]
PREFIXES = ["", "{top}/real/", "{top}/www/", "{top}/out/", "../", "../../", "/"]

paths = st.lists(st.sampled_from(NAMES), min_size=1, max_size=4).map("/".join)
targets = st.builds(
    lambda prefix, parts, end: prefix + "/".join(parts) + end,
    st.sampled_from(PREFIXES),
    st.lists(
        st.sampled_from([*NAMES, "..", ".", "", "real", "www", "out"]), min_size=1, max_size=4
    ),
    st.sampled_from(["", "/"]),
).filter(bool)
kinds = st.one_of(st.just("file"), st.just("dir"), targets.map(lambda target: f"link {target}"))
nodes = st.dictionaries(paths, kinds, max_size=12)


def build(top: Path, nodes: dict[str, str]) -> None:
    """The tree real, called www too, and what `nodes` says beneath it; out is outside."""
    (top / "real").mkdir()
    (top / "out/a").mkdir(parents=True)
    (top / "out/b").symlink_to("../www")
    (top / "out/c").write_bytes(b"")
    (top / "www").symlink_to("real")
    for path, kind in sorted(nodes.items()):
        with contextlib.suppress(OSError):  # a file or a link is in the way
            (top / "real" / path).parent.mkdir(parents=True, exist_ok=True)
            if kind == "dir":
                (top / "real" / path).mkdir(exist_ok=True)
            elif kind == "file":
                (top / "real" / path).touch()
            else:
                (top / "real" / path).symlink_to(kind[5:].format(top=top))


def kernels_answer(top: Path, path: str) -> int | None:
    """The inode that the kernel finds at `path`, if it is in the tree."""
    try:
        fd = os.open(top / "www" / path, os.O_PATH)
    except OSError:
        return None
    try:
        real = Path(os.readlink(f"/proc/self/fd/{fd}"))
        return os.fstat(fd).st_ino if real.is_relative_to(top / "real") else None
    finally:
        os.close(fd)


def our_answer(top: Path, path: str) -> int | None:
    with Tree(os.fsencode(top / "www")) as opened:
        try:
            fd = opened.open_inside(os.fsencode(path), LOOK)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            if error.errno in {errno.ELOOP, errno.EXDEV}:
                return None
            raise
    try:
        return os.fstat(fd).st_ino
    finally:
        os.close(fd)


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(nodes=nodes, asked=st.lists(paths, min_size=1, max_size=5))
def test_what_is_in_the_tree_is_what_the_kernel_finds_in_it(
    nodes: dict[str, str], asked: list[str]
) -> None:
    with tempfile.TemporaryDirectory() as name:
        top = Path(os.path.realpath(name))
        build(top, nodes)
        expected = {path: kernels_answer(top, path) for path in [*nodes, *asked]}
        found = {path: our_answer(top, path) for path in [*nodes, *asked]}

    assert found == expected


# --- A tree that changes while it is looked at ----------------------------------------------------


def meanwhile(monkeypatch: pytest.MonkeyPatch, *changes: Callable[[], object]) -> list[bytes]:
    """Make one of `changes` each time after links were read, before what came out is opened."""
    pending = list(changes)
    resolved: list[bytes] = []

    def resolve(opened: Tree, path: bytes, alias: bytes) -> bytes:
        resolved.append(_real_resolve(opened, path, alias))
        if pending:
            pending.pop(0)()
        return resolved[-1]

    monkeypatch.setattr(tree, "resolve", resolve)
    return resolved


@pytest.fixture
def blog(place: Path) -> Path:
    """A root whose file current/post is reached by an absolute link to one of two directories."""
    root = place / "blog"
    for number in ("1", "2"):
        (root / number).mkdir(parents=True)
        (root / number / "post").write_bytes(number.encode())
    (root / "current").symlink_to(root / "1")
    return root


def test_a_path_that_changes_meanwhile_is_resolved_again(
    blog: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def switch() -> None:
        (blog / "next").symlink_to(blog / "2")
        (blog / "next").replace(blog / "current")
        (blog / "1").rename(blog / "old")

    resolved = meanwhile(monkeypatch, switch)

    assert read(blog, "current/post") == b"2"
    assert resolved == [b"1/post", b"2/post"]


def test_a_path_that_never_rests_is_given_up(blog: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    resolved = meanwhile(monkeypatch)

    def gone(_opened: Tree, path: bytes, _flags: int) -> int:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)

    monkeypatch.setattr(Tree, "open_plain", gone)

    assert error_of(blog, "current/post") == "ENOENT"
    assert resolved == [b"1/post"] * MAX_ATTEMPTS


@pytest.mark.parametrize(
    ("replaced", "by"),
    [
        pytest.param("1/post", "secret.txt", id="the file by a link out of the tree"),
        pytest.param("1", "private", id="its directory by a link out of the tree"),
    ],
)
def test_what_is_replaced_after_its_links_were_read_is_not_followed_out(
    place: Path, blog: Path, monkeypatch: pytest.MonkeyPatch, replaced: str, by: str
) -> None:
    (place / "private").mkdir()
    (place / "private/post").write_bytes(b"secret")

    def replace() -> None:
        (blog / replaced).rename(blog / "away")
        (blog / replaced).symlink_to(place / by)

    resolved = meanwhile(monkeypatch, replace)

    assert error_of(blog, "current/post") == "EXDEV"
    assert resolved == [b"1/post"]  # by the second time, they lead out


def test_links_agree_with_the_root_that_its_name_means_now(place: Path) -> None:
    (place / "releases/2/link").symlink_to(place / "releases/2/a.txt")
    (place / "releases/1/link").symlink_to(place / "releases/1/a.txt")
    with Tree(os.fsencode(place / "www")) as opened:
        (place / "next").symlink_to("releases/2")
        (place / "next").replace(place / "www")
        fd = opened.open_inside(b"link", READ)
    with open(fd, "rb") as file:
        content = file.read()

    assert content == b"second a"


def test_a_rename_elsewhere_that_confuses_the_kernel_does_no_harm(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (place / "www/dir/link").symlink_to("../a.txt")
    real = linux.openat2

    def openat2(directory: int, path: bytes, flags: int, resolve: int) -> int:
        if resolve & linux.RESOLVE_NO_SYMLINKS:
            return real(directory, path, flags, resolve)
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN), path)

    monkeypatch.setattr(tree, "openat2", openat2)

    assert read(place / "www", "dir/link") == b"a"


# --- What is not in memory --------------------------------------------------------------------------


def open_now(root: Path, path: bytes, opening: Opening) -> int:
    with Tree(os.fsencode(root), wait=False) as tree:
        return opening(tree, path, READ)


@pytest.mark.usefixtures("cached")
@OPENINGS
def test_a_way_that_is_known_is_gone_without_waiting(place: Path, opening: Opening) -> None:
    assert (place / "www/dir/b.txt").read_bytes() == b"b"
    fd = open_now(place / "www", b"dir/b.txt", opening)
    with open(fd, "rb") as file:
        assert file.read() == b"b"


@pytest.mark.usefixtures("cached")
@OPENINGS
def test_a_way_that_the_kernel_does_not_know_is_not_gone_without_waiting(
    place: Path, opening: Opening
) -> None:
    with pytest.raises(WouldWait):  # a name that nobody has asked for
        open_now(place / "www", b"dir/no-such-file", opening)


@pytest.mark.usefixtures("cached")
def test_a_link_that_has_to_be_read_is_not_followed_without_waiting(place: Path) -> None:
    (place / "www/absolute").symlink_to(place / "www/a.txt")
    assert (place / "www/absolute").read_bytes() == b"a"
    with pytest.raises(WouldWait):
        open_now(place / "www", b"absolute", Tree.open_inside)


@pytest.mark.usefixtures("cached")
@OPENINGS
def test_where_there_is_no_disk_nobody_waits_for_a_way_that_stays_there(
    place: Path, opening: Opening, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tree, "has_no_disk", lambda _fd: True)
    with pytest.raises(FileNotFoundError):  # a name that nobody has asked for
        open_now(place / "www", b"dir/no-such-file", opening)
    with pytest.raises(WouldWait):  # another file system, which may have one
        open_now(Path("/"), b"proc/no-such-file", opening)


@OPENINGS
def test_where_the_kernel_cannot_be_asked_the_disk_is_waited_for(
    place: Path, opening: Opening, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tree, "have_resolve_cached", lambda: False)
    with pytest.raises(FileNotFoundError):
        open_now(place / "www", b"dir/no-such-file", opening)

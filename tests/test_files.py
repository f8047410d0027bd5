"""Looking up files: what is found, what is not, and that no descriptor is left open."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import shutil
import signal
import socket
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path

import pytest

from mpserve import files, linux, tree
from mpserve.config import Site, Symlinks
from mpserve.files import File, lookup
from mpserve.protocol.message import FileSpan
from mpserve.protocol.representation import Directory, Entry, Found, Outcome
from mpserve.protocol.target import Target
from tests.descriptors import open_descriptors

MISSING, FORBIDDEN, BUSY, LEASED, OUT_OF_REACH, FAILED, NO_SLASH = Outcome

NOW = 1_800_000_000.0
MODIFIED = 1_700_000_000

Seen = bytes | list[str] | Outcome


@pytest.fixture(params=["openat2", "walk"], autouse=True)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Every test is made by openat2, and by the walk that replaces it."""
    if request.param == "walk":
        monkeypatch.setattr(tree, "have_openat2", lambda: False)
    elif not linux.have_openat2():
        pytest.skip("openat2 cannot be used here")
    return str(request.param)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root that holds a bit of everything, and has a secret beside it."""
    root = tmp_path / "root"
    for directory in ("docs", "plain/sub", "pages/index.html", ".well-known", ".git"):
        (root / directory).mkdir(parents=True)
    for name in (
        "a.txt",
        "docs/index.html",
        "docs/index.txt",
        "plain/b.txt",
        "pages/index.txt",
        ".well-known/acme",
        ".well-known/.acme",
        ".git/config",
        ".env",
        "...",
    ):
        (root / name).write_bytes(b"content of " + name.encode())
    os.mkfifo(root / "fifo")
    (tmp_path / "secret.txt").write_bytes(b"secret")
    (root / "link").symlink_to("a.txt")
    (root / "absolute").symlink_to(root / "a.txt")
    (root / "to-docs").symlink_to("docs")
    (root / "to-fifo").symlink_to("fifo")
    (root / "dangling").symlink_to("none")
    (root / "loop").symlink_to("loop")
    (root / "out").symlink_to("../secret.txt")
    (root / "out-absolute").symlink_to(tmp_path / "secret.txt")
    (root / "out-directory").symlink_to("..")
    return root


@pytest.fixture
def site(root: Path) -> Site:
    return Site(
        root=os.fsencode(root),
        index=(b"index.html",),
        listing=False,
        dotfiles=False,
        symlinks=Symlinks.INSIDE,
        fields=b"",
        replaced=frozenset(),
    )


@contextmanager
def no_descriptor_left_open() -> Iterator[None]:
    before = open_descriptors()
    yield
    after = open_descriptors()
    assert after <= before


def target(path: str) -> Target:
    segments = tuple(os.fsencode(name) for name in path.split("/") if name)
    return Target(segments, slash=path.endswith("/"), query=None)


def see(site: Site, path: str) -> Seen:
    """What a lookup of `path` finds: the content of a file, the names in a listing, or neither."""
    with no_descriptor_left_open():
        return seen(lookup(site, target(path), NOW))


def seen(resource: Found | Directory | Outcome) -> Seen:
    if isinstance(resource, Outcome):
        return resource
    if isinstance(resource, Directory):
        return [os.fsdecode(entry.name) for entry in resource.entries]
    (representation,) = resource.representations
    assert isinstance(representation.source, File)
    return os.pread(representation.source.fd, representation.length + 1, 0)


# --- What there is --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        pytest.param("/a.txt", b"content of a.txt", id="a file"),
        pytest.param("/plain/b.txt", b"content of plain/b.txt", id="a file in a directory"),
        pytest.param("/a.txt/", MISSING, id="a file with a slash"),
        pytest.param("/a.txt/b", MISSING, id="beneath a file"),
        pytest.param("/none", MISSING, id="nothing"),
        pytest.param("/none/", MISSING, id="nothing, with a slash"),
        pytest.param("/" + "x" * 255, MISSING, id="a name of the greatest length"),
        pytest.param("/" + "x" * 256, MISSING, id="a name too long for a file"),
        pytest.param("/" + "x/" * 4000, MISSING, id="a path too long for a file"),
        pytest.param("/docs", NO_SLASH, id="a directory"),
        pytest.param("/docs/", b"content of docs/index.html", id="a directory with an index file"),
        pytest.param("/plain/", MISSING, id="a directory without an index file"),
        pytest.param("/pages/", MISSING, id="a directory whose index file is a directory"),
        pytest.param("/fifo", MISSING, id="a FIFO"),
        pytest.param("/fifo/", MISSING, id="a FIFO with a slash"),
        pytest.param("/", MISSING, id="the root without an index file"),
    ],
)
def test_a_path_names_what_is_there(site: Site, path: str, expected: Seen) -> None:
    assert see(site, path) == expected


@pytest.mark.parametrize(
    "path",
    [pytest.param("/null", id="a device"), pytest.param("/zero", id="a device without an end")],
)
def test_a_device_is_missing(site: Site, path: str) -> None:
    assert see(replace(site, root=b"/dev"), path) is MISSING


def test_a_socket_is_missing(site: Site, root: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        directory = os.open(root, os.O_PATH)
        listener.bind(f"/proc/self/fd/{directory}/socket")  # a short name for a long one
        os.close(directory)

        assert see(site, "/socket") is MISSING


@pytest.mark.parametrize("name", ["b c", 'q"uote', "new\nline", "b#?%&+", "ü", "caf\udce9", "\\"])
def test_a_name_may_hold_any_byte_but_two(site: Site, root: Path, name: str) -> None:
    (root / name).write_bytes(name.encode(errors="surrogateescape"))

    assert see(site, "/" + name) == name.encode(errors="surrogateescape")


@pytest.mark.parametrize(
    "segments",
    [
        pytest.param((b"plain/b.txt",), id="a slash in the middle"),
        pytest.param((b"/a.txt",), id="a slash at the beginning"),
        pytest.param((b"plain/", b"b.txt"), id="a slash at the end"),
        pytest.param((b"..", b"secret.txt"), id="the parent"),
        pytest.param((b"plain", b".", b"b.txt"), id="the directory itself"),
    ],
)
@pytest.mark.parametrize("symlinks", Symlinks)
def test_a_segment_that_is_no_name_is_missing(
    site: Site, segments: tuple[bytes, ...], symlinks: Symlinks
) -> None:
    asked = Target(segments, slash=False, query=None)

    assert lookup(replace(site, dotfiles=True, symlinks=symlinks), asked, NOW) is MISSING


# --- Names that begin with a dot ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "served"),
    [
        pytest.param("/.env", False, id="a file"),
        pytest.param("/.git", False, id="a directory"),
        pytest.param("/.git/config", False, id="a file in such a directory"),
        pytest.param("/...", False, id="nothing but dots"),
        pytest.param("/.well-known/acme", True, id="a well-known one"),
        pytest.param("/.well-known/.acme", False, id="a file beneath a well-known one"),
    ],
)
def test_names_that_begin_with_a_dot_are_missing_but_for_one(
    site: Site, path: str, served: bool
) -> None:
    there = see(replace(site, dotfiles=True), path)

    assert there is not MISSING
    assert see(site, path) == (there if served else MISSING)


# --- Index files and listings ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "index", "expected"),
    [
        pytest.param("/docs/", "index.html index.txt", b"content of docs/index.html", id="first"),
        pytest.param("/docs/", "none index.txt", b"content of docs/index.txt", id="second"),
        pytest.param("/pages/", "index.html index.txt", b"content of pages/index.txt", id="no dir"),
        pytest.param("/", "fifo a.txt", b"content of a.txt", id="no FIFO"),
        pytest.param("/", "link", b"content of a.txt", id="a link"),
        pytest.param("/", "absolute", b"content of a.txt", id="an absolute link"),
        pytest.param("/", "out a.txt", b"content of a.txt", id="no link that leads out"),
        pytest.param("/to-docs/", "index.html", b"content of docs/index.html", id="behind a link"),
        pytest.param("/", ".env", b"content of .env", id="the operator's word beats the dot"),
        pytest.param("/docs/", "", MISSING, id="none wanted"),
    ],
)
def test_the_first_index_name_that_is_a_file_stands_for_the_directory(
    site: Site, path: str, index: str, expected: Seen
) -> None:
    assert see(replace(site, index=tuple(index.encode().split())), path) == expected


def test_an_index_file_comes_before_the_listing(site: Site) -> None:
    assert see(replace(site, listing=True), "/docs/") == b"content of docs/index.html"


@pytest.mark.parametrize(
    ("path", "changes", "expected"),
    [
        pytest.param("/plain/", {}, ["b.txt", "sub"], id="a directory"),
        pytest.param("/plain/sub/", {}, [], id="an empty one"),
        pytest.param("/plain", {}, NO_SLASH, id="without its slash"),
        pytest.param("/a.txt/", {}, MISSING, id="a file"),
        pytest.param("/fifo/", {}, MISSING, id="a FIFO"),
        pytest.param("/none/", {}, MISSING, id="nothing"),
        pytest.param("/out-directory/", {}, MISSING, id="a link that leads out"),
        pytest.param("/to-docs/", {"index": ()}, ["index.html", "index.txt"], id="a link"),
        pytest.param(
            "/",
            {},
            ["a.txt", "absolute", "docs", "link", "pages", "plain", "to-docs"],
            id="only what a request gets something for",
        ),
        pytest.param(
            "/", {"symlinks": Symlinks.NONE}, ["a.txt", "docs", "pages", "plain"], id="no links"
        ),
        pytest.param(
            "/",
            {"symlinks": Symlinks.ANY},
            "a.txt absolute docs link out out-absolute out-directory pages plain to-docs".split(),
            id="links that lead out",
        ),
        pytest.param("/.well-known/", {}, ["acme"], id="a well-known directory"),
        pytest.param("/.well-known/", {"dotfiles": True}, [".acme", "acme"], id="names with a dot"),
    ],
)
def test_a_listing_names_what_may_be_asked_for(
    site: Site, path: str, changes: Mapping[str, object], expected: Seen
) -> None:
    changed = replace(site, listing=True, **changes)  # type: ignore[arg-type]  # of many types

    assert see(changed, path) == expected


def test_an_entry_says_what_a_link_leads_to(site: Site, root: Path) -> None:
    os.utime(root / "plain/b.txt", ns=(0, MODIFIED * 10**9 + 999_999_999))
    os.utime(root / "docs", (0, MODIFIED))
    (root / "plain/to-b").symlink_to(root / "plain/b.txt")
    (root / "plain/sub").rmdir()
    (root / "plain/to-docs").symlink_to("../docs")
    size = (root / "docs").stat().st_size
    expected = (
        Entry(b"b.txt", is_dir=False, size=22, mtime=MODIFIED),
        Entry(b"to-b", is_dir=False, size=22, mtime=MODIFIED),
        Entry(b"to-docs", is_dir=True, size=size, mtime=MODIFIED),
    )

    assert lookup(replace(site, listing=True), target("/plain/"), NOW) == Directory(expected)


def test_names_are_listed_byte_for_byte(site: Site, root: Path) -> None:
    names = ["a b", "caf\udce9", "new\nline", "ü"]  # in the order of their bytes
    for name in names:
        (root / "plain/sub" / name).touch()

    assert see(replace(site, listing=True), "/plain/sub/") == names


def test_an_entry_that_vanishes_while_the_directory_is_read_is_not_listed(
    site: Site, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.scandir

    def scandir(fd: int) -> nullcontext[Iterator[os.DirEntry[str]]]:
        with real(fd) as scan:
            entries = list(scan)
        (root / "plain/b.txt").unlink()
        return nullcontext(iter(entries))

    monkeypatch.setattr(os, "scandir", scandir)

    assert see(replace(site, listing=True), "/plain/") == ["sub"]


def test_a_large_directory_is_listed_in_part_and_said_to_be(
    site: Site, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "MOST_LISTED", 1)
    found = lookup(replace(site, listing=True), target("/plain/"), NOW)

    assert isinstance(found, Directory)
    assert (1, True) == (len(found.entries), found.cut)


# --- What is said of a file -----------------------------------------------------------------------


def test_a_representation_is_made_of_what_its_descriptor_says(site: Site, root: Path) -> None:
    os.utime(root / "docs/index.html", ns=(0, MODIFIED * 10**9 + 1))
    found = lookup(site, target("/docs/"), NOW)
    assert isinstance(found, Found)
    (representation,) = found.representations
    expected = (b"text/html; charset=utf-8", 26, b'"%x-%x"' % (MODIFIED * 10**9 + 1, 26), MODIFIED)

    assert (
        representation.media_type,
        representation.length,
        representation.validators.etag,
        representation.validators.last_modified,
    ) == expected


def test_fields_that_the_operator_gives_are_not_rendered(site: Site) -> None:
    found = lookup(replace(site, replaced=frozenset([b"etag"])), target("/a.txt"), NOW)
    assert isinstance(found, Found)

    assert b"ETag" not in found.representations[0].lines


def test_a_link_has_the_media_type_of_its_own_name(site: Site, root: Path) -> None:
    (root / "page.html").symlink_to("a.txt")
    found = lookup(site, target("/page.html"), NOW)
    assert isinstance(found, Found)

    assert found.representations[0].media_type == b"text/html; charset=utf-8"


def test_a_file_that_is_replaced_after_it_was_found_keeps_its_content(
    site: Site, root: Path
) -> None:
    found = lookup(site, target("/a.txt"), NOW)
    (root / "new").write_bytes(b"new content")
    (root / "new").replace(root / "a.txt")
    old = seen(found)

    assert (old, see(site, "/a.txt")) == (b"content of a.txt", b"new content")


def test_the_descriptor_does_not_outlive_an_exec(site: Site) -> None:
    found = lookup(site, target("/a.txt"), NOW)
    assert isinstance(found, Found)
    source = found.representations[0].source
    assert isinstance(source, File)
    inheritable = os.get_inheritable(source.fd)

    assert not inheritable


def test_a_file_is_open_as_long_as_anything_is_sent_from_it(site: Site) -> None:
    found = lookup(site, target("/a.txt"), NOW)
    assert isinstance(found, Found)
    piece = found.representations[0].piece(0, 7)
    del found
    assert isinstance(piece, FileSpan)
    content = os.pread(piece.file.fd, 7, 0)
    fd = piece.file.fd
    del piece

    assert content == b"content"
    with pytest.raises(OSError) as caught:
        os.fstat(fd)
    assert caught.value.errno == errno.EBADF


# --- Links ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "inside", "none", "any_"),
    [
        pytest.param("/link", b"content of a.txt", MISSING, b"content of a.txt", id="to a file"),
        pytest.param("/absolute", b"content of a.txt", MISSING, b"content of a.txt", id="absolute"),
        pytest.param("/to-docs", NO_SLASH, MISSING, NO_SLASH, id="to a directory"),
        pytest.param(
            "/to-docs/index.txt",
            b"content of docs/index.txt",
            MISSING,
            b"content of docs/index.txt",
            id="in the middle of the path",
        ),
        pytest.param(
            "/to-docs/",
            b"content of docs/index.html",
            MISSING,
            b"content of docs/index.html",
            id="in front of an index file",
        ),
        pytest.param("/out", MISSING, MISSING, b"secret", id="out of the root"),
        pytest.param("/out-absolute", MISSING, MISSING, b"secret", id="absolute, out of the root"),
        pytest.param("/out-directory", MISSING, MISSING, NO_SLASH, id="to the parent of the root"),
        pytest.param("/out-directory/secret.txt", MISSING, MISSING, b"secret", id="through it"),
        pytest.param(
            "/out-directory/root/a.txt",
            b"content of a.txt",
            MISSING,
            b"content of a.txt",
            id="through it and back",
        ),
        pytest.param("/to-fifo", MISSING, MISSING, MISSING, id="to a FIFO"),
        pytest.param("/dangling", MISSING, MISSING, MISSING, id="to nothing"),
        pytest.param("/loop", MISSING, MISSING, MISSING, id="to itself"),
    ],
)
def test_links_are_followed_as_the_site_says(
    site: Site, path: str, inside: Seen, none: Seen, any_: Seen
) -> None:
    found = tuple(
        see(replace(site, symlinks=symlinks), path)
        for symlinks in (Symlinks.INSIDE, Symlinks.NONE, Symlinks.ANY)
    )

    assert found == (inside, none, any_)


@pytest.mark.parametrize("symlinks", Symlinks)
def test_the_root_itself_may_be_a_link(site: Site, root: Path, symlinks: Symlinks) -> None:
    root.with_name("www").symlink_to(root)
    linked = replace(site, root=os.fsencode(root.with_name("www")), symlinks=symlinks)

    assert see(linked, "/a.txt") == b"content of a.txt"


# --- The root is a name ---------------------------------------------------------------------------


@pytest.mark.parametrize("symlinks", Symlinks)
def test_a_root_that_is_replaced_is_seen_by_the_next_lookup(
    site: Site, root: Path, symlinks: Symlinks
) -> None:
    changed = replace(site, symlinks=symlinks)
    first = see(changed, "/a.txt")
    shutil.rmtree(root)
    second = see(changed, "/a.txt")
    root.mkdir()
    third = see(changed, "/a.txt")
    (root / "a.txt").write_bytes(b"rebuilt")
    fourth = see(changed, "/a.txt")

    assert (first, second, third, fourth) == (b"content of a.txt", MISSING, MISSING, b"rebuilt")


def test_a_root_that_is_a_link_is_followed_to_where_it_leads_now(site: Site, root: Path) -> None:
    release_2 = root.with_name("release-2")
    release_2.mkdir()
    (release_2 / "absolute").symlink_to(root.with_name("www") / "a.txt")
    (release_2 / "a.txt").write_bytes(b"release 2")
    www = root.with_name("www")
    www.symlink_to("root")
    linked = replace(site, root=os.fsencode(www))
    before = see(linked, "/a.txt"), see(linked, "/absolute")
    root.with_name("next").symlink_to("release-2")
    root.with_name("next").replace(www)

    assert before == (b"content of a.txt", b"content of a.txt")
    assert (see(linked, "/a.txt"), see(linked, "/absolute")) == (b"release 2", b"release 2")


def test_a_file_in_the_place_of_the_root_is_missing(site: Site, root: Path) -> None:
    assert see(replace(site, root=os.fsencode(root / "a.txt")), "/a.txt") is MISSING


def test_the_root_may_be_that_of_the_file_system(site: Site, root: Path) -> None:
    assert see(replace(site, root=b"/"), f"{root}/absolute") == b"content of a.txt"


# --- What may not be read -------------------------------------------------------------------------


@contextmanager
def as_nobody() -> Iterator[None]:
    """Without root's right to read everything, if we have it."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def guarded(site: Site) -> Iterator[Site]:
    """A site of which not everything may be read."""
    with tempfile.TemporaryDirectory() as name:  # tmp_path is closed to others
        root = Path(name)
        root.chmod(0o755)
        for directory in ("closed", "enter"):
            (root / directory).mkdir()
            (root / directory / "index.html").write_bytes(b"index")
        (root / "a.txt").write_bytes(b"a")
        (root / "unreadable").write_bytes(b"x")
        os.mkfifo(root / "fifo")
        (root / "link").symlink_to(root / "unreadable")
        modes = {"closed": 0o000, "enter": 0o711, "unreadable": 0o200, "fifo": 0o200}
        for path, mode in modes.items():
            (root / path).chmod(mode)
        if os.geteuid() != 0:  # then we own it, and what we may is said in other bits
            (root / "enter").chmod(0o111)
        yield replace(site, root=os.fsencode(root))
        for path in modes:
            (root / path).chmod(0o755)


def see_as_nobody(site: Site, path: str) -> Seen:
    with no_descriptor_left_open(), as_nobody():
        return seen(lookup(site, target(path), NOW))


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        pytest.param("/a.txt", b"a", id="a file that may be read"),
        pytest.param("/unreadable", FORBIDDEN, id="a file"),
        pytest.param("/link", FORBIDDEN, id="a file behind a link"),
        pytest.param("/closed", NO_SLASH, id="a directory"),
        pytest.param("/closed/", FORBIDDEN, id="the index file of a closed directory"),
        pytest.param("/closed/x", FORBIDDEN, id="what a closed directory may hold"),
        pytest.param("/enter", NO_SLASH, id="a directory that may be entered only"),
        pytest.param("/enter/", b"index", id="its index file"),
        pytest.param("/fifo", MISSING, id="a FIFO"),
    ],
)
@pytest.mark.parametrize("symlinks", [Symlinks.INSIDE, Symlinks.ANY])
def test_what_may_not_be_read_is_forbidden(
    guarded: Site, symlinks: Symlinks, path: str, expected: Seen
) -> None:
    assert see_as_nobody(replace(guarded, symlinks=symlinks), path) == expected


def test_a_directory_that_may_be_entered_only_is_not_listed(guarded: Site) -> None:
    listed = replace(guarded, index=(), listing=True)

    assert see_as_nobody(listed, "/enter/") is FORBIDDEN


def test_a_listing_names_what_may_not_be_read(guarded: Site) -> None:
    listed = replace(guarded, index=(), listing=True)
    expected = ["a.txt", "closed", "enter", "link", "unreadable"]

    assert see_as_nobody(listed, "/") == expected


def test_a_link_into_a_closed_directory_is_not_listed(guarded: Site) -> None:
    (Path(os.fsdecode(guarded.root)) / "into").symlink_to("closed/index.html")
    listed = replace(guarded, index=(), listing=True)
    expected = ["a.txt", "closed", "enter", "link", "unreadable"]

    assert see_as_nobody(listed, "/") == expected


def test_what_is_forbidden_is_told_in_one_line(
    guarded: Site, caplog: pytest.LogCaptureFixture
) -> None:
    see_as_nobody(guarded, "/unreadable")
    expected = f"cannot open '{os.fsdecode(guarded.root)}/unreadable': Permission denied (EACCES)"

    assert caplog.record_tuples == [("mpserve", logging.WARNING, expected)]


@pytest.mark.parametrize(
    "path", [pytest.param("/fifo", id="a FIFO"), pytest.param("/closed", id="a directory")]
)
def test_what_has_no_content_anyway_is_not_told(
    guarded: Site, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    see_as_nobody(guarded, path)

    assert caplog.record_tuples == []


# --- Errors ---------------------------------------------------------------------------------------


def os_error(code: int) -> OSError:
    return OSError(code, os.strerror(code))


def refuse(monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    """Every attempt to open something in the root fails."""

    def opening(_tree: tree.Tree, _path: bytes, _flags: int) -> int:
        raise os_error(code)

    monkeypatch.setitem(files._OPEN, Symlinks.INSIDE, opening)


@pytest.mark.parametrize("path", ["/a.txt", "/plain/"])
@pytest.mark.parametrize(
    ("code", "expected", "level"),
    [
        pytest.param(errno.ENOENT, MISSING, None, id="ENOENT"),
        pytest.param(errno.ENOTDIR, MISSING, None, id="ENOTDIR"),
        pytest.param(errno.ENAMETOOLONG, MISSING, None, id="ENAMETOOLONG"),
        pytest.param(errno.ELOOP, MISSING, None, id="ELOOP"),
        pytest.param(errno.EXDEV, MISSING, None, id="EXDEV"),
        pytest.param(errno.ENXIO, MISSING, None, id="ENXIO"),
        pytest.param(errno.ENODEV, MISSING, None, id="ENODEV"),
        pytest.param(errno.EACCES, FORBIDDEN, "WARNING", id="EACCES"),
        pytest.param(errno.EPERM, FORBIDDEN, "WARNING", id="EPERM"),
        pytest.param(errno.EMFILE, BUSY, None, id="EMFILE"),
        pytest.param(errno.ENFILE, BUSY, None, id="ENFILE"),
        pytest.param(errno.ENOMEM, BUSY, None, id="ENOMEM"),
        pytest.param(errno.EAGAIN, LEASED, None, id="EAGAIN"),
        pytest.param(errno.EIO, FAILED, "ERROR", id="EIO"),
        pytest.param(errno.ESTALE, FAILED, "ERROR", id="ESTALE"),
        pytest.param(9999, FAILED, "ERROR", id="an error nobody knows"),
    ],
)
def test_an_error_comes_to_an_outcome_and_some_to_a_line_in_the_log(
    site: Site,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    path: str,
    code: int,
    expected: Outcome,
    level: str | None,
) -> None:
    refuse(monkeypatch, code)

    assert see(replace(site, listing=True), path) is expected
    assert [record.levelname for record in caplog.records] == ([level] if level else [])


@pytest.mark.parametrize("path", ["/a.txt", "/plain/"])
def test_what_this_process_alone_may_not_read_is_out_of_reach_and_not_told(
    site: Site,
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    path: str,
) -> None:
    asked: list[os.stat_result] = []

    def out_of_reach(directory: int) -> bool:
        asked.append(os.fstat(directory))
        return True

    refuse(monkeypatch, errno.EACCES)
    found = lookup(replace(site, listing=True), target(path), NOW, out_of_reach)

    assert found is OUT_OF_REACH
    assert [os.path.samestat(each, root.stat()) for each in asked] == [True]
    assert caplog.messages == []


def test_a_name_in_the_log_cannot_forge_a_line(
    site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    refuse(monkeypatch, errno.EIO)
    see(replace(site, root=b"/srv/../tmp"), "/new\nline\x1b[31m\udcff'")

    assert caplog.messages == [
        r"""cannot open "/srv/../tmp/new\nline\x1b[31m\xff'": Input/output error (EIO)"""
    ]


def test_a_file_that_another_process_has_for_itself_is_busy(site: Site, root: Path) -> None:
    ignored = signal.signal(signal.SIGIO, signal.SIG_IGN)  # what the holder of a lease is sent
    holder = os.open(root / "a.txt", os.O_RDWR)
    try:
        try:
            fcntl.fcntl(holder, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        except OSError as error:
            pytest.skip(f"no leases on this file system: {error}")
        held = see(site, "/a.txt")
        fcntl.fcntl(holder, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    finally:
        os.close(holder)
        signal.signal(signal.SIGIO, ignored)

    assert (held, see(site, "/a.txt")) == (LEASED, b"content of a.txt")


CALLS = [
    (os, "open"),
    (os, "fstat"),
    (os, "scandir"),
    (os, "readlink"),
    (os, "lstat"),
    (tree, "openat2"),
]


class NthCallFails:
    """The system calls of a lookup, of which the one numbered `nth` raises `error` instead."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, nth: int, error: BaseException) -> None:
        self.made = 0
        self.nth = nth
        self.error = error
        for module, name in CALLS:
            monkeypatch.setattr(module, name, self.counted(getattr(module, name)))

    def counted(self, real: Callable[..., object]) -> Callable[..., object]:
        def call(*args: object, **kwargs: object) -> object:
            self.made += 1
            if self.made == self.nth:
                # A fresh one each time: a traceback would hold on to what was open.
                raise type(self.error)(*self.error.args)
            return real(*args, **kwargs)

        return call


def with_each_call_failing(
    error: BaseException, site: Site, path: str, monkeypatch: pytest.MonkeyPatch
) -> list[Seen | BaseException]:
    """What a lookup comes to with its first system call failing, then its second, and so on."""
    results: list[Seen | BaseException] = []
    while True:
        with no_descriptor_left_open(), monkeypatch.context() as patch:
            calls = NthCallFails(patch, len(results) + 1, error)
            try:
                resource = lookup(site, target(path), NOW)
            except type(error) as raised:
                results.append(raised.with_traceback(None))
                continue
            patch.undo()
            result = seen(resource)
            del resource
        if calls.made < calls.nth:
            return results
        results.append(result)


each_kind = pytest.mark.parametrize(
    ("path", "fewest_calls"),
    [
        pytest.param("/a.txt", 3, id="a file"),
        pytest.param("/docs/", 3, id="an index file"),
        pytest.param("/absolute", 6, id="a link resolved the slow way"),
        pytest.param("/docs", 3, id="a directory without its slash"),
        pytest.param("/fifo", 3, id="a FIFO"),
        pytest.param("/plain/", 4, id="a listing"),
        pytest.param("/", 30, id="a listing with links"),
        pytest.param("/pages/sub/", 3, id="nothing"),
    ],
)


@each_kind
@pytest.mark.parametrize(
    ("code", "expected"),
    [
        pytest.param(errno.EMFILE, BUSY, id="EMFILE"),
        pytest.param(errno.ENOMEM, BUSY, id="ENOMEM"),
        pytest.param(errno.EIO, FAILED, id="EIO"),
    ],
)
def test_whichever_call_fails_that_is_the_outcome_and_nothing_stays_open(
    site: Site,
    monkeypatch: pytest.MonkeyPatch,
    path: str,
    fewest_calls: int,
    code: int,
    expected: Outcome,
) -> None:
    listed = replace(site, listing=True)
    results = with_each_call_failing(os_error(code), listed, path, monkeypatch)

    assert len(results) >= fewest_calls
    assert set(results) == {expected}


@each_kind
@pytest.mark.parametrize("code", [errno.EACCES, errno.ENOENT, errno.ELOOP, errno.EAGAIN])
def test_a_call_that_fails_and_may_be_made_up_for_leaves_nothing_open(
    site: Site, monkeypatch: pytest.MonkeyPatch, path: str, fewest_calls: int, code: int
) -> None:
    listed = replace(site, listing=True)
    results = with_each_call_failing(os_error(code), listed, path, monkeypatch)

    assert len(results) >= fewest_calls


@each_kind
def test_a_lookup_that_is_broken_off_leaves_nothing_open(
    site: Site, monkeypatch: pytest.MonkeyPatch, path: str, fewest_calls: int
) -> None:
    error = MemoryError()
    results = with_each_call_failing(error, replace(site, listing=True), path, monkeypatch)

    assert [type(result) for result in results] == [MemoryError] * len(results)
    assert len(results) >= fewest_calls

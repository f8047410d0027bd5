"""The corpus: a tree of files that describes itself. What stands at any offset of any file follows from its name.

A file is a row of cells of 16 octets, `%08x%08x` of (the file's number, the cell's place in the file), so no two
cells of the corpus are alike: octets of the wrong file, or of the right file at the wrong offset, cannot pass for
the right ones. Whoever receives a slice computes what it must be and compares; nothing is read from the server's
disk, so a client on another machine can check as well.

`TREE` lists the files, `LINKS` the symbolic links. Modification times follow from the name too.
"""

from __future__ import annotations

import argparse
import os
import stat
import sys
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from urllib.parse import quote_from_bytes

# Raised when the tree changes, so that a corpus of an older version is not taken for this one.
VERSION = 1
# The file that names a corpus. It is served like any other, so a client can ask a server for it.
MARKER = b"corpus.txt"

KIB = 1024
MIB = 1024 * KIB
CELL = 16
_CELLS = 4096  # per block: what three hexadecimal digits count
BLOCK = CELL * _CELLS
_PLACES = (b"", *(b"%03x" % place for place in range(_CELLS)))

# Whole seconds lie between September 2020 and December 2023; the fraction shows whoever rounds instead of truncating.
_FIRST_MTIME = 1_600_000_000
_MTIME_SPREAD = 100_000_000
_MTIME_FRACTION = 750_000_000


class CorpusError(Exception):
    """A corpus that cannot be made, or is none: one sentence for the person at the terminal."""


@dataclass(frozen=True, slots=True)
class File:
    """One regular file of the corpus."""

    path: bytes  # beneath the root, without a leading slash; octets, as the file system has them
    size: int
    modified: float | None = None  # epoch seconds, where the name shall not decide

    @property
    def number(self) -> int:
        """What the file's cells begin with."""
        return zlib.crc32(self.path)

    @property
    def mtime_ns(self) -> int:
        """The modification time that `make` gives the file."""
        if self.modified is not None:
            return int(self.modified * 1_000_000_000)
        seconds = _FIRST_MTIME + self.number % _MTIME_SPREAD
        return seconds * 1_000_000_000 + _MTIME_FRACTION

    @property
    def url(self) -> str:
        """The path of the file's URL."""
        return url(self.path)

    def content(self, start: int = 0, stop: int | None = None) -> bytes:
        """The octets from `start` to `stop` (excluded), as a slice has them: clamped to the file."""
        end = self.size if stop is None else min(stop, self.size)
        if start >= end:
            return b""
        blocks = range(start // BLOCK, (end - 1) // BLOCK + 1)
        found = b"".join(_block(self.number, index) for index in blocks)
        skipped = blocks.start * BLOCK
        return found[start - skipped : end - skipped]

    def difference(
        self, data: bytes | bytearray, start: int = 0, length: int | None = None
    ) -> int | None:
        """The offset in the file of the first octet that is wrong in `data`, its octets from `start` on; else None.

        `length` is how much of `data` counts, for a buffer that is not full.
        """
        # bytes.startswith compares at the speed of memcmp and copies nothing; a memoryview's == takes a hundred
        # times as long.
        end = len(data) if length is None else length
        at = 0
        while at < end:
            step = min(BLOCK - (start + at) % BLOCK, end - at)
            wanted = self.content(start + at, start + at + step)
            if len(wanted) != step or not data.startswith(wanted, at):
                return start + at + _first_difference(data[at : at + step], wanted)
            at += step
        return None


def url(path: bytes) -> str:
    """The path of the URL that names `path`, percent-encoded where a URI asks for it."""
    return "/" + quote_from_bytes(path)


def _first_difference(left: bytes | bytearray, right: bytes) -> int:
    pairs = zip(left, right, strict=False)
    differing = (place for place, (one, other) in enumerate(pairs) if one != other)
    return next(differing, min(len(left), len(right)))


@lru_cache(
    maxsize=1024
)  # 64 MiB: a client that reads the largest file again does not compute it again
def _block(number: int, index: int) -> bytes:
    """64 KiB of the file `number`, from offset `index` * 64 KiB."""
    # In one block of 4096 cells only the last three digits of the place differ: the rest is what joins them.
    prefix = b"%08x%05x" % (number, index)
    return prefix.join(_PLACES)


# Around what a reader, a buffer, a page or a window is likely to get wrong by one.
SIZES: tuple[int, ...] = (
    *(0, 1, 2, 15, 16, 17, 999, 1000, 1023, 1024, 1025, 4095, 4096, 4097, 8191, 8192, 8193, 16384),
    *(65535, 65536, 65537, 131072, 262143, 262144, MIB - 1, MIB, MIB + 1),
)

TYPES: tuple[str, ...] = (
    *("html", "css", "js", "json", "txt", "svg", "xml", "png", "jpg", "webp", "woff2", "wasm"),
    *("pdf", "mp4", "mp3", "zip", "bin", "unknown-to-everyone"),
)

# Octets that a name may hold and a URL, a listing or a log may stumble over.
NAMES = (
    b"a space.txt",
    b" leading and trailing ",
    b"100%.txt",
    b"per%20cent.txt",  # its URL holds %2520; whoever decodes twice finds "per cent.txt", which is another file
    b"per cent.txt",
    b"number#sign.txt",
    b"question?mark.txt",
    b"amper&sand.txt",
    b"plus+sign.txt",
    b"semi;colon=equals,comma.txt",
    b"colon:at@.txt",
    b"quote\"apostrophe'.txt",
    b"less<more>.txt",
    b"brackets[]{}|^`.txt",
    b"back\\slash.txt",
    b"tilde~star*bang!.txt",
    b"$dollar(parentheses).txt",
    "\N{LATIN SMALL LETTER E WITH ACUTE}t\N{LATIN SMALL LETTER E WITH ACUTE}.txt".encode(),
    "\N{CJK UNIFIED IDEOGRAPH-6587}\N{CJK UNIFIED IDEOGRAPH-5B57}.txt".encode(),
    "\N{GRINNING FACE}.txt".encode(),
    b"latin-\xe9-1.txt",  # not UTF-8
    b"new\nline.txt",
    b"tab\tulator.txt",
    b"escape\x1b[31m.txt",
    b"no-extension",
    b"two.dots.tar.gz",
    b"UPPER.TXT",
    b"dots-at-the-end..",
    b"l" * 250 + b".long",
)

# Dot files: a server may hide them, and mpserve does unless told otherwise.
HIDDEN = (
    b".hidden.txt",
    b"...three-dots.txt",
    b".hidden-directory/inside.txt",
    b"without-index/.hidden.txt",
)

# Assets of a page: what a browser asks for after the document.
ASSETS = (
    ("style.css", 18 * KIB),
    ("app.js", 87 * KIB + 311),
    ("vendor.js", 143 * KIB + 17),
    ("logo.svg", 2 * KIB + 5),
    ("photo.jpg", 61 * KIB + 3),
    ("photo.webp", 34 * KIB),
    ("icon.png", 3 * KIB + 1),
    ("font.woff2", 22 * KIB + 40),
    ("data.json", 812),
    ("pixel.png", 67),
)
PAGES = 24
VIDEOS = {b"video/short.mp4": 9 * MIB + 4711, b"video/long.mp4": 32 * MIB}
DOWNLOAD = b"download/64MiB.bin"
COLD_FILES = 4096
COLD_DIRECTORIES = 64


def _core() -> Iterator[File]:
    yield File(b"index.html", 1610)
    yield File(b"robots.txt", 26)
    yield from (File(b"sizes/%d.bin" % size, size) for size in SIZES)
    yield from (File(b"types/file." + name.encode(), 300) for name in TYPES)
    yield from (File(b"names/" + name, 100 + place) for place, name in enumerate(NAMES))
    yield File("names/d\N{LATIN SMALL LETTER I WITH DIAERESIS}r with space/100%#?.txt".encode(), 77)
    yield File(b"names/latin-\xe9/inside.txt", 78)
    yield File(b"with-index/index.html", 515)
    yield File(b"with-index/other.txt", 64)
    yield File(b"with-index/below/index.html", 516)
    yield File(b"without-index/one.txt", 101)
    yield File(b"without-index/two.txt", 102)
    yield File(b"index-is-a-directory/index.html/inside.txt", 103)
    yield File(b"a/b/c/d/e/f/g/h/deep.txt", 104)
    yield from (File(path, 105) for path in HIDDEN)
    yield File(b".well-known/security.txt", 108)
    yield File(b"times/epoch.txt", 109, modified=0)
    yield File(b"times/one-second.txt", 110, modified=1)
    yield File(b"times/1998.txt", 111, modified=883_612_800)
    yield File(b"times/future.txt", 112, modified=4_070_908_800)  # 2099-01-01


def _load() -> Iterator[File]:
    for page in range(PAGES):
        yield File(b"browse/%02d/index.html" % page, 4 * KIB + 613 * page)
        for name, size in ASSETS:
            yield File(b"browse/%02d/%b" % (page, name.encode()), size + 7 * page)
    yield from (File(path, size) for path, size in VIDEOS.items())
    yield File(DOWNLOAD, 64 * MIB)
    yield from map(cold, range(COLD_FILES))


def cold(place: int) -> File:
    """File `place` of those that are more than a server keeps open."""
    size = KIB + place * 613 % (7 * KIB)
    return File(b"cold/%02x/%04x.bin" % (place % COLD_DIRECTORIES, place), size)


def _by_path(files: Iterator[File]) -> dict[bytes, File]:
    return {file.path: file for file in files}


CORE = _by_path(_core())  # what conformance asks for: 4 MiB
LOAD = _by_path(_load())  # what only load tests need: 130 MiB
TREE = {**CORE, **LOAD}
EMPTY_DIRECTORIES = (b"empty",)

# Link → target as `make` writes it; `{root}` stands for the real path of the root.
LINKS = {
    b"links/inside.txt": b"../sizes/4096.bin",
    b"links/inside-absolute.txt": b"{root}/sizes/4096.bin",
    b"links/out-and-back.txt": b"../../{name}/sizes/4096.bin",
    b"links/chain.txt": b"inside.txt",
    b"links/directory": b"../with-index",
    b"links/directory-absolute": b"{root}/with-index",
    b"links/dangling.txt": b"nowhere.txt",
    b"links/loop.txt": b"loop.txt",
    b"links/outside.txt": b"/etc/passwd",
    b"links/outside-directory": b"/etc",
    b"links/root": b"..",
}
# What a link inside the root leads to: link, or a path through one, → the path whose content is served.
THROUGH_LINKS = {
    b"links/inside.txt": b"sizes/4096.bin",
    b"links/inside-absolute.txt": b"sizes/4096.bin",
    b"links/out-and-back.txt": b"sizes/4096.bin",
    b"links/chain.txt": b"sizes/4096.bin",
    b"links/directory/other.txt": b"with-index/other.txt",
    b"links/directory-absolute/other.txt": b"with-index/other.txt",
    b"links/root/robots.txt": b"robots.txt",
}
# Paths that lead out of the root, or nowhere.
LEADING_OUT = (
    b"links/outside.txt",
    b"links/outside-directory/passwd",
    b"links/dangling.txt",
    b"links/loop.txt",
)


def marker(*, load: bool) -> bytes:
    """What the marker file holds."""
    parts = "core load" if load else "core"
    return (
        f"mpserve corpus {VERSION}: {parts}\n"
        "Made by scripts/make-corpus. Every octet of these files follows from their names;\n"
        "tests/harness/corpus.py says how.\n"
    ).encode()


def make(root: Path | str, *, load: bool = True) -> None:
    """Write the corpus into `root`, which is made if need be. `load=False` leaves out what only load tests need.

    A corpus that is there already, whole, is kept. Any other directory must be empty: nothing is overwritten.
    """
    root = Path(root)
    if is_corpus(root, load=load):
        return
    if not is_corpus(root, load=False):
        _make_room(root)
    base = os.fsencode(root.resolve())
    (root / os.fsdecode(MARKER)).unlink(missing_ok=True)
    for each in (TREE if load else CORE).values():
        _write(base, each)
    for path in EMPTY_DIRECTORIES:
        os.makedirs(base + b"/" + path, exist_ok=True)
    for path, target in LINKS.items():
        _link(base, path, target)
    # Last, so that a tree whose making was interrupted is not taken for a corpus.
    (root / os.fsdecode(MARKER)).write_bytes(marker(load=load))


def is_corpus(root: Path | str, *, load: bool = True) -> bool:
    """Is `root` a corpus of this version, made to its end (with what load tests need, if `load`)?"""
    try:
        found = (Path(root) / os.fsdecode(MARKER)).read_bytes()
    except OSError:
        return False
    return found == marker(load=True) or (not load and found == marker(load=False))


def check(root: Path | str, *, load: bool = True) -> None:
    """Raise CorpusError unless every file of the corpus stands in `root` with its size and modification time."""
    if not is_corpus(root, load=load):
        raise CorpusError(
            f"{root} is not a corpus of this version; ./scripts/make-corpus makes one"
        )
    base = os.fsencode(root)
    for each in (TREE if load else CORE).values():
        _check_file(base, each)


def _check_file(base: bytes, wanted: File) -> None:
    path = base + b"/" + wanted.path
    try:
        found = os.lstat(path)
    except OSError as error:
        raise CorpusError(
            f"{os.fsdecode(path)}: {error.strerror}: the corpus is damaged; make it anew"
        ) from error
    if not stat.S_ISREG(found.st_mode) or found.st_size != wanted.size:
        raise CorpusError(f"{os.fsdecode(path)} is not what the corpus has there; make it anew")


def _make_room(root: Path) -> None:
    try:
        root.mkdir(parents=True, exist_ok=True)
        occupied = any(root.iterdir())
    except OSError as error:
        raise CorpusError(f"cannot make a corpus in {root}: {error.strerror}") from error
    if occupied:
        raise CorpusError(
            f"{root} holds something else; a corpus is made in a new or empty directory"
        )


def _write(base: bytes, wanted: File) -> None:
    path = base + b"/" + wanted.path
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as out:
        out.writelines(wanted.content(start, start + MIB) for start in range(0, wanted.size, MIB))
    os.utime(path, ns=(wanted.mtime_ns, wanted.mtime_ns))


def _link(base: bytes, path: bytes, target: bytes) -> None:
    link = base + b"/" + path
    os.makedirs(os.path.dirname(link), exist_ok=True)
    if os.path.lexists(link):
        os.unlink(link)
    real = target.replace(b"{root}", base).replace(b"{name}", os.path.basename(base))
    os.symlink(real, link)


def main(arguments: Sequence[str] | None = None) -> int:
    """`scripts/make-corpus`: make a corpus, or check one."""
    parser = argparse.ArgumentParser(
        prog="make-corpus",
        description="Make the tree of files that the conformance suite and the load tests ask for.",
    )
    parser.add_argument(
        "directory", metavar="DIR", help="where; a new or empty directory, or a corpus"
    )
    parser.add_argument(
        "--core",
        action="store_true",
        help=f"only what the conformance suite asks for ({_megabytes(CORE)}, else {_megabytes(TREE)})",
    )
    parser.add_argument("--check", action="store_true", help="make nothing: is DIR a whole corpus?")
    options = parser.parse_args(arguments)
    try:
        if not options.check:
            make(options.directory, load=not options.core)
        check(options.directory, load=not options.core)
    except (CorpusError, OSError) as error:
        print(f"make-corpus: {error}", file=sys.stderr)
        return 1
    files = CORE if options.core else TREE
    print(f"{options.directory}: a corpus of {len(files)} files, {_megabytes(files)}")
    return 0


def _megabytes(files: dict[bytes, File]) -> str:
    return f"{sum(each.size for each in files.values()) / MIB:.0f} MiB"


if __name__ == "__main__":
    sys.exit(main())

"""The tree that every server of the benchmark serves, and what its files hold."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB

SIZES = {"hot.html": KIB, "10k.css": 10 * KIB, "100k.jpg": 100 * KIB, "1m.bin": MIB}
MANY = tuple(f"many/{i // 100:02d}/{i:04d}.html" for i in range(2000))
MANY_SIZE = 3000
HUGE = "1g.bin"  # holes only: it is there to be downloaded, not to be compared

NAMES_OF_A_FILE = 20_000  # ext4 allows 65,000

# Old enough that no server takes the files for still being written.
MODIFIED = 1_700_000_000
SETTLED = 3.0  # seconds after which a server may trust the time stamps of a new file


def content(name: str, size: int) -> bytes:
    """What the file `name` holds: lines that say which file and which place in it."""
    line = f"{name} %08x 0123456789 abcdefghijklmnopqrstuvwxyz\n"
    step = len(line % 0)
    return "".join(line % at for at in range(0, size, step)).encode()[:size]


def files() -> Iterator[tuple[str, int]]:
    """(name, size) of every file with content."""
    yield from SIZES.items()
    yield "index.html", KIB
    for name in MANY:
        yield name, MANY_SIZE


def make(root: Path) -> None:
    """Writes the tree, and returns when its time stamps are old enough to be trusted."""
    for name, size in files():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content(name, size))
        os.utime(path, (MODIFIED, MODIFIED))
    with (root / HUGE).open("wb") as huge:
        huge.truncate(GIB)
    time.sleep(SETTLED)


def make_wide(root: Path, count: int) -> None:
    """A tree of `count` names, a thousand to a directory.

    Many names share a file: a server that looks at them all is as slow as with files of their own, and the
    tree is made in a second.
    """
    for index in range(count):
        name = root / f"{index // 1000:04d}" / f"{index:06d}.txt"
        name.parent.mkdir(parents=True, exist_ok=True)
        if index % NAMES_OF_A_FILE == 0:
            original = name
            original.write_bytes(b"small\n")
        else:
            os.link(original, name)
    (root / "index.html").write_bytes(content("index.html", KIB))

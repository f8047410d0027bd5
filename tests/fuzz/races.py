"""Links out of the root take the place of files and directories while those are looked up.

`./scripts/fuzz --races` does it for as long as one likes, in every way in which a path can be opened, and
against a server.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias
from unittest.mock import patch

from mpserve import linux, tree
from mpserve.config import Site, Symlinks
from mpserve.files import File, lookup
from mpserve.protocol.representation import Found, Outcome
from mpserve.protocol.target import Target
from tests.harness.server import Server

# What was found: the octets of a file, or why there is none.
Answers: TypeAlias = Counter[bytes | Outcome]

INSIDE: Final = b"inside"
SECRET: Final = b"secret"

# What is raced for, by paths of which openat2 makes an end ...
AT_ONCE: Final = ("spot/file", "spot/sub/file", "to-spot/file", "deep/er/up", "file", "moved/er/up")
# ... and by paths that it leaves to the slow way.
SLOWLY: Final = ("absolute", "absolute-file", "absolute-spot/file", "around", "moved/er/around")

# In each turn a directory and a file are replaced by links out of the root, and a directory with a
# link that goes up is moved out of it; then all is undone. It goes on as long as it has a parent.
RACER: Final = """
import os, sys

os.chdir(sys.argv[1])
parent = os.getppid()
swaps = [("root/spot", "kept/spot", "kept/to-spot"), ("root/file", "kept/file", "kept/to-file")]
while os.getppid() == parent:
    for here, kept, link in swaps:
        os.rename(here, kept)
        os.rename(link, here)
    os.rename("root/moved", "outside/moved")
    for here, kept, link in swaps:
        os.rename(here, link)
        os.rename(kept, here)
    os.rename("outside/moved", "root/moved")
    if not sys.stdout.closed:
        print("racing", flush=True)
        sys.stdout.close()
"""


@dataclass(frozen=True, slots=True)
class Way:
    """How paths are opened."""

    name: str
    kernel: bool  # by openat2, where that is to be had
    symlinks: Symlinks
    paths: tuple[str, ...]


WAYS: Final = (
    Way("openat2", True, Symlinks.INSIDE, AT_ONCE),
    Way("openat2 and the slow way", True, Symlinks.INSIDE, SLOWLY),
    Way("openat2, no links", True, Symlinks.NONE, AT_ONCE),
    Way("the walk", False, Symlinks.INSIDE, AT_ONCE + SLOWLY),
    Way("the walk, no links", False, Symlinks.NONE, AT_ONCE),
)


def plant(directory: Path) -> Path:
    """A root in `directory`, and what is beside it."""
    root, outside, kept = directory / "root", directory / "outside", directory / "kept"
    for place, content in ((root, INSIDE), (outside, SECRET)):
        (place / "spot/sub").mkdir(parents=True)
        for name in ("file", "goal", "spot/file", "spot/sub/file"):
            (place / name).write_bytes(content)
    kept.mkdir()
    (kept / "to-spot").symlink_to(outside / "spot")
    (kept / "to-file").symlink_to("../outside/file")
    (root / "deep/er").mkdir(parents=True)
    (root / "moved/er").mkdir(parents=True)
    for link, target in (
        ("to-spot", "spot"),
        ("deep/er/up", "../../spot/file"),
        ("moved/er/up", "../../goal"),
        ("moved/er/around", "../../../root/goal"),
        ("absolute", root / "spot/file"),
        ("absolute-file", root / "file"),
        ("absolute-spot", root / "spot"),
        ("around", "../root/spot/sub/../file"),
    ):
        (root / link).symlink_to(target)
    return root


@contextmanager
def racing(directory: Path) -> Iterator[Path]:
    """A root in `directory` that another process changes all the time."""
    root = plant(directory)
    command = [sys.executable, "-c", RACER, str(directory)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as racer:
        try:
            assert racer.stdout is not None
            assert racer.stdout.readline() == b"racing\n"
            yield root
            assert racer.poll() is None, "nothing changed while files were looked up"
        finally:
            racer.kill()


def look_up(site: Site, path: str) -> bytes | Outcome:
    """What there is at `path`."""
    target = Target(tuple(path.encode().split(b"/")), slash=False, query=None)
    found = lookup(site, target, time.time())
    if isinstance(found, Outcome):
        return found
    assert isinstance(found, Found)
    source = found.representations[0].source
    assert isinstance(source, File)
    return os.pread(source.fd, 100, 0)


def look_up_until(enough: Callable[[Answers], bool], root: Path, way: Way) -> Answers:
    """How often each answer was given, by the time they were `enough`."""
    site = Site(os.fsencode(root), (), False, False, way.symlinks, b"", frozenset())
    answers: Answers = Counter()
    with patch.object(tree, "have_openat2", lambda: way.kernel):
        while not enough(answers):
            answers.update(look_up(site, path) for path in way.paths)
    return answers


def ask_until(enough: Callable[[Answers], bool], root: Path) -> Answers:
    """As `look_up_until`, of a server that is asked by a client."""
    answers: Answers = Counter()
    with Server(root, "--workers", "1", "--access-log", "off", "--log-level", "error") as server:
        client = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
        with contextlib.closing(client):
            while not enough(answers):
                answers.update(ask(client, path) for path in AT_ONCE + SLOWLY)
    return answers


# A worker that Landlock confines may not read what has just been moved out of the root.
OUTCOME_OF: Final = {404: Outcome.MISSING, 403: Outcome.FORBIDDEN}


def ask(client: http.client.HTTPConnection, path: str) -> bytes | Outcome:
    """What a server says is at `path`."""
    client.request("GET", f"/{path}")
    response = client.getresponse()
    content = response.read()
    return content if response.status == 200 else OUTCOME_OF[response.status]


def race(seconds: float) -> bool:
    """Every way for so long, and a server; whether no octet came from outside, and there was a race."""
    ways = [way for way in WAYS if linux.have_openat2() or not way.kernel]
    good = True
    for way in (*ways, None):
        with tempfile.TemporaryDirectory() as directory, racing(Path(directory).resolve()) as root:
            end = time.monotonic() + seconds

            def enough(answers: Answers, end: float = end) -> bool:
                return SECRET in answers or time.monotonic() > end

            answers = ask_until(enough, root) if way is None else look_up_until(enough, root, way)
        print(f"{'a server' if way is None else way.name}: {told(answers)}", flush=True)
        good = good and SECRET not in answers and {INSIDE, Outcome.MISSING} <= set(answers)
    return good


def told(answers: Answers) -> str:
    """The answers in words."""
    refused = answers.total() - answers[INSIDE] - answers[SECRET]
    return (
        f"{answers.total():,} lookups, {answers[INSIDE]:,} found the file, {refused:,} nothing,"
        f" {answers[SECRET]:,} what is outside"
    )

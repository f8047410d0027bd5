"""Links out of the root take the place of files and directories while those are looked up."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mpserve import linux, tree
from mpserve.config import Site, Symlinks
from mpserve.files import File, lookup
from mpserve.protocol.representation import Found, Outcome
from mpserve.protocol.target import Target

pytestmark = pytest.mark.slow

Answers = Counter[bytes | Outcome]

INSIDE, SECRET = b"inside", b"secret"

LONG_ENOUGH = 1.0  # seconds of lookups
TOO_LONG = 20.0  # seconds to wait for what is bound to happen

# What is raced for, by paths of which openat2 makes an end ...
AT_ONCE = ["spot/file", "spot/sub/file", "to-spot/file", "deep/er/up", "file", "moved/er/up"]
# ... and by paths that it leaves to the slow way.
SLOWLY = ["absolute", "absolute-file", "absolute-spot/file", "around", "moved/er/around"]

# In each turn a directory and a file are replaced by links out of the root, and a directory with a
# link that goes up is moved out of it; then all is undone.
RACER = """
import os, sys, time

os.chdir(sys.argv[1])
swaps = [("root/spot", "kept/spot", "kept/to-spot"), ("root/file", "kept/file", "kept/to-file")]
end = time.monotonic() + 60
while time.monotonic() < end:
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


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    """A root that another process changes all the time."""
    root, outside, kept = tmp_path / "root", tmp_path / "outside", tmp_path / "kept"
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
    command = [sys.executable, "-c", RACER, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as racer:
        assert racer.stdout is not None
        assert racer.stdout.readline() == b"racing\n"
        yield root
        lasted = racer.poll() is None
        racer.kill()
    assert lasted, "nothing changed while files were looked up"


def look_up(site: Site, path: str) -> bytes | Outcome:
    """What there is at `path`: the first octets of the file, or why there is none."""
    target = Target(tuple(path.encode().split(b"/")), slash=False, query=None)
    found = lookup(site, target, time.time())
    if isinstance(found, Outcome):
        return found
    assert isinstance(found, Found)
    source = found.representations[0].source
    assert isinstance(source, File)
    return os.pread(source.fd, 100, 0)


def look_up_until(
    enough: Callable[[Answers], bool], root: Path, paths: list[str], symlinks: Symlinks
) -> Answers:
    """How often each answer was given, by the time they were `enough`."""
    site = Site(os.fsencode(root), (), False, False, symlinks, b"", frozenset())
    answers: Answers = Counter()
    end = time.monotonic() + TOO_LONG
    while not enough(answers) and time.monotonic() < end:
        answers.update(look_up(site, path) for path in paths)
    return answers


@pytest.mark.parametrize(
    ("kernel", "symlinks", "paths"),
    [
        pytest.param(True, Symlinks.INSIDE, AT_ONCE, id="openat2"),
        pytest.param(True, Symlinks.INSIDE, SLOWLY, id="openat2 and the slow way"),
        pytest.param(True, Symlinks.NONE, AT_ONCE, id="openat2, no links"),
        pytest.param(False, Symlinks.INSIDE, AT_ONCE + SLOWLY, id="the walk"),
        pytest.param(False, Symlinks.NONE, AT_ONCE, id="the walk, no links"),
    ],
)
def test_not_one_byte_comes_from_outside(
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
    kernel: bool,
    symlinks: Symlinks,
    paths: list[str],
) -> None:
    if kernel and not linux.have_openat2():
        pytest.skip("openat2 cannot be used here")
    monkeypatch.setattr(tree, "have_openat2", lambda: kernel)
    end = time.monotonic() + LONG_ENOUGH

    def enough(answers: Answers) -> bool:
        both_sides = INSIDE in answers and Outcome.MISSING in answers
        return SECRET in answers or (both_sides and time.monotonic() > end)

    answers = look_up_until(enough, root, paths, symlinks)

    assert set(answers) == {INSIDE, Outcome.MISSING}


def test_the_outside_can_be_reached_in_such_a_race(root: Path) -> None:
    answers = look_up_until(lambda seen: SECRET in seen, root, AT_ONCE + SLOWLY, Symlinks.ANY)

    assert SECRET in answers

"""Files that a worker holds open to ask them: whatever happens to one, the next answer is about what is there now."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from mpserve.witness import KEPT_AFTER
from tests.harness.server import Server
from tests.process.conftest import get

pytestmark = pytest.mark.slow


def is_held(server: Server, file: Path) -> bool:
    """Whether the only worker has `file` open."""
    (worker,) = server.workers()
    descriptors = Path(f"/proc/{worker}/fd")
    return any(os.path.realpath(each) == str(file) for each in descriptors.iterdir())


def seen(server: Server, path: str) -> tuple[int, bytes]:
    response = get(server, path)
    return response.status, response.body  # type: ignore[attr-defined]  # see get


def write(file: Path) -> None:
    file.write_bytes(b"HELLO\n")


def replace(file: Path) -> None:
    file.with_name("new").write_bytes(b"other\n")
    file.with_name("new").rename(file)


def another_directory(file: Path) -> None:
    file.parent.rename(file.parent.with_name("moved"))
    file.parent.mkdir()
    (file.parent / file.name).write_bytes(b"other\n")


def a_link(file: Path) -> None:
    file.with_name("target").write_bytes(b"other\n")
    file.unlink()
    file.symlink_to("target")


def mounted_over(file: Path) -> None:
    other = file.parent.parent / "other"
    other.write_bytes(b"other\n")
    done = subprocess.run(["mount", "--bind", other, file], capture_output=True, check=False)
    if done.returncode:
        pytest.skip("nothing can be mounted here")


CHANGES: dict[str, tuple[Callable[[Path], object], tuple[int, bytes] | None]] = {
    "written": (write, (200, b"HELLO\n")),
    "replaced": (replace, (200, b"other\n")),
    "another directory": (another_directory, (200, b"other\n")),
    "a link": (a_link, (200, b"other\n")),
    "mounted over": (mounted_over, (200, b"other\n")),
    "deleted": (Path.unlink, (404, b"")),
}


MISSING = "missing"  # nothing is in its directory


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A root for each test, all of them old enough to be kept."""
    roots = {name: tmp_path_factory.mktemp("held") / "root" for name in (*CHANGES, MISSING)}
    for name, root in roots.items():
        (root / "dir").mkdir(parents=True)
        if name != MISSING:
            (root / "dir" / "held.txt").write_bytes(b"hello\n")
    time.sleep(KEPT_AFTER + 0.1)
    return roots


Serve = Callable[[Path], Server]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Start a server with one worker; it is stopped at the end of the test."""
    with ExitStack() as running:
        yield lambda root: running.enter_context(Server(root, "--workers", "1"))


@pytest.mark.parametrize("name", CHANGES)
def test_what_happens_to_a_file_that_is_held_open_is_seen_by_the_next_request(
    serve: Serve, roots: dict[str, Path], name: str
) -> None:
    change, expected = CHANGES[name]
    file = roots[name] / "dir" / "held.txt"
    server = serve(roots[name])
    before = [seen(server, "/dir/held.txt") for _ in range(5)]
    held = is_held(server, file)
    try:
        change(file)
        status, content = seen(server, "/dir/held.txt")
    finally:
        subprocess.run(["umount", file], capture_output=True, check=False)

    assert ([(200, b"hello\n")] * 5, True) == (before, held)
    assert (status, content if status == 200 else b"") == expected


def test_what_was_missing_in_a_directory_that_had_not_changed_is_found_when_it_is_there(
    serve: Serve, roots: dict[str, Path]
) -> None:
    root = roots[MISSING]
    server = serve(root)
    before = [seen(server, "/dir/")[0] for _ in range(3)]
    (root / "dir" / "index.html").write_bytes(b"here\n")

    assert ([404] * 3, (200, b"here\n")) == (before, seen(server, "/dir/"))

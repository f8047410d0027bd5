"""Files and directories that a worker has the kernel watch: whatever is done to one, the very next answer shows it.

What it has to show is what a server answers that keeps nothing. That they are watched is looked up in what the kernel
says of the worker's inotify instance.
"""

from __future__ import annotations

import http.client
import mmap
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from mpserve.witness import KEPT_AFTER, WATCHED_AFTER
from tests.deeds import NEW, TO_A_FILE, TO_ITS_WAY, WRITES, let_in, require_watches
from tests.harness.server import Server
from tests.process.conftest import watched_inodes, with_less_than_root

pytestmark = pytest.mark.slow

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")

OLD = b"old content " * 10
OFTEN = 2 * WATCHED_AFTER  # so often a file is asked for before it is watched, and a few times more

Answer = tuple[int, bytes, str | None, str | None]


class Pair:
    """A server with one worker, one that keeps nothing, and a client of each."""

    def __init__(self, root: Path, *arguments: str) -> None:
        self._running = ExitStack()
        self.root = root
        self.keeping, self.other = (
            self._running.enter_context(with_less_than_root(Server(root, *words, *arguments)))
            for words in (("--workers", "1"), ("--workers", "1", "--cache-size", "0"))
        )
        self._clients = [
            http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
            for server in (self.keeping, self.other)
        ]

    def close(self) -> None:
        for client in self._clients:
            client.close()
        self._running.close()

    def ask(self, file: Path, times: int = 1) -> Answer:
        """What the server says of it; asked so often, each time when it has answered."""
        return [self._ask(self._clients[0], file) for _ in range(times)][-1]

    def expected(self, file: Path) -> Answer:
        """What it should say."""
        return self._ask(self._clients[1], file)

    def _ask(self, client: http.client.HTTPConnection, file: Path) -> Answer:
        client.request("GET", f"/{file.relative_to(self.root)}")
        response = client.getresponse()
        content = response.read()
        fields = response.headers
        return response.status, content, fields["ETag"], fields["Last-Modified"]

    def watched(self, file: Path) -> tuple[bool, bool]:
        """Whether the worker has the file and its directory watched."""
        (worker,) = self.keeping.workers()
        inodes = watched_inodes(worker)
        return file.stat().st_ino in inodes, file.parent.stat().st_ino in inodes


def mounted(file: Path, other: Path, over: Path) -> None:
    """Let `other` be seen where `over` is."""
    done = subprocess.run(["mount", "--bind", other, over], capture_output=True, check=False)
    if done.returncode:
        pytest.skip("nothing can be mounted here")


def a_file_is_mounted(file: Path) -> None:
    other = file.parent.parent / "other"
    other.write_bytes(NEW)
    mounted(file, other, file)


def a_directory_is_mounted(file: Path) -> None:
    other = file.parent.parent / "other"
    other.mkdir()
    (other / file.name).write_bytes(NEW)
    mounted(file, other, file.parent)


def a_directory_is_mounted_in_itself(file: Path) -> None:
    """Its parent is mounted where it is, and looks the same; another directory, on that mount."""
    mounted(file, file.parent.parent, file.parent.parent)
    a_directory_is_mounted(file)


DEEDS: dict[str, Callable[[Path], object]] = {
    **{f"the file: {name}": deed for name, deed in TO_A_FILE.items()},
    **{f"its way: {name}": deed for name, deed in TO_ITS_WAY.items()},
    "a file is mounted over it": a_file_is_mounted,
    "a directory is mounted over its own": a_directory_is_mounted,
    "a directory is mounted over its own, on another mount": a_directory_is_mounted_in_itself,
}
BEFORE = {f"opened before: {name}": write for name, write in WRITES.items()}
AFTER = {f"opened after: {name}": write for name, write in WRITES.items()}
OTHERS = ("mapped before", "missing", "large", "of several workers")


def create(root: Path, content: bytes = OLD) -> Path:
    """A file in a directory in another in `root`."""
    file = root / "top" / "directory" / "file"
    file.parent.mkdir(parents=True)
    file.write_bytes(content)
    return file


@pytest.fixture(scope="module")
def root() -> Iterator[Path]:
    """A place that others may enter: tmp_path is closed to them."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        require_watches(root)
        root.chmod(0o755)
        yield root
        let_in(root)


@pytest.fixture(scope="module")
def files(root: Path) -> dict[str, Path]:
    """A file for each test, all of them old enough to be kept."""
    names = (*DEEDS, *BEFORE, *AFTER, *OTHERS)
    files = {
        name: create(root / str(number), OLD * (1000 if name == "large" else 1))
        for number, name in enumerate(names)
    }
    time.sleep(KEPT_AFTER + 0.1)
    return files


@pytest.fixture(scope="module")
def pair(root: Path, files: dict[str, Path]) -> Iterator[Pair]:
    pair = Pair(root)
    yield pair
    pair.close()


@pytest.mark.parametrize("name", DEEDS)
def test_whatever_happens_to_a_file_that_is_watched_is_seen_by_the_next_request(
    pair: Pair, files: dict[str, Path], name: str
) -> None:
    file = files[name]
    before = pair.ask(file, OFTEN)
    watched = pair.watched(file)
    try:
        DEEDS[name](file)
        after, expected = pair.ask(file), pair.expected(file)
    finally:
        for path in (file, file.parent, file.parent.parent):
            subprocess.run(["umount", path], capture_output=True, check=False)

    assert (before[:2], watched) == ((200, OLD), (True, True))
    assert after == expected


@pytest.mark.parametrize("name", BEFORE)
def test_a_file_that_somebody_may_write_is_not_watched_and_what_he_writes_is_seen(
    pair: Pair, files: dict[str, Path], name: str
) -> None:
    file = files[name]
    fd = os.open(file, os.O_RDWR)
    before = pair.ask(file, OFTEN)
    watched = pair.watched(file)
    BEFORE[name](fd)
    after, expected = pair.ask(file), pair.expected(file)
    os.close(fd)

    assert (before[:2], watched) == ((200, OLD), (False, True))
    assert after == expected != before


@pytest.mark.parametrize("name", AFTER)
def test_what_is_written_to_a_file_that_was_watched_is_seen_by_the_next_request(
    pair: Pair, files: dict[str, Path], name: str
) -> None:
    file = files[name]
    before = pair.ask(file, OFTEN)
    watched = pair.watched(file)
    fd = os.open(file, os.O_RDWR)
    opened = pair.ask(file)
    AFTER[name](fd)
    after, expected = pair.ask(file), pair.expected(file)
    os.close(fd)

    assert (before, watched) == (opened, (True, True))
    assert after == expected != before


def test_a_file_that_is_mapped_for_writing_is_not_watched_and_what_is_written_is_seen(
    pair: Pair, files: dict[str, Path]
) -> None:
    file = files["mapped before"]
    with file.open("r+b") as opened:
        memory = mmap.mmap(opened.fileno(), 0)
    before = pair.ask(file, OFTEN)
    watched = pair.watched(file)
    memory[:3] = b"NEW"
    after, expected = pair.ask(file), pair.expected(file)
    memory.close()

    assert (before[:2], watched) == ((200, OLD), (False, True))
    assert after == expected != before


def test_what_was_missing_in_a_directory_that_is_watched_is_found_when_it_is_there(
    pair: Pair, files: dict[str, Path]
) -> None:
    file = files["missing"].with_name("missing")
    before = pair.ask(file, OFTEN)
    _, watched = pair.watched(files["missing"])
    file.write_bytes(NEW)

    assert (before[0], watched) == (404, True)
    assert pair.ask(file)[:2] == (200, NEW)


def test_a_large_file_is_watched_too(pair: Pair, files: dict[str, Path]) -> None:
    file = files["large"]
    before = pair.ask(file, OFTEN)
    watched = pair.watched(file)
    os.truncate(file, 100_000)

    assert (len(before[1]), watched) == (1000 * len(OLD), (True, True))
    assert pair.ask(file) == pair.expected(file)


# --- The way to the root --------------------------------------------------------------------------


def another_in_place_of(directory: Path, below: str) -> None:
    """A directory with this name in which there is a file at `below`, with other content."""
    directory.rename(directory.with_name("moved"))
    file = directory / below
    file.parent.mkdir(parents=True)
    file.write_bytes(NEW)


def a_link_in_place_of(directory: Path, below: str) -> None:
    """As above, behind a link."""
    another_in_place_of(directory, below)
    directory.rename(directory.with_name("elsewhere"))
    directory.symlink_to("elsewhere")


def a_mount_in_place_of(directory: Path, below: str) -> None:
    other = directory.with_name("other")
    (other / below).parent.mkdir(parents=True, exist_ok=True)
    (other / below).write_bytes(NEW)
    mounted(directory, other, directory)


def a_mount_on_another(directory: Path, below: str) -> None:
    """The directory is mounted where it is, and looks the same; another one, on that mount."""
    mounted(directory, directory, directory)
    first, _, rest = below.partition("/")
    a_mount_in_place_of(directory / first, rest)


def open_again(directory: Path) -> None:
    """Let it be removed."""
    subprocess.run(["umount", "--recursive", directory], capture_output=True, check=False)
    if directory.exists():
        directory.chmod(0o755)


TO_THE_WAY: dict[str, Callable[[Path, str], object]] = {
    "another": another_in_place_of,
    "a link": a_link_in_place_of,
    "a mount": a_mount_in_place_of,
    "a mount on another": a_mount_on_another,
    "moved": lambda directory, _: directory.rename(directory.with_name("moved")),
    "closed": lambda directory, _: directory.chmod(0),
}
# What is done to the root, or to the directory that it lies in, or to the one above that.
WAYS = [
    *((deed, up) for deed in ("another", "a link", "a mount") for up in (".", "..", "../..")),
    ("a mount on another", ".."),
    ("moved", ".."),
    ("closed", ".."),
]


@pytest.fixture(scope="module")
def sites() -> Iterator[dict[tuple[str, str], Path]]:
    """A file for each of WAYS, beneath a root of its own."""
    with tempfile.TemporaryDirectory() as name:
        top = Path(name)
        require_watches(top)
        top.chmod(0o755)
        files = {
            way: create(top / str(at) / "above" / "site" / "root") for at, way in enumerate(WAYS)
        }
        time.sleep(KEPT_AFTER + 0.1)
        yield files


@pytest.mark.parametrize(("deed", "up"), WAYS)
def test_whatever_happens_to_the_root_or_above_it_is_seen_by_the_next_request(
    sites: dict[tuple[str, str], Path], deed: str, up: str
) -> None:
    file = sites[deed, up]
    root = file.parent.parent.parent
    directory = Path(os.path.normpath(root / up))
    with closing(Pair(root)) as pair:
        before = pair.ask(file, OFTEN)
        (worker,) = pair.keeping.workers()
        watched, above = watched_inodes(worker), root.parent.parent
        way = [file, *file.parents]
        # What lies further up may change at any time.
        unwatched = [
            each for each in way[: way.index(above) + 1] if each.stat().st_ino not in watched
        ]
        try:
            TO_THE_WAY[deed](directory, str(file.relative_to(directory)))
            after, expected = pair.ask(file), pair.expected(file)
        finally:
            open_again(directory)

    assert (before[:2], unwatched) == ((200, OLD), [])
    assert after == expected != before


def test_the_signal_of_a_lease_ends_no_worker(pair: Pair) -> None:
    (worker,) = pair.keeping.workers()
    os.kill(worker, signal.SIGIO)
    ignored = re.search(
        r"^SigIgn:\t(\w+)$", Path(f"/proc/{worker}/status").read_text(), re.MULTILINE
    )

    assert ignored is not None
    assert int(ignored[1], 16) & 1 << (signal.SIGIO - 1)


@needs_root
def test_a_worker_without_rights_has_its_own_files_watched_and_asks_for_those_of_others() -> None:
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        root.chmod(0o755)
        require_watches(root)
        own, others = create(root / "own"), create(root / "others")
        shutil.chown(own, "nobody")
        time.sleep(KEPT_AFTER + 0.1)
        pair = Pair(root, "--user", "nobody")
        before = [pair.ask(file, OFTEN)[:2] for file in (own, others)]
        watched = [pair.watched(file) for file in (own, others)]
        for file in (own, others):
            file.write_bytes(NEW)
        after = [pair.ask(file)[:2] for file in (own, others)]
        pair.close()

    assert watched == [(True, True), (False, True)]
    assert (before, after) == ([(200, OLD)] * 2, [(200, NEW)] * 2)


def test_each_worker_has_an_instance_of_its_own(root: Path, files: dict[str, Path]) -> None:
    with Server(root, "--workers", "2") as server:
        target = f"/{files['of several workers'].relative_to(root)}"
        for _ in range(8):
            client = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
            for _ in range(OFTEN):
                client.request("HEAD", target)
                client.getresponse().read()
            client.close()
        counts = [len(watched_inodes(worker)) for worker in (*server.workers(), server.pid)]

    assert counts[-1] == 0  # the master
    assert sum(counts) > 0

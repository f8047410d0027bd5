"""A site is replaced while it is served: whoever asks gets an answer, and one that belongs together."""

from __future__ import annotations

import http.client
import os
import re
import shutil
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.deploy import units
from tests.harness.server import Server

pytestmark = pytest.mark.slow

RELEASE = units.DEPLOY / "releases" / "release"
PAGES = 5  # of each release, with an asset each
CLIENTS = 3  # threads
RELEASES = 25

DAY = 86_400  # seconds


def release(site: Path, *words: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [RELEASE, *words],
        env={**os.environ, "SITE": str(site), **variables},
        capture_output=True,
        text=True,
        check=False,
    )


def build(folder: Path, number: int) -> Path:
    """What a generator would have made: pages that name assets with the content in their names."""
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "assets").mkdir(parents=True)
    for page in range(PAGES):
        asset = f"assets/{page}.{number}.js"
        (folder / f"{page}.html").write_text(f"release {number}: <script src=/{asset}></script>")
        (folder / asset).write_text(f"{page} of release {number}")
    return folder


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A site with its first release."""
    site = tmp_path / "site"
    site.mkdir()
    assert release(site, "publish", build(tmp_path / "build", 0), "0").returncode == 0
    return site


class Client:
    """Somebody who reads pages, each with the asset that it names, on one connection."""

    def __init__(self, port: int) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        self.seen = Counter[str]()

    def get(self, path: str) -> str:
        self.connection.request("GET", path)
        response = self.connection.getresponse()
        text = response.read().decode()
        self.seen[str(response.status)] += 1
        return text

    def read(self, page: int) -> int:
        """The release that this page, and its asset, were of."""
        text = self.get(f"/{page}.html")
        found = re.fullmatch(r"release (\d+): <script src=(\S+)></script>", text)
        if found is None:
            self.seen[f"no page: {text[:40]!r}"] += 1
            return -1
        if self.get(found[2]) != f"{page} of release {found[1]}":
            self.seen["not its asset"] += 1
        return int(found[1])


@contextmanager
def reading(port: int) -> Iterator[list[Client]]:
    """Clients that read without a pause; whatever befalls them is counted."""
    clients = [Client(port) for _ in range(CLIENTS)]
    over = threading.Event()

    def read(client: Client) -> None:
        turn = 0
        while not over.is_set():
            try:
                client.read(turn % PAGES)
            except (OSError, http.client.HTTPException) as error:
                client.seen[repr(error)] += 1
            turn += 1

    threads = [threading.Thread(target=read, args=[client]) for client in clients]
    for thread in threads:
        thread.start()
    try:
        yield clients
    finally:
        over.set()
        for thread in threads:
            thread.join()
        for client in clients:
            client.connection.close()


def test_no_reader_notices_that_releases_change(site: Path, tmp_path: Path) -> None:
    # The reader below may be slower than one release; most of the time here it is not.
    with Server(site / "current", "--workers", "2", "--access-log", "off") as server:
        with reading(server.port) as clients:
            witness = Client(server.port)
            seen = []
            for number in range(1, RELEASES):
                done = release(
                    site, "publish", build(tmp_path / "build", number), f"{number}", KEEP="3"
                )
                assert (done.returncode, done.stderr) == (0, "")
                seen.append(witness.read(number % PAGES))
            witness.connection.close()
        total = sum((client.seen for client in clients), witness.seen)

    assert list(total) == ["200"]
    assert total["200"] > 10 * RELEASES
    # From the next request on it is the new one.
    assert seen == list(range(1, RELEASES))


def test_a_page_of_the_last_release_still_finds_its_asset(site: Path, tmp_path: Path) -> None:
    with Server(site / "current", "--access-log", "off") as server:
        client = Client(server.port)
        release(site, "publish", build(tmp_path / "build", 1), "1")
        kept = client.get("/assets/0.0.js")
        release(site, "publish", build(tmp_path / "build", 2), "2", ASSETS="")
        client.get("/assets/0.0.js")
        client.connection.close()

    assert kept == "0 of release 0"
    assert client.seen == {"200": 1, "404": 1}  # without the script's care


def test_the_way_back_is_as_short(site: Path, tmp_path: Path) -> None:
    release(site, "publish", build(tmp_path / "build", 1), "1")
    with Server(site / "current", "--access-log", "off") as server:
        client = Client(server.port)
        before = client.read(0)
        release(site, "switch", "0")
        after = client.read(0)
        client.connection.close()

    assert (before, after) == (1, 0)
    assert release(site, "list").stdout == "* 0\n  1\n"


def test_a_release_that_is_not_there_changes_nothing(site: Path) -> None:
    done = release(site, "switch", "7")

    assert (done.returncode, done.stderr) == (2, f"release: there is no 7 in {site}/releases\n")
    assert os.readlink(site / "current") == "releases/0"


def test_old_releases_and_old_assets_go(site: Path, tmp_path: Path) -> None:
    old = time.time() - 40 * DAY
    os.utime(site / "releases/0/assets/0.0.js", (old, old))
    for number in range(1, 4):
        folder = build(tmp_path / "build", number)
        os.utime(folder, (old - number * DAY,) * 2)  # the later it is published, the earlier built
        release(site, "publish", folder, f"{number}", KEEP="2")

    assert sorted(os.listdir(site / "releases")) == ["2", "3"]
    assert not (site / "current/assets/0.0.js").exists()
    assert (site / "current/assets/1.0.js").exists()


def test_a_release_is_never_written_into(site: Path, tmp_path: Path) -> None:
    folder = build(tmp_path / "build", 1)
    (folder / "assets/0.0.js").write_text("changed under the same name")
    release(site, "publish", folder, "1")

    assert (site / "releases/0/assets/0.0.js").read_text() == "0 of release 0"
    assert (site / "releases/1/assets/0.0.js").read_text() == "changed under the same name"

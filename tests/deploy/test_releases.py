"""A site is replaced while it is served: whoever asks gets an answer, and one that belongs together."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from tests.deploy.site import PAGES, Client, build, reading, release
from tests.harness.server import Server

pytestmark = pytest.mark.slow

RELEASES = 25
DAY = 86_400  # seconds


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A site with its first release."""
    site = tmp_path / "site"
    site.mkdir()
    assert release(site, "publish", build(tmp_path / "build", 0), "0").returncode == 0
    return site


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

"""Every peer that is installed serves a file, says who it is, and leaves nothing behind."""

from __future__ import annotations

import os
import urllib.request
from pathlib import Path

import pytest

from tests.harness import peers
from tests.harness.peers import PeerError
from tests.harness.until import until

pytestmark = pytest.mark.slow


def installed(name: str) -> str:
    if not peers.available(name):
        pytest.skip(f"{name} is not installed")
    return name


def get(url: str) -> tuple[int, bytes]:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return answer.status, answer.read()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "root"
    folder.mkdir()
    (folder / "index.html").write_bytes(b"the index")
    (folder / "a.txt").write_bytes(b"a" * 1024)
    return folder


@pytest.mark.parametrize("name", peers.PEERS)
def test_a_peer_serves_files_and_the_index(name: str, root: Path) -> None:
    with peers.start(installed(name), root) as peer:
        answers = [get(f"{peer.url}/a.txt"), get(f"{peer.url}/")]

    assert [(200, b"a" * 1024), (200, b"the index")] == answers


@pytest.mark.parametrize("name", peers.PEERS)
def test_a_stopped_peer_has_no_processes(name: str, root: Path) -> None:
    with peers.start(installed(name), root, workers=2) as peer:
        assert peer.process.pid in peer.pids()

    assert [] == peer.pids()
    assert not os.path.exists(peer.home.name)


@pytest.mark.parametrize("name", peers.PEERS)
def test_a_peer_writes_the_access_log_it_was_given(name: str, root: Path, tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    with peers.start(installed(name), root, access_log=log) as peer:
        get(f"{peer.url}/a.txt")

    assert "/a.txt" in log.read_text()


@pytest.mark.parametrize("name", ["mpserve", "nginx"])
def test_all_processes_of_a_peer_stay_on_their_processor(name: str, root: Path) -> None:
    only = {min(os.sched_getaffinity(0))}
    with peers.start(installed(name), root, workers=2, cpus=only) as peer:
        # It may answer before the last of its workers is there.
        assert until(lambda: len(peer.pids()) == 3)
        placed = [os.sched_getaffinity(pid) for pid in peer.pids()]

    assert [only] * 3 == placed


@pytest.mark.parametrize("name", ["mpserve", "nginx", "lighttpd"])
def test_a_peer_that_cannot_start_says_why(name: str, root: Path) -> None:
    with pytest.raises(PeerError, match=rf"(?s){name} (ended|did not answer).*missing"):
        peers.start(installed(name), root, access_log=root / "missing" / "access.log")


def test_an_unknown_peer_is_refused_with_the_known_ones() -> None:
    with pytest.raises(PeerError, match="nginx-cache"):
        peers.available("nginxx")


def test_a_root_that_configurations_would_read_differently_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PeerError, match="do not quote alike"):
        peers.start("nginx", tmp_path / "$root")

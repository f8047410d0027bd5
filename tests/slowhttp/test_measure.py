"""The attacks are really made, and stuck readers are really stuck."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest

from loadtests.slowhttp import attack, stuck
from loadtests.slowhttp.measure import attack_one, connections_at, make_root
from loadtests.slowhttp.results import STUCK_LIMIT
from tests.harness import peers

pytestmark = pytest.mark.slow


@pytest.mark.skipif(not attack.installed(), reason="slowhttptest is not installed")
@pytest.mark.parametrize("name", attack.ATTACKS)
def test_an_honest_client_is_served_beside_each_attack(tmp_path: Path, name: str) -> None:
    with peers.start("mpserve", make_root(tmp_path)) as peer:
        row = attack_one(peer, "mpserve", name, 100, 1.0)

    assert row.served


def test_connections_are_counted_on_the_servers_side(tmp_path: Path) -> None:
    with peers.start("mpserve", make_root(tmp_path)) as peer, ExitStack() as clients:
        for _ in range(3):
            clients.enter_context(stuck.reader(peer.port))

        assert connections_at(peer.port) == 3


@pytest.mark.skipif(not stuck.installed(), reason="ss is not installed")
def test_a_reader_that_takes_nothing_costs_little_memory(tmp_path: Path) -> None:
    with peers.start("mpserve", make_root(tmp_path)) as peer:
        cost = stuck.measure(peer.port, peer.pids, 100)

    assert cost.cut == 0
    assert cost.kernel > 64 * 1024  # it is really stuck
    assert cost.together < STUCK_LIMIT

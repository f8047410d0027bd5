"""Every action of ./scripts/reliability, in short. Counts decide, never the clock."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from loadtests.reliability import run
from loadtests.reliability.actions import ACTIONS, Action
from loadtests.reliability.run import Plan
from tests.harness import peers

pytestmark = pytest.mark.slow

SHORT = ("nothing", "kill", "stop-0.8", "hup", "broken", "scale", "usr2", "mixed", "term")


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    """A load that is over in a second."""
    root = tmp_path / "root"
    run.make_root(root)
    return Plan(root, connections=600, rate=600, reused=12, processes=1, workers=2)


def brief(action: Action) -> Action:
    """With as many servers one after the other as show that their counts are added up."""
    return replace(action, rounds=min(action.rounds, 2))


@pytest.mark.parametrize("action", SHORT)
def test_nothing_is_lost_that_could_be_kept(plan: Plan, action: str) -> None:
    row = run.run(plan, "mpserve", brief(ACTIONS[action]))

    assert row.problems == []
    assert row.unexcused == 0, row.examples
    assert row.deeds > 0
    # How many come before a server ends is the machine's business.
    assert row.fresh >= (plan.connections // ACTIONS[action].part if ACTIONS[action].deed else 1)
    assert row.reused > 0


def test_the_losses_of_another_server_are_seen(plan: Plan) -> None:
    if not peers.available("nginx"):
        pytest.skip("nginx is not installed")
    row = run.run(plan, "nginx", ACTIONS["scale"])

    assert row.problems == []
    assert row.deeds > 0
    # Whether it loses any in so short a time is chance; that all are accounted for is not.
    assert row.answered + row.lost_in_all >= row.fresh

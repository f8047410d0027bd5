"""How many users when, and where the knee is."""

from __future__ import annotations

import pytest

from loadtests.plan import PLANS, RAMP, STEPS, Stair, knee, stairs
from loadtests.record import Second


@pytest.mark.parametrize("name", PLANS)
@pytest.mark.parametrize("users", [1, 7, 500])
def test_a_plan_wants_some_users_at_any_time_and_never_too_many(name: str, users: int) -> None:
    wanted = [PLANS[name](at, 60.0, users) for at in range(60)]

    assert all(1 <= count <= users for count, _ in wanted)
    assert max(count for count, _ in wanted) == users
    assert all(rate > 0 for _, rate in wanted)


@pytest.mark.parametrize("name", PLANS)
def test_no_plan_is_faster_than_locust_likes(name: str) -> None:
    rates = [PLANS[name](float(at), 60.0, 5000)[1] for at in range(60)]

    assert max(rates) <= 100


def test_smoke_has_everybody_there_within_three_seconds() -> None:
    users, rate = PLANS["smoke"](0.0, 25.0, 60)

    assert users / rate == pytest.approx(RAMP)


def test_a_short_smoke_takes_a_fourth_of_its_time_to_begin() -> None:
    users, rate = PLANS["smoke"](0.0, 2.0, 6)

    assert users / rate == pytest.approx(0.5)


def test_steps_rise_evenly() -> None:
    wanted = [PLANS["steps"](at + 0.5, 80.0, 400)[0] for at in range(80)]

    assert sorted(set(wanted)) == [50 * stair for stair in range(1, STEPS + 1)]
    assert wanted == sorted(wanted)
    assert {wanted.count(each) for each in wanted} == {10}


def test_a_spike_comes_in_the_middle_and_goes() -> None:
    wanted = [PLANS["spike"](float(at), 30.0, 100)[0] for at in range(30)]

    assert wanted == [10] * 10 + [100] * 10 + [10] * 10


def test_a_soak_takes_a_tenth_of_its_time_to_begin() -> None:
    users, rate = PLANS["soak"](0.0, 1800.0, 90)

    assert users / rate == pytest.approx(180.0)


def seconds(*plateaus: tuple[int, float, float]) -> list[Second]:
    """Four seconds of each (users, rate, p99), the first of which is a transition."""
    found = []
    for users, rate, p99 in plateaus:
        found += [Second(0.0, users, rate / 2, 0, 1.0, 5 * p99)]
        found += [Second(0.0, users, rate, 0, 1.0, p99) for _ in range(3)]
    return [Second(0.0, 0, 0.0, 0, None, None), *found]


def test_stairs_leave_out_the_second_in_which_users_came() -> None:
    found = stairs(seconds((10, 100.0, 2.0), (20, 200.0, 3.0)))

    assert found == [Stair(10, 100.0, 2.0), Stair(20, 200.0, 3.0)]


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        pytest.param([(10, 100, 2), (20, 200, 2), (30, 300, 3)], None, id="all is well"),
        pytest.param([(10, 100, 2), (20, 200, 2), (30, 300, 9)], 20, id="latency gives way"),
        pytest.param([(10, 100, 2), (20, 200, 2), (30, 230, 2)], 20, id="throughput gives way"),
        pytest.param([(10, 100, 2)], None, id="one stair has no knee"),
        pytest.param([], None, id="no stair either"),
    ],
)
def test_the_knee(found: list[tuple[int, float, float]], expected: int | None) -> None:
    at = knee([Stair(*each) for each in found])

    assert expected == (at.users if at else None)

"""Counts add up, and latency is that of the moments that matter."""

from __future__ import annotations

import pytest

from loadtests.reliability.counts import Counts, Latency, Loss, latency, total


def counted(*pairs: tuple[float, float]) -> Counts:
    counts = Counts(fresh=len(pairs), answered=len(pairs))
    for began, took in pairs:
        counts.began.append(began)
        counts.took.append(took)
    return counts


def test_all_that_is_counted_adds_up() -> None:
    first, second = counted((1.0, 0.1)), counted((2.0, 0.2), (3.0, 0.3))
    first.lose(Loss.AFTER, "a")
    second.lose(Loss.AFTER, "b")
    second.idle_ends = 4
    whole = total([first, second])

    assert (whole.fresh, whole.answered, whole.idle_ends) == (3, 3, 4)
    assert dict(whole.losses) == {"ended after the request": 2}
    assert whole.examples == ["ended after the request: a", "ended after the request: b"]
    assert list(whole.took) == [0.1, 0.2, 0.3]


def test_only_what_began_within_a_window_counts_for_it() -> None:
    counts = counted((5.0, 0.5), (1.0, 0.1), (2.0, 0.2), (3.0, 0.3))

    assert counts.during([(1.5, 3.0)]) == [0.2]
    assert counts.during([(5.0, 6.0), (1.0, 2.5)]) == [0.1, 0.2, 0.5]
    assert counts.during([(1.0, 2.5), (2.0, 3.5)]) == [0.1, 0.2, 0.3]
    assert counts.during([]) == []


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        ([], None),
        ([0.001], Latency(1, 1.0, 1.0, 1.0, 1.0)),
        ([n / 1000 for n in range(1000)], Latency(1000, 500.0, 990.0, 999.0, 999.0)),
    ],
)
def test_latency_is_in_milliseconds(seconds: list[float], expected: Latency | None) -> None:
    assert latency(seconds) == expected

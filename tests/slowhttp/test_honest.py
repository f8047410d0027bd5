"""The honest client's figures are what it met."""

from __future__ import annotations

from loadtests.slowhttp.honest import Latency, latency, summary


def test_figures_are_those_of_the_times() -> None:
    times = [float(number) for number in range(1, 201)]

    assert summary(times, 3) == Latency(200, 3, 101.0, 199.0, 200.0)
    assert summary([], 2) == Latency(0, 2, 0.0, 0.0, 0.0)


def test_where_nobody_answers_everything_has_failed() -> None:
    # Port 0 is nobody's.
    met = latency(0, 0.05)

    assert met.failed > 0
    assert (0, 0.0) == (met.requests, met.p99)

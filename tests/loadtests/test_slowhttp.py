"""The attacks are really made, and the honest client's figures are what it met."""

from __future__ import annotations

import pytest

from loadtests import slowhttp
from loadtests.slowhttp import ATTACKS, Latency, command, measure, served, summary, was_available


def test_figures_are_those_of_the_times() -> None:
    times = [float(number) for number in range(1, 201)]

    assert summary(times, 3) == Latency(200, 3, 101.0, 199.0, 200.0)
    assert summary([], 2) == Latency(0, 2, 0.0, 0.0, 0.0)


def test_each_attack_names_the_server_and_how_many() -> None:
    for attack in ATTACKS:
        words = command(attack, 8123, 50, 5.4)
        assert words[-1].startswith("http://127.0.0.1:8123/")
        assert " ".join(words).count("-c 50 -r 1000 -l 5 ") == 1


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        pytest.param("service available:   YES\n", True, id="yes"),
        pytest.param("service available:\x1b[1;32m   \x1b[1;32mYES\x1b[0m\n", True, id="in green"),
        pytest.param("service available: YES\nservice available: NO\n", False, id="once not"),
        pytest.param("", False, id="it did not say"),
    ],
)
def test_availability_is_read_from_the_attacker(output: str, expected: bool) -> None:
    assert was_available(output) is expected


@pytest.mark.slow
@pytest.mark.skipif(not slowhttp.installed(), reason="slowhttptest is not installed")
def test_an_honest_client_is_served_beside_each_attack() -> None:
    with served(1) as server:
        rows = list(measure(server.port, 100, 1.0))

    assert [row.attack for row in rows] == list(ATTACKS)
    assert all(row.beside.requests > 0 and not row.beside.failed for row in rows)
    assert all(row.available for row in rows)

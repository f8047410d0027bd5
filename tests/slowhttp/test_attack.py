"""How the attacker is called, and how what it prints is read."""

from __future__ import annotations

import sys

import pytest

from loadtests.slowhttp.attack import ATTACKS, command, under_attack, was_available


def test_each_attack_names_the_server_and_how_many() -> None:
    for attack in ATTACKS:
        words = command(attack, 8123, 500, 5.0)
        assert words[-1].startswith("http://127.0.0.1:8123/")
        assert " ".join(words).count("-c 500 -r 1000 -l 6 ") == 1


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


def test_what_it_came_to_is_known_when_it_has_ended() -> None:
    line = [sys.executable, "-c", "print('service available: YES')"]
    with under_attack(line, 1.0) as attack:
        meanwhile = attack.available

    assert (False, True) == (meanwhile, attack.available)


def test_whoever_gives_up_leaves_no_attacker_behind() -> None:
    line = [sys.executable, "-c", "input()"]
    with pytest.raises(KeyboardInterrupt), under_attack(line, 1.0):
        raise KeyboardInterrupt

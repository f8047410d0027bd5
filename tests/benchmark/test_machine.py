"""Server and client are placed on processors of different cores, where there are such."""

from __future__ import annotations

import pytest

from loadtests.benchmark import machine
from loadtests.benchmark.machine import Processors

ALONE = Processors(frozenset(), frozenset())


def pair(server: int, client: int) -> Processors:
    return Processors(frozenset({server}), frozenset({client}))


@pytest.mark.parametrize(
    ("usable", "siblings", "expected"),
    [
        pytest.param({0}, {}, ALONE, id="one processor is shared"),
        pytest.param({0, 1}, {}, pair(0, 1), id="two processors, nothing known of cores"),
        pytest.param({3, 7}, {3: frozenset({3})}, pair(3, 7), id="the processors we may use"),
        pytest.param(
            {0, 1, 2, 3}, {0: frozenset({0, 1})}, pair(0, 2), id="not the other thread of the core"
        ),
        pytest.param(
            {0, 1}, {0: frozenset({0, 1})}, pair(0, 1), id="one core is better than one processor"
        ),
    ],
)
def test_the_choice_of_processors(
    usable: set[int], siblings: dict[int, frozenset[int]], expected: Processors
) -> None:
    assert expected == machine.choose(usable, siblings)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("0\n", {0}, id="one"),
        pytest.param("0,4\n", {0, 4}, id="two"),
        pytest.param("0-2,8\n", {0, 1, 2, 8}, id="a range and one"),
    ],
)
def test_a_list_of_the_kernel_is_read(text: str, expected: set[int]) -> None:
    assert expected == machine.parse_list(text)


@pytest.mark.parametrize(
    ("busy", "expected"),
    [
        pytest.param(0.04, [], id="hardly any"),
        pytest.param(
            0.25,
            ["the machine was busy with other work when the run began (25%)"],
            id="enough to matter",
        ),
    ],
)
def test_other_work_is_told_where_it_matters(
    monkeypatch: pytest.MonkeyPatch, busy: float, expected: list[str]
) -> None:
    monkeypatch.setattr(machine, "other_work", lambda: busy)

    assert expected == machine.disturbance()

"""Rounds are interleaved, and a measurement that cannot be trusted says so."""

from __future__ import annotations

import shutil
import sys
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest

from loadtests.benchmark import distance, floor, timed, wire
from loadtests.benchmark.client import ClientError
from loadtests.benchmark.distance import Distance
from loadtests.benchmark.machine import Processors
from loadtests.benchmark.results import FLOOR, PYTHON_FLOOR
from loadtests.benchmark.workloads import WORKLOADS, Ask, Workload
from tests.benchmark.examples import bench, compiled, sample

NEAR, FAR = 280.0, 700.0  # nanoseconds from one processor to the other and back

needs_wrk = pytest.mark.skipif(not shutil.which("wrk"), reason="wrk is not installed")
needs_compiler = pytest.mark.skipif(not shutil.which("cc"), reason="there is no C compiler")


def test_every_server_is_the_first_in_its_turn() -> None:
    firsts = [timed.rotated(["a", "b", "c"], turn) for turn in range(4)]

    assert [["a", "b", "c"], ["b", "c", "a"], ["c", "a", "b"], ["a", "b", "c"]] == firsts


@pytest.mark.parametrize("expected", [1190, 1200, 1210])
def test_answers_as_long_as_the_verified_one_count(expected: int) -> None:
    timed.check_octets(sample(1.0), expected)


@pytest.mark.parametrize("expected", [600, 1150, 1300])
def test_answers_of_another_length_do_not(expected: int) -> None:
    with pytest.raises(ClientError, match="1200 octets"):
        timed.check_octets(sample(1.0), expected)


@pytest.mark.slow
@needs_wrk
@needs_compiler
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        pytest.param("close", ["mpserve", FLOOR], id="close"),
        pytest.param("pipelined", ["mpserve", FLOOR, PYTHON_FLOOR], id="pipelined"),
    ],
)
def test_a_server_and_the_floors_are_timed(tmp_path: Path, name: str, expected: list[str]) -> None:
    on = bench(tmp_path, "mpserve", floors=True)
    timed.run(on, WORKLOADS[name], logged=False)

    assert expected == [row.server for row in on.results.timed], on.results.notes
    assert all(row.middle("processor_us") > 0.1 for row in on.results.timed)


@pytest.mark.slow
def test_a_server_that_answers_otherwise_is_left_out_with_a_note(tmp_path: Path) -> None:
    on = bench(tmp_path, "mpserve")
    other = Workload("other", "other", lambda: [Ask("/hot.html", b"something else")])
    timed.run(on, other, logged=False)

    assert [] == on.results.timed
    assert ["mpserve is left out of other"] == [n.partition(":")[0] for n in on.results.notes]


@pytest.mark.slow
@needs_compiler
@pytest.mark.parametrize("size", [10, 1_000_000])
def test_the_floor_answers_with_the_octets_it_was_given(tmp_path: Path, size: int) -> None:
    answer = answer_of(size)

    assert answer.octets == asked(compiled(tmp_path), answer).octets


@pytest.mark.slow
@pytest.mark.parametrize("size", [10, 60_000])
def test_so_does_the_one_in_python(tmp_path: Path, size: int) -> None:
    answer = answer_of(size)

    assert answer.octets == asked(floor.in_python(sys.executable, tmp_path), answer).octets


@pytest.mark.parametrize(
    ("size", "closing", "expected"),
    [(10, False, True), (10, True, False), (1_000_000, False, False)],
)
def test_the_one_in_python_stands_for_small_answers_on_connections_that_stay(
    tmp_path: Path, size: int, closing: bool, expected: bool
) -> None:
    program = floor.in_python(sys.executable, tmp_path)

    assert expected == program.can_stand_for(answer_of(size), closing=closing)


def answer_of(size: int) -> wire.Answer:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size
    return wire.Answer(200, {}, b"x" * size, head)


def asked(program: floor.Program, answer: wire.Answer) -> wire.Answer:
    """What the floor gives three times to one client, and once to another."""
    workload = Workload("floor", "floor", lambda: [Ask("/", answer.content)], depth=3)
    with floor.start(program, answer, closing=False, cpus=None) as running:
        for _ in range(2):
            _, given = wire.verify(running.host, running.port, workload)
    return given


@pytest.mark.parametrize(
    ("tries", "expected"),
    [
        pytest.param([(FAR, FAR, 0.0), (NEAR, NEAR, 0.0)], 2.0, id="until they are near"),
        pytest.param([(NEAR, FAR, 0.0), (NEAR, NEAR, 0.0)], 2.0, id="and still are after it"),
        pytest.param([(FAR, FAR, 0.0), (FAR, FAR, 0.0)], 1.0, id="not for ever"),
        pytest.param([(NEAR, NEAR, 0.5), (NEAR, NEAR, 0.2)], 2.0, id="until nobody else works"),
        pytest.param([(NEAR, NEAR, 0.5), (FAR, NEAR, 0.0)], 1.0, id="to lie near is worth more"),
    ],
)
def test_a_disturbed_measurement_is_taken_again(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    tries: list[tuple[float, float, float]],
    expected: float,
) -> None:
    on = bench(tmp_path)
    on.retakes = 1
    on.distance = Distance(Processors(frozenset({0}), frozenset({1})), 0.0, least=NEAR)
    taken = [
        replace(sample(number + 1.0), waited_share=waited)
        for number, (_, _, waited) in enumerate(tries)
    ]
    monkeypatch.setattr(timed, "measure", lambda *_: taken.pop(0))
    trips = [trip for before, after, _ in tries for trip in (before, after)]
    monkeypatch.setattr(distance, "round_trip", lambda *_: trips.pop(0))
    given = timed.Agreed([b""], answer_of(1200))
    monkeypatch.setattr(timed, "check_octets", lambda *_: None)

    counted = timed.attempt(
        on,
        WORKLOADS["hot"],
        given,
        "nginx",
        nullcontext,  # type: ignore[arg-type]  # nobody looks at what is started
    )

    assert counted is not None
    assert expected == counted.processor_us

"""Rounds are interleaved, and a measurement that cannot be trusted says so."""

from __future__ import annotations

import shutil
import sys
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest

from loadtests.benchmark import client, distance, floor, saturate, timed, wire
from loadtests.benchmark.client import ClientError
from loadtests.benchmark.distance import Distance
from loadtests.benchmark.machine import Processors
from loadtests.benchmark.results import CLIENTS, FLOOR, PYTHON_FLOOR, SATURATE, WRK, Sample
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
def test_a_server_and_the_floors_are_timed_by_both_clients(
    tmp_path: Path, name: str, expected: list[str]
) -> None:
    on = bench(tmp_path, "mpserve", floors=True)
    quick = saturate.compile_into(on.home)
    assert quick is not None
    on.clients = (client.WRK, quick)
    timed.run(on, WORKLOADS[name], logged=False)

    rows = [(row.client, row.server) for row in on.results.timed]
    assert [(by, server) for by in CLIENTS for server in expected] == rows, on.results.notes
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
    on = bench_between(tmp_path, client.WRK)
    taken = [
        replace(sample(number + 1.0), waited_share=waited)
        for number, (_, _, waited) in enumerate(tries)
    ]
    trips = [trip for before, after, _ in tries for trip in (before, after)]
    measured = attempted(on, monkeypatch, {WRK: taken}, trips)

    assert {WRK: expected} == measured
    assert [] == trips


# What each of the two measures in turn: (processor time, share of waiting); and where the processors lay.
DISTURBED, FINE = 0.5, 0.0


@pytest.mark.parametrize(
    ("by_wrk", "by_saturate", "trips", "expected"),
    [
        pytest.param([(1.0, FINE)], [(5.0, FINE)], [NEAR] * 4, (1.0, 5.0), id="both are good"),
        pytest.param(
            [(1.0, FINE)],
            [(5.0, DISTURBED), (6.0, FINE)],
            [NEAR] * 6,
            (1.0, 6.0),
            id="wrk's is good and stays",
        ),
        pytest.param(
            [(1.0, DISTURBED), (2.0, FINE)],
            [(5.0, FINE)],
            [NEAR] * 6,
            (2.0, 5.0),
            id="saturate's is good and stays",
        ),
        pytest.param(
            [(1.0, FINE), (2.0, FINE)],
            [(5.0, FINE)],
            [NEAR, FAR, NEAR, NEAR, NEAR, NEAR],
            (2.0, 5.0),
            id="each has the way before and after it",
        ),
        pytest.param(
            [(1.0, FINE)],
            [(5.0, FINE), (6.0, FINE)],
            [NEAR, NEAR, NEAR, FAR, NEAR, FAR],
            (1.0, 5.0),
            id="of two that are bad the first",
        ),
    ],
)
def test_the_measurements_of_two_clients_are_judged_each_on_its_own(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    by_wrk: list[tuple[float, float]],
    by_saturate: list[tuple[float, float]],
    trips: list[float],
    expected: tuple[float, float],
) -> None:
    on = bench_between(tmp_path, client.WRK, QUICK)
    taken = {
        by: [replace(sample(us), waited_share=waited) for us, waited in tries]
        for by, tries in ((WRK, by_wrk), (SATURATE, by_saturate))
    }
    started: list[str] = []
    measured = attempted(on, monkeypatch, taken, trips, started)

    assert max(len(by_wrk), len(by_saturate)) == len(started)
    assert dict(zip(CLIENTS, expected, strict=True)) == measured
    assert ([], {WRK: [], SATURATE: []}) == (trips, taken)


def test_what_one_client_cannot_measure_the_other_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on = bench_between(tmp_path, client.WRK, QUICK)
    on.retakes = 0
    measured = attempted(on, monkeypatch, {WRK: [sample(1.0)], SATURATE: []}, [NEAR] * 4)

    assert {WRK: 1.0} == measured
    assert ["a round of nginx in hot by saturate does not count: it failed"] == on.results.notes


QUICK = client.Client(SATURATE, lambda *_: [])


def bench_between(tmp_path: Path, *clients: client.Client) -> timed.Bench:
    """A bench of two processors on which a measurement may be taken twice."""
    on = bench(tmp_path)
    on.retakes = 1
    on.distance = Distance(Processors(frozenset({0}), frozenset({1})), 0.0, least=NEAR)
    on.clients = clients
    return on


def attempted(
    on: timed.Bench,
    monkeypatch: pytest.MonkeyPatch,
    taken: dict[str, list[Sample]],
    trips: list[float],
    started: list[str] | None = None,
) -> dict[str, float]:
    """Processor time in what counts by each client, where they measure what was `taken`, one after the other."""
    starts = [] if started is None else started

    def measure_warm(*arguments: object) -> Sample:
        by = arguments[-1]
        assert isinstance(by, client.Client)
        if not taken[by.name]:
            raise ClientError("it failed")
        return taken[by.name].pop(0)

    monkeypatch.setattr(timed, "warm_up", lambda *_: starts.append("nginx"))
    monkeypatch.setattr(timed, "measure_warm", measure_warm)
    monkeypatch.setattr(timed, "check_octets", lambda *_: None)
    monkeypatch.setattr(distance, "round_trip", lambda *_: trips.pop(0))
    counting = timed.attempt(
        on,
        WORKLOADS["hot"],
        timed.Agreed([b""], answer_of(1200)),
        "nginx",
        nullcontext,  # type: ignore[arg-type]  # nobody looks at what is started
    )
    return {by: each.processor_us for by, each in counting.items()}

"""Rounds are interleaved, and a measurement that cannot be trusted says so."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from loadtests.benchmark import floor, timed, wire
from loadtests.benchmark.client import ClientError
from loadtests.benchmark.machine import processors
from loadtests.benchmark.results import Results
from loadtests.benchmark.timed import Bench
from loadtests.benchmark.workloads import WORKLOADS, Ask, Workload
from tests.benchmark.examples import sample

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


def bench(tmp_path: Path, *servers: str, compiled: bool = False) -> Bench:
    """A bench with a small tree, for measurements of one second."""
    root, home = tmp_path / "root", tmp_path / "home"
    root.mkdir()
    home.mkdir()
    content = WORKLOADS["hot"].asks()[0].content
    assert content is not None
    (root / "hot.html").write_bytes(content)
    return Bench(
        root=root,
        home=home,
        servers=servers,
        processors=processors(),
        connections=4,
        rounds=1,
        seconds=1,
        warm_up=1,
        retakes=0,
        results=Results("", {}, {}, {}),
        say=lambda _: None,
        floor_program=floor.compile_into(home) if compiled else None,
    )


@pytest.mark.slow
@needs_wrk
@needs_compiler
@pytest.mark.parametrize("name", ["close", "pipelined"])
def test_a_server_and_the_floor_are_timed(tmp_path: Path, name: str) -> None:
    on = bench(tmp_path, "mpserve", compiled=True)
    timed.run(on, WORKLOADS[name], logged=False)

    assert ["mpserve", "floor"] == [row.server for row in on.results.timed], on.results.notes
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
    program = floor.compile_into(tmp_path)
    assert program is not None
    content = b"x" * size
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size
    answer = wire.Answer(200, {}, content, head)
    asked = Workload("floor", "floor", lambda: [Ask("/", content)], depth=3)
    with floor.start(program, answer, closing=False, cpus=None) as running:
        _, given = wire.verify(running.host, running.port, asked)

    assert answer.octets == given.octets

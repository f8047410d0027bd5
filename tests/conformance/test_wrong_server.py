"""The suite can fail: each case passes with a right server, and fails with each that violates it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.conformance.case import Case, Level, Outcome, cases
from tests.conformance.command import run
from tests.conformance.target import Facts, Target
from tests.conformance.wrong_server import Fault, WrongServer
from tests.harness import corpus

CASES = cases()
MET = Outcome.MET
HASTE = 0.1  # seconds, where a wrong server may never answer
PATIENCE = 2.0


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("corpus")
    corpus.make(path, load=False)
    return path


@pytest.fixture(scope="module")
def right_server(root: Path) -> Iterator[WrongServer]:
    with WrongServer(root) as server:
        yield server


@pytest.fixture(scope="module")
def facts(right_server: WrongServer) -> Facts:
    return Target("127.0.0.1", right_server.port).facts


@pytest.mark.slow
def test_every_case_is_met_by_a_right_server(right_server: WrongServer, root: Path) -> None:
    target = Target("127.0.0.1", right_server.port, root, timeout=20.0, strict_static=True)
    results = run(target, CASES)

    assert [f"{each.case}: {each.why}" for each in results if each.outcome is not MET] == []


@pytest.mark.parametrize(
    ("case", "fault"),
    [
        pytest.param(case, fault, id=f"{case}, as it {fault}")
        for case in CASES
        for fault in case.violated_by
    ],
)
def test_a_case_is_not_met_by_a_wrong_server(
    case: Case, fault: Fault, root: Path, facts: Facts
) -> None:
    with WrongServer(root, fault) as server:
        target = Target("127.0.0.1", server.port, root, HASTE, known_facts=facts)
        result = case.run(target)
        if result.outcome is Outcome.NOT_APPLICABLE:  # it is asked of strict servers only
            target = replace(target, strict_static=True)
            result = case.run(target)
        if (
            result.outcome is Outcome.MET
        ):  # an answer that comes late, on a busy machine, may pass for none
            result = case.run(replace(target, timeout=PATIENCE))

    assert result.outcome == Outcome.UNMET


def test_the_cases_are_many_and_their_names_distinct() -> None:
    assert len({str(case) for case in CASES}) == len(CASES) >= 250


def test_a_case_quotes_what_it_requires() -> None:
    words = {case.requirement for case in CASES if case.section != "practice"}
    quoted = re.compile(r'"[^"]{12,}| = ', re.DOTALL)

    assert [each for each in words if not quoted.search(each)] == []


def test_both_levels_are_used() -> None:
    assert {case.level for case in CASES} == set(Level)

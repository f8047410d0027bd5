"""mpserve meets every case: one by one with one worker, many at a time with three."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conformance.case import Case, Outcome, Result, cases
from tests.conformance.command import run
from tests.conformance.target import Target
from tests.harness import corpus
from tests.harness.server import Server

# Why a case may not apply to mpserve; anything else that does not apply is a failure.
CHOICES = {"the server does not compress"}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("corpus")
    corpus.make(path, load=False)
    return path


@contextmanager
def mpserve(root: Path, workers: int) -> Iterator[Target]:
    with Server(root, "--workers", str(workers), "--access-log", "off") as server:
        yield Target("127.0.0.1", server.port, root, timeout=20.0, strict_static=True)


@pytest.fixture(scope="module")
def one_worker(root: Path) -> Iterator[Target]:
    with mpserve(root, 1) as target:
        yield target


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, id=str(case), marks=getattr(pytest.mark, case.level.name.lower()))
        for case in cases()
    ],
)
def test_mpserve_meets(case: Case, one_worker: Target) -> None:
    result = case.run(one_worker)
    if is_choice(result):
        pytest.skip(result.why)

    assert (result.outcome, result.why) == (Outcome.MET, "")


@pytest.mark.slow
def test_three_workers_meet_every_case(root: Path) -> None:
    with mpserve(root, 3) as target:
        results = run(target, cases())

    others = [each for each in results if each.outcome is not Outcome.MET and not is_choice(each)]
    assert [f"{each.case}: {each.why}" for each in others] == []


def is_choice(result: Result) -> bool:
    return result.outcome is Outcome.NOT_APPLICABLE and result.why in CHOICES

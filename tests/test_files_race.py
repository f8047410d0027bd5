"""Lookups while links out of the root take the place of what is looked up. `./scripts/fuzz --races` takes longer."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mpserve import linux
from mpserve.config import Symlinks
from mpserve.protocol.representation import Outcome
from tests.fuzz.races import (
    AT_ONCE,
    INSIDE,
    SECRET,
    SLOWLY,
    WAYS,
    Answers,
    Way,
    ask_until,
    look_up_until,
    racing,
)

pytestmark = pytest.mark.slow

LONG_ENOUGH = 1.0  # seconds of lookups
TOO_LONG = 20.0  # seconds to wait for what is bound to happen


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    with racing(tmp_path) as root:
        yield root


class Enough:
    """Whether something came from outside; or both the file and its absence were seen, for long enough."""

    def __init__(self) -> None:
        self.begun = time.monotonic()

    def __call__(self, answers: Answers) -> bool:
        lasted = time.monotonic() - self.begun
        both_sides = INSIDE in answers and Outcome.MISSING in answers
        return SECRET in answers or (both_sides and lasted > LONG_ENOUGH) or lasted > TOO_LONG


@pytest.mark.parametrize("way", WAYS, ids=[way.name for way in WAYS])
def test_not_one_byte_comes_from_outside(root: Path, way: Way) -> None:
    if way.kernel and not linux.have_openat2():
        pytest.skip("openat2 cannot be used here")
    answers = look_up_until(Enough(), root, way)

    assert set(answers) == {INSIDE, Outcome.MISSING}


def test_nor_does_a_server_send_one(root: Path) -> None:
    answers = ask_until(Enough(), root)

    assert set(answers) - {Outcome.FORBIDDEN} == {INSIDE, Outcome.MISSING}


def test_the_outside_can_be_reached_in_such_a_race(root: Path) -> None:
    anyway = Way("anywhere", True, Symlinks.ANY, AT_ONCE + SLOWLY)
    end = time.monotonic() + TOO_LONG
    answers = look_up_until(lambda seen: SECRET in seen or time.monotonic() > end, root, anyway)

    assert SECRET in answers

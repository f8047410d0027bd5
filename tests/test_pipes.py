"""How the processes hear of each other."""

from __future__ import annotations

import os
import select
from collections.abc import Iterator

import pytest

from mpserve.pipes import Pipes


@pytest.fixture
def pipes() -> Iterator[Pipes]:
    pipes = Pipes()
    yield pipes
    pipes.close()


def test_words_come_with_who_said_them(pipes: Pipes) -> None:
    pipes.tell(1)
    pipes.tell(4)

    assert [(1, os.getpid()), (4, os.getpid())] == list(pipes.heard())
    assert [] == list(pipes.heard())


def test_who_has_listened_is_awake(pipes: Pipes) -> None:
    os.write(pipes.wakeup[1], b"\x01")
    list(pipes.heard())

    assert ([], [], []) == select.select([pipes.wakeup[0]], [], [], 0)


def test_copies_say_and_hear_the_same(pipes: Pipes) -> None:
    copies = Pipes.adopt(pipes.words, pipes.life)
    pipes.tell(1)
    heard = list(copies.heard())
    copies.close()

    assert [(1, os.getpid())] == heard
    assert not select.select([pipes.life[0]], [], [], 0)[0]  # nobody has died

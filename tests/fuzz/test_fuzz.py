"""A few seconds of it, and that it would find something."""

from __future__ import annotations

import random

import pytest

from tests.fuzz import mutate
from tests.fuzz.__main__ import fuzz
from tests.fuzz.campaign import statuses
from tests.harness.reader import Faulty

HEAD = b"HTTP/1.1 200 OK\r\nDate: Sun, 09 Sep 2001 01:46:40 GMT\r\nContent-Length: 6\r\n\r\n"


@pytest.mark.slow
def test_nothing_is_found_in_some_seconds() -> None:
    campaign = fuzz(4.0, seed=1)

    assert [] == campaign.findings
    assert campaign.statuses.total() > 0


def test_a_case_is_the_same_for_the_same_numbers() -> None:
    requests = mutate.corpus()
    first, second = ([mutate.case(7, number, requests) for number in range(200)] for _ in range(2))

    assert first == second
    assert len(set(first)) > 150


def test_every_mutation_is_used_and_changes_something() -> None:
    dice = random.Random(1)  # to be repeated, not to be secret
    request = b"GET /hello.txt HTTP/1.1\r\nHost: x\r\n\r\n"

    for mutation in mutate.MUTATIONS:
        assert {mutation(dice, request) for _ in range(20)} - {request}


def test_answers_are_told_apart() -> None:
    heard = HEAD + HEAD + b"hello\n" + HEAD

    assert [200, 200, 200] == statuses(b"HEAD GET HEAD", heard)


@pytest.mark.parametrize(
    "heard",
    [
        pytest.param(HEAD + b"hel", id="cut off"),
        pytest.param(HEAD + b"hello\nmore", id="too much"),
        pytest.param(HEAD, id="no content, though nobody asked by HEAD"),
        pytest.param(HEAD[:40], id="half a head"),
        pytest.param(HEAD.replace(b"\r\n", b"\n") + b"hello\n", id="bare LF"),
    ],
)
def test_what_is_no_answer_is_found(heard: bytes) -> None:
    with pytest.raises(Faulty):
        statuses(b"GET", heard)

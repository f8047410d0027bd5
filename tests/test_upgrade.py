"""What an image of the master leaves to the next one."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from mpserve.upgrade import VERSION, State, descriptors, refusal


def worker(pid: int, board: int, end: int) -> dict[str, Any]:
    return {"pid": pid, "board": board, "end": end}


def told() -> dict[str, Any]:
    return {
        "version": VERSION,
        "generation": 3,
        "life": [1, 2],
        "words": [3, 4],
        "relay": [5, 6],
        "listeners": [{"fds": [7, 8]}],
        "admin": {"listeners": [{"fds": [9]}], "clients": [{"fd": 10}]},
        "workers": [worker(100, 11, 12), worker(101, 11, 13)],
        "gone": [],
        "pid_file": None,
        "error_log": 14,
    }


@pytest.fixture
def leave() -> Iterator[Any]:
    """Leave something, as an image does that is about to be replaced."""
    with ExitStack() as stack:

        def left(what: dict[str, Any]) -> int:
            fd = os.memfd_create("state")
            stack.callback(os.close, fd)
            os.write(fd, json.dumps(what).encode())
            return fd

        yield left


def test_every_descriptor_goes_along() -> None:
    assert set(range(1, 15)) == set(descriptors(told()))


def test_a_server_without_an_admin_address_leaves_none() -> None:
    assert {9, 10}.isdisjoint(descriptors({**told(), "admin": None}))


def test_the_dead_are_told_to_nobody_but_what_they_counted_is(leave: Any) -> None:
    fd = leave(told())
    State(fd).bury([100, 4711])
    state = State(fd)

    assert [101] == [each["pid"] for each in state.told["workers"]]
    assert [100] == [each["pid"] for each in state.told["gone"]]
    assert set(range(1, 15)) == set(descriptors(state.told))


def test_what_another_version_left_is_not_guessed_at(leave: Any) -> None:
    with pytest.raises(ValueError, match=f"version 1, not {VERSION}"):
        State(leave({**told(), "version": 1})).check()


def test_a_version_says_beforehand_whom_it_can_follow() -> None:
    assert ["", ""] == [refusal({}), refusal({"_MPSERVE_UPGRADE_FROM": str(VERSION)})]
    assert "restart" in refusal({"_MPSERVE_UPGRADE_FROM": "99"})

"""The load names what becomes of its requests."""

from __future__ import annotations

import socket
import time

import pytest

from loadtests.reliability import client
from loadtests.reliability.client import fault_of, whole
from loadtests.reliability.counts import Loss
from tests.reliability.servers import (
    ANSWER,
    CONTENT,
    HEAD,
    LAST_ANSWER,
    Conduct,
    load_of,
    reset,
    serving,
)


def answer(sock: socket.socket) -> None:
    sock.recv(4096)
    sock.sendall(LAST_ANSWER)


def reset_after_request(sock: socket.socket) -> None:
    sock.recv(4096)
    reset(sock)


def end_after_request(sock: socket.socket) -> None:
    sock.recv(4096)


def cut_off(sock: socket.socket) -> None:
    sock.recv(4096)
    sock.sendall(LAST_ANSWER[:-1])


def refuse_to_find(sock: socket.socket) -> None:
    sock.recv(4096)
    sock.sendall(LAST_ANSWER.replace(b"200 OK", b"404 Not Found"))


def send_other_content(sock: socket.socket) -> None:
    sock.recv(4096)
    sock.sendall(HEAD % (len(CONTENT), b"") + CONTENT.upper())


def send_more(sock: socket.socket) -> None:
    sock.recv(4096)
    sock.sendall(LAST_ANSWER + b"more")


def break_framing(sock: socket.socket) -> None:
    sock.recv(4096)
    sock.sendall(LAST_ANSWER.replace(b"Date", b"Da te"))


@pytest.mark.parametrize(
    ("conduct", "kind"),
    [
        (reset_after_request, Loss.AFTER),
        (end_after_request, Loss.AFTER),
        (cut_off, Loss.AFTER),
        (refuse_to_find, Loss.WRONG),
        (send_other_content, Loss.WRONG),
        (send_more, Loss.WRONG),
        (break_framing, Loss.WRONG),
    ],
)
def test_a_fresh_connection_without_its_answer_is_lost(conduct: Conduct, kind: Loss) -> None:
    with serving(conduct) as address:
        counts = load_of(address)

    assert (counts.fresh, counts.answered, dict(counts.losses)) == (1, 0, {kind.value: 1})


def test_right_answers_are_counted_and_timed() -> None:
    with serving(answer) as address:
        counts = load_of(address, fresh=20)

    assert (counts.fresh, counts.answered, dict(counts.losses)) == (20, 20, {})
    # The hesitant ones waited of their own will.
    assert len(counts.took) == 20 - 20 // client.HESITANT


def test_a_hesitant_connection_that_is_reset_was_lost_before_its_request() -> None:
    with serving(reset) as address:
        counts = load_of(address, fresh=client.HESITANT)

    assert counts.losses[Loss.BEFORE.value] >= 1
    assert sum(counts.losses.values()) == client.HESITANT


def free_address() -> tuple[str, int]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address: tuple[str, int] = listener.getsockname()
        return address


def test_where_nobody_listens_connections_are_refused() -> None:
    counts = load_of(free_address(), fresh=3, reused=2)

    assert set(counts.losses) == {Loss.REFUSED.value}
    assert counts.losses[Loss.REFUSED.value] >= 3


def test_a_server_that_was_told_to_end_may_refuse() -> None:
    counts = load_of(free_address(), fresh=3, stopping=True)

    assert (dict(counts.losses), counts.turned_away, counts.fresh) == ({}, 1, 0)


def test_what_is_lost_on_a_reused_connection_is_told_apart() -> None:
    def answer_once(sock: socket.socket) -> None:
        if b"Connection: close" in sock.recv(4096):
            sock.sendall(LAST_ANSWER)
            return
        sock.sendall(ANSWER)
        sock.recv(4096)
        reset(sock)

    with serving(answer_once) as address:
        counts = load_of(address, fresh=40, reused=1)

    assert counts.losses[Loss.REUSED.value] > 0
    assert counts.reused > counts.reused_answered


def test_an_announced_end_loses_nothing() -> None:
    with serving(answer) as address:
        counts = load_of(address, fresh=10, reused=2)

    assert (dict(counts.losses), counts.idle_ends) == ({}, 0)


def test_an_end_while_nothing_is_asked_is_seen_before_the_next_request(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def answer_and_end(sock: socket.socket) -> None:
        sock.recv(4096)
        sock.sendall(ANSWER)

    monkeypatch.setattr(client, "PAUSE", (0.05, 0.06))
    with serving(answer_and_end) as address:
        counts = load_of(address, fresh=40, reused=1)

    assert dict(counts.losses) == {}
    assert counts.idle_ends > 0


def test_silence_is_a_time_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def say_nothing(sock: socket.socket) -> None:
        sock.recv(4096)
        sock.recv(4096)  # until the other end gives up

    monkeypatch.setattr(client, "TIMEOUT", 0.05)
    monkeypatch.setattr(client, "LOOK", 0.02)
    with serving(say_nothing) as address:
        began = time.monotonic()
        counts = load_of(address)

    assert dict(counts.losses) == {Loss.TIMED_OUT.value: 1}
    assert time.monotonic() - began >= 0.05


def test_an_answer_is_whole_with_its_last_octet() -> None:
    assert [whole(ANSWER[:end]) for end in range(len(ANSWER) + 1)] == [
        *[False] * len(ANSWER),
        True,
    ]


def test_the_strict_reader_judges_heads() -> None:
    head = HEAD % (len(CONTENT), b"")

    assert fault_of(head, CONTENT) == ""
    assert fault_of(head.replace(b"200 OK", b"500 No"), CONTENT) == "status 500"
    assert fault_of(head.replace(b"\r\nDate", b"\nDate"), CONTENT) != ""

"""The kernel's word about who has connected and is not shown to us yet."""

from __future__ import annotations

import errno
import select
import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from mpserve import lastcall
from mpserve.config import Address
from mpserve.lastcall import LastCall, half_open, line_to_the_kernel, messages
from mpserve.listeners import Listener, listen


@pytest.fixture(params=["127.0.0.1", "::1", ""])
def listener(request: pytest.FixtureRequest) -> Iterator[Listener]:
    """A listener with two sockets; at every address, it takes both families."""
    (made,) = listen((Address(request.param, 0),), 2, 64)
    with closing(made):
        yield made


@pytest.fixture
def call(listener: Listener) -> Iterator[LastCall]:
    with closing(LastCall(listener.sockets)) as call:
        yield call


def connect(listener: Listener) -> socket.socket:
    name = listener.sockets[0].getsockname()
    return socket.create_connection(("localhost" if name[0] == "::" else name[0], name[1]))


def test_who_connects_is_awaited_until_he_asks(listener: Listener, call: LastCall) -> None:
    nobody = call.is_awaited()
    with connect(listener) as client:
        somebody = call.is_awaited()
        client.sendall(b"GET")
        select.select(listener.sockets, [], [], 10)
        shown = call.is_awaited()

    assert (nobody, somebody, shown) == (False, True, False)


def test_at_every_address_clients_of_either_family_are_awaited() -> None:
    (made,) = listen((Address("", 0),), 1, 64)
    port = made.sockets[0].getsockname()[1]
    seen = []
    with closing(made), closing(LastCall(made.sockets)) as call:
        for host in ("127.0.0.1", "::1"):
            with socket.create_connection((host, port)) as client:
                seen.append(call.is_awaited())
                client.sendall(b"GET")
                select.select(made.sockets, [], [], 10)
                with closing(made.sockets[0].accept()[0]):
                    seen.append(call.is_awaited())

    assert [True, False] * 2 == seen


def test_who_connects_to_another_is_not_awaited(listener: Listener, call: LastCall) -> None:
    assert listener.address is not None
    (other,) = listen((listener.address,), 1, 64)  # at another port
    with closing(other), connect(other), closing(LastCall(other.sockets)) as theirs:
        assert (call.is_awaited(), theirs.is_awaited()) == (False, True)


def test_who_connects_to_a_second_port_of_ours_is_awaited() -> None:
    first, second = listen((Address("127.0.0.1", 0), Address("127.0.0.1", 0)), 1, 64)
    sockets = (*first.sockets, *second.sockets)
    with closing(first), closing(second), closing(LastCall(sockets)) as call:
        for listener in (first, second):
            with connect(listener):
                assert call.is_awaited()


def test_an_answer_of_many_messages_is_read_to_its_end() -> None:
    ports = set()
    with ExitStack() as open_now, line_to_the_kernel() as kernel:
        for _ in range(4):
            (made,) = listen((Address("127.0.0.1", 0),), 1, 1024)
            open_now.callback(made.close)
            ports.add(made.sockets[0].getsockname()[1])
            for _ in range(200):
                open_now.enter_context(connect(made))

        assert ports <= half_open(kernel, socket.AF_INET)


def test_messages_are_told_apart_by_their_lengths_in_whole_words() -> None:
    octets = b"".join(
        lastcall.HEADER.pack(lastcall.HEADER.size + len(body), kind, 0, 0, 0)
        + body
        + bytes(-len(body) % 4)
        for kind, body in ((20, b"abcde"), (20, b"abcd"), (3, b""))
    )

    assert [(20, b"abcde"), (20, b"abcd"), (3, b"")] == list(messages(octets))


def test_nobody_is_awaited_at_a_unix_socket(tmp_path: Path) -> None:
    (made,) = listen((Address(path=str(tmp_path / "socket")),), 2, 64)
    with closing(made), closing(LastCall(made.sockets)) as call:
        assert not call.is_awaited()


def test_who_may_not_ask_awaits_somebody(
    listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused() -> socket.socket:
        raise OSError(errno.EAFNOSUPPORT, "as RestrictAddressFamilies= of systemd has it")

    monkeypatch.setattr(lastcall, "line_to_the_kernel", refused)
    with closing(LastCall(listener.sockets)) as call:
        blind = call.is_awaited()

    assert (blind, call.is_awaited()) == (True, False)


def test_who_is_told_nothing_awaits_somebody(
    call: LastCall, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A kernel without tcp_diag says so: NLMSG_ERROR, with ENOENT.
    monkeypatch.setattr(lastcall, "SOCK_DIAG_BY_FAMILY", 0x7FFF)
    untold = call.is_awaited()
    monkeypatch.undo()

    assert (untold, call.is_awaited()) == (True, True)

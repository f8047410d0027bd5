"""Listening sockets, on loopback and in temporary directories."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mpserve import listeners as room
from mpserve.config import Address, ConfigError
from mpserve.listeners import NOTSENT_LOWAT, Listener, listen, listen_on, peer_of

Listen = Callable[..., list[Listener]]


@pytest.fixture
def listening() -> Iterator[Listen]:
    made: list[Listener] = []

    def open_(*addresses: Address, slots: int = 1, backlog: int = 16) -> list[Listener]:
        listeners = listen(addresses, slots, backlog)
        made.extend(listeners)
        return listeners

    yield open_
    for listener in made:
        listener.close()
        listener.unlink()


def tcp(host: str = "127.0.0.1", port: int = 0) -> Address:
    return Address(host=host, port=port, path=None)


def unix(path: Path) -> Address:
    return Address(host=None, port=None, path=str(path))


def port_of(listener: Listener) -> int:
    port: int = listener.sockets[0].getsockname()[1]
    return port


def test_port_0_becomes_one_free_port_for_all_slots(listening: Listen) -> None:
    (listener,) = listening(tcp(), slots=3)
    names = {sock.getsockname() for sock in listener.sockets}

    assert (3, 1) == (len(listener.sockets), len(names))
    assert listener.url == f"http://127.0.0.1:{port_of(listener)}/"


def test_connections_are_spread_over_the_slots(listening: Listen) -> None:
    (listener,) = listening(tcp(), slots=2, backlog=128)
    clients = [connected(listener.sockets[0].getsockname()) for _ in range(64)]
    counts = [accept_all(sock) for sock in listener.sockets]
    for client in clients:
        client.close()

    assert sum(counts) == 64
    assert min(counts) > 0


def connected(name: tuple[str, int]) -> socket.socket:
    """A client that has sent something: before that, a connection is not given to the server."""
    client = socket.create_connection(name)
    client.sendall(b"GET")
    return client


def accept_all(sock: socket.socket) -> int:
    count = 0
    while True:
        try:
            accepted, _ = sock.accept()
        except BlockingIOError:
            return count
        accepted.close()
        count += 1


def test_accepted_sockets_inherit_the_options(listening: Listen) -> None:
    (listener,) = listening(tcp())
    with connected(listener.sockets[0].getsockname()):
        accepted, _ = listener.sockets[0].accept()
    with accepted:
        options = (
            accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY),
            accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT),
            accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE),
        )

    assert (1, NOTSENT_LOWAT, 1) == options


@pytest.mark.parametrize("address", [tcp(), tcp(host="")], ids=["one host", "every host"])
def test_whoever_comes_is_turned_away_and_who_has_come_is_not(
    listening: Listen, address: Address
) -> None:
    (listener,) = listening(address, slots=3)
    with contextlib.ExitStack() as stack:
        clients = [
            stack.enter_context(socket.create_connection(("127.0.0.1", port_of(listener))))
            for _ in range(20)
        ]
        # The kernel shows a connection when there is something to read: these it has not shown yet.
        for client in clients[:10]:
            client.sendall(b"x")
        listener.turn_away()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port_of(listener)))
        for client in clients[10:]:
            client.sendall(b"x")
        for sock in [sock for each in listener.sockets for sock in waiting_in(each)]:
            sock.sendall(b"welcome")
            sock.close()
        listener.close()

        assert [client.recv(7) for client in clients] == [b"welcome"] * 20


def waiting_in(sock: socket.socket) -> Iterator[socket.socket]:
    with contextlib.suppress(BlockingIOError):
        while True:
            yield sock.accept()[0]


def test_nobody_is_turned_away_from_a_socket_that_somebody_else_keeps() -> None:
    with socket.create_server(("127.0.0.1", 0)) as kept:
        listen_on(kept).turn_away()

        socket.create_connection(kept.getsockname()).close()


def test_a_second_server_on_the_same_address_is_refused(listening: Listen) -> None:
    (listener,) = listening(tcp())
    address = tcp(port=port_of(listener))

    with pytest.raises(ConfigError, match=rf"--bind 127.0.0.1:{address.port}: .*in use"):
        listening(address)


def test_what_was_bound_before_a_failure_is_given_back(listening: Listen, tmp_path: Path) -> None:
    (taken,) = listening(tcp())
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        port = reserved.getsockname()[1]
    with pytest.raises(ConfigError):
        listening(tcp(port=port), unix(tmp_path / "s"), tcp(port=port_of(taken)))

    assert [] == list(tmp_path.iterdir())
    with socket.socket() as again:
        again.bind(("127.0.0.1", port))


def test_every_address_means_ipv6_and_ipv4(listening: Listen) -> None:
    (listener,) = listening(tcp(host=""))
    port = port_of(listener)
    peers = []
    for host in ("127.0.0.1", "::1"):
        with connected((host, port)):
            accepted, address = listener.sockets[0].accept()
            accepted.close()
            peers.append(peer_of(address))

    assert [b"127.0.0.1", b"::1"] == peers
    assert listener.url == f"http://localhost:{port}/"


def test_an_ipv6_address_is_ipv6_only(listening: Listen) -> None:
    (listener,) = listening(tcp(host="::1"))

    assert listener.sockets[0].getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY) == 1
    assert listener.url == f"http://[::1]:{port_of(listener)}/"


def test_a_name_that_is_no_host_is_refused_with_its_flag() -> None:
    with pytest.raises(ConfigError, match=r"--bind no\.such\.invalid:80: "):
        listen((tcp(host="no.such.invalid", port=80),), 1, 1)


def test_a_unix_socket_is_one_for_all_slots_and_not_for_everybody(
    listening: Listen, tmp_path: Path
) -> None:
    path = tmp_path / "s"
    (listener,) = listening(unix(path), slots=4)

    assert listener.of_slot(3) is listener.of_slot(0)
    assert stat.S_IMODE(path.stat().st_mode) == 0o660
    assert listener.url == f"unix:{path}"


def test_a_dead_unix_socket_is_replaced(listening: Listen, tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    listening(unix(path))
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))

    assert ["s"] == os.listdir(tmp_path)


def test_a_live_unix_socket_is_refused(listening: Listen, tmp_path: Path) -> None:
    path = tmp_path / "s"
    listening(unix(path))

    with pytest.raises(ConfigError, match=r"--bind unix:.*in use"):
        listening(unix(path))


def test_a_live_socket_of_another_kind_is_not_taken_for_a_dead_one(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        other.bind(str(path))
        before = path.stat().st_ino
        with pytest.raises(ConfigError, match=r"--bind unix:.*wrong type"):
            listen((unix(path),), 1, 1)

    assert before == path.stat().st_ino


def test_a_host_name_is_served_by_the_families_that_are_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names = [
        (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("2001:db8::1", 0, 0, 0)),
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0)),
    ]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: names)
    (listener,) = listen((tcp(host="both.test"),), 1, 1)
    listener.close()

    assert listener.url.startswith("http://127.0.0.1:")


def test_without_ipv6_every_address_is_every_ipv4_address(
    listening: Listen, monkeypatch: pytest.MonkeyPatch
) -> None:
    def bound_without(
        family: int, name: tuple[object, ...], *, dual: bool, shared: bool
    ) -> socket.socket:
        if family == socket.AF_INET6:
            raise OSError(errno.EAFNOSUPPORT, os.strerror(errno.EAFNOSUPPORT))
        return bound(family, name, dual=dual, shared=shared)

    bound = room.bound
    monkeypatch.setattr(room, "bound", bound_without)
    (listener,) = listening(tcp(host=""), slots=2)

    assert {sock.getsockname()[0] for sock in listener.sockets} == {"0.0.0.0"}
    assert listener.url == f"http://localhost:{port_of(listener)}/"


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (errno.EADDRINUSE, "the address is in use (is another server running there?)"),
        (errno.EACCES, "no right to bind it (ports below 1024 need root or CAP_NET_BIND_SERVICE)"),
        (errno.EADDRNOTAVAIL, "Cannot assign requested address"),
    ],
)
def test_why_an_address_cannot_be_had(number: int, expected: str) -> None:
    assert room.reason(OSError(number, os.strerror(number))) == expected


def test_a_file_that_is_no_socket_is_not_touched(listening: Listen, tmp_path: Path) -> None:
    path = tmp_path / "s"
    path.write_text("mine")

    with pytest.raises(ConfigError, match="not a socket"):
        listening(unix(path))
    assert path.read_text() == "mine"


def test_a_directory_that_is_not_there_is_named(listening: Listen, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--bind unix:.*/none/s: No such file"):
        listening(unix(tmp_path / "none" / "s"))


def test_another_servers_socket_file_survives_our_end(listening: Listen, tmp_path: Path) -> None:
    path = tmp_path / "s"
    (old,) = listening(unix(path))
    old.close()
    (new,) = listening(unix(path))
    old.unlink()

    assert path.exists()
    new.unlink()
    new.unlink()
    assert not path.exists()


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        pytest.param(("127.0.0.1", 5), b"127.0.0.1", id="IPv4"),
        pytest.param(("::1", 5, 0, 0), b"::1", id="IPv6"),
        pytest.param(("::ffff:10.0.0.1", 5, 0, 0), b"10.0.0.1", id="IPv4 on a socket for both"),
        pytest.param("", b"unix:", id="Unix"),
    ],
)
def test_a_peer_is_shown_as_people_write_it(address: object, expected: bytes) -> None:
    assert expected == peer_of(address)

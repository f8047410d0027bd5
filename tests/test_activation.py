"""Listening sockets from the store, from a socket unit, and from bind."""

from __future__ import annotations

import dataclasses
import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from mpserve.activation import open_listeners
from mpserve.config import Address, Config, ConfigError, load
from mpserve.listeners import Listener, key_of, slot_name
from mpserve.notify import Notifier, Passed
from tests.harness.systemd import VALID_NAME, Systemd


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[Systemd]:
    with Systemd(tmp_path) as manager:
        yield manager


class Life:
    """What one master after the other does with the descriptors that systemd passes."""

    def __init__(self, systemd: Systemd, root: Path, stack: ExitStack) -> None:
        self.systemd = systemd
        self.stack = stack
        self.config = load(["--bind", "0", "--workers", "2", str(root)], {})
        self.notifier = Notifier.of({"NOTIFY_SOCKET": systemd.variable}, os.getpid())
        stack.callback(self.notifier.close)

    def begin(
        self, *bind: Address, workers: int = 2, passed: list[Passed] | None = None
    ) -> list[Listener]:
        """The listeners of a master that begins now, and what it was passed by the store."""
        config: Config = dataclasses.replace(self.config, bind=bind, workers=workers)
        stored = [Passed(name, os.dup(fd)) for name, fd in self.systemd.kept]
        listeners = open_listeners(config, [*stored, *(passed or [])], self.notifier)
        self.notifier.status("begun")
        self.systemd.wait_for("STATUS=begun")
        for listener in listeners:
            self.stack.callback(listener.unlink)
            self.stack.callback(listener.close)
        return listeners


@pytest.fixture
def life(systemd: Systemd, tmp_path: Path) -> Iterator[Life]:
    with ExitStack() as stack:
        yield Life(systemd, tmp_path, stack)


TCP = Address("127.0.0.1", 0)


def ports(listener: Listener) -> set[int]:
    return {sock.getsockname()[1] for sock in listener.sockets}


def same(one: socket.socket, other: socket.socket) -> bool:
    return os.path.sameopenfile(one.fileno(), other.fileno())


def test_every_socket_is_stored_under_a_name_that_systemd_takes(life: Life, tmp_path: Path) -> None:
    unix = Address(path=str(tmp_path / "ü:"))
    life.begin(TCP, Address("::1", 0), unix)
    names = [name for name, _ in life.systemd.kept]

    assert len(set(names)) == 5
    assert all(VALID_NAME.fullmatch(name) and name.startswith("mpserve/") for name in names)


def test_the_longest_path_still_has_a_name_that_systemd_takes() -> None:
    path = "/" + "ü" * 47
    name = slot_name(key_of("unix", path), 1023)

    assert VALID_NAME.fullmatch(name)
    assert name != slot_name(key_of("unix", path[:-1] + "x"), 1023)


def test_each_slot_gets_its_own_socket_back(life: Life) -> None:
    (first,) = life.begin(TCP)
    (second,) = life.begin(TCP)

    assert all(map(same, first.sockets, second.sockets))
    assert (second.url, len(life.systemd.kept)) == (first.url, 2)


def test_more_workers_add_slots_at_the_same_port(life: Life) -> None:
    (first,) = life.begin(TCP, workers=1)
    (second,) = life.begin(TCP, workers=3)

    assert same(first.sockets[0], second.sockets[0])
    assert (3, ports(first)) == (len(second.sockets), ports(second))
    assert len(life.systemd.kept) == 3


def test_fewer_workers_leave_no_socket_unwatched(life: Life) -> None:
    life.begin(TCP, workers=3)
    (second,) = life.begin(TCP, workers=1)

    assert len(second.sockets) == 3


def test_what_is_not_served_any_more_leaves_the_store(life: Life) -> None:
    life.begin(TCP, Address("::1", 0))
    life.begin(TCP)

    assert [name.rpartition("/")[0] for name, _ in life.systemd.kept] == ["mpserve/127.0.0.1/0"] * 2


def test_a_unix_socket_comes_back_while_its_file_is_there(life: Life, tmp_path: Path) -> None:
    address = Address(path=str(tmp_path / "socket"))
    (first,) = life.begin(address)
    (second,) = life.begin(address)

    assert same(first.sockets[0], second.sockets[0])
    assert second.inode == os.stat(tmp_path / "socket").st_ino


def test_a_unix_socket_whose_file_is_gone_is_made_anew(life: Life, tmp_path: Path) -> None:
    address = Address(path=str(tmp_path / "socket"))
    (first,) = life.begin(address)
    first.unlink()
    (second,) = life.begin(address)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(address.path or "")

    assert not same(first.sockets[0], second.sockets[0])


def test_a_socket_unit_is_served_in_the_place_of_bind(life: Life) -> None:
    with socket.create_server(("127.0.0.1", 0)) as unit:
        passed = [Passed("mpserve.socket", os.dup(unit.fileno()))]
        (listener,) = life.begin(TCP, passed=passed)

        assert (listener.shared, ports(listener)) == (True, {unit.getsockname()[1]})
        assert not listener.sockets[0].getblocking()
        assert life.systemd.kept == []


def test_a_unix_socket_unit_keeps_its_file(life: Life, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as unit:
        unit.bind(str(tmp_path / "unit"))
        unit.listen()
        (listener,) = life.begin(TCP, passed=[Passed("x.socket", os.dup(unit.fileno()))])
        listener.unlink()

    assert listener.url == f"unix:{tmp_path}/unit"
    assert (tmp_path / "unit").exists()


@pytest.mark.parametrize("kind", ["datagram", "not listening", "file"])
def test_a_descriptor_that_cannot_be_accepted_from_is_refused_by_name(
    life: Life, kind: str
) -> None:
    if kind == "file":
        fd = os.open("/dev/null", os.O_RDONLY)
    else:
        stream = socket.SOCK_DGRAM if kind == "datagram" else socket.SOCK_STREAM
        fd = socket.socket(socket.AF_INET, stream).detach()
    with pytest.raises(ConfigError, match=rf"^LISTEN_FDS: web \(descriptor {fd}\)"):
        life.begin(TCP, passed=[Passed("web", fd)])
    with pytest.raises(OSError):  # it has been closed
        os.fstat(fd)

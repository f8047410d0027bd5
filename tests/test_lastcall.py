"""The kernel's word about who has connected and is not shown to us yet."""

from __future__ import annotations

import select
import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from mpserve import lastcall
from mpserve.config import Address
from mpserve.lastcall import LastCall, half_open_at
from mpserve.listeners import Listener, listen

# As in proc(5).
HEAD = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
HALF_OPEN = (
    "   7: 0100007F:1F90 0100007F:C350 03 00000000:00000000 01:00000062 00000000     0        0 0\n"
)


@pytest.mark.parametrize(
    ("table", "found"),
    [
        pytest.param(HEAD, False, id="nobody"),
        pytest.param(HEAD + HALF_OPEN, True, id="half open"),
        pytest.param(HEAD + HALF_OPEN.replace(" 03 ", " 01 "), False, id="established"),
        pytest.param(HEAD + HALF_OPEN.replace("1F90", "1F91"), False, id="at another port"),
        pytest.param(HEAD + HALF_OPEN.replace(":1F90", ":0050").replace("C350", "1F90"), False, id="theirs"),
        pytest.param(HEAD + "  7: " + "0" * 32 + ":1F90 " + "0" * 32 + ":C350 03 x\n", True, id="IPv6"),
        pytest.param(HEAD + HALF_OPEN.replace("1F90", "01BB"), True, id="a second port of ours"),
    ],
)  # fmt: skip
def test_a_line_of_the_table_tells(table: str, found: bool) -> None:
    assert (half_open_at([0x1F90, 0x1BB]).search(table.encode()) is not None) == found


@pytest.fixture(params=["127.0.0.1", "::1", ""])
def listener(request: pytest.FixtureRequest) -> Iterator[Listener]:
    """A listener with two sockets; at every address, it takes both families."""
    (made,) = listen((Address(request.param, 0),), 2, 64)
    with closing(made):
        yield made


def test_who_connects_is_awaited_until_he_asks(
    listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lastcall, "LONGEST", 1 << 30)  # others may have connected a lot
    name = listener.sockets[0].getsockname()
    with closing(LastCall(listener.sockets)) as call:
        nobody = call.is_awaited()
        host = "localhost" if name[0] == "::" else name[0]
        with socket.create_connection((host, name[1])) as client:
            somebody = call.is_awaited()
            client.sendall(b"GET")
            select.select(listener.sockets, [], [], 10)
            shown = call.is_awaited()

        assert (nobody, somebody, shown) == (False, True, False)


def test_nobody_is_awaited_at_a_unix_socket(tmp_path: Path) -> None:
    (made,) = listen((Address(path=str(tmp_path / "socket")),), 2, 64)
    with closing(made), closing(LastCall(made.sockets)) as call:
        assert not call.is_awaited()


def test_who_cannot_look_awaits_somebody(
    listener: Listener, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lastcall, "TABLES", (str(tmp_path / "missing"), "/proc/net/tcp6"))
    with closing(LastCall(listener.sockets)) as call:
        blind = call.is_awaited()

    assert (blind, call.is_awaited()) == (True, False)


def test_a_long_table_is_not_read_to_its_end(
    listener: Listener, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = tmp_path / "tcp"
    table.write_bytes(bytes(lastcall.LONGEST + 1))
    monkeypatch.setattr(lastcall, "TABLES", (str(table),))
    with closing(LastCall(listener.sockets)) as call:
        assert call.is_awaited()

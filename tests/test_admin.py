"""The admin address, by real clients that are quick, slow, silent, malformed or many."""

from __future__ import annotations

import errno
import json
import os
import select
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mpserve.admin import PAUSE, SEATS, Admin
from mpserve.config import Address, ConfigError
from tests.test_exposition import NOW


@pytest.fixture
def admin() -> Iterator[Admin]:
    admin = Admin.open(Address("127.0.0.1", 0), lambda: NOW)
    yield admin
    admin.close()


def client_of(admin: Admin) -> socket.socket:
    client = socket.create_connection(admin.listeners[0].sockets[0].getsockname(), timeout=10)
    client.setblocking(False)
    return client


def turn(admin: Admin) -> None:
    """Let it do what it can, as soon as there is anything to do."""
    assert select.select([admin], [], [], 10)[0]
    admin.turn()


def hear(admin: Admin, client: socket.socket) -> bytes:
    """All that comes until the end."""
    octets = b""
    while True:
        try:
            while more := client.recv(65536):
                octets += more
        except BlockingIOError:
            turn(admin)
        else:
            return octets


def ask(admin: Admin, octets: bytes) -> tuple[bytes, bytes]:
    """Head and content of the answer to these octets."""
    with client_of(admin) as client:
        client.sendall(octets)
        head, _, content = hear(admin, client).partition(b"\r\n\r\n")
        return head, content


def get(path: str, method: str = "GET") -> bytes:
    return f"{method} {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode()


@pytest.mark.parametrize(
    ("path", "status", "media_type", "word"),
    [
        ("/metrics", 200, b"text/plain; version=0.0.4; charset=utf-8", b"mpserve_requests_total{"),
        ("/metrics?x=1", 200, b"text/plain; version=0.0.4; charset=utf-8", b"mpserve_ready 1"),
        ("/healthz", 200, b"text/plain; charset=utf-8", b"ok\n"),
        ("/readyz", 200, b"text/plain; charset=utf-8", b"serving\n"),
        ("/status", 200, b"application/json", b'"phase": "serving"'),
        ("/", 404, b"text/plain; charset=utf-8", b"/metrics"),
        ("http://x/healthz", 200, b"text/plain; charset=utf-8", b"ok\n"),
        ("/%68ealthz", 200, b"text/plain; charset=utf-8", b"ok\n"),
        ("/%zz", 400, b"text/plain; charset=utf-8", b"broken escape"),
        ("/metrics/", 404, b"text/plain; charset=utf-8", b"/metrics"),
    ],
)
def test_pages(admin: Admin, path: str, status: int, media_type: bytes, word: bytes) -> None:
    head, content = ask(admin, get(path))

    assert head.startswith(b"HTTP/1.1 %d " % status)
    assert b"Content-Type: %b\r\n" % media_type in head
    assert b"Content-Length: %d\r\n" % len(content) in head
    assert b"Connection: close" in head
    assert b"Cache-Control: no-store" in head
    assert word in content


def test_the_status_page_is_json(admin: Admin) -> None:
    assert json.loads(ask(admin, get("/status"))[1])["pid"] == 42


def test_head_has_no_content(admin: Admin) -> None:
    head, content = ask(admin, get("/metrics", "HEAD"))

    assert (b"200" in head, content) == (True, b"")


@pytest.mark.parametrize(("path", "method"), [("/metrics", "POST"), ("*", "OPTIONS")])
def test_other_methods_are_refused(admin: Admin, path: str, method: str) -> None:
    head, _ = ask(admin, get(path, method))

    assert head.startswith(b"HTTP/1.1 405 ")
    assert b"Allow: GET, HEAD" in head


def test_what_is_not_http_is_refused(admin: Admin) -> None:
    assert ask(admin, b"\x16\x03\x01\r\n\r\n")[0].startswith(b"HTTP/1.1 400 ")


def test_a_request_may_come_octet_by_octet(admin: Admin) -> None:
    with client_of(admin) as client:
        for octet in get("/healthz"):
            client.sendall(bytes([octet]))
            turn(admin)

        assert hear(admin, client).endswith(b"\r\n\r\nok\n")


def test_who_is_silent_holds_nobody_up(admin: Admin) -> None:
    with client_of(admin) as silent:
        turn(admin)

        assert ask(admin, get("/healthz"))[1] == b"ok\n"
        silent.sendall(get("/healthz"))
        assert hear(admin, silent).endswith(b"ok\n")


def test_where_all_seats_are_taken_the_longest_there_leaves(admin: Admin) -> None:
    clients = [client_of(admin) for _ in range(SEATS + 1)]
    for client in clients:
        client.sendall(b"GET ")
    while len(admin._clients) < SEATS or clients[0] not in select.select(clients, [], [], 0)[0]:
        turn(admin)
    clients[-1].sendall(b"/healthz HTTP/1.1\r\nHost: x\r\n\r\n")

    assert hear(admin, clients[-1]).endswith(b"ok\n")
    assert len(admin._clients) <= SEATS
    for client in clients:
        client.close()


def test_who_takes_nothing_gets_the_rest_when_there_is_room(
    admin: Admin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mpserve.admin.encode", lambda _families: bytes(16 << 20))
    with client_of(admin) as slow:
        slow.sendall(get("/metrics"))
        while not any(client.answered for client in admin._clients.values()):
            turn(admin)

        assert ask(admin, get("/healthz"))[1] == b"ok\n"
        assert len(hear(admin, slow)) > 16 << 20


def test_who_leaves_early_is_forgotten(admin: Admin) -> None:
    client = client_of(admin)
    client.sendall(b"GET ")
    turn(admin)
    client.close()
    while admin._clients:
        turn(admin)

    assert repr(admin) == "<Admin 0 clients>"


def test_a_bug_in_a_page_costs_one_client(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, admin: Admin
) -> None:
    monkeypatch.setattr(admin, "_snapshot", lambda: 1 // 0)
    lost = ask(admin, get("/metrics"))
    monkeypatch.setattr(admin, "_snapshot", lambda: NOW)

    assert lost == (b"", b"")
    assert "ZeroDivisionError" in caplog.text
    assert ask(admin, get("/healthz"))[1] == b"ok\n"


@pytest.mark.parametrize("code", [errno.EMFILE, errno.ENFILE, errno.ENOMEM])
def test_without_room_for_another_socket_it_is_quiet_for_a_while_and_then_answers(
    admin: Admin, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, code: int
) -> None:
    def accept(_sock: socket.socket) -> tuple[socket.socket, object]:
        raise OSError(code, os.strerror(code))

    with client_of(admin) as client:
        client.sendall(get("/healthz"))
        with monkeypatch.context() as short:
            short.setattr(socket.socket, "accept", accept)
            turn(admin)
            quiet = select.select([admin], [], [], 0)[0]
            admin.turn()  # too early
            still_quiet = select.select([admin], [], [], 0)[0]
        long_after = time.monotonic() + PAUSE
        monkeypatch.setattr("mpserve.admin.time.monotonic", lambda: long_after)
        admin.turn()

        assert (quiet, still_quiet) == ([], [])
        assert hear(admin, client).endswith(b"\r\n\r\nok\n")
        assert caplog.messages == [f"the admin address cannot accept: {os.strerror(code)}"]


def test_a_unix_socket_goes_with_the_server(tmp_path: Path) -> None:
    path = str(tmp_path / "admin")
    admin = Admin.open(Address(path=path), lambda: NOW)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(path)
        client.setblocking(False)
        client.sendall(get("/readyz"))

        assert hear(admin, client).endswith(b"serving\n")
    admin.close()
    assert not (tmp_path / "admin").exists()


def test_an_address_that_is_taken_is_one_line(admin: Admin) -> None:
    port = admin.listeners[0].sockets[0].getsockname()[1]
    with pytest.raises(ConfigError, match=f"^--admin 127.0.0.1:{port}: the address is in use"):
        Admin.open(Address("127.0.0.1", port), lambda: NOW)

"""The words that go to systemd, and those that come from it."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mpserve.notify import (
    Notifier,
    Passed,
    address_of,
    take_passed,
    watchdog_interval,
)
from tests.harness.systemd import Systemd


@pytest.fixture(params=[False, True], ids=["path", "abstract"])
def systemd(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Systemd]:
    with Systemd(tmp_path, abstract=request.param) as manager:
        yield manager


@pytest.fixture
def notifier(systemd: Systemd) -> Iterator[Notifier]:
    notifier = Notifier.of({"NOTIFY_SOCKET": systemd.variable}, os.getpid())
    yield notifier
    notifier.close()


def test_readiness_and_the_end_come_with_a_status(notifier: Notifier, systemd: Systemd) -> None:
    notifier.ready("2 workers")
    notifier.stopping("as asked")

    assert [systemd.receive(), systemd.receive()] == [
        {"READY": "1", "STATUS": "2 workers", "ERRNO": "0"},
        {"STOPPING": "1", "STATUS": "as asked"},
    ]


def test_a_reload_says_when_it_began(notifier: Notifier, systemd: Systemd) -> None:
    before = time.monotonic_ns() // 1000
    notifier.reloading()
    message = systemd.receive()

    assert message["RELOADING"] == "1"
    assert before <= int(message["MONOTONIC_USEC"]) <= time.monotonic_ns() // 1000


def test_a_status_cannot_smuggle_in_another_line(notifier: Notifier, systemd: Systemd) -> None:
    notifier.status("one\nSTOPPING=1")

    assert systemd.receive() == {"STATUS": "one STOPPING=1"}


def test_a_stored_descriptor_is_kept_by_its_name_until_it_is_removed(
    notifier: Notifier, systemd: Systemd
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        notifier.store("mpserve/x/0", sock.fileno())
        systemd.receive()
        ((name, fd),) = systemd.kept

        assert (name, os.path.sameopenfile(fd, sock.fileno())) == ("mpserve/x/0", True)
        notifier.unstore("mpserve/x/0")
        systemd.receive()
        assert systemd.kept == []


def test_signs_of_life_come_in_half_the_time_that_is_allowed(systemd: Systemd) -> None:
    environ = {"NOTIFY_SOCKET": systemd.variable, "WATCHDOG_USEC": "4000000"}
    notifier = Notifier.of(environ, os.getpid())
    for now in (100.0, 101.9, 102.0, 103.0):
        notifier.keep_alive(now)
    notifier.status("last")
    notifier.close()
    systemd.wait_for("STATUS=last")

    assert systemd.said("WATCHDOG") == ["1", "1"]


def test_who_is_not_well_gives_no_sign_of_life_and_waits_all_the_same(systemd: Systemd) -> None:
    environ = {"NOTIFY_SOCKET": systemd.variable, "WATCHDOG_USEC": "4000000"}
    notifier = Notifier.of(environ, os.getpid())
    notifier.keep_alive(100.0, well=False)
    wait = notifier.patience(None, 100.0)
    notifier.status("last")
    notifier.close()
    systemd.wait_for("STATUS=last")

    assert (systemd.said("WATCHDOG"), wait) == ([], 2.0)


@pytest.mark.parametrize(
    ("due", "wait", "expected"),
    [
        pytest.param("4000000", None, 1.5, id="until the next sign of life"),
        pytest.param("4000000", 0.5, 0.5, id="until something else is due"),
        pytest.param("", 7.0, 7.0, id="nobody watches"),
        pytest.param("", None, None, id="for ever"),
    ],
)
def test_the_master_may_wait(due: str, wait: float | None, expected: float | None) -> None:
    notifier = Notifier.of({"WATCHDOG_USEC": due}, os.getpid())
    notifier.keep_alive(100.0)

    assert notifier.patience(wait, 100.5) == expected


def test_without_systemd_every_message_goes_nowhere() -> None:
    notifier = Notifier.of({}, os.getpid())
    notifier.ready("x")
    notifier.store("x", 0)

    assert repr(notifier) == "<Notifier 'nobody' every None s>"


def test_a_socket_that_is_gone_fails_nobody(tmp_path: Path) -> None:
    notifier = Notifier.of({"NOTIFY_SOCKET": str(tmp_path / "none")}, os.getpid())
    notifier.ready("x")
    notifier.close()
    notifier.ready("after the end")

    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/run/systemd/notify", "/run/systemd/notify"),
        ("@abstract", "\0abstract"),
        ("vsock:2:1234", ""),
        ("", ""),
    ],
)
def test_addresses_of_kinds_that_are_known(text: str, expected: str) -> None:
    assert address_of(text) == expected


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        pytest.param({"WATCHDOG_USEC": "30000000"}, 15.0, id="half"),
        pytest.param({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "7"}, 15.0, id="we are meant"),
        pytest.param({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "8"}, None, id="another is"),
        pytest.param({"WATCHDOG_USEC": "0"}, None, id="zero"),
        pytest.param({"WATCHDOG_USEC": "soon"}, None, id="no number"),
        pytest.param({}, None, id="nothing"),
    ],
)
def test_who_is_watched_and_how_often(environ: dict[str, str], expected: float | None) -> None:
    assert watchdog_interval(environ, 7) == expected


@pytest.fixture
def third(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """A descriptor that stands for the first that is passed."""
    fd = os.open("/dev/null", os.O_RDONLY)
    os.set_inheritable(fd, True)
    monkeypatch.setattr("mpserve.notify.FIRST_PASSED", fd)
    yield fd
    os.close(fd)


def test_passed_descriptors_have_their_names_and_end_with_this_process(third: int) -> None:
    environ = {"LISTEN_FDS": "1", "LISTEN_PID": "7", "LISTEN_FDNAMES": "web", "HOME": "/"}
    passed = take_passed(environ, 7)

    assert passed == [Passed("web", third)]
    assert not os.get_inheritable(third)
    assert environ == {"HOME": "/"}


def test_a_passed_descriptor_without_a_name_is_unknown(third: int) -> None:
    passed = take_passed({"LISTEN_FDS": "1", "LISTEN_PID": "7"}, 7)

    assert passed == [Passed("unknown", third)]


@pytest.mark.parametrize(
    "environ",
    [
        pytest.param({}, id="nothing"),
        pytest.param({"LISTEN_FDS": "1", "LISTEN_PID": "8"}, id="for another process"),
        pytest.param({"LISTEN_FDS": "1"}, id="for nobody in particular"),
        pytest.param({"LISTEN_FDS": "0", "LISTEN_PID": "7"}, id="none"),
        pytest.param({"LISTEN_FDS": "many", "LISTEN_PID": "7"}, id="no number"),
    ],
)
def test_what_is_not_passed_to_us_is_left_alone(third: int, environ: dict[str, str]) -> None:
    assert take_passed(environ, 7) == []
    assert os.get_inheritable(third)
    assert not {"LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"} & environ.keys()

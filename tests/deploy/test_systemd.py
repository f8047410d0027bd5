"""The units are what systemd reads, and say what this server needs."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mpserve import config
from tests.deploy import units

UNITS = units.DEPLOY / "systemd"
SERVICE = UNITS / "mpserve.service"
SOCKET = UNITS / "mpserve.socket"
FOR_252 = UNITS / "mpserve.service.d" / "systemd-252.conf"
PROGRAM = "/opt/mpserve/bin/mpserve"

# What the workers ask the kernel for when they confine themselves, and systemd's own set may not have.
SANDBOX_CALLS = {
    "landlock_create_ruleset",
    "landlock_add_rule",
    "landlock_restrict_self",
    "seccomp",
}


def service(name: str, *drop_ins: Path) -> list[str]:
    return units.read(SERVICE, *drop_ins)["Service"][name]


@pytest.fixture
def configured(tmp_path: Path) -> list[str]:
    """The arguments of the unit's command, with the guide's file and a root that are there on this machine."""
    (command,) = service("ExecStart")
    program, *rest = shlex.split(command)
    assert program == PROGRAM
    text = (UNITS / "mpserve.toml").read_text()
    assert "/srv/www/current" in text
    file = tmp_path / "mpserve.toml"
    file.write_text(text.replace("/srv/www/current", str(tmp_path)))
    return [str(file) if word == "/etc/mpserve.toml" else word for word in rest]


def verified(folder: Path) -> str:
    """What systemd has to say about the service and the socket in `folder`."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd is not installed")
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", "mpserve.service", "mpserve.socket"],
        cwd=folder,
        env={**os.environ, "SYSTEMD_UNIT_PATH": f"{folder}:/lib/systemd/system"},
        capture_output=True,
        text=True,
        check=False,
    )
    if "Failed to initialize manager" in done.stderr:
        pytest.skip(done.stderr.strip())
    return done.stdout + done.stderr


def systemd_version() -> int:
    if shutil.which("systemctl") is None:
        return 0
    done = subprocess.run(["systemctl", "--version"], capture_output=True, text=True, check=False)
    return int(done.stdout.split()[1])


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """A folder with the units, whose program is one that is there."""
    folder = tmp_path / "units"
    shutil.copytree(UNITS, folder)
    text = SERVICE.read_text("utf-8").replace(PROGRAM, sys.executable)
    (folder / SERVICE.name).write_text(text)
    if systemd_version() >= 253:
        shutil.rmtree(folder / "mpserve.service.d")
    return folder


@pytest.mark.slow
def test_systemd_has_nothing_to_say_about_the_units(installed: Path) -> None:
    said = [line for line in verified(installed).splitlines() if "mpserve" in line]
    # The drop-in is for a systemd that does not know the type; it says so, and goes on.
    remarks = [line for line in said if "notify-reload" not in line]

    assert remarks == []


@pytest.mark.slow
def test_systemd_would_say_it_if_there_were_something(installed: Path) -> None:
    unit = installed / SERVICE.name
    unit.write_text(unit.read_text().replace("KillMode=mixed", "KillMode=mild"))

    assert "kill mode" in verified(installed)


def test_what_the_unit_starts_is_what_it_checked_before() -> None:
    (started,), (checked,) = service("ExecStart"), service("ExecStartPre")

    assert checked == started.replace(PROGRAM, f"{PROGRAM} --check")


def test_a_reload_has_the_exit_status_of_a_check() -> None:
    (checked,), (first, *_) = service("ExecStartPre"), service("ExecReload")

    assert checked == first


def test_the_command_line_and_the_file_of_the_guide_are_understood(configured: list[str]) -> None:
    loaded = config.load(configured, {})

    assert [address.port for address in loaded.bind] == [80]


def test_what_the_file_names_the_unit_lets_be_written(configured: list[str]) -> None:
    loaded = config.load(configured, {})
    writable = {f"/run/{service('RuntimeDirectory')[0]}", f"/var/log/{service('LogsDirectory')[0]}"}

    assert loaded.admin
    named = (loaded.access_log, loaded.pid_file, loaded.admin.path)

    assert {os.path.dirname(path or "") for path in named} == writable


def test_the_server_may_take_its_time_to_stop_before_systemd_kills_it(
    configured: list[str],
) -> None:
    (limit,) = service("TimeoutStopSec")
    loaded = config.load(configured, {})

    assert units.seconds(limit) > loaded.timeouts.graceful + loaded.timeouts.idle_grace


def test_the_store_has_room_for_a_socket_of_every_worker_and_address(configured: list[str]) -> None:
    (room,) = service("FileDescriptorStoreMax")
    loaded = config.load([*configured, "--workers", "64"], {})

    assert int(room) >= loaded.workers * len(loaded.bind)


def test_the_fence_lets_the_workers_build_their_own() -> None:
    assert set(units.words(service("SystemCallFilter"))) >= SANDBOX_CALLS
    assert "NoNewPrivileges" in units.read(SERVICE)["Service"]


def test_the_only_privilege_is_that_of_the_port() -> None:
    names = ("AmbientCapabilities", "CapabilityBoundingSet")

    assert [["CAP_NET_BIND_SERVICE"]] * 2 == [service(name) for name in names]
    assert service("User") == ["mpserve"]


def test_the_account_of_the_unit_is_the_one_that_sysusers_makes() -> None:
    (line,) = [
        line
        for line in (UNITS / "mpserve.sysusers").read_text().splitlines()
        if not line.startswith("#")
    ]

    assert shlex.split(line)[:2] == ["u", *service("User")]


def test_an_old_systemd_gets_a_type_it_knows_and_a_way_to_reload() -> None:
    assert service("Type", FOR_252)[-1] == "notify"
    assert service("ExecReload", FOR_252)[1:] == ["/bin/kill -HUP $MAINPID"]


def test_the_socket_is_the_port_of_the_service() -> None:
    assert units.read(SOCKET)["Socket"]["ListenStream"] == ["80"]
    assert units.read(SOCKET)["Socket"]["Accept"] == ["no"]

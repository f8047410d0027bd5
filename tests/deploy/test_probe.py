"""The probe tells by its exit status whether an address answers with 200."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.deploy import units
from tests.harness.server import Server

PROBE = units.DEPLOY / "container" / "probe.py"

pytestmark = pytest.mark.slow


def probe(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-I", "-S", PROBE, *arguments], capture_output=True, text=True, check=False
    )


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "healthz").write_text("ok\n")
    return tmp_path


def test_200_is_health_and_anything_else_is_none(root: Path) -> None:
    with Server(root) as server:
        well = probe(f"127.0.0.1:{server.port}", "/healthz")
        ill = probe(f"127.0.0.1:{server.port}", "/readyz")

    assert (well.returncode, well.stdout) == (0, "HTTP/1.1 200 OK\n")
    assert (ill.returncode, ill.stdout) == (1, "HTTP/1.1 404 Not Found\n")


def test_a_unix_socket_is_asked_as_well(root: Path) -> None:
    address = f"unix:{root}/admin.sock"
    with Server(root, "--bind", address):
        well = probe(address, "/healthz")

    assert (well.returncode, well.stderr) == (0, "")


def test_nobody_there_is_one_line_and_no_health() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))  # and does not listen
        port = silent.getsockname()[1]
        gone = probe(f"127.0.0.1:{port}", "/healthz")

    assert (gone.returncode, gone.stderr) == (1, "probe: [Errno 111] Connection refused\n")


def test_an_address_that_is_none_is_one_line_and_no_health() -> None:
    wrong = probe("8001", "/healthz")

    assert (wrong.returncode, wrong.stderr.count("\n")) == (1, 1)

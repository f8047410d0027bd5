"""Nobody else is in the benchmark's network."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from loadtests.benchmark.network import OWN, SHARED

# In a process of its own: there is no way back.
TRY = """
import socket
from loadtests.benchmark.network import leave_for_own

print(leave_for_own(), sep="")
with socket.create_server(("127.0.0.1", 0)) as server:
    socket.create_connection(server.getsockname(), timeout=5).close()
print(sorted(name for _, name in socket.if_nameindex()))
"""
NOBODY = 65534


def tried(user: int) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", TRY], capture_output=True, text=True, check=True, user=user
    )
    return done.stdout.splitlines()


@pytest.mark.skipif(os.geteuid() != 0, reason="it takes root")
def test_it_has_a_loopback_interface_that_works() -> None:
    said, interfaces = tried(0)

    if said == SHARED:
        pytest.skip("this system lets root make no network")
    assert (OWN, "['lo']") == (said, interfaces)


@pytest.mark.skipif(os.geteuid() != 0, reason="it takes root to be another")
def test_who_may_not_have_one_is_told_so() -> None:
    try:
        said, _ = tried(NOBODY)
    except (PermissionError, subprocess.CalledProcessError):
        pytest.skip("the project cannot be read by others")
    assert said == SHARED

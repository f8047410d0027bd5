"""Logs are rotated as the guide has it, under load, and every answer is in one of them."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.deploy import units
from tests.deploy.site import Client
from tests.harness.recipes import SEARCH_PATH
from tests.harness.server import Server
from tests.harness.until import until

pytestmark = pytest.mark.slow

CONFIGURATION = units.DEPLOY / "systemd" / "mpserve.logrotate"


def here(folder: Path) -> Path:
    """The configuration with the places of this test, and the account that runs it."""
    text = CONFIGURATION.read_text()
    replacements = {
        "/var/log/mpserve/": f"{folder}/",
        "/run/mpserve/mpserve.pid": f"{folder}/pid",
        "    su mpserve mpserve\n": "",
        "    compress\n": "",
        "    delaycompress\n": "",
    }
    for old, new in replacements.items():
        assert old in text
        text = text.replace(old, new)
    path = folder / "logrotate.conf"
    path.write_text(text)
    path.chmod(0o644)
    return path


def test_every_answer_is_in_the_old_log_or_in_the_new_one(tmp_path: Path) -> None:
    program = shutil.which("logrotate", path=SEARCH_PATH)
    if program is None:
        pytest.skip("logrotate is not installed")
    root, logs = tmp_path / "root", tmp_path / "logs"
    root.mkdir()
    logs.mkdir(mode=0o755)
    (root / "0.html").write_text("a page")
    log = logs / "access.log"
    rotate = [program, "--force", "--state", str(logs / "state"), str(here(logs))]
    words = ("--workers", "2", "--access-log", str(log), "--pid-file", str(logs / "pid"))
    with Server(root, *words) as server:
        client = Client(server.port)
        count = 0
        for _ in range(3):
            for _ in range(200):
                client.get(f"/0.html?{count}")
                count += 1
            # The next rotation would take the file for the last one's.
            done = subprocess.run(rotate, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
            assert until(log.exists)
        client.connection.close()
    lines = "".join(path.read_text() for path in logs.glob("access.log*")).splitlines()
    asked = sorted(int(line.split("/0.html?")[1].split(" ")[0]) for line in lines)

    assert len([name for name in os.listdir(logs) if name.startswith("access.log")]) == 4
    assert asked == list(range(count))

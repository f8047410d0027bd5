"""The guide shows what commands really say."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

TOP = Path(__file__).parents[2]


@pytest.mark.slow
def test_what_the_pages_show_of_a_terminal_is_what_it_shows() -> None:
    done = subprocess.run(
        [sys.executable, TOP / "scripts" / "transcripts.py", "--check"],
        env={**os.environ, "PYTHONPATH": str(TOP)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, "")

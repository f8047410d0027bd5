"""The guide shows what commands really say, and can be made to show it again."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

TOP = Path(__file__).parents[2]


@pytest.fixture
def transcripts(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script, in less of a pause than when its figures are meant to be shown."""
    spec = importlib.util.spec_from_file_location("transcripts", TOP / "scripts/transcripts.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "PAUSE", 0)
    return module


@pytest.mark.slow
def test_what_is_shown_of_a_running_server_can_be_shown_again(transcripts: ModuleType) -> None:
    shown = transcripts.monitoring()

    assert "/readyz\nserving\n" in shown
    assert 'mpserve_workers{state="serving"} 2\n' in shown


@pytest.mark.slow
def test_the_picture_of_top_is_what_its_terminal_shows(transcripts: ModuleType) -> None:
    with transcripts.watched() as here:
        lines = here.screen("mpserve top --pid-file /run/mpserve/pid", 100, 12)
    picture = transcripts.drawn(lines, 100)

    assert [line.split()[0] for line in lines if line] == [
        "mpserve",
        "PROCESS",
        "master",
        "w0",
        "w1",
    ]
    assert picture.count("<text ") == len(lines)


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

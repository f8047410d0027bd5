"""mpserve itself as it is measured: by which interpreter, and as it was before."""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

import pytest

from loadtests.benchmark import kin
from loadtests.benchmark.results import BEFORE, OURS, TRUSTING
from tests.harness import peers


def test_an_interpreter_may_be_asked_for() -> None:
    assert sys.executable == kin.interpreter(sys.executable)


@pytest.mark.parametrize("program", ["/bin/true-not", "/bin/false"])
def test_what_is_no_python_is_refused(program: str) -> None:
    with pytest.raises(kin.KinError, match=f"--python {program}"):
        kin.interpreter(program)


def test_without_a_word_it_is_the_distributions_if_that_is_recent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(kin, "DISTRIBUTIONS", sys.executable)
    recent = kin.interpreter(None)
    monkeypatch.setattr(kin, "DISTRIBUTIONS", "/nowhere/python3")

    assert (sys.executable, sys.executable) == (recent, kin.interpreter(None))


def test_it_says_which_interpreter_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    version = f"{platform.python_implementation()} {platform.python_version()}"
    plain = kin.describe(sys.executable)
    monkeypatch.setattr(kin, "DISTRIBUTIONS", sys.executable)

    assert (version, f"{version} ({sys.executable})") == (plain, kin.describe(sys.executable))


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> dict[str, peers.Recipe]:
    """The servers there are; what is added goes with the test."""
    monkeypatch.setattr(peers, "PEERS", dict(peers.PEERS))
    return peers.PEERS


def test_the_kin_can_be_started(known: dict[str, peers.Recipe], tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    kin.introduce(sys.executable, None, tmp_path)

    assert BEFORE not in known
    for name in (OURS, TRUSTING):
        with peers.start(name, tmp_path / "root") as peer:
            assert peer.version


def test_the_sources_of_a_commit_are_measured(
    known: dict[str, peers.Recipe], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project, home = tmp_path / "project", tmp_path / "home"
    (project / "mpserve").mkdir(parents=True)
    home.mkdir()
    (project / "mpserve" / "__init__.py").touch()
    (project / "mpserve" / "__main__.py").write_text("print('mpserve 0.0.7')")
    git = ("git", "-C", str(project), "-c", "user.name=x", "-c", "user.email=x")
    for command in (("init", "-q"), ("add", "."), ("commit", "-qm", "x")):
        subprocess.run([*git, *command], check=True)
    monkeypatch.setattr(peers, "PROJECT", project)
    kin.introduce(sys.executable, "HEAD", home)

    assert peers.version_of(BEFORE) == "0.0.7"


def test_a_commit_that_is_not_there_is_refused(
    known: dict[str, peers.Recipe], tmp_path: Path
) -> None:
    with pytest.raises(kin.KinError, match="--before nonsense"):
        kin.introduce(sys.executable, "nonsense", tmp_path)

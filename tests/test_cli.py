"""The command: what it prints, where, and with which exit status."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import ClassVar

import pytest

import mpserve
from mpserve import cli
from mpserve.config import Config, ConfigError

Printed = pytest.CaptureFixture[str]


class FakeMaster:
    """Takes the place of the master, and remembers what it was made with."""

    made: ClassVar[list[FakeMaster]] = []
    failure: ConfigError | None = None

    def __init__(self, config: Config, load: Callable[[], Config], left: object) -> None:
        self.config = config
        self.made.append(self)

    def run(self) -> int:
        if self.failure is not None:
            raise self.failure
        return 3


@pytest.fixture
def master(monkeypatch: pytest.MonkeyPatch) -> type[FakeMaster]:
    class Fresh(FakeMaster):
        made: ClassVar[list[FakeMaster]] = []

    module = ModuleType("mpserve.master")
    module.__dict__["Master"] = Fresh
    monkeypatch.setitem(sys.modules, "mpserve.master", module)
    return Fresh


def test_it_serves_what_it_is_told_to(tmp_path: Path, master: type[FakeMaster]) -> None:
    status = cli.main(["--workers", "4", str(tmp_path)])

    assert status == 3  # the master's word
    assert [(made.config.workers, made.config.site.root) for made in master.made] == [
        (4, os.fsencode(tmp_path))
    ]


def test_the_words_are_those_of_the_process_by_default(
    tmp_path: Path, master: type[FakeMaster], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["mpserve", "--workers=2", str(tmp_path)])
    cli.main()

    assert [made.config.workers for made in master.made] == [2]


def test_the_environment_is_heard(
    tmp_path: Path, master: type[FakeMaster], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MPSERVE_WORKERS", "7")
    cli.main([str(tmp_path)])

    assert [made.config.workers for made in master.made] == [7]


def test_what_the_master_cannot_set_up_is_one_line(
    tmp_path: Path, master: type[FakeMaster], capsys: Printed
) -> None:
    master.failure = ConfigError("--bind 127.0.0.1:80: in use")

    assert cli.main([str(tmp_path)]) == 2
    assert capsys.readouterr() == ("", "mpserve: error: --bind 127.0.0.1:80: in use\n")


def test_a_wrong_value_is_one_line(master: type[FakeMaster], capsys: Printed) -> None:
    status = cli.main(["--workers", "x\ny"])

    assert (status, master.made) == (2, [])
    assert capsys.readouterr() == (
        "",
        "mpserve: error: --workers: must be a whole number from 1 to 1024, or auto, not 'x\\ny'\n",
    )


def test_check_says_what_would_be_served(tmp_path: Path, capsys: Printed) -> None:
    status = cli.main(
        ["--check", "--bind", "80", "--bind", "[::1]:80", "--workers=2", str(tmp_path)]
    )

    assert status == 0
    assert capsys.readouterr() == (
        f"mpserve: all is well: '{tmp_path}' on 127.0.0.1:80, [::1]:80, workers: 2\n",
        "",
    )


def test_check_gives_its_warnings(tmp_path: Path, capsys: Printed) -> None:
    status = cli.main(["--check", "--bind", ":80", "--listing", str(tmp_path)])

    assert status == 0
    assert capsys.readouterr().err == (
        "mpserve: warning: --listing shows the names of all files to whoever reaches :80\n"
    )


def test_check_warns_of_a_limit_that_every_worker_exceeds(tmp_path: Path, capsys: Printed) -> None:
    assert cli.main(["--check", "--max-rss", "1000", str(tmp_path)]) == 0
    assert "warning: --max-rss 1000 is less than a fresh worker occ" in capsys.readouterr().err


def test_check_refuses_what_a_start_would_refuse(capsys: Printed) -> None:
    assert cli.main(["--check", "/missing"]) == 2
    assert capsys.readouterr() == (
        "",
        "mpserve: error: ROOT: '/missing': No such file or directory\n",
    )


def test_check_refuses_to_follow_a_version_whose_state_it_cannot_read(
    tmp_path: Path, capsys: Printed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("_MPSERVE_UPGRADE_FROM", "1")

    assert cli.main(["--check", str(tmp_path)]) == 2
    assert capsys.readouterr() == (
        "",
        "mpserve: error: this version cannot take over from the one that runs (1, not 2): restart it\n",
    )


def test_version(capsys: Printed) -> None:
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr() == (f"mpserve {mpserve.__version__}\n", "")


@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help(flag: str, capsys: Printed) -> None:
    status = cli.main([flag])
    printed = capsys.readouterr()

    assert (status, printed.err) == (0, "")
    assert printed.out.startswith("usage: mpserve [OPTIONS] [ROOT]\n")


def test_help_needs_no_other_word_to_be_right(capsys: Printed) -> None:
    assert cli.main(["--workers", "x", "/missing", "--help"]) == 0
    assert capsys.readouterr().out.startswith("usage: ")


@pytest.mark.parametrize("word", ["compress", "audit", "explain", "trace", "probe"])
def test_a_reserved_word_is_no_directory(
    word: str, tmp_path: Path, capsys: Printed, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / word).mkdir()
    monkeypatch.chdir(tmp_path)

    assert cli.main([word, "--check"]) == 2
    assert capsys.readouterr().err == (
        f"mpserve: error: {word}: a command that is not there yet "
        f"(a directory of that name is ./{word})\n"
    )


@pytest.mark.parametrize("argv", [["./audit"], ["--listing", "audit"]])
def test_a_directory_of_a_reserved_name_can_be_served(
    argv: list[str], tmp_path: Path, capsys: Printed, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "audit").mkdir()
    monkeypatch.chdir(tmp_path)

    assert cli.main(["--check", *argv]) == 0
    assert f"'{tmp_path}/audit'" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("system", "python", "expected"),
    [
        ("linux", (3, 11), ""),
        ("linux", (4, 0), ""),
        ("linux", (3, 10), "mpserve needs Python 3.11 or later; this is 3.10"),
        ("darwin", (3, 12), "mpserve needs Linux (epoll, sendfile, openat2); this is darwin"),
        ("win32", (3, 9), "mpserve needs Linux (epoll, sendfile, openat2); this is win32"),
    ],
)
def test_where_it_cannot_run_it_says_so(
    system: str, python: tuple[int, int], expected: str
) -> None:
    assert cli.unfit_platform(system, python) == expected


def test_elsewhere_than_on_linux_it_refuses(
    monkeypatch: pytest.MonkeyPatch, capsys: Printed
) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")

    assert cli.main(["--version"]) == 2
    assert capsys.readouterr().err.startswith("mpserve: error: mpserve needs Linux")


def test_python_m_mpserve_is_the_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mpserve", "--bnd", "80"],
        cwd=Path(__file__).parent.parent,
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "mpserve: error: --bnd: no such flag; did you mean --bind?\n"

"""The scripts: the files they generate are up to date, and a checkout sets itself up on any machine.

The machine is a directory that is the whole PATH: the shell's own tools, and fakes of python3, pip and uv that
write down what they were asked for and make what the real ones would make.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from mpserve.declarations import Settings

TOP = Path(__file__).parent.parent
SCRIPTS = TOP / "scripts"
GENERATORS = [path for path in SCRIPTS.glob("*.py") if "--check" in path.read_text("utf-8")]
SHELL_SCRIPTS = [
    path
    for path in (*SCRIPTS.iterdir(), TOP / ".ci" / "run")
    if path.is_file() and path.read_bytes().startswith((b"#!/bin/sh", b"#!/usr/bin/env bash"))
]
# What a shell and man(1) know of the settings.
SHARED = (
    "share/man/man1/mpserve.1",
    "share/bash-completion/completions/mpserve",
    "share/zsh/site-functions/_mpserve",
    "share/fish/vendor_completions.d/mpserve.fish",
)
TOOLS = (
    "cat",
    "chmod",
    "cksum",
    "dirname",
    "env",
    "flock",
    "mkdir",
    "readlink",
    "rm",
    "sh",
    "touch",
)


def run(*argv: str | Path, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(argv, capture_output=True, text=True, check=False, env=env)


# --- Generated files ------------------------------------------------------------------------------


def test_there_are_generators() -> None:
    assert SCRIPTS / "settings_doc.py" in GENERATORS


@pytest.mark.parametrize("generator", GENERATORS, ids=lambda path: path.name)
def test_check_knows_every_generator(generator: Path) -> None:
    assert generator.stem in (SCRIPTS / "check").read_text().split("for generator in ")[1]


def test_the_settings_are_documented_as_they_are() -> None:
    done = run(sys.executable, SCRIPTS / "settings_doc.py", "--check", env={"PYTHONPATH": str(TOP)})

    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.slow
def test_a_settings_page_that_is_out_of_date_is_noticed_and_mended(tmp_path: Path) -> None:
    (tmp_path / "scripts").mkdir()
    (tmp_path / "docs").mkdir()
    for name in ("settings_doc.py", "manual.py", "completions.py"):
        shutil.copy(SCRIPTS / name, tmp_path / "scripts")
    generator = tmp_path / "scripts" / "settings_doc.py"
    page = tmp_path / "docs" / "settings.md"
    page.write_text("old")
    env = {"PYTHONPATH": str(TOP)}

    before = run(sys.executable, generator, "--check", env=env)
    run(sys.executable, generator, env=env)
    after = run(sys.executable, generator, "--check", env=env)

    assert (before.returncode, after.returncode) == (1, 0)
    complaints = before.stderr.splitlines()
    assert complaints[0] == "docs/settings.md is out of date: run scripts/settings_doc.py"
    assert len(complaints) == len(SHARED) + 1
    for name in ("docs/settings.md", *SHARED):
        assert (tmp_path / name).read_bytes() == (TOP / name).read_bytes()


def test_the_man_page_is_well_formed() -> None:
    if shutil.which("groff") is None:
        pytest.skip("groff is not installed")
    done = run("groff", "-ww", "-man", "-Tascii", "-P-cbou", TOP / SHARED[0])

    assert (done.returncode, done.stderr) == (0, "")
    assert "--keepalive-timeout SEC" in done.stdout


def completed(*words: str, at: Path) -> set[str]:
    """What bash offers for the last of these words."""
    program = (
        f'. "{TOP / SHARED[1]}"; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _mpserve; '
        'printf "%s\\n" "${COMPREPLY[@]}"'
    )
    done = subprocess.run(
        ["bash", "-c", program, "bash", *words], capture_output=True, text=True, check=True, cwd=at
    )
    assert done.stderr == ""
    return set(done.stdout.splitlines()) - {""}


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        pytest.param(["--lo"], {"--log-format", "--log-level"}, id="flags"),
        pytest.param(["--no-li"], {"--no-listing"}, id="a switch turned off"),
        pytest.param(["--log-format", ""], {"combined", "common", "json"}, id="words"),
        pytest.param(["--log-format", "=", "c"], {"combined", "common"}, id="after an equals sign"),
        pytest.param(["--log-format", "="], {"combined", "common", "json"}, id="at an equals sign"),
        pytest.param(["--config", "s"], {"site.toml", "site root"}, id="files"),
        pytest.param(["--access-log", "of"], {"off"}, id="a file or a word"),
        pytest.param(["--backlog", ""], set(), id="a number"),
        pytest.param(["--listing", "s"], {"site root"}, id="the root"),
        pytest.param(["t"], {"top", "tree"}, id="a command or the root"),
        pytest.param(["--listing", "t"], {"tree"}, id="no command after a flag"),
        pytest.param(["top", "--"], {"--help", "--json", "--once", "--pid-file"}, id="top"),
        pytest.param(["top", "--pid-file", "s"], {"site.toml", "site root"}, id="a file of top"),
    ],
)
def test_bash_completes_what_may_come(tmp_path: Path, words: list[str], expected: set[str]) -> None:
    (tmp_path / "site.toml").touch()
    (tmp_path / "site root").mkdir()
    (tmp_path / "tree").mkdir()

    assert completed("mpserve", *words, at=tmp_path) == expected


@pytest.mark.parametrize(("shell", "name"), [("zsh", 2), ("fish", 3)])
def test_other_shells_can_read_their_completions(shell: str, name: int) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    done = run(shell, "-n", TOP / SHARED[name])

    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("name", [1, 2, 3])
def test_every_flag_can_be_completed(name: int) -> None:
    text = (TOP / SHARED[name]).read_text("utf-8")
    flags = [each.flag for each in Settings.declarations() if not each.argument]

    missing = [flag for flag in flags if flag not in text and f"-l {flag[2:]} " not in text]
    assert missing == []


# --- The house rules of scripts -------------------------------------------------------------------


@pytest.mark.parametrize("script", SHELL_SCRIPTS, ids=lambda path: path.name)
def test_a_script_can_be_run_and_parsed(script: Path) -> None:
    shell = "bash" if b"bash" in script.read_bytes().splitlines()[0] else "sh"

    assert os.access(script, os.X_OK)
    assert run(shell, "-n", script).stderr == ""


def test_check_is_short() -> None:
    assert len((SCRIPTS / "check").read_text().splitlines()) < 20


# --- Setting up -----------------------------------------------------------------------------------

# What makes an environment: a python with, without, or as the outside of, a pip.
ENVIRONMENT = """\
mkdir -p "$1/bin" && touch "$1/pyvenv.cfg"
cat >"$1/bin/python" <<'END'
#!/bin/sh
case "$*" in
-c*) exit 0 ;;
"-m pip --version") [ -e "${0%/*}/pip" ] ;;
"-m pip install"*) echo "pip $*" >>"$JOURNAL" ;;
*) echo "run $*" >>"$JOURNAL" ;;
esac
END
chmod +x "$1/bin/python"
"""

PYTHON = """\
#!/bin/sh
case "$*" in
-c*) exit {too_old} ;;
"-m venv --without-pip "*) echo "venv without pip" >>"$JOURNAL"; shift 3; {environment} ;;
"-m venv "*) [ {ensurepip} = 1 ] || exit 1
    echo "venv" >>"$JOURNAL"; shift 2; {environment} touch "$1/bin/pip" ;;
"-m pip --version") [ {pip} = 1 ] ;;
"-m pip --python "*) echo "pip from outside" >>"$JOURNAL" ;;
esac
"""

UV = """\
#!/bin/sh
case "$*" in
venv*) echo "uv venv" >>"$JOURNAL"; eval "last=\\${{$#}}"; set -- "$last"; {environment} ;;
"pip install"*) echo "uv pip" >>"$JOURNAL"; exit {broken} ;;
esac
"""


@dataclass
class Machine:
    """A checkout, and a PATH to run its scripts with."""

    home: Path
    journal: Path = field(init=False)

    def __post_init__(self) -> None:
        self.checkout = self.home / "check out"
        self.bin = self.home / "bin"
        self.journal = self.home / "journal"
        self.checkout.mkdir()
        self.bin.mkdir()
        (self.checkout / "docs").mkdir()
        (self.checkout / "scripts").mkdir()
        for name in ("_env.sh", "serve", "test"):
            shutil.copy(SCRIPTS / name, self.checkout / "scripts")
        for name in ("pyproject.toml", "requirements-dev.txt"):
            (self.checkout / name).touch()
        for tool in TOOLS:
            if found := shutil.which(tool):
                self.bin.joinpath(tool).symlink_to(found)

    def install(self, name: str, text: str, **traits: int) -> None:
        program = self.bin / name
        program.write_text(text.format(environment=ENVIRONMENT, **traits))
        program.chmod(0o755)

    def python(
        self, name: str = "python3", *, too_old: int = 0, ensurepip: int = 1, pip: int = 1
    ) -> None:
        self.install(name, PYTHON, too_old=too_old, ensurepip=ensurepip, pip=pip)

    def uv(self, *, broken: int = 0) -> None:
        self.install("uv", UV, broken=broken)

    def script(self, name: str, *argv: str, **environ: str) -> tuple[int, str, list[str]]:
        """Run a script: its status, its messages, and what the fakes wrote down."""
        self.journal.write_text("")
        env = {"PATH": str(self.bin), "JOURNAL": str(self.journal), **environ}
        done = run(self.checkout / "scripts" / name, *argv, env=env)
        return done.returncode, done.stderr, self.journal.read_text().splitlines()


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_serve_makes_an_environment_and_serves_the_docs(machine: Machine) -> None:
    machine.python()
    status, _, done = machine.script("serve")

    assert status == 0
    assert done == [
        "venv",
        f"pip -m pip install --editable {machine.checkout} --quiet",
        f"run -P -m mpserve --listing --bind 127.0.0.1:8000 {machine.checkout}/docs",
    ]


def test_serve_hands_its_arguments_on(machine: Machine) -> None:
    machine.python()
    done = machine.script("serve", "--workers", "4", "/srv/a b")[2]

    assert done[-1] == "run -P -m mpserve --workers 4 /srv/a b"


def test_test_installs_what_tests_need_too(machine: Machine) -> None:
    machine.python()
    status, _, done = machine.script("test", "-k", "ranges")

    assert status == 0
    assert done == [
        "venv",
        f"pip -m pip install --editable {machine.checkout} --quiet",
        f"pip -m pip install --requirement {machine.checkout}/requirements-dev.txt --quiet",
        "run -m pytest -n auto --dist worksteal -k ranges",
    ]


def test_the_second_time_nothing_is_left_to_do(machine: Machine) -> None:
    machine.python()
    machine.script("test")

    assert machine.script("test") == (0, "", ["run -m pytest -n auto --dist worksteal"])


def test_what_has_changed_is_installed_anew(machine: Machine) -> None:
    machine.python()
    machine.script("test")
    (machine.checkout / "requirements-dev.txt").write_text("more")
    done = machine.script("test")[2]

    assert done == [
        f"pip -m pip install --requirement {machine.checkout}/requirements-dev.txt --quiet",
        "run -m pytest -n auto --dist worksteal",
    ]


@pytest.mark.slow
def test_another_interpreter_gets_an_environment_of_its_own(machine: Machine) -> None:
    machine.python()
    machine.script("serve")
    machine.python("python3.13")
    done = machine.script("serve", PYTHON="python3.13")[2]

    assert done[0] == "venv"


def test_an_environment_that_is_there_is_used(machine: Machine) -> None:
    machine.python()
    machine.script("serve", MPSERVE_VENV=str(machine.home / "other"))
    for mark in (machine.home / "other").glob(".*"):
        mark.unlink()
    done = machine.script("serve", MPSERVE_VENV=str(machine.home / "other"))[2]

    assert done[0].startswith("pip -m pip install --editable")
    assert not (machine.checkout / ".venv").exists()


def test_uv_is_used_where_it_is_there(machine: Machine) -> None:
    machine.python()
    machine.uv()
    done = machine.script("serve", "/srv")[2]

    assert done == ["uv venv", "uv pip", "run -P -m mpserve /srv"]


def test_uv_needs_no_python_beside_it(machine: Machine) -> None:
    machine.uv()

    assert machine.script("serve", "/srv")[2][0] == "uv venv"


def test_pip_installs_what_uv_cannot(machine: Machine) -> None:
    machine.python()
    machine.uv(broken=1)
    status, _, done = machine.script("serve", "/srv")

    assert status == 0
    assert done == ["uv venv", "uv pip", "pip from outside", "run -P -m mpserve /srv"]


def test_without_python3_venv_the_pip_outside_is_enough(machine: Machine) -> None:
    machine.python(ensurepip=0)
    done = machine.script("serve", "/srv")[2]

    assert done == ["venv without pip", "pip from outside", "run -P -m mpserve /srv"]


def test_an_older_python3_is_passed_over(machine: Machine) -> None:
    machine.python(too_old=1, ensurepip=0, pip=0)
    machine.python("python3.12")

    assert machine.script("serve", "/srv")[2][0] == "venv"


@pytest.mark.parametrize("script", ["serve", "test"])
def test_without_venv_and_pip_one_sentence_says_what_to_install(
    machine: Machine, script: str
) -> None:
    machine.python(ensurepip=0, pip=0)

    assert machine.script(script) == (
        1,
        f"{script}: Python has neither venv nor pip to start from: `apt install python3-venv`\n",
        [],
    )


@pytest.mark.parametrize(
    ("environ", "place"), [({}, ""), ({"PYTHON": "python3"}, " at python3")], ids=["any", "named"]
)
def test_without_a_recent_python_one_sentence_says_what_to_install(
    machine: Machine, environ: dict[str, str], place: str
) -> None:
    machine.python(too_old=1)

    assert machine.script("serve", **environ) == (
        1,
        f"serve: there is no Python 3.11 or later{place}: `apt install python3 python3-venv`\n",
        [],
    )


def test_a_directory_that_is_no_environment_is_not_touched(machine: Machine) -> None:
    machine.python()
    precious = machine.home / "precious"
    precious.mkdir()
    (precious / "file").touch()
    status, told, done = machine.script("test", MPSERVE_VENV=str(precious))

    assert (status, done) == (1, [])
    assert told.startswith(f"test: {precious} is no virtual environment: remove it, or set")
    assert [path.name for path in precious.iterdir()] == ["file"]


def broken_pip(machine: Machine) -> None:
    environment = machine.checkout / ".venv"
    machine.python(pip=0)
    machine.script("serve")
    (environment / ".serve.stamp").unlink()
    (environment / "bin" / "pip").unlink()


def test_serving_goes_on_without_packages(machine: Machine) -> None:
    broken_pip(machine)
    status, told, done = machine.script("serve", "/srv")

    assert (status, done) == (0, ["run -P -m mpserve /srv"])
    assert told.endswith("serve: serving all the same: that takes no more than Python itself\n")


def test_testing_does_not(machine: Machine) -> None:
    broken_pip(machine)
    status, told, done = machine.script("test")

    assert (status, done) == (1, [])
    assert "there is no pip to install packages with" in told

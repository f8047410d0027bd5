"""The image definition: what it copies is there, what it starts is ours, and it runs as it would in an engine."""

from __future__ import annotations

import fnmatch
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tomllib
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from mpserve import config
from tests.deploy import images, units
from tests.harness.peers import free_port
from tests.harness.until import until

TOP = Path(__file__).parents[2]
FOLDER = units.DEPLOY / "container"
DEFINITION = FOLDER / "Containerfile"
BUILD, FINAL = images.read(DEFINITION)
USER = 65532


def from_the_checkout(stage: images.Stage) -> list[str]:
    """What the stage copies from the build's context."""
    copies = [copy for copy in stage.all("COPY") if "from" not in copy.flags]
    return [source for copy in copies for source in images.copied(copy)[0]]


def command(port: int, root: Path) -> list[str]:
    """What the image starts, here: with another port and another root."""
    (program,) = FINAL.last("ENTRYPOINT").listed()
    assert program == "mpserve"
    places = {":8080": f"127.0.0.1:{port}", "/srv/www": str(root)}
    words = [places.get(word, word) for word in FINAL.last("CMD").listed()]
    return [sys.executable, "-m", "mpserve", *words]


@pytest.mark.parametrize("source", from_the_checkout(BUILD) + from_the_checkout(FINAL))
def test_what_is_copied_is_there_and_gets_into_the_build(source: str) -> None:
    ignored = (FOLDER / "Containerfile.dockerignore").read_text().splitlines()
    allowed = [line.removeprefix("!") for line in ignored if line.startswith("!")]

    assert (TOP / source).exists()
    assert any(source == each or source.startswith(f"{each}/") for each in allowed)


def test_nothing_else_gets_into_the_build() -> None:
    lines = (FOLDER / "Containerfile.dockerignore").read_text().splitlines()

    assert next(line for line in lines if not line.startswith("#")) == "*"


def test_the_build_has_all_that_the_project_is_built_from() -> None:
    project = tomllib.loads((TOP / "pyproject.toml").read_text())
    needed = {
        "pyproject.toml",
        project["project"]["readme"],
        *project["project"]["license-files"],
        *project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"],
    }
    copied = from_the_checkout(BUILD)

    assert not {each for each in needed if not any(fnmatch.fnmatch(each, one) for one in copied)}


def test_only_what_was_built_goes_from_stage_to_stage() -> None:
    (copy,) = [copy for copy in FINAL.all("COPY") if "from" in copy.flags]

    assert (copy.flags["from"], images.copied(copy)) == (
        BUILD.name,
        (["/opt/mpserve"], "/opt/mpserve"),
    )
    assert not FINAL.all("RUN")


def test_both_stages_have_the_same_interpreter() -> None:
    # An environment holds a link to it, and compiled files.
    assert BUILD.base == FINAL.base


def test_the_user_is_a_number_and_not_root() -> None:
    assert FINAL.last("USER").rest == f"{USER}:{USER}"


def test_the_command_is_one_of_ours_on_the_port_that_is_exposed(tmp_path: Path) -> None:
    words = FINAL.last("CMD").listed()
    loaded = config.load([str(tmp_path) if word == "/srv/www" else word for word in words], {})

    assert [str(address.port) for address in loaded.bind] == [FINAL.last("EXPOSE").rest]
    assert loaded.access_log == "-"


def test_the_health_check_asks_the_port_that_is_exposed_with_what_the_image_has() -> None:
    check = FINAL.last("HEALTHCHECK")
    command = json.loads(check.rest.strip().removeprefix("CMD "))
    targets = [images.copied(copy)[1] for copy in FINAL.all("COPY")]
    (limit,) = re.findall(r"^LIMIT = ([0-9.]+)", (FOLDER / "probe.py").read_text(), re.MULTILINE)

    assert command[:3] == ["python", "-I", "-S"]
    assert command[3] in targets
    assert command[4:] == [f"127.0.0.1:{FINAL.last('EXPOSE').rest}", "/"]
    # It says itself what was wrong, before the engine says that it took too long.
    assert float(limit) < units.seconds(check.flags["timeout"])


def test_check_accepts_the_command(tmp_path: Path) -> None:
    done = subprocess.run(
        [*command(0, tmp_path), "--check"], cwd=TOP, capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stderr) == (0, "")


# --- Run as an engine would run it ----------------------------------------------------------------

# A mount and a process namespace of its own, everything read-only, an unprivileged user without capabilities.
AS_CONTAINER = (
    "mount --make-rprivate / && mount -t proc proc /proc && mount -o remount,bind,ro / && exec setpriv "
    f"--reuid={USER} --regid={USER} --clear-groups --no-new-privs --bounding-set=-all "
    '--inh-caps=-all -- "$@"'
)


@pytest.fixture
def contained(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """The image's command as PID 1, and its port."""
    if shutil.which("unshare") is None or os.geteuid() != 0:
        pytest.skip("it takes root, and unshare, to make namespaces")
    if subprocess.run(["unshare", "-pfm", "true"], check=False).returncode != 0:
        pytest.skip("no namespaces can be made here")
    root = Path("/tmp") / tmp_path.name
    root.mkdir()
    shutil.copy(FOLDER / "welcome.html", root / "index.html")
    port = free_port()
    process = subprocess.Popen(
        ["unshare", "-pfm", "--kill-child", "sh", "-c", AS_CONTAINER, "sh", *command(port, root)],
        cwd=TOP,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield process, port
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(root)


def answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as answer:
            return b"It serves." in answer.read()
    except OSError:
        return False


def child(pid: int) -> int:
    """The process that `unshare` has forked: PID 1 of its namespace."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return int(children[0])


@pytest.mark.slow
def test_it_serves_as_pid_1_without_rights_on_a_read_only_system_and_ends_when_told(
    contained: tuple[subprocess.Popen[bytes], int],
) -> None:
    process, port = contained
    assert until(lambda: answers(port) or process.poll() is not None)
    assert process.poll() is None
    master = child(process.pid)
    state = dict(
        line.split(":\t", 1) for line in Path(f"/proc/{master}/status").read_text().splitlines()
    )
    os.kill(master, signal.SIGTERM)

    assert state["NSpid"].split()[-1] == "1"
    assert set(state["Uid"].split()) == {str(USER)}
    assert int(state["CapEff"], 16) == 0
    assert process.wait(40) == 0

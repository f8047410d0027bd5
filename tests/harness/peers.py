"""The servers mpserve is measured beside, each started alone on a free port of the loopback interface.

A peer is a row of PEERS: its program, and the recipe by which it is configured.
"""

from __future__ import annotations

import importlib.util
import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Self

from tests.harness.recipes import (
    CONNECTIONS,
    HOST,
    SEARCH_PATH,
    Plan,
    prepare_apache2,
    prepare_caddy,
    prepare_h2o,
    prepare_http_server,
    prepare_lighttpd,
    prepare_mpserve,
    prepare_mpserve_config,
    prepare_nginx,
    prepare_nginx_alone,
    prepare_nginx_cache,
    prepare_nginx_push,
)

PROJECT = Path(__file__).parents[2]
START_LIMIT = 20.0  # seconds for a peer to answer its first request
STOP_LIMIT = 5.0  # seconds between the polite signal and SIGKILL

# What each of these means inside a quoted string differs from server to server.
UNQUOTABLE = re.compile(r'["\\$`{}\n\r]')


class PeerError(Exception):
    """A peer is missing or did not start; the text says which and why."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to recognise and start one kind of server."""

    prepare: Callable[[Plan], list[str]]
    program: str  # "" when it is the interpreter that runs this
    version: tuple[str, ...]  # the arguments that make the program print its version
    module: str = ""  # the Python module it is, where it is one


PEERS: dict[str, Recipe] = {
    "mpserve": Recipe(prepare_mpserve, "", ("-m", "mpserve", "--version"), "mpserve.cli"),
    "mpserve-config": Recipe(
        prepare_mpserve_config, "", ("-m", "mpserve", "--version"), "mpserve.cli"
    ),
    "nginx": Recipe(prepare_nginx, "nginx", ("-v",)),
    "nginx-cache": Recipe(prepare_nginx_cache, "nginx", ("-v",)),
    "nginx-alone": Recipe(prepare_nginx_alone, "nginx", ("-v",)),
    "nginx-push": Recipe(prepare_nginx_push, "nginx", ("-v",)),
    "lighttpd": Recipe(prepare_lighttpd, "lighttpd", ("-v",)),
    "h2o": Recipe(prepare_h2o, "h2o", ("-v",)),
    "caddy": Recipe(prepare_caddy, "caddy", ("version",)),
    "apache2": Recipe(prepare_apache2, "apache2", ("-v",)),
    "http.server": Recipe(prepare_http_server, "", ("--version",), "http.server"),
}


def mpserve_by(
    python: str,
    source: Path = PROJECT,
    options: Sequence[str] = (),
    module: Sequence[str] = ("mpserve",),
) -> Recipe:
    """One run by another interpreter, from other sources, with other settings, or by a module that changes it."""
    # A variable, for sources that have no such setting yet.
    limit = f"MPSERVE_MAX_CONNECTIONS={CONNECTIONS}"
    launcher = ("env", f"--chdir={source}", limit, python, "-m", *module)
    prepare = partial(prepare_mpserve, launcher=launcher, options=options)
    return Recipe(prepare, "env", (*launcher[1:], "--version"))


def recipe_of(name: str) -> Recipe:
    """The row of `name`; PeerError when there is none."""
    if name not in PEERS:
        raise PeerError(f"{name} is not a known server; known are {', '.join(PEERS)}")
    return PEERS[name]


def program_of(recipe: Recipe) -> str | None:
    """The path of the recipe's program; None when it is not installed."""
    if not recipe.module:
        return shutil.which(recipe.program, path=SEARCH_PATH)
    return sys.executable if importlib.util.find_spec(recipe.module) else None


def available(name: str) -> bool:
    """Is the server `name` installed on this machine?"""
    return program_of(recipe_of(name)) is not None


def version_of(name: str) -> str:
    """The version `name` reports of itself, "" when it tells none."""
    recipe = recipe_of(name)
    program = program_of(recipe)
    if program is None:
        return ""
    done = subprocess.run([program, *recipe.version], capture_output=True, text=True, check=False)
    found = re.search(r"\d+\.\d+[\w.+-]*", done.stdout + done.stderr)
    return found.group() if found else ""


def free_port() -> int:
    """A port nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass(slots=True)
class Peer(AbstractContextManager["Peer"]):
    """One running server, with all its processes."""

    name: str
    version: str
    host: str
    port: int
    process: subprocess.Popen[bytes]
    home: tempfile.TemporaryDirectory[str]
    complaints: Path  # what it wrote to standard error
    started: float  # monotonic: just before its process was made
    first_byte: float = field(default=0.0)  # monotonic: the first octet of its first answer

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    def pids(self) -> list[int]:
        """All its processes: they share the process group that it was started in."""
        return sorted(pid for pid, group in groups() if group == self.process.pid)

    def stop(self) -> None:
        """Ends all its processes: with TERM first, by force when that takes too long."""
        try:
            self.process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(STOP_LIMIT)
            # Whom it has left behind, as a shell does, must be told themselves.
            signal_all(self.pids(), signal.SIGTERM)
            self.wait(STOP_LIMIT)
            while left := self.pids():
                signal_all(left, signal.SIGKILL)
                self.wait(STOP_LIMIT)
            self.process.wait()
        finally:
            self.home.cleanup()

    def wait(self, limit: float) -> None:
        """Returns when none of its processes is left, or after `limit` seconds."""
        deadline = time.monotonic() + limit
        while time.monotonic() < deadline:
            if not self.pids():
                return
            time.sleep(0.005)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def groups() -> Iterator[tuple[int, int]]:
    """(process, its process group) for every living process."""
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            stat = Path("/proc", entry, "stat").read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            continue
        # The name stands in parentheses and may hold anything: the fields begin after the last one.
        state, _parent, group = stat[stat.rindex(b")") + 2 :].split()[:3]
        if state not in (b"Z", b"X"):
            yield int(entry), int(group)


def signal_all(pids: Sequence[int], number: signal.Signals) -> None:
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue


def start(
    name: str,
    root: Path,
    *,
    workers: int = 1,
    access_log: Path | None = None,
    cpus: Collection[int] | None = None,
) -> Peer:
    """The server `name`, serving `root` and ready to answer; stop it, or use it in a `with`.

    `cpus`: the processors it may run on. PeerError when it is missing or does not start.
    """
    recipe = recipe_of(name)
    program = program_of(recipe)
    if program is None:
        raise PeerError(f"{name} is not installed")
    root, access_log = root.absolute(), access_log and access_log.absolute()
    refuse_unquotable(root, *([access_log] if access_log else []))
    home = tempfile.TemporaryDirectory(prefix=f"peer-{name}-", ignore_cleanup_errors=True)
    os.chmod(home.name, 0o755)  # a worker that has given up root still reads its own files
    plan = Plan(root, free_port(), workers, access_log, Path(home.name))
    try:
        command = recipe.prepare(plan)
        started = time.monotonic()
        process, complaints = launch(command, plan, cpus)
    except BaseException:
        home.cleanup()
        raise
    peer = Peer(name, version_of(name), HOST, plan.port, process, home, complaints, started)
    try:
        peer.first_byte = await_first_byte(peer)
    except BaseException:
        peer.stop()
        raise
    return peer


def refuse_unquotable(*paths: Path) -> None:
    """PeerError for a path that the servers' configuration files would read in different ways."""
    for path in paths:
        if UNQUOTABLE.search(str(path)):
            raise PeerError(f"{path} has a character that configuration files do not quote alike")


def launch(
    command: list[str], plan: Plan, cpus: Collection[int] | None
) -> tuple[subprocess.Popen[bytes], Path]:
    """The process of `command`, and the file that takes what it writes to standard error."""
    # http.server knows no access log of its own; its standard error is one.
    complaints = plan.home / "stderr"
    if "http.server" in command and plan.access_log:
        complaints = plan.access_log
    environment = {
        **os.environ,
        "PATH": SEARCH_PATH,
        "GOMAXPROCS": str(plan.workers),
        "HOME": str(plan.home),
        "XDG_CONFIG_HOME": str(plan.home),
        "XDG_DATA_HOME": str(plan.home),
    }
    with complaints.open("wb") as errors, placed(cpus):
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=errors,
            stderr=errors,
            env=environment,
            cwd=PROJECT,  # where `-m mpserve` finds this checkout
            process_group=0,
        )
    return process, complaints


@contextmanager
def placed(cpus: Collection[int] | None) -> Iterator[None]:
    """Processes born meanwhile run on `cpus` only, and may open as many files as the system lets them."""
    processors, limits = os.sched_getaffinity(0), resource.getrlimit(resource.RLIMIT_NOFILE)
    os.sched_setaffinity(0, cpus or processors)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limits[1], limits[1]))
    try:
        yield
    finally:
        os.sched_setaffinity(0, processors)
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def await_first_byte(peer: Peer) -> float:
    """The monotonic time at which the first octet of an answer arrived."""
    deadline = peer.started + START_LIMIT
    while time.monotonic() < deadline:
        if peer.process.poll() is not None:
            raise PeerError(f"{peer.name} ended with status {peer.process.returncode}:{why(peer)}")
        if answers(peer):
            return time.monotonic()
        time.sleep(0.001)
    raise PeerError(f"{peer.name} did not answer within {START_LIMIT:.0f} s:{why(peer)}")


def answers(peer: Peer) -> bool:
    """Does it send at least one octet in answer to a request?"""
    try:
        with socket.create_connection((peer.host, peer.port), timeout=1.0) as sock:
            sock.sendall(b"GET / HTTP/1.1\r\nHost: peer\r\nConnection: close\r\n\r\n")
            return bool(sock.recv(1))
    except OSError:
        return False


def why(peer: Peer) -> str:
    """The last lines that the peer wrote to standard error or to its error log."""
    texts = [peer.complaints, Path(peer.home.name, "error.log")]
    lines = [
        line
        for path in texts
        if path.exists()
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines()
    ]
    return "".join(f"\n  {line}" for line in lines[-8:]) or " it said nothing"

"""The sandbox as the kernel makes it: probed from within workers that serve."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

import psutil
import pytest

from mpserve.sandbox import MEASURES, attempt
from tests.harness.server import Server
from tests.harness.until import until
from tests.process.conftest import Serve, content, get, ignored
from tests.process.traffic import Traffic

pytestmark = pytest.mark.slow

needs_all = pytest.mark.skipif(attempt() < set(MEASURES), reason="this system has no whole sandbox")
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")

AS_NOBODY = ("--user", "nobody")


class Wrapped(Server):
    """A server whose workers run `code` once they serve, before they look at any request.

    It finds `tell`, which sends an object to standard error as a line of JSON, and `worker`.
    """

    def __init__(self, code: str, root: Path, *arguments: str) -> None:
        super().__init__(root, "--workers", "1", *arguments)
        self.command = (sys.executable, "-c", WRAPPER + code + START, *self.command[3:])

    def told(self) -> object:
        """What the first worker has told."""
        self.wait_for_line(r"^told ")
        found = re.search(r"^told (.*)$", self.stderr, re.MULTILINE)
        assert found is not None
        return json.loads(found[1])


WRAPPER = """
import errno, json, os, signal, socket, sys
from mpserve import crew
from mpserve.worker import Word
def tell(what):
    os.write(2, b"told " + json.dumps(what).encode() + b"\\n")
def outcome(deed, *arguments):
    try:
        deed(*arguments)
    except OSError as error:
        return errno.errorcode[error.errno]
    except ModuleNotFoundError:  # in a place that may not even be looked at
        return "EACCES"
    return "done"
class Probing(crew.Worker):
    def run(self, say, life):
        def probed(word):
            say(word)
            probe(self)
        status = super().run(probed, life)
        at_the_end()
        return status
def probe(worker):
    pass
def at_the_end():
    pass
crew.Worker = Probing
"""
START = """
from mpserve.cli import main
sys.exit(main(sys.argv[1:]))
"""

# What a worker that somebody has taken over might try.
PROBE = """
def probe(worker):
    root = os.fsdecode(worker.config.site.root)
    port = 9
    mine = os.path.join(root, "hello.txt")
    tell({
        "read /etc/passwd": outcome(open, "/etc/passwd"),
        "read /proc/self/environ": outcome(open, "/proc/self/environ"),
        "list /": outcome(os.listdir, "/"),
        "read beneath the root": outcome(open, mine),
        "list the root": outcome(os.listdir, root),
        "write": outcome(open, mine, "r+"),
        "create": outcome(open, os.path.join(root, "new"), "x"),
        "create elsewhere": outcome(open, "/tmp/mpserve-probe", "x"),
        "truncate": outcome(os.truncate, mine, 0),
        "remove": outcome(os.unlink, mine),
        "rename": outcome(os.rename, mine, mine + ".old"),
        "chmod": outcome(os.chmod, mine, 0o777),
        "touch": outcome(os.utime, mine),
        "socket": outcome(socket.socket),
        "socketpair": outcome(socket.socketpair),
        "connect": outcome(socket.create_connection, ("127.0.0.1", port), 1),
        "bind": outcome(worker.probe_socket.bind, ("127.0.0.1", 0)),
        "connect an old socket": outcome(worker.probe_socket.connect, ("127.0.0.1", port)),
        "listen": outcome(worker.probe_socket.listen),
        "kill the master": outcome(os.kill, os.getppid(), signal.SIGTERM),
        "kill by pidfd": outcome(os.pidfd_open, os.getppid()),
        "exec": outcome(os.execv, "/bin/true", ["true"]),
        "fork": outcome(os.fork),
        "posix_spawn": outcome(os.posix_spawn, "/bin/true", ["true"], {}),
        "chroot": outcome(os.chroot, root),
        "import": outcome(__import__, "wave"),
    })
made = crew.Worker.__init__
def init(self, *arguments):
    made(self, *arguments)
    self.probe_socket = socket.socket()
crew.Worker.__init__ = init
"""

# As root, the first of these would change nothing.
PROBE_AS_USER = PROBE.replace(
    """"chroot":""",
    """"become root": outcome(os.setuid, 0),
        "join root's group": outcome(os.setgid, 0),
        "join groups": outcome(os.setgroups, [0]),
        "chroot":""",
)
BECOMING = {"become root", "join root's group", "join groups"}

DENIED_BY_LANDLOCK = {
    "read /etc/passwd",
    "read /proc/self/environ",
    "list /",
    "import",
    "write",
    "create",
    "create elsewhere",
}
ALLOWED = {"read beneath the root", "list the root"}


READING = {"read /etc/passwd", "read /proc/self/environ", "list /", "import"}


@needs_all
@pytest.mark.parametrize("links", ["inside", "none", "any"])
def test_a_worker_can_do_nothing_but_read_its_root_and_answer(root: Path, links: str) -> None:
    with Wrapped(PROBE, root, "--sandbox", "require", "--symlinks", links) as server:
        told = server.told()
        assert isinstance(told, dict)
        served = content(server, "/hello.txt")
    allowed = ALLOWED | READING if links == "any" else ALLOWED
    by_landlock = DENIED_BY_LANDLOCK - allowed

    assert {each for each, outcome in told.items() if outcome == "done"} == allowed
    assert {told[each] for each in by_landlock} == {"EACCES"}
    assert {told[each] for each in told.keys() - by_landlock - allowed} == {"EPERM"}
    assert served == b"hello\n"


# What a worker that somebody has taken over might do to hide it.
HIDING = """
import fcntl
def opened_on(fd, path):
    try:
        return os.path.samestat(os.fstat(fd), os.stat(path))
    except OSError:
        return False
def probe(worker):
    log = next(fd for fd in range(3, 100) if opened_on(fd, worker.config.access_log))
    tell({
        "cut off": outcome(os.ftruncate, log, 0),
        "make room": outcome(os.posix_fallocate, log, 0, 4096),
        "go back": outcome(fcntl.fcntl, log, fcntl.F_SETFL, os.O_NONBLOCK),
        "open anew": outcome(os.open, worker.config.access_log, os.O_WRONLY),
        "write": outcome(os.pwrite, log, b"more\\n", 0),
    })
"""


@needs_all
def test_a_worker_can_take_no_line_out_of_its_log(root: Path, tmp_path: Path) -> None:
    log = tmp_path / "access"
    log.write_bytes(b"what was\n")
    with Wrapped(HIDING, root, "--sandbox", "require", "--access-log", str(log)) as server:
        told = server.told()
        assert isinstance(told, dict)

    assert {each for each, outcome in told.items() if outcome == "done"} == {"write"}
    assert log.read_bytes() == b"what was\nmore\n"


@needs_all
@needs_root
def test_nor_can_a_worker_that_is_somebody_else(public: Path) -> None:
    with Wrapped(PROBE_AS_USER, public, "--sandbox", "require", *AS_NOBODY) as server:
        told = server.told()
        assert isinstance(told, dict)
        served = content(server, "/hello.txt")

    assert {each for each, outcome in told.items() if outcome == "done"} == ALLOWED
    assert {told[each] for each in BECOMING} == {"EPERM"}
    assert served == b"hello\n"


def test_the_probe_would_see_a_worker_that_can_do_more(root: Path) -> None:
    harmless = """
def probe(worker):
    tell([
        outcome(open, "/etc/passwd"),
        outcome(open, os.path.join(os.fsdecode(worker.config.site.root), "hello.txt"), "r+"),
        outcome(socket.socket),
        outcome(os.kill, os.getppid(), 0),
        outcome(__import__, "wave"),
    ])
"""
    with Wrapped(harmless, root, "--sandbox", "off") as server:
        assert server.told() == ["done"] * 5


def status_of(pid: int) -> dict[str, str]:
    """The lines of /proc/PID/status."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


@needs_all
def test_the_worker_is_confined_and_the_master_is_not(serve: Serve) -> None:
    server = serve("--workers", "1", "--sandbox", "auto")
    (pid,) = server.workers()
    worker, master = status_of(pid), status_of(server.pid)

    assert (worker["NoNewPrivs"], worker["Seccomp"]) == ("1", "2")
    assert (master["NoNewPrivs"], master["Seccomp"]) == ("0", "0")
    assert "  sandbox: openat2 landlock(" in server.stderr


@needs_all
def test_a_replacement_is_confined_too(serve: Serve) -> None:
    server = serve("--workers", "1", "--sandbox", "auto")
    (victim,) = server.workers()
    os.kill(victim, signal.SIGKILL)

    assert until(lambda: bool(set(server.workers()) - {victim}))
    (fresh,) = server.workers()
    assert until(lambda: status_of(fresh)["Seccomp"] == "2")
    assert content(server, "/hello.txt") == b"hello\n"


def test_the_level_stands_in_the_error_log_too(serve: Serve, tmp_path: Path) -> None:
    serve("--sandbox", "auto", "--error-log", str(tmp_path / "errors"))

    assert re.search(r"\[info\] \d+: sandbox: .*no_new_privs", (tmp_path / "errors").read_text())


@needs_all
def test_links_to_anywhere_can_be_followed_where_they_are_allowed(
    serve: Serve, root: Path, tmp_path: Path
) -> None:
    (tmp_path / "outside.txt").write_bytes(b"outside\n")
    (root / "link.txt").symlink_to(tmp_path / "outside.txt")
    server = serve("--sandbox", "require", "--symlinks", "any")

    assert content(server, "/link.txt") == b"outside\n"
    assert "reading anywhere" in server.stderr


@needs_all
def test_bugs_are_logged_with_their_traceback_all_the_same(root: Path) -> None:
    code = """
def probe(worker):
    def stumble():
        return worker.log.nonesuch(1)
    worker.loop.later(0.0, stumble)
"""
    with Wrapped(code, root, "--sandbox", "require") as server:
        server.wait_for_line(r"nonesuch")

        assert content(server, "/hello.txt") == b"hello\n"
        assert "in guarded" in server.stderr or "loop.py" in server.stderr


GROWTH = """
before = set()
def probe(worker):
    before.update(sys.modules)
def at_the_end():
    tell(sorted(set(sys.modules) - before))
"""


@pytest.mark.parametrize("form", ["combined", "json"])
def test_no_module_is_loaded_while_serving(root: Path, form: str) -> None:
    (root / "no\udc80.txt").write_bytes(b"x")
    (root / "list").mkdir()
    (root / "locked").write_bytes(b"x")
    words = ("--listing", "--log-format", form, "--sandbox", "auto")
    with Wrapped(GROWTH, root, *words) as server:
        for path in ("/hello.txt", "/list/", "/", "/none", "/dir", "/no%80.txt", "/%ff", "/\\"):
            get(server, path)
        get(server, "/hello.txt", Range="bytes=0-1,3-4")
        get(server, "/hello.txt", Range="bytes=1-")
        get(server, "/hello.txt", If_Modified_Since="Wed, 25 Nov 2026 12:00:00 GMT")
        server.signal(signal.SIGTERM)
        told = server.told()

    assert told == []


# --- Who the workers are --------------------------------------------------------------------------


@needs_root
def test_workers_are_the_user_that_is_named_and_nobody_else(serve: Serve, public: Path) -> None:
    server = serve("--workers", "2", "--sandbox", "auto", *AS_NOBODY, at=public)
    uid, gid = (psutil.Process(server.workers()[0]).uids(), psutil.Process(server.pid).uids())
    lines = [status_of(pid) for pid in server.workers()]

    assert (uid.real, gid.real) == (65534, 0)
    for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert {int(each[name], 16) for each in lines} == {0}
    assert {each["Uid"] for each in lines} == {"\t".join(["65534"] * 4)}
    assert {each["Groups"] for each in lines} == {"65534"}
    assert content(server, "/hello.txt") == b"hello\n"
    assert "as nobody" in server.stderr


@needs_root
def test_a_file_that_the_user_may_not_read_is_forbidden(serve: Serve, public: Path) -> None:
    (public / "secret").write_bytes(b"x")
    (public / "secret").chmod(0o600)
    server = serve("--workers", "1", *AS_NOBODY, at=public)

    assert get(server, "/secret").status == 403


@needs_root
def test_a_root_that_the_user_may_not_enter_is_refused_at_the_start(public: Path) -> None:
    public.chmod(0o700)
    command = [sys.executable, "-m", "mpserve", "--bind", "0", *AS_NOBODY, str(public)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)

    assert done.returncode == 3
    assert f"nobody may not enter {str(public)!r}" in done.stderr
    assert "Traceback" not in done.stderr


@needs_root
def test_another_process_of_the_user_cannot_look_into_a_worker(serve: Serve, public: Path) -> None:
    server = serve("--workers", "1", *AS_NOBODY, at=public)
    (pid,) = server.workers()
    peek = [
        *("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"),
        *("--bounding-set=-all", "cat", f"/proc/{pid}/environ"),
    ]
    done = subprocess.run(peek, capture_output=True, text=True, check=False)

    assert done.returncode != 0
    assert "Permission denied" in done.stderr


# Names of /proc/PID/limits.
NO_USE_FOR = (
    "core file size",
    "locked memory",
    "msgqueue size",
    "nice priority",
    "realtime priority",
)


@pytest.mark.parametrize("sandbox", ["auto", "off"])
def test_a_worker_has_none_of_what_it_has_no_use_for(serve: Serve, sandbox: str) -> None:
    (pid,) = serve("--workers", "1", "--sandbox", sandbox).workers()
    limits = Path(f"/proc/{pid}/limits").read_text()
    found = re.findall(r"^Max (.*?)  +(\S+) +(\S+)", limits, re.MULTILINE)

    assert [(name, *most) for name, *most in found if name in NO_USE_FOR] == [
        (name, "0", "0") for name in NO_USE_FOR
    ]


# --- Where something is missing -------------------------------------------------------------------

# A filter as of a container that is older than these calls, and then the server.
FILTERED = """
import ctypes, os, struct, sys
code, *calls = map(int, os.environ["REFUSED"].split())
filter = [(0x20, 0, 0, 0)]
for call in calls:
    filter += [(0x15, 0, 1, call), (0x06, 0, 0, 0x0005_0000 | code)]
filter.append((0x06, 0, 0, 0x7FFF_0000))
octets = b"".join(struct.pack("HBBI", *each) for each in filter)
program = struct.pack("HxxxxxxP", len(filter), ctypes.cast(octets, ctypes.c_void_p).value)
prctl = ctypes.CDLL(None, use_errno=True).prctl
prctl.argtypes = [ctypes.c_int, *[ctypes.c_void_p] * 4]
if prctl(38, 1, 0, 0, 0) or prctl(22, 2, program, 0, 0):
    sys.exit("no filter")
os.execv(sys.executable, [sys.executable, "-m", "mpserve", *sys.argv[1:]])
"""
LANDLOCK = "444 445 446"
OPENAT2_AND_LANDLOCK = f"437 {LANDLOCK}"


class Filtered(Server):
    """A server in a container that lacks openat2, Landlock or both: it gets `code` for them."""

    def __init__(
        self, code: int, root: Path, *arguments: str, calls: str = OPENAT2_AND_LANDLOCK
    ) -> None:
        environment = {"REFUSED": f"{code} {calls}"}
        super().__init__(root, *arguments, environment=environment)
        self.command = (sys.executable, "-c", FILTERED, *self.command[3:])


without = pytest.mark.parametrize(
    "code", [pytest.param(38, id="ENOSYS"), pytest.param(1, id="EPERM")]
)


@needs_all
@without
def test_what_is_missing_is_done_without_and_told(code: int, root: Path) -> None:
    (root / "link.txt").symlink_to("hello.txt")
    (root / "out.txt").symlink_to("/etc/passwd")
    with Filtered(code, root, "--workers", "1", "--sandbox", "auto") as server:
        told = [content(server, "/hello.txt"), content(server, "/link.txt")]
        outside = get(server, "/out.txt").status

    assert (told, outside) == ([b"hello\n"] * 2, 404)
    assert "sandbox: seccomp no_new_privs (without openat2 landlock)" in server.stderr


@needs_all
@pytest.mark.parametrize(
    ("words", "level"),
    [
        (["--sandbox", "auto"], "openat2 seccomp no_new_privs (without landlock)"),
        # There is nothing left that would have to allow it.
        (
            ["--sandbox", "auto", "--symlinks", "any"],
            "openat2 seccomp no_new_privs (without landlock)",
        ),
        (["--sandbox", "off"], "off"),
    ],
    ids=["auto", "auto, links to anywhere", "off"],
)
def test_without_landlock_the_level_is_true(root: Path, words: list[str], level: str) -> None:
    with Filtered(38, root, "--workers", "1", *words, calls=LANDLOCK) as server:
        (pid,) = server.workers()
        served = content(server, "/hello.txt")
        filters = int(status_of(pid)["Seccomp_filters"])

    assert f"  sandbox: {level}\n" in server.stderr
    assert (served, filters) == (b"hello\n", 1 if level == "off" else 2)  # one is the container's


@needs_all
@pytest.mark.parametrize(
    ("words", "level", "confined"),
    [
        (["--sandbox", "auto"], r"openat2 landlock\(\d+\) seccomp no_new_privs", ("1", "2")),
        (["--sandbox", "require"], r"openat2 landlock\(\d+\) seccomp no_new_privs", ("1", "2")),
        (["--sandbox", "off"], "off", ("0", "0")),
        (
            ["--sandbox", "require", "--symlinks", "any"],
            r"openat2 landlock\(\d+, reading anywhere\) seccomp no_new_privs",
            ("1", "2"),
        ),
    ],
    ids=["auto", "require", "off", "links to anywhere"],
)
def test_the_level_is_what_the_kernel_says_of_a_worker(
    serve: Serve, words: list[str], level: str, confined: tuple[str, str]
) -> None:
    server = serve("--workers", "1", *words)
    (pid,) = server.workers()
    found = status_of(pid)

    assert re.search(rf"^  sandbox: {level}$", server.stderr, re.MULTILINE)
    assert (found["NoNewPrivs"], found["Seccomp"]) == confined


@needs_all
@without
def test_what_is_missing_and_required_is_a_refusal_to_start(code: int, root: Path) -> None:
    server = Filtered(code, root, "--sandbox", "require")
    server.spawn()

    assert server.wait() == 2
    expected = "mpserve: error: --sandbox require: this system has no openat2, no landlock\n"
    assert server.stderr == expected


# --- Orphans --------------------------------------------------------------------------------------


# The number of the signal is how many seconds it takes.
SOONER = "from mpserve import sandbox\nsandbox.ORPHANED = {number}\n"
# In C, where no handler of Python would ever be called.
HANG = """
import collections, itertools
def hang():
    tell("hanging")
    collections.deque(itertools.repeat(0), maxlen=0)
"""
IN_THE_LOOP = """
def probe(worker):
    worker.loop.later(0.0, hang)
"""
BEFORE_IT_SERVES = """
confine = sandbox.confine
def confine_and_hang(plan):
    confine(plan)
    hang()
sandbox.confine = confine_and_hang
"""
WITHOUT_HAVING_SEEN_IT = """
follow = sandbox.follow
def die_and_follow(master):
    os.kill(master, signal.SIGKILL)
    while os.getppid() == master:
        pass
    follow(master)
    hang()
sandbox.follow = die_and_follow
"""


@pytest.mark.parametrize(
    ("where", "number"),
    [
        # The lowest that a worker that serves has no other use for, and one that it has later.
        pytest.param(IN_THE_LOOP, signal.SIGTRAP, id="in the loop"),
        pytest.param(BEFORE_IT_SERVES, signal.SIGHUP, id="before it serves"),
        pytest.param(WITHOUT_HAVING_SEEN_IT, signal.SIGHUP, id="without having seen it die"),
    ],
)
def test_a_worker_that_hangs_does_not_outlive_its_master_for_long(
    where: str, number: signal.Signals, root: Path
) -> None:
    sooner = SOONER.format(number=int(number))
    server = Wrapped(sooner + HANG + where, root, "--sandbox", "auto")
    with ignored(signal.SIGALRM):  # as whoever starts us may have it, and we inherit
        server.spawn()
    try:
        server.told()
        os.kill(server.pid, signal.SIGKILL)

        # It would raise if the worker remained.
        assert server.wait() == -signal.SIGKILL
    finally:
        server.kill()


# --- A root that is replaced ----------------------------------------------------------------------


def switch(link: Path, target: Path) -> None:
    """Let `link` point to `target` from one moment to the next."""
    new = link.with_name(f"{link.name}.new")
    new.symlink_to(target)
    new.rename(link)


@pytest.fixture
def releases(tmp_path: Path) -> tuple[Path, list[Path]]:
    """A link that is served, and the directories that it is to point to, one after the other."""
    directories = [tmp_path / f"release-{number}" for number in range(8)]
    for directory in directories:
        directory.mkdir()
        (directory / "name.txt").write_text(directory.name)
    link = tmp_path / "current"
    link.symlink_to(directories[0])
    return link, directories


@needs_all
def test_the_first_answer_after_a_switch_is_already_right(
    serve: Serve, releases: tuple[Path, list[Path]]
) -> None:
    link, directories = releases
    server = serve("--workers", "2", "--sandbox", "require", at=link)
    seen = [content(server, "/name.txt").decode()]
    for directory in directories[1:]:
        switch(link, directory)
        began = time.monotonic()
        seen.append(content(server, "/name.txt").decode())
        assert time.monotonic() - began < 1.0

    assert seen == [directory.name for directory in directories]
    assert "cannot open" not in server.stderr


@needs_all
def test_clients_that_stay_see_every_switch_and_lose_nothing(
    serve: Serve, releases: tuple[Path, list[Path]]
) -> None:
    link, directories = releases
    server = serve("--workers", "2", "--sandbox", "require", at=link)
    for directory in directories[1:3]:
        with ExitStack() as stack:
            clients = []
            for _ in range(40):
                address = ("127.0.0.1", server.port)
                client = stack.enter_context(socket.create_connection(address, timeout=10))
                client.sendall(b"GET /name.txt HTTP/1.1\r\nHost: x\r\n\r\n")
                clients.append(client.makefile("rb"))
                first = read_answer(clients[-1])
                assert first[0] == 200
                stack.callback(client.close)
                clients[-1].client = client  # type: ignore[attr-defined]
            switch(link, directory)
            for each in clients:
                each.client.sendall(  # type: ignore[attr-defined]
                    b"GET /name.txt HTTP/1.1\r\nHost: x\r\nX: 1\r\n\r\n"
                    b"GET /none HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
                )
            answers = [(read_answer(each), read_answer(each)[0]) for each in clients]

        assert set(answers) == {((200, directory.name.encode()), 404)}


def read_answer(stream: BinaryIO) -> tuple[int, bytes]:
    """The status and the content of the next answer."""
    status = int(stream.readline().split()[1])
    length = 0
    while (line := stream.readline()) != b"\r\n":
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            length = int(value)
    return status, stream.read(length)


@needs_all
def test_a_root_that_is_gone_for_a_while_is_missing_and_then_served(
    serve: Serve, root: Path
) -> None:
    server = serve("--workers", "1", "--sandbox", "require")
    root.rename(root.with_name("old"))
    (victim,) = server.workers()
    os.kill(victim, signal.SIGKILL)
    assert until(lambda: set(server.workers()) not in ({victim}, set()))
    missing = get(server, "/hello.txt").status
    root.mkdir()
    (root / "hello.txt").write_bytes(b"back\n")

    assert (missing, content(server, "/hello.txt")) == (404, b"back\n")


@needs_all
def test_switches_under_load_lose_nothing(serve: Serve, tmp_path: Path) -> None:
    releases = [tmp_path / f"release-{number}" for number in range(6)]
    for release in releases:
        release.mkdir()
        (release / "hello.txt").write_bytes(b"hello\n")
    link = tmp_path / "current"
    link.symlink_to(releases[0])
    server = serve("--workers", "2", "--sandbox", "require", "--access-log", "off", at=link)
    with Traffic(server) as traffic:
        for release in releases[1:]:
            before, answered = set(server.workers()), traffic.answered
            switch(link, release)
            assert until(lambda before=before: not before & set(server.workers()))  # type: ignore[misc]
            assert until(lambda answered=answered: traffic.answered > answered + 50)  # type: ignore[misc]

    assert traffic.lost == []
    assert "cannot open" not in server.stderr

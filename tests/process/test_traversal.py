"""Targets that mean to leave the root: what they get, and what the kernel was asked to open meanwhile."""

from __future__ import annotations

import os
import re
import socket
from pathlib import Path

import pytest

from mpserve.linux import have_openat2
from tests.harness.server import Server
from tests.harness.strace import needs_strace, traced
from tests.process.conftest import Serve
from tests.process.test_sandbox import Filtered, needs_all

pytestmark = pytest.mark.slow

SECRET = b"kept outside\n"

# Each leads, by some reading of it, to the file beside the root.
TARGETS = (
    "/../secret /..//secret /./../secret /dir/../../secret /dir/../dir/../../secret //../secret "
    "/%2e%2e/secret /%2E%2E/secret /.%2e/secret /%2e./secret /..%2fsecret /..%2Fsecret /%2e%2e%2fsecret "
    "/dir/%2e%2e/%2e%2e/secret /dir%2f..%2f..%2fsecret /..%5csecret /..\\secret /\\..\\secret "
    "/%252e%252e/secret /..%252fsecret /%c0%ae%c0%ae/secret /%c0%af../secret /%e0%80%ae%e0%80%ae/secret "
    "/%f0%80%80%ae/secret /..%c0%afsecret /..%00/secret /../secret%00.txt /hello.txt%00/../../secret "
    "/up /up/ /absolute /absolute/ /chain /parent/secret /parent/ /proc/self/cwd/../secret "
    "/..;/secret /..%3b/secret /.../secret /....//secret /..%09/secret /~/secret /file:/secret"
).split()
LONG = ("/" + "a" * 4096, "/" + "../" * 1000 + "secret", "/" + "%2e%2e/" * 1000 + "secret")

SERVED = "/hello.txt /dir/ / /fifo /big /dir/below/deep.txt /link/deep.txt".split()

OPENS = "--trace=open,openat,openat2"
OPENED = re.compile(r"\b(open|openat|openat2)\((.*)\) += (-?\d+)")


@pytest.fixture
def tempting(root: Path) -> Path:
    """The root, with links that lead out of it, and all that is not a file."""
    (root.parent / "secret").write_bytes(SECRET)
    (root / "up").symlink_to("../secret")
    (root / "absolute").symlink_to(root.parent / "secret")
    (root / "chain").symlink_to("up")
    (root / "parent").symlink_to("..")
    (root / "dir/below").mkdir()
    (root / "dir/below/deep.txt").write_bytes(b"deep\n")
    (root / "link").symlink_to("dir/below")
    os.mkfifo(root / "fifo")
    with socket.socket(socket.AF_UNIX) as sock:
        place = os.open(root, os.O_PATH)  # a path as short as its address has room for
        sock.bind(f"/proc/self/fd/{place}/socket")
        os.close(place)
    if os.geteuid() == 0:
        os.mknod(root / "device", 0o666 | 0o020000, os.makedev(1, 5))  # /dev/zero
    return root


def ask(server: Server, target: str) -> bytes:
    """The whole answer to a GET of `target` as it stands there."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as client:
        request = f"GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        client.sendall(request.encode())
        answer = b""
        while octets := client.recv(65536):
            answer += octets
        return answer


@pytest.mark.parametrize("links", ["inside", "none"])
@pytest.mark.parametrize("sandbox", ["auto", "off"])
def test_no_target_leads_out_of_the_root(
    serve: Serve, tempting: Path, links: str, sandbox: str
) -> None:
    server = serve("--workers", "1", "--symlinks", links, "--sandbox", sandbox, "--dotfiles")
    answers = {target: ask(server, target) for target in (*TARGETS, *LONG)}

    assert [target for target, answer in answers.items() if SECRET in answer] == []
    assert {answer[9:12] for answer in answers.values()} <= {b"400", b"404", b"414"}


@pytest.mark.parametrize("sandbox", ["auto", "off"])
def test_what_is_no_file_has_no_content_and_holds_nobody_up(
    serve: Serve, tempting: Path, sandbox: str
) -> None:
    server = serve("--workers", "1", "--sandbox", sandbox)
    names = [name for name in ("fifo", "socket", "device") if (tempting / name).exists()]
    statuses = {name: ask(server, f"/{name}")[9:12] for name in (*names, "dir", "hello.txt")}

    assert statuses.pop("hello.txt") == b"200"
    assert statuses.pop("dir") == b"308"
    assert set(statuses.values()) == {b"404"}


@needs_strace
@pytest.mark.skipif(not have_openat2(), reason="openat2 cannot be used here")
@pytest.mark.parametrize(
    ("links", "rule"), [("inside", "RESOLVE_NO_MAGICLINKS"), ("none", "RESOLVE_NO_SYMLINKS")]
)
def test_every_open_of_content_is_confined_by_the_kernel(
    serve: Serve, tempting: Path, tmp_path: Path, links: str, rule: str
) -> None:
    server = serve("--workers", "1", "--symlinks", links, "--sandbox", "auto", "--listing")
    (pid,) = server.workers()
    with traced(pid, tmp_path / "trace", OPENS):
        for target in (*TARGETS, *LONG, *SERVED, *SERVED):
            ask(server, target)
    opened = OPENED.findall((tmp_path / "trace").read_text())
    # The one without a path only asks whether there is such a call.
    confined = [each for call, each, _ in opened if call == "openat2" and not each.startswith("-1")]
    others = [arguments.split(", ") for call, arguments, _ in opened if call != "openat2"]

    assert any('"hello.txt"' in arguments for arguments in confined)
    assert [each for each in confined if "RESOLVE_BENEATH" not in each] == []
    assert [each for each in confined if rule not in each and "NO_SYMLINKS" not in each] == []
    # All else is only to be looked up from, as O_PATH reads nothing: the root, and name by name what the caches
    # hold and, where it is watched, the way to the root.
    assert [each for each in others if "O_PATH" not in each[2]] == []
    by_name = {name for place, name, *_ in others if place == "AT_FDCWD"}
    assert by_name <= {'"/"', f'"{tempting}"'}
    beneath = [each for each in others if each[0] != "AT_FDCWD"]
    assert [each for each in beneath if "/" in each[1] or "O_NOFOLLOW" not in each[2]] == []


@needs_strace
@needs_all
@pytest.mark.parametrize("links", ["inside", "none"])
def test_without_openat2_every_open_of_content_goes_name_by_name_and_follows_no_link(
    tempting: Path, tmp_path: Path, links: str
) -> None:
    words = ("--workers", "1", "--symlinks", links, "--listing")
    with Filtered(38, tempting, *words) as server:
        (pid,) = server.workers()
        with traced(pid, tmp_path / "trace", OPENS):
            for target in (*TARGETS, *LONG, *SERVED, *SERVED):
                ask(server, target)
    # Those beneath no directory only ask whether there is such a call.
    asked = OPENED.findall((tmp_path / "trace").read_text())
    opened = [each for each in asked if not each[1].startswith("-1, ")]
    arguments = [each.split(", ") for _, each, _ in opened]
    by_name = [each for each in arguments if each[0] == "AT_FDCWD"]
    beneath = [each for each in arguments if each[0] != "AT_FDCWD"]

    assert {call for call, _, _ in opened} == {"openat"}
    assert {each[1] for each in by_name} <= {'"/"', f'"{tempting}"'}
    assert [each for each in by_name if "O_PATH" not in each[2]] == []
    assert any('"deep.txt"' in each for each in beneath)
    assert [each for each in beneath if "/" in each[1] or each[1] == '".."'] == []
    assert [each for each in beneath if "O_NOFOLLOW" not in each[2]] == []


def test_a_file_that_claims_to_be_empty_is(serve: Serve) -> None:
    # Those of /proc say that they have no octets, and have some when they are read.
    server = serve("--workers", "1", at=Path("/proc/sys/kernel"))
    answers = [ask(server, "/ostype") for _ in range(3)]

    for answer in answers:
        head, _, content = answer.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 ")
        assert b"\r\nContent-Length: 0" in head
        assert content == b""

"""What the quick client sends and counts, beside servers that do what is written down for them."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from loadtests.benchmark import client, compiler, saturate
from loadtests.benchmark.client import ClientError, Counted, Load

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not any(map(shutil.which, compiler.NAMES)), reason="there is no C compiler"),
]
BLANK = b"\r\n\r\n"
HEAD = b"GET / HTTP/1.1\r\nHost: www.example.com\r\n\r\n"
ENOUGH = 5  # requests on a connection, after which a server says nothing more, or leaves
MUCH = 600_000  # octets: more than the client takes at once
MANY = 1000  # connections
PATIENCE = 0.2

Serve = Callable[[socket.socket, "Server"], None]


def answer(content: bytes, status: str = "200 OK", name: str = "Content-Length") -> bytes:
    head = f"HTTP/1.1 {status}\r\nServer: s\r\n{name}: {len(content)}\r\nX: y\r\n\r\n"
    return head.encode() + content


class Server:
    """Serves each connection in a thread of its own, and keeps the heads it read."""

    def __init__(self, serve: Serve) -> None:
        self.serve = serve
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.heads: list[bytes] = []
        self.batches: list[bytes] = []
        self.connections = 0
        self.threads: list[threading.Thread] = []

    @property
    def url(self) -> str:
        host, port = self.listener.getsockname()
        return f"http://{host}:{port}"

    def run(self) -> None:
        """Everyone who comes, until the listener is shut."""
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            self.connections += 1
            thread = threading.Thread(target=self.serve_one, args=(sock,))
            self.threads.append(thread)
            thread.start()

    def serve_one(self, sock: socket.socket) -> None:
        # The client leaves in the middle of an answer.
        with sock, suppress(ConnectionError):
            self.serve(sock, self)

    def requests(self, sock: socket.socket) -> Iterator[int]:
        """How many heads came together, each time that some did, until the client leaves."""
        while data := sock.recv(65536):
            found = data.split(BLANK)[:-1]
            self.batches.append(data)
            self.heads += found
            yield len(found)


@contextmanager
def serving(serve: Serve) -> Iterator[Server]:
    server = Server(serve)
    with server.listener:
        main = threading.Thread(target=server.run)
        main.start()
        try:
            yield server
        finally:
            server.listener.shutdown(socket.SHUT_RDWR)
            for thread in (main, *server.threads):
                thread.join()


def always(octets: bytes) -> Serve:
    """A server that answers every request with these octets."""

    def serve(sock: socket.socket, server: Server) -> None:
        for count in server.requests(sock):
            sock.sendall(octets * count)

    return serve


def once(octets: bytes) -> Serve:
    """A server that answers the first request of a connection, and then ends it."""

    def serve(sock: socket.socket, server: Server) -> None:
        next(server.requests(sock), None)
        sock.sendall(octets)

    return serve


def piecemeal(pieces: list[bytes]) -> Serve:
    """A server whose answers come in pieces, each of which is a segment of its own."""

    def serve(sock: socket.socket, server: Server) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in server.requests(sock):
            for piece in pieces:
                sock.sendall(piece)

    return serve


def few(octets: bytes) -> Serve:
    """A server that answers ENOUGH requests, and then says nothing until the client leaves."""

    def serve(sock: socket.socket, server: Server) -> None:
        left = ENOUGH
        for count in server.requests(sock):
            sock.sendall(octets * min(count, left))
            left -= min(count, left)

    return serve


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = compiler.compile_into(tmp_path_factory.mktemp("saturate"), saturate.SOURCE)
    assert made is not None
    return made


@pytest.fixture
def heads(tmp_path: Path) -> Path:
    path = tmp_path / "heads"
    path.write_bytes(HEAD * 16)
    return path


def ended(
    program: Path, url: str, load: Load, seconds: float, patience: float = 10.0
) -> subprocess.CompletedProcess[str]:
    command = saturate.command(program, url, load, seconds, patience)
    return subprocess.run(command, capture_output=True, text=True, check=False)


def counted(program: Path, server: Server, load: Load, seconds: float = 0.2) -> Counted:
    done = ended(program, server.url, load, seconds)
    assert (0, "") == (done.returncode, done.stderr)
    return client.parse(done.stdout, 0.0)


@pytest.mark.parametrize(
    ("octets", "connections", "depth"),
    [
        pytest.param(answer(b"ok"), 3, 1, id="connections that stay"),
        pytest.param(answer(b"ok"), 2, 4, id="several together"),
        pytest.param(answer(b""), 1, 1, id="nothing in it"),
        pytest.param(answer(b"ok", name="cONTENT-lENGTH"), 1, 1, id="in any case"),
        pytest.param(answer(b"\r\nContent-Length: 9\r\n\r\n"), 1, 1, id="content like a head"),
        pytest.param(answer(b"no", "404 Not Found"), 2, 1, id="refused"),
        pytest.param(answer(b"", "304 Not Modified"), 1, 1, id="304"),
        pytest.param(
            b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", 1, 1, id="304 has no content"
        ),
        pytest.param(b"HTTP/1.1 304 Not Modified\r\n\r\n", 1, 1, id="304 needs no length"),
        pytest.param(b"HTTP/1.1 200\r\ncontent-length:\t2 \r\n\r\nok", 1, 1, id="white space"),
        pytest.param(answer(b"x" * MUCH), 2, 1, id="large"),
        pytest.param(answer(b"x" * MUCH), 1, 3, id="large, together"),
    ],
)
def test_every_answer_is_counted_once(
    program: Path, heads: Path, octets: bytes, connections: int, depth: int
) -> None:
    with serving(always(octets)) as server:
        said = counted(program, server, Load(heads, connections, depth))
    asked, under_way = len(server.heads), connections * depth
    refused = said.requests if octets[9:10] == b"4" else 0

    assert 0 < said.requests
    assert asked - under_way <= said.requests <= asked
    assert said.requests * len(octets) == said.octets
    assert (refused, 0) == (said.refused, said.errors)
    assert connections == server.connections


def test_exactly_the_answers_that_came_are_counted(program: Path, heads: Path) -> None:
    with serving(few(answer(b"ok"))) as server:
        said = counted(program, server, Load(heads, 3))

    assert 3 * ENOUGH == said.requests


def test_what_is_not_whole_when_the_time_is_up_is_not_counted(program: Path, heads: Path) -> None:
    whole = answer(b"refused", "404 Not Found")
    with serving(few(whole[:-1])) as server:
        said = counted(program, server, Load(heads, 2))

    assert (0, 0, 0) == (said.requests, said.octets, said.refused)


def test_each_request_has_a_connection_of_its_own_where_the_server_ends_them(
    program: Path, heads: Path
) -> None:
    with serving(once(answer(b"ok"))) as server:
        said = counted(program, server, Load(heads, 3, closing=True))

    assert 3 < said.requests
    assert said.requests <= server.connections <= said.requests + 3


def test_no_two_counted_heads_are_alike(program: Path, tmp_path: Path) -> None:
    heads = tmp_path / "heads"
    heads.write_bytes(b"".join(b"GET /%d HTTP/1.1\r\nN: \r\n\r\n" % n for n in range(4)))
    with serving(always(answer(b"ok"))) as server:
        counted(program, server, Load(heads, 2, depth=2, counted=True))
    numbers = [head.rpartition(b"\r\nN: ")[2] for head in server.heads]

    assert len(numbers) == len(set(numbers))
    assert {8} == set(map(len, numbers))
    assert all(number.isdigit() for number in numbers)
    assert {b"GET /%d HTTP/1.1" % n for n in range(4)} == {
        head.partition(b"\r\n")[0] for head in server.heads
    }


def test_the_heads_are_sent_in_turn_and_as_they_are(program: Path, tmp_path: Path) -> None:
    heads = tmp_path / "heads"
    rows = [b"GET /%d HTTP/1.1\r\nHost: h" % n for n in range(3)]
    heads.write_bytes(b"".join(row + BLANK for row in rows))
    with serving(always(answer(b"ok"))) as server:
        counted(program, server, Load(heads, 1))

    assert (rows * 3)[:7] == server.heads[:7]


def test_those_of_a_batch_go_out_together(program: Path, heads: Path) -> None:
    with serving(always(answer(b"ok"))) as server:
        counted(program, server, Load(heads, 1, depth=16))

    assert {HEAD * 16} == set(server.batches)


@pytest.mark.parametrize("at", [1, 9, 30, -3])
def test_a_head_may_come_in_two_pieces(program: Path, heads: Path, at: int) -> None:
    whole = answer(b"four")
    end = whole.index(BLANK) + 4
    cut = at if at > 0 else end + at
    with serving(piecemeal([whole[:cut], whole[cut:]])) as server:
        said = counted(program, server, Load(heads, 1))

    assert 1 < said.requests
    assert said.requests * len(whole) == said.octets


def test_the_first_pieces_of_heads_are_kept_apart(program: Path, heads: Path) -> None:
    def serve(sock: socket.socket, server: Server) -> None:
        # The cut is within the number, and each connection has another.
        whole = answer(b"x" * (10 + 11 * server.connections))
        cut = whole.index(b": ", whole.index(b"Length")) + 3
        piecemeal([whole[:cut], whole[cut:]])(sock, server)

    with serving(serve) as server:
        said = counted(program, server, Load(heads, 6))

    assert 6 < said.requests
    assert len(server.heads) - 6 <= said.requests


def test_an_answer_may_come_with_the_end_of_the_one_before(program: Path, heads: Path) -> None:
    whole = answer(b"four")
    with serving(piecemeal([whole[:-2], whole[-2:] + whole])) as server:
        said = counted(program, server, Load(heads, 1, 2))

    # The server takes two heads for one request.
    assert 2 < said.requests
    assert len(server.heads) - 2 <= said.requests


def test_the_end_of_a_connection_may_come_with_the_answer(program: Path, heads: Path) -> None:
    def serve(sock: socket.socket, server: Server) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
        once(answer(b"ok") if server.connections < MANY else b"enough\r\n\r\n")(sock, server)

    # A client that misses an end waits for it.
    with serving(serve) as server:
        done = ended(program, server.url, Load(heads, 1, closing=True), 60.0)

    assert (1, MANY) == (done.returncode, server.connections)
    assert "status line" in done.stderr


def test_the_times_of_answers_are_told(program: Path, heads: Path) -> None:
    with serving(always(answer(b"ok"))) as server:
        said = counted(program, server, Load(heads, 1))

    # A single connection has one request under way: its answers' times add up to at most the whole.
    assert 0 < said.p50_us <= said.p99_us
    assert said.p50_us * said.requests / 2 <= said.seconds * 1e6


@pytest.mark.parametrize(
    ("octets", "complaint"),
    [
        pytest.param(b"SSH-2.0-x\r\n\r\n", "status line", id="another protocol"),
        pytest.param(b"HTTP/1.1 2x0 OK\r\n\r\n", "status line", id="a status that is no number"),
        pytest.param(b"HTTP/1.1 2000 OK\r\n\r\n", "status line", id="a status of four digits"),
        pytest.param(b"HTTP/1.1\r\n\r\n", "status line", id="no status"),
        pytest.param(b"HTTP/1.1 200 OK\r\n\r\n", "no Content-Length", id="no length"),
        pytest.param(
            b"HTTP/1.1 200 OK\r\n\r\nContent-Length: 3\r\n\r\n",
            "no Content-Length",
            id="a length in the content alone",
        ),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nContent-Length: 1x\r\n\r\n", "no Content-Length", id="no number"
        ),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 30 + BLANK,
            "no Content-Length",
            id="too large a number",
        ),
        pytest.param(answer(b"ok") + b"more", "more octets", id="more than was asked for"),
        pytest.param(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 9000, "too long", id="an endless head"),
    ],
)
def test_an_answer_that_is_none_ends_it(
    program: Path, heads: Path, octets: bytes, complaint: str
) -> None:
    with serving(always(octets)) as server:
        done = ended(program, server.url, Load(heads, 2), 5.0)

    assert (1, "") == (done.returncode, done.stdout)
    assert complaint in done.stderr
    assert 1 == done.stderr.count("\n")


@pytest.mark.parametrize("closing", [False, True])
@pytest.mark.parametrize(
    "octets",
    [
        pytest.param(b"", id="before the answer"),
        pytest.param(answer(b"ok")[:20], id="in its head"),
        pytest.param(answer(b"ok")[:-1], id="in its content"),
    ],
)
def test_a_connection_that_ends_early_ends_it(
    program: Path, heads: Path, octets: bytes, closing: bool
) -> None:
    with serving(once(octets)) as server:
        done = ended(program, server.url, Load(heads, 2, closing=closing), 5.0)

    assert (1, "a connection ended before its answer had come\n") == (done.returncode, done.stderr)


def test_a_connection_that_should_have_stayed_ends_it(program: Path, heads: Path) -> None:
    with serving(once(answer(b"ok"))) as server:
        done = ended(program, server.url, Load(heads, 1), 5.0)

    assert 1 == done.returncode
    assert 1 == done.stderr.count("\n")


@pytest.mark.parametrize("closing", [False, True])
def test_silence_ends_it(program: Path, heads: Path, closing: bool) -> None:
    # Who waits for the end of a connection hears nothing after the first answer.
    with serving(few(answer(b"ok"))) as server:
        done = ended(program, server.url, Load(heads, 2, closing=closing), 60.0, PATIENCE)

    assert (1, "nothing comes any more\n") == (done.returncode, done.stderr)


def test_nobody_there_ends_it(program: Path, heads: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        host, port = gone.getsockname()
    done = ended(program, f"http://{host}:{port}", Load(heads, 1), 5.0)

    assert (1, 1) == (done.returncode, done.stderr.count("\n"))
    assert "refused" in done.stderr


@pytest.mark.parametrize(
    ("text", "depth", "complaint"),
    [
        pytest.param(HEAD, 2, "too few", id="fewer heads than go out together"),
        pytest.param(HEAD[:-2], 1, "too few", id="none"),
        pytest.param(b"GET /" + b"x" * 70_000 + BLANK, 1, "too long", id="one too long"),
        pytest.param(HEAD * 4000, 4000, "too long", id="too many together"),
    ],
)
def test_heads_that_cannot_be_sent_end_it(
    program: Path, tmp_path: Path, text: bytes, depth: int, complaint: str
) -> None:
    path = tmp_path / "heads"
    path.write_bytes(text)
    done = ended(program, "http://127.0.0.1:1", Load(path, 1, depth), 1.0)

    assert 1 == done.returncode
    assert complaint in done.stderr


def test_it_is_run_as_wrk_is_and_its_complaint_is_passed_on(tmp_path: Path, heads: Path) -> None:
    made = saturate.compile_into(tmp_path)
    assert made is not None
    with (
        serving(always(b"nonsense\r\n\r\n")) as server,
        pytest.raises(ClientError, match="saturate ended with status 1: an answer does not begin"),
    ):
        client.run(server.url, Load(heads, 1), 1, None, made)


def test_without_a_compiler_there_is_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", "")

    assert saturate.compile_into(tmp_path) is None


def test_it_says_what_replay_says(program: Path, heads: Path) -> None:
    with serving(always(answer(b"ok"))) as server:
        done = ended(program, server.url, Load(heads, 1), 0.1)
    replay = client.SCRIPT.read_text(encoding="utf-8")

    assert all(f'"{name}": ' in replay for name in json.loads(done.stdout))
    assert 10 == len(json.loads(done.stdout))

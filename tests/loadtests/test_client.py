"""The client that forgives nothing, against a server with one flaw at a time."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from loadtests.ask import Ask, Memory, Validators, validators
from loadtests.client import Client, Target, TargetError, check_corpus, parse_target
from loadtests.faults import Fault, Kind
from loadtests.tally import Tally
from tests.harness.corpus import MIB, TREE
from tests.loadtests import flawed
from tests.loadtests.flawed import Flaw, FlawedServer

FILE = TREE[b"sizes/1024.bin"]
LARGE = TREE[b"sizes/1048577.bin"]
WHOLE = Ask("whole", FILE.url, file=FILE)
HEAD = Ask("head", FILE.url, method="HEAD", file=FILE)
PART = Ask("part", FILE.url, (206,), fields=(("Range", "bytes=10-99"),), file=FILE, span=(10, 100))
TAG = Validators(f'"{FILE.number:x}"', None)
AGAIN = Ask("again", FILE.url, (304,), fields=TAG.fields, file=FILE, known=TAG)
BEHIND = Ask("behind", FILE.url, (416,), fields=(("Range", "bytes=1024-"),), file=FILE)
MISSING = Ask("missing", "/nowhere", (404,))
CLOSING = Ask("closing", FILE.url, fields=(("Connection", "close"),), file=FILE, closing=True)
EVERYTHING = (WHOLE, HEAD, PART, AGAIN, BEHIND, MISSING, Ask("large", LARGE.url, file=LARGE))


Connect = Callable[..., Client]


@pytest.fixture
def client_of() -> Iterator[Connect]:
    """Make a client of a server; it is closed at the end of the test."""
    with ExitStack() as clients:

        def make(server: FlawedServer, *, ours: bool = False) -> Client:
            target = Target("127.0.0.1", server.port, ours)
            return clients.enter_context(Client(target, Tally(), Memory(), timeout=5.0))

        yield make


def fault_of(client: Client, *asks: Ask) -> Fault:
    """The fault that the last of these requests meets."""
    for ask in asks[:-1]:
        client.ask(ask)
    with pytest.raises(Fault) as caught:
        client.ask(asks[-1])
    return caught.value


@pytest.mark.parametrize("ours", [False, True])
def test_a_server_without_a_flaw_is_believed(ours: bool, client_of: Connect) -> None:
    with FlawedServer() as server:
        client = client_of(server, ours=ours)
        statuses = [client.ask(ask).status for ask in (*EVERYTHING, CLOSING)]

        assert [200, 200, 206, 304, 416, 404, 200, 200] == statuses
        assert client.tally.connections == 1
        assert client.tally.unfinished == 0
        assert sum(client.tally.answers.values()) == 8


@pytest.mark.parametrize(
    ("flaw", "asks", "kind"),
    [
        pytest.param(flawed.wrong_octet, (WHOLE,), Kind.OCTETS, id="an octet is wrong"),
        pytest.param(flawed.wrong_octet, (PART,), Kind.OCTETS, id="an octet of a part is wrong"),
        pytest.param(flawed.wrong_octet, (EVERYTHING[-1],), Kind.OCTETS, id="of a large file"),
        pytest.param(flawed.other_file, (WHOLE,), Kind.OCTETS, id="it is another file"),
        pytest.param(flawed.short_content, (WHOLE,), Kind.LOST, id="content ends too early"),
        pytest.param(flawed.short_file, (WHOLE,), Kind.ANSWER, id="content is too short"),
        pytest.param(flawed.octets_after, (WHOLE,), Kind.FRAMING, id="octets follow"),
        pytest.param(flawed.content_after_304, (AGAIN,), Kind.FRAMING, id="304 has content"),
        pytest.param(flawed.content_after_head, (HEAD,), Kind.FRAMING, id="HEAD has content"),
        pytest.param(flawed.length_twice, (WHOLE,), Kind.FRAMING, id="Content-Length comes twice"),
        pytest.param(flawed.wrong_range, (PART,), Kind.ANSWER, id="Content-Range is off"),
        pytest.param(flawed.ignored_range, (PART,), Kind.ANSWER, id="Range is ignored"),
        pytest.param(flawed.changing_etag, (WHOLE, WHOLE), Kind.ANSWER, id="the ETag changes"),
        pytest.param(flawed.changing_etag, (AGAIN,), Kind.ANSWER, id="the ETag of a 304 differs"),
        pytest.param(flawed.server_error, (WHOLE,), Kind.ANSWER, id="another status"),
        pytest.param(flawed.dropped, (WHOLE,), Kind.LOST, id="no answer comes"),
        pytest.param(flawed.cut_off, (WHOLE,), Kind.LOST, id="the connection is reset"),
    ],
)
def test_every_flaw_is_seen(
    flaw: Flaw, asks: tuple[Ask, ...], kind: Kind, client_of: Connect
) -> None:
    with FlawedServer(flaw) as server:
        client = client_of(server)
        fault = fault_of(client, *asks)

        assert kind is fault.kind, fault.detail
        assert "<Client" in repr(client)
        assert "not connected" in repr(client)


def test_the_end_of_a_connection_that_nobody_announced_is_seen_before_the_next_request(
    client_of: Connect,
) -> None:
    with FlawedServer(flawed.closed_without_word) as server:
        client = client_of(server)
        client.ask(WHOLE)
        ended = client.wait_for_word(5.0)
        fault = fault_of(client, WHOLE)

        assert ended
        assert fault.kind is Kind.LOST
        assert client.tally.unfinished == 0  # the second request was never sent


def test_a_connection_unused_for_long_may_end(client_of: Connect) -> None:
    with FlawedServer(flawed.closed_without_word) as server:
        client = client_of(server)
        client.ask(WHOLE)
        client.wait_for_word(5.0)
        client._used_at -= 60.0
        answer = client.ask(WHOLE)

        assert answer.status == 200
        assert client.tally.connections == 2


def test_octets_that_come_later_are_seen_before_the_next_request(client_of: Connect) -> None:
    with FlawedServer(flawed.octets_later) as server:
        client = client_of(server)
        client.ask(WHOLE)
        server.looked_away.set()
        client.wait_for_word(5.0)
        fault = fault_of(client, WHOLE)

        assert fault.kind is Kind.FRAMING


def test_a_connection_that_says_close_and_stays_open_is_a_fault_of_ours_only(
    monkeypatch: pytest.MonkeyPatch, client_of: Connect
) -> None:
    monkeypatch.setattr("loadtests.client.CLOSE_TIMEOUT", 0.05)
    with FlawedServer(flawed.stays_open) as server:
        client_of(server).ask(WHOLE)
        fault = fault_of(client_of(server, ours=True), WHOLE)

        assert fault.kind is Kind.TIMEOUT


def test_a_clock_that_stands_still_is_a_fault_of_ours_only(client_of: Connect) -> None:
    with FlawedServer(flawed.old_date) as server:
        client_of(server).ask(WHOLE)
        fault = fault_of(client_of(server, ours=True), WHOLE)

        assert fault.kind is Kind.ANSWER
        assert "Date" in fault.detail


def test_silence_is_a_time_out() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        target = Target("127.0.0.1", silent.getsockname()[1])
        client = Client(target, Tally(), timeout=0.05)
        fault = fault_of(client, WHOLE)

        assert fault.kind is Kind.TIMEOUT
        assert client.tally.unfinished == 1


def test_nobody_listening_is_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    fault = fault_of(Client(Target("127.0.0.1", port), Tally()), WHOLE)

    assert fault.kind is Kind.REFUSED


def read_pipeline(client: Client, asks: tuple[Ask, ...]) -> list[int]:
    sent = client.send(asks)
    count = len(asks)
    return [
        client.read(ask, sent, outstanding=count - place).status
        for place, ask in enumerate(asks, start=1)
    ]


def test_a_pipeline_is_answered_in_order(client_of: Connect) -> None:
    with FlawedServer() as server:
        statuses = read_pipeline(client_of(server), EVERYTHING)

        assert [200, 200, 206, 304, 416, 404, 200] == statuses


def test_a_pipeline_that_ends_early_leaves_the_rest_unfinished(client_of: Connect) -> None:
    with FlawedServer(flawed.cut_off) as server:
        client = client_of(server)
        with pytest.raises(Fault) as caught:
            read_pipeline(client, (MISSING, WHOLE, WHOLE, WHOLE))

        assert caught.value.kind is Kind.LOST
        assert client.tally.unfinished == 3
        assert client.tally.answers == {("missing", 404): 1}


def test_an_answer_in_the_middle_of_a_pipeline_must_not_close(client_of: Connect) -> None:
    with FlawedServer() as server:
        client = client_of(server)
        with pytest.raises(Fault) as caught:
            read_pipeline(client, (CLOSING, WHOLE))

        assert caught.value.kind is Kind.LOST
        assert client.tally.unfinished == 1


def test_a_taste_ends_when_there_is_enough_and_is_compared_so_far(client_of: Connect) -> None:
    with FlawedServer() as server:
        client = client_of(server)
        pieces: list[int] = []
        client.taste(Ask("taste", LARGE.url, file=LARGE), MIB // 4, pieces.append)

        assert MIB // 4 <= sum(pieces) <= LARGE.size
        assert client.tally.unfinished == 1


def test_a_wrong_octet_in_a_taste_is_seen(client_of: Connect) -> None:
    with FlawedServer(flawed.other_file) as server, pytest.raises(Fault) as caught:
        client_of(server).taste(Ask("taste", LARGE.url, file=LARGE), 1000)

    assert caught.value.kind is Kind.OCTETS


def test_a_part_where_the_whole_must_come_is_told_from_wrong_octets(client_of: Connect) -> None:
    fields = (("Range", "bytes=500-999"), ("If-Range", f'"{FILE.number:x}"'))
    outdated = Ask("outdated", FILE.url, (200,), fields=fields, file=FILE, span=(500, 1000))
    with FlawedServer() as server, pytest.raises(Fault) as caught:
        client_of(server).taste(outdated, 1)

    assert caught.value.kind is Kind.ANSWER
    assert "a part" in caught.value.detail


def test_many_addresses_are_clients_of_one_server() -> None:
    with FlawedServer() as server:
        target = Target("127.0.0.1", server.port)
        client = Client(target, Tally(), source="127.0.0.77", receive_buffer=4096)
        sock = client.connect()

        assert sock.getsockname()[0] == "127.0.0.77"
        assert client.ask(WHOLE).status == 200
        client.reset()


def test_the_last_word_of_a_server_that_is_tired_of_waiting() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        target = Target("127.0.0.1", listener.getsockname()[1])
        client = Client(target, Tally(), timeout=5.0)
        client.connect()
        quiet = client.wait_for_word(0.01)
        connection, _ = listener.accept()
        with connection:
            connection.sendall(
                b"HTTP/1.1 408 Request Timeout\r\nDate: Fri, 20 Nov 2026 12:00:00 GMT\r\n"
                b"Content-Length: 0\r\nConnection: close\r\n\r\n"
            )
            heard = client.wait_for_word(5.0)
            status = client.last_word("slow")
        second = client.last_word("slow")
        client.close()

    assert (False, True, 408, None) == (quiet, heard, status, second)
    assert client.tally.answers == {("slow", 408): 1}


@pytest.mark.parametrize(
    ("octets", "kind"),
    [
        pytest.param(b"not HTTP at all\r\n\r\n", Kind.FRAMING, id="no grammar"),
        pytest.param(b"", Kind.TIMEOUT, id="silence"),
    ],
)
def test_a_last_word_that_makes_no_sense_is_a_fault(octets: bytes, kind: Kind) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = Client(Target("127.0.0.1", listener.getsockname()[1]), Tally(), timeout=0.1)
        client.connect()
        connection, _ = listener.accept()
        with connection, client:
            connection.sendall(octets)
            with pytest.raises(Fault) as caught:
                client.last_word("slow")

    assert caught.value.kind is kind


def test_validators_are_what_the_answer_says(client_of: Connect) -> None:
    with FlawedServer() as server:
        known = validators(client_of(server).ask(WHOLE).head)

    assert known == TAG
    assert known.fields == (("If-None-Match", TAG.etag),)


@pytest.mark.parametrize(
    ("url", "host", "port", "authority"),
    [
        ("http://127.0.0.1:8000", "127.0.0.1", 8000, "127.0.0.1:8000"),
        ("http://127.0.0.1:8000/", "127.0.0.1", 8000, "127.0.0.1:8000"),
        ("http://example.org", "example.org", 80, "example.org"),
        ("http://[::1]:81", "::1", 81, "[::1]:81"),
    ],
)
def test_targets(url: str, host: str, port: int, authority: str) -> None:
    target = parse_target(url)

    assert (host, port, authority) == (target.host, target.port, target.authority)


@pytest.mark.parametrize(
    "url",
    [
        pytest.param("", id="nothing"),
        pytest.param("127.0.0.1:8000", id="no scheme"),
        pytest.param("https://127.0.0.1", id="https"),
        pytest.param("http://", id="no host"),
        pytest.param("http://me@127.0.0.1", id="a user"),
        pytest.param("http://127.0.0.1:99999", id="a port too high"),
        pytest.param("http://127.0.0.1:8000/sub", id="a path"),
        pytest.param("http://127.0.0.1:8000/?q", id="a query"),
    ],
)
def test_what_is_no_target(url: str) -> None:
    with pytest.raises(TargetError):
        parse_target(url)


def test_the_corpus_is_recognized_by_its_marker(client_of: Connect) -> None:
    with FlawedServer() as server:
        name = check_corpus(client_of(server))

    assert name == ""


def test_a_server_of_something_else_is_refused_in_one_sentence(client_of: Connect) -> None:
    def other(_: flawed.Asked, said: flawed.Said) -> flawed.Said:
        return flawed.Said(200, b"hello")

    with FlawedServer(other) as server, pytest.raises(TargetError, match="make-corpus") as caught:
        check_corpus(client_of(server))

    assert "\n" not in str(caught.value)


def test_a_thread_that_is_stopped_leaves_its_request_unfinished(client_of: Connect) -> None:
    class Stopped(BaseException):
        """What ends a user from outside."""

    def stop(_: int) -> None:
        raise Stopped

    with FlawedServer() as server:
        client = client_of(server)
        with pytest.raises(Stopped):
            client.taste(Ask("taste", LARGE.url, file=LARGE), MIB, stop)

        assert client.tally.unfinished == 1

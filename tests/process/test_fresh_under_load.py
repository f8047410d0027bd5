"""Files change while two workers are busy with them: no answer is stale, and none is of two minds."""

from __future__ import annotations

import os
import random
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count, cycle
from pathlib import Path

import pytest

from mpserve.memo import MOST_IN_MEMORY
from mpserve.witness import KEPT_AFTER, WATCHED_AFTER
from tests.deeds import can_be_watched
from tests.harness.server import Server
from tests.process.conftest import watched_inodes, with_less_than_root

pytestmark = pytest.mark.slow

SMALL = 1000  # octets: within a page, which a write changes at once
LARGE = MOST_IN_MEMORY + 40_000
FILES = 180  # of each of which the workers have an answer when it changes
HOT = 6  # that change all the time
CLIENTS = 4  # threads
LONG_ENOUGH = 3.0  # seconds of changes
WATCHED = 6  # one of so many files is asked for until it is watched, where it can be


# --- What changes ---------------------------------------------------------------------------------

State = tuple[int, bytes]  # the status of a GET, and its content
MISSING, FORBIDDEN = (404, b""), (403, b"")

_numbers = count()
_dice = random.Random(1)


def new_content(size: int) -> bytes:
    """Content that no other file has or had."""
    mark = b"%d " % next(_numbers)
    return (mark * (size // len(mark) + 1))[: size - _dice.randrange(100)]


@dataclass
class Changing:
    """A file, all that it has been, and how far that has gone."""

    path: Path
    target: str
    states: list[State]
    done: int = 0  # the last state that has been reached; the last of all is on its way or reached
    tags: dict[str, set[bytes]] = field(default_factory=dict)  # what each entity-tag stands for

    def becomes(self, state: State, deed: Callable[[], object]) -> None:
        """Let `deed` bring about `state`."""
        self.states.append(state)
        deed()
        self.note()
        self.done = len(self.states) - 1

    def note(self) -> None:
        """Note what the entity-tag that the file has now stands for."""
        status, content = self.states[-1]
        if status == 200:
            seen = self.path.stat()
            self.stands_for(seen.st_mtime_ns, content)

    def stands_for(self, mtime_ns: int, content: bytes) -> None:
        tag = f"{mtime_ns:x}-{len(content):x}"
        self.tags.setdefault(tag, set()).add(content)

    @property
    def content(self) -> bytes:
        return self.states[-1][1]


def replaced(file: Changing) -> None:
    content = new_content(len(file.content) or SMALL)
    new = file.path.with_name(f"{file.path.name}.new")
    new.write_bytes(content)
    file.becomes((200, content), lambda: new.rename(file.path))


def written_anew(file: Changing) -> None:
    """Emptied, and then filled by one write."""
    content = new_content(SMALL)
    file.becomes((200, b""), lambda: os.truncate(file.path, 0))
    with file.path.open("r+b", buffering=0) as opened:
        file.becomes((200, content), lambda: opened.write(content))


def truncated(file: Changing) -> None:
    content = file.content[: len(file.content) // 2]
    # The kernel sets the length first, and the time after it.
    file.stands_for(file.path.stat().st_mtime_ns, content)
    file.becomes((200, content), lambda: os.truncate(file.path, len(content)))


def deleted(file: Changing) -> None:
    file.becomes(MISSING, file.path.unlink)


def forbidden(file: Changing) -> None:
    file.becomes(FORBIDDEN, lambda: file.path.chmod(0))


def allowed(file: Changing) -> None:
    content = file.states[-2][1]
    file.becomes((200, content), lambda: file.path.chmod(0o644))


def there_again(file: Changing) -> None:
    content = new_content(SMALL)
    new = file.path.with_name(f"{file.path.name}.new")
    new.write_bytes(content)
    file.becomes((200, content), lambda: new.rename(file.path))


Deed = Callable[[Changing], None]

# One after the other, to one file each; and all of them to each that changes all the time.
SMALL_DEEDS: tuple[Deed, ...] = (replaced, written_anew, truncated, deleted, forbidden)
# What is sent from its file changes with it, even on its way: those are not changed in place.
LARGE_DEEDS: tuple[Deed, ...] = (replaced, deleted, forbidden)
HOT_DEEDS: tuple[Deed, ...] = (
    *(replaced, written_anew, truncated, forbidden, allowed, deleted, there_again),
)


@pytest.fixture
def files(tmp_path: Path) -> list[Changing]:
    """The files in the order in which they will change; the last ones change all the time."""
    root = tmp_path / "root"
    root.mkdir()
    made = []
    for number in range(FILES + HOT):
        is_index, is_missing = number % 7 == 3, number % 7 == 5
        large = number % 5 == 4 and number < FILES
        directory = root / f"{number}"
        directory.mkdir()
        path = directory / ("index.html" if is_index else "file")
        target = f"/{number}/" if is_index else f"/{number}/file"
        content = new_content(LARGE if large else SMALL)
        if is_missing and number < FILES:
            made.append(Changing(path, target, [MISSING]))
        else:
            path.write_bytes(content)
            made.append(Changing(path, target, [(200, content)]))
        made[-1].note()
    return made


# --- Who asks -------------------------------------------------------------------------------------


class Ended(Exception):
    """The connection ended before the answer was complete."""


@dataclass(frozen=True)
class Answer:
    status: int
    tag: str  # without W/ and quotation marks
    content: bytes


_HEAD = re.compile(rb"HTTP/1\.1 (\d{3}) .*?\r\nContent-Length: (\d+)\r\n", re.DOTALL)
_TAG = re.compile(rb'\r\nETag: (?:W/)?"([^"]*)"\r\n')


class Client:
    """A persistent connection that is opened again when it ends."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._sock: socket.socket | None = None
        self._buffer = b""

    def ask(self, *targets: str) -> list[Answer]:
        """The answers to as many requests, all sent together. Raises Ended."""
        heads = [f"GET {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode() for target in targets]
        try:
            self._connected().sendall(b"".join(heads))
            return [self._answer() for _ in targets]
        except (ConnectionError, Ended) as error:
            self.close()
            raise Ended from error

    def close(self) -> None:
        if self._sock is not None:
            self._sock.close()
        self._sock, self._buffer = None, b""

    def _connected(self) -> socket.socket:
        if self._sock is None:
            self._sock = socket.create_connection(("127.0.0.1", self._port), timeout=10)
        return self._sock

    def _answer(self) -> Answer:
        while (end := self._buffer.find(b"\r\n\r\n") + 4) < 4:
            self._receive()
        found = _HEAD.match(self._buffer[:end])
        assert found is not None, self._buffer[:end]
        tag = _TAG.search(self._buffer, 0, end)
        stop = end + int(found[2])
        while len(self._buffer) < stop:
            self._receive()
        content, self._buffer = self._buffer[end:stop], self._buffer[stop:]
        return Answer(int(found[1]), tag[1].decode() if tag else "", content)

    def _receive(self) -> None:
        more = self._connected().recv(1 << 18)
        if not more:
            raise Ended
        self._buffer += more


@dataclass
class Findings:
    """What was answered, and what was wrong with it."""

    answered: int = 0
    ended: int = 0
    stale: list[str] = field(default_factory=list)
    tagged: set[tuple[str, str, bytes]] = field(default_factory=set)  # target, tag, content

    def ask(self, client: Client, files: list[Changing]) -> None:
        """Ask for files, and compare the answers to what those have been since."""
        since = [file.done for file in files]
        try:
            answers = client.ask(*[file.target for file in files])
        except (
            Ended
        ):  # a file became shorter while it was sent: no answer is better than half of one
            self.ended += 1
            return
        for file, first, answer in zip(files, since, answers, strict=True):
            self._judge(file, first, answer)

    def _judge(self, file: Changing, first: int, answer: Answer) -> None:
        self.answered += 1
        content = answer.content if answer.status == 200 else b""
        possible = file.states[first:]
        if (answer.status, content) not in possible:
            statuses = [(status, content[:9], len(content)) for status, content in possible]
            self.stale.append(
                f"{file.target}: {answer.status} {content[:9]!r} {len(content)} {statuses}"
            )
        if answer.status == 200:
            self.tagged.add((file.target, answer.tag, content))

    def at_odds(self, files: list[Changing]) -> list[str]:
        """The answers whose content is not what their entity-tag stands for."""
        tags = {file.target: file.tags for file in files}
        return [
            f"{target} {tag} {content[:20]!r}"
            for target, tag, content in self.tagged
            # Between the two halves of a change the file is empty, whatever its time.
            if content not in tags[target].get(tag, ()) and (content or not tag.endswith("-0"))
        ]


@dataclass
class Load:
    """Clients that ask for what changes next, for what has just changed, and for anything."""

    port: int
    files: list[Changing]
    findings: Findings = field(default_factory=Findings)
    place: int = 0  # of the file that changes next
    over: threading.Event = field(default_factory=threading.Event)

    def run(self, seed: int) -> None:
        dice, clients = random.Random(seed), [Client(self.port) for _ in range(3)]
        findings = Findings()
        while not self.over.is_set():
            wanted = [self._one(dice) for _ in range(dice.choice((1, 1, 1, 4)))]
            findings.ask(dice.choice(clients), wanted)
        for client in clients:
            client.close()
        self.findings.answered += findings.answered
        self.findings.ended += findings.ended
        self.findings.stale += findings.stale
        self.findings.tagged |= findings.tagged

    def _one(self, dice: random.Random) -> Changing:
        if dice.random() < 0.2:
            return self.files[FILES + dice.randrange(HOT)]
        if dice.random() < 0.3:
            return dice.choice(self.files)
        return self.files[min(self.place + dice.randrange(-2, 6), FILES - 1)]


@dataclass
class Watching:
    """Sees to it that some files are watched when they change."""

    server: Server
    load: Load
    clients: list[Client]
    done: int = 0

    def prepare(self, place: int) -> None:
        """Ask for the file that changes next until a worker has it watched, if it is one of those."""
        file = self.load.files[place]
        if place % WATCHED or not file.path.exists():
            return
        for client in self.clients * (WATCHED_AFTER + 2):
            self.load.findings.ask(client, [file])
        inode = file.path.stat().st_ino
        self.done += any(inode in watched_inodes(worker) for worker in self.server.workers())


@pytest.fixture
def server(tmp_path: Path, files: list[Changing]) -> Iterator[Server]:
    server = Server(tmp_path / "root", "--workers", "2", "--access-log", "off")
    with with_less_than_root(server):
        yield server


def test_no_answer_is_stale_and_none_is_of_two_minds(server: Server, files: list[Changing]) -> None:
    load = Load(server.port, files)
    threads = [threading.Thread(target=load.run, args=(seed,)) for seed in range(CLIENTS)]
    for thread in threads:
        thread.start()
    checks = [Client(server.port) for _ in range(4)]
    watching = Watching(server, load, checks[:2])
    pause = threading.Event()
    hot = cycle([(deed, file) for deed in HOT_DEEDS for file in files[FILES:]])
    small, large = cycle(SMALL_DEEDS), cycle(LARGE_DEEDS)

    def change(deed: Deed, file: Changing) -> None:
        deed(file)
        for client in checks:
            load.findings.ask(client, [file])

    # Until the others have settled, and are kept by both workers, these alone change.
    settled = time.monotonic() + KEPT_AFTER
    while time.monotonic() < settled:
        change(*next(hot))
        pause.wait(0.01)
    begun = time.monotonic()
    for place, file in enumerate(files[:FILES]):
        load.place = place
        watching.prepare(place)
        if file.states[-1] == MISSING:
            change(there_again, file)
        else:
            change(next(large) if len(file.content) > SMALL else next(small), file)
        change(*next(hot))
        pause.wait(max(0.0, begun + LONG_ENOUGH * place / FILES - time.monotonic()))
    load.over.set()
    for thread in threads:
        thread.join()
    for client in checks:
        client.close()

    assert load.findings.stale == []
    assert load.findings.at_odds(files) == []
    assert load.findings.answered > 5 * FILES
    assert load.findings.ended < load.findings.answered / 10
    assert not can_be_watched(files[0].path) or watching.done > FILES / WATCHED / 2

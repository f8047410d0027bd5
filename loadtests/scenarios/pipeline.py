"""Up to 32 requests in one piece, of every kind: 200, 206, 304, 404, HEAD, in any order.

Answers must come in the order of the requests (RFC 9112 §9.3.2), and each answer's content tells which file
it belongs to. What it finds: answers swapped, content after HEAD or 304 that is read as the next head, a
parser that loses what follows the request it is looking at.
"""

from __future__ import annotations

import random

from locust import task

from loadtests.ask import Ask, Validators
from loadtests.strict_user import StrictUser
from tests.harness.corpus import SIZES, TREE, File

NAME = "pipelined"
LARGEST = 70_000  # octets: several files and their heads in one segment, and some that need many


class PipelineUser(StrictUser):
    """A client that does not wait for answers before it asks on."""

    period = 0.5

    def on_start(self) -> None:
        """Learn the validators that the conditional requests will need."""
        super().on_start()
        self.known: dict[File, Validators] = {}

    @task
    def burst(self) -> None:
        """One burst of requests."""
        files = [TREE[b"sizes/%d.bin" % size] for size in SIZES if size <= LARGEST]
        if not self.known:
            self._learn(files)
        asks = [self._any(self.random.choice(files)) for _ in range(self.random.randint(2, 32))]
        self.ask_at_once(asks)

    def _learn(self, files: list[File]) -> None:
        for file in files:
            known = self.first_look(Ask("before the pipeline", file.url, file=file))
            if known is not None:
                self.known[file] = known

    def _any(self, file: File) -> Ask:
        kind = self.random.choice((_whole, _head, _part, _missing))
        known = self.known.get(file)
        if known is not None and known.fields and self.random.random() < 0.2:
            return Ask(NAME, file.url, (304,), fields=known.fields, file=file, known=known)
        return kind(file, self.random)


def _whole(file: File, _: random.Random) -> Ask:
    return Ask(NAME, file.url, file=file)


def _head(file: File, _: random.Random) -> Ask:
    return Ask(NAME, file.url, method="HEAD", file=file)


def _part(file: File, dice: random.Random) -> Ask:
    if not file.size:
        return _whole(file, dice)
    start = dice.randrange(file.size)
    stop = dice.randint(start + 1, file.size)
    fields = (("Range", f"bytes={start}-{stop - 1}"),)
    return Ask(NAME, file.url, (206,), fields=fields, file=file, span=(start, stop))


def _missing(file: File, _: random.Random) -> Ask:
    return Ask(NAME, f"{file.url}.missing", (404,))

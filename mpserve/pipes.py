"""How the processes hear of each other: the master of its workers' words, all of the master's death."""

from __future__ import annotations

import contextlib
import os
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

MESSAGE: Final = struct.Struct("ii")  # a word, and the worker's pid
AT_ONCE: Final = 1024  # messages


@dataclass(slots=True)
class Pipes:
    """`words`: a worker says that it serves, or that it wants to be replaced. `life`: nobody ever writes;
    the master alone holds the writing end, so its death, whatever the cause, is an end of file to every
    worker. `wakeup`: the interpreter writes when a signal has come.
    """

    words: tuple[int, int] = field(default_factory=lambda: os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK))
    life: tuple[int, int] = field(default_factory=lambda: os.pipe2(os.O_CLOEXEC))
    wakeup: tuple[int, int] = field(default_factory=lambda: os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK))

    @classmethod
    def adopt(cls, words: Sequence[int], life: Sequence[int]) -> Pipes:
        """Copies of the pipes that an earlier image of the master has made; nobody else wakes us."""
        return cls((os.dup(words[0]), os.dup(words[1])), (os.dup(life[0]), os.dup(life[1])))

    def tell(self, word: int) -> None:
        """In a worker: a word to the master."""
        os.write(self.words[1], MESSAGE.pack(word, os.getpid()))

    def heard(self) -> Iterator[tuple[int, int]]:
        """The words that have come, each with the pid of who said it. We need not be woken for them."""
        with contextlib.suppress(BlockingIOError):
            os.read(self.wakeup[0], 4096)
        with contextlib.suppress(BlockingIOError):
            yield from MESSAGE.iter_unpack(os.read(self.words[0], MESSAGE.size * AT_ONCE))

    def close(self) -> None:
        """Close all of them."""
        for fd in (*self.words, *self.life, *self.wakeup):
            os.close(fd)

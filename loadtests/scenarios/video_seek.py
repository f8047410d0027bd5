"""Somebody watches a video and cannot decide where to begin: ranges of every form, and answers cut short.

HEAD; the whole by `bytes=0-`, given up after a megabyte, as players do; seeks of a megabyte at random places;
the last octets by a suffix range; a range behind the end; If-Range with the right tag and with an old one.
What it finds: ranges that are off by one, content that does not fit its Content-Range, and descriptors or
half-sent answers that a client which left leaves behind.
"""

from __future__ import annotations

from locust import task

from loadtests.ask import Ask
from loadtests.strict_user import StrictUser
from tests.harness.corpus import MIB, TREE, VIDEOS, File


class VideoSeekUser(StrictUser):
    """A viewer."""

    period = 3.0
    SEEKS = 5

    @task
    def watch(self) -> None:
        """One sitting."""
        file = TREE[self.random.choice(list(VIDEOS))]
        known = self.first_look(Ask("HEAD of a video", file.url, method="HEAD", file=file))
        self.taste(_range("open range, given up", file, "0-", 0, file.size), MIB)
        for _ in range(self.SEEKS):
            start = self.random.randrange(file.size)
            stop = min(start + MIB, file.size)
            self.ask(_range("seek", file, f"{start}-{start + MIB - 1}", start, stop))
        self.ask(_range("suffix range", file, "-4711", file.size - 4711, file.size))
        self.ask(_behind_the_end(file))
        if known is not None and known.etag is not None:
            self._resume(file, known.etag)

    def _resume(self, file: File, etag: str) -> None:
        """A download goes on if the file is still the same, and begins anew if not."""
        start = self.random.randrange(file.size - MIB)
        span = (start, start + MIB)
        wanted = (("Range", f"bytes={start}-{start + MIB - 1}"), ("If-Range", etag))
        self.ask(Ask("If-Range", file.url, (206,), fields=wanted, file=file, span=span))
        outdated = (("Range", f"bytes={start}-{start + MIB - 1}"), ("If-Range", '"outdated"'))
        self.taste(
            Ask("If-Range, outdated", file.url, (200,), fields=outdated, file=file, span=span), MIB
        )


def _range(name: str, file: File, wanted: str, start: int, stop: int) -> Ask:
    fields = (("Range", f"bytes={wanted}"),)
    return Ask(name, file.url, (206,), fields=fields, file=file, span=(start, stop))


def _behind_the_end(file: File) -> Ask:
    fields = (("Range", f"bytes={file.size}-"),)
    return Ask("range behind the end", file.url, (416,), fields=fields, file=file)

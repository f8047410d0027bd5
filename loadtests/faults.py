"""What may go wrong with an exchange, by kind. What a kind means for the verdict, loadtests/verdict.py says."""

from __future__ import annotations

from enum import StrEnum


class Kind(StrEnum):
    """The kinds of fault, in the order in which a report lists them."""

    OCTETS = "wrong octets"  # content that is not the file's
    FRAMING = "wrong framing"  # what the strict reader refuses: RFC 9112, and field grammar
    ANSWER = "wrong answer"  # a status, a length or a field that does not fit the request
    LOST = "lost"  # the connection ended before the answer did
    REFUSED = "refused"  # no connection came about
    TIMEOUT = "timed out"  # no octet for as long as the client waits


class Fault(Exception):
    """One exchange that went wrong. Locust counts equal texts as one error, so the text is the kind alone."""

    def __init__(self, kind: Kind, detail: str) -> None:
        super().__init__(kind.value)
        self.kind = kind
        self.detail = detail

    def __repr__(self) -> str:
        return str(self.kind)

"""The states of a connection: what each waits for, how long, and what follows.

`connection` goes by the names; docs/architecture.md prints the table.
"""

from __future__ import annotations

from enum import Enum
from typing import Final


class State(Enum):
    """What a connection waits for. `STATES` says it in words."""

    READING = "READING"
    SENDING = "SENDING"
    IDLE = "IDLE"
    LINGERING = "LINGERING"
    CLOSED = "CLOSED"


READING, SENDING, IDLE, LINGERING, CLOSED = State

# state, waits for, deadline, what happens and what comes next
STATES: Final = (
    (
        READING,
        "readable",
        "`header_timeout`, from accept or from the first octet",
        (
            "request complete → SENDING; HTTPError → SENDING, then closed; EOF → CLOSED; "
            "deadline → 408 when a head has begun, else CLOSED"
        ),
    ),
    (
        SENDING,
        "writable",
        "`send_timeout`, from the last octet that was sent or acknowledged",
        (
            "queue empty → IDLE, READING when octets wait, CLOSED, or LINGERING where the client may "
            "still be sending; deadline, or a file that shrank or was overwritten → reset"
        ),
    ),
    (
        IDLE,
        "readable",
        "`keepalive_timeout`; `idle_grace` while draining",
        "octets → READING; EOF or deadline → CLOSED",
    ),
    (LINGERING, "readable", "`linger_timeout`", "EOF or deadline → CLOSED"),
    (CLOSED, "–", "–", "–"),
)

"""How the commands that load servers talk to a terminal, and how they are told to end."""

from __future__ import annotations

import signal
import sys


def say(text: str) -> None:
    """A line for the person at the terminal, beside what goes to standard output."""
    print(text, file=sys.stderr, flush=True)


def end_in_order() -> None:
    """Let TERM unwind everything, so that no server and no file is left behind."""
    signal.signal(signal.SIGTERM, _on_terminate)


def _on_terminate(*_: object) -> None:
    raise SystemExit(143)

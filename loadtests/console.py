"""How the commands that load servers are spoken to, how they answer, and how they are told to end."""

from __future__ import annotations

import signal
import sys
from collections.abc import Mapping
from pathlib import Path


def say(text: str) -> None:
    """A line for the person at the terminal, beside what goes to standard output."""
    print(text, file=sys.stderr, flush=True)


def names(text: str) -> list[str]:
    """The members of a list written with commas."""
    return [name for name in text.split(",") if name]


def bring_up_to_date(outdated: Mapping[Path, str], *, check: bool) -> int:
    """Write what documents should hold, or with `check` only say which do not; the exit status."""
    for path, content in outdated.items():
        print(f"{path.name} {'is out of date' if check else 'written'}")
        if not check:
            path.write_text(content, encoding="utf-8")
    return 1 if check and outdated else 0


def end_in_order() -> None:
    """Let TERM unwind everything, so that no server and no file is left behind."""
    signal.signal(signal.SIGTERM, _on_terminate)


def _on_terminate(*_: object) -> None:
    raise SystemExit(143)

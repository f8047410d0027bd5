"""How the commands that load servers are spoken to, how they answer, and how they are told to end."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Final, NoReturn

BAD_USE: Final = 2  # the exit status of a command that was not used as it is meant to be


def say(text: str) -> None:
    """A line for the person at the terminal, beside what goes to standard output."""
    print(text, file=sys.stderr, flush=True)


def names(text: str) -> list[str]:
    """The members of a list written with commas."""
    return [name for name in text.split(",") if name]


def end(command: str, why: str) -> NoReturn:
    """Leave `command`, which cannot do what it was told, with one line that says why."""
    say(f"{command}: {why}")
    raise SystemExit(BAD_USE)


def refuse_unknown(command: str, kind: str, asked: Iterable[str], known: Collection[str]) -> None:
    """End `command` over names to which nothing of that kind answers."""
    if unknown := [name for name in asked if name not in known]:
        end(command, f"{', '.join(unknown)}: not among the {kind}: {', '.join(known)}")


def write_documents(
    command: str,
    source: Path,
    outdated: Callable[[], Mapping[Path, str]],
    *,
    check: bool,
    kept_by: str = "--json",
) -> int:
    """Write what documents should hold by the results in `source`; the exit status of `command`.

    With `check` it is only said which of them do not hold it. `kept_by` is the flag that makes `source`.
    """
    if not source.exists():
        end(command, f"there is no {source.name} in docs/ yet: {kept_by} {source} makes it")
    different = outdated()
    for path, content in different.items():
        print(f"{path.name} {'is out of date' if check else 'written'}")
        if not check:
            path.write_text(content, encoding="utf-8")
    return 1 if check and different else 0


def end_in_order() -> None:
    """Let TERM unwind everything, so that no server and no file is left behind."""
    signal.signal(signal.SIGTERM, _on_terminate)


def _on_terminate(*_: object) -> None:
    raise SystemExit(143)

"""Print the connection's states into docs/architecture.md, from the table in states.py.

Usage: states_doc.py [--check]; with --check nothing is written, and the exit status is 1 when the
document does not show the table as it is.
"""

from __future__ import annotations

import sys
from pathlib import Path

from mpserve.states import STATES

DOCUMENT = Path(__file__).parent.parent / "docs" / "architecture.md"
BEGIN = "<!-- states: made by scripts/states_doc.py -->\n"
END = "<!-- end of states -->\n"


def table() -> str:
    """The states as a Markdown table."""
    rows = ["| state | waits for | deadline | event → next |", "|---|---|---|---|"]
    rows += [
        f"| {state.name} | {waits_for} | {deadline} | {events} |"
        for state, waits_for, deadline, events in STATES
    ]
    return "\n".join(rows) + "\n"


def main() -> int:
    """Write the table, or check it; the exit status."""
    text = DOCUMENT.read_text()
    before, _, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        print(f"{DOCUMENT.name}: no place for the states", file=sys.stderr)
        return 1
    made = before + BEGIN + "\n" + table() + "\n" + END + after
    if made == text:
        return 0
    if "--check" in sys.argv[1:]:
        print(f"{DOCUMENT.name} is out of date: run scripts/states_doc.py", file=sys.stderr)
        return 1
    DOCUMENT.write_text(made)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

"""Write docs/settings.md from the declarations in mpserve/config.py; with --check, only compare."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from mpserve.config import Settings
from mpserve.settings import Setting

PAGE = Path(__file__).parent.parent / "docs" / "settings.md"

OPENING = """\
# Settings

<!-- Made by scripts/settings_doc.py from mpserve/config.py: change it there. -->

Every setting is a flag and an environment variable. The flag beats the variable, and the variable
beats the default.

- A setting that is *repeatable* takes several values: the flag several times, or the variable with
  one value a line. What is given takes the place of the whole default.
- A switch is turned on by `--listing` or `MPSERVE_LISTING=on`, and off by `--no-listing` or `off`.
- An empty variable counts as none.

`mpserve --check`, with the flags and in the environment that the server will have, says whether it
could start. A wrong value ends with one line on standard error that tells which flag or variable it
is, and exit status 2.
"""


def page() -> str:
    """The whole page."""
    settings = Settings.declarations()
    sections = [OPENING]
    for group in dict.fromkeys(setting.group for setting in settings):
        rows = [row(setting) for setting in settings if setting.group == group]
        sections.append(f"## {group}\n\n{HEADER}\n" + "\n".join(rows) + "\n")
    return "\n".join(sections)


HEADER = """\
| flag | environment variable | default | allowed | meaning |
|---|---|---|---|---|"""


def row(setting: Setting[Any]) -> str:
    """One line of a table."""
    flag = setting.argument or f"{setting.flag} {setting.kind.metavar}".rstrip()
    default = f"`{setting.shown_default}`" if setting.shown_default else ""
    meaning = setting.help.replace("Repeatable.", "*Repeatable.*")
    cells = (f"`{flag}`", f"`{setting.variable}`", default, setting.kind.accepts, meaning)
    return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"


def main(arguments: list[str]) -> int:
    """Write the page or, with --check, say whether it is as it would be written."""
    if "--check" not in arguments:
        PAGE.write_text(page(), "utf-8")
        return 0
    if PAGE.is_file() and PAGE.read_text("utf-8") == page():
        return 0
    print("docs/settings.md is out of date: run scripts/settings_doc.py", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

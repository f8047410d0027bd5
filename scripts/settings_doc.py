"""Write what is said of the settings, from their declarations in mpserve/declarations.py; with --check, only compare.

That is docs/settings.md, the man page, and what shells complete.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

from completions import bash, fish, zsh
from manual import manual

from mpserve.declarations import Settings
from mpserve.settings import SWITCH, Setting

TOP = Path(__file__).parent.parent

OPENING = """\
# Settings

<!-- Made by scripts/settings_doc.py from mpserve/declarations.py: change it there. -->

Every setting is a flag, an environment variable and a key of the [configuration file](#the-configuration-file).
The flag beats the variable, the variable beats the file, and the file beats the default.

- A setting that is *repeatable* takes several values: the flag several times, the variable with
  one value a line, or an array in the file. What is given takes the place of the whole default.
- A switch is turned on by `--listing`, `MPSERVE_LISTING=on` or `listing = true`, and off by
  `--no-listing`, `off` or `false`.
- An empty variable counts as none.

`mpserve --check`, with the flags and in the environment that the server will have, says whether it
could start. A wrong value ends with one line on standard error that tells which flag, variable or
line of the file it is, and exit status 2.
"""

FILE = """\
`--config FILE` or `MPSERVE_CONFIG` names a file in [TOML](https://toml.io/en/v1.0.0):

```toml
# /etc/mpserve.toml
root = "/srv/site/current"
bind = [":80", "unix:/run/mpserve.sock"]
workers = 4
listing = false
header = ["Cache-Control: max-age=60", "X-Content-Type-Options: nosniff"]
keepalive_timeout = 65
access_log = "/var/log/mpserve/access.log"
```

- A setting has the name of its flag with underscores, ROOT is `root`. There are no tables. A file
  names no other file: `config` stands in none.
- A value is written as TOML has it: numbers, booleans for switches, arrays for what is repeatable
  (or the one value alone). The text that a flag would take, as in `workers = "auto"`, always serves
  too, and the same checks read both.
- A path is relative to the directory that the server was started in, wherever it is written: in the
  file as in a flag, `root = "public"` means the same. A file for a service has absolute paths.
- A key that is unknown, a wrong value and a syntax error are refused with the file and the line:

      $ mpserve --check --config mpserve.toml
      mpserve: error: mpserve.toml:3: keep_alive_timeout: no such setting; did you mean keepalive_timeout?

- The file is UTF-8, a regular file (a link to one will do), and has at most 65,536 bytes.

This is a file with every setting and its default:

"""


def page() -> str:
    """The whole page."""
    settings = Settings.declarations()
    sections = [OPENING]
    for group in dict.fromkeys(setting.group for setting in settings):
        rows = [row(setting) for setting in settings if setting.group == group]
        sections.append(f"## {group}\n\n{HEADER}\n" + "\n".join(rows) + "\n")
    sections.append(f"{FILE}```toml\n{example()}```\n")
    return "\n".join(sections)


def example() -> str:
    """A configuration file with every setting that a file may have, and its default."""
    settings = [each for each in Settings.declarations() if each is not Settings.config]
    groups = dict.fromkeys(setting.group for setting in settings)
    return "\n".join(
        f"# {group}\n" + "".join(line(each) for each in settings if each.group == group)
        for group in groups
    )


def line(setting: Setting[Any]) -> str:
    """A setting with its default, or commented out where there is none to write."""
    if setting.default in (None, ()):
        return f"# {setting.name} = {literal(setting, setting.kind.accepts)}\n"
    return f"{setting.name} = {literal(setting, setting.shown_default)}\n"


def literal(setting: Setting[Any], text: str) -> str:
    """`text`, which a flag would take, as TOML has it."""
    if setting.repeatable:
        return "[" + ", ".join(json.dumps(each) for each in text.split(", ")) + "]"
    if setting.kind is SWITCH:
        return "true" if text == "on" else "false"
    return text if re.fullmatch(r"[0-9]+(\.[0-9]+)?", text) else json.dumps(text)


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


# Where the wheel has them below the prefix, they lie below share/.
FILES = {
    "docs/settings.md": page,
    "share/man/man1/mpserve.1": manual,
    "share/bash-completion/completions/mpserve": bash,
    "share/zsh/site-functions/_mpserve": zsh,
    "share/fish/vendor_completions.d/mpserve.fish": fish,
}


def main(arguments: list[str]) -> int:
    """Write the files or, with --check, say which is not as it would be written."""
    status = 0
    for name, made in FILES.items():
        path = TOP / name
        if "--check" not in arguments:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(made(), "utf-8")
        elif not path.is_file() or path.read_text("utf-8") != made():
            print(f"{name} is out of date: run scripts/settings_doc.py", file=sys.stderr)
            status = 1
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Print the table of media types into mpserve/protocol/media.py, from media_types.toml.

Usage: media_types.py [--check]; with --check nothing is written, and the exit status is 1 when the
module does not hold the table as it is.
"""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

SOURCE = Path(__file__).with_suffix(".toml")
MODULE = Path(__file__).parent.parent / "mpserve" / "protocol" / "media.py"
BEGIN = "# Made by scripts/media_types.py from media_types.toml beside it.\n"
END = "# End of what scripts/media_types.py makes.\n"


def media_types(source: dict[str, dict[str, list[str]]]) -> dict[str, str]:
    """The field value for each extension; ValueError where the source contradicts itself."""
    types: dict[str, str] = {}
    for kind, parameter in (("text", "; charset=utf-8"), ("binary", "")):
        for media_type, extensions in source[kind].items():
            if kind == "binary" and media_type.startswith("text/"):
                raise ValueError(f"{media_type} is text")
            for extension in extensions:
                if extension in types or extension != extension.lower():
                    raise ValueError(f"{extension} is there twice, or not in lower case")
                types[extension] = media_type + parameter
    return types


def table(types: dict[str, str]) -> str:
    """`types` as the Python text of a dict."""
    rows = [f'    b"{extension}": b"{types[extension]}",\n' for extension in sorted(types)]
    return "".join(("MEDIA_TYPES = {\n", *rows, "}\n"))


def main() -> int:
    """Write the table, or check it; the exit status."""
    text = MODULE.read_text()
    before, _, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        print(f"{MODULE.name}: no place for the table", file=sys.stderr)
        return 1
    types = media_types(tomllib.loads(SOURCE.read_text()))
    made = before + BEGIN + table(types) + END + after
    if made == text:
        return 0
    if "--check" in sys.argv[1:]:
        print(f"{MODULE.name} is out of date: run scripts/media_types.py", file=sys.stderr)
        return 1
    MODULE.write_text(made)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

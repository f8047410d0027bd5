"""docs/reliability.md and its picture, made from docs/reliability.json."""

from __future__ import annotations

from pathlib import Path

from loadtests.benchmark.documents import DOCS, within
from loadtests.reliability import picture, report
from loadtests.reliability.results import Results, load

JSON = DOCS / "reliability.json"
PAGE = "reliability.md"
PICTURE = "reliability.svg"
BEGIN = "<!-- begin: written by `scripts/reliability --docs` from reliability.json -->"


def contents(results: Results, before: str) -> dict[str, str]:
    """File name → text. What people wrote around the figures in `before` stays."""
    shown = f"![What was lost, and how long connections took]({PICTURE})\n\n"
    figures = shown + report.markdown(results)
    return {
        PAGE: within(before, figures, begin=BEGIN, name=PAGE),
        PICTURE: picture.draw(results),
    }


def outdated(folder: Path = DOCS) -> dict[Path, str]:
    """The documents that are not what the JSON says, and what they should be."""
    before = (folder / PAGE).read_text(encoding="utf-8")
    made = contents(load(folder / JSON.name), before)
    return {
        folder / name: content
        for name, content in made.items()
        if not (folder / name).exists() or (folder / name).read_text(encoding="utf-8") != content
    }

"""docs/reliability.md and its picture, made from docs/reliability.json; soak.json and fuzz.json have sections."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from loadtests.benchmark.documents import DOCS, within
from loadtests.reliability import lasting, picture, report
from loadtests.reliability.lasting import Run, Section
from loadtests.reliability.results import Results, load

JSON = DOCS / "reliability.json"
PAGE = "reliability.md"
PICTURE = "reliability.svg"
BEGIN = "<!-- begin: written by `scripts/reliability --docs` from reliability.json -->"


def contents(
    results: Results, before: str, lasting_runs: Mapping[Section, Run] = MappingProxyType({})
) -> dict[str, str]:
    """File name → text. What people wrote around the figures in `before` stays."""
    page = before
    for section, run in lasting_runs.items():
        page = within(page, section.render(run), begin=section.begin, name=PAGE)
    shown = f"![What was lost, and how long connections took]({PICTURE})\n\n"
    figures = shown + report.markdown(results)
    return {
        PAGE: within(page, figures, begin=BEGIN, name=PAGE),
        PICTURE: picture.draw(results),
    }


def outdated(folder: Path = DOCS) -> dict[Path, str]:
    """The documents that are not what the JSON says, and what they should be."""
    before = (folder / PAGE).read_text(encoding="utf-8")
    runs = {
        each: lasting.load(folder / each.json)
        for each in lasting.SECTIONS
        if (folder / each.json).exists()
    }
    made = contents(load(folder / JSON.name), before, runs)
    return {
        folder / name: content
        for name, content in made.items()
        if not (folder / name).exists() or (folder / name).read_text(encoding="utf-8") != content
    }

"""The section of docs/reliability.md that is made from docs/slowhttp.json."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from loadtests.benchmark.documents import DOCS, within
from loadtests.slowhttp import report
from loadtests.slowhttp.results import load

JSON: Final = DOCS / "slowhttp.json"
PAGE: Final = "reliability.md"
BEGIN: Final = "<!-- begin: written by `scripts/slowhttp --docs` from slowhttp.json -->"


def outdated(folder: Path = DOCS) -> dict[Path, str]:
    """The page, if it is not what the JSON says, and what it should be."""
    page = folder / PAGE
    before = page.read_text(encoding="utf-8")
    after = within(before, report.markdown(load(folder / JSON.name)), begin=BEGIN, name=PAGE)
    return {page: after} if after != before else {}

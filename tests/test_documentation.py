"""What is written for people: every link leads somewhere, and every page can be found."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

TOP = Path(__file__).parents[1]
DOCS = TOP / "docs"
PAGES = [TOP / "README.md", TOP / "CHANGELOG.md", *sorted(DOCS.rglob("*.md"))]
LINK = re.compile(r"\]\((?!https?:)([^)#\s]*)(?:#([^)]*))?\)")
TEST = re.compile(r"`(?=tests/|::)(tests/[\w/]+\.py)?(?:::(\w+))?`")
HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)


def links(page: Path) -> list[tuple[Path, str]]:
    """The file that each link leads to, and the heading in it, if one is named."""
    found = LINK.findall(page.read_text())
    return [((page.parent / name).resolve() if name else page, anchor) for name, anchor in found]


def anchors(page: Path) -> set[str]:
    """What headings are called in links, as forges have it."""
    plain = (re.sub(r"[^\w\- ]", "", title.lower()) for title in HEADING.findall(page.read_text()))
    return {title.replace(" ", "-") for title in plain}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(TOP)))
def test_every_link_leads_somewhere(page: Path) -> None:
    dead = [
        f"{target.name}#{anchor}"
        for target, anchor in links(page)
        if not target.exists() or (anchor and anchor not in anchors(target))
    ]

    assert dead == []


def test_the_changelog_says_everything_once() -> None:
    text = (TOP / "CHANGELOG.md").read_text()
    lines = Counter(line for line in text.splitlines() if len(line) > 20)
    bullets = Counter(" ".join(each.split()[:4]) for each in text.split("\n- ")[1:])

    assert [each for each, count in (lines + bullets).items() if count > 1] == []


@pytest.mark.parametrize("index", [DOCS / "README.md", DOCS / "deploy" / "README.md"])
def test_every_page_is_in_the_table_of_contents(index: Path) -> None:
    listed = {target for target, _ in links(index)}
    pages = set(index.parent.glob("*.md")) | set(index.parent.glob("*/README.md"))

    assert pages - {index} <= listed


def test_every_test_that_a_promise_names_is_there() -> None:
    missing = []
    file = Path()
    for name, function in TEST.findall((DOCS / "security.md").read_text()):
        file = TOP / name if name else file
        if not file.is_file() or (function and f"def {function}(" not in file.read_text()):
            missing.append(f"{file.name}::{function}")

    assert missing == []

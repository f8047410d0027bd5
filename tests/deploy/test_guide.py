"""The guide names what is there, and shows what commands really say."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.deploy import units

TOP = Path(__file__).parents[2]
PAGES = sorted(units.DEPLOY.glob("*.md"))
LINK = re.compile(r"\]\(([^)#:]+)(#[^)]*)?\)")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_link_leads_somewhere(page: Path) -> None:
    links = [found[1] for found in LINK.finditer(page.read_text())]

    assert links
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_every_page_is_in_the_table_of_contents() -> None:
    listed = {found[1] for found in LINK.finditer((units.DEPLOY / "README.md").read_text())}

    assert {page.name for page in PAGES} - {"README.md"} == listed


@pytest.mark.slow
def test_what_the_pages_show_of_a_terminal_is_what_it_shows() -> None:
    done = subprocess.run(
        [sys.executable, TOP / "scripts" / "transcripts.py", "--check"],
        env={**os.environ, "PYTHONPATH": str(TOP)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, "")

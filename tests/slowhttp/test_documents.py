"""The report and the page say what the results say."""

from __future__ import annotations

from pathlib import Path

from loadtests.slowhttp import documents, report
from loadtests.slowhttp.results import save
from tests.slowhttp.examples import results


def test_a_line_says_how_much_worse_an_honest_client_fared() -> None:
    text = report.markdown(results())
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines()]

    assert ["slow heads", "mpserve", "4,000", "2,400", "0", "0.90", "1.7", "1.9"] in [
        cells[:8] for cells in lines
    ]
    assert ["500", "mpserve", "160", "4", "164", "0"] in lines
    assert "- command: `./scripts/slowhttp`" in text
    assert text.endswith("- a note\n")


def test_a_page_that_was_just_written_is_up_to_date(tmp_path: Path) -> None:
    save(results(), tmp_path / "slowhttp.json")
    page = tmp_path / documents.PAGE
    page.write_text(f"before\n{documents.BEGIN}\n<!-- end -->\nafter\n")
    written = documents.outdated(tmp_path)
    page.write_text(written[page])

    assert {} == documents.outdated(tmp_path)
    assert page.read_text().startswith("before\n")
    assert page.read_text().endswith("after\n")

"""The report, the picture and the page say what the results say."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as ET

from loadtests.reliability import documents, picture, report
from loadtests.reliability.results import save
from tests.reliability.examples import results


def test_a_line_says_what_was_lost_and_what_was_held() -> None:
    text = report.markdown(results())

    assert "| `kill -9` of a worker | mpserve |     8 | 1,000 |       0 |      0 |     3 |" in text
    assert "mpserve lost 0 of 2,000 fresh connections and 1,000 requests" in text
    assert "nginx lost 3 of 2,000 fresh connections" in text
    assert "It did not do: hup (a new generation did not happen)." in text
    assert "`--only kill --server mpserve`" in text
    assert "- nginx, kill: ended after the request" in text


def test_the_picture_is_well_formed_and_names_every_action() -> None:
    drawn = ET.fromstring(picture.draw(results()))
    words = {element.text for element in drawn.iter("{http://www.w3.org/2000/svg}text")}

    assert {"kill -9 of a worker", "HUP", "mpserve", "nginx", "not done"} <= words


def test_the_picture_tells_what_killed_workers_took_along_and_has_a_scale() -> None:
    drawn = picture.draw(results())

    assert '>0<tspan class="quiet plain" dx="5">(+ 8)</tspan></text>' in drawn  # all was held
    assert '>3<tspan class="quiet plain" dx="5">(+ 5)</tspan></text>' in drawn
    assert [line for line in picture.scale(1, 50.0, 300) if line.startswith("<text")] == [
        '<text class="quiet" x="604" y="90">p99 of fresh connections meanwhile, ms</text>',
        '<text class="quiet" x="692.9" y="112" text-anchor="middle">1</text>',
        '<text class="quiet" x="781.8" y="112" text-anchor="middle">10</text>',
    ]


def test_a_bar_for_nothing_has_no_length() -> None:
    assert (picture.share(0.0, 100.0), picture.share(100.0, 100.0)) == (0.0, 1.0)


def test_documents_that_were_just_written_are_up_to_date(tmp_path: Path) -> None:
    save(results(), tmp_path / "reliability.json")
    page = tmp_path / documents.PAGE
    page.write_text(f"before\n{documents.BEGIN}\n<!-- end -->\nafter\n")
    assert {path.name for path in documents.outdated(tmp_path)} == {
        "reliability.md",
        "reliability.svg",
    }
    for path, content in documents.outdated(tmp_path).items():
        path.write_text(content, encoding="utf-8")

    assert {} == documents.outdated(tmp_path)
    assert page.read_text().startswith("before\n")
    assert page.read_text().endswith("after\n")

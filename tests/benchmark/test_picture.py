"""The picture is well-formed, and its bars are as long as the figures say."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import pytest

from loadtests.benchmark import picture
from tests.benchmark.examples import results, timed

SVG = "{http://www.w3.org/2000/svg}"


def panels(document: str) -> list[ET.Element]:
    return ET.fromstring(document).findall(f"{SVG}g")


def lengths(panel: ET.Element) -> list[float]:
    return [float(bar.attrib["width"]) for bar in panel.findall(f"{SVG}rect")]


def test_every_workload_has_a_panel() -> None:
    titles = [panel[0].text for panel in panels(picture.draw(results()))]

    assert ["hot 1 KiB", "close (connection per request)"] == titles


def test_the_longest_bar_fills_the_room_and_the_others_are_in_proportion() -> None:
    hot = panels(picture.draw(results()))[0]
    room = picture.WIDTH - picture.NAMES - picture.VALUES

    # Ours is on top; 14 µs of nginx are the longest.
    assert [room * us / 14 for us in (7.2, 8.0, 14.0)] == pytest.approx(lengths(hot), abs=0.06)


def test_only_our_bar_stands_out() -> None:
    hot = panels(picture.draw(results()))[0]

    assert ["ours", "bar", "bar"] == [bar.attrib["class"] for bar in hot.findall(f"{SVG}rect")]


def test_the_floor_is_a_line_where_its_bar_would_end() -> None:
    hot = panels(picture.draw(results()))[0]
    line = hot.find(f"{SVG}line")
    assert line is not None

    room = picture.WIDTH - picture.NAMES - picture.VALUES
    assert picture.NAMES + room * 5 / 14 == pytest.approx(float(line.attrib["x1"]), abs=0.06)


def test_no_panel_reaches_beyond_the_picture() -> None:
    taken = results()
    taken.timed += [timed(f"workload {i}", "nginx", 10.0) for i in range(9)]
    document = ET.fromstring(picture.draw(taken))
    width, height = float(document.attrib["width"]), float(document.attrib["height"])
    servers = 3
    places = [
        tuple(map(float, panel.attrib["transform"][len("translate(") : -1].split()))
        for panel in document.findall(f"{SVG}g")
    ]

    assert len(places) == 11
    assert max(x for x, _ in places) + picture.WIDTH <= width
    assert max(y for _, y in places) + picture.TITLE + servers * picture.STEP <= height


def test_names_are_escaped() -> None:
    taken = results()
    taken.machine["processor"] = "A & B <C>"

    texts = [element.text for element in ET.fromstring(picture.draw(taken)).iter()]

    assert "A & B <C>, Linux 6.1, 2026-01-02 03:04 UTC" in texts

"""Pictures that are well-formed and show what they are given."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import pytest

from loadtests.charts import Axis, Bar, Line, bars, lines, number


def parse(figure: str) -> ET.Element:
    """The figure as XML: it must be well-formed."""
    return ET.fromstring(figure)


def places(figure: str, style: str) -> list[tuple[float, float]]:
    """The points of the line of this style."""
    path = parse(figure).find(f".//path[@class='line {style}']")
    assert path is not None
    return [
        (float(x), float(y)) for x, y in re.findall(r"[ML]([\d.]+) ([\d.]+)", path.get("d", ""))
    ]


def test_more_is_higher_and_later_is_further_right() -> None:
    figure = lines([Line("rate", "c1", [(1, 10), (2, 20), (3, 15)])], "Rate", "per second")
    (x1, y1), (x2, y2), (x3, y3) = places(figure, "c1")

    assert x1 < x2 < x3
    assert y2 < y3 < y1


def test_a_hole_breaks_the_line() -> None:
    figure = lines([Line("p99", "c2", [(1, 1.0), (2, None), (3, 2.0)])], "P99", "ms")

    assert len(re.findall(r"M[\d.]+ [\d.]+", figure.split('class="line c2"')[1])) == 2


def test_a_logarithmic_axis_has_equal_steps_for_powers_of_ten() -> None:
    figure = lines(
        [Line("p99", "c1", [(0, 0.1), (1, 1.0), (2, 10.0)])], "P99", "ms", logarithmic=True
    )
    ys = [y for _, y in places(figure, "c1")]

    assert ys[0] - ys[1] == pytest.approx(ys[1] - ys[2], abs=0.2)


def test_zero_has_a_place_on_a_logarithmic_axis() -> None:
    figure = lines([Line("p50", "c1", [(0, 0.0), (1, 5.0)])], "P50", "ms", logarithmic=True)

    assert len(places(figure, "c1")) == 2


@pytest.mark.parametrize("figure", [lines([], "Nothing", "ms"), bars([], "Nothing")])
def test_nothing_to_show_is_said(figure: str) -> None:
    assert "Nothing to show." in "".join(parse(figure).itertext())


def test_names_are_escaped() -> None:
    figure = lines([Line("<a>", "c1", [(0, 1)])], "<b>", "&", marks=[(0.5, "killed <1>")])
    shown = "".join(parse(figure).itertext())

    assert all(each in shown for each in ("<a>", "<b>", "&", "killed <1>"))


def test_bars_are_as_long_as_their_values() -> None:
    figure = bars([Bar("one", 10, "10"), Bar("two", 5, "5"), Bar("three", 0, "0")], "Bars")
    widths = [float(each.get("width", "")) for each in parse(figure).iter("rect")]

    assert widths[0] == pytest.approx(2 * widths[1], abs=0.2)
    assert widths[2] == 1.0


@pytest.mark.parametrize("high", [0.003, 1, 7, 999, 1_234_567])
def test_an_axis_has_a_few_round_numbers(high: float) -> None:
    ticks = [value for value, _ in Axis("", 0.0, high).ticks()]

    assert 2 <= len(ticks) <= 7
    assert ticks[-1] <= high


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (0.074, "0.074"), (1.4, "1.4"), (250, "250"), (12_000, "12k"), (25e6, "25M")],
)
def test_numbers_are_short(value: float, text: str) -> None:
    assert number(value) == text

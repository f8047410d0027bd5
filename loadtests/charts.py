"""Pictures as inline SVG: lines over time, bars. Pure; no script, nothing fetched, colours by the page's style."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import TypeAlias

Point: TypeAlias = tuple[float, float | None]

WIDTH, HEIGHT = 520, 230
LEFT, RIGHT, TOP, BOTTOM = 58, 16, 22, 34
TICKS = 5


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a picture; `style` names its colour, `c1` to `c4`, or `faint`."""

    label: str
    style: str
    points: Sequence[Point]


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar, with what is written at its end."""

    label: str
    value: float
    note: str
    style: str = "c1"


@dataclass(frozen=True, slots=True)
class Axis:
    """What stands along one side of a picture, and how its numbers become places."""

    title: str
    low: float
    high: float
    logarithmic: bool = False
    names: tuple[tuple[float, str], ...] = ()  # what is written where; else round numbers

    def share(self, value: float) -> float:
        """Where between the ends a value lies, 0 to 1."""
        if self.logarithmic:
            value = max(value, self.low)
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    def ticks(self) -> list[tuple[float, str]]:
        """What to write along it, and where."""
        if self.names:
            return [(value, name) for value, name in self.names if value <= self.high]
        return [(value, number(value)) for value in self._round_numbers()]

    def _round_numbers(self) -> list[float]:
        if self.logarithmic:
            first, last = round(math.log10(self.low)), round(math.log10(self.high))
            return [10.0**power for power in range(first, last + 1)]
        step = _round_up((self.high - self.low) / TICKS)
        count = int((self.high - self.low) / step + 1e-9)
        return [self.low + place * step for place in range(count + 1)]


def lines(
    shown: Sequence[Line],
    title: str,
    unit: str,
    *,
    logarithmic: bool = False,
    across: str = "seconds",
    names: tuple[tuple[float, str], ...] = (),
    marks: Sequence[tuple[float, str]] = (),
) -> str:
    """A picture of lines over a common horizontal axis, with vertical marks where something happened."""
    xs = [x for line in shown for x, y in line.points if y is not None]
    ys = [y for line in shown for _, y in line.points if y is not None]
    if not xs:
        return _nothing(title)
    horizontal = Axis(across, 0.0, max(*xs, 1e-9), names=names)
    vertical = _log_axis(unit, ys) if logarithmic else Axis(unit, 0.0, _nice(max(ys)))
    content = [_grid(horizontal, vertical), *(_mark(horizontal, at, what) for at, what in marks)]
    content += [_polyline(line, horizontal, vertical) for line in shown]
    return _figure(title, _legend(shown), f'viewBox="0 0 {WIDTH} {HEIGHT}"', "".join(content))


def bars(shown: Sequence[Bar], title: str, none: str = "Nothing to show.") -> str:
    """A picture of horizontal bars, longest scale common to all."""
    if not shown:
        return _nothing(title, none)
    most = max(bar.value for bar in shown) or 1.0
    height = 30 * len(shown) + 8
    content = "".join(_bar(bar, place, most) for place, bar in enumerate(shown))
    return _figure(title, "", f'viewBox="0 0 {WIDTH} {height}"', content)


def number(value: float) -> str:
    """A number as people read it: 0.07, 1.4, 250, 12k."""
    if value >= 10_000_000:
        return f"{value / 1_000_000:,.0f}M"
    if value >= 10_000:
        return f"{value / 1000:,.0f}k"
    return f"{value:.0f}" if value >= 100 or value == int(value) else f"{value:.2g}"


def _round_up(value: float) -> float:
    """The next of 1, 2, 2.5, 5, 10 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(value)) if value > 0 else 1.0
    steps = (factor * power for factor in (1.0, 2.0, 2.5, 5.0, 10.0))
    return next((step for step in steps if step >= value * 0.999), 10 * power)


def _nice(value: float) -> float:
    step = _round_up(max(value, 1e-9) / TICKS)
    return step * math.ceil(value / step - 1e-9) if value > 0 else 1.0


def _log_axis(title: str, values: Sequence[float]) -> Axis:
    positive = [value for value in values if value > 0] or [1.0]
    low, high = math.floor(math.log10(min(positive))), math.ceil(math.log10(max(positive)))
    return Axis(title, 10.0**low, 10.0 ** max(high, low + 1), logarithmic=True)


def _x(axis: Axis, value: float) -> float:
    return LEFT + (WIDTH - LEFT - RIGHT) * axis.share(value)


def _y(axis: Axis, value: float) -> float:
    return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * axis.share(value)


def _grid(horizontal: Axis, vertical: Axis) -> str:
    parts = []
    for value, name in vertical.ticks():
        y = _y(vertical, value)
        parts.append(f'<path class="grid" d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" class="end">{escape(name)}</text>')
    for value, name in horizontal.ticks():
        x = min(_x(horizontal, value), WIDTH - RIGHT - 3.0 * len(name))
        parts.append(
            f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 16}" class="mid">{escape(name)}</text>'
        )
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(
        f'<text x="{middle}" y="{HEIGHT - 3}" class="mid dim">{escape(horizontal.title)}</text>'
    )
    parts.append(f'<text x="{LEFT - 8}" y="11" class="end dim">{escape(vertical.title)}</text>')
    return "".join(parts)


def _polyline(line: Line, horizontal: Axis, vertical: Axis) -> str:
    """One path; where a point has no value the line is broken."""
    path, pen = [], "M"
    for x, y in line.points:
        if y is None:
            pen = "M"
            continue
        path.append(f"{pen}{_x(horizontal, x):.1f} {_y(vertical, y):.1f}")
        pen = "L"
    return f'<path class="line {line.style}" d="{"".join(path)}"/>'


def _mark(horizontal: Axis, at: float, what: str) -> str:
    x = _x(horizontal, min(at, horizontal.high))
    return (
        f'<path class="mark" d="M{x:.1f} {TOP}V{HEIGHT - BOTTOM}">'
        f"<title>{escape(what)}</title></path>"
    )


def _bar(bar: Bar, place: int, most: float) -> str:
    y = 4 + 30 * place
    full = WIDTH - 150 - 120
    length = max(1.0, full * bar.value / most)
    return (
        f'<text x="140" y="{y + 15}" class="end">{escape(bar.label)}</text>'
        f'<rect class="bar {bar.style}" x="150" y="{y}" width="{length:.1f}" height="20" rx="2"/>'
        f'<text x="{158 + length:.1f}" y="{y + 15}">{escape(bar.note)}</text>'
    )


def _legend(shown: Sequence[Line]) -> str:
    items = (f'<span><i class="{line.style}"></i>{escape(line.label)}</span>' for line in shown)
    return f'<div class="legend">{"".join(items)}</div>'


def _figure(title: str, legend: str, view: str, content: str) -> str:
    head = f"<figcaption>{escape(title)}{legend}</figcaption>"
    return f'<figure>{head}<svg {view} role="img" aria-label="{escape(title)}">{content}</svg></figure>'


def _nothing(title: str, word: str = "Nothing to show.") -> str:
    return f'<figure><figcaption>{escape(title)}</figcaption><p class="dim">{escape(word)}</p></figure>'

"""The picture: for every action what was lost and how long fresh connections took, drawn as SVG from the results."""

from __future__ import annotations

import math
from collections.abc import Iterator
from html import escape

from loadtests.benchmark.picture import STYLE, caption_of
from loadtests.benchmark.results import OURS
from loadtests.reliability.report import milliseconds, title_of
from loadtests.reliability.results import Results, Row

MARGIN = 24
HEAD = 124  # above the first action
NAMES = 212  # room for the actions on the left
SERVERS = 64  # and for the servers beside them
LENGTH = 240  # of the longest bar
VALUES = 64  # room for what is written at the end of a bar
BAR = 13
STEP = 17  # from bar to bar
GAP = 12  # from action to action
SHORTEST = 0.1  # milliseconds, and losses: where a logarithmic bar begins

TITLE = "What clients lose, and how long they wait"
EXPLANATION = (
    "for each thing that is done to a server: requests lost, in quiet figures those that killed workers had accepted"
    " already; and the 99th percentile of fresh connections meanwhile"
)
COLUMNS = ("requests lost (and those of killed workers)", "p99 of fresh connections meanwhile, ms")
GRID = """
  .plain { font-weight: 400; }
  .grid { stroke: #d0d7de; }
  @media (prefers-color-scheme: dark) { .grid { stroke: #30363d; } }
"""


def draw(results: Results) -> str:
    """The SVG document."""
    most = [max((value(row) for row in results.rows), default=1.0) for value in (lost, p99)]
    body = []
    y = HEAD
    for action in results.actions():
        text = escape(title_of(action).replace("`", ""))
        body.append(f'<text class="panel" x="{MARGIN}" y="{y + 11}">{text}</text>')
        for server in results.servers():
            row = results.find(server, action)
            if row is not None:
                body += bars(row, y, most)
                y += STEP
        y += GAP
    scales = [
        line for column, longest in enumerate(most) for line in scale(column, longest, y - GAP)
    ]
    return frame(results, scales + body, y + MARGIN)


def left_of(column: int) -> int:
    """Where the bars of a column begin."""
    return MARGIN + NAMES + SERVERS + column * (LENGTH + VALUES)


def scale(column: int, longest: float, bottom: int) -> Iterator[str]:
    """What a column shows, and a line for each power of ten in it."""
    x = left_of(column)
    yield f'<text class="quiet" x="{x}" y="{HEAD - 34}">{COLUMNS[column]}</text>'
    power = 1.0
    while power <= longest:
        place = f"{x + LENGTH * share(power, longest):.1f}"
        yield f'<text class="quiet" x="{place}" y="{HEAD - 12}" text-anchor="middle">{power:,.0f}</text>'
        yield f'<line class="grid" x1="{place}" y1="{HEAD - 6}" x2="{place}" y2="{bottom}"/>'
        power *= 10


def frame(results: Results, body: list[str], height: int) -> str:
    """The document around the bars."""
    width = left_of(2) + MARGIN
    size = f'width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
    taken = escape(caption_of(results.machine, results.taken))
    fresh = escape(results.settings.get("fresh", ""))
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-labelledby="title explanation">',
        f'<title id="title">{TITLE}</title>',
        f'<desc id="explanation">{escape(EXPLANATION)}</desc>',
        f"<style>{STYLE}{GRID}</style>",
        f'<rect class="back" width="{width}" height="{height}"/>',
        f'<text class="title" x="{MARGIN}" y="32">{TITLE}</text>',
        f'<text class="quiet" x="{MARGIN}" y="54">{fresh}</text>',
        *body,
        f'<text class="quiet" x="{MARGIN}" y="{height - 14}">{taken}; logarithmic; shorter is better</text>',
        "</svg>",
        "",
    ]
    return "\n".join(lines)


def lost(row: Row) -> float:
    return float(row.unexcused)


def p99(row: Row) -> float:
    return row.latency.p99 if row.latency else 0.0


def bars(row: Row, y: int, most: list[float]) -> Iterator[str]:
    """The two bars of one action and one server."""
    ours = row.server == OURS
    kind, strong = ("ours", "strong") if ours else ("bar", "")
    name = f'class="quiet {strong}" x="{MARGIN + NAMES}"'
    yield f'<text {name} y="{y + 11}">{escape(row.server)}</text>'
    of_killed = row.lost_in_all - row.unexcused
    more = f'<tspan class="quiet plain" dx="5">(+ {of_killed:,})</tspan>' if of_killed else ""
    labels = ("not done" if row.problems else f"{row.unexcused:,}{more}", milliseconds(p99(row)))
    for column, (value, label) in enumerate(zip((lost(row), p99(row)), labels, strict=True)):
        x, length = left_of(column), LENGTH * share(value, most[column])
        if length:
            yield f'<rect class="{kind}" x="{x}" y="{y}" width="{length:.1f}" height="{BAR}" rx="2"/>'
        yield f'<text class="{strong}" x="{x + length + 5:.1f}" y="{y + 11}">{label}</text>'


def share(value: float, longest: float) -> float:
    """How long a bar is, from 0 to 1: logarithmic, for a loss of ten and one of ten thousand."""
    if value <= SHORTEST:
        return 0.0
    return math.log(value / SHORTEST) / math.log(max(longest, 10 * SHORTEST) / SHORTEST)

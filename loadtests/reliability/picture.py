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
HEAD = 84  # above the first action
NAMES = 200  # room for the actions on the left
SERVERS = 64  # and for the servers beside them
LENGTH = 240  # of the longest bar
VALUES = 56  # room for what is written at the end of a bar
BAR = 13
STEP = 17  # from bar to bar
GAP = 12  # from action to action
SHORTEST = 0.1  # milliseconds, and losses: where a logarithmic bar begins

TITLE = "What clients notice of it"
EXPLANATION = "lost beyond what killed workers had accepted, and the 99th percentile of fresh connections meanwhile"


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
    return frame(results, body, y + MARGIN)


def frame(results: Results, body: list[str], height: int) -> str:
    """The document around the bars."""
    left = MARGIN + NAMES + SERVERS
    width = left + 2 * (LENGTH + VALUES) + MARGIN
    size = f'width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
    taken = escape(caption_of(results.machine, results.taken))
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-labelledby="title explanation">',
        f'<title id="title">{TITLE}</title>',
        f'<desc id="explanation">{escape(EXPLANATION)}</desc>',
        f"<style>{STYLE}</style>",
        f'<rect class="back" width="{width}" height="{height}"/>',
        f'<text class="title" x="{MARGIN}" y="36">{TITLE}</text>',
        f'<text class="quiet" x="{left}" y="66">requests lost</text>',
        f'<text class="quiet" x="{left + LENGTH + VALUES}" y="66">p99 of fresh connections, ms</text>',
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
    kind, strong = ("ours", " strong") if ours else ("bar", "")
    x = MARGIN + NAMES
    yield f'<text class="quiet{strong}" x="{x}" y="{y + 11}">{escape(row.server)}</text>'
    labels = ("not done" if row.problems else f"{row.unexcused:,}", milliseconds(p99(row)))
    x += SERVERS
    for value, label, longest in zip((lost(row), p99(row)), labels, most, strict=True):
        length = LENGTH * share(value, longest)
        if length:
            yield f'<rect class="{kind}" x="{x}" y="{y}" width="{length:.1f}" height="{BAR}" rx="2"/>'
        yield f'<text class="{strong.strip()}" x="{x + length + 5:.1f}" y="{y + 11}">{label}</text>'
        x += LENGTH + VALUES


def share(value: float, longest: float) -> float:
    """How long a bar is, from 0 to 1: logarithmic, for a loss of ten and one of ten thousand."""
    if value <= SHORTEST:
        return 0.0
    return math.log(value / SHORTEST) / math.log(max(longest, 10 * SHORTEST) / SHORTEST)

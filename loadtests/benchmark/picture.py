"""The picture: processor time per request, a panel for each workload, drawn as SVG from the results."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from loadtests.benchmark.report import figure, shown, title_of
from loadtests.benchmark.results import FLOOR, FLOORS, OURS, Results

ACROSS = 3  # panels
WIDTH = 300  # of a panel
GAP = 24  # between panels
MARGIN = 24
HEAD = 76  # above the panels: title and explanation
TITLE = 24  # above the bars of a panel
BAR = 14
STEP = 19  # from bar to bar
NAMES = 86  # room for the names on the left
VALUES = 40  # and for the values on the right

STYLE = """
  text { font: 12px system-ui, -apple-system, "Segoe UI", sans-serif; fill: #24292f; }
  .title { font-size: 18px; font-weight: 600; }
  .panel { font-size: 13px; font-weight: 600; }
  .quiet { fill: #57606a; }
  .bar { fill: #b6bec8; }
  .ours { fill: #1f6feb; }
  .strong { font-weight: 600; }
  .floor { stroke: #57606a; stroke-dasharray: 3 3; }
  .back { fill: #ffffff; }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3; }
    .quiet { fill: #9198a1; }
    .bar { fill: #59636e; }
    .ours { fill: #4493f8; }
    .floor { stroke: #9198a1; }
    .back { fill: #0d1117; }
  }
"""


def draw(results: Results, logged: bool = False) -> str:
    """The SVG document."""
    servers = [name for name in reversed(shown(results)) if name not in FLOORS]
    workloads = results.workloads(logged)
    height_of_panel = TITLE + STEP * len(servers)
    down = -(-len(workloads) // ACROSS)
    width = 2 * MARGIN + ACROSS * WIDTH + (ACROSS - 1) * GAP
    height = HEAD + down * (height_of_panel + GAP) + MARGIN
    panels = []
    for index, workload in enumerate(workloads):
        x = MARGIN + index % ACROSS * (WIDTH + GAP)
        y = HEAD + index // ACROSS * (height_of_panel + GAP)
        panels.append(f'<g transform="translate({x} {y})">')
        panels += panel(results, workload, logged, servers)
        panels.append("</g>")
    title = "Processor time per request, µs"
    caption = escape(caption_of(results.machine, results.taken))
    explanation = (
        "user and system time of all the server's processes; shorter is better;"
        " the dashed line is the smallest C loop that sends the same octets"
    )
    opening = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}"'
        f' viewBox="0 0 {width} {height}" role="img" aria-labelledby="title explanation">'
    )
    return "\n".join(
        (
            opening,
            f'<title id="title">{title}</title>',
            f'<desc id="explanation">{escape(explanation)}</desc>',
            f"<style>{STYLE}</style>",
            f'<rect class="back" width="{width}" height="{height}"/>',
            f'<text class="title" x="{MARGIN}" y="36">{title}</text>',
            f'<text class="quiet" x="{MARGIN}" y="58">{escape(explanation)}</text>',
            *panels,
            f'<text class="quiet" x="{MARGIN}" y="{height - 14}">{caption}</text>',
            "</svg>",
            "",
        )
    )


def caption_of(machine: dict[str, str], taken: str) -> str:
    """Where and when it was measured."""
    words = (machine.get(name, "") for name in ("processor", "kernel"))
    return ", ".join(word for word in (*words, taken) if word)


def panel(results: Results, workload: str, logged: bool, servers: list[str]) -> Iterator[str]:
    """The bars of one workload, the longest as long as the room allows."""
    times = {
        server: row.middle("processor_us")
        for server in servers
        if (row := results.find(workload, logged, server)) is not None
    }
    scale = (WIDTH - NAMES - VALUES) / max(times.values())
    yield f'<text class="panel" x="0" y="12">{escape(title_of(workload))}</text>'
    for index, server in enumerate(servers):
        y = TITLE + index * STEP
        strong = " strong" if server == OURS else ""
        yield f'<text class="quiet{strong}" x="0" y="{y + 11}">{escape(server)}</text>'
        if server not in times:
            continue
        length = times[server] * scale
        kind = "ours" if server == OURS else "bar"
        yield f'<rect class="{kind}" x="{NAMES}" y="{y}" width="{length:.1f}" height="{BAR}" rx="2"/>'
        label = figure(times[server])
        yield f'<text class="{strong.strip()}" x="{NAMES + length + 5:.1f}" y="{y + 11}">{label}</text>'
    yield from floor_line(results, workload, logged, scale, len(servers))


def floor_line(
    results: Results, workload: str, logged: bool, scale: float, bars: int
) -> Iterator[str]:
    row = results.find(workload, logged, FLOOR)
    if row is None:
        return
    x = NAMES + row.middle("processor_us") * scale
    # A floor that costs more than every server stands for nothing; it must not leave the panel.
    if x <= WIDTH:
        bottom = TITLE + bars * STEP - (STEP - BAR)
        yield f'<line class="floor" x1="{x:.1f}" x2="{x:.1f}" y1="{TITLE - 3}" y2="{bottom + 3}"/>'

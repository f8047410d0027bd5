"""The report on one run: one HTML page with everything in it. Pure: a record and its verdict in, text out."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Sequence
from html import escape

from loadtests import charts
from loadtests.charts import Bar, Line
from loadtests.faults import Kind
from loadtests.histogram import percentile
from loadtests.plan import knee, stairs
from loadtests.record import Record, Row, Worker
from loadtests.verdict import MEBIBYTE, Outcome, Result, Verdict

_MEANING = {
    Outcome.PASS: "Every octet and every message was right, and the server was good enough.",
    Outcome.FAIL: "The server did something wrong, or was not good enough.",
    Outcome.INVALID: "The numbers of this run may not be believed: the load was not what it should be.",
}
# Where a percentile curve is drawn: the share of the slowest, one in ten to one in ten thousand.
_SHARES = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999, 0.9995, 0.9999)

_PERCENTILES = (
    (0.30103, "50 %"),
    (1.0, "90 %"),
    (2.0, "99 %"),
    (3.0, "99.9 %"),
    (4.0, "99.99 %"),
)

_STYLE = """
:root{color-scheme:light dark;--bg:#fff;--fg:#1d2430;--dim:#667085;--rule:#e4e7ec;--card:#f8f9fb;
--c1:#2563eb;--c2:#d9480f;--c3:#0f9d74;--c4:#8b5cf6;--faint:#b6bfcc;
--pass:#0b7a53;--fail:#c2251c;--invalid:#a15c00}
@media(prefers-color-scheme:dark){:root{--bg:#12161d;--fg:#e3e8ef;--dim:#98a2b3;--rule:#2b3240;
--card:#191f29;--c1:#6ea0ff;--c2:#ff8a4c;--c3:#3ecf9a;--c4:#b197fc;--faint:#5b6678;
--pass:#3ecf9a;--fail:#ff7b72;--invalid:#f2b04b}}
*{box-sizing:border-box}
body{margin:0;background:var(--bg);color:var(--fg);font:15px/1.5 system-ui,sans-serif}
main{max-width:1060px;margin:0 auto;padding:28px 20px 60px}
h1{font-size:24px;margin:0 0 2px}h2{font-size:17px;margin:36px 0 10px}
p{margin:0 0 10px;max-width:75ch}.dim{color:var(--dim)}
.verdict{display:flex;gap:18px;align-items:center;margin:20px 0;padding:16px 20px;border-radius:8px;
background:var(--card);border-left:6px solid currentColor}
.verdict b{font-size:26px;letter-spacing:.02em}.verdict p{margin:0;color:var(--fg)}
.PASS,.ok{color:var(--pass)}.FAIL{color:var(--fail)}.INVALID{color:var(--invalid)}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:10px}
.tile{background:var(--card);border-radius:8px;padding:10px 14px}
.tile b{display:block;font-size:21px;font-variant-numeric:tabular-nums}
.tile span{color:var(--dim);font-size:13px}
.pair{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,440px),1fr));gap:18px}
figure{margin:0;min-width:0}
figcaption{display:flex;flex-wrap:wrap;gap:4px 18px;justify-content:space-between;font-weight:600;
font-size:14px;margin-bottom:4px}
.legend{display:flex;flex-wrap:wrap;gap:2px 14px;font-weight:400;color:var(--dim);font-size:13px}
.legend i{display:inline-block;width:14px;height:3px;margin-right:5px;vertical-align:middle;
background:currentColor}
svg{width:100%;height:auto;display:block}
svg text{fill:var(--fg);font-size:12px;font-variant-numeric:tabular-nums}
svg .dim{fill:var(--dim)}svg .end{text-anchor:end}svg .mid{text-anchor:middle}
.grid{stroke:var(--rule);fill:none}.line{fill:none;stroke:currentColor;stroke-width:1.8;
stroke-linejoin:round}.mark{stroke:var(--fail);stroke-dasharray:3 3;stroke-width:1.5}
.bar{fill:currentColor}.c1{color:var(--c1)}.c2{color:var(--c2)}.c3{color:var(--c3)}
.c4{color:var(--c4)}.faint{color:var(--faint)}
.scroll{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
th,td{padding:5px 10px;text-align:right;border-bottom:1px solid var(--rule);white-space:nowrap}
th{font-weight:600;color:var(--dim);font-size:13px}
th:first-child,td:first-child{text-align:left;padding-left:0}td.wide{white-space:normal;min-width:150px}
.dense td,.dense th{padding:4px 7px;font-size:13px}
tr.sum td{font-weight:600}
.named td:nth-child(2),.named th:nth-child(2){text-align:left}
code,pre{font:13px/1.45 ui-monospace,monospace}pre{background:var(--card);padding:12px 14px;
border-radius:8px;overflow-x:auto;margin:0}
dl{display:grid;grid-template-columns:max-content 1fr;gap:4px 18px;margin:0}
dt{color:var(--dim)}dd{margin:0;overflow-wrap:anywhere}
"""


def page(record: Record, verdict: Verdict) -> str:
    """The whole page."""
    title = f"Load test: {record.scenario}"
    body = "".join(
        (
            _head(record, title),
            _verdict(verdict),
            _tiles(record),
            _over_time(record),
            _knee(record),
            _latency_and_errors(record),
            _requests(record),
            _workers(record),
            _rules(verdict),
            _client(record),
            _surroundings(record),
        )
    )
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(title)}: {verdict.outcome.name}</title><style>{_STYLE}</style></head>"
        f"<body><main>{body}</main></body></html>\n"
    )


def _head(record: Record, title: str) -> str:
    began = time.strftime("%Y-%m-%d %H:%M:%S %Z", time.localtime(record.began))
    shape = f", shape {record.shape}" if record.shape else ""
    return (
        f"<h1>{escape(title)}</h1>"
        f'<p class="dim">{escape(record.target)}, {began}, {record.duration:.0f} s{escape(shape)}</p>'
    )


def _verdict(verdict: Verdict) -> str:
    name = verdict.outcome.name
    missed = f" Decisive: {verdict.because.removeprefix(': ')}." if verdict.because else ""
    word = escape(_MEANING[verdict.outcome] + missed)
    return f'<div class="verdict {name}"><b>{name}</b><p>{word}</p></div>'


def _rules(verdict: Verdict) -> str:
    rows = "".join(_rule(result) for result in verdict.results)
    return (
        "<h2>Rules</h2><p>A <em>sound</em> rule that is missed is FAIL in any case; a <em>valid</em> one "
        "makes the run INVALID; a <em>good</em> one is FAIL in a run that is valid.</p>"
        '<div class="scroll"><table class="named"><tr><th>rule</th><th>class</th><th>measured</th>'
        f"<th>wanted</th><th>result</th></tr>{rows}</table></div>"
    )


def _rule(result: Result) -> str:
    cells = (result.name, result.rule.class_.value, result.shown, result.wanted)
    plain = "".join(f"<td>{escape(cell)}</td>" for cell in cells)
    return f'<tr>{plain}<td class="{result.word}">{result.word}</td></tr>'


def _tiles(record: Record) -> str:
    whole = record.whole
    duration = record.duration or 1.0
    share = 100 * record.failures / record.requests if record.requests else 0.0
    values = (
        (f"{record.requests:,}", "requests"),
        (f"{record.requests / duration:,.0f}/s", "throughput"),
        (f"{whole.octets / MEBIBYTE / duration:,.1f} MiB/s", "content"),
        (f"{record.connections:,}", "connections"),
        (_ms(percentile(whole.service, 0.5)), "median latency"),
        (_ms(percentile(whole.service, 0.99)), "99th percentile"),
        (_ms(percentile(whole.service, 0.999)), "99.9th percentile"),
        (f"{share:.2g} %", f"failed ({record.failures:,})"),
        (_per_request(record), "server processor time per request"),
    )
    tiles = "".join(
        f'<div class="tile"><b>{escape(value)}</b><span>{escape(name)}</span></div>'
        for value, name in values
    )
    return f'<h2>In numbers</h2><div class="tiles">{tiles}</div>'


def _per_request(record: Record) -> str:
    if not record.workers or not record.requests:
        return "-"
    used = sum(worker.cpu for worker in record.workers)
    return f"{1_000_000 * used / record.requests:.0f} µs"


def _over_time(record: Record) -> str:
    seconds = record.seconds
    marks = [(second.at, second.event) for second in seconds if second.event]
    rate = Line("requests per second", "c1", [(s.at, s.rate) for s in seconds])
    users = Line("users", "faint", [(s.at, float(s.users)) for s in seconds])
    fails = Line("failures", "c2", [(s.at, float(s.failures)) for s in seconds])
    shown = [rate, users, fails] if record.failures else [rate, users]
    latency = [
        Line("median", "c1", [(s.at, s.p50) for s in seconds]),
        Line("99th percentile", "c2", [(s.at, s.p99) for s in seconds]),
    ]
    note = _marks_note(marks)
    return (
        '<h2>Over time</h2><div class="pair">'
        + charts.lines(shown, "Throughput", "1/s", marks=marks)
        + charts.lines(latency, "Latency", "ms", logarithmic=True, marks=marks)
        + f"</div>{note}"
    )


def _marks_note(marks: Sequence[tuple[float, str]]) -> str:
    if not marks:
        return ""
    lines = "\n".join(f"{at:6.1f} s  {what}" for at, what in marks)
    return f'<p class="dim">Dashed lines: what the run did to the server.</p><pre>{escape(lines)}</pre>'


def _knee(record: Record) -> str:
    if record.shape != "steps":
        return ""
    found = stairs(record.seconds)
    rate = Line("requests per second", "c1", [(float(s.users), s.rate) for s in found])
    tail = Line("99th percentile", "c2", [(float(s.users), s.p99) for s in found])
    at = knee(found)
    marks = [] if at is None else [(float(at.users), f"the knee: {at.users} users")]
    word = (
        "No knee: the last stair was as good as the first. Take more users."
        if at is None
        else f"The knee is at {at.users} users, {at.rate:,.0f} requests per second: beyond it, more "
        "load brings waiting, not work."
    )
    return (
        f'<h2>Steps</h2><p>{escape(word)}</p><div class="pair">'
        + charts.lines([rate], "Throughput by users", "1/s", across="users", marks=marks)
        + charts.lines(
            [tail], "Latency by users", "ms", across="users", logarithmic=True, marks=marks
        )
        + "</div>"
    )


def _requests(record: Record) -> str:
    head = (
        "<tr><th>request</th><th>count</th><th>failed</th><th>per second</th><th>p50</th><th>p90</th>"
        "<th>p99</th><th>p99.9</th><th>since due: p99</th><th>MiB</th><th>statuses</th></tr>"
    )
    rows = "".join(_request_row(record, row) for row in record.rows)
    total = _request_row(record, record.whole).replace("<tr>", '<tr class="sum">', 1)
    return (
        f'<h2>Requests</h2><div class="scroll"><table class="dense">{head}{rows}{total}</table></div>'
        '<p class="dim">Milliseconds. Answers that a client leaves on purpose are counted, without a time.'
        "</p>"
    )


def _request_row(record: Record, row: Row) -> str:
    rate = row.requests / record.duration if record.duration else 0.0
    statuses = ", ".join(f"{status}: {count:,}" for status, count in sorted(row.statuses.items()))
    cells = (
        row.name,
        f"{row.requests:,}",
        f"{row.failures:,}",
        f"{rate:,.1f}",
        *(_plain(percentile(row.service, share)) for share in (0.5, 0.9, 0.99, 0.999)),
        _plain(percentile(row.due, 0.99)),
        f"{row.octets / MEBIBYTE:,.1f}",
    )
    plain = "".join(f"<td>{escape(cell)}</td>" for cell in cells)
    return f'<tr>{plain}<td class="wide">{escape(statuses or "-")}</td></tr>'


def _latency_and_errors(record: Record) -> str:
    curve = charts.lines(
        [
            Line("from sending the request", "c1", _curve(record.whole.service)),
            Line("since the visit was due", "c2", _curve(record.whole.due)),
        ],
        "Latency by percentile",
        "ms",
        logarithmic=True,
        across="share of the answers that were as fast or faster",
        names=_PERCENTILES,
    )
    kinds = [
        Bar(kind.value, record.count(kind), f"{record.count(kind):,}", "c2")
        for kind in Kind
        if record.count(kind)
    ]
    errors = charts.bars(kinds, "Errors by kind", "None.")
    return f'<h2>Latency and errors</h2><div class="pair">{curve}{errors}</div>{_errors(record)}'


def _curve(histogram: dict[float, int]) -> list[charts.Point]:
    """Percentile by rarity: one in ten, one in a hundred and one in a thousand are equally far apart."""
    count = sum(histogram.values())
    shares = [share for share in _SHARES if share == 0.0 or count * (1 - share) >= 1]
    return [(-math.log10(1 - share), percentile(histogram, share)) for share in shares]


def _errors(record: Record) -> str:
    if not record.faults:
        return ""
    rows = "".join(
        f"<tr><td>{escape(kind)}</td><td>{escape(name)}</td><td>{count:,}</td></tr>"
        for (kind, name), count in sorted(record.faults.items(), key=lambda each: -each[1])
    )
    excused = (
        f"<p>The workers that the run killed held {record.excused} connections; as many may be lost.</p>"
        if record.excused
        else ""
    )
    return (
        f'{excused}<div class="scroll"><table class="named"><tr><th>kind</th><th>request</th><th>count</th></tr>'
        f"{rows}</table></div>{_examples(record.examples)}"
    )


def _examples(examples: Iterable[str]) -> str:
    text = "\n".join(examples)
    return f'<p class="dim">For example:</p><pre>{escape(text)}</pre>' if text else ""


def _workers(record: Record) -> str:
    if record.workers is None:
        return "<h2>Workers</h2><p>- (not a server that this run has started, so nobody looked into it)</p>"
    used = sum(worker.cpu for worker in record.workers) or 1.0
    held = sum(worker.connections for worker in record.workers) or 1.0
    cpu = [
        Bar(
            f"worker {each.pid}", each.cpu, f"{each.cpu:.1f} s, {100 * each.cpu / used:.0f} %", "c1"
        )
        for each in record.workers
    ]
    connections = [
        Bar(
            f"worker {each.pid}",
            each.connections,
            f"{each.connections:.1f}, {100 * each.connections / held:.0f} %",
            "c3",
        )
        for each in record.workers
    ]
    rows = "".join(map(_worker_row, record.workers))
    head = (
        "<tr><th>worker</th><th>processor</th><th>connections</th><th>at most</th>"
        "<th>memory, warm</th><th>at the end</th><th>descriptors, before</th><th>after</th>"
        "<th>fate</th></tr>"
    )
    return (
        '<h2>Workers</h2><p class="dim">The log does not name the worker of a request; the processor time '
        "it used and the connections it held, seen once a second, show its share.</p>"
        f'<div class="pair">{charts.bars(cpu, "Processor time")}'
        f"{charts.bars(connections, 'Connections held, on average')}</div>"
        f'<div class="scroll"><table>{head}{rows}</table></div>'
    )


def _worker_row(worker: Worker) -> str:
    cells = (
        str(worker.pid),
        f"{worker.cpu:.2f} s",
        f"{worker.connections:.1f}",
        str(worker.connections_peak),
        *(f"{octets / MEBIBYTE:.1f} MiB" for octets in worker.rss),
        *map(str, worker.fds),
        worker.fate or "lived",
    )
    return f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in cells)}</tr>"


def _client(record: Record) -> str:
    def of(samples: Sequence[float], unit: str) -> str:
        if not samples:
            return "not measured"
        high = sorted(samples)[int(0.9 * (len(samples) - 1))]
        return f"median {sorted(samples)[len(samples) // 2]:.0f}{unit}, nine of ten up to {high:.0f}{unit}"

    items = [
        ("processes that made the load", str(record.client_processes)),
        ("busy, of one processor", of(record.client_busy, " %")),
        ("woken too late by", of(record.client_lag, " ms")),
    ]
    if record.log is not None:
        items.append(("lines of the access log", _statuses(record.log.lines)))
        items.append(("answers that clients counted", _statuses(record.log.answers)))
        items.append(("requests nobody waited for", f"{record.log.unfinished:,}"))
    return f"<h2>The load itself</h2>{_definitions(items)}"


def _statuses(counts: dict[int, int]) -> str:
    each = ", ".join(f"{status}: {count:,}" for status, count in sorted(counts.items()))
    return f"{sum(counts.values()):,} ({each})" if each else "0"


def _surroundings(record: Record) -> str:
    items = [*record.environment.items(), ("command", record.command)]
    return f"<h2>Surroundings</h2>{_definitions(items)}"


def _definitions(items: Iterable[tuple[str, str]]) -> str:
    rows = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in items)
    return f"<dl>{rows}</dl>"


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:g} ms"


def _plain(value: float | None) -> str:
    return "-" if value is None else f"{value:g}"

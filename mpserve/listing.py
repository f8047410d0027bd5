"""The page that lists a directory: its entries as HTML.

Names are octets that anyone may have chosen. A link has them percent-encoded octet by octet, so
that the same octets come back; the eye gets them as UTF-8, with whatever cannot be shown written
out. Every link is relative and begins with a dot: a colon in a name makes no scheme, and the page
works behind any prefix.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from html import escape
from typing import TYPE_CHECKING
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mpserve.protocol.representation import Entry

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

# Control characters, and those that end a line or turn the direction of what follows them.
_DISTURBING = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")

_UNITS = ("B", "kB", "MB", "GB", "TB", "PB", "EB")

_STYLE = """\
:root { color-scheme: light dark; --back: #fff; --text: #1d2127; --soft: #5f6672; --line: #e5e8ec;
  --over: #f4f6f9; --link: #0a58a8 }
@media (prefers-color-scheme: dark) { :root { --back: #14171b; --text: #e4e7eb; --soft: #98a1ad;
  --line: #2a3038; --over: #1d2229; --link: #82bbf5 } }
* { box-sizing: border-box }
body { margin: 0; background: var(--back); color: var(--text); line-height: 1.5;
  font-family: system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif }
main { max-width: 60rem; margin: 0 auto; padding: 2rem 1.25rem 3rem }
h1 { margin: 0 0 1rem; padding: 0 .75rem; font-size: 1.25rem; font-weight: 600 }
h1, .name { overflow-wrap: anywhere }
h1 a { padding: .25rem 0 }
h1 bdi, .name bdi { white-space: pre-wrap }
a { color: var(--link); text-decoration: none }
a:hover { text-decoration: underline }
table { width: 100%; border-collapse: collapse }
th { padding: .4rem .75rem; color: var(--soft); font-size: .8125rem; font-weight: 500;
  text-align: left }
td { padding: 0 .75rem; border-top: 1px solid var(--line); color: var(--soft); font-size: .875rem;
  font-variant-numeric: tabular-nums; white-space: nowrap }
tbody tr:hover { background: var(--over) }
.size { text-align: right }
.time { width: 1% }
.name { width: 99%; font-size: 1rem; white-space: normal }
.name a { display: block; position: relative; padding: .45rem 0 .45rem 2rem }
.name a::before { content: ""; position: absolute; left: 0; top: .6rem; width: 1.2rem;
  height: 1.2rem; background: currentColor; opacity: .75;
  -webkit-mask: var(--icon); mask: var(--icon);
  --icon: url("data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 24 24' \
fill='none' stroke='%23000' stroke-width='1.6' stroke-linejoin='round'%3E\
%3Cpath d='M6 3h8l5 5v13H6zM14 3v5h5'/%3E%3C/svg%3E") }
.dir a::before { --icon: url("data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' \
viewBox='0 0 24 24'%3E%3Cpath d='M3 5.5h6.5l2 2.5H21v11.5H3z'/%3E%3C/svg%3E") }
.up a::before { --icon: url("data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' \
viewBox='0 0 24 24' fill='none' stroke='%23000' stroke-width='1.8' stroke-linecap='round' \
stroke-linejoin='round'%3E%3Cpath d='M12 20V5M6 11l6-6 6 6'/%3E%3C/svg%3E") }
p { margin: 0; padding: .75rem; border-top: 1px solid var(--line); color: var(--soft);
  font-size: .8125rem }
@media (max-width: 40rem) {
  main { padding: 1.25rem .5rem 2rem }
  h1, p { padding-left: .5rem; padding-right: .5rem }
  thead { display: none }
  tr { display: grid; grid-template-columns: auto 1fr; padding: .15rem .5rem;
    border-top: 1px solid var(--line) }
  td { padding: 0 1rem .45rem 0; border: 0; font-size: .8125rem }
  td:empty { display: none }
  .name { grid-column: 1 / 3; width: auto; padding: 0; font-size: 1rem }
  .name a { padding-bottom: .3rem }
  .size { margin-left: 2rem; text-align: left }
  .time { width: auto }
  .dir .time { grid-column: 1 / 3; margin-left: 2rem }
}
"""

_PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Index of {title}</title>
<style>
{style}</style>
</head>
<body>
<main>
<h1>Index of {heading}</h1>
<table>
<thead><tr><th>Name</th><th class="size">Size</th><th>Modified (UTC)</th></tr></thead>
<tbody>
{rows}</tbody>
</table>
<p>{summary}</p>
</main>
</body>
</html>
"""

_PARENT = (
    '<tr class="up"><td class="name"><a href="../">Parent directory</a></td>'
    '<td class="size"></td><td class="time"></td></tr>\n'
)


_CUT = ". There are more, which are not listed."


def page(path: tuple[bytes, ...], entries: Sequence[Entry], *, cut: bool = False) -> bytes:
    """The page of the directory whose segments are `path`: directories first, each kind by name.

    With `cut` it says that there are more entries than these.
    """
    ordered = sorted(entries, key=lambda entry: (not entry.is_dir, entry.name.lower(), entry.name))
    html = _PAGE.format(
        title="/" + "".join(f"{_text(segment)}/" for segment in path),
        style=_STYLE,
        heading=_heading(path),
        rows=(_PARENT if path else "") + "".join(map(_row, ordered)),
        summary=_summary(entries) + (_CUT if cut else ""),
    )
    return html.encode()


def _heading(path: tuple[bytes, ...]) -> str:
    """The path of the directory, in which every directory above it is a link."""
    if not path:
        return "/"
    depth = len(path)
    above = "".join(
        f'<a href="{"../" * (depth - level)}"><bdi>{_text(segment)}</bdi></a>/'
        for level, segment in enumerate(path[:-1], 1)
    )
    return f'<a href="{"../" * depth}">/</a>{above}<bdi>{_text(path[-1])}</bdi>/'


def _row(entry: Entry) -> str:
    slash = "/" if entry.is_dir else ""
    exactly = _counted(entry.size, "byte", "bytes")
    size = "" if entry.is_dir else f'<span title="{exactly}">{_size(entry.size)}</span>'
    return (
        f'<tr class="{"dir" if entry.is_dir else "file"}">'
        f'<td class="name"><a href="./{quote(entry.name, safe="")}{slash}">'
        f"<bdi>{_text(entry.name)}</bdi>{slash}</a></td>"
        f'<td class="size">{size}</td>'
        f'<td class="time">{_time(entry.mtime)}</td></tr>\n'
    )


def _text(name: bytes) -> str:
    r"""`name` for the eye, as HTML: what is no UTF-8 shows as \xHH, and so does what disturbs."""
    text = name.decode("utf-8", "backslashreplace")
    return escape(_DISTURBING.sub(lambda match: _written_out(match[0]), text))


def _written_out(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def _size(size: int) -> str:
    """`size` bytes, rounded to what one wants to know of them."""
    exponent = (len(str(size)) - 1) // 3
    value = size / 1000**exponent
    return f"{value:.{1 if exponent and value < 10 else 0}f} {_UNITS[exponent]}"


def _time(mtime: int) -> str:
    try:
        moment = _EPOCH + timedelta(seconds=mtime)
    except OverflowError:  # a file system may claim any year; those past 9999 have no date here
        return ""
    stamp = moment.isoformat()  # 2026-11-25T17:30:00+00:00
    return f'<time datetime="{stamp[:19]}Z">{stamp[:10]} {stamp[11:16]}</time>'


def _summary(entries: Sequence[Entry]) -> str:
    files = [entry for entry in entries if not entry.is_dir]
    directories = len(entries) - len(files)
    return ", ".join(
        (
            _counted(directories, "directory", "directories"),
            _counted(len(files), "file", "files"),
            _size(sum(entry.size for entry in files)),
        )
    )


def _counted(count: int, one: str, many: str) -> str:
    return f"{count:,} {one if count == 1 else many}"

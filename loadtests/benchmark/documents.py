"""docs/performance.md and its picture, made from docs/performance.json and docs/before.json."""

from __future__ import annotations

from pathlib import Path

from loadtests.benchmark import picture, report
from loadtests.benchmark.results import Results, load

DOCS = Path(__file__).parents[2] / "docs"
JSON = DOCS / "performance.json"
EARLIER = "before.json"  # a run with --before; there need not be one

BEGIN = "<!-- begin: written by `scripts/benchmark --docs` from performance.json -->"
BEGIN_EARLIER = "<!-- begin: written by `scripts/benchmark --docs` from before.json -->"
END = "<!-- end -->"

# What a new performance.md says around the figures.
FRAME = f"""# Performance

{BEGIN}
{END}
"""


class FrameError(Exception):
    """A page has lost the marks between which the figures stand."""


def contents(results: Results, text: str, earlier: Results | None = None) -> dict[str, str]:
    """File name → text. What people wrote around the figures in `text` stays."""
    text = within(text or FRAME, figures(results))
    if earlier is not None:
        text = within(text, report.change(earlier), begin=BEGIN_EARLIER)
    made = {"performance.md": text}
    if results.workloads(False):
        made["performance.svg"] = picture.draw(results)
    return made


def figures(results: Results) -> str:
    shown = "![Processor time per request](performance.svg)\n\n" if results.workloads(False) else ""
    return shown + report.markdown(results)


def within(text: str, new: str, *, begin: str = BEGIN, name: str = "performance.md") -> str:
    """`text`, which is the file `name`, with `new` between its marks."""
    if text.count(begin) != 1 or END not in text[text.index(begin) :]:
        raise FrameError(f"{name} needs the lines {begin!r} and {END!r}")
    head, _, rest = text.partition(begin)
    _, _, tail = rest.partition(END)
    return f"{head}{begin}\n\n{new}\n{END}{tail}"


def outdated(folder: Path = DOCS) -> dict[Path, str]:
    """The documents that are not what the JSON says, and what they should be."""
    page = folder / "performance.md"
    text = page.read_text(encoding="utf-8") if page.exists() else ""
    kept = folder / EARLIER
    made = contents(load(folder / JSON.name), text, load(kept) if kept.exists() else None)
    return {
        folder / name: content
        for name, content in made.items()
        if not (folder / name).exists() or (folder / name).read_text(encoding="utf-8") != content
    }

"""What is tried for as long as one likes: a soak, and fuzzing. A run of each as JSON, and as a part of the page."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from loadtests import kept
from loadtests.benchmark import machine
from loadtests.benchmark.report import table, tidy

SHAPE: Final = 1  # of the JSON
MEBIBYTE: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Run:
    """When and how something was tried, and what came of it."""

    taken: str
    command: str
    machine: dict[str, str]
    figures: dict[str, Any]


def run_of(command: Sequence[str], client: str, figures: dict[str, Any]) -> Run:
    """A run that has just ended."""
    return Run(machine.now(), shlex.join(command), machine.describe(client), figures)


def save(run: Run, path: Path) -> None:
    """Write the run, whole or not at all."""
    kept.save(run, SHAPE, path)


def load(path: Path) -> Run:
    """The run that `save` wrote; ShapeError when it was something else."""
    return Run(**kept.load(SHAPE, path))


def circumstances(run: Run) -> Iterator[str]:
    """How it came about, as a list."""
    yield f"- command: `{run.command}`"
    yield f"- taken: {run.taken}"
    yield from (f"- {name}: {value}" for name, value in run.machine.items())


# --- Fuzzing --------------------------------------------------------------------------------------


def fuzzed(seconds: float, seed: int, statuses: dict[int, int], cases: int, found: int) -> Any:
    """The figures of a campaign."""
    counted = {str(status): count for status, count in sorted(statuses.items())}
    return {
        "seconds": seconds,
        "seed": seed,
        "cases": cases,
        "answers": counted,
        "findings": found,
    }


def fuzz_section(run: Run) -> str:
    """What fuzzing has found."""
    figures, answers = run.figures, run.figures["answers"]
    told = (
        f"{figures['cases']:,} cases in {figures['seconds']:g} s (seed {figures['seed']}), and "
        f"{sum(answers.values()):,} answers: **{figures['findings']} findings**."
    )
    counted = table(["status", *answers], [["answers", *(f"{n:,}" for n in answers.values())]])
    return tidy("\n".join([*circumstances(run), "", told, "", *counted]))


# --- The soak -------------------------------------------------------------------------------------


def soaked(record: dict[str, Any], verdict: str) -> dict[str, Any]:
    """The figures of a soak's record: what it was, and what each worker had in the course of it."""
    rows, workers = record["rows"], record["workers"] or ()
    return {
        "seconds": round(record["duration"]),
        "users": record["users_peak"],
        "requests": sum(row["requests"] for row in rows),
        "connections": record["connections"],
        "octets": sum(row["octets"] for row in rows),
        "failed": sum(row["failures"] for row in rows),
        "verdict": verdict,
        "workers": [worker["course"] for worker in workers],
    }


HELD: Final[tuple[tuple[str, Callable[[dict[str, int]], str]], ...]] = (
    ("PSS, MiB", lambda held: f"{held['pss'] / MEBIBYTE:.1f}"),
    ("descriptors", lambda held: f"{held['fds']:,}"),
    ("threads", lambda held: f"{held['threads']}"),
)
WHEN: Final = ("beginning", "¼", "½", "¾", "end")


def soak_section(run: Run) -> str:
    """What the workers had in the course of the soak."""
    figures = run.figures
    told = (
        f"{figures['requests']:,} requests of {figures['users']} users on {figures['connections']:,} "
        f"connections in {figures['seconds']:,} s, {figures['octets'] / 2**30:,.1f} GiB of content, each "
        f"octet compared: **{figures['failed']} failed**; {figures['verdict']}."
    )
    rows = [
        [f"worker {number}: {name}", *map(of, course)]
        for number, course in enumerate(figures["workers"])
        for name, of in HELD
    ]
    held = table(("in the course of it", *WHEN), rows)
    return tidy("\n".join([*circumstances(run), "", told, "", *held]))


# --- Both -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the page that is made from a file of its own."""

    name: str
    render: Callable[[Run], str]

    @property
    def json(self) -> str:
        """The file."""
        return f"{self.name}.json"

    @property
    def begin(self) -> str:
        """The mark before the part."""
        return f"<!-- begin: written by `scripts/reliability --docs` from {self.json} -->"


SECTIONS: Final = (Section("soak", soak_section), Section("fuzz", fuzz_section))

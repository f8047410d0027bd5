"""From the looks of a run to its verdict and its reports."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from loadtests import overseer
from loadtests.faults import Fault, Kind
from loadtests.overseer import Commission, Overseer, exit_status
from loadtests.verdict import Outcome, Rule, Verdict

LINE = '127.0.0.1 - - [20/Nov/2026:13:00:00 +0000] "GET /a HTTP/1.1" {} 512\n'
RULES = (Rule("wrong_octets", 0), Rule("requests", 10), Rule("log_difference", 0))


@dataclass
class Entry:
    """What Locust keeps of one name and method."""

    name: str = "everything"
    num_requests: int = 0
    num_failures: int = 0
    total_content_length: int = 0
    response_times: dict[float, int] = field(default_factory=dict)


@dataclass
class Stats:
    """What Locust keeps of a run."""

    total: Entry = field(default_factory=Entry)
    entries: dict[tuple[str, str], Entry] = field(default_factory=dict)

    def count(self, name: str, method: str, requests: int, milliseconds: float) -> None:
        entry = self.entries.setdefault((name, method), Entry(name))
        for each in (entry, self.total):
            each.num_requests += requests
            times = each.response_times
            times[milliseconds] = times.get(milliseconds, 0) + requests


@dataclass
class Run:
    """A run in a test: what Locust would count, what is said, and a log."""

    stats: Stats
    said: list[str]
    log: Path
    overseer: Overseer

    def answer(self, count: int, *, logged: int | None = None) -> None:
        """So many answers reach the clients, and so many lines the log."""
        self.stats.count("page", "GET", count, 0.5)
        for _ in range(count):
            self.overseer.tally.answered("page", 200)
        with self.log.open("a", encoding="ascii") as log:
            log.writelines(LINE.format(200) for _ in range(count if logged is None else logged))


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setattr(overseer, "LOG_PATIENCE", 0.02)
    monkeypatch.setattr(overseer, "LOG_LOOK", 0.001)
    stats, said, log = Stats(), list[str](), tmp_path / "access.log"
    log.write_text(LINE.format(200) * 3)  # of whoever looked at the server before
    commission = Commission(
        scenario="browse",
        shape="",
        target="http://127.0.0.1:8000",
        users=2,
        rules=RULES,
        server_log=log,
        report=tmp_path / "report.html",
        record=tmp_path / "record.json",
        notes={"server": "a server"},
    )
    fake: Any = stats
    return Run(stats, said, log, Overseer(commission, lambda: fake, said.append))


def conclude(run: Run, *exceptions: str) -> Verdict:
    run.overseer.end(2)
    return run.overseer.conclude(exceptions)


def test_a_run_that_agrees_with_its_log_passes(run: Run) -> None:
    run.overseer.begin()
    run.answer(12)
    run.overseer.look(2)
    verdict = conclude(run)

    assert verdict.outcome is Outcome.PASS
    assert exit_status(verdict) == 0
    assert "PASS" in run.said


@pytest.mark.parametrize("logged", [11, 13])
def test_a_run_that_does_not_agree_with_its_log_is_invalid(run: Run, logged: int) -> None:
    run.overseer.begin()
    run.answer(12, logged=logged)
    verdict = conclude(run)

    assert verdict.outcome is Outcome.INVALID
    assert verdict.because == ": log_difference"
    assert exit_status(verdict) == 3


def test_a_wrong_octet_fails_in_an_invalid_run_too(run: Run) -> None:
    run.overseer.begin()
    run.answer(1)
    run.overseer.tally.failed("page", Fault(Kind.OCTETS, "octet 7"))
    verdict = conclude(run)

    assert verdict.outcome is Outcome.FAIL
    assert exit_status(verdict) == 1
    assert any("octet 7" in line for line in run.said)


def test_a_run_that_never_began_proves_nothing() -> None:
    assert exit_status(None) == Outcome.INVALID.value


def test_each_look_notes_what_came_since_the_last(run: Run) -> None:
    run.overseer.begin()
    run.answer(10)
    run.overseer.look(1)
    run.stats.count("page", "GET", 5, 80.0)
    run.overseer.look(2)
    conclude(run)
    seconds = run.overseer._seconds

    assert [second.p99 for second in seconds] == [0.5, 80.0, None]
    assert [second.users for second in seconds] == [1, 2, 2]
    assert seconds[2].rate == 0


def test_a_second_run_begins_anew(run: Run) -> None:
    run.overseer.begin()
    run.answer(2)
    conclude(run)
    run.stats.total, run.stats.entries = Entry(), {}
    run.overseer.begin()
    run.answer(20)
    verdict = conclude(run)

    assert verdict.outcome is Outcome.PASS


def test_methods_of_one_name_are_one_row(run: Run) -> None:
    run.overseer.begin()
    run.answer(8)
    run.stats.count("page", "HEAD", 4, 0.5)
    conclude(run)
    record = json.loads((run.log.parent / "record.json").read_text())

    assert [(row["name"], row["requests"]) for row in record["rows"]] == [("page", 12)]


def test_the_reports_are_written(run: Run) -> None:
    run.overseer.begin()
    run.answer(12)
    run.overseer.tally.failed("page", Fault(Kind.LOST, "gone"))
    conclude(run)
    record = json.loads((run.log.parent / "record.json").read_text())
    report = (run.log.parent / "report.html").read_text()

    assert record["faults"] == [{"kind": "lost", "name": "page", "count": 1}]
    assert record["environment"]["server"] == "a server"
    assert record["log"]["lines"] == {"200": 12}
    assert report.startswith("<!DOCTYPE html>")
    assert run.said[-1].startswith("report: ")


def test_killed_workers_take_lines_with_them_so_the_log_is_not_asked(run: Run) -> None:
    kills = Overseer(
        replace(run.overseer.commission, kills=True),
        run.overseer._stats,
        run.said.append,
    )
    kills.begin()
    kills.tally.answers = Counter({("page", 200): 12})
    kills.end(2)
    verdict = kills.conclude()

    assert {each.name: each.measured for each in verdict.results}["log_difference"] is None

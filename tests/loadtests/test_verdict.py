"""PASS, FAIL or INVALID: every rule, and their order."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from loadtests.catalogue import SCENARIOS
from loadtests.faults import Kind
from loadtests.plan import PLANS
from loadtests.record import LogCount, Record
from loadtests.verdict import (
    MEASURES,
    Class,
    Outcome,
    Rule,
    ThresholdError,
    Verdict,
    judge,
    read_rules,
    rules,
)
from tests.loadtests.runs import GOOD, PAGE, WORKERS, run, with_faults

THRESHOLDS = Path(__file__).parents[2] / "loadtests" / "thresholds.toml"
BROWSE = read_rules(THRESHOLDS, "browse")
CHAOS = read_rules(THRESHOLDS, "chaos")
TIRED: dict[str, Any] = {"client_busy": (99.0,) * 10}


def verdict(record: Record) -> Verdict:
    return judge(record, BROWSE)


def test_a_good_run_passes() -> None:
    found = verdict(GOOD)

    assert found.outcome is Outcome.PASS
    assert {result.word for result in found.results} == {"ok"}
    assert found.lines()[-1] == "PASS"


@pytest.mark.parametrize(
    ("record", "outcome", "decisive"),
    [
        pytest.param(with_faults(Kind.OCTETS), "FAIL", "wrong_octets", id="a wrong octet"),
        pytest.param(with_faults(Kind.FRAMING), "FAIL", "wrong_framing", id="wrong framing"),
        pytest.param(with_faults(Kind.ANSWER), "FAIL", "wrong_answers", id="a wrong answer"),
        pytest.param(with_faults(Kind.LOST), "FAIL", "lost", id="a lost connection"),
        pytest.param(with_faults(Kind.REFUSED), "FAIL", "refused", id="a refused connection"),
        pytest.param(with_faults(Kind.TIMEOUT), "FAIL", "timed_out", id="a time-out"),
        pytest.param(
            run(workers=(replace(WORKERS[0], fate="vanished"), WORKERS[1])),
            "FAIL",
            "vanished_workers",
            id="a worker that died by itself",
        ),
        pytest.param(
            run(rows=(replace(PAGE, service={70.0: 1000}),)), "FAIL", "p99_ms", id="slow answers"
        ),
        pytest.param(run(**TIRED), "INVALID", "client_cpu_percent", id="a saturated client"),
        pytest.param(
            run(client_lag=(500.0,) * 10), "INVALID", "client_lag_ms", id="a client that is late"
        ),
        pytest.param(run(users_peak=39), "INVALID", "users_percent", id="users missing"),
        pytest.param(run(client_processes_lost=1), "INVALID", "lost_clients", id="a lost client"),
        pytest.param(run(exceptions=("oops",)), "INVALID", "harness_errors", id="a harness bug"),
        pytest.param(
            run(rows=(replace(PAGE, requests=10),)), "INVALID", "requests", id="too few requests"
        ),
        pytest.param(
            run(log=LogCount({200: 619, 304: 380}, {200: 620, 304: 380}, 0)),
            "INVALID",
            "log_difference",
            id="a line missing in the log",
        ),
    ],
)
def test_one_thing_amiss_decides(record: Record, outcome: str, decisive: str) -> None:
    found = verdict(record)

    assert outcome == found.outcome.name
    assert decisive in found.because


@pytest.mark.parametrize("kind", [Kind.OCTETS, Kind.FRAMING, Kind.ANSWER, Kind.LOST, Kind.REFUSED])
def test_what_is_wrong_is_wrong_however_tired_the_client_was(kind: Kind) -> None:
    found = verdict(with_faults(kind, **TIRED))

    assert found.outcome is Outcome.FAIL
    assert {"FAIL", "INVALID"} <= {result.word for result in found.results}


def test_what_is_slow_proves_nothing_when_the_client_was_tired() -> None:
    found = verdict(with_faults(Kind.TIMEOUT, **TIRED))

    assert found.outcome is Outcome.INVALID


def test_exit_statuses_are_as_documented() -> None:
    statuses = {each.name: each.value for each in Outcome}

    assert statuses == {"PASS": 0, "FAIL": 1, "INVALID": 3}


def test_few_revalidated_answers_fail() -> None:
    again = replace(GOOD.rows[1], statuses={304: 300, 200: 100})
    found = verdict(run(rows=(PAGE, again)))

    assert found.outcome is Outcome.FAIL
    assert found.because == ": revalidated_percent"


def test_one_second_of_hurry_spoils_no_run() -> None:
    found = verdict(run(client_busy=(20.0,) * 18 + (100.0,)))

    assert found.outcome is Outcome.PASS


@pytest.mark.parametrize(
    ("lost", "excused", "outcome"),
    [
        pytest.param(20, 20, Outcome.PASS, id="as many as the killed workers held"),
        pytest.param(21, 20, Outcome.FAIL, id="one more"),
    ],
)
def test_a_run_that_kills_excuses_what_the_killed_held(
    lost: int, excused: int, outcome: Outcome
) -> None:
    killed = tuple(replace(worker, fate="killed by the run") for worker in WORKERS)
    found = judge(with_faults(Kind.LOST, lost, excused=excused, workers=killed, log=None), CHAOS)

    assert outcome is found.outcome


def test_a_foreign_server_is_not_measured_from_within() -> None:
    found = verdict(run(workers=None, log=None))
    unmeasured = {result.name for result in found.results if result.measured is None}

    assert found.outcome is Outcome.PASS
    assert unmeasured == {"vanished_workers", "log_difference"}
    assert any("not measured" in line and line.startswith("-") for line in found.lines())


@pytest.mark.parametrize(
    ("lines", "answers", "unfinished", "difference"),
    [
        pytest.param({200: 5}, {200: 5}, 0, 0, id="equal"),
        pytest.param({200: 5, 206: 2}, {200: 5}, 2, 0, id="unfinished requests were logged"),
        pytest.param({200: 5}, {200: 5}, 2, 0, id="unfinished requests were not logged"),
        pytest.param({200: 4}, {200: 5}, 2, 1, id="a line is missing"),
        pytest.param({200: 8}, {200: 5}, 2, 1, id="a line too many"),
        pytest.param({404: 5}, {200: 5}, 0, 10, id="another status"),
    ],
)
def test_the_log_agrees_or_not(
    lines: dict[int, int], answers: dict[int, int], unfinished: int, difference: int
) -> None:
    found = LogCount(lines, answers, unfinished).difference

    assert difference == found


@pytest.mark.parametrize(
    ("measure", "row", "expected"),
    [
        ("requests", "", 1000),
        ("per_second", "", 100),
        ("per_second", "page", 60),
        ("p50_ms", "", 0.5),
        ("p99_ms", "", 0.5),
        ("p99_ms", "page", 9.0),
        ("p999_ms", "", 9.0),
        ("due_p99_ms", "page", 90.0),
        ("revalidated_percent", "", 95),
        ("revalidated_percent", "page", 0),
        ("failed_percent", "page", 0),
        ("mib_per_second", "", 6_000_000 / 1048576 / 10),
        ("server_cpu_us", "", 100.0),
        ("rss_growth_mib", "", 2),
        ("fds_growth", "", 4),
        ("users_percent", "", 100),
        ("p99_ms", "no such row", None),
    ],
)
def test_measures(measure: str, row: str, expected: float | None) -> None:
    measured = Rule(measure, 0, row).measured(GOOD)

    assert measured == (None if expected is None else pytest.approx(expected))


@pytest.mark.parametrize("name", MEASURES)
def test_no_measure_fails_where_there_is_nothing_to_measure(name: str) -> None:
    empty = run(
        rows=(), duration=0.0, users_wanted=0, client_busy=(), client_lag=(), workers=(), log=None
    )
    measured = Rule(name, 0).measured(empty)

    assert measured in (None, 0)


def test_a_scenario_overrides_the_default_and_adds_rows() -> None:
    tables = {
        "default": {"lost": 0, "p99_ms": 100},
        "browse": {"p99_ms": 10, "page": {"p50_ms": 1}},
        "other": {"p99_ms": 1},
    }

    assert rules(tables, "browse") == (
        Rule("lost", 0),
        Rule("p99_ms", 10),
        Rule("p50_ms", 1, "page"),
    )


def test_a_shape_has_the_last_word_and_may_take_a_rule_away() -> None:
    tables = {
        "default": {"lost": 0, "p99_ms": 100},
        "browse": {"p99_ms": 10, "requests": 5},
        "shape-steps": {"p99_ms": False, "requests": 7},
    }

    assert rules(tables, "browse", "steps") == (Rule("lost", 0), Rule("requests", 7))
    assert len(rules(tables, "browse", "spike")) == 3


@pytest.mark.parametrize(
    ("tables", "word"),
    [
        pytest.param({"browse": {"lost": False}}, "number", id="what is sound is not optional"),
        pytest.param({"default": {"p98_ms": 1}}, "p98_ms", id="an unknown measure"),
        pytest.param({"browse": {"p99_ms": "10"}}, "number", id="a text"),
        pytest.param({"browse": {"p99_ms": True}}, "number", id="a truth"),
        pytest.param({"browse": {"page": {"requests": 1}}}, "whole run", id="no row has it"),
        pytest.param({"browse": {"page": {"x": {"p99_ms": 1}}}}, "measure", id="too deep"),
        pytest.param({"browse": 5}, "table", id="no table"),
    ],
)
def test_thresholds_that_make_no_sense_are_refused(tables: dict[str, Any], word: str) -> None:
    with pytest.raises(ThresholdError, match=word):
        rules(tables, "browse")


@pytest.mark.parametrize("content", ["[default", "[default]\nlost = yes\n", None])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "thresholds.toml"
    if content is not None:
        path.write_text(content)

    with pytest.raises(ThresholdError, match=r"thresholds\.toml"):
        read_rules(path, "browse")


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_every_scenario_has_the_rules_that_nothing_may_break(scenario: str) -> None:
    found = {rule.measure: rule for rule in read_rules(THRESHOLDS, scenario) if not rule.row}
    sound = {name for name, measure in MEASURES.items() if measure.class_ is Class.SOUND}

    assert sound <= found.keys()
    assert {found[name].bound for name in sound} == {0}
    assert {"requests", "client_cpu_percent", "log_difference"} <= found.keys()


def test_every_table_of_thresholds_belongs_to_a_scenario() -> None:
    import tomllib

    tables = tomllib.loads(THRESHOLDS.read_text(encoding="utf-8"))

    assert tables.keys() - {"default"} <= SCENARIOS.keys() | {f"shape-{name}" for name in PLANS}

"""What the figures look like to those who read them: Prometheus' own parser is one of them."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from mpserve.exposition import Snapshot, encode, families, status_of
from mpserve.scoreboard import CLASSES, METHODS, State

NOW = Snapshot(
    version="1.2.3",
    phase="serving",
    ready=True,
    healthy=True,
    refusal="",
    pid=42,
    started=1_700_000_000.5,
    uptime=60.25,
    listeners=("http://127.0.0.1:8000/",),
    totals={
        "answers_GET_2xx": 7,
        "answers_other_4xx": 1,
        "within_0.001": 5,
        "within_0.0025": 2,
        "within_inf": 1,
        "duration_ns": 1_500_000_000,
        "octets": 12345,
        "memo_misses": 3,
        "restarts": 2,
        "from_a_later_version": 9,
    },
    workers=(
        {"pid": 43, "slot": 0, "state": State.SERVING, "connections": 5, "idle": 3, "sending": 2},
        {"pid": 44, "slot": 1, "state": State.SERVING, "connections": 1, "idle": 1},
        {"pid": 45, "slot": 0, "state": State.RETIRING, "connections": 1, "sending": 1},
    ),
)


def parsed(now: Snapshot = NOW) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Every sample as Prometheus reads it: (name, labels) → value."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(encode(families(now)).decode())
        for sample in family.samples
    }


@pytest.mark.parametrize(
    ("name", "labels", "value"),
    [
        ("mpserve_build_info", {"version": "1.2.3"}, 1),
        ("mpserve_ready", {}, 1),
        ("mpserve_last_reload_successful", {}, 1),
        ("mpserve_start_time_seconds", {}, 1_700_000_000.5),
        ("mpserve_requests_total", {"method": "GET", "status": "2xx"}, 7),
        ("mpserve_requests_total", {"method": "other", "status": "4xx"}, 1),
        ("mpserve_requests_total", {"method": "HEAD", "status": "5xx"}, 0),
        ("mpserve_request_duration_seconds_bucket", {"le": "0.0005"}, 0),
        ("mpserve_request_duration_seconds_bucket", {"le": "0.001"}, 5),
        ("mpserve_request_duration_seconds_bucket", {"le": "60"}, 7),
        ("mpserve_request_duration_seconds_bucket", {"le": "+Inf"}, 8),
        ("mpserve_request_duration_seconds_count", {}, 8),
        ("mpserve_request_duration_seconds_sum", {}, 1.5),
        ("mpserve_response_content_bytes_total", {}, 12345),
        ("mpserve_memo_hits_total", {}, 5),
        ("mpserve_memo_misses_total", {}, 3),
        ("mpserve_worker_restarts_total", {}, 2),
        ("mpserve_log_lines_dropped_total", {}, 0),
        ("mpserve_connections", {"state": "idle"}, 4),
        ("mpserve_connections", {"state": "sending"}, 3),
        ("mpserve_connections", {"state": "reading"}, 0),
        ("mpserve_workers", {"state": "serving"}, 2),
        ("mpserve_workers", {"state": "retiring"}, 1),
        ("mpserve_worker_connections", {"worker": "0"}, 6),
    ],
)
def test_prometheus_reads(name: str, labels: dict[str, str], value: float) -> None:
    assert parsed()[name, tuple(sorted(labels.items()))] == value


def test_prometheus_reads_every_line_once() -> None:
    lines = [line for line in encode(families(NOW)).decode().splitlines() if line[0] != "#"]

    assert len(lines) == len(parsed())


def test_every_metric_says_what_it_is() -> None:
    read = list(text_string_to_metric_families(encode(families(NOW)).decode()))

    assert all(family.documentation and family.type != "unknown" for family in read)


@pytest.mark.slow
def test_promtool_has_nothing_to_complain_of() -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed")
    done = subprocess.run(
        [promtool, "check", "metrics"],
        input=encode(families(NOW)),
        capture_output=True,
        check=False,
    )

    assert (done.returncode, done.stdout + done.stderr) == (0, b"")


def test_there_are_as_many_series_before_the_first_request_as_after_a_million() -> None:
    fresh = dataclasses.replace(NOW, totals={})

    assert parsed(fresh).keys() == parsed().keys()
    assert sum(name == "mpserve_requests_total" for name, _ in parsed()) == len(METHODS) * len(
        CLASSES
    )


def test_the_status_is_json_for_programs() -> None:
    status: dict[str, Any] = json.loads(json.dumps(status_of(NOW)))

    assert (status["phase"], status["ready"], status["requests"]) == ("serving", True, 8)
    assert status["connections"] == {"reading": 0, "sending": 3, "idle": 4, "lingering": 0}
    assert [worker["state"] for worker in status["workers"]] == ["serving", "serving", "retiring"]
    assert status["totals"]["octets"] == 12345


def test_a_state_of_another_version_is_unknown() -> None:
    odd = dataclasses.replace(NOW, workers=({"state": 99},))

    assert status_of(odd)["workers"][0]["state"] == "unknown"

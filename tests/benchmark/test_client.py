"""A client's output is read exactly, and what it counted is believed only when it adds up."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from loadtests.benchmark import client
from loadtests.benchmark.client import ClientError, Counted

OUTPUT = """Running 2s test @ http://127.0.0.1:8000
  1 threads and 64 connections
  4000 requests in 2.00s, 4.61MB read
{"requests": 4000, "seconds": 2.000000, "octets": 4832000, "p50_us": 199, "p99_us": 626, \
"connect_errors": 1, "read_errors": 2, "write_errors": 3, "timeouts": 4, "refused": 5}
"""

FINE = Counted(
    requests=4000,
    seconds=2.0,
    octets=4832000,
    p50_us=199,
    p99_us=626,
    refused=0,
    errors=0,
    busy=1.5,
)


def test_the_last_line_of_the_output_says_everything() -> None:
    counted = client.parse(OUTPUT, busy=1.5)

    assert replace(FINE, refused=5, errors=10) == counted


def test_the_rate_is_requests_per_second() -> None:
    assert 2000 == FINE.rate


@pytest.mark.parametrize(
    "output",
    [
        pytest.param("", id="nothing"),
        pytest.param("unable to connect to 127.0.0.1:1\n", id="a complaint of wrk"),
        pytest.param('{"requests": 1}\n', id="a line without the other figures"),
    ],
)
def test_output_that_says_less_is_refused(output: str) -> None:
    with pytest.raises(ClientError, match="not understood"):
        client.parse(output, busy=0)


def test_it_is_said_whose_output_it_was() -> None:
    with pytest.raises(ClientError, match="saturate's output"):
        client.parse("", 0.0, "saturate")


def test_a_client_that_fails_is_named_with_its_complaint(tmp_path: Path) -> None:
    failing = client.Client("failing", lambda *_: ["sh", "-c", "echo no >&2; exit 3"])

    with pytest.raises(ClientError, match="failing ended with status 3: no"):
        client.run("http://127.0.0.1", client.Load(tmp_path, 1), 1, None, failing)


def test_so_is_one_that_says_nothing(tmp_path: Path) -> None:
    silent = client.Client("silent", lambda *_: ["true"])

    with pytest.raises(ClientError, match="silent's output"):
        client.run("http://127.0.0.1", client.Load(tmp_path, 1), 1, None, silent)


@pytest.mark.parametrize(
    ("counted", "status"),
    [
        pytest.param(FINE, 200, id="every answer is a 200"),
        pytest.param(FINE, 304, id="a 304 is no refusal"),
        pytest.param(replace(FINE, refused=4000), 404, id="every answer is the 404 asked for"),
    ],
)
def test_counts_that_add_up_are_accepted(counted: Counted, status: int) -> None:
    client.check(counted, status)


@pytest.mark.parametrize(
    ("counted", "status", "complaint"),
    [
        pytest.param(replace(FINE, requests=0), 200, "no request", id="nothing was answered"),
        pytest.param(replace(FINE, errors=1), 200, "failed on the way", id="a time-out"),
        pytest.param(replace(FINE, refused=1), 200, "1 of 4000", id="one 404 among the 200s"),
        pytest.param(replace(FINE, refused=3999), 404, "3999 of", id="one 200 among the 404s"),
    ],
)
def test_counts_that_do_not_add_up_are_refused(
    counted: Counted, status: int, complaint: str
) -> None:
    with pytest.raises(ClientError, match=complaint):
        client.check(counted, status)


def test_a_machine_without_wrk_is_told_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")

    with pytest.raises(ClientError, match="apt install wrk"):
        client.find()

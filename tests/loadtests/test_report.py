"""The report says what the record says, and nothing comes from elsewhere."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from loadtests.faults import Kind
from loadtests.record import Record, Second
from loadtests.report import page
from loadtests.verdict import judge, read_rules
from tests.loadtests.runs import GOOD, SECONDS, WORKERS, run, with_faults

RULES = read_rules(Path(__file__).parents[2] / "loadtests" / "thresholds.toml", "browse")
VOID = {"meta", "rect", "path", "br"}


class Balanced(HTMLParser):
    """Checks that every element that is opened is closed, in order, and keeps the text."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID or tag == "path":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def html_of(record: Record) -> str:
    return page(record, judge(record, RULES))


def text_of(record: Record) -> str:
    """What a reader sees."""
    reader = Balanced()
    reader.feed(html_of(record))
    reader.close()

    assert reader.open == []
    return " ".join(" ".join(reader.text).split())


def test_a_good_run_is_told_in_full() -> None:
    text = text_of(GOOD)

    assert "PASS Every octet" in text
    for part in ("1,000", "100/s", "worker 101", "worker 102", "revalidation", "p99_ms", "Linux"):
        assert part in text
    assert "Errors by kind None." in text


def test_nothing_is_fetched_and_nothing_is_run() -> None:
    html = html_of(with_faults(Kind.OCTETS))

    assert re.findall(r"<(?:script|link|img|iframe)|url\(|@import|src=", html) == []
    assert re.findall(r'(?:href|src)="', html) == []


def test_errors_are_shown_by_kind_with_examples() -> None:
    text = text_of(with_faults(Kind.OCTETS, 12, examples=("page: the octet at 7 is wrong",)))

    assert "FAIL" in text
    assert "wrong octets page 12" in text
    assert "the octet at 7 is wrong" in text


def test_the_shares_of_the_workers_add_up() -> None:
    shares = [int(each) for each in re.findall(r"s, (\d+) %", text_of(GOOD))]

    assert shares == [60, 40]


def test_a_foreign_server_has_a_dash_for_its_workers() -> None:
    text = text_of(run(workers=None, log=None))

    assert "Workers - (not a server that this run has started" in text


def test_what_the_run_did_to_the_server_is_marked() -> None:
    seconds = (*SECONDS[:4], replace(SECONDS[4], event="worker 101 killed"), *SECONDS[5:])
    killed = (replace(WORKERS[0], fate="killed by the run"), WORKERS[1])
    record = with_faults(Kind.LOST, 3, seconds=seconds, workers=killed, excused=9)
    html = html_of(record)

    assert html.count('class="mark"') == 2  # in both pictures
    assert "worker 101 killed" in html
    assert "held 9 connections" in html


def test_steps_show_their_knee() -> None:
    seconds = tuple(
        Second(float(at), 10 * (at // 4 + 1), 100.0 * (at // 4 + 1), 0, 1.0, p99)
        for at, p99 in enumerate([2.0] * 8 + [50.0] * 4)
    )
    text = text_of(run(shape="steps", seconds=seconds))

    assert "The knee is at 20 users" in text


def test_steps_without_a_knee_ask_for_more() -> None:
    assert "No knee" in text_of(run(shape="steps"))


def test_what_others_have_named_is_escaped() -> None:
    html = html_of(run(environment={"server": "<script>alert(1)</script>"}, target="http://<x>"))

    assert "<script>" not in html
    assert "<x>" not in html


@pytest.mark.parametrize("theme", ["prefers-color-scheme:dark", "viewport"])
def test_the_page_fits_its_reader(theme: str) -> None:
    assert theme in html_of(GOOD)


def test_an_empty_run_has_a_report_too() -> None:
    empty = run(rows=(), seconds=(), duration=0.0, client_busy=(), client_lag=(), workers=())

    assert "INVALID" in text_of(empty)

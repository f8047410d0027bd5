"""The tables stand straight, and the verdict is what the ratios say."""

from __future__ import annotations

from dataclasses import replace

import pytest

from loadtests.benchmark import report
from loadtests.benchmark.results import BEFORE, SATURATE, Table, Timed
from tests.benchmark.examples import at_limit, by_both, results, sample, timed


def test_columns_stand_under_each_other() -> None:
    lines = report.table(["workload", "nginx"], [["hot", "14.1"], ["a longer one", "9"]])

    assert [
        "| workload     | nginx |",
        "|--------------|------:|",
        "| hot          |  14.1 |",
        "| a longer one |     9 |",
    ] == lines


def test_a_line_has_every_server_and_ends_in_the_ratio() -> None:
    lines = report.matrix(results(), False, report.processor_cell, report.ratios_of(results()))

    assert [
        "| workload                       | floor | nginx | lighttpd | mpserve | ratio |",
        "|--------------------------------|------:|------:|---------:|--------:|------:|",
        "| hot 1 KiB                      |   5.0 |  14.0 |      8.0 |     7.2 |  0.90 |",
        "| close (connection per request) |  20.0 |  40.0 |     30.0 |    33.0 |  1.10 |",
    ] == lines


def test_a_server_that_was_not_measured_this_way_has_no_column() -> None:
    lines = report.matrix(results(), True, report.processor_cell, report.ratios_of(results()))

    assert "| workload  | lighttpd | mpserve | ratio |" == lines[0]


def test_a_server_left_out_of_one_workload_leaves_its_cell_empty() -> None:
    taken = results()
    taken.timed = [row for row in taken.timed if (row.workload, row.server) != ("close", "nginx")]

    line = report.matrix(taken, False, report.processor_cell)[3]

    assert "| close (connection per request) |  20.0 |       |     30.0 |    33.0 |" == line


def test_without_us_there_is_no_ratio() -> None:
    taken = results()
    taken.timed = [row for row in taken.timed if row.server != "mpserve"]

    line = report.matrix(taken, False, report.processor_cell, report.ratios_of(taken))[0]

    assert "| workload                       | floor | nginx | lighttpd |" == line


def test_the_verdict_counts_the_goals_reached_and_names_the_worst() -> None:
    assert (
        "mpserve spends at most 0.95 of the processor time of the best of the others in 2 of 3"
        " workloads; its highest ratio is 1.10 (close (connection per request))."
    ) == report.verdict(results())


def test_the_verdict_has_a_sentence_for_each_client() -> None:
    assert (
        f"{report.verdict(results())} With a client that is quicker than the servers it is 2 of 3; its highest"
        " ratio is 1.10 (hot 1 KiB)."
    ) == report.verdict(by_both())


def test_a_verdict_about_the_quick_client_alone_says_it_all() -> None:
    taken = by_both()
    taken.timed = [row for row in taken.timed if row.client == SATURATE]

    assert (
        "With a client that is quicker than the servers mpserve spends at most 0.95 of the processor time of the"
        " best of the others in 2 of 3 workloads; its highest ratio is 1.10 (hot 1 KiB)."
    ) == report.verdict(taken)


def test_the_tables_of_the_quick_client_stand_after_those_of_wrk() -> None:
    titles = [line for line in report.timed_lines(by_both()) if line.startswith("### ")]
    figures = (
        "Processor time per request, µs",
        "Requests per second",
        "Latency p50 / p99, µs",
        "Spread of the rounds' processor time",
    )
    logs = ("access log off", "access log to a file, for everyone")

    assert [
        f"### {figure} ({client}{log})"
        for client in ("", "server at its limit, ")
        for log in logs
        for figure in figures
    ] == titles


def test_they_have_what_it_measured_and_no_more() -> None:
    lines = list(report.timed_lines(by_both()))
    at = lines.index("### Processor time per request, µs (server at its limit, access log off)")

    assert [
        "",
        "| workload  | nginx | lighttpd | mpserve | ratio |",
        "|-----------|------:|---------:|--------:|------:|",
        "| hot 1 KiB |       |      7.0 |     7.7 |  1.10 |",
        "| missing   |   9.0 |          |     6.3 |  0.70 |",
        "",
    ] == lines[at + 1 : at + 7]


def test_the_tables_of_wrk_are_what_they_are_without_another() -> None:
    lines = list(report.timed_lines(results()))

    assert lines == list(report.timed_lines(by_both()))[: len(lines)]


def test_the_change_is_told_for_each_client() -> None:
    taken = by_both()
    taken.timed += [timed("hot", BEFORE, 14.4), at_limit("hot", BEFORE, 15.4)]
    taken.versions[BEFORE] = ""
    text = report.change(taken)

    assert 2 == text.count("| to before |")
    assert 2 == text.count("|      0.50 |")
    assert "\nµs per request, server at its limit, access log off. taken: " in text


def test_a_quick_client_that_was_not_quicker_is_named_in_the_notes() -> None:
    taken = by_both()
    slow = replace(sample(40.0), rate=20_000.0)
    taken.timed.append(Timed("close", False, "mpserve", (slow,), SATURATE))
    taken.timed.append(Timed("close", False, "nginx", (slow,)))

    (doubt,) = report.doubts(taken)

    assert (
        "in 1 of 7 measurements by saturate the server was not at its limit, but had more than 10% of the time to"
        " spare, up to 20%: close (connection per request)"
    ) == doubt


def test_doubts_about_either_client_are_counted_together() -> None:
    taken = by_both()
    busy = replace(sample(9.0, rate=1e5), waited_share=0.4)
    taken.timed.append(Timed("10k", False, "nginx", (busy,), SATURATE))

    assert [
        "in 1 of 25 measurements other work held the server's processor for more than 10%, up to 40%"
    ] == list(report.doubts(taken))


def test_the_report_names_both_clients() -> None:
    by_wrk = by_both()
    by_wrk.timed = [row for row in by_wrk.timed if row.client != SATURATE]

    assert "- client: wrk 4.1, saturate" in report.markdown(by_both()).splitlines()
    assert "- client: wrk 4.1" in report.markdown(by_wrk).splitlines()


def test_without_ratios_there_is_no_verdict() -> None:
    taken = results()
    taken.timed = []

    assert "" == report.verdict(taken)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param(6.849, "6.8", id="a small time"),
        pytest.param(165.4, "165", id="a large time"),
        pytest.param(16544.0, "16,544", id="a very large time"),
    ],
)
def test_a_time_has_three_digits_that_mean_something(value: float, expected: str) -> None:
    assert expected == report.figure(value)


def test_a_table_of_its_own_keeps_its_columns() -> None:
    measured = Table("cold", "Cold start", "Milliseconds.", ("server", "ms"), (("nginx", 12.5),))

    assert [
        "### Cold start",
        "",
        "Milliseconds.",
        "",
        "| server |   ms |",
        "|--------|-----:|",
        "| nginx  | 12.5 |",
        "",
    ] == report.table_lines(measured)


def test_measurements_beside_other_work_are_counted_in_the_notes() -> None:
    taken = results()
    busy = replace(sample(9.0), waited_share=0.4)
    taken.timed.append(Timed("10k", False, "nginx", (sample(9.0), busy)))

    assert [
        "in 1 of 20 measurements other work held the server's processor for more than 10%, up to 40%"
    ] == list(report.doubts(taken))


def test_measurements_between_processors_that_lay_apart_are_counted_in_the_notes() -> None:
    taken = results()
    far, near = replace(sample(11.0), distance_ns=700.0), replace(sample(9.0), distance_ns=350.0)
    taken.timed.append(Timed("10k", False, "nginx", (near, far, near)))

    (doubt,) = report.doubts(taken)

    assert doubt.startswith("in 1 of 21 measurements the processors of server and client lay")
    assert doubt.endswith("700 ns there and back instead of 350")


def test_undisturbed_measurements_need_no_note() -> None:
    assert [] == list(report.doubts(results()))


def test_the_report_says_where_and_when_and_with_what() -> None:
    text = report.markdown(results())

    missing = [
        words
        for words in (
            "- taken: 2026-01-02 03:04 UTC",
            "- processor: Example 1, 2 processors",
            "- kernel: Linux 6.1",
            "- servers: mpserve 0.1, nginx 1.22.1, lighttpd 1.4.69, floor",
            "- h2o is not installed and is left out",
        )
        if words not in text.splitlines()
    ]

    assert [] == missing

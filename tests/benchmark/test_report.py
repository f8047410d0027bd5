"""The tables stand straight, and the verdict is what the ratios say."""

from __future__ import annotations

from dataclasses import replace

import pytest

from loadtests.benchmark import report
from loadtests.benchmark.results import Table, Timed
from tests.benchmark.examples import results, sample


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

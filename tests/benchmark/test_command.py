"""The command refuses what it does not know before it starts anything."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from loadtests.benchmark import __main__ as command
from loadtests.benchmark import client, documents
from loadtests.benchmark.results import CLIENTS, SATURATE, WRK, Results
from tests.harness import peers


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr("sys.argv", ["benchmark", *arguments])
    monkeypatch.setattr("signal.signal", lambda *_: None)
    return command.main()


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        pytest.param(["--compare", "nginx,ngnix"], "ngnix: not among the servers", id="a server"),
        pytest.param(["--only", "hot,cold,warm"], "warm: not among the workloads", id="a workload"),
        pytest.param(
            ["--client", "wrk,ab"], "ab: not among the clients: wrk, saturate", id="a client"
        ),
    ],
)
def test_an_unknown_name_ends_it_with_one_line(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    complaint: str,
) -> None:
    with pytest.raises(SystemExit, match="2"):
        run(monkeypatch, *arguments)
    said = capsys.readouterr().err

    assert said.startswith(f"benchmark: {complaint}")
    assert said.count("\n") == 1


def test_a_missing_wrk_ends_it_with_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(SystemExit, match="2"):
        run(monkeypatch, "--only", "hot")

    assert capsys.readouterr().err.startswith("benchmark: wrk is missing")


def test_a_server_that_is_not_installed_is_left_out_and_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(peers, "available", lambda name: name != "h2o")
    results = Results("", {}, {}, {})
    servers = command.present(["mpserve", "h2o", "nginx"], results)

    assert ("mpserve", "nginx") == servers
    assert ["h2o is not installed and is left out"] == results.notes


@pytest.mark.skipif(not shutil.which("cc"), reason="there is no C compiler")
@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        pytest.param(["wrk"], [WRK], id="one"),
        pytest.param(["saturate"], [SATURATE], id="the other"),
        pytest.param(["saturate", "wrk", "wrk"], [WRK, SATURATE], id="both, wrk first"),
    ],
)
def test_the_clients_are_those_asked_for(
    tmp_path: Path, wanted: list[str], expected: list[str]
) -> None:
    found = command.clients(wanted, tmp_path, Results("", {}, {}, {}))

    assert expected == [each.name for each in found]


@pytest.mark.parametrize("wanted", [["wrk", "saturate"], ["saturate"]])
def test_without_a_compiler_wrk_measures_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, wanted: list[str]
) -> None:
    monkeypatch.setenv("PATH", "")
    results = Results("", {}, {}, {})

    assert (client.WRK,) == command.clients(wanted, tmp_path, results)
    assert ["there is no C compiler: saturate is left out, wrk measures alone"] == results.notes


def test_both_clients_measure_if_nothing_is_said() -> None:
    assert list(CLIENTS) == command.parser().parse_args([]).client


def test_documents_cannot_be_written_before_anything_was_measured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(documents, "JSON", tmp_path / "performance.json")
    with pytest.raises(SystemExit, match="2"):
        run(monkeypatch, "--docs")

    assert "there is no performance.json" in capsys.readouterr().err

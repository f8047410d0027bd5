"""How the commands that load servers end when they are told what they do not know."""

from __future__ import annotations

from pathlib import Path

import pytest

from loadtests.console import refuse_unknown, write_documents


def test_unknown_names_end_a_command_with_one_line_that_has_the_known_ones(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as caught:
        refuse_unknown("soak", "servers", ["a", "c", "b", "d"], ["a", "b"])

    assert caught.value.code == 2
    assert capsys.readouterr().err == "soak: c, d: not among the servers: a, b\n"


def test_known_names_do_not() -> None:
    refuse_unknown("soak", "servers", ["b", "a", "b"], {"a": 1, "b": 2})


def test_documents_are_written_or_only_compared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, page = tmp_path / "a.json", tmp_path / "a.md"
    source.write_text("{}")

    def outdated() -> dict[Path, str]:
        return {} if page.exists() else {page: "new"}

    assert write_documents("soak", source, outdated, check=True) == 1
    assert write_documents("soak", source, outdated, check=False) == 0
    assert page.read_text() == "new"
    assert write_documents("soak", source, outdated, check=True) == 0
    assert capsys.readouterr().out == "a.md is out of date\na.md written\n"


def test_without_results_there_are_no_documents(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        write_documents("soak", tmp_path / "a.json", dict, check=False)

    assert "soak: there is no a.json in docs/ yet: --json " in capsys.readouterr().err

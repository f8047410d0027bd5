"""The command: what it prints, what it writes, and how it ends."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conformance import command, report
from tests.conformance.case import Case, Level, Outcome, Result, cases
from tests.conformance.wrong_server import CLOSES_UNSAID, Fault, WrongServer, garbles, omits
from tests.harness import corpus, peers

# A few cases of both levels, which do not take long.
FEW = ("--only", "9112 §9.6")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("corpus")
    corpus.make(path, load=False)
    return path


@pytest.fixture(scope="module")
def right(root: Path) -> Iterator[str]:
    with WrongServer(root) as server:
        yield f"http://127.0.0.1:{server.port}"


def test_a_server_that_meets_every_must_ends_with_0(right: str, root: Path) -> None:
    assert command.main(["--target", right, "--root", str(root), *FEW]) == 0


@pytest.mark.parametrize(
    ("fault", "status"),
    [
        pytest.param(omits(b"Connection"), 0, id="a SHOULD is no matter"),
        pytest.param(CLOSES_UNSAID, 1, id="a MUST is"),
        pytest.param(garbles("", rb"\Z", b"x"), 1, id="a framing defect is"),
    ],
)
def test_the_exit_status_tells_whether_a_must_is_unmet(
    fault: Fault, status: int, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with WrongServer(root, fault) as server:
        target = f"127.0.0.1:{server.port}"
        found = command.main(["--target", target, "--only", "9112 §9.", "--timeout", "2"])

    assert found == status
    assert "SHOULD" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        pytest.param(["--target", "ftp://example.org"], "http://HOST:PORT", id="another scheme"),
        pytest.param(["--target", "http://h:port"], "is no URL", id="a port that is no number"),
        pytest.param(["--target", "http://h/path"], "http://HOST:PORT", id="a path"),
        pytest.param(["--target", "h", "--compare", "nginx"], "take one", id="two ways at once"),
        pytest.param(["--root", "/tmp"], "about a --target", id="a root without a target"),
        pytest.param(["--strict-static"], "about a --target", id="strict without a target"),
        pytest.param(["--only", "no such case"], "no case", id="no case of this name"),
        pytest.param(["--compare", "iis"], "not a known server", id="a server nobody knows"),
        pytest.param(
            ["--target", "h", "--root", "/no/such/place"], "not a corpus", id="a root that is none"
        ),
    ],
)
def test_bad_use_ends_with_2_and_one_sentence(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    status = command.main(arguments)
    shown = capsys.readouterr()

    assert (status, shown.out, shown.err.count("\n")) == (2, "", 1)
    assert said in shown.err


def test_an_unknown_option_is_bad_use(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        command.main(["--timeout", "0"])

    assert ended.value.code == 2
    assert "more than 0" in capsys.readouterr().err


def test_a_target_that_cannot_be_reached_is_bad_use(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]

    assert command.main(["--target", f"127.0.0.1:{port}"]) == 2
    assert "cannot be reached" in capsys.readouterr().err


def test_a_target_that_serves_no_corpus_is_bad_use(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with WrongServer(tmp_path) as server:
        status = command.main(["--target", f"127.0.0.1:{server.port}"])

    assert status == 2
    assert "does not serve the corpus" in capsys.readouterr().err


def test_a_target_that_serves_another_corpus_than_root_is_bad_use(
    right: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    corpus.make(tmp_path / "other", load=False)

    assert command.main(["--target", right, "--root", str(tmp_path / "other")]) == 2
    assert "does not serve" in capsys.readouterr().err


def test_a_target_that_speaks_no_http_is_bad_use(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with WrongServer(root, garbles("", rb"^HTTP", b"GOPHER")) as server:
        status = command.main(["--target", f"127.0.0.1:{server.port}"])

    assert status == 2
    assert "does not answer a plain GET" in capsys.readouterr().err


def test_the_cases_can_be_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--list"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == len(cases())


@pytest.mark.slow
def test_a_comparison_writes_the_document(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peers, "available", lambda name: name != "nginx")
    written = tmp_path / "docs" / "conformance.md"
    arguments = ["--compare", "nginx, http.server", "--output", str(written), *FEW]

    assert command.main(arguments) == 0
    assert "nginx: not installed, skipped" in capsys.readouterr().out
    assert "| Section | mpserve | http.server |" in written.read_text(encoding="utf-8")


@pytest.mark.slow
def test_without_a_target_it_is_mpserve_with_one_worker_and_with_three(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert command.main([*FEW]) == 0
    shown = capsys.readouterr().out
    assert "mpserve with 1 worker:" in shown
    assert "mpserve with 3 workers:" in shown


def some(level: Level) -> Case:
    return next(case for case in cases() if case.level is level)


@pytest.mark.parametrize(
    ("results", "conforms"),
    [
        pytest.param([Result(some(Level.MUST), Outcome.MET)], True, id="met"),
        pytest.param([Result(some(Level.MUST), Outcome.UNMET)], False, id="a MUST unmet"),
        pytest.param([Result(some(Level.SHOULD), Outcome.UNMET)], True, id="a SHOULD unmet"),
        pytest.param(
            [Result(some(Level.SHOULD), Outcome.UNMET, framing=True)], False, id="bad framing"
        ),
        pytest.param([Result(some(Level.MUST), Outcome.NOT_APPLICABLE)], True, id="left out"),
    ],
)
def test_what_conforms(results: list[Result], conforms: bool) -> None:
    assert report.conforms(results) == conforms


def test_the_document_counts_what_applies() -> None:
    must, should = some(Level.MUST), some(Level.SHOULD)
    results = [
        Result(must, Outcome.MET),
        Result(must, Outcome.UNMET, "<b> came | went"),
        Result(must, Outcome.NOT_APPLICABLE, "no"),
        Result(should, Outcome.MET),
    ]
    text = report.document([report.Column("some server", "1.0", results)])

    assert "| **all** | **1/2** |" in text
    assert "| **all** | **1/1** |" in text
    assert r"\<b\> came \| went" in text

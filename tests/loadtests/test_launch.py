"""The command, as far as it goes without making a load."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from loadtests.catalogue import SCENARIOS
from loadtests.launch import UsageError, catalogue, main, seconds
from tests.loadtests import flawed
from tests.loadtests.flawed import FlawedServer

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def nobody() -> str:
    """A URL at which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port: int = gone.getsockname()[1]
    return f"http://127.0.0.1:{port}"


@pytest.mark.parametrize(
    ("text", "expected"),
    [("90", 90), ("90s", 90), ("2m", 120), ("1h30m", 5400), ("1m5s", 65), ("1h", 3600)],
)
def test_times(text: str, expected: float) -> None:
    assert seconds(text) == expected


@pytest.mark.parametrize("text", ["", "0", "-5", "5x", "s", "1.5", "5s2m"])
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(UsageError):
        seconds(text)


def complaint(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """The one sentence that the command has for these words."""
    status = main(words)
    out, err = capsys.readouterr()

    assert status == 2
    assert out == ""
    assert err.startswith("loadtest: ")
    assert err.count("\n") == 1
    return err


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        pytest.param(("no-such",), "there are smoke, browse", id="an unknown scenario"),
        pytest.param(("browse", "-u", "0"), "at least 1", id="no users"),
        pytest.param(("browse", "-u", "many"), "at least 1", id="users that are no number"),
        pytest.param(("browse", "--workers", "-1"), "at least 1", id="no workers"),
        pytest.param(("browse", "-t", "soon"), "no time", id="a time that is none"),
        pytest.param(("browse", "--shape", "round"), "round", id="an unknown shape"),
        pytest.param(("browse", "--wrong"), "--wrong", id="an unknown option"),
        pytest.param(("browse", "more"), "more", id="a word too many"),
        pytest.param(("browse", "--target", "ftp://x"), "no target", id="no http"),
        pytest.param(("chaos", "--target", "http://127.0.0.1:1"), "its own", id="chaos elsewhere"),
        pytest.param(
            ("browse", "--target", "http://127.0.0.1:1", "--workers", "2"),
            "--workers",
            id="workers of a server that runs",
        ),
        pytest.param(("browse", "--root", "/proc"), "not a corpus", id="a root that is no corpus"),
        pytest.param(
            ("browse", "--target", "http://127.0.0.1:1", "--root", "/proc"),
            "not a corpus",
            id="and so with a target",
        ),
        pytest.param(("browse", "--html", "/no/where/x.html"), "cannot be written", id="nowhere"),
        pytest.param(("browse", "--html", "/"), "cannot be written", id="a directory"),
        pytest.param(("browse", "--thresholds", "/no/such"), "/no/such", id="no thresholds"),
    ],
)
def test_bad_use_is_one_sentence(
    capsys: pytest.CaptureFixture[str], words: tuple[str, ...], expected: str
) -> None:
    assert expected in complaint(capsys, *words)


def test_an_unreachable_target_is_one_sentence(
    capsys: pytest.CaptureFixture[str], nobody: str
) -> None:
    assert "refused" in complaint(capsys, "browse", "--target", nobody)


def test_a_target_that_serves_something_else_is_one_sentence(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def other(_: flawed.Asked, said: flawed.Said) -> flawed.Said:
        return flawed.Said(404, b"nothing here")

    with FlawedServer(other) as server:
        assert "does not serve the corpus" in complaint(capsys, "browse", "--target", server.url)


def test_the_list_names_every_scenario(capsys: pytest.CaptureFixture[str]) -> None:
    status = main(["--list"])
    out, _ = capsys.readouterr()

    assert status == 0
    assert out.strip() == catalogue()
    assert all(f"{name}  (" in out for name in SCENARIOS)


@pytest.mark.slow
def test_looking_at_a_run_does_not_need_locust() -> None:
    rooms = (
        "ask catalogue charts client histogram launch overseer plan report serverlog verdict watch"
    )
    code = (
        f"import sys; [__import__('loadtests.' + room) for room in {rooms.split()!r}];"
        "print([name for name in ('locust', 'gevent') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )

    assert done.stdout == "[]\n"

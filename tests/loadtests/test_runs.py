"""Whole runs, each in processes of its own: Locust changes the process that imports it."""

from __future__ import annotations

import fcntl
import json
import re
import signal
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil
import pytest

from tests.harness import corpus
from tests.harness.peers import free_port
from tests.harness.server import REPOSITORY, Lines, Server
from tests.loadtests import flawed
from tests.loadtests.flawed import Flaw, FlawedServer

pytestmark = pytest.mark.slow

LOADTEST = (sys.executable, "-m", "loadtests.launch")
LOCUST = (sys.executable, "-m", "locust", "-f", str(REPOSITORY / "loadtests" / "locustfile.py"))
# No bound on time: what other tests do beside these is not their business.
SOUND = """
[default]
wrong_octets = 0
wrong_framing = 0
wrong_answers = 0
lost = 0
refused = 0
vanished_workers = 0
harness_errors = 0
lost_clients = 0
log_difference = 0
users_percent = 100
requests = {requests}
"""


@pytest.fixture(scope="session")
def root(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """One corpus for all processes that run these tests: it is large."""
    base = tmp_path_factory.getbasetemp()
    shared = base if worker_id == "master" else base.parent
    with (shared / "corpus.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        corpus.make(shared / "corpus")
    return shared / "corpus"


def thresholds(home: Path, requests: int = 20) -> str:
    path = home / "thresholds.toml"
    path.write_text(SOUND.format(requests=requests))
    return str(path)


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        words, cwd=REPOSITORY, capture_output=True, text=True, timeout=100, check=False
    )


def browse(flaw: Flaw, home: Path, requests: int = 20) -> subprocess.CompletedProcess[str]:
    """A short run against a server with this flaw."""
    with FlawedServer(flaw) as server:
        return run(
            *(*LOADTEST, "browse", "-u", "6", "-t", "2s", "--target", server.url),
            *("--thresholds", thresholds(home, requests)),
            *("--html", str(home / "report.html"), "--json", str(home / "record.json")),
            *("--", "--logfile", str(home / "locust.log")),
        )


def test_a_server_without_a_flaw_passes(tmp_path: Path) -> None:
    done = browse(flawed.no_flaw, tmp_path)
    record = json.loads((tmp_path / "record.json").read_text())

    assert (0, "") == (done.returncode, done.stdout), done.stderr
    assert "\nPASS\n" in done.stderr
    assert {row["name"] for row in record["rows"]} == {"page", "asset", "revalidation"}
    assert record["workers"] is None
    assert (tmp_path / "locust.log").exists()
    assert "not a server that this run has started" in (tmp_path / "report.html").read_text()


def test_a_wrong_octet_fails_although_the_run_is_invalid(tmp_path: Path) -> None:
    done = browse(flawed.wrong_octet, tmp_path, requests=1_000_000)

    assert done.returncode == 1, done.stderr
    assert re.search(r"^INVALID +requests ", done.stderr, re.MULTILINE)
    assert re.search(r"^FAIL +wrong_octets ", done.stderr, re.MULTILINE)
    assert "\nFAIL: wrong_octets" in done.stderr


def test_workers_that_are_killed_cost_only_what_they_held(root: Path, tmp_path: Path) -> None:
    done = run(
        *(*LOADTEST, "chaos", "-u", "20", "-t", "6s", "--root", str(root), "--workers", "2"),
        *("--thresholds", thresholds(tmp_path), "--json", str(tmp_path / "record.json")),
        *("--html", str(tmp_path / "report.html")),
    )
    record = json.loads((tmp_path / "record.json").read_text())
    fates = [worker["fate"] for worker in record["workers"]]

    assert done.returncode == 0, done.stderr
    assert fates.count("killed by the run") >= 1
    assert fates.count("") == 2


@contextmanager
def started(*words: str) -> Iterator[tuple[subprocess.Popen[bytes], Lines]]:
    """A process, with the lines of its standard error."""
    with subprocess.Popen(words, cwd=REPOSITORY, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        lines = Lines(process.stderr)
        try:
            yield process, lines
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()
            lines.close()


def test_a_master_and_two_workers_are_one_run(root: Path, tmp_path: Path) -> None:
    port, log = str(free_port()), tmp_path / "access.log"
    with ExitStack() as stack:
        server = stack.enter_context(
            Server(root, "--workers", "2", "--access-log", str(log), "--log-format", "combined")
        )
        master, said = stack.enter_context(
            started(
                *(*LOCUST, "--headless", "--master", "--master-bind-host", "127.0.0.1"),
                *("--master-bind-port", port, "--expect-workers", "2", "-H", server.url),
                *("-u", "12", "-t", "6s", "--shape", "smoke"),
                *("--scenario", "smoke", "--thresholds", thresholds(tmp_path)),
                *("--server-pid", str(server.pid), "--server-log", str(log)),
                *("--record", str(tmp_path / "record.json")),
            )
        )
        for _ in range(2):
            stack.enter_context(
                started(*LOCUST, "--worker", "--master-host", "127.0.0.1", "--master-port", port)
            )
        status = master.wait(60)
        record = json.loads((tmp_path / "record.json").read_text())

        assert status == 0, str(said)
        assert record["client_processes"] == 2
        assert record["users_peak"] == 12
        assert sum(record["log"]["lines"].values()) >= 20
        assert len(record["workers"]) == 2


def status_of(url: str) -> int:
    """The status of a page that may not be there yet, which nothing announces."""
    deadline = time.monotonic() + 30
    while True:
        try:
            with urllib.request.urlopen(url, timeout=30) as page:
                status: int = page.status
                return status
        except OSError:
            assert time.monotonic() < deadline


def test_a_worker_that_does_not_live_to_report_makes_a_run_invalid(tmp_path: Path) -> None:
    port = str(free_port())
    with ExitStack() as stack:
        server = stack.enter_context(FlawedServer())
        master, said = stack.enter_context(
            started(
                *(*LOCUST, "--headless", "--master", "--master-bind-host", "127.0.0.1"),
                *("--master-bind-port", port, "--expect-workers", "2", "-H", server.url),
                *("-u", "4", "-t", "6s", "--shape", "smoke", "--scenario", "browse"),
                *("--thresholds", thresholds(tmp_path, 1)),
            )
        )
        worker = (*LOCUST, "--worker", "--master-host", "127.0.0.1", "--master-port", port)
        stack.enter_context(started(*worker))
        lost, _ = stack.enter_context(started(*worker))
        assert said.wait_for(re.compile("against"), 1, 60), str(said)
        lost.kill()
        status = master.wait(90)

    assert status == 3, str(said)
    assert re.search(r"^INVALID +lost_clients +1 ", str(said), re.MULTILINE)


def test_the_web_page_starts_and_stops_runs(tmp_path: Path) -> None:
    port = free_port()
    verdict = re.compile(r"^(PASS|FAIL|INVALID)")
    at_work = re.compile(r"^ +\d+ s +2 users +[1-9]")  # requests per second
    with (
        FlawedServer() as server,
        started(
            *(*LOCUST, "--web-host", "127.0.0.1", "--web-port", str(port), "-H", server.url),
            *("--scenario", "pipeline", "--thresholds", thresholds(tmp_path, 1), "-u", "2"),
        ) as (process, said),
    ):
        base = f"http://127.0.0.1:{port}"
        assert status_of(base) == 200
        form = urllib.parse.urlencode({"user_count": 2, "spawn_rate": 2, "host": server.url})
        for place in (1, 2):
            seconds = len(said.matches(at_work))
            with urllib.request.urlopen(f"{base}/swarm", form.encode(), timeout=30) as answer:
                assert json.load(answer)["success"]
            assert said.wait_for(at_work, seconds + 1, 30), str(said)
            with urllib.request.urlopen(f"{base}/stop", b"", timeout=30) as answer:
                assert json.load(answer)["success"]
            assert said.wait_for(verdict, place, 30), str(said)
        process.send_signal(signal.SIGTERM)
        status = process.wait(30)
        found = [match[1] for match in said.matches(verdict)]

    assert found == ["PASS", "PASS"]
    assert status == 0


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        pytest.param((), "no target", id="no host"),
        pytest.param(("-H", "http://127.0.0.1:1"), "refused", id="nobody there"),
        pytest.param(("--scenario", "chaos"), "its own", id="chaos without a server of its own"),
        pytest.param(("--shape", "none"), "no shape 'none'", id="no such shape"),
    ],
)
def test_plain_locust_ends_bad_use_with_one_sentence(words: tuple[str, ...], expected: str) -> None:
    done = run(*LOCUST, "--headless", "--loglevel", "ERROR", *words)

    assert done.returncode == 2
    assert expected in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_run_that_is_terminated_leaves_nothing_behind(root: Path, tmp_path: Path) -> None:
    with started(
        *(*LOADTEST, "browse", "-t", "60s", "--root", str(root)),
        *("--html", str(tmp_path / "report.html")),
    ) as (process, said):
        assert said.wait_for(re.compile("against"), 1, 30), str(said)
        children = psutil.Process(process.pid).children(recursive=True)
        process.terminate()
        status = process.wait(60)
        gone, alive = psutil.wait_procs(children, timeout=30)

    assert status == 128 + signal.SIGTERM
    assert len(gone) >= 4  # Locust, the master and its workers
    assert alive == []

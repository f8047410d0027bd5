"""What an operator learns from a running server at its admin address."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.harness.server import Server
from tests.harness.until import until
from tests.process.conftest import Serve, content, get

pytestmark = pytest.mark.slow


def admin_port(server: Server) -> int:
    found = re.search(r"admin: http://127\.0\.0\.1:(\d+)/", server.stderr)
    assert found is not None
    return int(found[1])


def page(port: int, path: str) -> tuple[int, bytes]:
    """Status and content of a page."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def status(port: int) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(page(port, "/status")[1])
    return found


def metric(port: int, name: str, **labels: str) -> float:
    """The value of one sample, as Prometheus reads it."""
    families = text_string_to_metric_families(page(port, "/metrics")[1].decode())
    samples = (sample for family in families for sample in family.samples)
    return next(each.value for each in samples if (each.name, each.labels) == (name, labels))


def answered(port: int) -> float:
    """How many GETs were answered well."""
    return metric(port, "mpserve_requests_total", method="GET", status="2xx")


def has_answered(port: int, number: int) -> bool:
    return answered(port) == number


def all_serve_but(port: int, gone: set[int]) -> bool:
    """Whether two workers serve, none of those."""
    workers = status(port)["workers"]
    serving = {each["pid"] for each in workers if each["state"] == "serving"}
    return len(serving) == 2 and not serving & gone


def test_every_request_is_counted_over_all_workers(serve: Serve) -> None:
    server = serve("--workers", "3", "--admin", "0")
    port = admin_port(server)
    for _ in range(30):
        content(server, "/hello.txt")
        get(server, "/missing")

    assert until(lambda: metric(port, "mpserve_request_duration_seconds_count") == 60)
    assert answered(port) == 30
    assert metric(port, "mpserve_requests_total", method="GET", status="4xx") == 30
    assert metric(port, "mpserve_response_content_bytes_total") >= 30 * len(b"hello\n")
    assert metric(port, "mpserve_ready") == 1


def test_no_count_is_lost_with_a_worker_that_is_killed(serve: Serve) -> None:
    server = serve("--workers", "2", "--admin", "0")
    port = admin_port(server)
    for expected in (10, 20, 30):
        for _ in range(10):
            content(server, "/hello.txt")
        # An answer is counted when it has gone, and the client may be sooner than that.
        assert until(partial(has_answered, port, expected))
        killed = set(server.workers())
        for pid in killed:
            os.kill(pid, signal.SIGKILL)
        assert until(partial(all_serve_but, port, killed))

    assert answered(port) == 30
    assert metric(port, "mpserve_worker_restarts_total") == 6


def test_the_public_port_knows_nothing_of_it(serve: Serve) -> None:
    server = serve("--admin", "0")

    assert [get(server, path).status for path in ("/metrics", "/status", "/healthz")] == [404] * 3


def test_without_the_flag_there_is_no_admin_address(serve: Serve) -> None:
    assert "admin" not in serve().stderr


def test_a_server_that_stops_is_not_ready(serve: Serve) -> None:
    server = serve("--workers", "1", "--admin", "0")
    port = admin_port(server)
    ready = page(port, "/readyz")
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    connection.request("GET", "/big")
    response = connection.getresponse()  # under way: the server waits for its end
    server.signal(signal.SIGTERM)
    assert until(lambda: page(port, "/readyz")[0] == 503)
    stopping = page(port, "/readyz"), page(port, "/healthz")
    response.read()
    connection.close()

    assert ready == (200, b"serving\n")
    assert stopping == ((503, b"stopping\n"), (200, b"ok\n"))
    assert server.wait() == 0


def test_a_server_that_is_about_to_stop_serves_on_but_is_not_ready(serve: Serve) -> None:
    server = serve("--workers", "1", "--admin", "0", "--shutdown-delay", "30")
    port = admin_port(server)
    server.signal(signal.SIGTERM)
    assert until(lambda: page(port, "/readyz")[0] == 503)

    assert page(port, "/readyz") == (503, b"leaving\n")
    assert content(server, "/hello.txt") == b"hello\n"
    server.signal(signal.SIGTERM)
    assert server.wait() == 0


def test_a_reload_keeps_every_count(serve: Serve) -> None:
    server = serve("--workers", "2", "--admin", "0")
    port = admin_port(server)
    for _ in range(10):
        content(server, "/hello.txt")
    server.signal(signal.SIGHUP)
    server.wait_for_line("generation 2 serves")
    for _ in range(10):
        content(server, "/hello.txt")
    assert until(partial(has_answered, port, 20))
    assert until(lambda: {each["generation"] for each in status(port)["workers"]} == {2})

    assert answered(port) == 20
    assert metric(port, "mpserve_worker_restarts_total") == 0


def test_the_admin_address_answers_while_every_worker_is_stopped(serve: Serve) -> None:
    server = serve("--workers", "2", "--admin", "0")
    port = admin_port(server)
    workers = server.workers()
    for pid in workers:
        os.kill(pid, signal.SIGSTOP)
    try:
        found = page(port, "/healthz")
    finally:
        for pid in workers:
            os.kill(pid, signal.SIGCONT)

    assert found == (200, b"ok\n")


def test_a_master_without_descriptors_waits_for_one_and_does_not_spin(serve: Serve) -> None:
    server = serve("--workers", "1", "--admin", "0")
    port = admin_port(server)
    master = psutil.Process(server.pid)
    limits = master.rlimit(psutil.RLIMIT_NOFILE)
    master.rlimit(psutil.RLIMIT_NOFILE, (len(os.listdir(f"/proc/{server.pid}/fd")), limits[1]))
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(page, port, "/healthz")
        server.wait_for_line("the admin address cannot accept: Too many open files")
        before = master.cpu_times()
        with pytest.raises(TimeoutError):
            asked.result(timeout=1.2)  # an attempt more, and nothing else
        after = master.cpu_times()
        master.rlimit(psutil.RLIMIT_NOFILE, limits)

        assert asked.result() == (200, b"ok\n")
    assert after.user + after.system - before.user - before.system < 0.5


# A server that does not wait a minute.
IMPATIENT = "import sys; from mpserve import cli, supervision; supervision.DESERTED = 0.1; sys.exit(cli.main())"


def test_a_server_whose_workers_all_hang_says_so_as_long_as_they_do(root: Path) -> None:
    server = Server(root, "--workers", "1", "--admin", "0", "--hang-timeout", "60")
    server.command = (sys.executable, "-c", IMPATIENT, *server.command[3:])
    with server:
        server.wait_for_line("sandbox")
        port = admin_port(server)
        (worker,) = server.workers()
        os.kill(worker, signal.SIGSTOP)
        assert until(lambda: page(port, "/healthz")[0] == 503)
        found = page(port, "/healthz"), page(port, "/readyz")
        os.kill(worker, signal.SIGCONT)
        assert until(lambda: page(port, "/healthz")[0] == 200)
        ready = page(port, "/readyz")

    assert found == ((503, b"deserted\n"), (503, b"deserted\n"))
    assert ready == (200, b"serving\n")
    assert "no worker has served for" in server.stderr
    assert "workers serve again" in server.stderr


def test_connections_are_shown_by_what_they_wait_for(serve: Serve) -> None:
    server = serve("--workers", "1", "--admin", "0")
    port = admin_port(server)
    idle = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    idle.request("GET", "/hello.txt")
    idle.getresponse().read()
    assert until(lambda: metric(port, "mpserve_connections", state="idle") == 1)
    idle.close()
    assert until(lambda: metric(port, "mpserve_connections", state="idle") == 0)

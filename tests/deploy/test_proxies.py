"""The proxies of the guide, with its configurations, in front of a server of ours: over TLS, as the world comes.

Only what belongs to the machine is replaced: addresses, and where the certificate lies.
"""

from __future__ import annotations

import http.client
import os
import shutil
import signal
import ssl
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from tests.deploy import units
from tests.harness import peers
from tests.harness.recipes import SEARCH_PATH
from tests.harness.server import Server
from tests.harness.until import until

pytestmark = pytest.mark.slow

CONFIGURATIONS = units.DEPLOY / "proxy"
BIG = bytes(range(256)) * 16384  # 4 MiB: more than any proxy's buffers


@dataclass(frozen=True, slots=True)
class Place:
    """Where a proxy listens, where it finds us, and a folder for its files, the certificate among them."""

    port: int
    upstream: str
    home: Path


def replaced(text: str, replacements: dict[str, str]) -> str:
    """`text` with all of these replaced, each of which must be there."""
    for old, new in replacements.items():
        assert old in text
        text = text.replace(old, new)
    return text


def nginx(place: Place) -> list[str]:
    snippet = replaced(
        (CONFIGURATIONS / "nginx.conf").read_text(),
        {
            "    server unix:/run/mpserve/http.sock;": f"    server {place.upstream};",
            "listen 443 ssl": f"listen 127.0.0.1:{place.port} ssl",
            "/etc/ssl/example.org/fullchain.pem": f"{place.home}/cert.pem",
            "/etc/ssl/example.org/key.pem": f"{place.home}/key.pem",
        },
    )
    folders = "".join(
        f"{kind}_temp_path {place.home}/{kind};\n"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    path = place.home / "nginx.conf"
    path.write_text(
        f"daemon off; pid {place.home}/nginx.pid; error_log stderr;\n"
        f"{'user root;' if os.geteuid() == 0 else ''} worker_processes 1;\n"
        f"events {{}} http {{ access_log off;\n{folders}{snippet}\n}}\n"
    )
    return ["nginx", "-e", "stderr", "-p", str(place.home), "-c", str(path)]


def haproxy(place: Place) -> list[str]:
    upstream = place.upstream.replace("unix:", "unix@")
    text = replaced(
        (CONFIGURATIONS / "haproxy.cfg").read_text(),
        {
            "bind :443 ssl": f"bind 127.0.0.1:{place.port} ssl",
            "/etc/haproxy/example.org.pem": f"{place.home}/both.pem",
            "    server one 127.0.0.1:8000": f"    server one {upstream}",
        },
    )
    path = place.home / "haproxy.cfg"
    path.write_text(text)
    return ["haproxy", "-db", "-f", str(path)]


PROXIES: dict[str, Callable[[Place], list[str]]] = {"nginx": nginx, "haproxy": haproxy}


def program(name: str) -> str:
    found = shutil.which(name, path=SEARCH_PATH)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a certificate and its key, in two files and in one."""
    home = tmp_path_factory.mktemp("certificate")
    cert, key = home / "cert.pem", home / "key.pem"
    words = f"req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -keyout {key} -out {cert}"
    subprocess.run(
        [program("openssl"), *words.split(), "-subj", "/CN=www.example.org"],
        check=True,
        capture_output=True,
    )
    (home / "both.pem").write_text(cert.read_text() + key.read_text())
    return home


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    (root / "folder").mkdir(parents=True)
    (root / "index.html").write_text("the index")
    (root / "big.bin").write_bytes(BIG)
    return root


# Without a list of authorities: to read it takes longer than fifty requests.
TRUSTING = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
TRUSTING.check_hostname = False
TRUSTING.verify_mode = ssl.CERT_NONE


@dataclass(frozen=True, slots=True)
class Front:
    """A proxy that runs, and the server behind it."""

    server: Server
    process: subprocess.Popen[bytes]
    port: int

    def connect(self) -> http.client.HTTPSConnection:
        return http.client.HTTPSConnection("127.0.0.1", self.port, timeout=10, context=TRUSTING)

    def ask(self, path: str, method: str = "GET", **fields: str) -> http.client.HTTPResponse:
        """One answer, on a connection of its own, read whole."""
        connection = self.connect()
        try:
            connection.request(method, path, headers=fields)
            response = connection.getresponse()
            response.body = response.read()  # type: ignore[attr-defined]  # what the tests look at
        finally:
            connection.close()
        return response

    def upstream_ports(self) -> set[int]:
        """The local ports of the proxy's connections to the server, over TCP."""
        own = psutil.Process(self.process.pid)
        return {
            each.laddr.port
            for process in (own, *own.children())
            for each in process.net_connections("tcp")
            if each.status == "ESTABLISHED" and each.raddr.port == self.server.port
        }


def is_up(front: Front) -> bool:
    try:
        return front.ask("/").status == 200
    except (OSError, http.client.HTTPException):
        return False


@pytest.fixture(params=[(name, how) for name in PROXIES for how in ("tcp", "unix")], ids="-".join)
def front(
    request: pytest.FixtureRequest, root: Path, tmp_path: Path, certificate: Path
) -> Iterator[Front]:
    name, how = request.param
    found = program(name)
    home = tmp_path / "proxy"
    shutil.copytree(certificate, home)
    bind = f"unix:{tmp_path}/s" if how == "unix" else "127.0.0.1:0"
    with Server(root, "--workers", "2", "--access-log", "off", "--bind", bind) as server:
        upstream = bind if how == "unix" else f"127.0.0.1:{server.port}"
        place = Place(peers.free_port(), upstream, home)
        command = [found, *PROXIES[name](place)[1:]]
        with (home / "output").open("wb") as output:
            process = subprocess.Popen(command, stdout=output, stderr=output)
        front = Front(server, process, place.port)
        try:
            assert until(lambda: is_up(front) or process.poll() is not None)
            assert process.poll() is None, (home / "output").read_text()
            yield front
        finally:
            process.terminate()
            process.wait(20)


def test_what_comes_through_a_proxy_is_what_was_served(front: Front) -> None:
    whole = front.ask("/big.bin")
    span = front.ask("/big.bin", Range="bytes=1000000-2999999")
    head = front.ask("/big.bin", "HEAD")
    again = front.ask("/big.bin", **{"If-None-Match": whole.headers["ETag"]})
    missing = front.ask("/nothing")

    assert (whole.status, whole.body == BIG) == (200, True)  # type: ignore[attr-defined]  # see ask
    assert (span.status, span.body == BIG[1000000:3000000]) == (206, True)  # type: ignore[attr-defined]  # see ask
    assert (head.status, head.headers["Content-Length"]) == (200, str(len(BIG)))
    assert (again.status, missing.status) == (304, 404)


def test_a_redirect_stays_on_the_proxy(front: Front) -> None:
    answer = front.ask("/folder")

    assert (answer.status, answer.headers["Location"]) == (308, "/folder/")


# Over TCP, where connections are told apart by their ports.
@pytest.mark.parametrize("front", [(name, "tcp") for name in PROXIES], ids=PROXIES, indirect=True)
def test_the_proxy_keeps_its_connections(front: Front) -> None:
    front.ask("/")
    before = front.upstream_ports()
    statuses = {front.ask("/").status for _ in range(50)}

    assert statuses == {200}
    # At most one more for every address: fifty requests did not take fifty connections.
    assert before
    assert len(before | front.upstream_ports()) < 10


def test_a_worker_that_dies_is_no_error_to_who_asks_the_proxy(front: Front) -> None:
    statuses = []
    for _ in range(5):
        statuses += [front.ask("/").status for _ in range(5)]
        victim = front.server.workers()[0]
        os.kill(victim, signal.SIGKILL)
    statuses += [front.ask("/").status for _ in range(5)]

    assert statuses == [200] * 30


@pytest.mark.parametrize("name", PROXIES)
def test_the_proxy_finds_nothing_wrong_in_its_configuration(
    name: str, tmp_path: Path, certificate: Path
) -> None:
    home = tmp_path / "proxy"
    shutil.copytree(certificate, home)
    command = PROXIES[name](Place(peers.free_port(), "127.0.0.1:8000", home))
    check = {"nginx": "-t", "haproxy": "-c"}[name]
    done = subprocess.run(
        [program(name), check, *command[1:]], capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
    assert "warn" not in (done.stdout + done.stderr).lower()

"""The servers mpserve is measured beside, each started alone on a free port of the loopback interface.

A peer is a row of PEERS: its program, and a function that writes the smallest fair configuration and
returns the command line. Fair means: sendfile where the server has it, ETag, index.html, one worker
unless more are asked for, and keep-alive limits so far away that none of them shapes a measurement.
"""

from __future__ import annotations

import importlib.util
import os
import re
import resource
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Self

PROJECT = Path(__file__).parents[2]
HOST = "127.0.0.1"
START_LIMIT = 20.0  # seconds for a peer to answer its first request
STOP_LIMIT = 5.0  # seconds between the polite signal and SIGKILL
CONNECTIONS = 16384  # per worker; the open-file limit of many machines is 20,000

# Where Debian keeps servers, although a user's PATH does not name it.
SEARCH_PATH = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin"))

# What each of these means inside a quoted string differs from server to server.
UNQUOTABLE = re.compile(r'["\\$`{}\n\r]')


class PeerError(Exception):
    """A peer is missing or did not start; the text says which and why."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a peer is asked to do."""

    root: Path
    port: int
    workers: int
    access_log: Path | None
    home: Path  # a directory of the peer's own: configuration, error log, pid file

    def write(self, name: str, text: str) -> Path:
        """The file `name` in the peer's home, holding `text`."""
        path = self.home / name
        path.write_text(text, encoding="utf-8")
        return path


def prepare_nginx(plan: Plan, http: str = "") -> list[str]:
    mime = Path("/etc/nginx/mime.types")
    log = f'"{plan.access_log}" combined' if plan.access_log else "off"
    temporary = "\n".join(
        f'  {kind}_temp_path "{plan.home}/{kind}";'
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    config = f"""
daemon off;
{"user root;" if os.geteuid() == 0 else ""}
worker_processes {plan.workers};
worker_rlimit_nofile {open_file_limit()};
pid "{plan.home}/nginx.pid";
error_log stderr;
events {{ worker_connections {CONNECTIONS}; }}
http {{
{temporary}
  {f"include {mime};" if mime.exists() else ""}
  default_type application/octet-stream;
  access_log {log};
  log_not_found off;
  sendfile on;
  tcp_nopush on;
  etag on;
  keepalive_timeout 3600s;
  keepalive_requests 1000000000;
  send_timeout 3600s;
  {http}
  server {{
    listen {HOST}:{plan.port} backlog=4096 {"reuseport" if plan.workers > 1 else ""};
    root "{plan.root}";
    index index.html;
  }}
}}
"""
    path = plan.write("nginx.conf", config)
    return ["nginx", "-e", "stderr", "-p", str(plan.home), "-c", str(path)]


def prepare_nginx_cache(plan: Plan) -> list[str]:
    """The same with open descriptors and their stat kept: its fastest, and up to a minute stale."""
    return prepare_nginx(
        plan,
        "open_file_cache max=10000 inactive=60s; open_file_cache_valid 60s;"
        " open_file_cache_min_uses 1; open_file_cache_errors on;",
    )


def prepare_nginx_push(plan: Plan) -> list[str]:
    """As nginx-cache, but without TCP_CORK: cheaper for large files, dearer for small ones."""
    command = prepare_nginx_cache(plan)
    config = plan.home / "nginx.conf"
    plan.write(config.name, config.read_text(encoding="utf-8").replace("nopush on", "nopush off"))
    return command


def prepare_nginx_alone(plan: Plan) -> list[str]:
    """An orphan from its first request on: nginx heeds USR2 only when its parent is not the first one."""
    name, *options = prepare_nginx(plan)
    # It executes what it was called by, and looks nowhere for it.
    command = shlex.join([shutil.which(name, path=SEARCH_PATH) or name, *options])
    served = f"until [ -s {plan.home}/nginx.pid ]; do sleep 0.02; done"
    return ["sh", "-c", f"({command} & {served}); exec sleep 1000000"]


def prepare_lighttpd(plan: Plan) -> list[str]:
    modules = ['"mod_indexfile"', *(['"mod_accesslog"'] if plan.access_log else [])]
    # The counter of requests per connection has 16 bits; after that many, one new connection.
    config = f"""
server.modules = ( {", ".join(modules)} )
server.document-root = "{plan.root}"
server.bind = "{HOST}"
server.port = {plan.port}
server.listen-backlog = 4096
server.pid-file = "{plan.home}/lighttpd.pid"
server.errorlog = "{plan.home}/error.log"
server.event-handler = "linux-sysepoll"
server.network-backend = "sendfile"
server.max-fds = {open_file_limit()}
server.max-connections = {CONNECTIONS}
server.max-keep-alive-requests = 65535
server.max-keep-alive-idle = 3600
server.max-write-idle = 3600
{f"server.max-worker = {plan.workers}" if plan.workers > 1 else ""}
index-file.names = ( "index.html" )
mimetype.assign = ( ".html" => "text/html", ".txt" => "text/plain",
                    ".css" => "text/css", ".js" => "text/javascript",
                    ".png" => "image/png", "" => "application/octet-stream" )
static-file.etags = "enable"
{f'accesslog.filename = "{plan.access_log}"' if plan.access_log else ""}
"""
    return ["lighttpd", "-D", "-f", str(plan.write("lighttpd.conf", config))]


def prepare_h2o(plan: Plan) -> list[str]:
    config = f"""
{"user: root" if os.geteuid() == 0 else ""}
num-threads: {plan.workers}
num-name-resolution-threads: 1
max-connections: {CONNECTIONS}
http1-request-timeout: 3600
pid-file: "{plan.home}/h2o.pid"
error-log: "{plan.home}/error.log"
{f'access-log: "{plan.access_log}"' if plan.access_log else ""}
listen:
  host: {HOST}
  port: {plan.port}
file.index: [ "index.html" ]
file.etag: ON
file.send-gzip: OFF
hosts:
  default:
    paths:
      "/":
        file.dir: "{plan.root}"
"""
    return ["h2o", "-m", "worker", "-c", str(plan.write("h2o.conf", config))]


def prepare_caddy(plan: Plan) -> list[str]:
    log = f'log {{\n    output file "{plan.access_log}"\n  }}' if plan.access_log else ""
    config = f"""{{
  admin off
  auto_https off
  servers {{
    timeouts {{
      idle 1h
    }}
  }}
}}
http://:{plan.port} {{
  bind {HOST}
  root * "{plan.root}"
  file_server
  {log}
}}
"""
    path = plan.write("Caddyfile", config)
    return ["caddy", "run", "--adapter", "caddyfile", "--config", str(path)]


def prepare_apache2(plan: Plan) -> list[str]:
    # Distributions build different modules into the program itself.
    lines = [
        f"<IfModule !{name}_module>\n"
        f'  LoadModule {name}_module "{APACHE_MODULES}/mod_{name}.so"\n'
        "</IfModule>"
        for name in ("mpm_event", "authz_core", "unixd", "dir", "mime", "log_config")
    ]
    mime = Path("/etc/mime.types")
    log = (
        'LogFormat "%h %l %u %t \\"%r\\" %>s %b \\"%{Referer}i\\" \\"%{User-Agent}i\\"" combined\n'
        f'CustomLog "{plan.access_log}" combined'
    )
    threads = 64
    config = f"""
ServerRoot "{plan.home}"
ServerName {HOST}
DefaultRuntimeDir "{plan.home}"
PidFile "{plan.home}/apache2.pid"
ErrorLog "{plan.home}/error.log"
LogLevel error
{chr(10).join(lines)}
TypesConfig {mime if mime.exists() else "/dev/null"}
Listen {HOST}:{plan.port}
ListenBacklog 4096
ServerLimit {plan.workers}
StartServers {plan.workers}
ThreadsPerChild {threads}
ThreadLimit {threads}
MinSpareThreads {threads}
MaxSpareThreads {threads * plan.workers}
MaxRequestWorkers {threads * plan.workers}
AsyncRequestWorkerFactor {CONNECTIONS // threads}
KeepAlive On
KeepAliveTimeout 3600
MaxKeepAliveRequests 0
Timeout 3600
EnableSendfile On
EnableMMAP Off
FileETag MTime Size
DocumentRoot "{plan.root}"
DirectoryIndex index.html
<Directory "{plan.root}">
  Require all granted
</Directory>
{log if plan.access_log else ""}
"""
    command = ["apache2", "-D", "FOREGROUND", "-f", str(plan.write("apache2.conf", config))]
    if os.geteuid() != 0:
        return command
    # Apache refuses to serve as root, and another user may not be allowed to read the tree: so it
    # runs as nobody, with the one capability that reading takes.
    keep = ("--inh-caps=-all,+dac_read_search", "--ambient-caps=-all,+dac_read_search")
    os.chown(plan.home, NOBODY, NOBODY)
    if plan.access_log:
        plan.access_log.touch()
        os.chown(plan.access_log, NOBODY, NOBODY)
    return ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", *keep, *command]


def prepare_http_server(plan: Plan) -> list[str]:
    options = ["--bind", HOST, "--directory", str(plan.root), "--protocol", "HTTP/1.1"]
    return [sys.executable, "-m", "http.server", *options, str(plan.port)]


def prepare_mpserve(
    plan: Plan,
    launcher: Sequence[str] = (sys.executable, "-m", "mpserve"),
    options: Sequence[str] = (),
) -> list[str]:
    return [
        *launcher,
        *options,
        *("--bind", f"{HOST}:{plan.port}"),
        *("--workers", str(plan.workers)),
        *("--access-log", str(plan.access_log) if plan.access_log else "off"),
        str(plan.root),
    ]


def prepare_mpserve_config(plan: Plan) -> list[str]:
    """With its settings in a file, which can be changed while it runs."""
    path = plan.write("mpserve.toml", f'bind = ["{HOST}:{plan.port}"]\nworkers = {plan.workers}\n')
    log = ("--access-log", str(plan.access_log) if plan.access_log else "off")
    return [*(sys.executable, "-m", "mpserve"), *("--config", str(path)), *log, str(plan.root)]


APACHE_MODULES = Path("/usr/lib/apache2/modules")
NOBODY = 65534


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to recognise and start one kind of server."""

    prepare: Callable[[Plan], list[str]]
    program: str  # "" when it is the interpreter that runs this
    version: tuple[str, ...]  # the arguments that make the program print its version
    module: str = ""  # the Python module it is, where it is one


PEERS: dict[str, Recipe] = {
    "mpserve": Recipe(prepare_mpserve, "", ("-m", "mpserve", "--version"), "mpserve.cli"),
    "mpserve-config": Recipe(
        prepare_mpserve_config, "", ("-m", "mpserve", "--version"), "mpserve.cli"
    ),
    "nginx": Recipe(prepare_nginx, "nginx", ("-v",)),
    "nginx-cache": Recipe(prepare_nginx_cache, "nginx", ("-v",)),
    "nginx-alone": Recipe(prepare_nginx_alone, "nginx", ("-v",)),
    "nginx-push": Recipe(prepare_nginx_push, "nginx", ("-v",)),
    "lighttpd": Recipe(prepare_lighttpd, "lighttpd", ("-v",)),
    "h2o": Recipe(prepare_h2o, "h2o", ("-v",)),
    "caddy": Recipe(prepare_caddy, "caddy", ("version",)),
    "apache2": Recipe(prepare_apache2, "apache2", ("-v",)),
    "http.server": Recipe(prepare_http_server, "", ("--version",), "http.server"),
}


def mpserve_by(python: str, source: Path = PROJECT, options: Sequence[str] = ()) -> Recipe:
    """One that is run by another interpreter, from other sources, or with other settings."""
    # A variable, for sources that have no such setting yet.
    limit = f"MPSERVE_MAX_CONNECTIONS={CONNECTIONS}"
    launcher = ("env", f"--chdir={source}", limit, python, "-m", "mpserve")
    prepare = partial(prepare_mpserve, launcher=launcher, options=options)
    return Recipe(prepare, "env", (*launcher[1:], "--version"))


def recipe_of(name: str) -> Recipe:
    """The row of `name`; PeerError when there is none."""
    if name not in PEERS:
        raise PeerError(f"{name} is not a known server; known are {', '.join(PEERS)}")
    return PEERS[name]


def program_of(recipe: Recipe) -> str | None:
    """The path of the recipe's program; None when it is not installed."""
    if not recipe.module:
        return shutil.which(recipe.program, path=SEARCH_PATH)
    return sys.executable if importlib.util.find_spec(recipe.module) else None


def available(name: str) -> bool:
    """Is the server `name` installed on this machine?"""
    return program_of(recipe_of(name)) is not None


def version_of(name: str) -> str:
    """The version `name` reports of itself, "" when it tells none."""
    recipe = recipe_of(name)
    program = program_of(recipe)
    if program is None:
        return ""
    done = subprocess.run([program, *recipe.version], capture_output=True, text=True, check=False)
    found = re.search(r"\d+\.\d+[\w.+-]*", done.stdout + done.stderr)
    return found.group() if found else ""


def open_file_limit() -> int:
    """The hard limit of open files, which every peer is allowed to use."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[1]


def free_port() -> int:
    """A port nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass(slots=True)
class Peer(AbstractContextManager["Peer"]):
    """One running server, with all its processes."""

    name: str
    version: str
    host: str
    port: int
    process: subprocess.Popen[bytes]
    home: tempfile.TemporaryDirectory[str]
    complaints: Path  # what it wrote to standard error
    started: float  # monotonic: just before its process was made
    first_byte: float = field(default=0.0)  # monotonic: the first octet of its first answer

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    def pids(self) -> list[int]:
        """All its processes: they share the process group that it was started in."""
        return sorted(pid for pid, group in groups() if group == self.process.pid)

    def stop(self) -> None:
        """Ends all its processes: with TERM first, by force when that takes too long."""
        try:
            self.process.terminate()
            self.wait(STOP_LIMIT)
            while left := self.pids():
                signal_all(left, signal.SIGKILL)
                self.wait(STOP_LIMIT)
            self.process.wait()
        finally:
            self.home.cleanup()

    def wait(self, limit: float) -> None:
        """Returns when none of its processes is left, or after `limit` seconds."""
        deadline = time.monotonic() + limit
        while time.monotonic() < deadline:
            if not self.pids():
                return
            time.sleep(0.005)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def groups() -> Iterator[tuple[int, int]]:
    """(process, its process group) for every living process."""
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            stat = Path("/proc", entry, "stat").read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            continue
        # The name stands in parentheses and may hold anything: the fields begin after the last one.
        state, _parent, group = stat[stat.rindex(b")") + 2 :].split()[:3]
        if state not in (b"Z", b"X"):
            yield int(entry), int(group)


def signal_all(pids: Sequence[int], number: signal.Signals) -> None:
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue


def start(
    name: str,
    root: Path,
    *,
    workers: int = 1,
    access_log: Path | None = None,
    cpus: Collection[int] | None = None,
) -> Peer:
    """The server `name`, serving `root` and ready to answer; stop it, or use it in a `with`.

    `cpus`: the processors it may run on. PeerError when it is missing or does not start.
    """
    recipe = recipe_of(name)
    program = program_of(recipe)
    if program is None:
        raise PeerError(f"{name} is not installed")
    root, access_log = root.absolute(), access_log and access_log.absolute()
    refuse_unquotable(root, *([access_log] if access_log else []))
    home = tempfile.TemporaryDirectory(prefix=f"peer-{name}-", ignore_cleanup_errors=True)
    os.chmod(home.name, 0o755)  # a worker that has given up root still reads its own files
    plan = Plan(root, free_port(), workers, access_log, Path(home.name))
    try:
        command = recipe.prepare(plan)
        started = time.monotonic()
        process, complaints = launch(command, plan, cpus)
    except BaseException:
        home.cleanup()
        raise
    peer = Peer(name, version_of(name), HOST, plan.port, process, home, complaints, started)
    try:
        peer.first_byte = await_first_byte(peer)
    except BaseException:
        peer.stop()
        raise
    return peer


def refuse_unquotable(*paths: Path) -> None:
    """PeerError for a path that the servers' configuration files would read in different ways."""
    for path in paths:
        if UNQUOTABLE.search(str(path)):
            raise PeerError(f"{path} has a character that configuration files do not quote alike")


def launch(
    command: list[str], plan: Plan, cpus: Collection[int] | None
) -> tuple[subprocess.Popen[bytes], Path]:
    """The process of `command`, and the file that takes what it writes to standard error."""
    # http.server knows no access log of its own; its standard error is one.
    complaints = plan.home / "stderr"
    if "http.server" in command and plan.access_log:
        complaints = plan.access_log
    environment = {
        **os.environ,
        "PATH": SEARCH_PATH,
        "GOMAXPROCS": str(plan.workers),
        "HOME": str(plan.home),
        "XDG_CONFIG_HOME": str(plan.home),
        "XDG_DATA_HOME": str(plan.home),
    }
    with complaints.open("wb") as errors, placed(cpus):
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=errors,
            stderr=errors,
            env=environment,
            cwd=PROJECT,  # where `-m mpserve` finds this checkout
            process_group=0,
        )
    return process, complaints


@contextmanager
def placed(cpus: Collection[int] | None) -> Iterator[None]:
    """Processes born meanwhile run on `cpus` only, and may open as many files as the system lets them."""
    processors, limits = os.sched_getaffinity(0), resource.getrlimit(resource.RLIMIT_NOFILE)
    os.sched_setaffinity(0, cpus or processors)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limits[1], limits[1]))
    try:
        yield
    finally:
        os.sched_setaffinity(0, processors)
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def await_first_byte(peer: Peer) -> float:
    """The monotonic time at which the first octet of an answer arrived."""
    deadline = peer.started + START_LIMIT
    while time.monotonic() < deadline:
        if peer.process.poll() is not None:
            raise PeerError(f"{peer.name} ended with status {peer.process.returncode}:{why(peer)}")
        if answers(peer):
            return time.monotonic()
        time.sleep(0.001)
    raise PeerError(f"{peer.name} did not answer within {START_LIMIT:.0f} s:{why(peer)}")


def answers(peer: Peer) -> bool:
    """Does it send at least one octet in answer to a request?"""
    try:
        with socket.create_connection((peer.host, peer.port), timeout=1.0) as sock:
            sock.sendall(b"GET / HTTP/1.1\r\nHost: peer\r\nConnection: close\r\n\r\n")
            return bool(sock.recv(1))
    except OSError:
        return False


def why(peer: Peer) -> str:
    """The last lines that the peer wrote to standard error or to its error log."""
    texts = [peer.complaints, Path(peer.home.name, "error.log")]
    lines = [
        line
        for path in texts
        if path.exists()
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines()
    ]
    return "".join(f"\n  {line}" for line in lines[-8:]) or " it said nothing"

"""How each server that mpserve is measured beside is configured: what it is told, and by which command.

Every function writes the smallest fair configuration and returns the command line. Fair means: sendfile where the
server has it, ETag, index.html, one worker unless more are asked for, and keep-alive limits so far away that
none of them shapes a measurement.
"""

from __future__ import annotations

import os
import resource
import shlex
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

HOST = "127.0.0.1"
CONNECTIONS = 16384  # per worker; the open-file limit of many machines is 20,000
APACHE_MODULES = Path("/usr/lib/apache2/modules")
NOBODY = 65534

# Where Debian keeps servers, although a user's PATH does not name it.
SEARCH_PATH = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin"))


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


def open_file_limit() -> int:
    """The hard limit of open files, which every peer is allowed to use."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[1]


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
    path = plan.write("apache2.conf", apache2_config(plan))
    command = ["apache2", "-D", "FOREGROUND", "-f", str(path)]
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


def apache2_config(plan: Plan) -> str:
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
    return f"""
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

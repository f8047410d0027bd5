"""Every setting, declared once: what the operator may say, in flags, variables and a file."""

from __future__ import annotations

from typing import Final

from mpserve.address import DEFAULT_HOST, Address
from mpserve.kinds import (
    ACCESS_LOG,
    ADDRESS,
    ADMIN,
    DEMAND,
    ERROR_LOG,
    FIELD,
    FILE,
    GROUP,
    NAME,
    SERVER,
    SYMLINKS,
    USER,
    WORKERS,
    Demand,
    Symlinks,
    User,
    Workers,
)
from mpserve.protocol.http1 import Limits
from mpserve.settings import (
    DURATION,
    PATH,
    SECONDS,
    SWITCH,
    CommandLine,
    Declared,
    Setting,
    listed,
    one_of,
    setting,
    up_to,
    whole,
)

_SERVED: Final = "What is served"
_LISTENING: Final = "Addresses and processes"
_RIGHTS: Final = "What the workers may do"
_FIELDS: Final = "Response fields"
_LOGS: Final = "Logs"
_LIMITS: Final = "Limits of a request"
_TIMEOUTS: Final = "How long to wait, in seconds"
_CACHES: Final = "What each worker keeps"
_FILE: Final = "The configuration file"
_LIMIT: Final = Limits()  # the defaults


class Settings(Declared):
    """Every setting: a row is a flag, an environment variable, a line of --help and of the docs."""

    root = setting(".", "The directory to serve.", PATH, _SERVED, argument="ROOT")
    index = listed(
        (b"index.html",),
        "File that answers for its directory; of several, the first that exists. Repeatable.",
        NAME,
        _SERVED,
    )
    listing = setting(False, "List directories that have no index file.", SWITCH, _SERVED)
    dotfiles = setting(
        False, "Serve names that begin with a dot, not .well-known alone.", SWITCH, _SERVED
    )
    symlinks = setting(
        Symlinks.INSIDE,
        "Links to follow: those that stay inside ROOT, none, or any.",
        SYMLINKS,
        _SERVED,
    )
    any_root = setting(
        False, "Serve even / or a home directory, with all there is in it.", SWITCH, _SERVED
    )

    bind = listed(
        (Address(DEFAULT_HOST, 8000),),
        "HOST:PORT, [IPv6]:PORT, PORT (on 127.0.0.1), :PORT (every address, IPv6 and IPv4) or "
        "unix:/path. Port 0 picks a free one. Repeatable.",
        ADDRESS,
        _LISTENING,
    )
    workers: Setting[Workers] = setting(
        "auto",
        "Worker processes; auto: one for each processor it may use, CPU quota included.",
        WORKERS,
        _LISTENING,
    )
    backlog = setting(
        4096,
        "Connections that may wait to be accepted, in each listening socket.",
        whole(1, 65535),
        _LISTENING,
    )
    max_connections = setting(
        8192,
        "Connections of each worker; fewer where its open files do not suffice. When "
        "nine tenths are taken, the longest idle ones are closed.",
        whole(1, 1 << 20),
        _LISTENING,
    )
    pid_file: Setting[str | None] = setting(
        None, "File for the process ID of the master.", PATH, _LISTENING
    )
    admin: Setting[Address | None] = setting(
        None,
        "Where the master answers /metrics, /healthz, /readyz and /status: a loopback address or "
        "unix:/path.",
        ADMIN,
        _LISTENING,
    )
    affinity = setting(False, "Keep each worker on one processor of its own.", SWITCH, _LISTENING)
    max_requests = setting(
        0,
        "Replace a worker after so many answers, without loss; 0: never.",
        whole(0, 1 << 40),
        _LISTENING,
    )
    max_rss = setting(
        0,
        "Replace a worker that occupies more memory, without loss; 0: never.",
        whole(0, 1 << 40, "BYTES"),
        _LISTENING,
    )

    user: Setting[User | None] = setting(
        None, "Who the workers are, where root starts the server.", USER, _RIGHTS
    )
    group: Setting[int | None] = setting(
        None, "Their only group, in place of all those of the user.", GROUP, _RIGHTS
    )
    sandbox = setting(
        Demand.AUTO,
        "Let the kernel hold the workers to reading ROOT and answering: as far as it can (auto), "
        "wholly or not at all (require), or not (off).",
        DEMAND,
        _RIGHTS,
    )

    header = listed(
        (),
        "Field for every answer, errors too; replaces the server's own of that name. Repeatable.",
        FIELD,
        _FIELDS,
    )
    server_header = setting(b"mpserve", "Value of the field Server; off: none.", SERVER, _FIELDS)

    access_log = setting(
        "-", "One line for each answer; -: standard output; off: none.", ACCESS_LOG, _LOGS
    )
    log_format = setting(
        "combined", "Form of these lines.", one_of("combined", "common", "json"), _LOGS
    )
    error_log = setting("-", "The server's own messages; -: standard error.", ERROR_LOG, _LOGS)
    error_log_format = setting("text", "Form of these messages.", one_of("text", "json"), _LOGS)
    log_level = setting(
        "info",
        "The least important of these messages to log.",
        one_of("debug", "info", "warning", "error"),
        _LOGS,
    )

    max_request_line = setting(
        _LIMIT.request_line,
        "A longer request line is answered with 414.",
        whole(64, 1 << 20, "BYTES"),
        _LIMITS,
    )
    max_head = setting(
        _LIMIT.head,
        "A longer head (request line and fields) is answered with 431.",
        whole(1024, 1 << 24, "BYTES"),
        _LIMITS,
    )
    max_fields = setting(
        _LIMIT.fields, "More fields are answered with 431.", whole(1, 10000), _LIMITS
    )

    header_timeout = setting(
        10.0, "For a head to arrive; one that has begun is answered with 408.", SECONDS, _TIMEOUTS
    )
    keepalive_timeout = setting(
        75.0,
        "For a connection to be idle. A load balancer in front should give up sooner.",
        SECONDS,
        _TIMEOUTS,
    )
    send_timeout = setting(
        30.0,
        "For a client to take nothing of an answer: who takes a little may be slow. Also for a file to be opened that "
        "has to wait for a descriptor.",
        SECONDS,
        _TIMEOUTS,
    )
    linger_timeout = setting(
        5.0,
        "For a client that is still sending to read the answer before the connection closes.",
        SECONDS,
        _TIMEOUTS,
    )
    graceful_timeout = setting(
        30.0, "For the answers under way at a graceful stop.", SECONDS, _TIMEOUTS
    )
    shutdown_delay = setting(
        0.0,
        "To go on serving after TERM, for load balancers that have to hear of it first.",
        DURATION,
        _TIMEOUTS,
    )
    hang_timeout = setting(
        20.0,
        "For a worker that shows no life, before another takes its place.",
        SECONDS,
        _TIMEOUTS,
    )
    coalesce = setting(
        0.00025,
        "For more requests to answer together, at most, where a worker is busy with many clients; 0: none.",
        up_to(0.01),
        _TIMEOUTS,
    )

    cache_size = setting(
        32 * 1024 * 1024,
        "Memory for files and for answers, each; 0: each is made anew for every request.",
        whole(0, 1 << 40, "BYTES"),
        _CACHES,
    )
    cache_files = setting(
        4000,
        "Open files, for large ones, for answers and for small ones, each; and as many directories.",
        whole(0, 1 << 20),
        _CACHES,
    )
    cache_valid = setting(
        0.0,
        "Seconds for which a change in the file system may go unnoticed; 0: none does.",
        DURATION,
        _CACHES,
    )

    config: Setting[str | None] = setting(
        None,
        "Settings by their names, in TOML: keepalive_timeout = 60. Flags and variables beat it.",
        FILE,
        _FILE,
    )


ACTIONS: Final = {
    "check": "Check the settings and ROOT and exit: 0 if all is well, else 2.",
    "version": "Print the version and exit.",
    "help": "Print this and exit.",
}

DESCRIPTION: Final = """\
Serve a directory over HTTP/1.1 from several processes.

  mpserve /var/www
  mpserve --listing --bind :8080 --workers 4 ./public
  mpserve top                     show what a running server does

Defaults stand in [brackets]."""

EPILOG: Final = """\
Each setting is an environment variable too: MPSERVE_KEEPALIVE_TIMEOUT=60 is
--keepalive-timeout 60, and MPSERVE_LISTING=on is --listing. Where several
values may be given, each has a line of its own. In the file of --config it is
keepalive_timeout = 60, listing = true. A flag beats the variable, which beats
the file; a switch that is on is turned off by --no-listing."""


# What http.server, nginx, Caddy and others call it, and who comes from there tries first.
ELSEWHERE: Final = {
    **dict.fromkeys(("address", "host", "listen", "p", "port"), "--bind"),
    **dict.fromkeys(("d", "dir", "directory", "root"), "the argument ROOT"),
    **dict.fromkeys(("autoindex", "browse"), "--listing"),
    **dict.fromkeys(("processes", "threads", "worker-processes"), "--workers"),
    "c": "--config",
    "log": "--access-log",
    "pid": "--pid-file",
    "t": "--check",
}


def command_line() -> CommandLine:
    """The flags of all settings, --check, --version and --help."""
    return CommandLine(
        Settings.declarations(),
        ACTIONS,
        ELSEWHERE,
        usage="mpserve [OPTIONS] [ROOT]",
        description=DESCRIPTION,
        epilog=EPILOG,
    )

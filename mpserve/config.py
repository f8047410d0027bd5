"""The configuration: every setting, declared once, and the values that the server goes by.

A flag beats the environment, which beats the configuration file, which beats the default. `Settings` is
what the operator may say, `Config` what it comes to. Nothing else in the package reads
the environment, except for what systemd says there.
"""

from __future__ import annotations

import grp
import ipaddress
import os
import pwd
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final, Literal, NamedTuple, TypeAlias

from mpserve.configfile import file_layer
from mpserve.processors import usable_processors
from mpserve.protocol.grammar import FIELD_LINES, TOKEN
from mpserve.protocol.http1 import Limits
from mpserve.settings import (
    DURATION,
    PATH,
    SECONDS,
    SWITCH,
    CommandLine,
    ConfigError,
    Declared,
    Kind,
    Layer,
    Setting,
    environment_layer,
    listed,
    one_of,
    setting,
    whole,
)

__all__ = [
    "Address",
    "Config",
    "ConfigError",
    "Settings",
    "Site",
    "Symlinks",
    "Timeouts",
    "command_line",
    "load",
    "warnings",
]


# --- What the server goes by ----------------------------------------------------------------------


class Symlinks(Enum):
    """Which symbolic links are followed."""

    INSIDE = "inside"  # those whose target lies inside the root
    NONE = "none"
    ANY = "any"


@dataclass(frozen=True, slots=True)
class Site:
    """What is served, and how."""

    root: bytes  # absolute, as it was named: every lookup follows the links in it anew
    index: tuple[bytes, ...]
    listing: bool
    dotfiles: bool
    symlinks: Symlinks
    fields: bytes  # the operator's complete field lines, and Server's: appended to every answer
    replaced: frozenset[bytes]  # their names, in lower case


@dataclass(frozen=True, slots=True)
class Timeouts:
    """All in seconds."""

    header: float
    keepalive: float
    send: float
    linger: float
    graceful: float
    # While the server stops, idle connections stay readable: a request may be on its way.
    idle_grace: float = 5.0


@dataclass(frozen=True, slots=True)
class Caches:
    """What a worker may keep of what it looked up and answered: bounds for each of its two caches."""

    octets: int  # 0: nothing is kept
    files: int  # open files
    valid: float  # seconds that what was seen in the file system is believed


@dataclass(frozen=True, slots=True)
class Upkeep:
    """How the master looks after its workers."""

    affinity: bool
    max_requests: int  # answers of a worker before it is replaced; 0: any number
    max_rss: int  # octets of memory of a worker before it is replaced; 0: any number
    hang_timeout: float  # seconds
    shutdown_delay: float  # seconds


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen: a host and a port, or the path of a Unix socket.

    The host "" is every address, IPv6 and IPv4.
    """

    host: str | None = None
    port: int | None = None
    path: str | None = None

    def __str__(self) -> str:
        if self.host is None:
            return f"unix:{self.path}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def public(self) -> bool:
        """Whether other machines may reach it. What a name stands for is not looked up."""
        if self.host is None or self.host == "localhost":
            return False
        try:
            return not ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return True


class Demand(Enum):
    """How much of the sandbox there must be."""

    AUTO = "auto"  # as much as this system has
    REQUIRE = "require"  # all of it
    OFF = "off"


@dataclass(frozen=True, slots=True)
class Identity:
    """Who the workers are."""

    user: str  # as it was named
    uid: int
    gid: int
    groups: tuple[int, ...]  # all of them


@dataclass(frozen=True, slots=True)
class Config:
    """Everything."""

    site: Site
    limits: Limits
    timeouts: Timeouts
    caches: Caches
    workers: int
    bind: tuple[Address, ...]
    backlog: int
    max_connections: int  # of each worker
    access_log: str  # a path, "-" (standard output) or "off"
    log_format: str
    error_log: str  # a path, or "-" (standard error)
    error_log_format: str
    log_level: str
    pid_file: str | None
    admin: Address | None
    identity: Identity | None  # None: whoever starts the server
    sandbox: Demand
    upkeep: Upkeep


# --- How values are written -----------------------------------------------------------------------

Workers: TypeAlias = int | Literal["auto"]
Field: TypeAlias = tuple[bytes, bytes]


class User(NamedTuple):
    """A user as the system knows it."""

    name: str
    uid: int
    gid: int | None
    groups: tuple[int, ...]


WORKER_COUNT: Final = whole(1, 1024)
DEFAULT_HOST: Final = "127.0.0.1"
MAX_PORT: Final = 65535
MAX_ID: Final = 2**32 - 1  # of users and groups; this one itself means "leave it as it is"
# A socket address has 107 bytes for a path, and a socket is made under a longer name, then moved.
MAX_UNIX_PATH: Final = 96

_FRAMING: Final = (
    "it belongs to the connection and to framing, which the server alone can get right"
)
_EACH: Final = "it is made anew for each answer"
UNFIT_FIELDS: Final = {
    b"connection": _FRAMING,
    b"content-length": _FRAMING,
    b"keep-alive": _FRAMING,
    b"proxy-connection": _FRAMING,
    b"te": _FRAMING,
    b"trailer": _FRAMING,
    b"transfer-encoding": _FRAMING,
    b"upgrade": _FRAMING,
    b"allow": _EACH,
    b"content-range": _EACH,
    b"date": _EACH,
    b"location": _EACH,
}


def parse_workers(text: str) -> Workers:
    """A number, or the word auto, which becomes a number when the server starts."""
    return "auto" if text == "auto" else WORKER_COUNT.parse(text)


def parse_name(text: str) -> bytes:
    """The name of a file in a directory."""
    if text in ("", ".", "..") or "/" in text or "\0" in text:
        raise ValueError
    return os.fsencode(text)


def parse_address(text: str) -> Address:
    """Where to listen."""
    if text.startswith("unix:"):
        return parse_unix_address(text.removeprefix("unix:"))
    host, colon, port = text.rpartition(":")
    if not is_port(port):
        if is_host(text):
            raise ConfigError(f"{text!r} has no port; did you mean {text}:8000?")
        raise ValueError
    if not colon:
        return Address(DEFAULT_HOST, int(port))
    if host.startswith("[") and host.endswith("]"):
        # One spelling for each address: the same one twice is to be noticed.
        return Address(str(ipaddress.IPv6Address(host[1:-1])), int(port))
    if re.fullmatch(r"[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*", host):
        raise ConfigError(f"{text!r}: an IPv6 address stands in brackets, as in [::1]:8000")
    if host and not is_host(host):
        raise ValueError
    return Address(host, int(port))


def parse_admin_address(text: str) -> Address:
    """Where the master listens: a place that only this machine can reach."""
    address = parse_address(text)
    if address.public:
        raise ConfigError(
            f"{address} can be reached from elsewhere; name a loopback address or unix:/path"
        )
    return address


def parse_unix_address(path: str) -> Address:
    """A Unix socket: an absolute path that fits into a socket address."""
    if not path.startswith("/") or "\0" in path:
        raise ValueError
    if len(os.fsencode(path)) > MAX_UNIX_PATH:
        raise ConfigError(f"{path!r}: a Unix socket's path has {MAX_UNIX_PATH} bytes at most")
    return Address(path=path)


def is_port(text: str) -> bool:
    """Whether `text` is a port; 0 stands for any that is free."""
    return re.fullmatch(r"[0-9]{1,5}", text) is not None and int(text) <= MAX_PORT


def is_host(text: str) -> bool:
    """Whether `text` is an IPv4 address or a host name; what looks like an address must be one."""
    if re.fullmatch(r"[0-9.]+", text):
        try:
            ipaddress.IPv4Address(text)
        except ValueError:
            return False
        return True
    # RFC 1123 §2.1, and the underscore that names in container networks have.
    return re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_-]*(\.[A-Za-z0-9_-]+)*", text) is not None


def parse_field(text: str) -> Field:
    """The name and the value of a field (RFC 9110 §5.1, §5.5)."""
    # os.fsencode gives the bytes as they were typed, whatever the locale.
    name, colon, value = os.fsencode(text).partition(b":")
    if not colon or TOKEN.fullmatch(name) is None:
        raise ValueError
    if reason := UNFIT_FIELDS.get(name.lower()):
        raise ConfigError(f"{name.decode()} cannot be set: {reason}")
    return name, parse_field_value(value)


def parse_field_value(value: bytes) -> bytes:
    """A field's value, without the space around it (RFC 9110 §5.5)."""
    value = value.strip(b" \t")
    # "Field values containing CR, LF, or NUL characters are invalid and dangerous": what follows a
    # CRLF would be a field of its own, or content.
    if b"\r" in value or FIELD_LINES.fullmatch(b"x:%b\r\n" % value) is None:
        raise ConfigError(f"there is a control character in {os.fsdecode(value)!r}")
    return value


def parse_server(text: str) -> bytes | None:
    """The value of the field Server; None for no such field."""
    return None if text == "off" else parse_field_value(os.fsencode(text))


def parse_user(text: str) -> User:
    """A user, who must be in the system's list unless it is a number."""
    try:
        found = pwd.getpwuid(int(text)) if text.isdecimal() else pwd.getpwnam(text)
    except (KeyError, OverflowError):
        if text.isdecimal() and int(text) < MAX_ID:  # a container's user needs no entry
            return User(text, int(text), None, ())
        raise ConfigError(f"{text!r}: there is no such user") from None
    groups = os.getgrouplist(found.pw_name, found.pw_gid)
    return User(found.pw_name, found.pw_uid, found.pw_gid, tuple(groups))


def parse_group(text: str) -> int:
    """The number of a group."""
    if text.isdecimal() and int(text) < MAX_ID:
        return int(text)
    try:
        return grp.getgrnam(text).gr_gid
    except KeyError:
        raise ConfigError(f"{text!r}: there is no such group") from None


WORKERS: Final[Kind[Workers]] = Kind("N|auto", f"{WORKER_COUNT.accepts}, or auto", parse_workers)
SYMLINKS: Final = Kind("inside|none|any", "inside, none or any", Symlinks)
NAME: Final = Kind("NAME", "the name of a file, without a slash", parse_name)
ADDRESS: Final = Kind("ADDRESS", "HOST:PORT, [IPv6]:PORT, PORT, :PORT or unix:/path", parse_address)
ADMIN: Final = Kind("ADDRESS", "a loopback address or unix:/path", parse_admin_address)
FIELD: Final = Kind("'NAME: VALUE'", "a field as in 'Name: value'", parse_field)
ACCESS_LOG: Final = Kind("PATH|-|off", "a path, - or off", PATH.parse)
FILE: Final = Kind("FILE", "a path", PATH.parse)
ERROR_LOG: Final = Kind("PATH|-", "a path or -", PATH.parse)
SERVER: Final = Kind("TEXT|off", "a text, or off", parse_server)
DEMAND: Final = Kind("auto|require|off", "auto, require or off", Demand)
USER: Final = Kind("NAME|UID", "the name or the number of a user", parse_user)
GROUP: Final = Kind("NAME|GID", "the name or the number of a group", parse_group)


# --- What the operator may say --------------------------------------------------------------------

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
        "Connections of each worker; fewer where its open files do not suffice, two for each. When "
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
        "For a client to take nothing of an answer. Who takes a little may be slow.",
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

    cache_size = setting(
        32 * 1024 * 1024,
        "Memory for files and for answers, each; 0: each is made anew for every request.",
        whole(0, 1 << 40, "BYTES"),
        _CACHES,
    )
    cache_files = setting(
        1000,
        "Open files, for files and for answers, each; and as many directories.",
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


def command_line() -> CommandLine:
    """The flags of all settings, --check, --version and --help."""
    return CommandLine(
        Settings.declarations(),
        ACTIONS,
        usage="mpserve [OPTIONS] [ROOT]",
        description=DESCRIPTION,
        epilog=EPILOG,
    )


# --- From what is said to what it comes to --------------------------------------------------------

# The first user ID that is given to a person (UID_MIN in login.defs).
FIRST_PERSON: Final = 1000


def load(argv: Sequence[str], environ: Mapping[str, str]) -> Config:
    """The configuration for these arguments in this environment. Raises ConfigError."""
    arguments, _ = command_line().parse(argv)
    said = [arguments, environment_layer(Settings.declarations(), environ)]
    return build([*said, written_in_file(Settings(said))], environ)


def written_in_file(settings: Settings) -> Layer:
    """What the configuration file gives, if `settings` name one."""
    if settings.config is None:
        return {}
    allowed = [each for each in Settings.declarations() if each is not Settings.config]
    try:
        return file_layer(allowed, settings.config)
    except OSError as error:
        where = settings.where(Settings.config)
        raise ConfigError(f"{where}: {settings.config!r}: {error.strerror}") from None


def build(layers: Sequence[Layer], environ: Mapping[str, str]) -> Config:
    """The configuration that these layers give, the first one that has a setting first."""
    settings = Settings(layers)
    check_addresses(settings)
    return Config(
        site=site_of(settings, environ),
        limits=Limits(settings.max_request_line, settings.max_head, settings.max_fields),
        timeouts=Timeouts(
            header=settings.header_timeout,
            keepalive=settings.keepalive_timeout,
            send=settings.send_timeout,
            linger=settings.linger_timeout,
            graceful=settings.graceful_timeout,
        ),
        caches=Caches(settings.cache_size, settings.cache_files, settings.cache_valid),
        workers=usable_processors() if settings.workers == "auto" else settings.workers,
        bind=settings.bind,
        backlog=settings.backlog,
        max_connections=settings.max_connections,
        access_log=settings.access_log,
        log_format=settings.log_format,
        error_log=settings.error_log,
        error_log_format=settings.error_log_format,
        log_level=settings.log_level,
        pid_file=settings.pid_file,
        admin=settings.admin,
        identity=identity_of(settings),
        sandbox=settings.sandbox,
        upkeep=Upkeep(
            affinity=settings.affinity,
            max_requests=settings.max_requests,
            max_rss=settings.max_rss,
            hang_timeout=settings.hang_timeout,
            shutdown_delay=settings.shutdown_delay,
        ),
    )


def identity_of(settings: Settings) -> Identity | None:
    """Who the workers will be; None: whoever starts the server."""
    user, group = settings.user, settings.group
    if user is None:
        if group is not None:
            raise ConfigError(f"{settings.where(Settings.group)}: only with --user")
        return None
    where = settings.where(Settings.user)
    gid = user.gid if group is None else group
    if gid is None:
        raise ConfigError(f"{where}: {user.name} has no entry, so --group must say its group")
    if os.geteuid() != 0:
        if (os.geteuid(), os.getegid()) == (user.uid, gid):
            return None
        raise ConfigError(f"{where}: only root can become {user.name}")
    groups = user.groups if group is None else (gid,)
    return Identity(user.name, user.uid, gid, groups)


def check_addresses(settings: Settings) -> None:
    """Refuse an address that is there twice, except for port 0, which is another one each time."""
    seen: set[Address] = set()
    for address in settings.bind:
        if address in seen and address.port != 0:
            raise ConfigError(f"{settings.where(Settings.bind)}: {address} is there twice")
        seen.add(address)
    if settings.admin in seen and settings.admin.port != 0:
        raise ConfigError(
            f"{settings.where(Settings.admin)}: {settings.admin} serves files already (--bind)"
        )


def site_of(settings: Settings, environ: Mapping[str, str]) -> Site:
    """What is served."""
    fields = settings.header
    if settings.server_header is not None and b"server" not in lower_names(fields):
        fields = ((b"Server", settings.server_header), *fields)
    return Site(
        root=root_of(settings, environ),
        index=settings.index,
        listing=settings.listing,
        dotfiles=settings.dotfiles,
        symlinks=settings.symlinks,
        fields=b"".join(b"%b: %b\r\n" % field for field in fields),
        replaced=lower_names(fields),
    )


def lower_names(fields: Iterable[Field]) -> frozenset[bytes]:
    """The names of `fields`, in the spelling that names are compared in."""
    return frozenset(name.lower() for name, _ in fields)


def root_of(settings: Settings, environ: Mapping[str, str]) -> bytes:
    """The absolute path of the root, after a look whether it can and should be served."""
    where = settings.where(Settings.root)
    try:
        root = absolute(os.fsencode(settings.root))
        os.stat(root + b"/.")  # ENOTDIR for what is no directory, EACCES where no name can be found
    except OSError as error:
        raise ConfigError(f"{where}: {settings.root!r}: {error.strerror}") from None
    if settings.listing and not os.access(root, os.R_OK, effective_ids=True):
        raise ConfigError(f"{where}: {settings.root!r}: no right to list it")
    if not settings.any_root and is_private(root, environ.get("HOME", "")):
        raise ConfigError(
            f"{where}: {os.fsdecode(root)!r} holds far more than a site; "
            "name a directory inside it, or say --any-root"
        )
    return root


def absolute(path: bytes) -> bytes:
    """`path` from the root of the file system, with its links as they are."""
    path = os.path.join(os.getcwdb(), path)
    # To drop "link/.." would name another directory than the kernel finds.
    return path if b".." in path.split(b"/") else os.path.normpath(path)


def is_private(root: bytes, home: str) -> bool:
    """Whether `root` is the whole file system, a home directory, or the place of all of them."""
    root = os.path.realpath(root)
    homes = os.path.realpath(b"/home")
    if root in (b"/", homes, os.path.realpath(b"/root")) or os.path.dirname(root) == homes:
        return True
    return root in map(os.path.realpath, own_homes(home))


def own_homes(home: str) -> Iterator[bytes]:
    """The home directories of the person who starts the server; `home` is what $HOME says."""
    user = os.geteuid()
    # A system account lives where its data is: www-data in /var/www, which is there to be served.
    if 0 < user < FIRST_PERSON:
        return
    if home:
        yield os.fsencode(home)
    try:
        yield os.fsencode(pwd.getpwuid(user).pw_dir)
    except KeyError:  # a container's user needs no entry
        return


def warnings(config: Config) -> list[str]:
    """What is allowed but perhaps not meant."""
    public = next((address for address in config.bind if address.public), None)
    if public is None:
        return []
    texts = []
    if config.site.listing:
        texts.append(f"--listing shows the names of all files to whoever reaches {public}")
    if config.site.dotfiles:
        texts.append(f"--dotfiles shows files like .env and .git to whoever reaches {public}")
    return texts

"""The configuration: the values that the server goes by, and how they follow from what the operator says.

A flag beats the environment, which beats the configuration file, which beats the default. `Settings` is
what the operator may say, `Config` what it comes to. Nothing else in the package reads
the environment, except for what systemd says there.
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Final

from mpserve.address import Address
from mpserve.configfile import file_layer
from mpserve.declarations import Settings, command_line
from mpserve.kinds import Demand, Field, Symlinks
from mpserve.processors import usable_processors
from mpserve.protocol.http1 import Limits
from mpserve.settings import ConfigError, Layer, environment_layer

__all__ = [
    "Address",
    "Caches",
    "Config",
    "ConfigError",
    "Demand",
    "Identity",
    "Site",
    "Symlinks",
    "Timeouts",
    "Upkeep",
    "load",
    "warnings",
]


# --- What the server goes by ----------------------------------------------------------------------


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
    coalesce: float  # 0: nothing is waited for
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
            coalesce=settings.coalesce,
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
    """Refuse an address that is there twice, by its name or as one of all.

    Port 0 is no such case: it is another one each time.
    """
    seen: set[Address] = set()
    for address in settings.bind:
        if address in seen and address.port != 0:
            raise ConfigError(f"{settings.where(Settings.bind)}: {address} is there twice")
        seen.add(address)
    for every, one in permutations(settings.bind, 2):
        if every.covers(one):
            raise ConfigError(f"{settings.where(Settings.bind)}: {one} is a part of {every}")
    admin = settings.admin
    if admin and admin.port != 0 and any(each == admin or each.covers(admin) for each in seen):
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

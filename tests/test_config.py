"""The configuration: what each setting takes and refuses, and what it comes to."""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterator
from pathlib import Path

import pytest

from mpserve import config
from mpserve.address import parse_address
from mpserve.config import (
    Address,
    ConfigError,
    Demand,
    Identity,
    Symlinks,
    is_private,
    load,
    own_homes,
    warnings,
)
from mpserve.declarations import ELSEWHERE, Settings
from mpserve.kinds import UNFIT_FIELDS
from mpserve.processors import usable_processors
from mpserve.protocol.http1 import Limits


@pytest.fixture
def root(tmp_path: Path) -> str:
    return str(tmp_path)


def refusal(*argv: str, **environ: str) -> str:
    """What the operator is told."""
    with pytest.raises(ConfigError) as refused:
        load(argv, environ)
    text = str(refused.value)
    assert "\n" not in text
    return text


# --- Defaults and layers --------------------------------------------------------------------------


def test_without_a_word_the_defaults_hold(root: str) -> None:
    found = load([root], {})

    assert found == config.Config(
        site=config.Site(
            root=os.fsencode(root),
            index=(b"index.html",),
            listing=False,
            dotfiles=False,
            symlinks=Symlinks.INSIDE,
            fields=b"Server: mpserve\r\n",
            replaced=frozenset({b"server"}),
        ),
        limits=Limits(request_line=8192, head=32768, fields=100),
        timeouts=config.Timeouts(
            header=10, keepalive=75, send=30, linger=5, graceful=30, coalesce=0.00025, idle_grace=5
        ),
        caches=config.Caches(octets=32 << 20, files=4000, valid=0),
        workers=usable_processors(),
        bind=(Address("127.0.0.1", 8000),),
        backlog=4096,
        max_connections=8192,
        access_log="-",
        log_format="combined",
        error_log="-",
        error_log_format="text",
        log_level="info",
        pid_file=None,
        admin=None,
        identity=None,
        sandbox=Demand.AUTO,
        upkeep=config.Upkeep(
            affinity=False, max_requests=0, max_rss=0, hang_timeout=20, shutdown_delay=0
        ),
    )


def test_every_setting_has_a_flag(root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    argv = [
        *("--workers", "3", "--bind", "8080", "--bind", "unix:/run/site.sock"),
        *("--index", "home.html", "--index", "index.htm", "--listing", "--dotfiles"),
        *("--symlinks", "none", "--header", "X-A: 1", "--server-header", "off"),
        *("--access-log", "off", "--log-format", "json"),
        *("--error-log", "errors", "--error-log-format", "json", "--log-level", "debug"),
        *("--max-request-line", "100", "--max-head", "2000", "--max-fields", "10"),
        *("--header-timeout", "1", "--keepalive-timeout", "2", "--send-timeout", "3"),
        *("--linger-timeout", "4", "--graceful-timeout", "0.5", "--backlog", "7"),
        *("--max-connections", "9"),
        *("--cache-size", "1", "--cache-files", "2", "--cache-valid", "3"),
        *("--user", "4711", "--group", "815", "--sandbox", "require"),
        *("--affinity", "--max-requests", "8", "--max-rss", "9"),
        *("--shutdown-delay", "5", "--hang-timeout", "6", "--coalesce", "0.007"),
        *("--pid-file", "pid", "--admin", "9090", "--any-root", root),
    ]

    assert load(argv, {}) == config.Config(
        site=config.Site(
            root=os.fsencode(root),
            index=(b"home.html", b"index.htm"),
            listing=True,
            dotfiles=True,
            symlinks=Symlinks.NONE,
            fields=b"X-A: 1\r\n",
            replaced=frozenset({b"x-a"}),
        ),
        limits=Limits(request_line=100, head=2000, fields=10),
        timeouts=config.Timeouts(
            header=1, keepalive=2, send=3, linger=4, graceful=0.5, coalesce=0.007
        ),
        caches=config.Caches(octets=1, files=2, valid=3),
        workers=3,
        bind=(Address("127.0.0.1", 8080), Address(path="/run/site.sock")),
        backlog=7,
        max_connections=9,
        access_log="off",
        log_format="json",
        error_log="errors",
        error_log_format="json",
        log_level="debug",
        pid_file="pid",
        admin=Address("127.0.0.1", 9090),
        identity=Identity("4711", 4711, 815, (815,)),
        sandbox=Demand.REQUIRE,
        upkeep=config.Upkeep(
            affinity=True, max_requests=8, max_rss=9, hang_timeout=6, shutdown_delay=5
        ),
    )


def test_every_setting_has_a_variable(root: str) -> None:
    environ = {
        "MPSERVE_ROOT": root,
        "MPSERVE_BIND": "8080\n:8081\n",
        "MPSERVE_LISTING": "on",
        "MPSERVE_KEEPALIVE_TIMEOUT": "2.5",
        "MPSERVE_HEADER": "X-A: 1\nX-B: 2",
    }

    found = load([], environ)

    assert found.bind == (Address("127.0.0.1", 8080), Address("", 8081))
    assert found.site.root == os.fsencode(root)
    assert found.site.listing
    assert found.site.fields == b"Server: mpserve\r\nX-A: 1\r\nX-B: 2\r\n"
    assert found.timeouts.keepalive == 2.5


def test_the_flag_beats_the_variable(root: str) -> None:
    environ = {
        "MPSERVE_ROOT": "/missing",
        "MPSERVE_BIND": "1\n2",
        "MPSERVE_WORKERS": "2",
        "MPSERVE_LISTING": "yes",
    }

    found = load(["--bind", "3", "--workers", "5", "--no-listing", root], environ)

    assert (found.bind, found.workers) == ((Address("127.0.0.1", 3),), 5)
    assert not found.site.listing


def test_a_variable_that_the_flag_beats_is_not_even_read(root: str) -> None:
    assert load(["--workers", "5", root], {"MPSERVE_WORKERS": "nonsense"}).workers == 5


def test_an_empty_variable_is_none(root: str) -> None:
    environ = {"MPSERVE_WORKERS": "", "MPSERVE_INDEX": "", "MPSERVE_LISTING": ""}

    assert load([root], environ) == load([root], {})


def test_variables_that_are_no_settings_are_let_be(root: str) -> None:
    # Kubernetes sets these for a service that is named mpserve.
    environ = {"MPSERVE_SERVICE_HOST": "10.0.0.1", "MPSERVE_PORT": "tcp://10.0.0.1:80"}

    assert load([root], environ) == load([root], {})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        *(("on", True), ("YES", True), ("true", True), ("1", True)),
        *(("off", False), ("No", False), ("false", False), ("0", False)),
    ],
)
def test_a_switch_in_the_environment(root: str, text: str, *, expected: bool) -> None:
    assert load([root], {"MPSERVE_DOTFILES": text}).site.dotfiles is expected


# --- What is refused says where it stood ----------------------------------------------------------

IN_1_1024_OR_AUTO = "must be a whole number from 1 to 1024, or auto, not"
IN_SECONDS = "must be a number of seconds above 0, 86400 at most, not"


@pytest.mark.parametrize(
    ("flag", "value", "complaint"),
    [
        ("--workers", "many", f"{IN_1_1024_OR_AUTO} 'many'"),
        ("--workers", "0", f"{IN_1_1024_OR_AUTO} '0'"),
        ("--workers", "1025", f"{IN_1_1024_OR_AUTO} '1025'"),
        ("--workers", "-1", f"{IN_1_1024_OR_AUTO} '-1'"),
        ("--workers", "", f"{IN_1_1024_OR_AUTO} ''"),
        ("--workers", "٣", f"{IN_1_1024_OR_AUTO} '٣'"),
        ("--workers", "1_0", f"{IN_1_1024_OR_AUTO} '1_0'"),
        ("--workers", "1" * 19, f"{IN_1_1024_OR_AUTO} '{'1' * 19}'"),
        ("--max-connections", "0", "must be a whole number from 1 to 1048576, not '0'"),
        ("--backlog", "0", "must be a whole number from 1 to 65535, not '0'"),
        ("--max-request-line", "63", "must be a whole number from 64 to 1048576, not '63'"),
        ("--max-head", "1023", "must be a whole number from 1024 to 16777216, not '1023'"),
        ("--max-fields", "0", "must be a whole number from 1 to 10000, not '0'"),
        ("--header-timeout", "0", f"{IN_SECONDS} '0'"),
        ("--keepalive-timeout", "-5", f"{IN_SECONDS} '-5'"),
        ("--send-timeout", "nan", f"{IN_SECONDS} 'nan'"),
        ("--linger-timeout", "inf", f"{IN_SECONDS} 'inf'"),
        ("--shutdown-delay", "86401", "must be a number of seconds from 0 to 86400, not '86401'"),
        ("--coalesce", "0.0101", "must be a number of seconds from 0 to 0.01, not '0.0101'"),
        ("--graceful-timeout", "86401", f"{IN_SECONDS} '86401'"),
        ("--graceful-timeout", "1e3", f"{IN_SECONDS} '1e3'"),
        ("--graceful-timeout", "30s", f"{IN_SECONDS} '30s'"),
        ("--symlinks", "some", "must be inside, none or any, not 'some'"),
        ("--user", "no such one", "'no such one': there is no such user"),
        ("--user", "4294967295", "'4294967295': there is no such user"),
        ("--group", "no such one", "'no such one': there is no such group"),
        ("--sandbox", "strong", "must be auto, require or off, not 'strong'"),
        ("--log-format", "apache", "must be combined, common or json, not 'apache'"),
        ("--log-level", "loud", "must be debug, info, warning or error, not 'loud'"),
        ("--index", "a/b", "must be the name of a file, without a slash, not 'a/b'"),
        ("--index", "..", "must be the name of a file, without a slash, not '..'"),
        ("--index", "", "must be the name of a file, without a slash, not ''"),
        ("--index", "a\0b", "must be the name of a file, without a slash, not 'a\\x00b'"),
        ("--access-log", "", "must be a path, - or off, not ''"),
        ("--error-log", "a\0", "must be a path or -, not 'a\\x00'"),
        ("--pid-file", "", "must be a path, not ''"),
    ],
)
def test_a_wrong_value_is_refused(root: str, flag: str, value: str, complaint: str) -> None:
    assert refusal(f"{flag}={value}", root) == f"{flag}: {complaint}"


def test_a_wrong_value_in_the_environment_is_refused_by_its_name_there(root: str) -> None:
    found = refusal(root, MPSERVE_MAX_HEAD="big")

    assert found == "MPSERVE_MAX_HEAD: must be a whole number from 1024 to 16777216, not 'big'"


def test_a_wrong_switch_in_the_environment_is_refused(root: str) -> None:
    assert (
        refusal(root, MPSERVE_LISTING="maybe") == "MPSERVE_LISTING: must be on or off, not 'maybe'"
    )


@pytest.mark.parametrize(
    ("argv", "complaint"),
    [
        pytest.param(
            ["--lsting", "/srv"], "--lsting: no such flag; did you mean --listing?", id="mistyped"
        ),
        pytest.param(
            ["--worker=4", "/srv"],
            "--worker: no such flag; did you mean --workers?",
            id="with =, and no abbreviations",
        ),
        pytest.param(["-x", "80"], "-x: no such flag; see --help", id="unknown short flag"),
        pytest.param(["--tls"], "--tls: no such flag; see --help", id="alike in its dashes alone"),
        pytest.param(
            ["--port=80"], "--port: no such flag; did you mean --bind?", id="as others call it"
        ),
        pytest.param(
            ["--directory", "/srv"],
            "--directory: no such flag; did you mean the argument ROOT?",
            id="what is no flag here",
        ),
        pytest.param(
            ["--listen", ":80"],
            "--listen: no such flag; did you mean --bind?",
            id="nearer in letters",
        ),
        pytest.param(["--proxy"], "--proxy: no such flag; see --help", id="far from all flags"),
        pytest.param(
            ["/srv", "/www"],
            "'/www': there is an argument already, and one is all there may be",
            id="two roots",
        ),
        pytest.param(["--bind"], "--bind: expected one argument", id="value missing"),
        pytest.param(["--listing=yes"], "--listing: takes no value", id="a switch with a value"),
        pytest.param(["--check=1"], "--check: takes no value", id="an action with a value"),
        pytest.param(
            ["--bind", "--listing"], "--bind: expected one argument", id="a flag for a value"
        ),
    ],
)
def test_a_command_line_that_makes_no_sense_is_refused(argv: list[str], complaint: str) -> None:
    assert refusal(*argv) == complaint


def test_what_others_call_a_thing_is_no_flag_of_ours_and_leads_to_one() -> None:
    flags = {each.flag for each in Settings.declarations()} | {"--check"}

    assert not flags & {f"--{name}" for name in ELSEWHERE}
    assert set(ELSEWHERE.values()) <= flags | {"the argument ROOT"}


# --- Addresses ------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", [":9090", "0.0.0.0:9090", "[::]:9090", "192.0.2.1:9", "host:9"])
def test_an_admin_address_that_others_can_reach_is_refused(root: str, text: str) -> None:
    assert "can be reached from elsewhere" in refusal(f"--admin={text}", root)


@pytest.mark.parametrize("text", ["9090", "localhost:9", "[::1]:9", "127.8.8.8:9", "unix:/run/a"])
def test_an_admin_address_is_local(root: str, text: str) -> None:
    assert load([f"--admin={text}", root], {}).admin == parse_address(text)


def test_the_admin_address_is_none_of_those_that_serve_files(root: str) -> None:
    found = refusal("--bind", "8000", "--admin", "127.0.0.1:8000", root)

    assert found == "--admin: 127.0.0.1:8000 serves files already (--bind)"


def test_nor_is_it_one_where_all_serve_files(root: str) -> None:
    found = refusal("--bind", ":8000", "--admin", "127.0.0.1:8000", root)

    assert found == "--admin: 127.0.0.1:8000 serves files already (--bind)"


@pytest.mark.parametrize(
    ("first", "second", "shown"),
    [
        pytest.param("8000", "127.0.0.1:8000", "127.0.0.1:8000", id="with and without its host"),
        pytest.param("[::1]:80", "[0::0:1]:80", "[::1]:80", id="two spellings of an IPv6 address"),
        pytest.param("unix:/a", "unix:/a", "unix:/a", id="Unix sockets"),
    ],
)
def test_an_address_twice_is_refused(root: str, first: str, second: str, shown: str) -> None:
    found = refusal("--bind", first, "--bind", second, root)

    assert found == f"--bind: {shown} is there twice"


@pytest.mark.parametrize("order", [1, -1])
def test_an_address_that_another_one_holds_is_refused(root: str, order: int) -> None:
    first, second = ("127.0.0.1:8000", ":8000")[::order]

    found = refusal("--bind", first, "--bind", second, root)

    assert found == "--bind: 127.0.0.1:8000 is a part of :8000"


def test_port_0_may_be_asked_for_twice(root: str) -> None:
    assert load(["--bind", "0", "--bind", "0", root], {}).bind == 2 * (Address("127.0.0.1", 0),)


# --- Response fields ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("argv", "fields", "replaced"),
    [
        pytest.param([], b"Server: mpserve\r\n", {b"server"}, id="none"),
        pytest.param(["--server-header", "off"], b"", set(), id="not even Server"),
        pytest.param(
            ["--server-header", " web/2 (x) "], b"Server: web/2 (x)\r\n", {b"server"}, id="a Server"
        ),
        pytest.param(
            ["--header", "SERVER: x"], b"SERVER: x\r\n", {b"server"}, id="Server as a field"
        ),
        pytest.param(
            ["--header", "server:x", "--server-header", "y"],
            b"server: x\r\n",
            {b"server"},
            id="Server both ways",
        ),
        pytest.param(
            ["--header", "Link: <a>", "--header", "link:\t<b> "],
            b"Server: mpserve\r\nLink: <a>\r\nlink: <b>\r\n",
            {b"server", b"link"},
            id="several of one name",
        ),
        pytest.param(
            ["--header", "X-Empty:"],
            b"Server: mpserve\r\nX-Empty: \r\n",
            {b"server", b"x-empty"},
            id="without a value",
        ),
        pytest.param(
            ["--header", "X: a: b; é \udcff"],
            b"Server: mpserve\r\nX: a: b; \xc3\xa9 \xff\r\n",
            {b"server", b"x"},
            id="every other byte as it was typed",
        ),
    ],
)
def test_response_fields(root: str, argv: list[str], fields: bytes, replaced: set[bytes]) -> None:
    site = load([*argv, root], {}).site

    assert (site.fields, set(site.replaced)) == (fields, replaced)


@pytest.mark.parametrize("name", [name.decode() for name in UNFIT_FIELDS])
def test_a_field_that_is_the_servers_own_affair_is_refused(root: str, name: str) -> None:
    field = name.title()

    assert refusal("--header", f"{field}: x", root).startswith(
        f"--header: {field} cannot be set: it"
    )


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        pytest.param("X", "must be a field as in 'Name: value', not 'X'", id="no colon"),
        pytest.param(": x", "must be a field as in 'Name: value', not ': x'", id="no name"),
        pytest.param(
            "X : x", "must be a field as in 'Name: value', not 'X : x'", id="space in the name"
        ),
        pytest.param(
            "É: x", "must be a field as in 'Name: value', not 'É: x'", id="name not in ASCII"
        ),
        pytest.param(
            "X: a\r\nDate: b", "there is a control character in 'a\\r\\nDate: b'", id="CRLF"
        ),
        pytest.param("X: a\rb", "there is a control character in 'a\\rb'", id="CR"),
        pytest.param("X: a\nb", "there is a control character in 'a\\nb'", id="LF"),
        pytest.param("X: a\0", "there is a control character in 'a\\x00'", id="NUL"),
        pytest.param("X: \x7f", "there is a control character in '\\x7f'", id="DEL"),
    ],
)
def test_what_is_no_field_is_refused(root: str, text: str, complaint: str) -> None:
    assert refusal("--header", text, root) == f"--header: {complaint}"


def test_a_server_header_cannot_forge_another_field(root: str) -> None:
    found = refusal("--server-header", "a\r\nX: b", root)

    assert found == "--server-header: there is a control character in 'a\\r\\nX: b'"


# --- The root -------------------------------------------------------------------------------------


def test_the_root_is_the_current_directory_by_default(
    root: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(root)

    assert load([], {}).site.root == os.fsencode(root)


def test_the_root_is_a_name_whose_links_stay(tmp_path: Path) -> None:
    (tmp_path / "release-1").mkdir()
    (tmp_path / "current").symlink_to("release-1")

    found = load([f"{tmp_path}/./current/"], {}).site.root

    assert found == os.fsencode(tmp_path / "current")


def test_two_dots_after_a_link_lead_where_the_kernel_says(tmp_path: Path) -> None:
    (tmp_path / "far" / "deep").mkdir(parents=True)
    (tmp_path / "link").symlink_to("far/deep")

    found = load([f"{tmp_path}/link/.."], {}).site.root

    assert os.path.samefile(found, tmp_path / "far")


def test_a_root_may_have_any_name(tmp_path: Path) -> None:
    root = os.fsencode(tmp_path) + b"/\xff\n"
    os.mkdir(root)

    assert load([os.fsdecode(root)], {}).site.root == root


def test_a_root_that_is_missing_is_refused() -> None:
    assert refusal("/missing/root") == "ROOT: '/missing/root': No such file or directory"


def test_a_root_from_the_environment_is_refused_by_its_name_there() -> None:
    found = refusal(MPSERVE_ROOT="/missing")

    assert found == "MPSERVE_ROOT: '/missing': No such file or directory"


def test_a_file_as_the_root_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.touch()

    assert refusal(str(file)) == f"ROOT: '{file}': Not a directory"


@pytest.fixture
def closed(tmp_path: Path) -> Iterator[Path]:
    """A directory that we have no right to look into, be we root, whom no mode keeps out."""
    tmp_path.chmod(0)
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    yield tmp_path
    os.seteuid(user)
    tmp_path.chmod(0o700)


def test_a_root_without_the_right_to_look_inside_is_refused(closed: Path) -> None:
    assert refusal(str(closed)) == f"ROOT: '{closed}': Permission denied"


def test_a_root_without_the_right_to_list_it_is_refused_for_a_listing(
    root: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Tests may run as root, whom no mode keeps out.
    monkeypatch.setattr(os, "access", lambda *_, effective_ids: not effective_ids)

    assert refusal("--listing", root) == f"ROOT: '{root}': no right to list it"
    assert load([root], {}).site.root == os.fsencode(root)


def test_a_current_directory_that_is_gone_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()

    assert refusal() == "ROOT: '.': No such file or directory"


def test_a_home_directory_is_refused(root: str) -> None:
    assert refusal(root, HOME=root) == (
        f"ROOT: '{root}' holds far more than a site; name a directory inside it, or say --any-root"
    )


def test_the_whole_file_system_is_refused() -> None:
    assert refusal("/").startswith("ROOT: '/' holds far more than a site;")


def test_any_root_allows_what_else_is_refused(root: str) -> None:
    assert load(["--any-root", root], {"HOME": root}).site.root == os.fsencode(root)


def test_a_directory_inside_a_home_is_fit_to_be_served(tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()

    found = load([str(tmp_path / "site")], {"HOME": str(tmp_path)}).site.root

    assert found == os.fsencode(tmp_path / "site")


@pytest.mark.parametrize("path", [b"/", b"/home", b"/home/someone", b"/root", b"/usr/..", b"//"])
def test_the_places_of_private_files(path: bytes) -> None:
    assert is_private(path, "")


@pytest.mark.parametrize("path", [b"/home/someone/site", b"/srv", b"/usr/share/doc", b"/rooted"])
def test_other_places(path: bytes) -> None:
    assert not is_private(path, "")


def test_a_link_to_a_home_is_a_home(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "link").symlink_to("home")

    assert is_private(os.fsencode(tmp_path / "link"), str(tmp_path / "home"))


def test_the_home_of_the_account_counts_whatever_the_variable_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)

    assert list(own_homes("/tmp/elsewhere")) == [b"/tmp/elsewhere", b"/root"]


def test_the_home_of_a_system_account_is_a_place_for_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 33)  # www-data, at home in /var/www

    assert list(own_homes("/var/www")) == []


def test_a_user_without_an_account_has_at_most_the_home_of_the_variable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 4_000_000_000)

    assert list(own_homes("")) == []


# --- Warnings -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        pytest.param(["--bind", ":80"], [], id="public, nothing shown"),
        pytest.param(["--listing", "--dotfiles"], [], id="shown to this machine only"),
        pytest.param(
            ["--bind", "8000", "--bind", ":80", "--listing"],
            ["--listing shows the names of all files to whoever reaches :80"],
            id="one public address among others",
        ),
        pytest.param(
            ["--bind", "[::]:80", "--dotfiles"],
            ["--dotfiles shows files like .env and .git to whoever reaches [::]:80"],
            id="dot-files",
        ),
    ],
)
def test_showing_much_to_everyone_earns_a_warning(
    root: str, argv: list[str], expected: list[str]
) -> None:
    assert warnings(load([*argv, root], {})) == expected


# --- Who the workers are --------------------------------------------------------------------------


def test_a_user_brings_all_its_groups(root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    known = pwd.getpwnam("nobody")
    monkeypatch.setattr(os, "getgrouplist", lambda name, gid: [gid, 815])

    expected = Identity("nobody", known.pw_uid, known.pw_gid, (known.pw_gid, 815))
    assert load([root, "--user", "nobody"], {}).identity == expected
    assert load([root, "--user", str(known.pw_uid)], {}).identity == expected


def test_a_group_takes_the_place_of_all_of_them(root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    found = load([root, "--user", "nobody", "--group", "root"], {}).identity

    assert found == Identity("nobody", pwd.getpwnam("nobody").pw_uid, 0, (0,))


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--group", "0"], "--group: only with --user"),
        (["--user", "4711"], "--user: 4711 has no entry, so --group must say its group"),
    ],
)
def test_who_is_only_half_named_is_refused(root: str, words: list[str], complaint: str) -> None:
    assert refusal(root, *words) == complaint


def test_only_root_can_become_somebody_else(root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 4711)

    assert refusal(root, "--user", "nobody") == "--user: only root can become nobody"


def test_who_is_that_user_already_has_nothing_to_give_up(
    root: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = pwd.getpwnam("nobody")
    monkeypatch.setattr(os, "geteuid", lambda: known.pw_uid)
    monkeypatch.setattr(os, "getegid", lambda: known.pw_gid)

    assert load([root, "--user", "nobody"], {}).identity is None

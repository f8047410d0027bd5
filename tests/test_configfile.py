"""The configuration file: what it gives, and how the operator is told what is wrong with it, and where."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from mpserve import cli
from mpserve.config import Address, Config, ConfigError, Symlinks, load
from mpserve.configfile import MAX_SIZE, lines_of_keys

TOP = Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory to serve, which is the current one: files are named as an operator would."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(text: str | bytes, name: str = "site.toml") -> str:
    Path(name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return name


def loaded(text: str, *argv: str, **environ: str) -> Config:
    return load(["--config", write(text), *argv], environ)


def refusal(text: str | bytes) -> str:
    """What the operator is told."""
    with pytest.raises(ConfigError) as refused:
        load(["--config", write(text)], {})
    complaint = str(refused.value)
    assert complaint.isprintable()
    return complaint


# --- Layers ---------------------------------------------------------------------------------------


def test_a_flag_beats_the_environment_which_beats_the_file_which_beats_the_default() -> None:
    found = loaded(
        "header_timeout = 1\nsend_timeout = 1\nlinger_timeout = 1",
        *("--header-timeout", "3"),
        MPSERVE_HEADER_TIMEOUT="2",
        MPSERVE_SEND_TIMEOUT="2",
    ).timeouts

    assert (found.header, found.send, found.linger, found.keepalive) == (3, 2, 1, 75)


def test_a_switch_that_the_file_turns_on_is_turned_off_by_a_flag() -> None:
    assert loaded("listing = true", "--no-listing").site.listing is False


def test_what_a_flag_gives_takes_the_place_of_the_whole_array() -> None:
    assert loaded('bind = [":81", ":82"]', "--bind", ":80").bind == (Address("", 80),)


def test_the_environment_may_name_the_file_and_a_flag_another() -> None:
    write("workers = 3", "three.toml")
    write("workers = 4", "four.toml")
    environ = {"MPSERVE_CONFIG": "three.toml"}

    assert load([], environ).workers == 3
    assert load(["--config", "four.toml"], environ).workers == 4


def test_paths_in_the_file_start_where_those_of_flags_do(root: Path) -> None:
    Path("public").mkdir()
    Path("etc").mkdir()
    write('root = "public"\npid_file = "run.pid"', "etc/site.toml")

    found = load(["--config", "etc/site.toml"], {})

    assert (found.site.root, found.pid_file) == (os.fsencode(root / "public"), "run.pid")


# --- Values ---------------------------------------------------------------------------------------


def test_values_are_written_as_toml_has_them() -> None:
    found = loaded(
        """
        "workers" = 0x03
        bind = [
            "127.0.0.1:8080",   # for the balancer
            "unix:/run/a.sock",
            9000,
        ]
        index = 'home.html'
        listing = true
        dotfiles = false
        symlinks = "none"
        header = ["X-A: 1", "X-B: 2"]
        cache_size = 1_000_000
        keepalive_timeout = 2.5
        cache_valid = 0.0
        """
    )

    assert found.workers == 3
    assert list(map(str, found.bind)) == ["127.0.0.1:8080", "unix:/run/a.sock", "127.0.0.1:9000"]
    assert (found.site.index, found.site.listing) == ((b"home.html",), True)
    assert found.site.symlinks is Symlinks.NONE
    assert found.site.fields == b"Server: mpserve\r\nX-A: 1\r\nX-B: 2\r\n"
    assert found.caches.octets == 1_000_000
    assert (found.timeouts.keepalive, found.caches.valid) == (2.5, 0)


def test_the_text_that_a_flag_would_take_serves_too() -> None:
    found = loaded('workers = "2"\nlisting = "on"\nkeepalive_timeout = "2.5"')

    assert (found.workers, found.site.listing, found.timeouts.keepalive) == (2, True, 2.5)


def test_the_documented_example_is_what_holds_without_a_file() -> None:
    page = (TOP / "docs" / "settings.md").read_text("utf-8")
    example = page.rpartition("```toml\n")[2].partition("```")[0]

    assert loaded(example) == load([], {})


# --- Refusals -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        pytest.param(
            "workers = 2\n\nkeep_alive_timeout = 60",
            "3: keep_alive_timeout: no such setting; did you mean keepalive_timeout?",
            id="a name that is almost one",
        ),
        pytest.param(
            "keepalive-timeout = 60",
            "1: keepalive-timeout: no such setting; did you mean keepalive_timeout?",
            id="the name of the flag",
        ),
        pytest.param(
            "MAX_HEAD = 4096", "1: MAX_HEAD: no such setting; did you mean max_head?", id="capitals"
        ),
        pytest.param("zzz = 1", "1: zzz: no such setting", id="a name that is like none"),
        pytest.param('config = "b"', "1: config: no such setting", id="another file"),
        pytest.param(
            '"a\\nb" = 1', "1: 'a\\nb': no such setting", id="a name that would break the line"
        ),
        pytest.param(
            "\n[logs]\nlog_level = 'info'",
            "2: logs: no such setting; settings stand outside of tables",
            id="a table",
        ),
        pytest.param(
            "[[bindings]]",
            "1: bindings: no such setting; settings stand outside of tables",
            id="tables",
        ),
        pytest.param(
            "header = [\n  'X: 1',\n]\ntimeouts.send = 3",
            "4: timeouts: no such setting; settings stand outside of tables",
            id="a dotted key, after an array of several lines",
        ),
        pytest.param(
            "[header]\nX = '1'",
            "1: header: must be a field as in 'Name: value', not a table",
            id="a table with the name of a setting",
        ),
        pytest.param(
            "workers = true",
            "1: workers: must be a whole number from 1 to 1024, or auto, not true",
            id="a boolean for a number",
        ),
        pytest.param("root = true", "1: root: must be a path, not true", id="a boolean for a path"),
        pytest.param(
            "listing = 2", "1: listing: must be on or off, not '2'", id="a number for a switch"
        ),
        pytest.param(
            "workers = 2.0",
            "1: workers: must be a whole number from 1 to 1024, or auto, not '2.0'",
            id="a fraction for a whole number",
        ),
        pytest.param(
            "send_timeout = -1",
            "1: send_timeout: must be a number of seconds above 0, 86400 at most, not '-1'",
            id="a number below what is allowed",
        ),
        pytest.param(
            "send_timeout = inf",
            "1: send_timeout: must be a number of seconds above 0, 86400 at most, not 'inf'",
            id="infinity",
        ),
        pytest.param(
            "workers = [2]",
            "1: workers: must be a whole number from 1 to 1024, or auto, not an array",
            id="an array for one value",
        ),
        pytest.param(
            "index = ['a', ['b']]",
            "1: index: must be the name of a file, without a slash, not an array",
            id="an array in an array",
        ),
        pytest.param(
            "bind = []",
            "1: bind: an empty array; without the line the default holds",
            id="an empty array",
        ),
        pytest.param(
            "root = 2026-11-20", "1: root: must be a path, not a date or a time", id="a date"
        ),
        pytest.param(
            "listing = true\nheader = [\n'X: 1',\n'Date: 2']",
            "2: header: Date cannot be set: it is made anew for each answer",
            id="a value among several that are right",
        ),
        pytest.param(
            "workers = 1\nbind = [':80', ':80']",
            "2: bind: :80 is there twice",
            id="an address twice",
        ),
        pytest.param(
            "root = '/missing'",
            "1: root: '/missing': No such file or directory",
            id="a root that is not there",
        ),
        pytest.param("workers = 1\nworkers = 2", "2: Cannot overwrite a value", id="a key twice"),
        pytest.param("workers = 1\nbind =\n", "2: Invalid value", id="no value"),
        pytest.param("workers = 1\nindex = [", "2: Invalid value", id="an array without an end"),
        pytest.param('root = "a\nb"', "1: Illegal character '\\n'", id="a line feed in a string"),
        pytest.param(b"workers = 1\n\n# \xff", "3: not UTF-8", id="not UTF-8"),
    ],
)
def test_what_is_wrong_is_told_with_file_and_line(text: str | bytes, complaint: str) -> None:
    assert refusal(text) == f"site.toml:{complaint}"


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("workers = " + "1" * 5000, id="digits"),
        pytest.param("index = " + "[" * 20_000, id="brackets"),
    ],
)
def test_what_is_too_much_for_the_parser_is_refused_in_a_line(text: str) -> None:
    assert refusal(text).startswith("site.toml")


def test_the_line_of_a_key_is_that_where_it_begins() -> None:
    text = 'a = """\n\nb = 1\n"""\n# c = 1\n\nd = [\n  "]",  # ]\n  \'"\',\n]\r\n"e f" = 1\n[g]\nh = 2\n'

    found = lines_of_keys(text)

    assert found == {"a": 1, "d": 7, "e f": 11, "g": 12, "h": 13}


def test_a_long_array_is_not_parsed_anew_for_each_of_its_lines(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    parsed: list[str] = []
    parse = tomllib.loads

    def note(text: str) -> dict[str, object]:
        parsed.append(text)
        return parse(text)

    monkeypatch.setattr(tomllib, "loads", note)
    lines = "".join(f'  "X-{number}: of a thousand",\n' for number in range(1000))

    assert lines_of_keys(f"header = [\n{lines}]\nbind = 80\n") == {"header": 1, "bind": 1003}
    assert len(parsed) < 10


# --- Files ----------------------------------------------------------------------------------------


def refusal_of_file(*argv: str, **environ: str) -> str:
    with pytest.raises(ConfigError) as refused:
        load(argv, environ)
    return str(refused.value)


def test_a_file_that_is_missing_is_refused_by_the_name_of_what_named_it() -> None:
    missing = "'no.toml': No such file or directory"

    assert refusal_of_file("--config", "no.toml") == f"--config: {missing}"
    assert refusal_of_file(MPSERVE_CONFIG="no.toml") == f"MPSERVE_CONFIG: {missing}"


def test_a_directory_is_refused(root: Path) -> None:
    assert refusal_of_file("--config", str(root)) == f"--config: {str(root)!r}: Is a directory"


def test_a_pipe_is_refused_and_keeps_nobody_waiting() -> None:
    os.mkfifo("pipe.toml")

    assert refusal_of_file("--config", "pipe.toml") == "pipe.toml: not a regular file"


def test_a_socket_is_refused() -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind("a.sock")

        refused = refusal_of_file("--config", "a.sock")

    assert refused == "--config: 'a.sock': No such device or address"


def test_a_file_as_large_as_no_configuration_is_refused() -> None:
    assert (
        refusal(b"#" * MAX_SIZE + b"\n")
        == f"site.toml: a configuration has {MAX_SIZE} bytes at most"
    )


def test_a_link_to_a_file_is_followed() -> None:
    Path("current.toml").symlink_to(write("workers = 3"))

    assert load(["--config", "current.toml"], {}).workers == 3


# --- The command ----------------------------------------------------------------------------------


def test_check_reads_the_file(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--check", "--config", write("workers = 3\nbind = 80")]) == 0

    said = capsys.readouterr().out
    assert said == f"mpserve: all is well: {str(root)!r} on 127.0.0.1:80, workers: 3\n"


def test_the_command_refuses_a_wrong_file_in_one_line() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mpserve", "--config", write("port = 80")],
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": str(TOP)},
    )

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("mpserve: error: site.toml:1: port: no such setting")
    assert done.stderr.count("\n") == 1

"""Addresses: how they are written, and who can reach them."""

from __future__ import annotations

import pytest

from mpserve.address import Address, parse_address
from mpserve.kinds import ADDRESS
from mpserve.settings import ConfigError


@pytest.mark.parametrize(
    ("text", "expected", "shown"),
    [
        ("8000", Address("127.0.0.1", 8000), "127.0.0.1:8000"),
        ("0", Address("127.0.0.1", 0), "127.0.0.1:0"),
        (":8000", Address("", 8000), ":8000"),
        ("0.0.0.0:80", Address("0.0.0.0", 80), "0.0.0.0:80"),
        ("localhost:65535", Address("localhost", 65535), "localhost:65535"),
        ("web_1.internal:80", Address("web_1.internal", 80), "web_1.internal:80"),
        ("[::1]:8000", Address("::1", 8000), "[::1]:8000"),
        ("[::]:8000", Address("::", 8000), "[::]:8000"),
        ("[0:0::1]:8000", Address("::1", 8000), "[::1]:8000"),
        ("[fe80::1%eth0]:80", Address("fe80::1%eth0", 80), "[fe80::1%eth0]:80"),
        ("unix:/run/a:1.sock", Address(path="/run/a:1.sock"), "unix:/run/a:1.sock"),
    ],
)
def test_an_address(text: str, expected: Address, shown: str) -> None:
    found = parse_address(text)

    assert (found, str(found)) == (expected, shown)


FORMS = "must be HOST:PORT, [IPv6]:PORT, PORT, :PORT or unix:/path, not"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        pytest.param("", f"{FORMS} ''", id="nothing"),
        pytest.param(":", f"{FORMS} ':'", id="no port after the colon"),
        pytest.param("65536", f"{FORMS} '65536'", id="port too large"),
        pytest.param("host:+80", f"{FORMS} 'host:+80'", id="port with a sign"),
        pytest.param("host:٣", f"{FORMS} 'host:٣'", id="port in other digits"),
        pytest.param("*:80", f"{FORMS} '*:80'", id="star"),
        pytest.param("-h:80", f"{FORMS} '-h:80'", id="name that begins with a hyphen"),
        pytest.param("a b:80", f"{FORMS} 'a b:80'", id="space in the name"),
        pytest.param("256.0.0.1:80", f"{FORMS} '256.0.0.1:80'", id="IPv4 out of range"),
        pytest.param("127.1:80", f"{FORMS} '127.1:80'", id="IPv4 cut short"),
        pytest.param("[::g]:80", f"{FORMS} '[::g]:80'", id="IPv6 with a wrong digit"),
        pytest.param("[127.0.0.1]:80", f"{FORMS} '[127.0.0.1]:80'", id="IPv4 in brackets"),
        pytest.param(
            "http://a:80",
            f"{FORMS} 'http://a:80'",
            id="URL",
        ),
        pytest.param(
            "::1:80", "'::1:80': an IPv6 address stands in brackets, as in [::1]:8000", id="IPv6"
        ),
        pytest.param(
            "localhost", "'localhost' has no port; did you mean localhost:8000?", id="name"
        ),
        pytest.param("10.0.0.1", "'10.0.0.1' has no port; did you mean 10.0.0.1:8000?", id="IPv4"),
        pytest.param("unix:", f"{FORMS} 'unix:'", id="no path"),
        pytest.param("unix:run/a", f"{FORMS} 'unix:run/a'", id="relative path"),
        pytest.param(
            "unix:/" + "a" * 96,
            f"'/{'a' * 96}': a Unix socket's path has 96 bytes at most",
            id="path too long",
        ),
    ],
)
def test_what_is_no_address_is_refused(text: str, complaint: str) -> None:
    with pytest.raises(ConfigError) as refused:
        ADDRESS.read(text)

    assert str(refused.value) == complaint


@pytest.mark.parametrize(
    ("text", "public"),
    [
        (":80", True),
        ("0.0.0.0:80", True),
        ("[::]:80", True),
        ("192.168.0.1:80", True),
        ("www.example.org:80", True),
        ("127.0.0.1:80", False),
        ("127.8.8.8:80", False),
        ("[::1]:80", False),
        ("localhost:80", False),
        ("unix:/run/a", False),
    ],
)
def test_a_public_address_is_one_that_others_may_reach(text: str, *, public: bool) -> None:
    assert parse_address(text).public is public


@pytest.mark.parametrize(
    ("every", "one", "covered"),
    [
        (":80", "127.0.0.1:80", True),
        (":80", "[::1]:80", True),
        (":80", "0.0.0.0:80", True),
        (":80", "www.example.org:80", True),
        (":80", "127.0.0.1:81", False),
        (":0", "127.0.0.1:0", False),
        (":80", ":80", False),  # that is the same one
        (":80", "unix:/run/a", False),
        ("unix:/run/a", "127.0.0.1:80", False),
        ("0.0.0.0:80", "192.0.2.1:80", True),
        ("0.0.0.0:80", "[::1]:80", False),
        ("0.0.0.0:80", "[::]:80", False),
        ("0.0.0.0:80", ":80", False),
        ("0.0.0.0:80", "localhost:80", False),
        ("[::]:80", "[::1]:80", True),
        ("[::]:80", "127.0.0.1:80", False),
        ("[::]:80", "0.0.0.0:80", False),
        ("127.0.0.1:80", "127.0.0.2:80", False),
    ],
)
def test_every_address_covers_one(every: str, one: str, *, covered: bool) -> None:
    assert parse_address(every).covers(parse_address(one)) is covered

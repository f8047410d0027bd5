"""The workloads: what is asked, and what every server has to answer before it is timed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from loadtests.benchmark import tree

AUTHORITY = "www.example.com"
BROWSER_ACCEPTS = (
    "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,"
    "*/*;q=0.8"
)


@dataclass(frozen=True, slots=True)
class Ask:
    """One request, and the content of its answer; None where each server words its own."""

    target: str
    content: bytes | None
    fields: tuple[str, ...] = ()

    def head(self, more: tuple[str, ...] = ()) -> bytes:
        """The request as it goes out."""
        lines = (f"GET {self.target} HTTP/1.1", f"Host: {AUTHORITY}", *self.fields, *more)
        return "".join(f"{line}\r\n" for line in (*lines, "")).encode()


@dataclass(frozen=True, slots=True)
class Workload:
    """A row of the benchmark."""

    name: str
    title: str
    asks: Callable[[], list[Ask]]
    status: int = 200
    depth: int = 1  # requests that go out together
    closing: bool = False  # a connection for each request
    conditional: bool = False  # with the validators of an earlier answer
    counted: bool = False  # a number of its own ends the last field of every request


def whole(name: str, *fields: str) -> list[Ask]:
    return [Ask(f"/{name}", tree.content(name, tree.SIZES[name]), fields)]


def browser() -> list[Ask]:
    """The head of a browser, about 700 octets, with as many agents and cookies as there are asks.

    A counter is appended to the cookie while the benchmark runs, so that no two requests are alike.
    """
    content = tree.content("hot.html", tree.SIZES["hot.html"])
    return [Ask("/hot.html", content, browser_fields(i)) for i in range(5000)]


def browser_fields(i: int) -> tuple[str, ...]:
    version = 100 + i % 50
    agent = (
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko)"
        f" Chrome/{version}.0.{6000 + i // 50}.{i * 7 % 250:03d} Safari/537.36"
    )
    return (
        "Connection: keep-alive",
        f'sec-ch-ua: "Google Chrome";v="{version}", "Chromium";v="{version}", "Not_A Brand";v="24"',
        "sec-ch-ua-mobile: ?0",
        'sec-ch-ua-platform: "Windows"',
        "Upgrade-Insecure-Requests: 1",
        f"User-Agent: {agent}",
        f"Accept: {BROWSER_ACCEPTS}",
        "Sec-Fetch-Site: same-origin",
        "Sec-Fetch-Mode: navigate",
        "Sec-Fetch-Dest: document",
        "Accept-Encoding: gzip, deflate, br, zstd",
        "Accept-Language: en-GB,en;q=0.9,de;q=0.8",
        f"Cookie: session={i * 2654435761 % 2**64:016x}{i:016x}; n=",
    )


def many() -> list[Ask]:
    """Every file of the many once, in an order that jumps between the directories."""
    names = [tree.MANY[i * 1009 % len(tree.MANY)] for i in range(len(tree.MANY))]
    return [Ask(f"/{name}", tree.content(name, tree.MANY_SIZE)) for name in names]


def part() -> list[Ask]:
    """One KiB from the middle of 100."""
    name, start, stop = "100k.jpg", 50 * tree.KIB, 51 * tree.KIB
    content = tree.content(name, tree.SIZES[name])[start:stop]
    return [Ask(f"/{name}", content, (f"Range: bytes={start}-{stop - 1}",))]


WORKLOADS: dict[str, Workload] = {
    row.name: row
    for row in (
        Workload("hot", "hot 1 KiB", lambda: whole("hot.html")),
        Workload("browser", "browser heads, all different", browser, counted=True),
        Workload("many", "many (2,000 files)", many),
        Workload(
            "close",
            "close (connection per request)",
            lambda: whole("hot.html", "Connection: close"),
            closing=True,
        ),
        Workload("10k", "10 KiB", lambda: whole("10k.css")),
        Workload("100k", "100 KiB", lambda: whole("100k.jpg")),
        Workload("1m", "1 MiB", lambda: whole("1m.bin")),
        Workload("missing", "missing", lambda: [Ask("/no/such/file.html", None)], status=404),
        Workload(
            "revalidate",
            "revalidate (304)",
            lambda: [Ask("/hot.html", b"")],
            status=304,
            conditional=True,
        ),
        Workload("range", "range (1 KiB of 100)", part, status=206),
        Workload("pipelined", "pipelined, 16 deep", lambda: whole("hot.html"), depth=16),
    )
}

"""Practice: what no RFC asks, every user expects, and some server or other has got wrong."""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from tests.conformance.case import should
from tests.conformance.expect import expect, expect_refused, expect_whole, require
from tests.conformance.rfc9110_12_content_negotiation import is_coded
from tests.conformance.rfc9110_17_security_considerations import be_quick
from tests.conformance.target import DIRECTORY, FILE, NotApplicable, Target, pipe
from tests.conformance.wrong_server import (
    BREAKS,
    FINDS_NOTHING,
    Fault,
    Request,
    answers,
    behaves,
    garbles,
    says,
)
from tests.harness import corpus
from tests.harness.reader import Defect, Faulty

# Redirects


@should(
    says(b"Location", b"/with-index/", 308),
    rows={"a word": "?x", "a form": "?a=b&c=%20d", "escapes": "?%2e%2e%2f", "unusual": "?a?b/c"},
)
def a_redirect_keeps_the_query(target: Target, query: str) -> None:
    """Practice: a directory that is asked for without its slash redirects, and keeps the query."""
    answer = target.get(DIRECTORY + query)
    if answer.status == 200:
        raise NotApplicable("the server does not redirect to the slash")

    location = answer.get(b"location") or b""
    require(location.endswith(b"/with-index/" + query.encode()), f"Location is {location!r}")


def trusts(request: Request, octets: bytes) -> bytes:
    field = b"\r\nLocation: //evil.example.org/\r\nDate:"
    return octets.replace(b"\r\nDate:", field).replace(b" 404 ", b" 308 ")


@should(
    Fault("redirects to where it is told", wire=trusts),
    rows={
        "two slashes": "//evil.example.org/..",
        "two slashes, escaped dots": "//evil.example.org/%2e%2e",
        "two slashes, escaped slash": "//evil.example.org/..%2f",
        "three slashes": "///evil.example.org/%2e%2e",
        "a backslash": "/\\evil.example.org/%2e%2e",
        "an escaped backslash": "/%5cevil.example.org/%2e%2e",
        "a directory of ours": "//evil.example.org/../with-index",
        "two slashes before a directory of ours": "//with-index",
        "an at": "/@evil.example.org/%2e%2e",
    },
)
def no_redirect_leads_to_another_host(target: Target, path: str) -> None:
    """Practice: a Location that begins with two slashes is another host's; nobody makes one of what
    a stranger wrote into a path.
    """
    answer = target.attempt(target.request(path))
    location = (answer.get(b"location") if answer else None) or b"/"

    foreign = location.startswith((b"//", b"/\\", b"http://evil", b"https://evil"))
    require(not foreign, f"Location is {location!r}")


# Names


@should(
    answers(200, instead_of=404),
    rows={"a file": "/sizes/1000.bin/", "a page": "/index.html/", "with more": "/index.html/more"},
)
def a_file_is_no_directory(target: Target, path: str) -> None:
    """Practice: a file that is asked for with a slash behind it is not there, or somewhere else."""
    expect_refused(target.get(path))


@should(
    BREAKS,
    rows={
        "with files": "/without-index/",
        "without files": "/empty/",
        "whose index is a directory": "/index-is-a-directory/",
        "of links": "/links/",
    },
)
def a_directory_without_an_index_is_listed_or_refused(target: Target, path: str) -> None:
    """Practice: a directory without an index file is no reason to fail."""
    expect(target.get(path), 200, 301, 302, 307, 308, 403, 404)


@should(FINDS_NOTHING)
def the_well_known_directory_is_served(target: Target) -> None:
    """Practice: /.well-known/ is where certificates and contacts are looked for (RFC 8615), however
    other names with a dot are treated.
    """
    path = "/.well-known/security.txt"

    expect_whole(target.get(path), path)


@should(
    answers(500, instead_of=404),
    rows={"dangling": "/links/dangling.txt", "loop": "/links/loop.txt"},
)
def a_link_that_leads_nowhere_is_not_there(target: Target, path: str) -> None:
    """Practice: a symbolic link to nothing, or to itself, is a missing file, not a failure."""
    expect(target.get(path), 404, 403)


LINKS = {path.decode(): path for path in corpus.THROUGH_LINKS}


@should(answers(500, instead_of=200), rows=LINKS)
def a_link_within_the_root_is_followed_or_refused(target: Target, path: bytes) -> None:
    """Practice: who follows a symbolic link serves the file that it leads to."""
    answer = target.get(corpus.url(path))
    wanted = corpus.CORE[corpus.THROUGH_LINKS[path]].content()

    if answer.status == 200:
        require(answer.content == wanted, "the content is not that of the file it leads to")
    else:
        expect(answer, 403, 404)


@should(
    garbles("follows links out of the root", rb"^HTTP/1\.1 404", b"HTTP/1.1 200"),
    rows={path.decode(): path for path in corpus.LEADING_OUT},
)
def a_link_out_of_the_root_is_not_followed(target: Target, path: bytes) -> None:
    """Practice: a link that leads out of the root is not followed, unless somebody asked for it.

    Servers differ in what they do by default; it is asked of those that claim to be strict.
    """
    if not target.strict_static:
        raise NotApplicable("whether links are followed is a matter of configuration")

    expect_refused(target.get(corpus.url(path)))


@should(
    BREAKS,
    rows={"zero": "/times/epoch.txt", "one": "/times/one-second.txt", "2099": "/times/future.txt"},
)
def an_unusual_time_is_no_obstacle(target: Target, path: str) -> None:
    """Practice: some archives and images set all times to the epoch, and some clocks were wrong."""
    expect_whole(target.get(path), path)


# Pages


@should(
    garbles("shows what was asked for", rb"<title>", b"<script>alert(1)</script><title>"),
    rows={
        "in the path": "/<script>alert(1)</script>",
        "escaped": "/%3Cscript%3Ealert(1)%3C/script%3E",
        "in the query": "/no-such?<script>alert(1)</script>",
        "in a directory": "/sizes/%3Cscript%3Ealert(1)%3C/script%3E/",
    },
)
def an_error_page_runs_no_script_of_the_request(target: Target, path: str) -> None:
    """Practice: whatever an error page shows of a request, it is not taken for HTML."""
    answer = target.attempt(target.request(path))

    content = answer.content if answer else b""
    require(b"<script>alert(1)" not in content, "the page holds a script of the request")


@should(Fault("shows where it is", wire=lambda r, o: o.replace(b"<title>", b"<title>/tmp/")))
def an_error_page_does_not_show_the_file_system(target: Target) -> None:
    """Practice: nobody needs to know in which directory of the server a missing file is missing."""
    if target.root is None:
        raise NotApplicable("where the root lies is not known here")
    where = os.fsencode(target.root.resolve().parent)
    pages = [target.get(path).content for path in ("/no-such", "/sizes/no-such", "/empty/", "/%ff")]

    require(not any(where in page or b"/tmp/" in page for page in pages), "the page shows the path")


# Clients


@should(BREAKS)
def a_client_that_has_no_more_to_ask_gets_its_answer(target: Target) -> None:
    """Practice: a client that closes its half of the connection after the request, as `nc -N` does,
    still reads.
    """
    connection = target.connect()
    connection.send(target.request(FILE))
    connection.finish_sending()

    expect_whole(connection.read(target.request(FILE)), FILE)


@should(BREAKS)
def a_client_that_reads_slowly_gets_all(target: Target) -> None:
    """Practice: a client with a small window gets the whole file, as any other."""
    path = "/sizes/1048577.bin"
    connection = target.connect(window=4096)

    expect_whole(connection.ask(target.request(path)), path)
    connection.finish()


@should(BREAKS)
def a_client_that_leaves_harms_nobody(target: Target) -> None:
    """Practice: clients that leave in the middle of a file, and there are always some, are no
    reason to fail the next.
    """
    for _ in range(20):
        leaving = target.connect(window=4096)
        leaving.send(target.request("/sizes/1048577.bin"))
        leaving.sock.recv(100)
        leaving.sock.close()

    expect_whole(target.get(FILE), FILE)


# Files that change


BIG = 16 * 1024 * 1024


@contextmanager
def in_the_middle(
    target: Target, change: Callable[[Path], None]
) -> Iterator[Callable[[], tuple[int, bytes]]]:
    """A large file of zeros that is changed after its first octets have been read."""
    with target.scratch() as scratch:
        path = scratch.write("big.bin", bytes(BIG))
        connection = target.connect(window=65_536)
        taken = bytearray()
        changed = False

        def take(piece: memoryview) -> None:
            nonlocal changed
            if not changed:
                changed = True
                change(scratch.directory / "big.bin")
            taken.extend(piece)

        def result() -> tuple[int, bytes]:
            answer = connection.reader.read(sink=take)
            connection.finish()
            return answer.status, bytes(taken)

        connection.send(target.request(path))
        yield result


def grow(file: Path) -> None:
    with file.open("ab") as more:
        more.write(b"more" * 1000)


def replace(file: Path) -> None:
    other = file.with_name("other")
    other.write_bytes(b"other")
    other.replace(file)


@should(
    garbles("sends what was added as well", rb"\Z", b"more"),
    rows={"grows": grow, "is replaced": replace, "is deleted": Path.unlink},
)
def a_file_that_changes_while_it_is_sent_comes_as_it_was(
    target: Target, change: Callable[[Path], None]
) -> None:
    """Practice: exactly as many octets come as were announced, and they are those of the file that
    was opened, whatever becomes of its name.
    """
    with in_the_middle(target, change) as result:
        status, content = result()

    require((status, len(content)) == (200, BIG), f"{len(content)} octets came with {status}")
    require(not content.strip(b"\0"), "they are not the file's")


def shrink(file: Path) -> None:
    os.truncate(file, 1000)


@should(Fault("stops in the middle", wire=lambda request, octets: octets[:-1]))
def a_file_that_shrinks_while_it_is_sent_ends_the_connection(target: Target) -> None:
    """Practice: what was announced cannot be sent any more; the client must see that it is not all,
    and see it soon. Nothing is made up for the rest.
    """
    with in_the_middle(target, shrink) as result:
        try:
            _, content = result()
        except Faulty as fault:
            if fault.defect is not Defect.TRUNCATED:
                raise
            return

    require(not content.strip(b"\0"), "something else came for the rest")


@should(behaves("never looks again"))
def a_file_that_was_changed_is_served_anew(target: Target) -> None:
    """Practice: who changes a file and asks for it gets it as it is now."""
    with target.scratch() as scratch:
        path = scratch.write("page.html", b"first", age=500.0)
        expect(target.get(path), 200)
        scratch.write("page.html", b"second version", age=100.0)
        answer = target.get(path)

    require(answer.content == b"second version", "it is not as it is now")


@should(behaves("never looks again"))
def a_file_that_was_deleted_is_gone(target: Target) -> None:
    """Practice: who deletes a file and asks for it does not get it."""
    with target.scratch() as scratch:
        path = scratch.write("page.html", b"here")
        expect(target.get(path), 200)
        (scratch.directory / "page.html").unlink()

        expect(target.get(path), 404)


@should(behaves("never looks again"))
def a_file_that_was_made_is_there(target: Target) -> None:
    """Practice: who asks for a file that is not there, makes it and asks again, gets it."""
    with target.scratch() as scratch:
        path = scratch.path("page.html")
        expect(target.get(path), 404)
        scratch.write("page.html", b"here")

        expect(target.get(path), 200)


# Compressed forms beside a file


TEXT = b"text that is worth to be compressed\n" * 200
ACCEPTS = b"Accept-Encoding: gzip"


@contextmanager
def a_directory(place: Path) -> Iterator[None]:
    place.mkdir()
    yield


@contextmanager
def a_dangling_link(place: Path) -> Iterator[None]:
    place.symlink_to("nowhere")
    yield


@should(BREAKS, rows={"a directory": a_directory, "a pipe": pipe, "a link": a_dangling_link})
def what_is_no_compressed_form_is_none(
    target: Target, made: Callable[[Path], AbstractContextManager[None]]
) -> None:
    """Practice: something that has the name of a compressed form, and is no file, is left alone."""
    be_quick(target)
    with target.scratch() as scratch, made(scratch.directory / "text.txt.gz"):
        path = scratch.write("text.txt", TEXT)
        answer = target.get(path, ACCEPTS)

    expect(answer, 200)
    content = gzip.decompress(answer.content) if is_coded(answer) else answer.content
    require(content == TEXT, "the content is not the file's")


@should(garbles("tells another length to HEAD", rb"Content-Length: \d+", b"Content-Length: 1"))
def head_of_a_compressed_form_is_gets(target: Target) -> None:
    """Practice: HEAD tells the length and the tag of the form that GET would send."""
    with target.scratch() as scratch:
        path = scratch.write("text.txt", TEXT)
        scratch.write("text.txt.gz", gzip.compress(TEXT))
        got = expect(target.get(path, ACCEPTS), 200)
        head = expect(target.get(path, ACCEPTS, method=b"HEAD"), 200)

    length = head.get(b"content-length")
    require(length in (None, b"%d" % len(got.content)), f"Content-Length is {length!r}")
    for name in (b"content-encoding", b"etag", b"vary"):
        require(got.get(name) == head.get(name), f"{name.decode()} is another for HEAD")


@should(behaves("trusts what is old"))
def an_outdated_compressed_form_is_not_served(target: Target) -> None:
    """Practice: a compressed form that is older than the file was made from another content."""
    with target.scratch() as scratch:
        path = scratch.write("text.txt", TEXT, age=100.0)
        scratch.write("text.txt.gz", gzip.compress(b"what it was before"), age=9000.0)
        answer = expect(target.get(path, ACCEPTS), 200)

    content = gzip.decompress(answer.content) if is_coded(answer) else answer.content
    require(content == TEXT, "the content is what the file was before")

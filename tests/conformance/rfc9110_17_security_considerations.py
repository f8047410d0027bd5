"""RFC 9110 §17, Security considerations: names that lead out of the tree."""

from __future__ import annotations

import os
import socket

from tests.conformance.case import must
from tests.conformance.expect import expect_refused, require
from tests.conformance.target import NotApplicable, Target, pipe
from tests.conformance.wrong_server import Fault, Reply, Request, garbles

# What /etc/passwd and /etc/hosts begin with, wherever they are.
SECRETS = (b"root:", b"127.0.0.1")


def leaks(request: Request, reply: Reply) -> Reply:
    """Serves the file system, not the tree."""
    return Reply(200, reply.fields, b"root:x:0:0:root:/root:/bin/sh\n")


def be_quick(target: Target) -> None:
    """Do not wait long for a server that may itself be waiting: it holds up the other cases too."""
    if not target.strict_static:
        target.timeout = min(0.5, target.timeout)


UPWARDS = {
    "dots": "/../../../../../../../../etc/passwd",
    "dots, behind a directory": "/sizes/../../../../../../../../../etc/passwd",
    "dots, behind a name that is not there": "/no/../../../../../../../../../etc/passwd",
    "escaped dots": "/%2e%2e/%2e%2e/%2e%2e/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
    "half escaped dots": "/.%2e/%2e./.%2e/%2e./.%2e/%2e./.%2e/etc/passwd",
    "escaped slashes": "/..%2f..%2f..%2f..%2f..%2f..%2f..%2fetc%2fpasswd",
    "escaped slashes, behind a directory": "/sizes%2f..%2f..%2f..%2f..%2f..%2f..%2fetc%2fpasswd",
    "all escaped": "/%2e%2e%2f%2e%2e%2f%2e%2e%2f%2e%2e%2f%2e%2e%2f%2e%2e%2fetc%2fpasswd",
    "escaped twice": "/%252e%252e/%252e%252e/%252e%252e/%252e%252e/etc/passwd",
    "backslashes": "/..\\..\\..\\..\\..\\..\\etc\\passwd",
    "escaped backslashes": "/..%5c..%5c..%5c..%5c..%5c..%5cetc%5cpasswd",
    "overlong UTF-8": "/%c0%ae%c0%ae/%c0%ae%c0%ae/%c0%ae%c0%ae/%c0%ae%c0%ae/etc/passwd",
    "overlong slashes": "/..%c0%af..%c0%af..%c0%af..%c0%af..%c0%afetc/passwd",
    "wide dots": "/%ef%bc%8e%ef%bc%8e/%ef%bc%8e%ef%bc%8e/etc/passwd",
    "an absolute path": "//etc/passwd",
    "an absolute path, escaped": "/%2fetc%2fpasswd",
    "an absolute path behind a directory": "/sizes//etc/passwd",
    "dots with a parameter": "/..;/..;/..;/..;/etc/passwd",
    "dots with blanks": "/..%20/..%20/..%20/etc/passwd",
    "more dots": "/..../..../..../etc/passwd",
    "dots that are taken out": "/....//....//....//....//etc/passwd",
    "a NUL behind it": "/../../../../../../etc/passwd%00.html",
    "behind a query": "/?/../../../../../../etc/passwd",
    "dots that go on": "/" + "../" * 200 + "etc/passwd",
    "a scheme": "/file:///etc/passwd",
    "in the absolute-form": "http://example.org/../../../../../../etc/passwd",
    "the process itself": "/../../../../../../proc/self/environ",
}


@must(Fault("serves what lies outside of its root", reply=leaks), rows=UPWARDS)
def no_path_leads_out_of_the_root(target: Target, path: str) -> None:
    """RFC 9110 §17.3: "an origin server needs to avoid accessing names that have a special
    significance to the system when mapping the target resource to files, folders, or directories.
    For example, UNIX, Microsoft Windows, and other operating systems use ".." as a path component
    to indicate a directory level above the current one".
    """
    answer = target.attempt(target.request(path))

    content = b"" if answer is None else answer.content
    require(not content.startswith(SECRETS), "a file outside of the root was served")
    require(b"root:" not in content, "a file outside of the root was served")


@must(Fault("serves what lies outside of its root", reply=leaks))
def the_name_of_the_root_leads_nowhere(target: Target) -> None:
    """RFC 9110 §17.3: names on disk are not names in URIs: "an origin server needs to avoid
    accessing names that have a special significance to the system when mapping the target resource
    to files".
    """
    if target.root is None:
        raise NotApplicable("where the root lies is not known here")
    expect_refused(target.get(f"/../{target.root.name}/index.html"))


@must(
    garbles("cuts names at NUL", rb"^HTTP/1\.1 40\d", b"HTTP/1.1 200"),
    rows={
        "behind a name": "/sizes/1000.bin%00",
        "behind a name, with a suffix": "/sizes/1000.bin%00.html",
        "in a name": "/sizes/10%0000.bin",
        "alone": "/%00",
        "before a slash": "/sizes%00/1000.bin",
    },
)
def nul_is_no_part_of_a_name(target: Target, path: str) -> None:
    """RFC 9110 §17.3: "an origin server needs to avoid accessing names that have a special
    significance to the system": NUL ends a name for the system, and no file has it in its name.
    """
    expect_refused(target.attempt(target.request(path)))


@must(garbles("reads whatever has a name", rb"^HTTP/1\.1 404", b"HTTP/1.1 200"))
def a_pipe_is_not_served(target: Target) -> None:
    """RFC 9110 §17.3: systems "use specially named paths or file names to send data to system
    devices"; whoever opened this one to read would wait for ever.
    """
    be_quick(target)
    with target.scratch() as scratch, pipe(scratch.directory / "pipe"):
        expect_refused(target.get(scratch.path("pipe")))


@must(garbles("reads whatever has a name", rb"^HTTP/1\.1 404", b"HTTP/1.1 200"))
def a_socket_is_not_served(target: Target) -> None:
    """RFC 9110 §17.3: systems "use specially named paths or file names to send data to system
    devices"; nothing can be read from this one.
    """
    with target.scratch() as scratch, socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.fspath(scratch.directory / "socket"))
        expect_refused(target.get(scratch.path("socket")))

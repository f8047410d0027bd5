"""People read pages: a document and its ten assets on one persistent connection, then all of them once more.

The second visit asks with If-None-Match and If-Modified-Since, as a browser does, and most of it should end
in 304. This is what a static server does all day: small files, keep-alive, revalidation. What it finds:
validators that differ from worker to worker, content after a 304, and the latency of the ordinary.
"""

from __future__ import annotations

from locust import task

from loadtests.ask import Ask, Validators
from loadtests.strict_user import StrictUser
from tests.harness.corpus import ASSETS, PAGES, TREE, File


class BrowseUser(StrictUser):
    """Somebody who looks at one page after the other, each of them twice."""

    period = 2.0

    @task
    def visit(self) -> None:
        """One page, twice."""
        page = self.random.randrange(PAGES)
        seen = [(file, self.first_look(_first(file))) for file in _files(page)]
        for file, known in seen:
            if known is not None:
                self.ask(_again(file, known))


def _files(page: int) -> list[File]:
    names = ("index.html", *(name for name, _ in ASSETS))
    return [TREE[b"browse/%02d/%b" % (page, name.encode())] for name in names]


def _first(file: File) -> Ask:
    if file.path.endswith(b"/index.html"):
        return Ask("page", file.url.removesuffix("index.html"), file=file)
    return Ask("asset", file.url, file=file)


def _again(file: File, known: Validators) -> Ask:
    target = file.url.removesuffix("index.html")
    return Ask(
        "revalidation", target, statuses=(304, 200), fields=known.fields, file=file, known=known
    )

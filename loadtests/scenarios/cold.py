"""More files than anybody keeps open: four thousand small ones, asked for at random.

A server that caches descriptors answers the other scenarios from its cache. Here most requests miss it, so
entries are made and dropped all the time. What it finds: descriptors that leak, an entry dropped while it is
still being sent, and what a miss costs.
"""

from __future__ import annotations

from locust import task

from loadtests.ask import Ask
from loadtests.strict_user import StrictUser
from tests.harness.corpus import COLD_FILES, cold


class ColdUser(StrictUser):
    """Somebody with a list of unrelated files, such as a crawler."""

    period = 1.0
    FILES = 20  # per visit

    @task
    def visit(self) -> None:
        """Twenty files anywhere."""
        for place in self.random.sample(range(COLD_FILES), self.FILES):
            file = cold(place)
            if self.ask(Ask("cold file", file.url, file=file)) is None:
                return

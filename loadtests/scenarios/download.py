"""Large files, as fast as they come: 64 MiB each, every octet compared.

The measure is octets per second, and processor time per octet. What it finds: short writes handled wrongly,
offsets that slip when the socket is full, one fast client that holds up the others of its worker.
"""

from __future__ import annotations

from locust import task

from loadtests.ask import Ask
from loadtests.strict_user import StrictUser
from tests.harness.corpus import DOWNLOAD, TREE


class DownloadUser(StrictUser):
    """Somebody who fetches the image of a system."""

    period = 2.0

    @task
    def download(self) -> None:
        """One file, whole."""
        file = TREE[DOWNLOAD]
        self.ask(Ask("download", file.url, file=file))

"""A site in releases, those who read it, and the script of the guide that publishes it."""

from __future__ import annotations

import http.client
import os
import re
import shutil
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.deploy import units

RELEASE = units.DEPLOY / "releases" / "release"
PAGES = 5  # of each release, with an asset each
CLIENTS = 3  # threads


def release(site: Path, *words: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [RELEASE, *words],
        env={**os.environ, "SITE": str(site), **variables},
        capture_output=True,
        text=True,
        check=False,
    )


def build(folder: Path, number: int) -> Path:
    """What a generator would have made: pages that name assets with the content in their names."""
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "assets").mkdir(parents=True)
    for page in range(PAGES):
        asset = f"assets/{page}.{number}.js"
        (folder / f"{page}.html").write_text(f"release {number}: <script src=/{asset}></script>")
        (folder / asset).write_text(f"{page} of release {number}")
    return folder


class Client:
    """Somebody who reads pages, each with the asset that it names, on one connection."""

    def __init__(self, port: int) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        self.seen = Counter[str]()

    def get(self, path: str) -> str:
        self.connection.request("GET", path)
        response = self.connection.getresponse()
        text = response.read().decode()
        self.seen[str(response.status)] += 1
        return text

    def read(self, page: int) -> int:
        """The release that this page, and its asset, were of."""
        text = self.get(f"/{page}.html")
        found = re.fullmatch(r"release (\d+): <script src=(\S+)></script>", text)
        if found is None:
            self.seen[f"no page: {text[:40]!r}"] += 1
            return -1
        if self.get(found[2]) != f"{page} of release {found[1]}":
            self.seen["not its asset"] += 1
        return int(found[1])


@contextmanager
def reading(port: int) -> Iterator[list[Client]]:
    """Clients that read without a pause; whatever befalls them is counted."""
    clients = [Client(port) for _ in range(CLIENTS)]
    over = threading.Event()

    def read(client: Client) -> None:
        turn = 0
        while not over.is_set():
            try:
                client.read(turn % PAGES)
            except (OSError, http.client.HTTPException) as error:
                client.seen[repr(error)] += 1
            turn += 1

    threads = [threading.Thread(target=read, args=[client]) for client in clients]
    for thread in threads:
        thread.start()
    try:
        yield clients
    finally:
        over.set()
        for thread in threads:
            thread.join()
        for client in clients:
            client.connection.close()

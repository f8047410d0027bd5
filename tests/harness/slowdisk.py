"""A disk that answers when it is told to: a file system of our own (FUSE), whose lookups can be held.

It needs no library: the kernel's side of the protocol is a descriptor, and a handful of its requests do.
To mount it takes root.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import select
import stat
import struct
import threading
from pathlib import Path
from types import TracebackType
from typing import Final, Self

# <linux/fuse.h>
LOOKUP, FORGET, GETATTR, OPEN, READ, RELEASE = 1, 2, 3, 14, 15, 18
FLUSH, INIT, INTERRUPT, BATCH_FORGET = 25, 26, 36, 42
UNANSWERED: Final = frozenset({FORGET, BATCH_FORGET, INTERRUPT})
HEADER: Final = struct.Struct(
    "=IIQQIIII"
)  # length, opcode, unique, node, uid, gid, pid, extensions
ANSWER: Final = struct.Struct("=IiQ")  # length, error, unique
ATTRIBUTES: Final = struct.Struct("=QQQQQQIIIIIIIIII")
REQUEST_SIZE: Final = 1 << 17
ROOT: Final = 1  # the node that every file system begins with
FOREVER: Final = 1 << 30  # seconds that the kernel may remember an answer
MNT_DETACH: Final = 2
LONG_AGO: Final = 1_000_000_000  # epoch seconds

_libc = ctypes.CDLL(None, use_errno=True)


def can_mount() -> bool:
    """Whether such a file system can be mounted here."""
    return os.geteuid() == 0 and os.access("/dev/fuse", os.R_OK | os.W_OK)


class SlowDisk:
    """Files in one directory, mounted at `place`. While it is held, no lookup in it ends."""

    def __init__(self, place: Path, files: dict[str, bytes]) -> None:
        self.asked = threading.Event()  # a lookup has come while they are held
        self._place = place
        self._names = [name.encode() for name in files]
        self._contents = list(files.values())
        self._go_on = threading.Event()
        self._go_on.set()
        self._fd = -1
        self._end = os.eventfd(0, os.EFD_CLOEXEC)
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> Self:
        self._fd = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
        options = f"fd={self._fd},rootmode=40755,user_id=0,group_id=0,allow_other"
        place = os.fsencode(self._place)
        if _libc.mount(b"slowdisk", place, b"fuse.slowdisk", 0, options.encode()):
            code = ctypes.get_errno()
            os.close(self._fd)
            raise OSError(code, os.strerror(code))
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.release()
        _libc.umount2(os.fsencode(self._place), MNT_DETACH)
        # Who still has a file open keeps the file system; it ends with our descriptor.
        os.eventfd_write(self._end, 1)
        self._thread.join()
        os.close(self._fd)
        os.close(self._end)

    def hold(self) -> None:
        """From now on no lookup ends."""
        self._go_on.clear()

    def release(self) -> None:
        """Let all lookups end."""
        self._go_on.set()

    def _serve(self) -> None:
        """Answer until the end."""
        while self._end not in select.select([self._fd, self._end], [], [])[0]:
            try:
                request = os.read(self._fd, REQUEST_SIZE)
            except OSError as error:
                if error.errno in (errno.EINTR, errno.ENOENT):  # a request was taken back
                    continue
                return  # ENODEV: nobody has anything of it
            _, opcode, unique, node, *_ = HEADER.unpack_from(request)
            if opcode in UNANSWERED:
                continue
            code, octets = self._answer(opcode, node, request[HEADER.size :])
            head = ANSWER.pack(ANSWER.size + len(octets), -code, unique)
            with contextlib.suppress(OSError):  # who has asked may be gone
                os.write(self._fd, head + octets)

    def _answer(self, opcode: int, node: int, body: bytes) -> tuple[int, bytes]:
        """An error number, and what is answered."""
        if opcode == INIT:
            version = struct.pack("=IIIIHHIIHHI", 7, 31, 1 << 16, 0, 8, 8, 1 << 16, 1, 1, 0, 0)
            return 0, version.ljust(64, b"\0")
        if opcode == LOOKUP:
            return self._look_up(body.rstrip(b"\0"))
        if opcode == GETATTR:
            return 0, struct.pack("=QII", FOREVER, 0, 0) + self._attributes(node)
        if opcode == OPEN:
            return 0, struct.pack("=QII", 0, 0, 0)
        if opcode == READ:
            _, offset, size = struct.unpack_from("=QQI", body)
            return 0, self._content(node)[offset : offset + size]
        return (0, b"") if opcode in (FLUSH, RELEASE) else (errno.ENOSYS, b"")

    def _look_up(self, name: bytes) -> tuple[int, bytes]:
        if not self._go_on.is_set():
            self.asked.set()
            self._go_on.wait()
        if name not in self._names:
            return errno.ENOENT, b""
        node = ROOT + 1 + self._names.index(name)
        entry = struct.pack("=QQQQII", node, 0, FOREVER, FOREVER, 0, 0)
        return 0, entry + self._attributes(node)

    def _content(self, node: int) -> bytes:
        return self._contents[node - ROOT - 1] if node > ROOT else b""

    def _attributes(self, node: int) -> bytes:
        size = len(self._content(node))
        mode = stat.S_IFDIR | 0o755 if node == ROOT else stat.S_IFREG | 0o644
        times = (LONG_AGO, LONG_AGO, LONG_AGO)
        return ATTRIBUTES.pack(node, size, 1, *times, 0, 0, 0, mode, 1, 0, 0, 0, 4096, 0)

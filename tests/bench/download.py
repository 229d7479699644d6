"""Downloads: how fast beside curl, with how much memory, and how many bytes reach the disk."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from tests.bench.fetch_image import Fetched
from tests.bench.scale import Scale
from tests.bench.server import FileServer, file_server
from tests.bench.table import Of, Row, Target, Unit, interleaved

_PIPE: Final = 'set -o pipefail; curl --silent --show-error "$0" | tee "$1" | sha512sum'
# What the original did: to a temporary file, and from there into the store. What the commands wrote is counted into the
# shell that waited for them.
_COPY: Final = (
    'set -e; curl --silent --show-error --output "$1" "$0"; cp --reflink=never "$1" "$1.store"; cat /proc/$$/io'
)

# The share of curl's speed to be reached. TLS in Python decrypts one record of 16 KB at a time.
_SPEED: Final = {"http": 0.8, "https": 0.5}
# Bytes; the node has better use for its memory.
_MEMORY: Final = 60_000_000
# One times the size, and the journalled odds and ends of a file system's blocks.
_WRITTEN: Final = 1.01


def measure(scale: Scale, directory: Path) -> list[Row]:
    """All rows about downloads. *directory* must lie on a disk: what is written to memory is not counted."""
    file = directory / "image"
    content = hashlib.shake_128(b"image").digest(scale.image)
    file.write_bytes(content)
    digest = hashlib.sha512(content).hexdigest()
    del content
    rows = []
    fetched: list[Fetched] = []
    with file_server(file, directory) as server:
        work = _Work(server, digest, directory / "download")
        for scheme, speed in _SPEED.items():
            mine, theirs = interleaved(scale.downloads, partial(work.fetch, scheme), partial(work.pipe, scheme))
            fetched += mine
            rows.append(
                Row(
                    f"{scale.image / 1e6:g} MB over {scheme.upper()}: download, SHA-512, write",
                    Unit.MEGABYTES_A_SECOND,
                    [scale.image / each.seconds / 1e6 for each in mine],
                    "curl, tee, sha512sum",
                    [scale.image / each / 1e6 for each in theirs],
                    Target(Of.RATIO, speed, at_least=True),
                )
            )
        copied = [work.copy() for _ in fetched]
    rows.append(
        Row(
            "Peak memory of its process",
            Unit.MEGABYTES,
            [each.peak / 1e6 for each in fetched],
            "before the download",
            [each.idle / 1e6 for each in fetched],
            Target(Of.FIGURE, _MEMORY / 1e6),
        )
    )
    rows.append(
        Row(
            "Written to disk for it, until it is in the store",
            Unit.TIMES_ITS_SIZE,
            [each.written / scale.image for each in fetched],
            "curl, cp",
            [each / scale.image for each in copied],
            Target(Of.FIGURE, _WRITTEN),
        )
    )
    file.unlink()
    return rows


@dataclass(frozen=True, slots=True)
class _Work:
    """What is measured, in the empty folder *directory* each time."""

    server: FileServer
    digest: str
    directory: Path

    def fetch(self, scheme: str) -> Fetched:
        """torcxd's download."""
        command = [sys.executable, "-m", "tests.bench.fetch_image"]
        out = self._run([*command, self.server.urls[scheme], self.digest, str(self.directory)])
        return Fetched(**json.loads(out))

    def pipe(self, scheme: str) -> float:
        """curl's, in seconds."""
        self._clear()
        begun = time.perf_counter()
        out = self._run(["bash", "-c", _PIPE, self.server.urls[scheme], str(self.directory / "image")], clear=False)
        seconds = time.perf_counter() - begun
        if out.split()[0] != self.digest:
            raise RuntimeError("curl got something else")
        return seconds

    def copy(self) -> int:
        """What curl and cp write, in bytes."""
        out = self._run(["bash", "-c", _COPY, self.server.urls["http"], str(self.directory / "image")])
        return next(int(line.split()[1]) for line in out.splitlines() if line.startswith("write_bytes:"))

    def _run(self, command: list[str], *, clear: bool = True) -> str:
        if clear:
            self._clear()
        return subprocess.run(
            command, env=self.server.environment, check=True, stdout=subprocess.PIPE, text=True
        ).stdout

    def _clear(self) -> None:
        shutil.rmtree(self.directory, ignore_errors=True)
        self.directory.mkdir()
        # Nobody pays for what another one has left to be written.
        os.sync()

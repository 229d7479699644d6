"""torcxd's download of one image, in a process of its own so that the figures are its alone.

``python -m tests.bench.fetch_image URL DIGEST ROOT`` brings the image into staging and from there into a store below
ROOT, as the bootstrap does, and prints :class:`Fetched` as JSON.
"""

from __future__ import annotations

import json
import re
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import trio

from torcxd.addons.fetch import Download, Fetcher
from torcxd.addons.staging import Staging
from torcxd.addons.store import Store
from torcxd.http import HttpClient
from torcxd.lifecycle.catalog import Digest
from torcxd.paths import Layout

_OS_VERSION: Final = "1576.4.0"


@dataclass(frozen=True, slots=True)
class Fetched:
    """What a download took.

    :param seconds: from the call to the durable, verified file: connection, TLS and fsync included, the start of the
        interpreter not.
    :param idle: bytes of memory that the process had at most before the download.
    :param peak: likewise, to its end.
    :param written: bytes that the process sent to the disk, until the image was in the store.
    """

    seconds: float
    idle: int
    peak: int
    written: int


async def fetch(url: str, digest: Digest, root: Path) -> Fetched:
    """Download the image at *url*, place it, and tell."""
    layout = Layout(root)
    http = HttpClient()
    idle = _peak()
    begun = time.perf_counter()
    paths = await Fetcher(http, Staging(layout.staging)).fetch([Download(digest, (url,), "image")])
    seconds = time.perf_counter() - begun
    Store(layout, _OS_VERSION).place(paths[digest], _OS_VERSION, "docker", "17.03")
    await http.aclose()
    return Fetched(seconds, idle, _peak(), _own("io", "write_bytes"))


def _peak() -> int:
    # Not getrusage(2): what it calls the peak is the parent's where that was larger, since exec keeps it.
    return 1024 * _own("status", "VmHWM")


def _own(file: str, name: str) -> int:
    """A number that the kernel keeps of this process; proc(5)."""
    found = re.search(rf"^{name}:\s*(\d+)", Path(f"/proc/self/{file}").read_text(encoding="ascii"), re.MULTILINE)
    assert found is not None
    return int(found[1])


if __name__ == "__main__":
    _, _url, _digest, _root = sys.argv
    print(json.dumps(asdict(trio.run(fetch, _url, Digest("sha512", _digest), Path(_root)))))

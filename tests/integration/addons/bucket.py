"""A bucket that knows ranges, and can be told to misbehave for its next answers."""

from __future__ import annotations

import hashlib
import random
import re
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from torcxd.addons.fetch import Download
from torcxd.lifecycle.catalog import Digest
from torcxd.sandbox.http_faults import Ending, head, send_then
from torcxd.sandbox.http_server import RawBehaviour, Request, Response, Server, serve

ETAG = '"edition-1"'

Answer = Response | RawBehaviour
Fault = Callable[[Request], Answer]


def image(size: int, seed: int = 0) -> bytes:
    """Bytes that are the same in every run, and of which no two parts are equal."""
    return random.Random(seed).randbytes(size)


def digest(content: bytes) -> Digest:
    return Digest("sha512", hashlib.sha512(content).hexdigest())


@dataclass
class Bucket:
    """Objects by path, each with its entity tag.

    :ivar faults: by path, how to answer the next requests instead.
    :ivar server: where it listens; set by :func:`bucket`.
    """

    server: Server
    objects: dict[str, bytes] = field(default_factory=dict)
    etags: dict[str, str] = field(default_factory=dict)
    faults: dict[str, deque[Fault]] = field(default_factory=dict)

    def put(self, path: str, content: bytes, *, faults: tuple[Fault, ...] = (), etag: str = ETAG) -> Download:
        """Serve *content*; returns how to download it."""
        self.objects[path], self.etags[path] = content, etag
        self.faults[path] = deque(faults)
        return Download(digest(content), (self.server.url + path,), f"image {path}")

    def ranges(self) -> list[tuple[str | None, str | None]]:
        """``Range`` and ``If-Range`` of every request so far."""
        return [(each.headers.get("range"), each.headers.get("if-range")) for each in self.server.requests]

    async def answer(self, request: Request) -> Answer:
        if self.faults.get(request.path):
            return self.faults[request.path].popleft()(request)
        content = self.objects.get(request.path)
        if content is None:
            return Response(404)
        etag = self.etags[request.path]
        headers = {"ETag": etag} if etag else {}
        wanted = re.fullmatch(r"bytes=(\d+)-", request.headers.get("range", ""))
        if wanted is None or request.headers.get("if-range", etag) != etag:
            return Response(200, headers, content)
        start = int(wanted[1])
        if start >= len(content):
            return Response(416, {"Content-Range": f"bytes */{len(content)}"})
        headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        return Response(206, headers, content[start:])

    def cut_after(self, count: int, ending: Ending = Ending.CLOSE) -> Fault:
        """Begin as asked, and end the connection after *count* bytes of the body."""

        def fault(request: Request) -> Answer:
            content = self.objects[request.path]
            etag = self.etags[request.path]
            headers = {"ETag": etag} if etag else {}
            wanted = re.fullmatch(r"bytes=(\d+)-", request.headers.get("range", ""))
            start = int(wanted[1]) if wanted else 0
            headers["Content-Length"] = str(len(content) - start)
            if wanted:
                headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
            return send_then(head(206 if wanted else 200, headers) + content[start : start + count], ending)

        return fault


@asynccontextmanager
async def running_bucket() -> AsyncIterator[Bucket]:
    """A bucket on a port of its own."""
    box: list[Bucket] = []

    async def answer(request: Request) -> Answer:
        return await box[0].answer(request)

    async with serve(answer) as server:
        box.append(Bucket(server))
        yield box[0]

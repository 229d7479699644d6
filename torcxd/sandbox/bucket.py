"""A stand-in for the HTTPS bucket that publishes torcx addons: signed manifests and images, and every way to fail.

A manifest is made and signed when it is asked for, so it always names the bucket's present address and content.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Final
from urllib.parse import quote, unquote

import trio

from torcxd.sandbox.bucket_faults import Fault, spoil
from torcxd.sandbox.http_server import RawBehaviour, Request, Response, Server, serve
from torcxd.sandbox.images import TorcxImage
from torcxd.sandbox.keys import SigningKey
from torcxd.sandbox.tls import Authority

# Below "manifests/", as in the default of --torcx-manifest-url.
_MANIFEST: Final = re.compile(r"/manifests/(?P<board>[^/]+)/(?P<os>[^/]+)/torcx_manifest\.json(?P<signature>\.asc)?")
_RANGE: Final = re.compile(r"bytes=(\d+)-(\d*)")
# Small enough for an even flow at the lowest rates that make sense, large enough not to keep a processor busy.
_PIECE: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class Published:
    """What one OS version's manifest offers.

    :param images: to be downloaded; the first one is the default.
    :param vendored: versions that lie in the OS image's own store: the image, and its absolute path there.
    """

    images: tuple[TorcxImage, ...]
    vendored: tuple[tuple[TorcxImage, str], ...] = ()


@dataclass(frozen=True, slots=True)
class _Object:
    """An object's content and its strong validator, which is as the content is."""

    content: bytes
    etag: str

    @classmethod
    def of(cls, content: bytes) -> _Object:
        return cls(content, f'"{hashlib.sha256(content).hexdigest()[:32]}"')


@dataclass(slots=True)
class _Injected:
    """A fault, for the requests whose path contains *part*, *times* more times (None: for ever)."""

    part: str
    fault: Fault
    times: int | None
    after: int | None


@dataclass(slots=True)
class Bucket:
    """The bucket. Everything can be changed while it serves.

    :param key: signs the manifests; None leaves them unsigned.
    :param rate: bytes a second over each connection; None for as fast as it goes.
    :param ranges: whether Range requests are honoured.
    :param edit: changes a manifest before it is signed.
    :param authority: signs the server's certificate.
    :ivar url: where it serves, once it does.
    :ivar signed: what was signed so far: the key's fingerprint, the OS version, the manifest.
    """

    key: SigningKey | None
    rate: float | None = None
    ranges: bool = True
    edit: Callable[[dict[str, Any]], None] | None = None
    authority: Authority = field(default_factory=Authority)
    url: str = ""
    signed: set[tuple[str, str, bytes]] = field(default_factory=set)
    _published: dict[tuple[str, str], Published] = field(default_factory=dict)
    _objects: dict[str, _Object] = field(default_factory=dict)
    _faults: list[_Injected] = field(default_factory=list)
    _held: dict[str, trio.Event] = field(default_factory=dict)
    _signatures: dict[tuple[str, bytes], bytes] = field(default_factory=dict)

    @property
    def manifest_template(self) -> str:
        """The value for ``--torcx-manifest-url``."""
        return f"{self.url}/manifests/{{{{.Board}}}}/{{{{.OSVersion}}}}/torcx_manifest.json"

    def publish(
        self,
        board: str,
        os_version: str,
        *images: TorcxImage,
        vendored: Mapping[str, TorcxImage] | None = None,
    ) -> None:
        """Publish, or publish anew, the addons of one OS version.

        :param images: to be downloaded from here; the first is the manifest's default.
        :param vendored: images that lie in the OS image, by their absolute path there.
        """
        vendor = tuple((image, path) for path, image in (vendored or {}).items())
        self._published[board, os_version] = Published(images, vendor)
        self._objects.update({_image_path(board, image): _Object.of(image.data) for image in images})

    def withdraw(self, board: str, os_version: str) -> None:
        """The OS version's manifest is gone; images stay."""
        del self._published[board, os_version]

    def manifests(self) -> list[tuple[str, bytes]]:
        """What it publishes now: the OS version and its manifest, whoever signs it."""
        return [(version, self._manifest(board, found)) for (board, version), found in self._published.items()]

    def fail(self, part: str, fault: Fault, *, times: int | None = None, after: int | None = None) -> None:
        """Spoil the answers to requests whose path contains *part*, e.g. ``".asc"`` or ``"17.03.torcx.tgz"``.

        Faults are used in the order in which they were added.

        :param times: how many answers; None for all.
        :param after: how many good bytes come before the trouble; None for half of them.
        """
        self._faults.append(_Injected(part, fault, times, after))

    def hold(self, part: str) -> trio.Event:
        """Let requests whose path contains *part* wait for their answers until the event is set that is returned."""
        return self._held.setdefault(part, trio.Event())

    def heal(self) -> None:
        """Forget all faults."""
        self._faults.clear()

    @asynccontextmanager
    async def serve(self, port: int = 0) -> AsyncIterator[Server]:
        """Serve on 127.0.0.1 while the block runs. The server keeps the log of requests.

        :param port: 0 for any free one.
        """
        async with serve(self.handle, ssl_context=self.authority.server_context(), port=port) as server:
            self.url = server.url
            yield server

    async def handle(self, request: Request) -> Response | RawBehaviour:
        """Answer one request: the bucket, for another server than its own."""
        path = unquote(request.path)
        for held in [released for part, released in self._held.items() if part in path]:
            await held.wait()
        injected = next((each for each in self._faults if each.part in path and each.times != 0), None)
        if injected is None:
            return self._paced(await self._answer(request, path, None))
        if injected.times is not None:
            injected.times -= 1
        answer = await self._answer(request, path, injected.fault)
        return spoil(answer, injected.fault, injected.after)

    async def _answer(self, request: Request, path: str, fault: Fault | None) -> Response:
        if request.method not in {"GET", "HEAD"}:
            return Response(405, {"Allow": "GET, HEAD"})
        if match := _MANIFEST.fullmatch(path):
            published = self._published.get((match["board"], match["os"]))
            if published is None:
                return _not_found()
            manifest = self._manifest(match["board"], published)
            if match["signature"]:
                return await self._signature(match["os"], manifest, fault)
            return Response(200, {"Content-Type": "application/json"}, manifest)
        if path not in self._objects:
            return _not_found()
        return self._object(request, self._objects[path])

    def _manifest(self, board: str, published: Published) -> bytes:
        versions = [
            _version(image, {"url": f"{self.url}{quote(_image_path(board, image))}"}) for image in published.images
        ]
        versions += [_version(image, {"path": path}) for image, path in published.vendored]
        package = {
            "name": "docker",
            "defaultVersion": versions[0]["version"] if versions else "",
            "versions": versions,
        }
        manifest = {"kind": "torcx-package-list-v0", "value": {"packages": [package]}}
        if self.edit is not None:
            self.edit(manifest)
        return json.dumps(manifest, indent=2).encode() + b"\n"

    async def _signature(self, os_version: str, manifest: bytes, fault: Fault | None) -> Response:
        if self.key is None:
            return _not_found()
        signed = b'{"kind":"torcx-package-list-v0","value":{"packages":[]}}' if fault is Fault.OTHER_DATA else manifest
        self.signed.add((self.key.fingerprint, os_version, signed))
        known = (self.key.fingerprint, signed)
        if known not in self._signatures:
            self._signatures[known] = await trio.to_thread.run_sync(self.key.sign, signed)
        return Response(200, {"Content-Type": "application/pgp-signature"}, self._signatures[known])

    def _object(self, request: Request, found: _Object) -> Response:
        """The content, or the range that was asked for (RFC 9110, section 14)."""
        size = len(found.content)
        headers = {"Content-Type": "application/gzip", "ETag": found.etag}
        if not self.ranges:
            return Response(200, headers, found.content)
        headers["Accept-Ranges"] = "bytes"
        asked = _RANGE.fullmatch(request.headers.get("range", ""))
        if asked is None or request.headers.get("if-range", found.etag) != found.etag:
            return Response(200, headers, found.content)
        first, end = int(asked[1]), min(int(asked[2] or size) + 1, size)
        if first >= size:
            return Response(416, {**headers, "Content-Range": f"bytes */{size}"})
        headers["Content-Range"] = f"bytes {first}-{end - 1}/{size}"
        return Response(206, headers, found.content[first:end])

    def _paced(self, answer: Response) -> Response:
        if self.rate is None or not isinstance(answer.body, bytes):
            return answer
        headers = {**answer.headers, "Content-Length": str(len(answer.body))}
        return replace(answer, headers=headers, body=_at_rate(answer.body, self.rate))


async def _at_rate(body: bytes, rate: float) -> AsyncIterator[bytes]:
    """*body* in pieces, *rate* bytes a second."""
    start = trio.current_time()
    view = memoryview(body)
    for offset in range(0, len(body), _PIECE):
        piece = bytes(view[offset : offset + _PIECE])
        await trio.sleep_until(start + (offset + len(piece)) / rate)
        yield piece


def _image_path(board: str, image: TorcxImage) -> str:
    return f"/torcx/pkgs/{board}/{image.name}/{image.digest.hex}/{image.file_name}"


def _version(image: TorcxImage, location: Mapping[str, str]) -> dict[str, Any]:
    return {
        "version": image.reference,
        "hash": str(image.digest),
        "casDigest": image.digest.hex,
        "sourcePackage": f"app-torcx/docker-{image.reference}",
        "locations": [dict(location)],
    }


def _not_found() -> Response:
    return Response(404, {"Content-Type": "application/xml"}, b"<Error><Code>NoSuchKey</Code></Error>\n")

"""torcx images as the OS vendor publishes them, with a Docker that only tells its version.

The layout is that of torcx's image format, version 0: a gzipped tar with an entry for each directory, and
``.torcx/manifest.json`` that names the assets.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from dataclasses import dataclass, field
from functools import cache
from typing import Final

from torcxd.lifecycle.catalog import Digest

# Some moment in the past, always the same: equal images have equal bytes.
_MTIME: Final = 1512518400

_SERVICE: Final = """\
[Unit]
Description=Docker Application Container Engine
Requires=docker.socket
After=docker.socket

[Service]
EnvironmentFile=/run/metadata/torcx
ExecStart=/bin/sh -c '${TORCX_BINDIR}/dockerd'

[Install]
WantedBy=multi-user.target
"""
_SOCKET: Final = """\
[Unit]
Description=Docker Socket for the API

[Socket]
ListenStream=/var/run/docker.sock

[Install]
WantedBy=sockets.target
"""
_NETWORK: Final = """\
[Match]
Name=docker*

[Link]
Unmanaged=yes
"""


@dataclass(frozen=True, slots=True)
class TorcxImage:
    """An image, ready to be published.

    :param name, reference: e.g. ``"docker"`` and ``"17.03"``.
    :param data: the ``.torcx.tgz``.
    :param digest: its SHA-512.
    """

    name: str
    reference: str
    data: bytes = field(repr=False)
    digest: Digest

    @property
    def file_name(self) -> str:
        """The name that torcx looks for in a store."""
        return f"{self.name}:{self.reference}.torcx.tgz"


@cache
def docker_image(reference: str, size: int = 0) -> TorcxImage:
    """A Docker image whose ``/bin/docker`` prints *reference* as its version. The same arguments give the same bytes.

    Takes about 0.3 s for 100 MB; the result is kept.

    :param size: bytes that the file is to have at least; it has a few kilobytes more. They cannot be compressed, as
        those of real programs hardly can.
    """
    files = {
        ".torcx/manifest.json": (json.dumps(_MANIFEST, indent=2), 0o644),
        "bin/docker": (_program(f"Docker version {reference}, build torcxd"), 0o755),
        "bin/dockerd": (_program(f"Docker version {reference}, build torcxd"), 0o755),
        "lib/systemd/network/50-docker.network": (_NETWORK, 0o644),
        "lib/systemd/system/docker.service": (_SERVICE, 0o644),
        "lib/systemd/system/docker.socket": (_SOCKET, 0o644),
    }
    contents = {name: (text.encode(), mode) for name, (text, mode) in files.items()}
    contents["lib/docker/padding"] = (hashlib.shake_128(reference.encode()).digest(size), 0o644)
    data = _tgz(contents)
    return TorcxImage("docker", reference, data, Digest("sha512", hashlib.sha512(data).hexdigest()))


_MANIFEST: Final = {
    "kind": "image-manifest-v0",
    "value": {
        "bin": ["/bin/docker", "/bin/dockerd"],
        "network": ["/lib/systemd/network/50-docker.network"],
        "units": ["/lib/systemd/system/docker.service", "/lib/systemd/system/docker.socket"],
    },
}


def _program(line: str) -> str:
    return f"#!/bin/sh\necho '{line}'\n"


def _tgz(files: dict[str, tuple[bytes, int]]) -> bytes:
    buffer = io.BytesIO()
    # Level 0: what is incompressible should not cost the time to find that out.
    with (
        gzip.GzipFile(filename="", fileobj=buffer, mode="wb", compresslevel=0, mtime=_MTIME) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar,
    ):
        directories = {parent for name in files for parent in _parents(name)}
        for name in sorted({*directories, *files}):
            entry = tarfile.TarInfo(f"./{name}")
            entry.mtime = _MTIME
            entry.uname = entry.gname = "root"
            if name in files:
                content, entry.mode = files[name]
                entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content))
            else:
                entry.type, entry.mode = tarfile.DIRTYPE, 0o755
                tar.addfile(entry)
    return buffer.getvalue()


def _parents(name: str) -> list[str]:
    parts = name.split("/")[:-1]
    return ["/".join(parts[: count + 1]) for count in range(len(parts))]

"""os-release: the version and board of the running system."""

from __future__ import annotations

from typing import Final

from tests.fuzz.oracle import demand, put, refusing, scratch
from torcxd.errors import PermanentError
from torcxd.host.os_release import read_os_release
from torcxd.lifecycle.versions import parse_os_version
from torcxd.manifest_url import render_url
from torcxd.names import component
from torcxd.settings import DEFAULT_MANIFEST_URL

WORDS: Final = ("VERSION_ID=", "COREOS_BOARD=", "FLATCAR_BOARD=", "ID=coreos", "ID_LIKE=", "1576.4.0", "amd64-usr", '"')


def check(data: bytes) -> None:
    path = put(scratch("os-release") / "os-release", data)
    with refusing(PermanentError):
        release = read_os_release(path, machine="x86_64")
        parse_os_version(release.version)
        demand(component(release.board) == release.board, "a board that is no name")
        # Whatever is accepted here becomes a part of a URL later, and must not fail there.
        render_url(DEFAULT_MANIFEST_URL, release.board, release.version)

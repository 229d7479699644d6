"""The package manifest: what a bucket, or somebody in its place, says about packages."""

from __future__ import annotations

from typing import Final

from tests.fuzz.oracle import demand, refusing
from torcxd.addons.manifest import parse_manifest
from torcxd.errors import PermanentError
from torcxd.names import component

IMPORTANT: Final = True
WORDS: Final = (
    '"kind"', '"torcx-package-list-v0"', '"value"', '"packages"', '"name"', '"defaultVersion"', '"DefaultVersion"',
    '"versions"', '"version"', '"hash"', '"sha512-', '"sha256-', '"sourcePackage"', '"locations"', '"path"', '"url"',
    '"https://', '"/usr/share/torcx/store/', "..", "null", "1e999", "\\ud800", "\\u0000",
)  # fmt: skip


def check(data: bytes) -> None:
    with refusing(PermanentError):
        manifest = parse_manifest(data, "https://bucket.example/manifest")
        demand(manifest == parse_manifest(data, "elsewhere"), "one manifest is read in two ways")
        for name, package in manifest.packages.items():
            demand(name == package.name == component(name) and ":" not in name, f"the name {name!a}")
            for version in package.versions:
                component(version.version)
                demand(bool(version.locations), "a version without a location")
                demand(len(version.digest.hex) in {64, 128}, "a digest of another length")
                for each in version.locations:
                    demand((each.path is None) != (each.url is None), "a location of no kind, or of two")
                    demand(each.path is None or (each.path[0] == "/" and ".." not in each.path.split("/")), "a path")

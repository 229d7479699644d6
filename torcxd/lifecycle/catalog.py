"""What a torcx package manifest says, as plain data: packages, versions, digests, locations.

The parser is in :mod:`torcxd.addons.manifest`; the choice made from it in :mod:`torcxd.lifecycle.plan`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class Digest:
    """A content digest.

    :param algorithm: ``"sha512"`` or ``"sha256"``; nothing else is accepted anywhere.
    :param hex: lower-case hexadecimal.
    """

    algorithm: str
    hex: str

    def __str__(self) -> str:
        return f"{self.algorithm}-{self.hex}"


@dataclass(frozen=True, slots=True)
class Location:
    """Where an image can be had: a path in the OS image's own store, or a URL. Exactly one is set."""

    path: str | None = None
    url: str | None = None


@dataclass(frozen=True, slots=True)
class PackageVersion:
    """One version of a package, e.g. docker 17.03."""

    version: str
    digest: Digest
    locations: tuple[Location, ...]
    source_package: str = ""


@dataclass(frozen=True, slots=True)
class Package:
    name: str
    default_version: str
    versions: tuple[PackageVersion, ...]

    def find(self, version: str) -> PackageVersion | None:
        """The entry for *version*, or None when the manifest does not offer it."""
        return next((each for each in self.versions if each.version == version), None)


@dataclass(frozen=True, slots=True)
class PackageManifest:
    """The addons published for one OS version and board."""

    packages: Mapping[str, Package]

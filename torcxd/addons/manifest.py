"""The package manifest (``torcx_manifest.json``): what it says. Where it is, is in :mod:`torcxd.manifest_url`.

The format is torcx's ``torcx-package-list-v0``, written by the Container Linux release tooling. Unknown
fields are ignored, known ones are checked to the last: the file decides what a node runs.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final, NoReturn
from urllib.parse import urlsplit

from torcxd.errors import EX_DATAERR, PermanentError
from torcxd.lifecycle.catalog import Digest, Location, Package, PackageManifest, PackageVersion
from torcxd.manifest_url import url_problem
from torcxd.names import component

KIND: Final = "torcx-package-list-v0"

# Hexadecimal digits of each accepted algorithm's digest.
_DIGEST_DIGITS: Final = {"sha512": 128, "sha256": 64}
_HASH: Final = re.compile(r"([A-Za-z0-9]+)[-:](.*)", re.DOTALL)


def signature_url(manifest_url: str) -> str:
    """Where the detached signature of the manifest at *manifest_url* is."""
    return manifest_url + ".asc"


def parse_manifest(data: bytes, where: str) -> PackageManifest:
    """Read a package manifest.

    A location that names both a path and a URL stands for two.

    :param data: the file's bytes, UTF-8.
    :param where: the URL or file they come from, for messages.
    :raises PermanentError: with exit code 65 (EX_DATAERR), naming *where* and the field, e.g.
        ``value.packages[0].versions[1].hash``.
    """
    return _Reader(where).manifest(data)


class _Reader:
    """Walks the document, carrying the path of the field for messages."""

    def __init__(self, where: str) -> None:
        self.where = where

    def refuse(self, path: str, problem: str) -> NoReturn:
        field = f"{path}: " if path else ""
        raise PermanentError(
            f"the package manifest {self.where} is not usable: {field}{problem}",
            hint="publish a correct manifest there, or point --torcx-manifest-url elsewhere",
            exit_code=EX_DATAERR,
        )

    def manifest(self, data: bytes) -> PackageManifest:
        document = self.mapping(self.decode(data), "")
        kind = self.text(document, "kind", "")
        if kind != KIND:
            self.refuse("kind", f"{kind[:80]!a} is not {KIND!r}")
        value = self.mapping(document.get("value"), "value")
        packages: dict[str, Package] = {}
        for path, each in self.items(value, "packages", "value."):
            package = self.package(each, path)
            if package.name in packages:
                self.refuse(f"{path}.name", f"{package.name!r} occurs twice")
            packages[package.name] = package
        return PackageManifest(packages)

    def decode(self, data: bytes) -> Any:
        try:
            return json.loads(data.decode("utf-8"), object_pairs_hook=self.unique)
        except json.JSONDecodeError as error:
            self.refuse("", f"it is not JSON, or cut off: {error.msg} in line {error.lineno} column {error.colno}")
        except UnicodeDecodeError as error:
            self.refuse("", f"byte {error.start} is not UTF-8")
        except (ValueError, RecursionError):
            self.refuse("", "it holds a number or a nesting beyond all measure")

    def unique(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        # A parser that lets the last one win and one that lets the first one win would read different manifests.
        result = dict(pairs)
        if len(result) != len(pairs):
            seen: set[str] = set()
            for name, _ in pairs:
                if name in seen:
                    self.refuse("", f"the key {name[:80]!a} occurs twice in one object")
                seen.add(name)
        return result

    def package(self, value: Any, path: str) -> Package:
        entry = self.mapping(value, path)
        name = self.name(entry, "name", path)
        if ":" in name:
            self.refuse(f"{path}.name", f"{name!r} holds ':', which separates name and reference")
        spellings = [each for each in ("defaultVersion", "DefaultVersion") if entry.get(each) is not None]
        if len(spellings) > 1:
            self.refuse(f"{path}.defaultVersion", "it occurs twice, in two spellings")
        default = self.name(entry, spellings[0], path) if spellings and entry[spellings[0]] != "" else ""
        versions: dict[str, PackageVersion] = {}
        for where, each in self.items(entry, "versions", f"{path}."):
            version = self.version(each, where)
            if version.version in versions:
                self.refuse(f"{where}.version", f"{version.version!r} occurs twice")
            versions[version.version] = version
        return Package(name, default, tuple(versions.values()))

    def version(self, value: Any, path: str) -> PackageVersion:
        entry = self.mapping(value, path)
        locations: list[Location] = []
        for where, each in self.items(entry, "locations", f"{path}."):
            locations += self.location(each, where)
        if not locations:
            self.refuse(f"{path}.locations", "it is empty")
        return PackageVersion(
            version=self.name(entry, "version", path),
            digest=self.digest(entry, path),
            locations=tuple(locations),
            source_package=self.text(entry, "sourcePackage", path) if entry.get("sourcePackage") is not None else "",
        )

    def digest(self, entry: Mapping[str, Any], path: str) -> Digest:
        text = self.text(entry, "hash", path)
        match = _HASH.fullmatch(text)
        if match is None:
            self.refuse(f"{path}.hash", f"{text[:80]!a} is not of the form sha512-<hex>")
        algorithm, digits = match[1].lower(), match[2].lower()
        if algorithm not in _DIGEST_DIGITS:
            self.refuse(f"{path}.hash", f"the algorithm {algorithm!r} is not one of {', '.join(_DIGEST_DIGITS)}")
        if not re.fullmatch(f"[0-9a-f]{{{_DIGEST_DIGITS[algorithm]}}}", digits):
            self.refuse(f"{path}.hash", f"a {algorithm} digest has {_DIGEST_DIGITS[algorithm]} hexadecimal digits")
        return Digest(algorithm, digits)

    def location(self, value: Any, path: str) -> Iterable[Location]:
        entry = self.mapping(value, path)
        # An empty string is how Go writes a field that is not set.
        file = self.text(entry, "path", path) if entry.get("path") else None
        url = self.text(entry, "url", path) if entry.get("url") else None
        if file is None and url is None:
            self.refuse(path, "it names neither a path nor a url")
        if file is not None:
            if not file.startswith("/") or not file.isprintable() or ".." in file.split("/"):
                self.refuse(f"{path}.path", f"{file[:80]!a} is not an absolute path")
            yield Location(path=file)
        if url is not None:
            problem = url_problem(url) or _secret(url)
            if problem:
                self.refuse(f"{path}.url", problem)
            yield Location(url=url)

    def mapping(self, value: Any, path: str) -> Mapping[str, Any]:
        if not isinstance(value, dict):
            self.refuse(path or "the document", f"an object was expected, not {_kind(value)}")
        return value

    def items(self, entry: Mapping[str, Any], key: str, prefix: str) -> Iterable[tuple[str, Any]]:
        value = entry.get(key)
        if not isinstance(value, list):
            self.refuse(f"{prefix}{key}", f"a list was expected, not {_kind(value)}")
        for index, each in enumerate(value):
            yield f"{prefix}{key}[{index}]", each

    def text(self, entry: Mapping[str, Any], key: str, path: str) -> str:
        value = entry.get(key)
        if not isinstance(value, str):
            self.refuse(f"{path}.{key}".lstrip("."), f"a string was expected, not {_kind(value)}")
        return value

    def name(self, entry: Mapping[str, Any], key: str, path: str) -> str:
        text = self.text(entry, key, path)
        try:
            return component(text)
        except ValueError as error:
            self.refuse(f"{path}.{key}", str(error))


def _secret(url: str) -> str:
    """Why *url*, which is kept in the record that everybody on the node can read, should not be there."""
    return "it holds a user name or password" if "@" in urlsplit(url).netloc else ""


def _kind(value: Any) -> str:
    if value is None:
        return "nothing"
    names = {bool: "a boolean", str: "a string", int: "a number", float: "a number", list: "a list", dict: "an object"}
    return names[type(value)]

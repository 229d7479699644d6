"""The file format of the runtime mappings, kind ``VersionManifestV1``: which Docker each Kubernetes version prefers.

The same text comes from the ConfigMap ``tectonic-torcx-runtime-mappings``, from the installer's file, or from the copy
that is built in.
"""

from __future__ import annotations

import re
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, Final

from torcxd.errors import EX_DATAERR, PermanentError
from torcxd.host.files import read_bytes
from torcxd.kube import plain_yaml
from torcxd.lifecycle.mappings import Mappings

KIND: Final = "VersionManifestV1"
# A line or two for each minor version; the bound keeps a wrong file from being parsed for minutes.
LARGEST: Final = 64 * 1024

_MINOR: Final = re.compile(r"(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)")
# A torcx image reference: it becomes a part of a file's name.
_REFERENCE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_BUILTIN: Final = "the built-in versions.yaml"


def parse_mappings(text: str, where: str) -> Mappings:
    """Read runtime mappings.

    :param where: where the text came from, for messages.
    :raises PermanentError: exit code 65: not YAML, another kind, or of the wrong shape; the message names the field.
    """
    if len(text) > LARGEST:
        raise _wrong(where, f"is larger than {LARGEST} characters")
    try:
        document = plain_yaml.parse(text)
    except plain_yaml.NotYaml as error:
        raise _wrong(where, f"is not acceptable YAML: {error}") from error
    if not isinstance(document, dict):
        raise _wrong(where, "is not a mapping with kind and versions")
    if document.get("kind") != KIND:
        kind = str(document.get("kind"))[:100]
        raise _wrong(where, f"kind is {kind!a}, not {KIND}" if "kind" in document else f"has no kind, must be {KIND}")
    table: dict[str, dict[str, tuple[str, ...]]] = {}
    minors = _mapping(_mapping(document, "versions", where, "versions"), "k8s", where, "versions.k8s")
    for minor in minors:
        path = f"versions.k8s.{minor}"
        if not _MINOR.fullmatch(minor):
            raise _wrong(where, f"{path}: {minor!a} is not a minor version such as 1.8")
        table[minor] = {
            package: _references(versions, where, f"{path}.{package}")
            for package, versions in _mapping(minors, minor, where, path).items()
        }
    return Mappings(where, table)


def read_mappings(path: Path) -> Mappings:
    """Read the runtime mappings in the file *path*.

    :raises TorcxdError: unreadable (typed by the errno), or as :func:`parse_mappings`.
    """
    data = read_bytes(path, limit=LARGEST)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _wrong(str(path), "is not UTF-8 text") from error
    return parse_mappings(text, str(path))


@cache
def builtin_mappings() -> Mappings:
    """The runtime mappings that come with this program."""
    return parse_mappings(resources.files("torcxd").joinpath("versions.yaml").read_text(encoding="utf-8"), _BUILTIN)


def _mapping(parent: dict[str, Any], key: str, where: str, path: str) -> dict[str, Any]:
    value = parent.get(key)
    if not isinstance(value, dict):
        raise _wrong(where, f"{path} is {'missing' if value is None else 'not a mapping'}")
    return value


def _references(value: Any, where: str, path: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not value:
        raise _wrong(where, f"{path} is not a list of versions, best first")
    for index, each in enumerate(value):
        if not isinstance(each, str) or not _REFERENCE.fullmatch(each):
            raise _wrong(where, f"{path}[{index}] is not a version such as 17.03")
    return tuple(value)


def _wrong(where: str, what: str) -> PermanentError:
    return PermanentError(f"{where}: {what}", hint="correct the runtime mappings", exit_code=EX_DATAERR)

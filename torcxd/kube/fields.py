"""The fields of a kubeconfig: read one by one, each error with the field's path and none of its content."""

from __future__ import annotations

import base64
import re
from pathlib import Path
from typing import Any, Final

from torcxd.errors import ConfigurationError
from torcxd.http.errors import HttpError
from torcxd.http.url import Url
from torcxd.kube.access import Material

_BLANK: Final = re.compile(r"\s+")


class Section:
    """A mapping in the kubeconfig that knows where it stands. Every method raises :class:`ConfigurationError`.

    :param file: the kubeconfig; relative paths in it start from its folder.
    :param root: the directory that stands for ``/`` in absolute paths.
    :param path: the path of this mapping's fields, e.g. ``"users[0].user."``.
    """

    def __init__(self, file: Path, root: Path, path: str, value: dict[str, Any]) -> None:
        self._file = file
        self._root = root
        self._path = path
        self._value = value

    def has(self, key: str) -> bool:
        """Whether the field is there and not empty."""
        return self._value.get(key) not in (None, "", [], {})

    def where(self, key: str) -> str:
        """The field's file and path, for messages."""
        return f"{self._file}: {self._path}{key}"

    def wrong(self, key: str, what: str, hint: str = "correct the kubeconfig") -> ConfigurationError:
        """An error about the field: *what* follows its path."""
        return ConfigurationError(f"{self.where(key)} {what}", hint=hint)

    def text(self, key: str) -> str:
        """The field's text; empty where it is missing or null."""
        value = self._value.get(key)
        if value is not None and not isinstance(value, str):
            raise self.wrong(key, "is not plain text")
        return value or ""

    def flag(self, key: str) -> bool:
        """Whether the field is ``true``; a missing one is not."""
        value = self.text(key)
        if value not in {"", "true", "false"}:
            raise self.wrong(key, "is neither true nor false")
        return value == "true"

    def section(self, key: str) -> Section:
        """The mapping in the field; empty where it is missing or null."""
        value = self._value.get(key)
        if value is not None and not isinstance(value, dict):
            raise self.wrong(key, "is not a mapping")
        return Section(self._file, self._root, f"{self._path}{key}.", value or {})

    def named(self, key: str) -> dict[str, Section]:
        """The list *key* of sections, by their ``name``."""
        value = self._value.get(key)
        if value is not None and not isinstance(value, list):
            raise self.wrong(key, "is not a list")
        sections: dict[str, Section] = {}
        for index, each in enumerate(value or []):
            if not isinstance(each, dict):
                raise self.wrong(f"{key}[{index}]", "is not a mapping")
            section = Section(self._file, self._root, f"{self._path}{key}[{index}].", each)
            name = section.text("name")
            if name in sections:
                raise section.wrong("name", "is that of an earlier entry")
            sections[name] = section
        return sections

    def material(self, key: str) -> Material | None:
        """The field ``KEY-data`` in base64, or else the file that the field *key* names."""
        if encoded := self.text(f"{key}-data"):
            try:
                # YAML may have folded it, which adds blanks.
                content = base64.b64decode(_BLANK.sub("", encoded), validate=True)
            except ValueError:  # also what is not ASCII at all; binascii.Error is one
                raise self.wrong(f"{key}-data", "is not base64") from None
            return Material(self.where(f"{key}-data"), content=content)
        return self.file(key)

    def file(self, key: str) -> Material | None:
        """The file that the field *key* names, relative to the kubeconfig's folder."""
        name = self.text(key)
        if not name:
            return None
        if "\0" in name:
            raise self.wrong(key, "is not a path")
        path = self._root / name.lstrip("/") if name.startswith("/") else self._file.parent / name
        return Material(self.where(key), path=path)

    def url(self, key: str) -> Url:
        """The http or https URL in the field."""
        try:
            return Url.parse(self.text(key))
        except HttpError:
            raise self.wrong(key, "is not an http or https URL") from None

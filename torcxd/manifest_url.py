"""The template of the manifests' URL: checked when it is set, filled in when it is used."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import quote, urlsplit

from torcxd.errors import ConfigurationError
from torcxd.names import component

_PLACEHOLDER: Final = re.compile(r"\{\{(.*?)\}\}", re.DOTALL)
# Stand-ins of the form that real ones have.
_EXAMPLE: Final = {".Board": "amd64-usr", ".OSVersion": "1576.4.0"}


def parse_template(text: str) -> str:
    """Return *text* if it can be filled in.

    :raises ValueError: as :func:`render_url` would refuse it, whatever the values.
    """
    try:
        _fill_in(text, _EXAMPLE)
    except ValueError as error:
        raise ValueError(f"the template {error}") from None
    return text


def render_url(template: str, board: str, os_version: str) -> str:
    """Fill in ``{{.Board}}`` and ``{{.OSVersion}}``, the placeholders of the ``--torcx-manifest-url`` option.

    :returns: the manifest's URL for that board and OS version.
    :raises ConfigurationError: another placeholder, an unclosed one, no http(s) URL, or a value that cannot be part of
        one.
    """
    try:
        return _fill_in(template, {".Board": board, ".OSVersion": os_version})
    except ValueError as error:
        raise ConfigurationError(
            f"the URL template of --torcx-manifest-url {error}",
            hint="give an http(s) URL with the placeholders {{.Board}} and {{.OSVersion}}",
        ) from None


def _fill_in(template: str, values: Mapping[str, str]) -> str:
    """*template* with *values*; raises ``ValueError`` with a clause that has the template as its subject."""

    def value(match: re.Match[str]) -> str:
        name = match[1].strip()
        if name not in values:
            raise ValueError(f"knows no placeholder {match[0]!a}")
        try:
            return quote(component(values[name]), safe="+")
        except ValueError as error:
            raise ValueError(f"cannot be filled in: {name[1:]}: {error}") from None

    url = _PLACEHOLDER.sub(value, template)
    if "{{" in url or "}}" in url:
        raise ValueError("has unbalanced braces")
    problem = url_problem(url)
    if problem:
        raise ValueError(f"cannot be used: {problem}")
    return url


def url_problem(url: str) -> str:
    """Why *url* cannot be fetched, or an empty string. Never quotes the URL: it may carry credentials."""
    if not url.isascii() or not url.isprintable() or " " in url:
        return "it holds a character that no URL has"
    try:
        parts = urlsplit(url)
        _ = parts.port  # Parsed on access; raises ValueError.
    except ValueError:
        return "it is not a well-formed URL"
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return "it is not an http or https URL with a host"
    return ""
